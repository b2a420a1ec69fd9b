//! Names and orders: who (node, incarnation), when (ballot) and where (slot).
//!
//! A ballot is a pair of a round and its owner, ordered lexicographically (PMMC 2), so that no two
//! nodes ever share one. The owner's *incarnation* is part of it: a node that was replaced because
//! its disk was lost can never be taken for the node that once used the same ballot.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A member of the cluster, numbered from 0 in the order of the cluster file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

/// Which store a node speaks from: the milliseconds since 1970 at which it was formatted, so that
/// a store made later for the same node is the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A place in the log, counted from 0; each holds one command.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Slot(pub u64);

/// A ballot: the right of one node to propose, from phase 1 until a higher ballot is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows with each campaign that has to outbid another.
    pub round: u64,
    /// The node that may propose in this ballot.
    pub node: NodeId,
    /// The store that node had when it took the ballot.
    pub incarnation: Incarnation,
}

impl Slot {
    /// The slot after this one.
    #[must_use]
    pub fn next(self) -> Slot {
        self.plus(1)
    }

    /// The slot `count` places on. Saturates: a peer's word cannot make it wrap.
    #[must_use]
    pub fn plus(self, count: u64) -> Slot {
        Slot(self.0.saturating_add(count))
    }

    /// How many slots lie in `from..self`; 0 if `from` is not below.
    #[must_use]
    pub fn since(self, from: Slot) -> u64 {
        self.0.saturating_sub(from.0)
    }
}

impl Ballot {
    /// The lowest ballot of `node` above `floor` (any, if there is no floor).
    #[must_use]
    pub fn above(floor: Option<Ballot>, node: NodeId, incarnation: Incarnation) -> Ballot {
        let round = floor.map_or(0, |floor| floor.round);
        let same_round = Ballot { round, node, incarnation };
        match floor {
            Some(floor) if same_round <= floor => Ballot { round: round + 1, ..same_round },
            Some(_) | None => same_round,
        }
    }

    /// The view that users see: its primary is `view % members`.
    #[must_use]
    pub fn view(self, members: u16) -> u64 {
        self.round.saturating_mul(u64::from(members)).saturating_add(u64::from(self.node.0))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, node: u16) -> Ballot {
        Ballot { round, node: NodeId(node), incarnation: Incarnation(1) }
    }

    #[test]
    fn the_lowest_own_ballot_above_a_floor() {
        let cases = [
            (None, 0, ballot(0, 0)),
            (None, 2, ballot(0, 2)),
            (Some(ballot(0, 0)), 1, ballot(0, 1)),
            (Some(ballot(0, 1)), 1, ballot(1, 1)),
            (Some(ballot(0, 2)), 1, ballot(1, 1)),
            (Some(ballot(7, 4)), 0, ballot(8, 0)),
        ];
        for (floor, node, expected) in cases {
            let found = Ballot::above(floor, NodeId(node), Incarnation(1));
            assert_eq!(found, expected, "above {floor:?} for node {node}");
            assert!(floor.is_none_or(|floor| found > floor));
        }
    }

    #[test]
    fn views_count_through_the_ring() {
        assert_eq!(ballot(0, 0).view(3), 0);
        assert_eq!(ballot(0, 2).view(3), 2);
        assert_eq!(ballot(1, 0).view(3), 3);
    }
}
