//! `indelible verify`: whether executed logs are one log.
//!
//! Two replicas that are well have executed the same commands in the same order, one of them
//! perhaps further than the other: their logs are identical, or one is a prefix of the other.
//! Logs are files that `--log-file` wrote, or live replicas, asked over their sockets for what
//! they have applied when they are asked; both in any number. All are read at the same time, a
//! line of each: no log is held in memory.
//!
//! The hash is over lines with their ends, so that people on different hosts can compare by eye;
//! the verdict here rests on the lines themselves.

mod compare;
mod report;
mod source;

use std::io::Write;
use std::path::PathBuf;

use futures_util::future::join_all;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use crate::cluster::Cluster;
use compare::{Comparison, Log, Verdict, compare};
use source::{File, Live, Source};

/// Compare executed logs: files that --log-file wrote, live replicas, or both.
///
/// Tells the length and a hash of each; then `identical`, or `prefix` with how many lines each is
/// behind, or the first line at which they differ, with both sides. A replica is compared as far as
/// it had executed when it was asked; one that does not answer is named, a witness is left out: it
/// executes nothing. An unfinished last line of a file does not count. A cluster that the
/// environment names is asked, too. Exit status 0 if the logs are consistent (identical, or
/// prefixes of the longest), 1 if not, 69 if no majority of the cluster answered.
///
///   indelible verify 0.log 1.log 2.log
///   indelible verify --cluster room.toml
///   indelible verify old.log --replicas a:7000,b:7000,c:7000 --json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct VerifyArgs {
    /// Executed logs
    #[arg(value_name = "LOG")]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// For scripts: one object
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
    /// How long a replica may take for each answer
    #[arg(long, env = "INDELIBLE_TIMEOUT", default_value = "2s")]
    timeout: humantime::Duration,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let cluster = args.cluster.is_given().then(|| args.cluster.cluster()).transpose()?;
    if cluster.is_none() && args.logs.len() < 2 {
        let line = "compare what? Give two logs or more, or a cluster";
        return Err(Failure::new(Status::Usage, line));
    }
    let runtime = super::runtime()?;
    let mut sources = Vec::new();
    for path in &args.logs {
        let file = File::open(path).map_err(|error| source::missing(path, &error))?;
        sources.push(Source::File(file));
    }
    if let Some(cluster) = &cluster {
        let dial = |member| Live::dial(&runtime, member, cluster, *args.timeout);
        let live = runtime.block_on(join_all(cluster.nodes.iter().map(dial)));
        let live = live.into_iter().filter(|live| !live.is_witness());
        sources.extend(live.map(|live| Source::Live(Box::new(live))));
    }
    let found = compare(&mut sources);
    let text = if args.json { report::json(&found) } else { report::text(&found) };
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::system(&error))?;
    judge(&found, cluster.as_ref())
}

/// The exit status: what is refuted weighs more than what could not be read.
fn judge(found: &Comparison, cluster: Option<&Cluster>) -> Result<(), Failure> {
    match found.verdict() {
        Verdict::Unknown | Verdict::Identical | Verdict::Prefix => (),
        Verdict::Differ | Verdict::Disorder => {
            return Err(Failure::new(Status::Failed, report::why(found)));
        }
    }
    let failed = |log: &&Log| log.error.is_some();
    if let Some(log) = found.logs.iter().filter(|log| !log.is_live).find(failed) {
        let error = log.error.as_deref().unwrap_or_default();
        return Err(Failure::new(Status::Disk, format!("{}: {error}", log.name)));
    }
    if let Some(cluster) = cluster {
        let silent = found.logs.iter().filter(|log| log.is_live).filter(failed).count();
        let answered = cluster.nodes.len() - silent;
        if answered < cluster.quorum() {
            let line = format!("no quorum: {answered} of {} members answered", cluster.members());
            return Err(Failure::new(Status::Unavailable, line));
        }
    }
    Ok(())
}
