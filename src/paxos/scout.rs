//! The scout: phase 1 of one ballot (PMMC 2.2). Gathers promises and says what must be proposed.
//!
//! Knows no time. It adopts what was accepted in the *highest* ballot that any of its quorum
//! accepted in, and nothing else. Why that is enough: let a command be decided in slot s, at or
//! above the highest mark of the quorum. One of the quorum accepted it (A5). A higher ballot has
//! adopted it in its first run (P2c, by induction), and whoever accepted anything in that ballot
//! either holds its first run, or has a mark above it: the acceptor's chain. So whatever only
//! an older ballot shows was never decided, and is not adopted: its client has sent it again, and a
//! request must not be decided twice.

use std::collections::BTreeMap;

use super::ballot::{Ballot, Incarnation, NodeId, Slot};
use super::command::Command;
use super::message::{PValue, Promise};

/// Phase 1 of one ballot, under way.
#[derive(Clone, Debug)]
pub(super) struct Scout {
    pub(super) ballot: Ballot,
    quorum: usize,
    /// Holes are filled up to here even if nothing is accepted above.
    fill_to: Slot,
    promises: BTreeMap<NodeId, Promise>,
}

/// What phase 1 found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Adopted {
    /// Every slot below is decided, at a member of the quorum at least.
    pub(super) mark: Slot,
    /// What must be proposed from the mark on, holes filled; may be empty.
    pub(super) commands: Vec<Command>,
}

impl Scout {
    pub(super) fn new(ballot: Ballot, quorum: usize, fill_to: Slot) -> Scout {
        Scout { ballot, quorum, fill_to, promises: BTreeMap::new() }
    }

    /// Counts a promise for this very ballot. Whether a quorum has promised now, the campaigner
    /// among them: a leader that campaigns again must find again what it has proposed itself.
    pub(super) fn on_promise(&mut self, from: NodeId, promise: Promise) -> bool {
        if promise.ballot != self.ballot {
            return false;
        }
        self.promises.entry(from).or_insert(promise);
        self.promises.len() >= self.quorum && self.promises.contains_key(&self.ballot.node)
    }

    /// Who has promised, each with the store that it speaks from.
    pub(super) fn voters(&self) -> Vec<(NodeId, Incarnation)> {
        self.promises.iter().map(|(node, promise)| (*node, promise.seal.incarnation)).collect()
    }

    pub(super) fn has_promise_of(&self, node: NodeId) -> bool {
        self.promises.contains_key(&node)
    }

    /// Drops what a store has promised that a newer one of the same node replaced.
    pub(super) fn forget(&mut self, node: NodeId, older_than: Incarnation) {
        self.promises
            .retain(|from, promise| *from != node || promise.seal.incarnation >= older_than);
    }

    /// The member of the quorum whose mark is the highest, and that mark.
    pub(super) fn highest_mark(&self) -> (NodeId, Slot) {
        let marks = self.promises.iter().map(|(node, promise)| (*node, promise.mark));
        marks.max_by_key(|(_, mark)| *mark).expect("asked once a quorum has promised")
    }

    /// Whether nobody but the campaigner can have decided anything since it led last, if it did: a
    /// later leader's decision would show as a vote in its ballot.
    pub(super) fn is_alone(&self) -> bool {
        self.highest_accepted_in().is_none_or(|ballot| ballot.node == self.ballot.node)
    }

    fn highest_accepted_in(&self) -> Option<Ballot> {
        self.promises.values().filter_map(|promise| promise.accepted_in).max()
    }

    /// What the quorum's promises oblige this ballot to propose.
    pub(super) fn adopt(self) -> Adopted {
        let (_, mark) = self.highest_mark();
        let highest = self.highest_accepted_in();
        let shown = self.promises.into_values().flat_map(|promise| promise.accepted);
        let wanted = |pvalue: &PValue| Some(pvalue.ballot) == highest && pvalue.slot >= mark;
        let mut adopted: BTreeMap<Slot, Command> =
            shown.filter(wanted).map(|pvalue| (pvalue.slot, pvalue.command)).collect();
        let top = adopted.last_key_value().map_or(mark, |(slot, _)| slot.next());
        let end = top.max(self.fill_to);
        // A hole gets a no-op, never a client's command: that would overtake an earlier one.
        let fill = |slot| adopted.remove(&Slot(slot)).unwrap_or(Command::Noop);
        Adopted { mark, commands: (mark.0..end.0).map(fill).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{ClientId, Request, RequestNumber};
    use super::super::message::Seal;
    use super::*;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: NodeId(0), incarnation: Incarnation(1) }
    }

    fn command(name: &'static str) -> Command {
        let one = RequestNumber(1);
        let body = name.as_bytes().into();
        let client = ClientId(0);
        Command::Request(Request {
            client,
            number: one,
            low_water: one,
            ttl_ms: 0,
            time_ms: 0,
            body,
        })
    }

    type Shown = &'static [(u64, u64, &'static str)];

    /// What a scout adopts from promises given as (mark, [(ballot, slot, command)]).
    fn adopt(fill_to: u64, promises: &[(u64, Shown)]) -> (u64, Vec<Command>) {
        let mut scout = Scout::new(ballot(9), promises.len(), Slot(fill_to));
        for (node, (mark, shown)) in promises.iter().enumerate() {
            let pvalue = |(round, slot, name): &(u64, u64, &'static str)| PValue {
                ballot: ballot(*round),
                slot: Slot(*slot),
                command: command(name),
            };
            let promise = Promise {
                ballot: ballot(9),
                mark: Slot(*mark),
                accepted_in: shown.iter().map(|(round, _, _)| ballot(*round)).max(),
                accepted: shown.iter().map(pvalue).collect(),
                pledges: 1,
                seal: Seal { incarnation: Incarnation(1), known: vec![] },
            };
            let complete = scout.on_promise(NodeId(node as u16), promise);
            assert_eq!(complete, node + 1 == promises.len());
        }
        let adopted = scout.adopt();
        (adopted.mark.0, adopted.commands)
    }

    #[test]
    fn nothing_accepted_nothing_adopted() {
        assert_eq!(adopt(0, &[(3, &[]), (5, &[])]), (5, vec![]));
    }

    #[test]
    fn the_highest_ballot_of_a_slot_wins() {
        let found = adopt(0, &[(0, &[(1, 0, "old")]), (0, &[(2, 0, "new")])]);
        assert_eq!(found, (0, vec![command("new")]));
    }

    #[test]
    fn below_the_highest_mark_nothing_is_proposed() {
        let found = adopt(0, &[(0, &[(1, 0, "a"), (1, 1, "b")]), (1, &[(1, 1, "b")])]);
        assert_eq!(found, (1, vec![command("b")]));
    }

    #[test]
    fn a_hole_is_filled_with_a_noop() {
        let found = adopt(0, &[(0, &[(1, 0, "a"), (1, 2, "c")]), (0, &[])]);
        assert_eq!(found, (0, vec![command("a"), Command::Noop, command("c")]));
        assert_eq!(adopt(2, &[(0, &[]), (0, &[])]), (0, vec![Command::Noop, Command::Noop]));
    }

    #[test]
    fn from_the_first_slot_of_the_highest_ballot_on_older_ones_are_ignored() {
        let found = adopt(0, &[(0, &[(1, 0, "a"), (1, 1, "b")]), (0, &[(2, 0, "b")])]);
        assert_eq!(found, (0, vec![command("b")]), "b must not be decided twice");
    }

    #[test]
    fn what_the_highest_ballot_decided_already_outbids_what_an_older_one_left() {
        let found = adopt(0, &[(0, &[(1, 0, "a"), (1, 1, "b")]), (1, &[(2, 0, "b")])]);
        assert_eq!(found, (1, vec![]), "b stands in slot 0, and not again in slot 1");
    }

    #[test]
    fn a_promise_for_another_ballot_does_not_count() {
        let mut scout = Scout::new(ballot(9), 1, Slot(0));
        let seal = Seal { incarnation: Incarnation(1), known: vec![] };
        let promise = Promise {
            ballot: ballot(8),
            mark: Slot(0),
            accepted_in: None,
            accepted: vec![],
            pledges: 1,
            seal,
        };
        assert!(!scout.on_promise(NodeId(0), promise));
    }
}
