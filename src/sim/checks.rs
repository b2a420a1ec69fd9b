//! What must hold after every event, whatever the weather. Each check is named after its theorem.

use std::collections::BTreeMap;

use super::claims;
use super::disk::Disk;
use super::holdings::Holdings;
use super::shelf::SimShelf;
use super::stores::Stores;
use super::votes::{Store, Votes};
use super::weather::Weather;
use crate::node::Node;
use crate::paxos::claims::persist_before_send;
use crate::paxos::invariants::{self, Broken, Proposed};
use crate::paxos::{
    AcceptorState, Ballot, ClientId, Command, Envelope, Message, NodeId, PValue, Record,
    RequestNumber, Run, Slot,
};
use crate::rsm::StateMachine;

/// Slots that the world may leave empty on purpose above what is decided: far more than it does.
const LEFT_EMPTY: u64 = 1 << 12;

/// What was ever seen, on any node, dead or alive.
#[derive(Debug)]
pub(super) struct Checks {
    votes: Votes,
    decided: BTreeMap<Slot, Command>,
    requests: BTreeMap<(ClientId, RequestNumber), Slot>,
    promises: BTreeMap<Store, Ballot>,
    proposed: Proposed,
    /// The highest watermark that each ballot claimed.
    watermarks: BTreeMap<Ballot, Slot>,
    /// How many slots were decided, anywhere, when a node was asked that.
    asked: BTreeMap<(NodeId, u64), Slot>,
    /// Logs cut off below a snapshot, and snapshots of others in the place of a log.
    pub(super) trims: u64,
    pub(super) installs: u64,
    /// Stores in the place of lost ones that came to vote.
    pub(super) rejoined: u64,
    /// How far each node's decided slots were compared since it started.
    compared: BTreeMap<Store, Slot>,
    holdings: Holdings,
}

impl Checks {
    pub(super) fn new(weather: &Weather) -> Checks {
        Checks {
            votes: Votes::new(weather.members.into()),
            holdings: Holdings::new(weather),
            decided: BTreeMap::new(),
            requests: BTreeMap::new(),
            promises: BTreeMap::new(),
            proposed: Proposed::new(),
            watermarks: BTreeMap::new(),
            asked: BTreeMap::new(),
            compared: BTreeMap::new(),
            trims: 0,
            installs: 0,
            rejoined: 0,
        }
    }

    /// A store is set back: what it promised before is no measure any more.
    pub(super) fn forget(&mut self, store: Store) {
        self.promises.remove(&store);
        self.compared.remove(&store);
    }

    /// How many slots are known to be decided.
    pub(super) fn decided(&self) -> u64 {
        self.decided.len() as u64
    }

    /// The log, as far as any node ever knew it.
    pub(super) fn log(&self) -> impl Iterator<Item = (Slot, &Command)> {
        self.decided.iter().map(|(slot, command)| (*slot, command))
    }

    /// The log from a slot on, as far as any node ever knew it.
    pub(super) fn log_from(&self, from: Slot) -> impl Iterator<Item = (Slot, &Command)> {
        self.decided.range(from..).map(|(slot, command)| (*slot, command))
    }

    /// A node came back: what it recovered is compared again, and lacks nothing of what its disk
    /// held.
    pub(super) fn on_restart(&mut self, node: NodeId, disk: &Disk, recovered: &AcceptorState) {
        self.compared.remove(&disk.store());
        self.asked.retain(|(asked, _), _| *asked != node);
        demand(node, disk.inspect(|image| invariants::a3(image, recovered)));
    }

    /// After each event at a node.
    pub(super) fn after<M: StateMachine>(&mut self, node: &Node<Disk, M>) {
        let replica = node.replica();
        let (id, store) = (replica.config().node, node.wal().store());
        let from = self.compared.get(&store).copied().unwrap_or_default();
        let promised = node.wal().inspect(AcceptorState::promised);
        demand(id, invariants::a1(self.promises.get(&store).copied(), promised));
        self.promises.extend(promised.map(|promised| (store, promised)));
        demand(id, invariants::r5(replica, LEFT_EMPTY));
        demand(id, invariants::r4(from, replica.decided()));
        let is_new = !self.compared.contains_key(&store);
        if is_new || from < replica.decided() {
            demand(id, invariants::r2(replica, from));
            demand(id, invariants::r1(&mut self.decided, replica, from));
            self.each_on_a_quorum(id, from, replica.decided());
            self.each_request_once(from, replica.decided());
            self.compared.insert(store, replica.decided());
        }
    }

    fn each_on_a_quorum(&self, node: NodeId, from: Slot, to: Slot) {
        if from < to {
            for (slot, command) in self.decided.range(from..to) {
                demand(node, self.votes.rests_on_a_quorum(*slot, command));
            }
        }
    }

    /// Our own: no request is decided in two slots. What is new lies in `from..to`.
    fn each_request_once(&mut self, from: Slot, to: Slot) {
        if from >= to {
            return;
        }
        for (slot, command) in self.decided.range(from..to) {
            if let Command::Request(request) = command {
                let key = (request.client, request.number);
                let first = self.requests.entry(key).or_insert(*slot);
                assert_eq!(first, slot, "a request is decided once: {key:?}");
            }
        }
    }

    /// After each commit: what is on the disk now may be there. (Also what a commit left that broke
    /// off whole: the node will find it.)
    pub(super) fn committed(&mut self, disk: &Disk, shelf: &SimShelf) {
        let written = disk.take_written();
        if written.is_empty() {
            return;
        }
        demand(disk.node(), disk.inspect(|image| invariants::a2(image, image.mark())));
        self.holdings.written(disk, shelf, &written);
        let store = disk.store();
        for record in &written {
            match record {
                Record::Accepted(run) => demand(store.0, self.votes.accepted(store, run)),
                Record::Imported { promised, accepted, .. } => {
                    self.rejoined += 1;
                    // Below its promise it never votes: what it took over there is no vote.
                    for pvalue in accepted.iter().filter(|p| Some(p.ballot) >= *promised) {
                        demand(store.0, self.votes.accepted(store, &alone(pvalue)));
                    }
                }
                Record::Incarnation { node, incarnation }
                | Record::Heard { node, incarnation, .. }
                | Record::Testified { node, incarnation }
                | Record::Moved { node, incarnation, .. } => {
                    self.votes.met(store, *node, *incarnation);
                }
                Record::Trimmed { below, mark, .. } if below == mark => self.installs += 1,
                Record::Trimmed { .. } => self.trims += 1,
                Record::Promised(_)
                | Record::Learned { .. }
                | Record::Decided(_)
                | Record::Standing { .. }
                | Record::Lost { .. } => (),
            }
        }
    }

    /// At each release: what leaves is on the disk it rests on.
    pub(super) fn released(
        &mut self,
        (disk, shelf): (&Disk, &SimShelf),
        stores: &Stores,
        envelope: &Envelope,
    ) {
        demand(envelope.from, disk.inspect(|image| persist_before_send(image, envelope)));
        if claims::counts(&envelope.message) {
            disk.may_be_counted();
        }
        self.holdings.released(disk, shelf, envelope);
        self.proposed(envelope);
        self.claimed(stores, envelope);
    }

    /// What a leader says is decided, is.
    fn claimed(&mut self, stores: &Stores, envelope: &Envelope) {
        let (ballot, to) = match &envelope.message {
            Message::Accept(accept) => (accept.run.ballot, accept.watermark),
            Message::Decide(decide) => (decide.ballot, decide.watermark),
            Message::Heartbeat(heartbeat) => (heartbeat.ballot, heartbeat.watermark),
            Message::Prepare(_)
            | Message::Promise(_)
            | Message::Preempted(_)
            | Message::Accepted(_)
            | Message::Resend(_)
            | Message::Echo(_)
            | Message::Canvass(_)
            | Message::CanvassAnswer(_)
            | Message::CatchUpAsk(_)
            | Message::CatchUp(_)
            | Message::Transfer(_)
            | Message::Pledged(_)
            | Message::Recall(_)
            | Message::Recollection(_)
            | Message::Rejoin(_)
            | Message::Testimony(_)
            | Message::Holds(_) => return,
        };
        let from = self.watermarks.get(&ballot).copied().unwrap_or_default();
        if from < to {
            let (quorum, proposed) = (stores.quorum(), &self.proposed);
            let claim = (ballot, from, to);
            let lawful =
                stores.inspect(|stores| invariants::watermark(stores, quorum, proposed, claim));
            demand(envelope.from, lawful);
            self.watermarks.insert(ballot, to);
        }
    }

    /// A node is asked how things are.
    pub(super) fn asked(&mut self, node: NodeId, id: u64) {
        self.asked.insert((node, id), Slot(self.decided()));
    }

    /// It answers, having applied every slot below `applied`: what anybody knew to be decided when
    /// it was asked is in the answer. Stronger than what clients could tell: nobody need have been
    /// told of the decision.
    pub(super) fn answers(&mut self, node: NodeId, id: u64, applied: Slot) {
        let Some(decided) = self.asked.remove(&(node, id)) else { return };
        assert!(
            decided <= applied,
            "stale read: {node} answers from {applied} slots, {decided} were decided when asked"
        );
    }

    /// What a leader proposes, before anybody accepts it: Accepts leave before its own commit.
    fn proposed(&mut self, envelope: &Envelope) {
        let Message::Accept(accept) = &envelope.message else { return };
        demand(envelope.from, invariants::l1(&mut self.proposed, &accept.run));
        demand(envelope.from, self.votes.proposed(&accept.run));
    }
}

/// What was taken over, as a vote for one slot.
fn alone(pvalue: &PValue) -> Run {
    let PValue { ballot, slot, command } = pvalue.clone();
    Run { ballot, after: slot, first: slot, commands: vec![command] }
}

pub(super) fn demand(node: NodeId, verdict: Result<(), Broken>) {
    if let Err(broken) = verdict {
        panic!("{node}: {broken}");
    }
}
