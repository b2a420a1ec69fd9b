//! Flags that several commands share: which cluster.
//!
//! A cluster is known by its file or, without one, by flags alone: a name, and where each member
//! listens. The two ways exclude each other, so that a forgotten flag cannot mean another cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::exit::{Failure, Status};
use super::revive::{absolute, flag};
use crate::cluster::{Cluster, Service};

/// The name of a cluster that is given by addresses alone.
const NAME_DEFAULT: &str = "room";

/// Which cluster: a file, or the same by flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct ClusterArgs {
    /// The cluster file (TOML): name, members, addresses
    #[arg(long, short = 'f', env = "INDELIBLE_CLUSTER_FILE", value_name = "FILE")]
    cluster_file: Option<PathBuf>,
    /// The cluster file, as above; but with --replicas or --peer the cluster's name (`room` if not
    /// given), and beside --cluster-file the name it must have
    #[arg(long, env = "INDELIBLE_CLUSTER", value_name = "FILE|NAME")]
    cluster: Option<String>,
    /// Where the members listen, if there is no file: that of id 0 first, then 1, and so on
    #[arg(
        long,
        env = "INDELIBLE_REPLICAS",
        value_name = "HOST:PORT,HOST:PORT..",
        value_delimiter = ','
    )]
    replicas: Vec<String>,
    /// The same a member at a time, in any order: its id and where it listens
    #[arg(long, env = "INDELIBLE_PEERS", value_name = "ID=HOST:PORT", value_delimiter = ',')]
    peer: Vec<String>,
    /// What runs on its log, if there is no file to say so: chat, lock or poll
    #[arg(long, env = "INDELIBLE_SERVICE", value_name = "SERVICE", value_parser = service)]
    service: Option<Service>,
    /// How many members may fail at a time: the cluster must have exactly 2N+1
    #[arg(long = "f", env = "INDELIBLE_F", value_name = "N")]
    faults: Option<u16>,
}

impl ClusterArgs {
    /// Whether any flag names a cluster.
    pub(super) fn is_given(&self) -> bool {
        let by_file = self.cluster_file.is_some() || self.cluster.is_some();
        by_file || !self.replicas.is_empty() || !self.peer.is_empty()
    }

    /// The same flags once more, for a process that may run elsewhere.
    pub(super) fn words(&self) -> Result<Vec<OsString>, Failure> {
        let is_file = self.cluster_file.is_none() && self.replicas.is_empty();
        let is_file = is_file && self.peer.is_empty();
        let mut words = Vec::new();
        if let Some(path) = &self.cluster_file {
            words.push(flag("--cluster-file=", &absolute(path)?));
        }
        if let Some(name) = &self.cluster {
            let path = if is_file { absolute(Path::new(name))? } else { name.into() };
            words.push(flag("--cluster=", &path));
        }
        if !self.replicas.is_empty() {
            words.push(format!("--replicas={}", self.replicas.join(",")).into());
        }
        if !self.peer.is_empty() {
            words.push(format!("--peer={}", self.peer.join(",")).into());
        }
        words.extend(self.service.map(|it| format!("--service={}", it.name()).into()));
        words.extend(self.faults.map(|faults| format!("--f={faults}").into()));
        Ok(words)
    }

    /// The cluster that the flags name, which must run this service; by flags alone it does.
    pub(super) fn cluster_of(&self, service: Service) -> Result<Cluster, Failure> {
        let cluster = self.given(service)?;
        if cluster.service == service {
            return Ok(cluster);
        }
        let (name, found, wanted) = (&cluster.name, cluster.service.name(), service.name());
        let line =
            format!("\"{name}\" runs the {found} service, and this is for the {wanted} service");
        Err(Failure::new(Status::Config, line))
    }

    /// The cluster that the flags name.
    pub(super) fn cluster(&self) -> Result<Cluster, Failure> {
        self.given(Service::default())
    }

    fn given(&self, unsaid: Service) -> Result<Cluster, Failure> {
        let cluster = self.named()?;
        let by_flags = !self.replicas.is_empty() || !self.peer.is_empty();
        let cluster = match self.service {
            None if by_flags => by_default(cluster, unsaid),
            Some(service) if by_flags => by_default(cluster, service),
            Some(service) if service != cluster.service => {
                let (name, found, given) = (&cluster.name, cluster.service.name(), service.name());
                let line = format!("\"{name}\" runs the {found} service, not {given}");
                return Err(Failure::new(Status::Config, line));
            }
            Some(_) | None => cluster,
        };
        match self.faults {
            Some(faults) if u32::from(cluster.members()) != 2 * u32::from(faults) + 1 => {
                let (members, needed) = (cluster.members(), 2 * u32::from(faults) + 1);
                let line = format!(
                    "--f {faults}: a cluster that bears {faults} failures has {needed} members, \
                     but \"{}\" has {members}",
                    cluster.name
                );
                Err(Failure::new(Status::Config, line))
            }
            Some(_) | None => Ok(cluster),
        }
    }

    fn named(&self) -> Result<Cluster, Failure> {
        let name = self.cluster.as_deref();
        match (self.replicas.is_empty(), self.peer.is_empty(), &self.cluster_file) {
            (true, true, Some(file)) => from_file(file, name),
            (true, true, None) => match name {
                Some(path) => Ok(Cluster::read(Path::new(path))?),
                None => Err(usage("which cluster? Give --cluster FILE, or --replicas")),
            },
            (false, true, None) => {
                Ok(Cluster::from_addresses(name.unwrap_or(NAME_DEFAULT), &self.replicas)?)
            }
            (true, false, None) => {
                Ok(Cluster::from_flags(name.unwrap_or(NAME_DEFAULT), &self.peer)?)
            }
            (false, false, _) => Err(usage("--replicas and --peer exclude each other")),
            (_, _, Some(_)) => {
                Err(usage("--cluster-file excludes --replicas and --peer: they stand for a file"))
            }
        }
    }
}

/// A cluster that no file describes, for this service.
fn by_default(cluster: Cluster, service: Service) -> Cluster {
    Cluster { election: service.election(), ..cluster.with_service(service) }
}

/// The cluster of a file, which must have this name if one is asked for.
fn from_file(file: &Path, name: Option<&str>) -> Result<Cluster, Failure> {
    let cluster = Cluster::read(file)?;
    match name {
        Some(name) if name != cluster.name => {
            let (found, file) = (&cluster.name, file.display());
            let line = format!("cluster file {file}: is of \"{found}\", not \"{name}\"");
            Err(Failure::new(Status::Config, line))
        }
        Some(_) | None => Ok(cluster),
    }
}

fn service(text: &str) -> Result<Service, String> {
    let named = Service::ALL.into_iter().find(|service| service.name() == text);
    named.ok_or_else(|| "expected chat, lock or poll".to_owned())
}

fn usage(line: &str) -> Failure {
    Failure::new(Status::Usage, line)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    /// The name and the addresses of the cluster that a command line names; or what is said.
    fn named(line: &str) -> String {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace()));
        match line.expect("it parses").cluster.cluster() {
            Ok(cluster) => {
                let of = cluster.nodes.iter().map(|node| node.address.as_str());
                format!("{} {}", cluster.name, of.collect::<Vec<_>>().join(" "))
            }
            Err(failure) => failure.to_string(),
        }
    }

    /// Bugs that turn it red: `--cluster` always a name, or always a path; `--f` unchecked, or
    /// checked as "at least"; an empty list of replicas taken for one.
    #[test]
    fn a_cluster_is_known_by_its_file_or_by_flags_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.toml");
        std::fs::write(&path, "cluster = \"hall\"\n[[node]]\nid = 0\naddress = \"a:1\"\n")
            .expect("writes");
        let file = path.display();
        let cases = [
            (format!("-f {file}"), "hall a:1"),
            (format!("--cluster {file}"), "hall a:1"),
            (format!("--cluster {file} --f 0"), "hall a:1"),
            (format!("-f {file} --cluster hall"), "hall a:1"),
            (format!("-f {file} --cluster room"), "is of \"hall\", not \"room\""),
            (format!("-f {file} --replicas a:1"), "exclude"),
            (format!("-f {file} --peer 0=a:1"), "exclude"),
            (format!("--cluster {file} --f 1"), "--f 1: a cluster that bears 1 failures has 3"),
            ("--replicas a:1,b:2,c:3".to_owned(), "room a:1 b:2 c:3"),
            ("--replicas a:1,b:2,c:3 --f 1 --cluster hall".to_owned(), "hall a:1 b:2 c:3"),
            ("--replicas a:1,b:2,c:3 --f 2".to_owned(), "has 5 members, but \"room\" has 3"),
            ("--replicas a:1,b:2,c:3 --f 0".to_owned(), "has 1 members, but \"room\" has 3"),
            ("--replicas a:1,b:2,c:3,d:4 --f 1".to_owned(), "but \"room\" has 4"),
            ("--peer 1=b:2 --peer 0=a:1".to_owned(), "room a:1 b:2"),
            ("--peer 1=b:2,0=a:1 --cluster hall".to_owned(), "hall a:1 b:2"),
            ("--peer 0=a:1 --replicas a:1".to_owned(), "exclude"),
            ("--replicas a:1,a:1".to_owned(), "given twice"),
            ("--replicas nowhere".to_owned(), "not HOST:PORT"),
            ("--cluster none.toml".to_owned(), "none.toml: No such file"),
            (String::new(), "which cluster?"),
        ];
        for (line, expected) in cases {
            let found = named(&line);
            assert!(found.contains(expected), "{line}: {found}");
        }
    }
}
