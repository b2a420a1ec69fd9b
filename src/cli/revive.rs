//! Flags of a replica of the poll service that starts the other one again when it fails.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::logging;
use crate::cluster::{Cluster, Service};
use crate::paxos::NodeId;
use crate::steward::{Launch, Revival};

/// Who is started again, and when.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ReviveArgs {
    /// Only for polls: while this member is the primary, start that one again when it fails, on
    /// this store of its, which must be on this machine and is never made. It logs to STORE.log
    #[arg(long, env = "INDELIBLE_REVIVE", value_name = "ID=STORE", value_delimiter = ',')]
    #[arg(value_parser = member_store)]
    revive: Vec<(u16, PathBuf)>,
    /// For how long it must have been missed before that; two election timeouts at least
    #[arg(long, env = "INDELIBLE_RESTART_DELAY", default_value = "30s", value_name = "DUR")]
    restart_delay: humantime::Duration,
}

/// The member that does so.
pub(super) struct Own<'a> {
    pub(super) cluster: &'a Cluster,
    /// How that was named.
    pub(super) named: &'a ClusterArgs,
    pub(super) node: NodeId,
    pub(super) store: &'a Path,
}

impl ReviveArgs {
    /// What the flags order; `run` is how each member runs.
    pub(super) fn revival(&self, own: &Own<'_>, run: &[OsString]) -> Result<Revival, Failure> {
        let mut launches = BTreeMap::new();
        for (id, store) in &self.revive {
            self.check(own, *id)?;
            launches.insert(NodeId(*id), self.launch(own, *id, store, run)?);
        }
        Ok(Revival::new(*self.restart_delay, launches))
    }

    fn check(&self, own: &Own<'_>, id: u16) -> Result<(), Failure> {
        let usage = |line: String| Failure::new(Status::Usage, format!("--revive {id}: {line}"));
        let Cluster { service, .. } = own.cluster;
        if *service != Service::Poll {
            return Err(usage(format!(
                "only replicas of polls do, and this is {}",
                service.name()
            )));
        }
        let address = |node: NodeId| own.cluster.member(node).filter(|it| !it.witness);
        let (Some(other), Some(me)) = (address(NodeId(id)), address(own.node)) else {
            return Err(usage("only a replica starts another, and no witness".to_owned()));
        };
        if id == own.node.0 {
            return Err(usage("that is this member".to_owned()));
        }
        let host = |address: &str| address.rsplit_once(':').map(|(host, _)| host.to_owned());
        if host(&other.address) != host(&me.address) {
            let (there, here) = (&other.address, &me.address);
            return Err(usage(format!("it is at {there}, on another host than this, {here}")));
        }
        Ok(())
    }

    /// That member runs as this one does, and would start this one again.
    fn launch(
        &self,
        own: &Own<'_>,
        id: u16,
        store: &Path,
        run: &[OsString],
    ) -> Result<Launch, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::system(&error))?;
        let (store, back) = (absolute(store)?, absolute(own.store)?);
        let mut args = vec![OsString::from("node")];
        args.extend(own.named.words()?);
        args.push(format!("--id={id}").into());
        args.push(flag("--store=", &store));
        args.push(flag(&format!("--revive={}=", own.node.0), &back));
        args.push(format!("--restart-delay={}", self.restart_delay).into());
        args.push(format!("--log={}", logging::filter()).into());
        args.extend_from_slice(run);
        Ok(Launch { store, program, args })
    }
}

/// A path that means the same wherever a process runs.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(Status::Missing, error))
}

/// A flag with a path.
pub(super) fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

fn member_store(text: &str) -> Result<(u16, PathBuf), String> {
    let (id, store) = text.split_once('=').ok_or("expected ID=STORE")?;
    let id = id.parse().map_err(|_| "the id is no number")?;
    if store.is_empty() { Err("no store".to_owned()) } else { Ok((id, store.into())) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
        #[command(flatten)]
        revive: ReviveArgs,
    }

    fn ordered(line: &str) -> Result<Vec<Launch>, String> {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace()));
        let line = line.map_err(|error| error.to_string())?;
        let cluster = line.cluster.cluster().expect("a cluster");
        let (node, store) = (NodeId(0), Path::new("/stores/0"));
        let own = Own { cluster: &cluster, named: &line.cluster, node, store };
        let revival = line.revive.revival(&own, &["--margin-slots=7".into()]);
        let revival = revival.map_err(|failure| failure.to_string())?;
        Ok(revival.launches().cloned().collect())
    }

    /// Bugs that turn it red: the other one's store, or our own, in the wrong place; a cluster that
    /// is named otherwise; one that would not start us again.
    #[test]
    fn the_other_runs_as_we_do() {
        let here = "--service=poll --replicas=h:1,h:2";
        let launches = ordered(&format!("{here} --revive=1=/stores/1 --restart-delay=2s"));
        let launches = launches.expect("a launch");
        let args: Vec<_> = launches[0].args.iter().map(|arg| arg.to_string_lossy()).collect();
        let wanted = [
            "node",
            "--replicas=h:1,h:2",
            "--service=poll",
            "--id=1",
            "--store=/stores/1",
            "--revive=0=/stores/0",
            "--restart-delay=2s",
            "--log=warn",
            "--margin-slots=7",
        ];
        assert_eq!(args, wanted);
        assert_eq!(launches[0].store, Path::new("/stores/1"));
    }

    /// Bugs that turn it red: each case left out.
    #[test]
    fn what_cannot_be_started_again_is_refused() {
        let cases = [
            ("--service=lock --replicas=h:1,h:2 --revive=1=/s", "only replicas of polls"),
            ("--service=poll --replicas=h:1,h:2 --revive=0=/s", "that is this member"),
            ("--service=poll --replicas=h:1,i:2 --revive=1=/s", "on another host"),
            ("--service=poll --replicas=h:1,h:2 --revive=2=/s", "only a replica"),
            ("--service=poll --replicas=h:1,h:2 --revive=1", "expected ID=STORE"),
        ];
        for (line, expected) in cases {
            let found = ordered(line).expect_err(line);
            assert!(found.contains(expected), "{line}: {found}");
        }
    }
}
