//! Every vote that was ever cast, by nodes dead or alive.
//!
//! PMMC's A4, A5 and L2 speak of *all* acceptances; a disk holds only the latest of a slot. Here
//! none is forgotten: what a quorum accepted in one ballot is decided from that moment on, whether
//! or not anybody ever learns of it, and whatever the disks hold later is measured by it.

use std::collections::BTreeMap;

use crate::paxos::invariants::{Broken, Verdict};
use crate::paxos::{Ballot, Command, NodeId, Run, Slot};

/// What was accepted, by whom, in which ballot; and what is decided thereby.
#[derive(Debug)]
pub(super) struct Votes {
    quorum: u32,
    cast: BTreeMap<(Slot, Ballot), Cast>,
    /// The lowest ballot that decided a slot, and the command.
    decided: BTreeMap<Slot, (Ballot, Command)>,
}

/// The votes of one ballot for one slot.
#[derive(Debug)]
struct Cast {
    command: Command,
    /// A bit for each node.
    nodes: u64,
}

impl Votes {
    pub(super) fn new(members: usize) -> Votes {
        let quorum = members as u32 / 2 + 1;
        Votes { quorum, cast: BTreeMap::new(), decided: BTreeMap::new() }
    }

    /// A node has this run on its disk.
    ///
    /// # Errors
    ///
    /// A4, if the ballot has another command for one of its slots; A5, if an earlier ballot decided
    /// another, or this one now does and a later one differs.
    pub(super) fn accepted(&mut self, node: NodeId, run: &Run) -> Verdict {
        let ballot = run.ballot;
        for (slot, command) in run.iter() {
            self.not_against("A5", ballot, slot, command)?;
            let cast = self.cast.entry((slot, ballot));
            let cast = cast.or_insert_with(|| Cast { command: command.clone(), nodes: 0 });
            let first = &cast.command;
            let detail = || format!("slot {slot} in {ballot}: {first} and {command}");
            hold(first == command, "A4", detail)?;
            let before = cast.nodes.count_ones();
            cast.nodes |= 1 << node.0;
            if before < self.quorum && cast.nodes.count_ones() >= self.quorum {
                self.decide(ballot, slot, command)?;
            }
        }
        Ok(())
    }

    /// L2: a leader proposes nothing against what an earlier ballot decided.
    ///
    /// # Errors
    ///
    /// If this run does.
    pub(super) fn proposed(&self, run: &Run) -> Verdict {
        run.iter().try_for_each(|(slot, command)| self.not_against("L2", run.ballot, slot, command))
    }

    /// R1: a command that a replica takes for decided was accepted by a quorum in one ballot.
    ///
    /// # Errors
    ///
    /// If it was not.
    pub(super) fn rests_on_a_quorum(&self, slot: Slot, command: &Command) -> Verdict {
        let decided = self.decided.get(&slot).map(|(_, decided)| decided);
        let detail = || format!("{command} counts as decided in slot {slot}, it is {decided:?}");
        hold(decided == Some(command), "R1", detail)
    }

    fn decide(&mut self, ballot: Ballot, slot: Slot, command: &Command) -> Verdict {
        let later = self.cast.range((slot, ballot)..).take_while(|((at, _), _)| *at == slot);
        for ((_, later), cast) in later {
            let other = &cast.command;
            let detail = || format!("{ballot} decides {command} in {slot}, {later} has {other}");
            hold(other == command, "A5", detail)?;
        }
        let lowest = self.decided.entry(slot).or_insert_with(|| (ballot, command.clone()));
        if ballot < lowest.0 {
            *lowest = (ballot, command.clone());
        }
        Ok(())
    }

    fn not_against(
        &self,
        invariant: &'static str,
        ballot: Ballot,
        slot: Slot,
        command: &Command,
    ) -> Verdict {
        let Some((earlier, decided)) = self.decided.get(&slot) else { return Ok(()) };
        let detail = || format!("{ballot} has {command} in {slot}, {earlier} decided {decided}");
        hold(*earlier >= ballot || decided == command, invariant, detail)
    }
}

fn hold(holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken { invariant, detail: detail() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::testing::{ballot, command};

    fn run(round: u64, number: u64) -> Run {
        let commands = vec![command(number)];
        Run { ballot: ballot(round, 0), after: Slot(0), first: Slot(0), commands }
    }

    fn broken(verdict: Verdict) -> &'static str {
        verdict.expect_err("it is broken").invariant
    }

    #[test]
    fn what_a_quorum_accepted_binds_all_later_ballots_for_ever() {
        let mut votes = Votes::new(3);
        let (mine, other) = (command(1), command(2));
        assert_eq!(votes.accepted(NodeId(0), &run(1, 1)), Ok(()));
        assert_eq!(votes.accepted(NodeId(0), &run(1, 1)), Ok(()), "twice is no quorum");
        assert_eq!(broken(votes.rests_on_a_quorum(Slot(0), &mine)), "R1");
        assert_eq!(votes.proposed(&run(2, 2)), Ok(()), "nothing is decided");
        assert_eq!(votes.accepted(NodeId(1), &run(1, 1)), Ok(()));
        assert_eq!(votes.rests_on_a_quorum(Slot(0), &mine), Ok(()));
        assert_eq!(broken(votes.rests_on_a_quorum(Slot(0), &other)), "R1");
        assert_eq!(broken(votes.proposed(&run(2, 2))), "L2");
        assert_eq!(broken(votes.accepted(NodeId(2), &run(2, 2))), "A5");
        assert_eq!(votes.accepted(NodeId(2), &run(0, 2)), Ok(()), "a minority below may differ");
    }

    #[test]
    fn one_ballot_has_one_command() {
        let mut votes = Votes::new(5);
        assert_eq!(votes.accepted(NodeId(0), &run(1, 1)), Ok(()));
        assert_eq!(broken(votes.accepted(NodeId(1), &run(1, 2))), "A4");
    }

    #[test]
    fn a_late_quorum_below_another_vote_is_noticed() {
        let mut votes = Votes::new(3);
        assert_eq!(votes.accepted(NodeId(0), &run(1, 1)), Ok(()));
        assert_eq!(votes.accepted(NodeId(2), &run(2, 2)), Ok(()));
        assert_eq!(broken(votes.accepted(NodeId(1), &run(1, 1))), "A5");
    }
}
