//! The invariants of *Paxos Made Moderately Complex*, each a pure function named as there.
//!
//! A1-A5 speak of acceptors (section 2.1), L1 and L2 of commanders and leaders (2.2, 2.3), R1-R5 of
//! replicas (2, figure 1). The simulator and the golden scripts ask them after every event; nothing
//! in the protocol itself depends on this file.
//!
//! An acceptor here keeps the highest ballot's vote of each slot, not every vote it ever cast, so
//! what is said of *all* acceptances is asked of those that are still held, often. Functions that
//! look at many slots take the slot to begin at: what was compared once need not be compared again.

use std::collections::{BTreeMap, BTreeSet};

use super::ballot::{Ballot, NodeId, Slot};
use super::command::Command;
use super::durable::{AcceptorState, Vote};
use super::message::{Digest, Run};
use super::replica::Replica;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} is broken: {detail}")]
pub struct Broken {
    /// Its name in the paper.
    pub invariant: &'static str,
    /// Where, and by what.
    pub detail: String,
}

/// Whether an invariant holds.
pub type Verdict = Result<(), Broken>;

/// What was proposed so far: at most one command for a ballot and a slot.
pub type Proposed = BTreeMap<(Ballot, Slot), Command>;

/// A1: "An acceptor can only adopt strictly increasing ballot numbers": what it promised, on disk
/// and across crashes, only grows.
///
/// # Errors
///
/// If the promise fell.
pub fn a1(before: Option<Ballot>, after: Option<Ballot>) -> Verdict {
    let detail = || format!("promised {before:?}, then {after:?}");
    hold(after >= before, "A1", detail)
}

/// A2: "An acceptor can only accept `<b, s, c>` if b is its ballot number": since promises only
/// grow, nothing it holds lies above its promise.
///
/// # Errors
///
/// If a vote from `from` on, or the chain of runs, does.
pub fn a2(state: &AcceptorState, from: Slot) -> Verdict {
    let promised = state.promised();
    let chain = state.chain().map(|chain| chain.ballot);
    hold(chain <= promised, "A2", || format!("a chain in {chain:?} above {promised:?}"))?;
    for (slot, vote) in state.votes(from) {
        let detail = || format!("slot {slot} accepted in {:?} above {promised:?}", vote.ballot);
        hold(vote.ballot <= promised, "A2", detail)?;
    }
    Ok(())
}

/// A3: "An acceptor cannot remove pvalues": a slot that held a vote holds one of the same or a
/// higher ballot, or the decided value, until it is trimmed; and a ballot's vote does not change.
///
/// # Errors
///
/// If a vote was lost or fell back.
pub fn a3(before: &AcceptorState, after: &AcceptorState) -> Verdict {
    for (slot, old) in before.votes(after.trimmed()) {
        let new = after.vote(slot);
        let detail = || format!("slot {slot} held {old:?}, then {new:?}");
        hold(new.is_some_and(|new| succeeds(old, new)), "A3", detail)?;
    }
    Ok(())
}

fn succeeds(old: &Vote, new: &Vote) -> bool {
    match (old.ballot, new.ballot) {
        (Some(old_ballot), Some(new_ballot)) if old_ballot != new_ballot => new_ballot > old_ballot,
        (None, Some(_)) => false,
        (Some(_), None) => true,
        (Some(_), Some(_)) | (None, None) => old.command == new.command,
    }
}

/// A4: "If `<b, s, c>` and `<b, s, c'>` are accepted, then c = c'": one command for a ballot and a
/// slot among all acceptors.
///
/// # Errors
///
/// If two acceptors hold different commands for one ballot and slot, from `from` on.
pub fn a4(states: &[&AcceptorState], from: Slot) -> Verdict {
    let mut seen: BTreeMap<(Slot, Ballot), &Command> = BTreeMap::new();
    for (slot, vote) in states.iter().flat_map(|state| state.votes(from)) {
        let Some(ballot) = vote.ballot else { continue };
        let first = *seen.entry((slot, ballot)).or_insert(&vote.command);
        let detail = || format!("slot {slot} in {ballot}: {first} and {}", vote.command);
        hold(*first == vote.command, "A4", detail)?;
    }
    Ok(())
}

/// A5: "If a majority accepted `<b, s, c>` and b' > b and `<b', s, c'>` is accepted, then c = c'":
/// no later ballot changes what an earlier one decided.
///
/// # Errors
///
/// If an acceptor holds another command in a later ballot than a quorum's, from `from` on.
pub fn a5(states: &[&AcceptorState], quorum: usize, from: Slot) -> Verdict {
    for (slot, vote) in states.iter().flat_map(|state| state.votes(from)) {
        let Some(ballot) = vote.ballot else { continue };
        not_against_a_quorum("A5", states, quorum, (ballot, slot, &vote.command))?;
    }
    Ok(())
}

/// L1: "For any ballot b and slot s, at most one command is selected": over all that was proposed
/// so far, and this run. Notes the run.
///
/// # Errors
///
/// If its ballot proposed another command for one of its slots before.
pub fn l1(proposed: &mut Proposed, run: &Run) -> Verdict {
    for (slot, command) in run.iter() {
        let first = proposed.entry((run.ballot, slot)).or_insert_with(|| command.clone());
        let detail = || format!("{} proposes {first}, then {command} in slot {slot}", run.ballot);
        hold(first == command, "L1", detail)?;
    }
    Ok(())
}

/// L2: "If a majority accepted `<b, s, c>` and b' > b and a commander is spawned for
/// `<b', s, c'>`, then c = c'": a later leader proposes nothing but what was decided.
///
/// # Errors
///
/// If the run proposes another command than a quorum holds in an earlier ballot.
pub fn l2(states: &[&AcceptorState], quorum: usize, run: &Run) -> Verdict {
    for (slot, command) in run.iter() {
        not_against_a_quorum("L2", states, quorum, (run.ballot, slot, command))?;
    }
    Ok(())
}

/// Our own, of what a leader may claim: all that `ballot` proposed in `from..watermark` was
/// accepted by a quorum, in that ballot or, the same command, in a later one; or is decided there.
/// A member may have had several stores.
///
/// # Errors
///
/// If a slot was not: then it was counted as decided and is not.
pub fn watermark(
    stores: &[(NodeId, &AcceptorState)],
    quorum: usize,
    proposed: &Proposed,
    (ballot, from, watermark): (Ballot, Slot, Slot),
) -> Verdict {
    for ((_, slot), command) in proposed.range((ballot, from)..(ballot, watermark.max(from))) {
        let accepted = |state: &AcceptorState| {
            let vote = state.vote(*slot).filter(|vote| vote.command == *command);
            state.mark() > *slot || vote.is_some_and(|vote| vote.ballot >= Some(ballot))
        };
        let holding = stores.iter().filter(|(_, state)| accepted(state)).map(|(node, _)| *node);
        let count = holding.collect::<BTreeSet<_>>().len();
        let detail = || format!("{ballot} decided {command} in slot {slot} with {count} votes");
        hold(count >= quorum, "watermark", detail)?;
    }
    Ok(())
}

/// R1: "No two different commands are decided for the same slot": against all that any replica ever
/// decided. Notes what this one has decided from `from` on.
///
/// # Errors
///
/// If it has decided another command than is known.
pub fn r1(decided: &mut BTreeMap<Slot, Command>, replica: &Replica, from: Slot) -> Verdict {
    let end = replica.decided();
    for (slot, vote) in replica.state().votes(from).take_while(|(slot, _)| *slot < end) {
        let known = decided.entry(slot).or_insert_with(|| vote.command.clone());
        let node = replica.config().node;
        let detail = || format!("{node} has {} in slot {slot}, not {known}", vote.command);
        hold(*known == vote.command, "R1", detail)?;
    }
    Ok(())
}

/// R2: "All commands up to slot_out are in the set of decisions": every slot that counts as decided
/// holds a command, from `from` on, but for what is trimmed.
///
/// # Errors
///
/// At the first that is missing.
pub fn r2(replica: &Replica, from: Slot) -> Verdict {
    let state = replica.state();
    let mut next = from.max(state.trimmed());
    let end = replica.decided();
    for (slot, _) in state.votes(next).take_while(|(slot, _)| *slot < end) {
        if slot > next {
            break;
        }
        next = slot.next();
    }
    hold(next >= end, "R2", || format!("slot {next} is empty, {end} decided"))
}

/// R3: "A replica's state is the result of applying the commands in the order of their slots": two
/// that applied as much are in the same state. Notes this one's.
///
/// # Errors
///
/// If another was in another state at the same slot.
pub fn r3(hashes: &mut BTreeMap<Slot, u64>, digest: Digest) -> Verdict {
    let known = *hashes.entry(digest.slot).or_insert(digest.hash);
    let detail = || format!("states {known:x} and {:x} at slot {}", digest.hash, digest.slot);
    hold(known == digest.hash, "R3", detail)
}

/// R4: "slot_out cannot decrease over time": what a replica has decided since it started only
/// grows.
///
/// # Errors
///
/// If it fell.
pub fn r4(before: Slot, after: Slot) -> Verdict {
    hold(after >= before, "R4", || format!("{before} slots decided, then {after}"))
}

/// R5: "A replica proposes commands only for slots below slot_out + WINDOW"; slots that were left
/// empty on purpose do not count, at most `left_empty` of them.
///
/// # Errors
///
/// If it leads and what it holds or proposed reaches further.
pub fn r5(replica: &Replica, left_empty: u64) -> Verdict {
    let reach = replica.end().since(replica.decided());
    let window = replica.config().limits.window_slots;
    let holds = !replica.is_leading() || reach <= window.saturating_add(left_empty);
    hold(holds, "R5", || format!("{reach} slots above what is decided, {window} allowed"))
}

/// Whether no quorum holds another command for the slot in an earlier ballot.
fn not_against_a_quorum(
    invariant: &'static str,
    states: &[&AcceptorState],
    quorum: usize,
    (ballot, slot, command): (Ballot, Slot, &Command),
) -> Verdict {
    let held: Vec<&Vote> = states.iter().filter_map(|state| state.vote(slot)).collect();
    for vote in &held {
        let chosen = vote.ballot.is_some_and(|earlier| earlier < ballot)
            && vote.command != *command
            && held.iter().filter(|other| other == &vote).count() >= quorum;
        let detail = || {
            let decided = &vote.command;
            format!("{ballot} has {command} in slot {slot}, where a quorum has {decided}")
        };
        hold(!chosen, invariant, detail)?;
    }
    Ok(())
}

fn hold(holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken { invariant, detail: detail() }) }
}

#[cfg(test)]
mod tests {
    use super::super::durable::Record;
    use super::super::testing::{ballot, command};
    use super::super::{Config, Incarnation, NodeId, Timing};
    use super::*;

    fn run(round: u64, first: u64, names: &[u64]) -> Run {
        let commands = names.iter().copied().map(command).collect();
        Run { ballot: ballot(round, 0), after: Slot(first), first: Slot(first), commands }
    }

    fn accepted(round: u64, first: u64, names: &[u64]) -> AcceptorState {
        AcceptorState::replay([Record::Accepted(run(round, first, names))])
    }

    fn replica(decided: u64, held: &[u64]) -> Replica {
        let config = Config::new(NodeId(0), Incarnation(1), 3, Timing::from_election(80));
        let state = accepted(1, 0, held).then([Record::Decided(Slot(decided))]);
        Replica::recover(config, state)
    }

    fn broken(verdict: Verdict) -> &'static str {
        verdict.err().map_or("none", |broken| broken.invariant)
    }

    #[test]
    fn promises_that_fall() {
        assert_eq!(a1(None, Some(ballot(0, 0))), Ok(()));
        assert_eq!(broken(a1(Some(ballot(1, 0)), Some(ballot(0, 2)))), "A1");
    }

    #[test]
    fn votes_stay_below_the_promise() {
        // No record can lift a vote above the promise: that is what A2 is about.
        let state = accepted(3, 0, &[1, 2]).then([Record::Promised(ballot(1, 0))]);
        assert_eq!((a2(&state, Slot(0)), state.promised()), (Ok(()), Some(ballot(3, 0))));
        assert_eq!(broken(a2(&AcceptorState::with_a_vote_above_its_promise(), Slot(0))), "A2");
    }

    #[test]
    fn votes_that_are_lost_or_fall_back() {
        let before = accepted(2, 0, &[1, 2]);
        assert_eq!(a3(&before, &accepted(3, 0, &[7, 2])), Ok(()));
        assert_eq!(broken(a3(&before, &accepted(2, 0, &[1]))), "A3", "lost");
        assert_eq!(broken(a3(&before, &accepted(1, 0, &[1, 2]))), "A3", "fell back");
        assert_eq!(broken(a3(&before, &accepted(2, 0, &[1, 3]))), "A3", "changed");
    }

    #[test]
    fn two_commands_in_one_ballot() {
        let (one, other) = (accepted(1, 0, &[1, 2]), accepted(1, 0, &[1, 3]));
        assert_eq!(broken(a4(&[&one, &other], Slot(0))), "A4");
        assert_eq!(a4(&[&one, &accepted(2, 0, &[1, 3])], Slot(0)), Ok(()));
        assert_eq!(a4(&[&one, &other], Slot(2)), Ok(()), "compared from the slot asked for");
    }

    #[test]
    fn a_later_ballot_against_a_quorum() {
        let (old, new) = (accepted(1, 0, &[1]), accepted(2, 0, &[9]));
        assert_eq!(broken(a5(&[&old, &old, &new], 2, Slot(0))), "A5");
        assert_eq!(a5(&[&old, &new], 2, Slot(0)), Ok(()), "one vote is no quorum");
        assert_eq!(broken(l2(&[&old, &old], 2, &run(2, 0, &[9]))), "L2");
        assert_eq!(l2(&[&old, &old], 2, &run(0, 0, &[9])), Ok(()), "an earlier ballot loses");
    }

    #[test]
    fn a_watermark_above_what_a_quorum_accepted() {
        let mut proposed = Proposed::new();
        assert_eq!(l1(&mut proposed, &run(2, 0, &[1, 2])), Ok(()));
        let (whole, half, old) =
            (accepted(2, 0, &[1, 2]), accepted(2, 0, &[1]), accepted(1, 0, &[1, 2]));
        let later = accepted(3, 0, &[1, 2]);
        let claim = |states: &[&AcceptorState], to| {
            let stores = (0..).map(NodeId).zip(states.iter().copied());
            let stores: Vec<_> = stores.collect();
            watermark(&stores, 2, &proposed, (ballot(2, 0), Slot(0), Slot(to)))
        };
        assert_eq!(claim(&[&whole, &half, &old], 1), Ok(()));
        assert_eq!(broken(claim(&[&whole, &half, &old], 2)), "watermark", "an earlier vote");
        assert_eq!(claim(&[&whole, &later], 2), Ok(()), "a later ballot repeats it");
        assert_eq!(claim(&[&whole, replica(2, &[1, 2]).state()], 2), Ok(()), "decided there");
    }

    #[test]
    fn a_leader_that_changes_its_mind() {
        let mut proposed = Proposed::new();
        assert_eq!(l1(&mut proposed, &run(1, 0, &[1, 2])), Ok(()));
        assert_eq!(l1(&mut proposed, &run(1, 1, &[2])), Ok(()), "sent again");
        assert_eq!(broken(l1(&mut proposed, &run(1, 1, &[3]))), "L1");
    }

    #[test]
    fn replicas_that_differ() {
        let mut decided = BTreeMap::new();
        assert_eq!(r1(&mut decided, &replica(2, &[1, 2]), Slot(0)), Ok(()));
        assert_eq!(r1(&mut decided, &replica(1, &[1, 3]), Slot(0)), Ok(()), "3 is not decided");
        assert_eq!(broken(r1(&mut decided, &replica(2, &[1, 3]), Slot(0))), "R1");
    }

    #[test]
    fn a_decided_slot_that_is_empty() {
        assert_eq!(r2(&replica(2, &[1, 2]), Slot(0)), Ok(()));
        let mut short = replica(2, &[1, 2]);
        short.learner.on_installed(Slot(3));
        assert_eq!(broken(r2(&short, Slot(0))), "R2");
    }

    #[test]
    fn states_that_differ_and_progress_that_is_lost() {
        let mut hashes = BTreeMap::new();
        assert_eq!(r3(&mut hashes, Digest { slot: Slot(8), hash: 1 }), Ok(()));
        assert_eq!(broken(r3(&mut hashes, Digest { slot: Slot(8), hash: 2 })), "R3");
        assert_eq!(broken(r4(Slot(3), Slot(2))), "R4");
    }
}
