//! Who holds what a witness' log need not: how far durable snapshots and archives go, as the
//! members tell.
//!
//! A member that runs a state machine trims its log below snapshots of its own. A witness takes
//! none, and whatever it lets go of must be with others, for good: it trims below a slot only once
//! a *quorum* of the members hold a snapshot at it, or a higher one, and the archive up to there,
//! each on its own disk. So every quorum that may be left has somebody who knows what was decided,
//! and an acknowledged command stands on a majority of disks as before. Or it keeps a copy of
//! another's itself: then it lets go of nothing, like those who have a state.
//!
//! The word is sealed: it leaves once what it tells is on disk, and names its sender's store and
//! all others' that the sender knows of. Whoever learns of a newer store of a member drops what the
//! older one told, as it drops that one's votes; and by the same argument (`rejoining`) a new store
//! that votes holds what the lost one had told: of those who were counted beside the lost one, some
//! have testified to the new one, and what they know to be decided lay above.
//!
//! What was told is forgotten at a restart. Then a witness keeps its log until it is told again:
//! each election timeout, and whenever there is more.

use std::collections::BTreeMap;

use super::ballot::{Incarnation, NodeId, Slot};
use super::config::Config;
use super::durable::Effects;
use super::message::Holds;
use super::replica::Replica;
use super::stores::Admission;

/// How far the members' snapshots and archives go.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    /// This node's own.
    own: Slot,
    /// The others', by the stores that told so. Witnesses alone are told.
    told: BTreeMap<NodeId, (Incarnation, Slot)>,
    /// When the witnesses are told again.
    due: u64,
}

impl Holding {
    /// So far go those of a quorum, or this node's own.
    fn held(&self, config: &Config) -> Slot {
        let told = self.told.values().map(|(_, below)| *below);
        let mut all: Vec<Slot> = told.chain([self.own]).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.get(config.quorum() - 1).copied().unwrap_or_default().max(self.own)
    }

    fn take(&mut self, from: NodeId, store: Incarnation, below: Slot) {
        let known = self.told.entry(from).or_insert((store, below));
        *known = (store, below).max(*known);
    }

    /// Drops what a store told that a newer one of the same node replaced.
    pub(super) fn forget(&mut self, node: NodeId, older_than: Incarnation) {
        self.told.retain(|from, (store, _)| *from != node || *store >= older_than);
    }
}

impl Replica {
    /// What lies below need not be in the log of this witness: a quorum holds it, or it has a copy.
    #[must_use]
    pub fn held(&self) -> Slot {
        self.holding.held(&self.config)
    }

    /// How far snapshot and archive of the others go, as they told this witness.
    pub fn holders(&self) -> impl Iterator<Item = (NodeId, Slot)> {
        self.holding.told.iter().map(|(node, (_, below))| (*node, *below))
    }

    /// This node's snapshot and archive go so far. What it tells the witnesses is told of what it
    /// knows to be decided on this disk.
    pub(super) fn on_hold(&mut self, below: Slot, fx: &mut Effects) {
        self.holding.own = self.holding.own.max(below.min(self.learner.decided()));
        self.acceptor.raise_mark(self.learner.decided(), fx);
        self.tell_holding(fx);
    }

    pub(super) fn on_holds(&mut self, from: NodeId, holds: &Holds, fx: &mut Effects) {
        let is_new = self.admit(from, &holds.seal, fx) != Admission::Replaced;
        if is_new && self.config.is_witness() {
            self.holding.take(from, holds.seal.incarnation, holds.below);
        }
    }

    /// Tells the witnesses again, for some of it may have been lost.
    pub(super) fn tick_holding(&mut self, fx: &mut Effects) {
        if self.now >= self.holding.due && self.holding.own > Slot(0) {
            self.tell_holding(fx);
        }
    }

    fn tell_holding(&mut self, fx: &mut Effects) {
        self.holding.due = self.now + self.config.timing.election_ticks;
        let below = self.holding.own;
        for witness in self.config.peers().filter(|peer| self.config.witnesses.contains(peer)) {
            fx.send(witness, Holds { below, seal: self.acceptor.seal(&self.config) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timing;
    use super::*;

    fn held(members: u16, own: u64, told: &[(u16, u64)]) -> u64 {
        let timing = Timing::from_election(80);
        let config = Config::new(NodeId(members - 1), Incarnation(1), members, timing);
        let mut holding = Holding { own: Slot(own), ..Holding::default() };
        for (node, below) in told {
            holding.take(NodeId(*node), Incarnation(1), Slot(*below));
        }
        holding.held(&config).0
    }

    /// Bugs that turn it red: a quorum less one; the lowest or the highest of all in its place.
    #[test]
    fn it_is_held_what_every_quorum_has_somebody_for() {
        assert_eq!(held(3, 0, &[]), 0);
        assert_eq!(held(3, 0, &[(0, 50)]), 0, "one may be lost");
        assert_eq!(held(3, 0, &[(0, 50), (1, 30)]), 30);
        assert_eq!(held(3, 40, &[(0, 30)]), 40, "it has a copy of its own");
        assert_eq!(held(5, 20, &[(0, 50), (1, 30), (2, 40)]), 30);
        assert_eq!(held(5, 0, &[(0, 50), (1, 30), (2, 20), (3, 10)]), 20);
        assert_eq!(held(4, 0, &[(0, 50), (1, 30)]), 0);
        assert_eq!(held(2, 0, &[(0, 50)]), 0);
        assert_eq!(held(1, 50, &[]), 50);
    }

    /// Bugs that turn it red: what is told later counts though it is less; a lost store's word
    /// counts on, or takes that of the new one along.
    #[test]
    fn the_word_of_a_store_lasts_until_a_newer_one_is_known() {
        let mut holding = Holding::default();
        holding.take(NodeId(0), Incarnation(1), Slot(50));
        holding.take(NodeId(0), Incarnation(1), Slot(40));
        assert_eq!(holding.told[&NodeId(0)], (Incarnation(1), Slot(50)));
        holding.forget(NodeId(1), Incarnation(2));
        holding.forget(NodeId(0), Incarnation(1));
        assert_eq!(holding.told.len(), 1);
        holding.forget(NodeId(0), Incarnation(2));
        assert!(holding.told.is_empty());
        holding.take(NodeId(0), Incarnation(2), Slot(7));
        assert_eq!(holding.told[&NodeId(0)], (Incarnation(2), Slot(7)));
    }
}
