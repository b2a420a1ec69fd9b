//! What must hold after every event, whatever the weather. Each check is named after its theorem.

use std::collections::BTreeMap;

use super::claims::claims_are_durable;
use super::disk::Disk;
use super::votes::Votes;
use crate::node::Node;
use crate::paxos::invariants::{self, Broken, Proposed};
use crate::paxos::{
    AcceptorState, Ballot, ClientId, Command, Envelope, Message, NodeId, Record, RequestNumber,
    Slot,
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
    promises: BTreeMap<NodeId, Ballot>,
    proposed: Proposed,
    /// The highest watermark that each ballot claimed.
    watermarks: BTreeMap<Ballot, Slot>,
    /// How many slots were decided, anywhere, when a node was asked that.
    asked: BTreeMap<(NodeId, u64), Slot>,
    /// Logs cut off below a snapshot, and snapshots of others in the place of a log.
    pub(super) trims: u64,
    pub(super) installs: u64,
    /// How far each node's decided slots were compared since it started.
    compared: BTreeMap<NodeId, Slot>,
}

impl Checks {
    pub(super) fn new(members: usize) -> Checks {
        Checks {
            votes: Votes::new(members),
            decided: BTreeMap::new(),
            requests: BTreeMap::new(),
            promises: BTreeMap::new(),
            proposed: Proposed::new(),
            watermarks: BTreeMap::new(),
            asked: BTreeMap::new(),
            compared: BTreeMap::new(),
            trims: 0,
            installs: 0,
        }
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
        self.compared.remove(&node);
        self.asked.retain(|(asked, _), _| *asked != node);
        demand(node, disk.inspect(|image| invariants::a3(image, recovered)));
    }

    /// After each event at a node.
    pub(super) fn after<M: StateMachine>(&mut self, node: &Node<Disk, M>) {
        let replica = node.replica();
        let id = replica.config().node;
        let from = self.compared.get(&id).copied().unwrap_or_default();
        let promised = node.wal().inspect(AcceptorState::promised);
        demand(id, invariants::a1(self.promises.get(&id).copied(), promised));
        self.promises.extend(promised.map(|promised| (id, promised)));
        demand(id, invariants::r5(replica, LEFT_EMPTY));
        demand(id, invariants::r4(from, replica.decided()));
        let is_new = !self.compared.contains_key(&id);
        if is_new || from < replica.decided() {
            demand(id, invariants::r2(replica, from));
            demand(id, invariants::r1(&mut self.decided, replica, from));
            self.each_on_a_quorum(id, from, replica.decided());
            self.each_request_once(from, replica.decided());
            self.compared.insert(id, replica.decided());
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
    pub(super) fn committed(&mut self, disk: &Disk) {
        let written = disk.take_written();
        if written.is_empty() {
            return;
        }
        demand(disk.node(), disk.inspect(|image| invariants::a2(image, image.mark())));
        for record in &written {
            match record {
                Record::Accepted(run) => {
                    demand(disk.node(), self.votes.accepted(disk.node(), run));
                }
                Record::Trimmed { below, mark, .. } if below == mark => self.installs += 1,
                Record::Trimmed { .. } => self.trims += 1,
                Record::Promised(_)
                | Record::Learned { .. }
                | Record::Decided(_)
                | Record::Incarnation { .. } => (),
            }
        }
    }

    /// At each release: what leaves is on the disk it rests on.
    pub(super) fn released(&mut self, disk: &Disk, disks: &[Disk], envelope: &Envelope) {
        demand(envelope.from, disk.inspect(|image| claims_are_durable(image, envelope)));
        self.proposed(envelope);
        self.claimed(disks, envelope);
    }

    /// What a leader says is decided, is.
    fn claimed(&mut self, disks: &[Disk], envelope: &Envelope) {
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
            | Message::Transfer(_) => return,
        };
        let from = self.watermarks.get(&ballot).copied().unwrap_or_default();
        if from < to {
            let (quorum, proposed) = (disks.len() / 2 + 1, &self.proposed);
            let claim = (ballot, from, to);
            let lawful = Disk::inspect_all(disks, |states| {
                invariants::watermark(states, quorum, proposed, claim)
            });
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

pub(super) fn demand(node: NodeId, verdict: Result<(), Broken>) {
    if let Err(broken) = verdict {
        panic!("{node}: {broken}");
    }
}
