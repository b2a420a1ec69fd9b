//! What a replica is told before its first step: who it is, who the others are, and its limits.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::ballot::{Ballot, Incarnation, NodeId, Slot};

/// Everything that a replica knows and does not learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this is.
    pub node: NodeId,
    /// The store it speaks from.
    pub incarnation: Incarnation,
    /// How many members the cluster has: nodes `0..members`.
    pub members: u16,
    /// Members that vote but never lead, and run no state machine.
    pub witnesses: BTreeSet<NodeId>,
    /// Timeouts.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// Seeds the jitter, and tells this life of the node from others.
    pub seed: u64,
    /// Whether this node asks, when it starts, what the others remember of its store, and remembers
    /// theirs. Where no disk ever loses what it acknowledged there is nothing to ask.
    pub recalls: bool,
    /// Where this node is, if not where the cluster was told: for the nodes around the others.
    pub address: Option<Bytes>,
    /// Slots that the primary of the first view leaves out when it proposes what is new (a fault
    /// to order).
    pub skip_slots: BTreeSet<Slot>,
}

/// Timeouts in ticks (a server counts one tick a millisecond). All follow from the election
/// timeout T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// T: how long a leader is silent before somebody asks whether to replace it.
    pub election_ticks: u64,
    /// H, at most T/8: the interval between heartbeats.
    pub heartbeat_ticks: u64,
    /// R = 2T/3: how long a sign of life counts.
    pub reach_ticks: u64,
    /// How much longer each place in the ring of succession waits; more than H, the jitter and a
    /// round trip together.
    pub step_ticks: u64,
    /// The most that is added at random.
    pub jitter_ticks: u64,
}

/// Bounds on everything that could grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots between the lowest undecided one and the highest proposed.
    pub window_slots: u64,
    /// Bytes of undecided commands; a Promise lists at most these, in one frame.
    pub window_bytes: usize,
    /// Runs in flight at a time.
    pub window_runs: usize,
    /// Requests that wait at a leader for a place in the window.
    pub queue_requests: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// Bytes of commands in one chunk of learner sync.
    pub chunk_bytes: usize,
}

impl Timing {
    /// The timing that follows from an election timeout, in ticks.
    ///
    /// # Panics
    ///
    /// If it is below 16 ticks: there would be no room for the rest.
    #[must_use]
    pub fn from_election(election_ticks: u64) -> Timing {
        assert!(election_ticks >= 16, "an election timeout of at least 16 ticks");
        let heartbeat_ticks = election_ticks / 8;
        Timing {
            election_ticks,
            heartbeat_ticks,
            reach_ticks: election_ticks * 2 / 3,
            step_ticks: heartbeat_ticks * 2,
            jitter_ticks: heartbeat_ticks / 2,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window_slots: 4096,
            window_bytes: 512 << 10,
            window_runs: 16,
            queue_requests: 8192,
            queue_bytes: 4 << 20,
            chunk_bytes: 256 << 10,
        }
    }
}

impl Config {
    /// A member of a cluster with the default limits and no witnesses.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation, members: u16, timing: Timing) -> Config {
        Config {
            node,
            incarnation,
            members,
            witnesses: BTreeSet::new(),
            timing,
            limits: Limits::default(),
            seed: u64::from(node.0),
            recalls: true,
            address: None,
            skip_slots: BTreeSet::new(),
        }
    }

    /// The first slot at or above `from` that the owner of this ballot leaves out. Only that of the
    /// first view leaves out any: whoever comes later fills what it finds.
    pub(super) fn left_out(&self, ballot: Ballot, from: Slot) -> Option<Slot> {
        let is_first_view = ballot.view(self.members) == 0;
        self.skip_slots.range(from..).next().copied().filter(|_| is_first_view)
    }

    /// How many members are a majority.
    #[must_use]
    pub fn quorum(&self) -> usize {
        usize::from(self.members) / 2 + 1
    }

    /// How many others must testify before a store that took the place of a lost one votes: a
    /// quorum (see `rejoining`).
    pub(crate) fn testimonies(&self) -> usize {
        self.quorum()
    }

    /// How many members run a state machine: all but the witnesses.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.nodes().filter(|node| !self.witnesses.contains(node)).count()
    }

    /// How many of these are a majority of them.
    #[must_use]
    pub fn majority_of_replicas(&self) -> usize {
        self.replicas() / 2 + 1
    }

    /// All members, this node included.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.members).map(NodeId)
    }

    /// All members but this node.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.node;
        self.nodes().filter(move |node| *node != me)
    }

    /// Whether this member votes but never leads.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.witnesses.contains(&self.node)
    }

    /// How many places behind `owner` this node stands in the ring of succession: 1 is the next.
    /// Witnesses have no place. Behind nobody counts from node n-1.
    #[must_use]
    pub fn ring_distance(&self, owner: Option<NodeId>) -> u64 {
        let owner = owner.map_or(self.members - 1, |owner| owner.0 % self.members);
        let mut distance = 0;
        for step in 1..=self.members {
            let node = NodeId((owner + step) % self.members);
            if !self.witnesses.contains(&node) {
                distance += 1;
            }
            if node == self.node {
                break;
            }
        }
        distance.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug that turns it red: n - q + 1, which is less with an even number of members.
    #[test]
    fn two_sets_of_those_who_testify_meet_outside_of_both_replaced() {
        for members in 2..=9u16 {
            let timing = Timing::from_election(80);
            let config = Config::new(NodeId(0), Incarnation(1), members, timing);
            // Each leaves out its own replaced one, and one of them counts the other's ghost.
            let (knowing, asked) = (config.testimonies(), config.testimonies() - 1);
            let others = usize::from(members) - 2;
            let meets = knowing - 1 + asked > others;
            assert!(meets, "{members} members: {knowing} and {asked} of {others} need not meet");
        }
    }

    #[test]
    fn the_ring_counts_from_the_owner_and_skips_witnesses() {
        let timing = Timing::from_election(400);
        let config = |node| Config::new(NodeId(node), Incarnation(1), 5, timing);
        let distances =
            |owner| -> Vec<u64> { (0..5).map(|node| config(node).ring_distance(owner)).collect() };
        assert_eq!(distances(None), [1, 2, 3, 4, 5]);
        assert_eq!(distances(Some(NodeId(0))), [5, 1, 2, 3, 4]);
        assert_eq!(distances(Some(NodeId(3))), [2, 3, 4, 5, 1]);
        let mut behind_a_witness = config(2);
        behind_a_witness.witnesses.insert(NodeId(1));
        assert_eq!(behind_a_witness.ring_distance(Some(NodeId(0))), 1);
    }

    #[test]
    fn only_the_first_view_leaves_slots_out() {
        let mut config = Config::new(NodeId(0), Incarnation(1), 3, Timing::from_election(400));
        config.skip_slots = [Slot(2), Slot(5)].into();
        let ballot =
            |round, node| Ballot { round, node: NodeId(node), incarnation: Incarnation(1) };
        let ahead = [0, 2, 3, 6].map(|from| config.left_out(ballot(0, 0), Slot(from)));
        assert_eq!(ahead, [Some(Slot(2)), Some(Slot(2)), Some(Slot(5)), None]);
        assert_eq!(config.left_out(ballot(0, 1), Slot(0)), None, "view 1");
        assert_eq!(config.left_out(ballot(1, 0), Slot(0)), None, "view 3");
    }

    #[test]
    fn the_parts_of_an_election_timeout_fit_together() {
        for election in [16, 100, 400, 1000, 60_000] {
            let timing = Timing::from_election(election);
            assert!(timing.heartbeat_ticks * 8 <= election);
            assert!(timing.step_ticks > timing.heartbeat_ticks + timing.jitter_ticks);
            assert!(timing.reach_ticks > timing.heartbeat_ticks * 4);
        }
    }
}
