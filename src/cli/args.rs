//! Flags that several commands share.

use std::path::PathBuf;

use super::exit::{Failure, Status};
use crate::cluster::Cluster;

/// Which cluster: a file, or the same by flags.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ClusterArgs {
    /// The cluster file (TOML): name, members, addresses
    #[arg(long, short = 'f', env = "INDELIBLE_CLUSTER_FILE", value_name = "FILE")]
    cluster_file: Option<PathBuf>,
    /// The cluster's name, if there is no file; with a file, the name it must have
    #[arg(long, env = "INDELIBLE_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// A member, if there is no file: its id and where it listens. Once for each
    #[arg(long, env = "INDELIBLE_PEERS", value_name = "ID=HOST:PORT", value_delimiter = ',')]
    peer: Vec<String>,
}

impl ClusterArgs {
    /// The cluster that the flags name.
    pub(super) fn cluster(&self) -> Result<Cluster, Failure> {
        match (&self.cluster_file, &self.cluster) {
            (Some(_), _) if !self.peer.is_empty() => {
                let line = "--cluster-file and --peer exclude each other";
                Err(Failure::new(Status::Usage, line))
            }
            (Some(file), name) => {
                let cluster = Cluster::read(file)?;
                match name {
                    Some(name) if *name != cluster.name => {
                        let (found, file) = (&cluster.name, file.display());
                        let line =
                            format!("cluster file {file}: is of \"{found}\", not \"{name}\"");
                        Err(Failure::new(Status::Config, line))
                    }
                    Some(_) | None => Ok(cluster),
                }
            }
            (None, Some(name)) => Ok(Cluster::from_flags(name, &self.peer)?),
            (None, None) => {
                let line = "which cluster? Give --cluster-file FILE, or --cluster NAME and --peer";
                Err(Failure::new(Status::Usage, line))
            }
        }
    }
}
