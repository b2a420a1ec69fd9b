//! A whole node without a socket: the core, its gate to the disk, and what it applies.
//!
//! The loop of a node is: wait for one event, drain the queue, step through all of it, send what
//! claims nothing, **one** commit, then send the rest and apply what is decided. Waiting is the
//! server's part (or the simulator's); all the rest is [`Node::handle`], which waits for nothing
//! but the disk. Batching is the shape of this loop, not a feature: whatever arrives during one
//! commit goes into the next.
//!
//! **Architecture invariant:** synchronous, and free of clocks and sockets; everything that the
//! simulator needs is here, and everything that is here runs in the simulator.

mod event;
mod hearing;
mod keeping;
mod leases;
mod leasing;
mod recovery;
mod standing;
mod storage;
mod transfer;
mod waking;
mod witness;
mod word;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::paxos::{
    ClientId, Command, Config, Effects, Heard, Input, Listener, Network, Notice, Persister, ReadId,
    Rejection, Released, Replica, Request, RequestNumber, Slot, Tap, Wal,
};
use crate::rsm::{Executor, Fate, Outcome, ShelfError, StateMachine};
use crate::wire::client::{self, Refusal};
use hearing::Hearing;
use keeping::Keeping;
use leasing::Leasing;
use recovery::recover;
use transfer::Offered;
use waking::Waking;
use witness::recover_copy;
use word::Word;

pub use event::{Event, Output};
pub use keeping::{Draft, Pace};
pub use recovery::{Beside, Error, replay};
pub use storage::Storage;
pub use witness::copied;

/// A node: protocol, disk and state machine.
#[derive(Clone, Debug)]
pub struct Node<W, M> {
    replica: Replica,
    persister: Persister<W>,
    executor: Executor<M>,
    asked: BTreeMap<ReadId, Asked>,
    reads: u64,
    keeping: Keeping,
    leasing: Leasing,
    waking: Waking,
    hearing: Hearing,
    /// What is stepped through before all else: a snapshot in force is told to the core before the
    /// core can decide anything below it.
    first: Vec<Input>,
    tap: Listener,
}

/// What waits until a quorum has said that this node still leads.
#[derive(Clone, Debug)]
enum Asked {
    /// A question to the state machine, by its id.
    Query(u64, Bytes),
    /// Whether a client's session is gone, as its request lets suspect.
    Session(ClientId, RequestNumber),
    /// A keep-alive of a client's session, by its id.
    Alive(ClientId, u64),
    /// How long a session has left, by the question's id.
    Lease(u64, ClientId),
}

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// A node that goes on from its newest snapshot and what its log says above: decided commands
    /// are applied again.
    ///
    /// # Errors
    ///
    /// If log or archive cannot be read, or something acknowledged is missing or damaged.
    pub fn open(
        config: Config,
        mut wal: W,
        beside: Beside,
        machine: M,
    ) -> Result<Node<W, M>, Error<W::Error>> {
        let state = wal.load().map_err(Error::Log)?;
        let pace = beside.pace;
        let older = beside.snapshots.get(1).map(|(slot, _)| Input::Hold(*slot));
        let (mut executor, newest) = match config.is_witness() {
            true => recover_copy(&state, beside, machine)?,
            false => recover(&state, beside, machine)?,
        };
        let holds = newest.as_ref().and(older);
        // A snapshot may be ahead of the mark, or of damage in the log: then it takes the place of
        // the log up to there.
        let snapshot = newest.as_ref().map(Offered::slot).filter(|slot| *slot > state.known());
        let first = snapshot.map(Input::Install).into_iter().chain(holds).collect();
        let mut replica = Replica::recover(config, state);
        replica.note_applied(executor.applied(), executor.take_checkpoints());
        let keeping = Keeping::new(pace, newest);
        Ok(Node {
            replica,
            persister: Persister::new(wal),
            executor,
            asked: BTreeMap::new(),
            reads: 0,
            keeping,
            leasing: Leasing::default(),
            waking: Waking::default(),
            hearing: Hearing::default(),
            first,
            tap: Listener::default(),
        })
    }

    /// Has somebody hear all that happens here from now on. Before the first event.
    pub fn listen(&mut self, tap: Box<dyn Tap + Send>) {
        self.tap = Listener::new(tap);
        let (config, state) = (self.replica.config(), self.replica.state());
        self.tap.hear(Heard::Started(config, state, self.reached().max(self.replica.decided())));
    }

    /// Does everything that these events ask for: one commit for all of it. What the node says to
    /// itself is part of it, and may need one more.
    ///
    /// # Errors
    ///
    /// The log's or the archive's, or that this node's state is not that of the others: final. The
    /// node must stop, and say nothing more.
    pub fn handle(
        &mut self,
        events: impl IntoIterator<Item = Event>,
        network: &mut impl Network,
    ) -> Result<Vec<Output>, Error<W::Error>> {
        let mut outputs = Vec::new();
        let mut inputs = Vec::new();
        for event in events {
            self.admit(event, &mut inputs, &mut outputs)?;
        }
        inputs.splice(0..0, self.first.drain(..));
        loop {
            let effects = self.step_all(inputs);
            let mut released = self.commit(effects, network).map_err(Error::Log)?;
            let own = released.take_loopback(self.replica.config().node);
            let notices = released.take_notices();
            network.send(released);
            inputs = self.apply(notices, &mut outputs)?;
            inputs.extend(own.into_iter().map(Input::Message));
            if inputs.is_empty() {
                self.shelve()?;
                return Ok(outputs);
            }
        }
    }

    /// Writes down what makes a later loss noticeable; for idle moments and a clean stop.
    ///
    /// # Errors
    ///
    /// The log's: final.
    pub fn settle(&mut self) -> Result<(), W::Error> {
        self.persister.settle()
    }

    fn step_all(&mut self, inputs: Vec<Input>) -> Effects {
        let mut joined: Option<Effects> = None;
        for input in inputs.into_iter().chain([Input::Flush]) {
            let effects = self.replica.step(input);
            joined = Some(match joined {
                Some(earlier) => earlier.then(effects),
                None => effects,
            });
        }
        joined.expect("a flush at least")
    }

    fn commit(
        &mut self,
        mut effects: Effects,
        network: &mut impl Network,
    ) -> Result<Released, W::Error> {
        let early = self.persister.release_early(&mut effects);
        self.tap.sent(early.messages());
        network.send(early);
        let released = self.persister.persist_heard(effects, &mut self.tap)?;
        self.tap.sent(released.messages());
        Ok(released)
    }

    /// Turns an event into inputs of the core, or answers it at once.
    fn admit(
        &mut self,
        event: Event,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Arc<ShelfError>> {
        match event {
            Event::Message(envelope) => {
                self.hearing.hear(envelope.from);
                inputs.push(Input::Message(envelope));
            }
            Event::Request(request) => inputs.extend(self.admit_request(request, outputs)),
            Event::Post(request) => inputs.extend(self.pass_on(request, outputs)),
            Event::Query { id, body } => inputs.push(self.ask(Asked::Query(id, body))),
            Event::KeepAlive { client, id } => inputs.push(self.ask(Asked::Alive(client, id))),
            Event::Lease { id, session } => inputs.push(self.ask(Asked::Lease(id, session))),
            Event::End(client) => inputs.extend(self.admit_end(client, outputs)),
            Event::Reset(node) => inputs.push(Input::Reset(node)),
            Event::Tick { elapsed } => {
                inputs.push(Input::Tick { elapsed });
                self.leasing.pass(elapsed);
                self.hearing.pass(elapsed);
                self.hearing.note_leader(self.replica.leader());
                inputs.extend(self.tick_keeping(elapsed)?);
            }
            Event::Clock(time_ms) => self.waking.note_clock(time_ms),
            Event::Skip(count) => inputs.push(Input::Skip(count)),
            Event::Heal => inputs.push(Input::Heal),
            Event::Kept(slot, older) => self.on_kept(slot, older, outputs)?,
        }
        Ok(())
    }

    /// Something that may be answered once a quorum has said that this node still leads.
    fn ask(&mut self, asked: Asked) -> Input {
        self.reads += 1;
        self.asked.insert(ReadId(self.reads), asked);
        Input::Read(ReadId(self.reads))
    }

    /// A request that was applied is answered from its session; one whose session is gone is
    /// refused, but only by a node that knows all sessions. That a session is *not* there is a read
    /// like any other: a leader that was stopped for a while, and deposed, would not know of it.
    fn admit_request(&mut self, request: Request, outputs: &mut Vec<Output>) -> Option<Input> {
        let (client, number) = (request.client, request.number);
        let sessions = self.executor.sessions();
        match sessions.outcome(client, number) {
            Outcome::Applied(slot, reply) => {
                let outcome = client::Outcome::Applied(reply);
                outputs.push(Output::Reply { client, number, slot, outcome });
                None
            }
            Outcome::Forgotten => {
                let outcome = client::Outcome::Forgotten;
                outputs.push(Output::Reply { client, number, slot: Slot(0), outcome });
                None
            }
            Outcome::Unknown if sessions.has_ended(client) => {
                outputs.push(Output::Rejected(client, number, Refusal::UnknownSession));
                None
            }
            Outcome::Unknown => {
                let last = sessions.last(client);
                let had_replies = request.low_water > RequestNumber(1);
                let opened = last.is_some() || self.replica.has_request_of(client);
                if had_replies && !opened && self.replica.is_ready() {
                    return Some(self.ask(Asked::Session(client, number)));
                }
                Some(Input::Propose { request, applied: last.unwrap_or(RequestNumber(0)) })
            }
        }
    }

    /// Does what the core tells, and says what it is to be told in turn.
    fn apply(
        &mut self,
        notices: Vec<Notice>,
        outputs: &mut Vec<Output>,
    ) -> Result<Vec<Input>, Error<W::Error>> {
        let node = self.replica.config().node;
        let (mut inputs, mut posted) = (Vec::new(), Vec::new());
        for notice in notices {
            match notice {
                Notice::Decided(slot, command) => {
                    self.tap.hear(Heard::Decided(slot));
                    self.take_decided(slot, command, outputs)?;
                }
                Notice::Queued(client, number) => outputs.push(Output::Queued(client, number)),
                Notice::Rejected(client, number, why) => {
                    outputs.push(Output::Rejected(client, number, refusal(why)));
                }
                Notice::ReadReady(read, index) => {
                    // A snapshot on its way to the disk holds up what is decided meanwhile.
                    let is_late = self.executor.applied() < index;
                    assert!(!is_late || self.holds_back(), "a read sees all up to its index");
                    self.answer(read, is_late.then_some(Rejection::Busy), outputs);
                }
                Notice::ReadRejected(read, why) => self.answer(read, Some(why), outputs),
                Notice::Stranded(peer) if self.is_witness() => self.on_witness_stranded(peer),
                Notice::Stranded(peer) => self.on_stranded(peer),
                Notice::Transfer(from, body) => match Word::decode(&body) {
                    Some(Word::Parcel(parcel)) => {
                        inputs.extend(self.on_parcel(from, parcel, outputs)?);
                    }
                    Some(Word::Post(request)) => posted.push(request),
                    None => (),
                },
                Notice::Moved(peer, address) => outputs.push(Output::Moved(peer, address)),
                Notice::Rejoined => outputs.push(Output::Rejoined),
                Notice::Replaced(_) => return Err(Error::Replaced(node)),
                Notice::Forgot { by, told, held } => {
                    return Err(Error::Forgot { node, by, told, held });
                }
                Notice::Differs(difference) => outputs.push(Output::Differs(difference)),
                Notice::Stop(difference) => return Err(Error::Differs(Box::new(difference))),
            }
        }
        let passed = self.executor.take_checkpoints();
        self.replica.note_applied(self.executor.applied(), passed);
        inputs.extend(self.tend_leases());
        inputs.extend(self.tend_deadline());
        // Only now is it known whether it was applied meanwhile.
        for request in posted {
            inputs.extend(self.admit_request(request, outputs));
        }
        Ok(inputs)
    }

    fn apply_slot(&mut self, slot: Slot, command: &Command, outputs: &mut Vec<Output>) {
        self.tap.hear(Heard::Applied(slot));
        let applied = self.executor.apply(slot, command);
        match applied.fate {
            Fate::Nothing => (),
            Fate::Request { client, number, outcome } => {
                if let Some(ttl_ms) = self.executor.sessions().ttl_ms(client) {
                    self.leasing.on_request(client, ttl_ms);
                }
                let (slot, outcome) = match outcome {
                    Outcome::Applied(slot, reply) => (slot, client::Outcome::Applied(reply)),
                    Outcome::Forgotten => (slot, client::Outcome::Forgotten),
                    Outcome::Unknown => (slot, client::Outcome::UnknownSession),
                };
                outputs.push(Output::Reply { client, number, slot, outcome });
            }
            Fate::Ended(client) => {
                self.leasing.on_ended(client);
                outputs.push(Output::Ended(client));
            }
        }
        for notice in applied.notices {
            outputs.push(Output::Notice { client: notice.session, slot, body: notice.body });
        }
    }

    fn answer(&mut self, read: ReadId, rejected: Option<Rejection>, outputs: &mut Vec<Output>) {
        let Some(asked) = self.asked.remove(&read) else { return };
        let why = rejected.map(refusal);
        outputs.push(match (asked, why) {
            (Asked::Query(id, _), Some(why)) => Output::Answer { id, result: Err(why) },
            (Asked::Query(id, body), None) => {
                Output::Answer { id, result: Ok(self.executor.query(&body)) }
            }
            (Asked::Session(client, number), Some(why)) => Output::Rejected(client, number, why),
            (Asked::Session(client, number), None) => {
                let gone = self.executor.sessions().last(client).is_none();
                let why = if gone { Refusal::UnknownSession } else { Refusal::Busy };
                Output::Rejected(client, number, why)
            }
            (Asked::Alive(client, _), Some(why)) => Output::Rejected(client, RequestNumber(0), why),
            (Asked::Alive(client, id), None) => {
                outputs.extend(self.answer_keep_alive(client, id));
                return;
            }
            (Asked::Lease(id, _), Some(why)) => Output::Left { id, result: Err(why) },
            (Asked::Lease(id, session), None) => {
                Output::Left { id, result: self.lease_left(session) }
            }
        });
    }
}

fn refusal(rejection: Rejection) -> Refusal {
    match rejection {
        Rejection::NotLeader(leader) => Refusal::NotLeader(leader),
        Rejection::Busy => Refusal::Busy,
        Rejection::Gap(number) => Refusal::Gap(number),
    }
}
