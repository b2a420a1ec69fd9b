//! A node as a process: sockets, threads and the real clock around [`Node`](crate::node::Node).
//!
//! Two threads. The main one runs all sockets and waits; the one named `node` owns the node and its
//! disk, and is the only place that reads the clock. Between them: one bounded queue of jobs, a
//! queue to each peer and to each client, and a watched pair of how far the node has applied and
//! whom it follows. No lock is held anywhere.
//!
//! **Architecture invariant:** waiting and changing are apart. `select` waits and changes nothing;
//! the node's thread changes and waits for nothing but the disk.

mod bomb;
mod clients;
mod drive;
mod jobs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::paxos::{Config, Incarnation, NodeId, Slot, Timing, Wal};
use crate::rsm::StateMachine;
use crate::transport::incoming::{Identity, Incoming, greet, hear_peer};
use crate::transport::listener::{self, listen};
use crate::transport::outgoing::{Outgoing, to_all};
use drive::Drive;
use jobs::{JOBS_MAX, Job};

/// Connections of clients at a time.
pub const CLIENTS_MAX: usize = 4096;

/// Connections of peers at a time; they have a budget of their own, so that no crowd of clients
/// keeps them out.
pub const PEERS_MAX: usize = 256;

/// What a server is told beside its cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which member this is.
    pub node: NodeId,
    /// The store it runs on.
    pub incarnation: Incarnation,
    /// Whether it obeys orders to fail.
    pub allow_faults: bool,
}

/// Why a server stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error> {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] listener::Error),
    /// Its log failed: final.
    #[error("{0}")]
    Log(E),
    /// It is not a member.
    #[error("node {0} is not in the cluster file")]
    Stranger(u16),
    /// The operating system refused something.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// How far the node has come, for those who wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    applied: Slot,
    leader: Option<NodeId>,
}

/// What the tasks of a server share: where jobs go, and how far the node has come.
#[derive(Clone)]
struct Desk {
    identity: Identity,
    allow_faults: bool,
    jobs: mpsc::Sender<Job>,
    progress: watch::Receiver<Progress>,
}

/// Runs a node until `stop` resolves, or its log fails. Settles the log at the end.
///
/// # Errors
///
/// If it cannot listen, is no member, or its log fails.
pub async fn run<W, M>(
    cluster: &Cluster,
    options: Options,
    wal: W,
    machine: M,
    stop: impl Future<Output = ()>,
) -> Result<(), Error<W::Error>>
where
    W: Wal + Send + 'static,
    M: StateMachine + Send + 'static,
{
    let member = cluster.member(options.node).ok_or(Error::Stranger(options.node.0))?;
    let listener = listen(&member.address)?;
    let node = Node::open(config(cluster, &options), wal, machine).map_err(Error::Log)?;
    tracing::info!(
        node = options.node.0,
        address = %member.address,
        decided = node.applied().0,
        "listening"
    );
    let identity = Identity {
        cluster: cluster.name.clone(),
        node: options.node,
        incarnation: options.incarnation,
        members: cluster.members(),
    };
    let (jobs, inbox) = mpsc::channel(JOBS_MAX);
    let first = Progress { applied: node.applied(), leader: None };
    let (publish, progress) = watch::channel(first);
    let peers = to_all(&cluster.nodes, &identity);
    let ways = peers.clone();
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("node".to_owned()).spawn(move || {
        // If nobody waits for the end any more, the process is ending anyway.
        let _ = ended.send(Drive::new(node, ways, publish).run(inbox));
    })?;
    let desk = Desk { identity, allow_faults: options.allow_faults, jobs, progress };
    let accepting = accept_all(listener, desk.clone(), peers);
    let outcome = tokio::select! {
        () = accepting => unreachable!("accepting never ends"),
        () = stop => {
            // The node's thread settles the log and ends.
            let _ = desk.jobs.send(Job::Stop).await;
            None
        }
        outcome = end => Some(outcome),
    };
    let failed = match outcome {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) | None => Ok(()),
    };
    if thread.join().is_err() {
        return Err(Error::System(std::io::Error::other("the node's thread panicked")));
    }
    failed.map_err(Error::Log)
}

fn config(cluster: &Cluster, options: &Options) -> Config {
    let timing = Timing::from_election(cluster.election.as_millis() as u64);
    let mut config = Config::new(options.node, options.incarnation, cluster.members(), timing);
    config.witnesses = cluster.witnesses();
    config.seed = fastrand::u64(..);
    config
}

/// Takes calls for ever.
async fn accept_all(listener: TcpListener, desk: Desk, peers: Vec<(NodeId, Outgoing)>) {
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    let callers = Arc::new(Semaphore::new(CLIENTS_MAX + PEERS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others will be closed.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&callers).try_acquire_owned() else { continue };
        let (desk, peers, clients) = (desk.clone(), peers.clone(), Arc::clone(&clients));
        tasks.spawn(async move {
            take_call(stream, desk, peers, clients).await;
            drop(place);
        });
    }
}

async fn take_call(
    stream: tokio::net::TcpStream,
    desk: Desk,
    peers: Vec<(NodeId, Outgoing)>,
    clients: Arc<Semaphore>,
) {
    let address = stream.peer_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let leader = desk.progress.borrow().leader;
    match greet(stream, &desk.identity, leader).await {
        Ok(Incoming::Peer(from, frames)) => {
            if let Some((_, way)) = peers.iter().find(|(id, _)| *id == from) {
                way.nudge();
            }
            if let Err(reason) = hear_peer(from, &desk.identity, frames, &desk.jobs).await {
                tracing::warn!(peer = from.0, %address, "connection ended: {reason}");
            }
        }
        Ok(Incoming::Client(id, frames)) => {
            let Ok(_place) = clients.try_acquire() else {
                tracing::warn!(%address, "connection ended: too many clients");
                return;
            };
            if let Err(reason) = clients::serve(id, frames, desk).await {
                tracing::warn!(client = %id, %address, "connection ended: {reason}");
            }
        }
        Err(refused) => tracing::warn!(%address, "connection refused: {refused}"),
    }
}
