//! Every vote that was ever cast, by nodes dead or alive.
//!
//! PMMC's A4, A5 and L2 speak of *all* acceptances; a disk holds only the latest of a slot. Here
//! none is forgotten: what a quorum accepted in one ballot is decided from that moment on, whether
//! or not anybody ever learns of it, and whatever the disks hold later is measured by it.

//!
//! A member may speak from several stores, one after the other. A vote of the older and one that
//! was cast when its caster knew of the newer are never counted together: see `paxos::stores`.

use std::collections::BTreeMap;

use crate::paxos::invariants::{Broken, Verdict};
use crate::paxos::{Ballot, Command, Incarnation, NodeId, Run, Slot};

/// One store of a member.
pub(super) type Store = (NodeId, Incarnation);

/// What a store knows of the others.
type Table = BTreeMap<NodeId, Incarnation>;

/// What was accepted, by whom, in which ballot; and what is decided thereby.
#[derive(Debug)]
pub(super) struct Votes {
    quorum: usize,
    tables: BTreeMap<Store, Table>,
    cast: BTreeMap<(Slot, Ballot), Cast>,
    /// The lowest ballot that decided a slot, and the command.
    decided: BTreeMap<Slot, (Ballot, Command)>,
}

/// The votes of one ballot for one slot.
#[derive(Debug)]
struct Cast {
    command: Command,
    /// Who cast them; where a member was replaced, each with what it knew then.
    votes: Vec<(Store, Table)>,
}

impl Votes {
    pub(super) fn new(members: usize) -> Votes {
        Votes {
            quorum: members / 2 + 1,
            tables: BTreeMap::new(),
            cast: BTreeMap::new(),
            decided: BTreeMap::new(),
        }
    }

    /// From here on this store knows of that one.
    pub(super) fn met(&mut self, store: Store, node: NodeId, incarnation: Incarnation) {
        let known = self.tables.entry(store).or_default().entry(node).or_insert(incarnation);
        *known = incarnation.max(*known);
    }

    /// A store has this run on its disk.
    ///
    /// # Errors
    ///
    /// A4, if the ballot has another command for one of its slots; A5, if an earlier ballot decided
    /// another, or this one now does and a later one differs.
    pub(super) fn accepted(&mut self, store: Store, run: &Run) -> Verdict {
        let ballot = run.ballot;
        for (slot, command) in run.iter() {
            self.not_against("A5", ballot, slot, command)?;
            let cast = self.cast.entry((slot, ballot));
            let cast = cast.or_insert_with(|| Cast { command: command.clone(), votes: Vec::new() });
            let first = &cast.command;
            let detail = || format!("slot {slot} in {ballot}: {first} and {command}");
            hold(first == command, "A4", detail)?;
            if cast.votes.iter().any(|(voter, _)| *voter == store) {
                continue;
            }
            let table = self.tables.get(&store).cloned().unwrap_or_default();
            cast.votes.push((store, table));
            if is_quorum(&cast.votes, self.quorum) {
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

/// Whether so many members voted, none of whom knew better of another's store.
fn is_quorum(votes: &[(Store, Table)], quorum: usize) -> bool {
    let clash = |((node, store), _): &(Store, Table), (_, table): &(Store, Table)| {
        table.get(node).is_some_and(|newest| newest > store)
    };
    let fits = |one: &(Store, Table), other: &(Store, Table)| {
        one.0.0 != other.0.0 && !clash(one, other) && !clash(other, one)
    };
    // Sets of votes that fit, by their places.
    let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
    for (at, vote) in votes.iter().enumerate() {
        // Where nobody clashes, one set is enough.
        if votes.iter().enumerate().all(|(other, it)| other == at || fits(vote, it)) {
            sets.iter_mut().for_each(|set| set.push(at));
            continue;
        }
        for set in 0..sets.len() {
            if sets[set].iter().all(|other| fits(vote, &votes[*other])) {
                let more = sets[set].iter().copied().chain([at]).collect();
                sets.push(more);
            }
        }
    }
    sets.iter().any(|set| set.len() >= quorum)
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

    fn store(node: u16) -> Store {
        (NodeId(node), Incarnation(1))
    }

    fn broken(verdict: Verdict) -> &'static str {
        verdict.expect_err("it is broken").invariant
    }

    #[test]
    fn what_a_quorum_accepted_binds_all_later_ballots_for_ever() {
        let mut votes = Votes::new(3);
        let (mine, other) = (command(1), command(2));
        assert_eq!(votes.accepted(store(0), &run(1, 1)), Ok(()));
        assert_eq!(votes.accepted(store(0), &run(1, 1)), Ok(()), "twice is no quorum");
        assert_eq!(broken(votes.rests_on_a_quorum(Slot(0), &mine)), "R1");
        assert_eq!(votes.proposed(&run(2, 2)), Ok(()), "nothing is decided");
        assert_eq!(votes.accepted(store(1), &run(1, 1)), Ok(()));
        assert_eq!(votes.rests_on_a_quorum(Slot(0), &mine), Ok(()));
        assert_eq!(broken(votes.rests_on_a_quorum(Slot(0), &other)), "R1");
        assert_eq!(broken(votes.proposed(&run(2, 2))), "L2");
        assert_eq!(broken(votes.accepted(store(2), &run(2, 2))), "A5");
        assert_eq!(votes.accepted(store(2), &run(0, 2)), Ok(()), "a minority below may differ");
    }

    #[test]
    fn one_ballot_has_one_command() {
        let mut votes = Votes::new(5);
        assert_eq!(votes.accepted(store(0), &run(1, 1)), Ok(()));
        assert_eq!(broken(votes.accepted(store(1), &run(1, 2))), "A4");
    }

    #[test]
    fn a_late_quorum_below_another_vote_is_noticed() {
        let mut votes = Votes::new(3);
        assert_eq!(votes.accepted(store(0), &run(1, 1)), Ok(()));
        assert_eq!(votes.accepted(store(2), &run(2, 2)), Ok(()));
        assert_eq!(broken(votes.accepted(store(1), &run(1, 1))), "A5");
    }

    /// Red if the table of a vote is not asked, or asked of those who voted before they knew.
    #[test]
    fn a_lost_stores_vote_counts_only_beside_those_that_knew_no_newer_one() {
        let newer = Incarnation(2);
        let mut votes = Votes::new(3);
        assert_eq!(votes.accepted(store(0), &run(1, 1)), Ok(()));
        votes.met(store(1), NodeId(0), newer);
        assert_eq!(votes.accepted(store(1), &run(1, 1)), Ok(()));
        assert_eq!(votes.proposed(&run(2, 2)), Ok(()), "nothing is decided");
        assert_eq!(votes.accepted((NodeId(0), newer), &run(1, 1)), Ok(()));
        assert_eq!(broken(votes.proposed(&run(2, 2))), "L2", "the newer store counts");
        let mut votes = Votes::new(3);
        assert_eq!(votes.accepted(store(1), &run(1, 1)), Ok(()));
        votes.met(store(1), NodeId(0), newer);
        assert_eq!(votes.accepted(store(0), &run(1, 1)), Ok(()));
        assert_eq!(broken(votes.proposed(&run(2, 2))), "L2", "it voted before it knew");
    }
}
