//! What every node's state ought to be, and who has gone astray: a bit flipped in its memory.
//!
//! The log is applied once more, here, by an executor that no fault touches. A node must be in the
//! state that this one was in at its slot (R3), unless it is one of the few in whose memory bits
//! flip. Such a one is *wrong* until it starts again from a snapshot that is not; and once a
//! majority has told it another hash than its own it must be silent from that turn on. What it
//! answers before is no answer: nobody could know better. What it hands on of its snapshot is lost
//! on the way, for it would make others wrong.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::checks::{Checks, demand};
use super::disk::DiskError;
use super::machine::Running;
use super::room::Room;
use super::tenants::News;
use super::weather::Weather;
use super::world::World;
use crate::node::{self, Event, Output};
use crate::paxos::invariants;
use crate::paxos::{Ballot, Difference, Digest, Echo, Incarnation, Message, NodeId, Slot};
use crate::rsm::{Executor, Flip, Flipped, Rolling, StateMachine};
use crate::wire::client::Outcome;

/// The right states, and who has another.
pub(super) struct Astray {
    rng: Rng,
    /// In whose memory bits flip: fewer than half of those with a state; nobody's, in most runs.
    victims: BTreeSet<NodeId>,
    /// The share of their starts after which one does.
    share: f64,
    /// Of those who have a state.
    majority: usize,
    truth: Executor<Room>,
    /// What it led to since somebody last asked, if anybody will.
    news: Option<Vec<News>>,
    /// What the log leads to, by the slots that are applied; and at checkpoints, for the others.
    states: BTreeMap<Slot, u64>,
    checkpoints: BTreeMap<Slot, u64>,
    /// How much each had applied when it was looked at last.
    looked: BTreeMap<NodeId, Slot>,
    wrong: BTreeSet<NodeId>,
    /// Who started wrong: its snapshot is.
    from_snapshot: BTreeSet<NodeId>,
    /// Whether anybody ever was wrong.
    ever: bool,
    /// What each leader was told by echoes of its ballot, and by which stores.
    echoes: BTreeMap<NodeId, (Ballot, Echoes)>,
}

/// By node: its store, and what it told.
type Echoes = BTreeMap<NodeId, (Incarnation, Digest)>;

/// What a node is told in a turn, and what it had come to before.
#[derive(Default)]
pub(super) struct Told {
    /// Its last checkpoint, if that is wrong.
    wrong: Option<Slot>,
    heartbeat: Option<(Ballot, Vec<(NodeId, Digest)>)>,
    leads: Option<Ballot>,
}

/// A bit flips within so many slots.
const SOON_SLOTS: u64 = 48;

impl Astray {
    pub(super) fn new(seed: u64, weather: &Weather) -> Astray {
        let mut rng = Rng::with_seed(seed ^ 0xF11B);
        let share = weather.process.flips;
        let count = if share > 0.0 { (weather.replicas() - 1) / 2 } else { 0 };
        let replicas = (0..weather.members).filter(|node| !weather.witnesses.contains(node));
        let victims = rng.choose_multiple(replicas, count.into());
        let truth = Executor::new(Room::default()).with_checkpoints(weather.checkpoint_slots);
        Astray {
            rng,
            victims: victims.into_iter().map(NodeId).collect(),
            share,
            majority: usize::from(weather.replicas()) / 2 + 1,
            states: [(Slot(0), hash(&truth))].into(),
            truth,
            news: (weather.tenancy.holders + weather.polling.voters > 0).then(Vec::new),
            checkpoints: BTreeMap::new(),
            looked: BTreeMap::new(),
            wrong: BTreeSet::new(),
            from_snapshot: BTreeSet::new(),
            ever: false,
            echoes: BTreeMap::new(),
        }
    }

    /// The machine of a node that starts, perhaps with a fault.
    pub(super) fn machine(&mut self, node: NodeId, decided: u64) -> Flipped<Room> {
        let is_struck = self.victims.contains(&node) && self.rng.f64() < self.share;
        let flip = is_struck.then(|| Flip {
            at: Slot(decided.saturating_sub(SOON_SLOTS / 2) + self.rng.u64(0..SOON_SLOTS)),
            bit: self.rng.u8(0..8),
        });
        Flipped::new(Room::default(), flip)
    }

    /// Whether bits flip in the memory of this node.
    pub(super) fn may_go_astray(&self, node: NodeId) -> bool {
        self.victims.contains(&node)
    }

    /// Whether this node's state is not what it ought to be.
    pub(super) fn is_wrong(&self, node: NodeId) -> bool {
        self.wrong.contains(&node)
    }

    /// Whether anybody ever was wrong.
    pub(super) fn ever(&self) -> bool {
        self.ever
    }

    /// Whether it is wrong, and was so when it started.
    pub(super) fn has_wrong_snapshot(&self, node: NodeId) -> bool {
        self.is_wrong(node) && self.from_snapshot.contains(&node)
    }

    /// Whether its state was wrong at its last checkpoint: then others can tell.
    pub(super) fn shows(&self, node: &Running) -> bool {
        let last = node.executor().checkpoint();
        last.is_some_and(|last| self.checkpoints.get(&last.slot) != Some(&last.hash))
    }

    /// A node starts.
    pub(super) fn on_restart(&mut self, node: &Running, checks: &Checks) {
        let id = node.replica().config().node;
        self.echoes.remove(&id);
        self.looked.remove(&id);
        // Where its snapshot stands above a hole in its log, the core hears of that first of all,
        // and only then says itself that what follows is decided.
        if node.executor().applied() <= node.replica().decided() {
            self.after(node, checks);
        }
        self.from_snapshot.remove(&id);
        if self.is_wrong(id) {
            self.from_snapshot.insert(id);
        }
    }

    /// After each event at a node.
    pub(super) fn after(&mut self, node: &Running, checks: &Checks) {
        let (id, executor) = (node.replica().config().node, node.executor());
        if self.looked.insert(id, executor.applied()) == Some(executor.applied()) {
            return;
        }
        self.learn(checks);
        let state = Digest { slot: executor.applied(), hash: hash(executor) };
        let is_known = self.states.contains_key(&state.slot);
        assert!(is_known, "{id} has applied {} slots, more than are decided", state.slot);
        if self.victims.contains(&id) && self.states.get(&state.slot) != Some(&state.hash) {
            self.ever = true;
            self.wrong.insert(id);
            return;
        }
        self.wrong.remove(&id);
        demand(id, invariants::r3(&mut self.states, state));
        if let Some(last) = executor.checkpoint() {
            demand(id, invariants::r3(&mut self.checkpoints, last));
        }
    }

    fn learn(&mut self, checks: &Checks) {
        for (slot, command) in checks.log_from(self.truth.applied()) {
            if slot != self.truth.applied() {
                return;
            }
            let applied = self.truth.apply(slot, command);
            if let Some(news) = &mut self.news {
                news.push(News { slot, command: command.clone(), applied });
            }
            self.states.insert(slot.next(), hash(&self.truth));
        }
        let passed = self.truth.take_checkpoints();
        self.checkpoints.extend(passed.into_iter().map(|digest| (digest.slot, digest.hash)));
    }

    /// What the slots led to that were decided since this was last asked.
    pub(super) fn news(&mut self, checks: &Checks) -> Vec<News> {
        self.learn(checks);
        self.news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What the log leads to.
    pub(super) fn truth(&self) -> &Executor<Room> {
        &self.truth
    }

    /// Before a turn: what the node is about to be told.
    pub(super) fn overhear(&mut self, node: &Running, events: &[Event]) -> Told {
        if self.victims.is_empty() {
            return Told::default();
        }
        let (id, replica) = (node.replica().config().node, node.replica());
        let leads = replica.tenure().map(|tenure| tenure.ballot);
        let mut heartbeats = Vec::new();
        for event in events {
            let Event::Message(envelope) = event else { continue };
            if let Message::Heartbeat(it) = &envelope.message {
                heartbeats.push((it.ballot, it.digests.clone()));
            }
            if let Message::Echo(echo) = &envelope.message
                && leads == Some(echo.ballot)
                && replica.state().incarnation(envelope.from) == Some(echo.seal.incarnation)
            {
                self.hear(id, envelope.from, echo);
            }
        }
        let is_replaced = events.iter().any(|event| matches!(event, Event::Kept(..)));
        let last = node.executor().checkpoint().filter(|_| self.shows(node) && !is_replaced);
        // Which of several heartbeats counts last is for the node to say.
        let heartbeat = heartbeats.pop().filter(|_| heartbeats.is_empty());
        Told { wrong: last.map(|last| last.slot), heartbeat, leads }
    }

    fn hear(&mut self, leader: NodeId, from: NodeId, echo: &Echo) {
        let (ballot, told) = self.echoes.entry(leader).or_insert((echo.ballot, BTreeMap::new()));
        if *ballot != echo.ballot {
            (*ballot, *told) = (echo.ballot, BTreeMap::new());
        }
        match echo.digest {
            Some(digest) => told.insert(from, (echo.seal.incarnation, digest)),
            None => told.remove(&from),
        };
    }

    /// After that turn: a node that goes on was not told by a majority that it is wrong.
    pub(super) fn goes_on(&self, node: &Running, told: &Told) {
        let Some(slot) = told.wrong else { return };
        let id = node.replica().config().node;
        let right = Digest { slot, hash: self.checkpoints[&slot] };
        let of = |digests: &[(NodeId, Digest)]| {
            let others = digests.iter().filter(|(from, digest)| *from != id && *digest == right);
            others.map(|(from, _)| *from).collect::<BTreeSet<_>>().len()
        };
        if let Some((ballot, digests)) = &told.heartbeat
            && Some(*ballot) >= node.replica().state().promised()
            && node.replica().state().incarnation(ballot.node) <= Some(ballot.incarnation)
        {
            assert!(
                of(digests) < self.majority,
                "{id} goes on, though its leader told it: {digests:?}"
            );
        }
        let leads = node.replica().tenure().map(|tenure| tenure.ballot);
        if let Some((ballot, echoes)) = self.echoes.get(&id)
            && leads == Some(*ballot)
            && told.leads == leads
        {
            // It may have learnt of a newer store in this very turn, before the echo of the older.
            let is_newest = |from, store| node.replica().state().incarnation(from) == Some(store);
            let told = echoes.iter().filter(|(from, (store, _))| is_newest(**from, *store));
            let digests: Vec<_> = told.map(|(from, (_, digest))| (*from, *digest)).collect();
            assert!(
                of(&digests) < self.majority,
                "{id} goes on, though echoes told it: {digests:?}"
            );
        }
    }

    /// A node stops because its state is not that of the others.
    pub(super) fn stops(&self, node: NodeId, difference: &Difference) {
        assert!(self.ever, "{node} stops, and all states are one: {difference}");
        let alike = difference.alike.len() + 1;
        assert!(alike < self.majority, "{node} stops, and a majority is like it: {difference}");
        let is_wrong = |digest: &Digest| self.checkpoints.get(&digest.slot) != Some(&digest.hash);
        let own = Digest { slot: difference.to, hash: difference.own };
        let someone = is_wrong(&own) || difference.others.iter().any(|(_, told)| is_wrong(told));
        assert!(someone, "{node} stops, and all that was told is right: {difference}");
    }
}

impl World {
    /// A node ends by itself: it could not commit, or it stops because it has gone astray.
    pub(super) fn end(&mut self, node: NodeId, error: &node::Error<DiskError>) {
        let node::Error::Differs(difference) = error else {
            self.crash(node, "a commit fails");
            return;
        };
        self.astray.stops(node, difference);
        self.report.stopped += 1;
        self.note(node, "stops", || difference.to_string());
        let has_wrong_snapshot = self.astray.has_wrong_snapshot(node);
        self.crash(node, "its state is not that of the others");
        if has_wrong_snapshot {
            self.machine(node).gone = Some("its snapshot holds the wrong state".to_owned());
        }
    }
}

/// Whether there is something in this answer that only the right state knows.
pub(super) fn tells_a_state(output: &Output) -> bool {
    match output {
        Output::Reply { outcome, .. } => matches!(outcome, Outcome::Applied(_)),
        Output::Answer { result, .. } => result.is_ok(),
        Output::Notice { .. } => true,
        Output::Queued(..)
        | Output::Alive { .. }
        | Output::Ended(_)
        | Output::Left { .. }
        | Output::Rejected(..)
        | Output::Draft(_)
        | Output::Differs(_)
        | Output::Moved(..)
        | Output::Rejoined => false,
    }
}

/// Over all that was applied, and what the room holds. (Not the archive: what a transfer brings
/// lies there, too, before it is in force.)
fn hash<M: StateMachine>(executor: &Executor<M>) -> u64 {
    let mut hash = Rolling::from_value(executor.digest().hash);
    hash.mix(&executor.machine().snapshot());
    hash.value()
}
