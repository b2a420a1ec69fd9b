//! What may be known of a node: how it is, what it has applied, and its parts for those who check.

use super::Node;
use crate::paxos::{NodeId, Replica, Slot, Wal};
use crate::rsm::{Executor, StateMachine};
use crate::wire::client::{Entry, NodeStatus, Role};

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// How this node is, in its own words.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let replica = &self.replica;
        let config = replica.config();
        NodeStatus {
            node: config.node,
            incarnation: config.incarnation,
            members: config.members,
            role: role(replica),
            ballot: replica.view(),
            leader: replica.leader(),
            decided: replica.decided(),
            applied: self.executor.applied(),
            end: replica.end(),
            holes: replica.holes(),
            catching_up: replica.is_behind(),
            outstanding: replica.outstanding() as u64,
            digest: self.executor.digest(),
            trimmed: replica.state().trimmed(),
            transfer: self.transfer(),
            votes: replica.may_vote(),
            stores: replica.state().incarnations(),
            silences: self.hearing.silences(config.peers()),
            leaderless: replica.leader().is_none().then(|| self.hearing.leaderless()),
        }
    }

    /// The leader that this node follows, itself included.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.replica.leader()
    }

    /// Every slot below is applied.
    #[must_use]
    pub fn applied(&self) -> Slot {
        self.executor.applied()
    }

    /// A page of the archive from a slot on, of at most so many bytes but at least one entry if
    /// there is any; and the slot where the next page begins.
    #[must_use]
    pub fn entries(&self, from: Slot, bytes_max: usize) -> (Slot, Vec<Entry>) {
        let archive = self.executor.archive();
        let end = self.applied();
        let mut page = archive.page(from, bytes_max);
        // What a transfer has brought is not in force yet.
        page.retain(|(slot, _)| *slot < end);
        let next = page.last().map_or(end, |(slot, _)| slot.next());
        let is_last = page.is_empty() || next >= archive.extent().end;
        let next = if is_last { end.max(from) } else { next };
        (next, page.into_iter().map(|(slot, body)| Entry { slot, body }).collect())
    }

    /// The protocol's state, for tests and the simulator.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The log, for tests and the simulator.
    #[must_use]
    pub fn wal(&self) -> &W {
        self.persister.wal()
    }

    /// What is applied, for tests and the simulator.
    #[must_use]
    pub fn executor(&self) -> &Executor<M> {
        &self.executor
    }
}

fn role(replica: &Replica) -> Role {
    if replica.config().is_witness() {
        Role::Witness
    } else if replica.is_leading() {
        Role::Leader
    } else if replica.is_campaigning() {
        Role::Campaigning
    } else if replica.is_canvassing() {
        Role::Canvassing
    } else {
        Role::Follower
    }
}
