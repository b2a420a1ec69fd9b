//! What must hold after every event, whatever the weather. Each check is named after its theorem.

use std::collections::BTreeMap;

use super::disk::Disk;
use crate::node::Node;
use crate::paxos::{Ballot, ClientId, Command, Envelope, Message, NodeId, RequestNumber, Slot};
use crate::rsm::StateMachine;

/// What was ever seen, on any node, dead or alive.
#[derive(Debug, Default)]
pub(super) struct Checks {
    decided: BTreeMap<Slot, Command>,
    requests: BTreeMap<(ClientId, RequestNumber), Slot>,
    hashes: BTreeMap<Slot, u64>,
    promises: BTreeMap<NodeId, Ballot>,
    /// How far each node's decided slots were compared since it started.
    compared: BTreeMap<NodeId, Slot>,
}

impl Checks {
    /// How many slots are known to be decided.
    pub(super) fn decided(&self) -> u64 {
        self.decided.len() as u64
    }

    /// A node came back: what it recovered is compared again.
    pub(super) fn on_restart(&mut self, node: NodeId) {
        self.compared.remove(&node);
    }

    /// After each event at a node.
    pub(super) fn after<M: StateMachine>(&mut self, node: &Node<Disk, M>) {
        self.promises_only_grow(node);
        self.one_value_per_slot(node);
        self.equal_hash_at_equal_slot(node);
    }

    /// A1: an acceptor's promise only grows, across crashes.
    fn promises_only_grow<M: StateMachine>(&mut self, node: &Node<Disk, M>) {
        let id = node.replica().config().node;
        let promised = node.wal().inspect(crate::paxos::AcceptorState::promised);
        let before = self.promises.get(&id).copied();
        assert!(promised >= before, "A1: {id} promised {before:?}, then {promised:?}");
        if let Some(promised) = promised {
            self.promises.insert(id, promised);
        }
    }

    /// R1: no two nodes, nor one node at two times, hold different decided commands in a slot; and
    /// no request is decided twice.
    fn one_value_per_slot<M: StateMachine>(&mut self, node: &Node<Disk, M>) {
        let replica = node.replica();
        let id = replica.config().node;
        let from = self.compared.get(&id).copied().unwrap_or_default();
        let decided = replica.decided();
        for (slot, vote) in replica.state().votes(from).take_while(|(slot, _)| *slot < decided) {
            let known = self.decided.entry(slot).or_insert_with(|| vote.command.clone());
            assert_eq!(*known, vote.command, "R1: {id} has another command in slot {slot}");
            if let Command::Request(request) = &vote.command {
                let key = (request.client, request.number);
                let first = self.requests.entry(key).or_insert(slot);
                assert_eq!(*first, slot, "a request is decided once: {key:?}");
            }
        }
        self.compared.insert(id, decided);
    }

    /// R3: nodes that have applied as much are in the same state.
    fn equal_hash_at_equal_slot<M: StateMachine>(&mut self, node: &Node<Disk, M>) {
        let digest = node.executor().digest();
        let known = self.hashes.entry(digest.slot).or_insert(digest.hash);
        assert_eq!(*known, digest.hash, "R3: states differ at slot {}", digest.slot);
    }
}

/// At each release: whatever leaves and claims something is on the disk it rests on.
pub(super) fn claims_are_durable(disk: &Disk, envelope: &Envelope) {
    let from = envelope.from;
    match &envelope.message {
        Message::Prepare(prepare) => disk.inspect(|image| {
            let durable = image.promised() >= Some(prepare.ballot);
            assert!(durable, "{from} campaigns in {} without a durable promise", prepare.ballot);
        }),
        Message::Promise(promise) => disk.inspect(|image| {
            let durable = image.promised() >= Some(promise.ballot) && image.mark() >= promise.mark;
            assert!(durable, "{from} promises {} without a record", promise.ballot);
        }),
        Message::Accepted(accepted) => disk.inspect(|image| {
            let (ballot, up_to) = (accepted.ballot, accepted.up_to);
            let held = image.chain().is_some_and(|chain| {
                let whole = chain.from <= accepted.from && up_to <= chain.end;
                chain.ballot > ballot || (chain.ballot == ballot && whole)
            });
            let durable = held || up_to <= image.mark();
            assert!(durable, "{from} accepts up to {up_to} in {ballot} without a record");
            assert!(image.promised() >= Some(ballot), "A2: {from} accepts without promising");
        }),
        Message::Preempted(preempted) => disk.inspect(|image| {
            assert!(
                image.promised() >= Some(preempted.promised),
                "{from} refuses without a record"
            );
        }),
        Message::Accept(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::Echo(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::CatchUpAsk(_)
        | Message::CatchUp(_) => (),
    }
}
