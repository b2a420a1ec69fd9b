//! Which messages could come from a node that follows the protocol; the rest are ignored.
//!
//! A message can be well formed and still be absurd: a ballot above which there is none, a run that
//! ends beyond the last number, a promise that lists a slot so far off that filling the holes below
//! would take all memory. Bounds here are far above what any cluster reaches, and low enough that
//! no sum overflows and nothing grows without limit. Whether a sound message is *true* is not
//! asked: peers are trusted to follow the protocol, not to be free of bugs.

use super::ballot::{Ballot, Slot};
use super::message::{Message, PValue, Promise, Run, Testimony};

/// No round is above: at one campaign a microsecond that is a hundred thousand years.
const ROUND_MAX: u64 = 1 << 62;

/// No slot is above.
const SLOT_MAX: Slot = Slot(1 << 62);

/// How far above what is decided anything is ever accepted: a window, and what was skipped.
pub(super) const SPAN_MAX: u64 = 1 << 16;

/// How many slots can be left empty at once.
pub(super) const SKIP_MAX: u64 = 1 << 15;

impl Message {
    /// Whether a node that follows the protocol could say this.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Message::Prepare(m) => of_ballot(m.ballot),
            Message::Promise(m) => of_promise(m),
            Message::Preempted(m) => of_ballot(m.refused) && of_ballot(m.promised),
            Message::Accept(m) => of_run(&m.run) && m.watermark <= SLOT_MAX,
            Message::Accepted(m) => of_ballot(m.ballot) && m.from <= m.up_to && m.up_to <= SLOT_MAX,
            Message::Resend(m) => of_ballot(m.ballot),
            Message::Decide(m) => of_ballot(m.ballot) && m.watermark <= SLOT_MAX,
            Message::Heartbeat(m) => {
                of_ballot(m.ballot) && m.watermark <= SLOT_MAX && m.decided <= SLOT_MAX
            }
            Message::Echo(m) => of_ballot(m.ballot) && m.decided <= SLOT_MAX,
            Message::Canvass(m) => m.decided <= SLOT_MAX,
            Message::CanvassAnswer(m) => m.promised.is_none_or(of_ballot) && m.decided <= SLOT_MAX,
            Message::CatchUpAsk(m) => m.from <= SLOT_MAX,
            Message::CatchUp(m) => {
                m.first <= SLOT_MAX && m.decided <= SLOT_MAX && m.trimmed <= m.decided
            }
            Message::Transfer(_)
            | Message::Pledged(_)
            | Message::Recall(_)
            | Message::Recollection(_)
            | Message::Rejoin(_) => true,
            Message::Testimony(m) => of_testimony(m),
            Message::Holds(m) => m.below <= SLOT_MAX,
        }
    }
}

fn of_ballot(ballot: Ballot) -> bool {
    ballot.round <= ROUND_MAX
}

/// It follows something, is not empty, and leaves no larger gap than can be asked for.
fn of_run(run: &Run) -> bool {
    let ordered = run.after <= run.first && run.first <= SLOT_MAX;
    let near = run.end().since(run.after) <= SPAN_MAX;
    of_ballot(run.ballot) && ordered && near && !run.commands.is_empty()
}

fn of_promise(promise: &Promise) -> bool {
    let highest = promise.accepted_in.is_none_or(of_ballot);
    of_ballot(promise.ballot) && highest && are_listed(&promise.accepted, promise.mark)
}

/// No acceptance lies above the promise, and the chain is one.
fn of_testimony(testimony: &Testimony) -> bool {
    let chain =
        testimony.chain.is_none_or(|chain| chain.from <= chain.end && chain.end <= SLOT_MAX);
    let accepted_in = testimony.chain.map(|chain| chain.ballot);
    let promised = testimony.promised.is_none_or(of_ballot) && accepted_in <= testimony.promised;
    let below = testimony.accepted.iter().all(|p| Some(p.ballot) <= accepted_in);
    chain && promised && below && are_listed(&testimony.accepted, testimony.mark)
}

/// What is listed ascends from the mark, and not far.
fn are_listed(listed: &[PValue], mark: Slot) -> bool {
    let ascends = listed.windows(2).all(|pair| pair[0].slot < pair[1].slot);
    let near = listed.iter().all(|p| mark <= p.slot && p.slot.since(mark) < SPAN_MAX);
    let ballots = listed.iter().all(|p| of_ballot(p.ballot));
    mark <= SLOT_MAX && ascends && near && ballots
}

#[cfg(test)]
mod tests {
    use super::super::testing::ballot;
    use super::super::{Accept, Command, Incarnation, NodeId, PValue, Prepare, Seal};
    use super::*;

    fn accept(after: u64, first: u64, length: usize) -> bool {
        let commands = vec![Command::Noop; length];
        let run = Run { ballot: ballot(1, 0), after: Slot(after), first: Slot(first), commands };
        Message::from(Accept { run, watermark: Slot(0) }).is_sound()
    }

    fn promise(mark: u64, slots: &[u64]) -> bool {
        let pvalue =
            |slot: &u64| PValue { ballot: ballot(0, 0), slot: Slot(*slot), command: Command::Noop };
        Message::from(Promise {
            ballot: ballot(1, 0),
            mark: Slot(mark),
            accepted_in: None,
            accepted: slots.iter().map(pvalue).collect(),
            pledges: 1,
            seal: Seal { incarnation: Incarnation(1), known: Vec::new() },
        })
        .is_sound()
    }

    #[test]
    fn runs() {
        assert!(accept(3, 3, 1) && accept(3, 5, 2));
        assert!(!accept(3, 3, 0), "empty");
        assert!(!accept(4, 3, 1), "follows what comes later");
        assert!(!accept(0, SPAN_MAX, 1), "a gap that nobody could fill");
        assert!(!accept(u64::MAX - 1, u64::MAX - 1, 5), "ends beyond the last number");
    }

    #[test]
    fn promises_and_ballots() {
        assert!(promise(2, &[2, 3, 7]));
        assert!(!promise(2, &[1, 3]), "below its mark");
        assert!(!promise(2, &[3, 3]), "one slot twice");
        assert!(!promise(0, &[SPAN_MAX]), "far off");
        let last = Ballot { round: u64::MAX, node: NodeId(0), incarnation: Incarnation(1) };
        assert!(!Message::from(Prepare { ballot: last, pledges: 1 }).is_sound(), "none lies above");
    }
}
