//! A primary that starts its backup again, where both run on one host.
//!
//! It starts the same program on the backup's own store, which must be there: a store is never made
//! here. Before that four things must hold:
//!
//! - the primary has not heard it for five heartbeats, and the delay has passed since, and two
//!   election timeouts;
//! - every other member that answers has missed it for as long, and one does: where only the link
//!   between the two is cut, the backup asks the others to follow it, and so they hear it;
//! - nobody holds the lock of its store: a held lock means a cut link, or a process that is
//!   stopped, and not a death;
//! - no process that was started here is still running.
//!
//! The lock is the new process' own to take, so that there are never two on one store, whatever is
//! seen here. If it dies while it starts, the same is done again after as long. The backup is not
//! tied to us: it is the leader of a process group of its own, and outlives its primary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Probe;
use crate::cluster::Cluster;
use crate::paxos::NodeId;
use crate::wal::Store;

/// How a member is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its store.
    pub store: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// The members that are started again if they fail.
#[derive(Debug, Default)]
pub struct Revival {
    delay: Duration,
    launches: BTreeMap<NodeId, Launch>,
    /// Since when those are missed that are.
    missed: BTreeMap<NodeId, Instant>,
    children: BTreeMap<NodeId, Child>,
    /// What the operator was told last of each.
    told: BTreeMap<NodeId, String>,
}

impl Revival {
    /// Starts these again, each when it has been missed for so long.
    #[must_use]
    pub fn new(delay: Duration, launches: BTreeMap<NodeId, Launch>) -> Revival {
        Revival { delay, launches, ..Revival::default() }
    }

    /// How each of them is started.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.launches.values()
    }

    /// Takes note of processes that have ended.
    pub(super) fn reap(&mut self) {
        for (node, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                tracing::warn!("node {}, which was started from here, ended: {status}", node.0);
            }
        }
        self.children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
    }

    /// These members have failed, as their primary finds; what can be started again is.
    pub(super) async fn tend(&mut self, cluster: &Cluster, me: NodeId, failed: &[NodeId]) {
        self.missed.retain(|node, _| failed.contains(node));
        self.told.retain(|node, _| failed.contains(node));
        for node in failed {
            let Some(launch) = self.launches.get(node).cloned() else { continue };
            let since = *self.missed.entry(*node).or_insert_with(Instant::now);
            if since.elapsed() < self.delay.max(patience(cluster)) {
                continue;
            }
            let running = self.children.get(node).map(|child| {
                format!("process {}, which was started from here, runs still", child.id())
            });
            let hindrance = match running {
                Some(running) => Some(running),
                None => hindrance(cluster, me, *node, failed, &launch.store).await,
            };
            let done = match hindrance {
                Some(hindrance) => format!("is not started again: {hindrance}"),
                None => match launch.start() {
                    Ok(child) => {
                        let id = child.id();
                        self.children.insert(*node, child);
                        // If this one dies as well, the wait begins anew.
                        self.missed.insert(*node, Instant::now());
                        format!("is started again, as process {id}; it logs to {}", launch.log())
                    }
                    Err(error) => format!("cannot be started again: {error}"),
                },
            };
            if self.told.insert(*node, done.clone()).as_ref() != Some(&done) {
                tracing::warn!("the backup, node {}, {done}", node.0);
            }
        }
    }
}

/// One that lives and hears no primary is heard by the others within so long.
fn patience(cluster: &Cluster) -> Duration {
    cluster.election * 2
}

/// Why a member must not be started here, if it must not.
async fn hindrance(
    cluster: &Cluster,
    me: NodeId,
    node: NodeId,
    failed: &[NodeId],
    store: &Path,
) -> Option<String> {
    let mut is_missed = false;
    for other in &cluster.nodes {
        if other.id == me || failed.contains(&other.id) {
            continue;
        }
        let Ok(mut probe) = Probe::find(cluster, other, Duration::from_secs(1)).await else {
            continue;
        };
        let Ok(status) = probe.status().await else { continue };
        let silence = status.silences.iter().find(|(of, _)| *of == node);
        let Some((_, silence)) = silence else { continue };
        if Duration::from_millis(*silence) < patience(cluster) {
            return Some(format!("node {} hears it, so the link to it is cut", other.id.0));
        }
        is_missed = true;
    }
    if !is_missed {
        return Some("no other member has said that it misses it, too".to_owned());
    }
    match Store::is_free(store, &cluster.identity(), node) {
        Ok(true) => None,
        Ok(false) => {
            let store = store.display();
            Some(format!("its store {store} is in use, so the link to it is cut, or it is stopped"))
        }
        Err(error) => Some(error.to_string()),
    }
}

impl Launch {
    fn log(&self) -> String {
        format!("{}.log", self.store.display())
    }

    fn start(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // What it needs is on its command line.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INDELIBLE_") {
                command.env_remove(name);
            }
        }
        command.spawn()
    }
}
