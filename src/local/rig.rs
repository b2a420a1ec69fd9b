//! The rig: a cluster of nodes, each a process of this program with a store of its own.
//!
//! What happens to a node is what would happen to a machine: it is killed, stopped, started again
//! on the disk it had. What is known of a node is what it says over its socket.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::driven::{self, Driven};
use super::folder::RunFolder;
use super::place::Place;
use super::ports::Ports;
use super::process::{Output, Process};
use crate::client::Probe;
use crate::cluster::{self, Cluster, ELECTION_DEFAULT, Member, Service};
use crate::paxos::{Incarnation, NodeId};
use crate::wal::{self, Identity, Store};

/// What a cluster on this machine is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes.
    pub nodes: u16,
    /// Where the run's folder is made.
    pub data: PathBuf,
    /// Whether it stays when the run ends.
    pub keep: bool,
    /// The binary of this crate, of which each node is a process.
    pub program: PathBuf,
    /// Whether the nodes obey orders to fail.
    pub allow_faults: bool,
    /// What the children log, as `--log` takes it.
    pub log: String,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No ports, no folder, no process.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// A store could not be formatted.
    #[error(transparent)]
    Store(#[from] wal::Error),
    /// The cluster file could not be written.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A node ended, or did not answer in time; with the last it logged.
    #[error("node {0} is not ready: {1}")]
    NotReady(NodeId, String),
    /// The nodes did not agree on a leader in time.
    #[error("not ready after {0:?}: {1}")]
    NotIdle(Duration, &'static str),
}

/// A cluster of processes. Dropping it kills them all and removes the folder.
#[derive(Debug)]
pub struct Rig {
    options: Options,
    cluster: Cluster,
    pub(super) nodes: Vec<Node>,
    /// What else every node is told on its command line.
    flags: Vec<String>,
    /// Where each node runs.
    pub(super) places: Vec<Place>,
    /// Held for as long as a node may come back to its port; none where the places are others'.
    pub(super) ports: Option<Ports>,
    // The last field: dropped when nobody writes there any more.
    folder: RunFolder,
}

/// A node, as its rig sees it.
#[derive(Debug, Default)]
pub(super) struct Node {
    process: Option<Process>,
    /// The connection over which it is asked, kept from one question to the next.
    pub(super) probe: Option<Probe>,
    /// What else it alone is told on its command line.
    flags: Vec<String>,
}

impl Rig {
    /// Takes ports, makes the run's folder, formats the stores and writes the cluster file. Starts
    /// nothing.
    ///
    /// # Errors
    ///
    /// If any of that fails; what was made is removed again.
    pub fn format(options: Options) -> Result<Rig, Error> {
        Rig::format_as(options, |cluster| cluster)
    }

    /// As [`Rig::format`], of the cluster that is made of the usual one: chat, no witnesses.
    ///
    /// # Errors
    ///
    /// If any of that fails; what was made is removed again.
    pub fn format_as(
        options: Options,
        shape: impl FnOnce(Cluster) -> Cluster,
    ) -> Result<Rig, Error> {
        let ports = Ports::reserve(usize::from(options.nodes))
            .map_err(|error| Error::System("no ports", error))?;
        let port = |node| ports.port(usize::from(node));
        let places = (0..options.nodes).map(|node| Place::loopback(port(node))).collect();
        let mut rig = Rig::format_at(options, places, shape)?;
        rig.ports = Some(ports);
        Ok(rig)
    }

    /// As [`Rig::format_as`], with the nodes at these places, of which there are as many.
    ///
    /// # Errors
    ///
    /// If any of that fails; what was made is removed again.
    ///
    /// # Panics
    ///
    /// If there are more places than nodes, or fewer.
    pub fn format_at(
        options: Options,
        places: Vec<Place>,
        shape: impl FnOnce(Cluster) -> Cluster,
    ) -> Result<Rig, Error> {
        assert_eq!(usize::from(options.nodes), places.len(), "a place for each node");
        let folder = RunFolder::create(&options.data, options.keep)
            .map_err(|error| Error::System("cannot make a folder for the run", error))?;
        let member = |(node, place): (u16, &Place)| Member {
            id: NodeId(node),
            address: place.address.clone(),
            witness: false,
        };
        let members = (0..).zip(&places).map(member).collect();
        // The name is the run's own, so that a stray process of another run is refused.
        let (name, service, election) = (folder.name(), Service::Chat, ELECTION_DEFAULT);
        let cluster = shape(Cluster { name, service, election, nodes: members });
        let nodes = places.iter().map(|_| Node::default()).collect();
        let flags = Vec::new();
        let rig = Rig { options, cluster, nodes, flags, places, ports: None, folder };
        rig.cluster.write(&rig.cluster_file())?;
        rig.format_stores()?;
        Ok(rig)
    }

    /// Gives these flags to every node that is started from now on.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Gives these flags to this node, too, when it is started from now on.
    pub fn set_flags_of(&mut self, node: NodeId, flags: &[&str]) {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.nodes[usize::from(node.0)].flags = flags;
    }

    /// Gives the cluster another election timeout, for nodes that are started from now on.
    ///
    /// # Errors
    ///
    /// If the cluster file cannot be written.
    pub fn set_election(&mut self, election: Duration) -> Result<(), Error> {
        self.cluster.election = election;
        Ok(self.cluster.write(&self.cluster_file())?)
    }

    /// Makes this node a witness, for nodes and clients that are started from now on.
    ///
    /// # Errors
    ///
    /// If the cluster file cannot be written.
    pub fn set_witness(&mut self, node: NodeId) -> Result<(), Error> {
        self.cluster.nodes[usize::from(node.0)].witness = true;
        Ok(self.cluster.write(&self.cluster_file())?)
    }

    /// Writes into the cluster file where the nodes are, as an operator does by and by: for nodes
    /// and clients that are started from now on.
    ///
    /// # Errors
    ///
    /// If the cluster file cannot be written.
    pub fn list_places(&mut self) -> Result<(), Error> {
        for (member, place) in self.cluster.nodes.iter_mut().zip(&self.places) {
            member.address.clone_from(&place.address);
        }
        Ok(self.cluster.write(&self.cluster_file())?)
    }

    /// How many nodes are elsewhere than the cluster file has them.
    #[must_use]
    pub fn unlisted(&self) -> usize {
        let all = self.cluster.nodes.iter().zip(&self.places);
        all.filter(|(member, place)| member.address != place.address).count()
    }

    /// Starts a node on its own store, if it is not alive.
    ///
    /// To be called on the main thread: see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(&mut self, node: NodeId) -> Result<(), Error> {
        self.spawn(node, vec!["node".to_owned(), format!("--id={}", node.0)])
    }

    /// Starts the process of a node that is not alive, by this command and the flags that all have.
    pub(super) fn spawn(&mut self, node: NodeId, mut args: Vec<String>) -> Result<(), Error> {
        if self.is_alive(node) {
            return Ok(());
        }
        args.push(format!("--store={}", self.store(node).display()));
        args.push(format!("--cluster-file={}", self.cluster_file().display()));
        args.push(format!("--log={}", self.options.log));
        if self.options.allow_faults {
            args.push("--allow-faults".to_owned());
        }
        let (at, log) = (usize::from(node.0), self.log_file(node));
        if self.places[at].address != self.cluster.nodes[at].address {
            args.push(format!("--address={}", self.places[at].address));
        }
        args.extend(self.flags.iter().chain(&self.nodes[at].flags).cloned());
        let (program, args) = self.places[at].line(&self.options.program, &args);
        let process = Process::spawn(program.as_ref(), args, Output::Nowhere, &log)
            .map_err(|error| Error::System("cannot start a node", error))?;
        (self.nodes[at].process, self.nodes[at].probe) = (Some(process), None);
        Ok(())
    }

    /// Starts all nodes that are not alive.
    ///
    /// # Errors
    ///
    /// If one cannot be started.
    pub fn start_all(&mut self) -> Result<(), Error> {
        self.ids().into_iter().try_for_each(|node| self.start(node))
    }

    /// Starts a chat client, driven by us, that signs with this name.
    ///
    /// To be called on the main thread and inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start_client(&self, name: &str) -> Result<Driven, Error> {
        let args = [
            "chat".to_owned(),
            "--driven".to_owned(),
            format!("--name={name}"),
            format!("--cluster-file={}", self.cluster_file().display()),
            format!("--log={}", self.options.log),
        ];
        let log = self.folder.path().join(format!("client-{name}.log"));
        let spawned = Process::spawn(&self.options.program, args, Output::Pipe, &log);
        spawned
            .and_then(driven::Driven::over)
            .map_err(|error| Error::System("cannot start a client", error))
    }

    /// Kills a node (SIGKILL) and waits until its process is gone.
    pub fn kill(&mut self, node: NodeId) {
        if let Some(process) = self.process(node) {
            process.kill();
        }
    }

    /// Kills some nodes in one go, and waits until all are gone.
    pub fn kill_all(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            if let Some(process) = self.process(*node) {
                process.kill_without_waiting();
            }
        }
        nodes.iter().for_each(|node| self.kill(*node));
    }

    /// Stops a node (SIGSTOP).
    pub fn stop(&mut self, node: NodeId) {
        if let Some(process) = self.process(node) {
            process.stop();
        }
    }

    /// Lets a stopped node go on (SIGCONT).
    pub fn resume(&mut self, node: NodeId) {
        if let Some(process) = self.process(node) {
            process.resume();
        }
    }

    /// Whether a node's process runs, or is stopped but not dead.
    pub fn is_alive(&mut self, node: NodeId) -> bool {
        self.process(node).is_some_and(Process::is_alive)
    }

    /// How a node ended, if it has.
    pub fn ended(&mut self, node: NodeId) -> Option<ExitStatus> {
        self.process(node)?.ended()
    }

    /// The nodes that are alive, ascending.
    pub fn alive(&mut self) -> Vec<NodeId> {
        let ids = self.ids();
        ids.into_iter().filter(|node| self.is_alive(*node)).collect()
    }

    /// Whether more than half of the nodes are alive.
    pub fn has_majority(&mut self) -> bool {
        self.alive().len() >= self.cluster.quorum()
    }

    /// A node's process id, if it was ever started.
    #[must_use]
    pub fn process_id(&self, node: NodeId) -> Option<u32> {
        self.nodes.get(usize::from(node.0))?.process.as_ref().map(Process::id)
    }

    fn process(&mut self, node: NodeId) -> Option<&mut Process> {
        self.nodes.get_mut(usize::from(node.0))?.process.as_mut()
    }

    fn ids(&self) -> Vec<NodeId> {
        self.cluster.nodes.iter().map(|member| member.id).collect()
    }

    /// Formats all stores at the same time: each waits for the disk more than it works.
    fn format_stores(&self) -> Result<(), Error> {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let incarnation = Incarnation(millis as u64);
        let format = |node: NodeId| {
            let identity = Identity { cluster: self.cluster.identity(), node, incarnation };
            Store::format(&self.store(node), &identity, wal::Options { ballast_bytes: 0 })
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.ids().into_iter().map(|node| scope.spawn(move || format(node))).collect();
            let outcomes = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            // All of them are joined, also when one has failed.
            outcomes.collect::<Vec<_>>().into_iter().collect::<Result<(), wal::Error>>()
        })?;
        Ok(())
    }
}

/// Where things are.
impl Rig {
    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The run's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The cluster file.
    #[must_use]
    pub fn cluster_file(&self) -> PathBuf {
        self.folder.path().join("cluster.toml")
    }

    /// A node's store.
    #[must_use]
    pub fn store(&self, node: NodeId) -> PathBuf {
        self.folder.path().join(format!("node-{}", node.0))
    }

    /// What a node has logged.
    #[must_use]
    pub fn log(&self, node: NodeId) -> String {
        let bytes = fs::read(self.log_file(node)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_file(&self, node: NodeId) -> PathBuf {
        self.folder.path().join(format!("node-{}.log", node.0))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill_all(&self.ids());
    }
}
