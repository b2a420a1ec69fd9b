//! Persist before send, as a check: the promises and votes that leave a node are on its disk.
//!
//! Our own invariant, beside those of the paper; asked of every message by the world of the seeds
//! and by the exhaustive search alike.

use crate::paxos::invariants::{Broken, Verdict};
use crate::paxos::{AcceptorState, Envelope, Message};

/// Whatever leaves and claims something is on the disk it rests on.
///
/// # Errors
///
/// If it is not.
pub(super) fn claims_are_durable(image: &AcceptorState, envelope: &Envelope) -> Verdict {
    let promised = image.promised();
    let holds = |pledges: u64| pledges <= image.pledges();
    let durable = match &envelope.message {
        Message::Prepare(prepare) => promised >= Some(prepare.ballot) && holds(prepare.pledges),
        Message::Promise(promise) => {
            let whole = image.mark() >= promise.mark && holds(promise.pledges);
            promised >= Some(promise.ballot) && whole
        }
        Message::Preempted(preempted) => promised >= Some(preempted.promised),
        Message::Accepted(accepted) => {
            let held = image.chain().is_some_and(|chain| {
                let whole = chain.from <= accepted.from && accepted.up_to <= chain.end;
                chain.ballot > accepted.ballot || (chain.ballot == accepted.ballot && whole)
            });
            let voted = held || accepted.up_to <= image.mark();
            promised >= Some(accepted.ballot) && voted && holds(accepted.pledges)
        }
        Message::Pledged(pledged) => holds(pledged.pledges),
        Message::Testimony(testimony) => {
            let whole = image.mark() >= testimony.mark && holds(testimony.pledges);
            let met = image.incarnation(envelope.to) >= Some(testimony.to);
            promised >= testimony.promised && whole && met
        }
        Message::Accept(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::Echo(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::CatchUpAsk(_)
        | Message::CatchUp(_)
        | Message::Transfer(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Rejoin(_) => true,
    };
    if durable {
        return Ok(());
    }
    let detail = format!("{envelope:?} leaves, on disk is {image:?}");
    Err(Broken { invariant: "persist before send", detail })
}

/// Whether this may count towards a quorum.
pub(super) fn counts(message: &Message) -> bool {
    match message {
        Message::Promise(_)
        | Message::Accepted(_)
        | Message::Echo(_)
        | Message::CanvassAnswer(_)
        | Message::Testimony(_) => true,
        Message::Prepare(_)
        | Message::Preempted(_)
        | Message::Accept(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::Canvass(_)
        | Message::CatchUpAsk(_)
        | Message::CatchUp(_)
        | Message::Transfer(_)
        | Message::Pledged(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Rejoin(_) => false,
    }
}
