//! What must hold in every state of a small world, beside what PMMC's invariants ask for.

use crate::paxos::invariants::{Broken, Verdict};
use crate::paxos::{AcceptorState, Ballot, Command, Envelope, Message, Slot};

/// Each campaign takes a ballot above all that its node has promised, and so one that it never had:
/// what is dropped as spent rests on that.
///
/// # Errors
///
/// If a node is in an office that is new and not above its promise.
pub(super) fn fresh_ballot(
    promised: Option<Ballot>,
    before: Option<Ballot>,
    after: Option<Ballot>,
) -> Verdict {
    let is_fresh = after.is_none() || after == before || after > promised;
    hold(is_fresh, "fresh ballot", || format!("takes {after:?}, has promised {promised:?}"))
}

/// What a replica works on between two events is what its disk holds.
///
/// # Errors
///
/// If it differs.
pub(super) fn all_on_disk(state: &AcceptorState, image: &AcceptorState) -> Verdict {
    hold(state == image, "record", || format!("works on {state:?}, on disk is {image:?}"))
}

/// A decision rests on the disks of a quorum. Votes for it may have been repeated in later ballots
/// (P2c), or learned, but never changed.
///
/// # Errors
///
/// If fewer hold the command.
pub(super) fn rests_on_a_quorum(
    states: &[&AcceptorState],
    quorum: usize,
    slot: Slot,
    command: &Command,
) -> Verdict {
    let holds =
        |state: &&&AcceptorState| state.vote(slot).is_some_and(|vote| vote.command == *command);
    let count = states.iter().filter(holds).count();
    let detail = || format!("{command} counts as decided in slot {slot}, {count} hold it");
    hold(count >= quorum, "quorum", detail)
}

/// No request is decided in two slots.
///
/// # Errors
///
/// If one is.
pub(super) fn each_request_once(decided: &[Command]) -> Verdict {
    for (slot, command) in decided.iter().enumerate() {
        let twice = *command != Command::Noop && decided[..slot].contains(command);
        hold(!twice, "once", || format!("{command} is decided again in slot {slot}"))?;
    }
    Ok(())
}

/// The round of a canvass, if it is one.
pub(super) fn canvass_round(envelope: &Envelope) -> Option<u64> {
    if let Message::Canvass(canvass) = &envelope.message { Some(canvass.round) } else { None }
}

/// Whether a message only keeps leaders in office or looks for one: no event of a small world.
pub(super) fn is_sign_of_life(message: &Message) -> bool {
    matches!(
        message,
        Message::Heartbeat(_) | Message::Echo(_) | Message::Canvass(_) | Message::CanvassAnswer(_)
    )
}

/// Says which law is broken, and how.
///
/// # Errors
///
/// If it does not hold.
pub(super) fn hold(
    holds: bool,
    invariant: &'static str,
    detail: impl FnOnce() -> String,
) -> Verdict {
    if holds { Ok(()) } else { Err(Broken { invariant, detail: detail() }) }
}
