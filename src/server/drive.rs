//! The loop of the node's thread: wait for a job, drain the queue, handle all of it at once.
//!
//! The only place that reads the clock. Time is fed first in each turn: after a stalled commit the
//! node learns that it was silent before it looks at anything that came meanwhile, so that a leader
//! on a dead disk is no leader when it wakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::Progress;
use super::bomb::Ways;
use super::herald::{self, Herald};
use super::jobs::{Job, Waiting};
use super::keeper;
use super::line::Line;
use super::vigil::Vigil;
use crate::node::{self, Event, Node, Output};
use crate::paxos::{ClientId, Incarnation, NodeId, Request, Wal};
use crate::rsm::StateMachine;
use crate::transport::book::Book;
use crate::transport::outgoing::Outgoing;
use crate::wire::client::{FromNode, Order, Role};

/// Jobs handled in one turn at most.
const TURN_MAX: usize = 1024;

/// How often the node is told that time passed, if nothing else happens; more often where the
/// election timeout is short.
const TICK_MAX: Duration = Duration::from_millis(10);

/// Ticks in an election timeout, at least.
const TICKS: u32 = 40;

/// How often clients hear that this thread lives.
const BEAT: Duration = Duration::from_millis(100);

/// Bytes in one page of the archive.
pub(super) const PAGE_BYTES: usize = 256 << 10;

/// The node, its clock and those who wait for its answers.
pub(super) struct Drive<W, M> {
    node: Node<W, M>,
    keeper: keeper::Desk,
    ways: Ways,
    publish: watch::Sender<Progress>,
    book: Arc<Book>,
    /// The peers' stores that the book knows to be on record.
    stores: Vec<(NodeId, Option<Incarnation>)>,
    vigil: Vigil,
    routes: BTreeMap<ClientId, Line>,
    queries: BTreeMap<u64, (u64, Line)>,
    queries_asked: u64,
    tick: Duration,
    ticked: Instant,
    beat: Instant,
    is_settled: bool,
    herald: Herald,
}

impl<W: Wal, M: StateMachine> Drive<W, M> {
    pub(super) fn new(
        (node, keeper): (Node<W, M>, keeper::Desk),
        peers: Vec<(NodeId, Outgoing)>,
        publish: watch::Sender<Progress>,
        book: Arc<Book>,
        election: Duration,
    ) -> Drive<W, M> {
        let stores = peers.iter().map(|(peer, _)| (*peer, None)).collect();
        Drive {
            node,
            keeper,
            ways: Ways::new(peers),
            publish,
            book,
            stores,
            vigil: Vigil::default(),
            routes: BTreeMap::new(),
            queries: BTreeMap::new(),
            queries_asked: 0,
            tick: (election / TICKS).clamp(Duration::from_millis(1), TICK_MAX),
            ticked: Instant::now(),
            beat: Instant::now(),
            is_settled: false,
            herald: Herald::default(),
        }
    }

    /// Until told to stop, or the log fails.
    pub(super) fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Waiting>,
    ) -> Result<(), node::Error<W::Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a timer needs nothing that can be refused");
        let mut turn = Vec::with_capacity(TURN_MAX);
        loop {
            let waited = runtime.block_on(async {
                tokio::time::timeout(self.tick, inbox.recv_many(&mut turn, TURN_MAX)).await
            });
            match waited {
                Ok(0) => return self.settle(),
                Ok(_) => (),
                Err(_) if !self.is_settled => {
                    self.settle()?;
                    self.is_settled = true;
                }
                Err(_) => (),
            }
            if self.turn(&mut turn)? {
                return self.settle();
            }
        }
    }

    fn settle(&mut self) -> Result<(), node::Error<W::Error>> {
        self.node.settle().map_err(node::Error::Log)
    }

    /// Handles what was gathered. Whether that was the last of it.
    fn turn(&mut self, turn: &mut Vec<Waiting>) -> Result<bool, node::Error<W::Error>> {
        let mut events = Vec::with_capacity(turn.len() + 1);
        let mut later = Vec::new();
        events.extend(self.tick());
        if !events.is_empty() && self.node.deadline().is_some() {
            events.push(Event::Clock(now_ms()));
        }
        let mut stop = false;
        for Waiting { job, .. } in turn.drain(..) {
            match job {
                Job::Event(event) => {
                    self.vigil.note(&event, self.node.replica().config());
                    events.push(event);
                }
                Job::Request(request, reply) => {
                    self.routes.insert(request.client, reply);
                    events.push(Event::Request(timed(request)));
                }
                Job::Post(request, reply) => {
                    self.routes.insert(request.client, reply);
                    events.push(Event::Post(timed(request)));
                }
                Job::KeepAlive(client, id, reply) => {
                    self.routes.insert(client, reply);
                    events.push(Event::KeepAlive { client, id });
                }
                Job::End(client, reply) => {
                    self.routes.insert(client, reply);
                    events.push(Event::End(client));
                }
                Job::Lease(id, session, reply) => {
                    let id = self.note_question(id, reply);
                    events.push(Event::Lease { id, session });
                }
                Job::Query(id, body, reply) => {
                    let id = self.note_question(id, reply);
                    events.push(Event::Query { id, body });
                }
                Job::Order(Order::Skip(count), done) if self.leads() => {
                    events.push(Event::Skip(count));
                    later.push(Job::Order(Order::Skip(count), done));
                }
                Job::Order(Order::Heal, done) if self.leads() => {
                    events.push(Event::Heal);
                    later.push(Job::Order(Order::Heal, done));
                }
                Job::Fail(error) => return Err(error.into()),
                Job::Stop => stop = true,
                Job::Order(..) | Job::Page(..) | Job::Status(_) | Job::Gone(_) => later.push(job),
            }
        }
        if !events.is_empty() {
            self.is_settled &= events.iter().all(is_time);
            let outputs = self.node.handle(events, &mut self.ways)?;
            self.answer(outputs);
            self.note_stores();
            self.vigil.tell(&self.node, &self.book);
            self.herald.tell(&self.node);
        }
        self.publish();
        for job in later {
            self.after(job);
        }
        Ok(stop)
    }

    /// A question whose answer goes there with this id; the node knows it by another.
    fn note_question(&mut self, id: u64, reply: Line) -> u64 {
        self.queries_asked += 1;
        self.queries.insert(self.queries_asked, (id, reply));
        self.queries_asked
    }

    /// How much time passed since the last turn that was told, in whole milliseconds.
    fn tick(&mut self) -> Option<Event> {
        let elapsed = self.ticked.elapsed().as_millis() as u64;
        self.ticked += Duration::from_millis(elapsed);
        (elapsed > 0).then_some(Event::Tick { elapsed })
    }

    fn leads(&self) -> bool {
        self.node.status().role == Role::Leader
    }

    /// What is answered from the state that the turn led to.
    fn after(&mut self, job: Job) {
        // Whoever asked may be gone; then nobody needs the answer.
        match job {
            Job::Page(from, page) => {
                let _ = page.send(self.node.entries(from, PAGE_BYTES));
            }
            Job::Status(status) => {
                let _ = status.send(self.node.status());
            }
            Job::Order(order, done) => {
                let _ = done.send(self.obey(&order));
            }
            Job::Gone(client) => {
                if self.routes.get(&client).is_some_and(Line::is_closed) {
                    self.routes.remove(&client);
                }
            }
            Job::Event(_)
            | Job::Request(..)
            | Job::Post(..)
            | Job::KeepAlive(..)
            | Job::End(..)
            | Job::Lease(..)
            | Job::Query(..)
            | Job::Fail(_)
            | Job::Stop => (),
        }
    }

    fn obey(&mut self, order: &Order) -> Result<(), String> {
        match order {
            Order::Heal => Ok(()),
            Order::Bomb(_) | Order::Skip(_) if !self.leads() => {
                Err(format!("node {} does not lead", self.node.status().node.0))
            }
            Order::Skip(_) => Ok(()),
            Order::Bomb(fuse) => {
                self.ways.arm(*fuse);
                Ok(())
            }
        }
    }

    fn answer(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let (client, answer) = match output {
                Output::Queued(client, number) => (client, FromNode::Queued(number)),
                Output::Reply { client, number, slot, outcome } => {
                    (client, FromNode::Reply { number, slot, outcome })
                }
                Output::Rejected(client, number, why) => {
                    (client, FromNode::Rejected { number, why })
                }
                Output::Alive { client, id } => (client, FromNode::Alive { id }),
                Output::Ended(client) => (client, FromNode::Ended),
                Output::Notice { client, slot, body } => (client, FromNode::Notice { slot, body }),
                Output::Left { id, result } => {
                    if let Some((id, reply)) = self.queries.remove(&id) {
                        reply.tell(FromNode::Left { id, result });
                    }
                    continue;
                }
                Output::Draft(draft) => {
                    self.keeper.hand_in(draft);
                    continue;
                }
                Output::Moved(node, address) => {
                    let address = String::from_utf8_lossy(&address);
                    self.book.hear_of(node, &address);
                    tracing::info!(node = node.0, "node {} is at {address} now", node.0);
                    continue;
                }
                Output::Rejoined => {
                    tracing::warn!("this store votes from now on: it has all that it needs");
                    continue;
                }
                Output::Differs(difference) => {
                    herald::tell_difference(&difference);
                    continue;
                }
                Output::Answer { id, result } => {
                    if let Some((id, reply)) = self.queries.remove(&id) {
                        reply.tell(FromNode::Answer { id, result });
                    }
                    continue;
                }
            };
            if let Some(reply) = self.routes.get(&client)
                && !reply.tell(answer)
            {
                self.routes.remove(&client);
            }
        }
    }

    /// Enters the peers' stores that are new on record into the book: others are refused from now
    /// on.
    fn note_stores(&mut self) {
        let state = self.node.replica().state();
        for (peer, known) in &mut self.stores {
            let newest = state.incarnation(*peer);
            if let Some(store) = newest
                && newest != *known
            {
                self.book.record(*peer, store);
            }
            *known = newest;
        }
    }

    fn publish(&mut self) {
        let is_beat = self.beat.elapsed() >= BEAT;
        if is_beat {
            self.beat = Instant::now();
        }
        let (applied, leader) = (self.node.applied(), self.node.leader());
        self.publish.send_if_modified(|held| {
            let beats = held.beats + u64::from(is_beat);
            let progress = Progress { applied, leader, beats };
            let changed = *held != progress;
            *held = progress;
            changed
        });
    }
}

/// Whether it only says that time passes.
fn is_time(event: &Event) -> bool {
    matches!(event, Event::Tick { .. } | Event::Clock(_))
}

/// A request, and when it came: the protocol rests nothing on it.
fn timed(request: Request) -> Request {
    Request { time_ms: now_ms(), ..request }
}

/// What the clock shows, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
