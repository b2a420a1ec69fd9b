//! A node as a process: sockets, threads and the real clock around [`Node`].
//!
//! Three threads. The main one runs all sockets and waits; the one named `node` owns the node and
//! its log, and is the only place that reads the clock; the `keeper` makes snapshots durable.
//! Between them: one bounded queue of jobs, a queue to each peer and to each client, and a watched
//! note of how far the node has applied, whom it follows, and that its thread lives: clients are to
//! leave a node whose disk has stalled. Where a log file is asked for, one more thread writes it
//! (`scribe`); and one a trace (`trace_file`).
//!
//! **Architecture invariant:** waiting and changing are apart. `select` waits and changes nothing;
//! the node's thread changes and waits for nothing but the disk.

mod bomb;
mod clients;
mod drive;
mod guests;
mod herald;
mod jobs;
mod keeper;
mod line;
mod log_file;
mod scribe;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;
mod trace_file;
mod vigil;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::node::{self, Node, Pace, Storage};
use crate::paxos::{Config, Incarnation, NodeId, Slot, Timing, Wal};
use crate::rsm::{Keep, Shelf, StateMachine};
use crate::transport::book::Book;
use crate::transport::incoming::{Ear, Identity, Incoming, greet, hear_peer};
use crate::transport::listener::{self, listen};
use crate::transport::outgoing::{Outgoing, to_all};
use crate::transport::prepare;
use crate::wire::drop::{Dropper, Loss};
use drive::Drive;
use guests::Guests;
use jobs::{Job, Lane};
use log_file::LogFile;
use scribe::Scribe;
use trace_file::TraceFile;

pub use log_file::{Error as LogFileError, LineOf};

/// Connections of clients at a time. Peers need no number: each is heard on one.
pub const CLIENTS_MAX: usize = 4096;

/// Connections at a time whose callers have not said who they are: a budget of their own, so that
/// neither clients nor silent strangers use up that of the others.
pub const STRANGERS_MAX: usize = 512;

/// What a server is told beside its cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which member this is.
    pub node: NodeId,
    /// The store it runs on.
    pub incarnation: Incarnation,
    /// Whether it obeys orders to fail.
    pub allow_faults: bool,
    /// Where it writes what it has executed, for people; and how each entry of the archive reads.
    pub log_file: Option<(PathBuf, LineOf)>,
    /// Where it writes what it does, for an audit.
    pub trace: Option<PathBuf>,
    /// Slots that it leaves out as primary of the first view.
    pub skip_slots: BTreeSet<Slot>,
    /// What it loses of what it says.
    pub loss: Loss,
    /// How often it takes a snapshot.
    pub pace: Pace,
    /// Where it listens, and tells the others that it is, if not where the cluster file has it.
    pub address: Option<String>,
}

impl Options {
    /// A member that runs as it should, on this store.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Options {
        Options {
            node,
            incarnation,
            allow_faults: false,
            log_file: None,
            trace: None,
            skip_slots: BTreeSet::new(),
            loss: Loss::default(),
            pace: Pace::default(),
            address: None,
        }
    }
}

/// Why a server stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error> {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] listener::Error),
    /// Its log or its archive failed, or they do not belong together: final.
    #[error(transparent)]
    Node(#[from] node::Error<E>),
    /// Its log file, or its trace, cannot be opened; or the file is not its own.
    #[error(transparent)]
    LogFile(#[from] LogFileError),
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
    /// Grows for as long as the node's thread lives.
    beats: u64,
}

/// What the tasks of a server share.
#[derive(Clone)]
struct Desk {
    identity: Identity,
    book: Arc<Book>,
    allow_faults: bool,
    /// Whether there is nothing here that a client could want to follow.
    is_witness: bool,
    /// Where jobs of clients go.
    jobs: Lane,
    /// Where messages of peers go.
    news: Lane,
    progress: watch::Receiver<Progress>,
    peers: Arc<Vec<Peer>>,
    clients: Arc<Semaphore>,
    loss: Loss,
    /// Clients greeted so far.
    greeted: Arc<AtomicU64>,
    /// Clients that are connected.
    guests: Guests,
}

impl Desk {
    /// What decides which answers of one connection are lost: another each time, or a client that
    /// comes back would lose the same again.
    fn dropper(&self) -> Dropper {
        let connection = self.greeted.fetch_add(1, Ordering::Relaxed);
        let links_of_clients = u64::from(u16::MAX) + 1;
        self.loss.dropper(u64::from(self.identity.node.0), links_of_clients + connection)
    }
}

/// Another node.
struct Peer {
    id: NodeId,
    way: Outgoing,
    ear: Ear,
}

/// Runs a node until `stop` resolves, or its log fails. Settles the log at the end.
///
/// # Errors
///
/// If it cannot listen, is no member, or its log fails.
pub async fn run<W, S, M>(
    cluster: &Cluster,
    options: Options,
    storage: Storage<W, S>,
    machine: M,
    stop: impl Future<Output = ()>,
) -> Result<(), Error<W::Error>>
where
    W: Wal + Send + 'static,
    S: Shelf + Keep + Clone + 'static,
    M: StateMachine + Send + 'static,
{
    let address = own_address(cluster, &options)?;
    serve(listen(&address)?, cluster, options, storage, machine, stop).await
}

/// Where this member listens.
fn own_address<E: std::error::Error>(
    cluster: &Cluster,
    options: &Options,
) -> Result<String, Error<E>> {
    let member = cluster.member(options.node).ok_or(Error::Stranger(options.node.0))?;
    Ok(options.address.as_ref().unwrap_or(&member.address).clone())
}

/// As [`run`], on a port that is held already.
async fn serve<W, S, M>(
    listener: TcpListener,
    cluster: &Cluster,
    options: Options,
    storage: Storage<W, S>,
    machine: M,
    stop: impl Future<Output = ()>,
) -> Result<(), Error<W::Error>>
where
    W: Wal + Send + 'static,
    S: Shelf + Keep + Clone + 'static,
    M: StateMachine + Send + 'static,
{
    let beside = storage.found(options.pace)?;
    let Storage { wal, shelf } = storage;
    let mut node = Node::open(config(cluster, &options), wal, beside, machine)?;
    let _written_at_the_end = open_trace(&options, &mut node)?;
    let log_file = open_log_file(&options, &node)?;
    tracing::info!(
        node = options.node.0,
        address = ?listener.local_addr().ok(),
        decided = node.applied().0,
        "listening"
    );
    let identity = Identity {
        cluster: cluster.identity(),
        node: options.node,
        incarnation: options.incarnation,
        members: cluster.members(),
        address: own_address(cluster, &options)?,
    };
    let book = Arc::new(open_book(cluster, &identity, &node));
    let (jobs, news, inbox) = jobs::queue();
    let keeper = keeper::start(shelf, jobs.clone())?;
    let first = Progress { applied: node.applied(), ..Progress::default() };
    let (publish, progress) = watch::channel(first);
    let ways = to_all(&cluster.nodes, &identity, options.loss, &book);
    let peer =
        |(id, way): &(NodeId, Outgoing)| Peer { id: *id, way: way.clone(), ear: Ear::default() };
    let peers = Arc::new(ways.iter().map(peer).collect());
    let (ended, end) = oneshot::channel();
    let (election, pages) = (cluster.election, Arc::clone(&book));
    let thread = std::thread::Builder::new().name("node".to_owned()).spawn(move || {
        // If nobody waits for the end any more, the process is ending anyway.
        let _ = ended.send(Drive::new((node, keeper), ways, publish, pages, election).run(inbox));
    })?;
    let scribe = Scribe::start(log_file, jobs.clone(), progress.clone())?;
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    let (allow_faults, loss, greeted) = (options.allow_faults, options.loss, Arc::default());
    let is_witness = cluster.witnesses().contains(&options.node);
    let desk = Desk {
        identity,
        book,
        allow_faults,
        is_witness,
        jobs,
        news,
        progress,
        peers,
        clients,
        loss,
        greeted,
        guests: Guests::default(),
    };
    let outcome = attend(listener, &desk, scribe, end, stop).await;
    if thread.join().is_err() {
        return Err(Error::System(std::io::Error::other("the node's thread panicked")));
    }
    outcome
}

/// Takes calls until the node's thread ends, or is to: its log fails, or the file for people does,
/// or a newer store has taken this one's place, or `stop` resolves.
async fn attend<E: std::error::Error>(
    listener: TcpListener,
    desk: &Desk,
    mut scribe: Scribe,
    mut end: oneshot::Receiver<Result<(), node::Error<E>>>,
    stop: impl Future<Output = ()>,
) -> Result<(), Error<E>> {
    let refusal = tokio::select! {
        () = accept_all(listener, desk.clone()) => unreachable!("accepting never ends"),
        outcome = &mut end => return Ok(outcome.unwrap_or(Ok(()))?),
        error = scribe.refuses() => Some(Error::LogFile(error)),
        () = desk.book.is_replaced() => {
            Some(Error::Node(node::Error::Replaced(desk.identity.node)))
        }
        () = stop => None,
    };
    if refusal.is_none() {
        scribe.finish().await;
    }
    // The node's thread settles the log and ends; or it has ended already. What its log says
    // matters more than what anybody else does.
    let _ = desk.jobs.push_now(Job::Stop);
    end.await.unwrap_or(Ok(()))?;
    refusal.map_or(Ok(()), Err)
}

/// Where the members are, and which of their stores are the newest, as the disk has it.
fn open_book<W: Wal, M: StateMachine>(cluster: &Cluster, me: &Identity, node: &Node<W, M>) -> Book {
    let book = Book::new(&cluster.nodes);
    book.hear(me.node, me.incarnation, &me.address);
    let state = node.replica().state();
    for (peer, store) in state.incarnations() {
        book.record(peer, store);
    }
    for (peer, address) in state.moved() {
        book.hear_of(peer, &String::from_utf8_lossy(address));
    }
    book
}

/// The trace, if one is asked for: it is told of all that this node does.
fn open_trace<W: Wal, M: StateMachine>(
    options: &Options,
    node: &mut Node<W, M>,
) -> Result<Option<TraceFile>, LogFileError> {
    let Some(path) = &options.trace else { return Ok(None) };
    let trace = TraceFile::open(path)?;
    node.listen(trace.tap());
    Ok(Some(trace))
}

/// The log file, if one is asked for. What it holds is compared with what the node has executed so
/// far, before it serves anybody.
fn open_log_file<W: Wal, M: StateMachine>(
    options: &Options,
    node: &Node<W, M>,
) -> Result<Option<LogFile>, LogFileError> {
    let Some((path, line_of)) = &options.log_file else { return Ok(None) };
    let mut log = LogFile::open(path, *line_of)?;
    while log.is_ahead() && log.next() < node.applied() {
        let (next, entries) = node.entries(log.next(), drive::PAGE_BYTES);
        log.take(next, &entries)?;
    }
    Ok(Some(log))
}

fn config(cluster: &Cluster, options: &Options) -> Config {
    let timing = Timing::from_election(cluster.election.as_millis() as u64);
    let mut config = Config::new(options.node, options.incarnation, cluster.members(), timing);
    config.witnesses = cluster.witnesses();
    config.seed = fastrand::u64(..);
    config.skip_slots = options.skip_slots.clone();
    config.address = options.address.clone().map(Bytes::from);
    config
}

/// Takes calls for ever.
async fn accept_all(listener: TcpListener, desk: Desk) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
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
        // Whoever finds no place is hung up on, and may call again.
        if let Ok(place) = Arc::clone(&strangers).try_acquire_owned() {
            tasks.spawn(take_call(stream, desk.clone(), place));
        }
    }
}

async fn take_call(stream: TcpStream, desk: Desk, stranger: OwnedSemaphorePermit) {
    let address = stream.peer_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    if prepare(&stream).is_err() {
        return;
    }
    let leader = desk.progress.borrow().leader;
    let seat = || Arc::clone(&desk.clients).try_acquire_owned().ok();
    let greeted = greet(stream, &desk.identity, &desk.book, leader, seat).await;
    drop(stranger);
    let ended = match greeted {
        Ok(Incoming::Peer(from, store, frames)) => {
            let Some(peer) = desk.peers.iter().find(|peer| peer.id == from) else { return };
            peer.way.nudge();
            let over = desk.book.replaces(from, store);
            let hearing = hear_peer(from, &desk.identity, frames, &peer.ear, &desk.news, over);
            hearing.await.map_err(|reason| format!("{from}: {reason}"))
        }
        Ok(Incoming::Client(id, frames, _place)) => clients::serve(id, frames, leader, desk)
            .await
            .map_err(|reason| format!("client {id}: {reason}")),
        Err(refused) => Err(refused.to_string()),
    };
    if let Err(reason) = ended {
        tracing::warn!(%address, "connection ended: {reason}");
    }
}
