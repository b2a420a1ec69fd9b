//! The commander: phase 2 of one ballot (PMMC 2.2). Cuts runs, counts votes, says what is decided.
//!
//! One for all slots of the ballot, since votes are cumulative: `Accepted(from, up_to)` covers
//! every slot that the ballot proposed between. Knows no time.
//!
//! Invariant: the watermark rests on votes for this ballot alone, and on the slots below the first
//! one proposed, which were known to be decided before (**the one thing a watermark may claim**).

use std::collections::{BTreeMap, VecDeque};

use super::ballot::{Ballot, Incarnation, NodeId, Slot};
use super::command::Command;
use super::config::Limits;
use super::message::{Accept, Accepted, Run};

/// Phase 2 of one ballot.
#[derive(Clone, Debug)]
pub(super) struct Commander {
    ballot: Ballot,
    quorum: usize,
    /// Where the last run ended, for the next to name.
    after: Slot,
    /// The next slot to propose.
    next: Slot,
    watermark: Slot,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Runs that are decided above a hole. Learner sync ends at the hole, so a node that missed one
    /// of these can get it, and with it vote for what follows, from here alone.
    kept: Vec<InFlight>,
    /// Slots left empty on purpose: ranges `from..to`, apart and ascending.
    holes: Vec<(Slot, Slot)>,
}

/// A run that is not decided yet, and the stores that voted for it.
#[derive(Clone, Debug)]
struct InFlight {
    run: Run,
    voters: BTreeMap<NodeId, Incarnation>,
}

impl Commander {
    /// Phase 2 from `first` on: everything below is decided and known.
    pub(super) fn new(ballot: Ballot, quorum: usize, first: Slot) -> Commander {
        Commander {
            ballot,
            quorum,
            after: first,
            next: first,
            watermark: first,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            kept: Vec::new(),
            holes: Vec::new(),
        }
    }

    /// Everything that this ballot proposed below is decided.
    pub(super) fn watermark(&self) -> Slot {
        self.watermark
    }

    /// The next slot to propose.
    pub(super) fn next(&self) -> Slot {
        self.next
    }

    pub(super) fn holes(&self) -> &[(Slot, Slot)] {
        &self.holes
    }

    /// How many bytes of commands may be proposed now, `decided` being the lowest undecided slot:
    /// 0 if the window is full.
    pub(super) fn room(&self, limits: &Limits, decided: Slot) -> usize {
        let slots = self.next.since(decided);
        if slots >= limits.window_slots || self.in_flight.len() >= limits.window_runs {
            return 0;
        }
        limits.window_bytes.saturating_sub(self.in_flight_bytes)
    }

    /// Proposes these commands, at least one, as the next run.
    pub(super) fn propose(&mut self, commands: Vec<Command>) -> Accept {
        let run = Run { ballot: self.ballot, after: self.after, first: self.next, commands };
        self.next = run.end();
        self.after = run.end();
        self.in_flight_bytes += weight(&run);
        self.in_flight.push_back(InFlight { run: run.clone(), voters: BTreeMap::new() });
        Accept { run, watermark: self.watermark }
    }

    /// Leaves slots empty, as if their proposals had been lost.
    pub(super) fn skip(&mut self, count: u64) {
        let from = self.next;
        self.next = from.plus(count);
        match self.holes.last_mut() {
            Some((_, to)) if *to == from => *to = self.next,
            Some(_) | None if count > 0 => self.holes.push((from, self.next)),
            Some(_) | None => (),
        }
    }

    /// Counts a vote. Whether the watermark rose.
    pub(super) fn on_accepted(&mut self, from: NodeId, accepted: &Accepted) -> bool {
        if accepted.ballot != self.ballot {
            return false;
        }
        for InFlight { run, voters } in self.kept.iter_mut().chain(&mut self.in_flight) {
            if accepted.from <= run.first && run.end() <= accepted.up_to {
                voters.insert(from, accepted.seal.incarnation);
            }
        }
        let before = self.watermark;
        while let Some(sent) = self.in_flight.pop_front_if(|sent| sent.voters.len() >= self.quorum)
        {
            self.watermark = sent.run.end();
            // Above a hole what is decided still counts: a Promise lists it all.
            if self.holes.is_empty() {
                self.in_flight_bytes -= weight(&sent.run);
            } else {
                self.kept.push(sent);
            }
        }
        self.watermark > before
    }

    /// Drops the votes of a store that a newer one of the same node replaced.
    pub(super) fn forget(&mut self, node: NodeId, older_than: Incarnation) {
        for InFlight { voters, .. } in self.kept.iter_mut().chain(&mut self.in_flight) {
            voters.retain(|from, incarnation| *from != node || *incarnation >= older_than);
        }
    }

    /// What a node has not voted for and learner sync cannot give it, to be sent once more.
    pub(super) fn missing(&self, node: NodeId) -> impl Iterator<Item = Accept> {
        let sent = self.kept.iter().chain(&self.in_flight);
        let missing = sent.filter(move |sent| !sent.voters.contains_key(&node));
        missing.map(|sent| Accept { run: sent.run.clone(), watermark: self.watermark })
    }

    /// Whether a slot above a deliberate hole is decided.
    pub(super) fn has_decided_above_a_hole(&self) -> bool {
        self.holes.first().is_some_and(|(_, to)| self.watermark > *to)
    }
}

fn weight(run: &Run) -> usize {
    run.commands.iter().map(Command::weight).sum()
}

#[cfg(test)]
mod tests {
    use super::super::message::Seal;
    use super::*;

    fn accepted(round: u64, from: u64, up_to: u64) -> Accepted {
        Accepted {
            ballot: Ballot { round, node: NodeId(0), incarnation: Incarnation(1) },
            from: Slot(from),
            up_to: Slot(up_to),
            pledges: 1,
            seal: Seal { incarnation: Incarnation(1), known: vec![] },
        }
    }

    fn commander() -> Commander {
        let ballot = Ballot { round: 3, node: NodeId(0), incarnation: Incarnation(1) };
        Commander::new(ballot, 2, Slot(5))
    }

    #[test]
    fn a_quorum_of_votes_for_this_ballot_decides() {
        let mut commander = commander();
        let accept = commander.propose(vec![Command::Noop; 2]);
        assert_eq!((accept.run.after, accept.run.first), (Slot(5), Slot(5)));
        assert!(!commander.on_accepted(NodeId(0), &accepted(3, 5, 7)));
        assert!(!commander.on_accepted(NodeId(0), &accepted(3, 5, 7)), "one node, one vote");
        assert!(!commander.on_accepted(NodeId(1), &accepted(2, 5, 7)), "an earlier ballot");
        assert_eq!(commander.watermark(), Slot(5));
        assert!(commander.on_accepted(NodeId(2), &accepted(3, 5, 7)));
        assert_eq!(commander.watermark(), Slot(7));
    }

    #[test]
    fn a_chain_that_began_later_does_not_vote_for_what_lies_before() {
        let mut commander = commander();
        commander.propose(vec![Command::Noop]);
        let second = commander.propose(vec![Command::Noop]);
        assert_eq!(second.run.after, Slot(6));
        commander.on_accepted(NodeId(0), &accepted(3, 5, 7));
        assert!(!commander.on_accepted(NodeId(1), &accepted(3, 6, 7)));
        assert_eq!(commander.missing(NodeId(1)).count(), 1);
        assert!(commander.on_accepted(NodeId(2), &accepted(3, 5, 6)));
        assert_eq!(commander.watermark(), Slot(7), "and then the second has its quorum, too");
    }

    #[test]
    fn skipped_slots_stay_out_of_the_runs() {
        let mut commander = commander();
        commander.propose(vec![Command::Noop]);
        commander.skip(3);
        let after = commander.propose(vec![Command::Noop]);
        assert_eq!((after.run.after, after.run.first), (Slot(6), Slot(9)));
        assert_eq!(commander.holes(), [(Slot(6), Slot(9))]);
        commander.on_accepted(NodeId(0), &accepted(3, 5, 6));
        commander.on_accepted(NodeId(1), &accepted(3, 5, 6));
        assert!(!commander.has_decided_above_a_hole());
        commander.on_accepted(NodeId(0), &accepted(3, 5, 10));
        commander.on_accepted(NodeId(1), &accepted(3, 5, 10));
        assert!(commander.has_decided_above_a_hole());
    }

    #[test]
    fn holes_side_by_side_are_one() {
        let mut commander = commander();
        commander.skip(0);
        commander.skip(1);
        commander.skip(2);
        commander.propose(vec![Command::Noop]);
        commander.skip(1);
        assert_eq!(commander.holes(), [(Slot(5), Slot(8)), (Slot(9), Slot(10))]);
    }

    /// Bug that turns it red: to forget a run as soon as a quorum has it, also above a hole.
    #[test]
    fn what_is_decided_above_a_hole_is_sent_to_whom_it_misses() {
        let mut commander = commander();
        commander.propose(vec![Command::Noop]);
        for node in [0, 1] {
            commander.on_accepted(NodeId(node), &accepted(3, 5, 6));
        }
        assert_eq!(commander.missing(NodeId(2)).count(), 0, "learner sync gives it");
        commander.skip(1);
        let above = commander.propose(vec![Command::Noop]);
        for node in [0, 1] {
            commander.on_accepted(NodeId(node), &accepted(3, 5, 8));
        }
        assert_eq!(commander.watermark(), Slot(8));
        let missing: Vec<Accept> = commander.missing(NodeId(2)).collect();
        assert_eq!(missing, [Accept { watermark: Slot(8), ..above }]);
        commander.on_accepted(NodeId(2), &accepted(3, 6, 8));
        assert_eq!(commander.missing(NodeId(2)).count(), 0);
    }

    #[test]
    fn votes_of_a_replaced_store_are_dropped() {
        let mut commander = commander();
        commander.propose(vec![Command::Noop]);
        commander.on_accepted(NodeId(1), &accepted(3, 5, 6));
        commander.forget(NodeId(1), Incarnation(2));
        assert!(!commander.on_accepted(NodeId(0), &accepted(3, 5, 6)));
    }
}
