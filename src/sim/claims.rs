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
    let durable = match &envelope.message {
        Message::Prepare(prepare) => promised >= Some(prepare.ballot),
        Message::Promise(promise) => {
            promised >= Some(promise.ballot) && image.mark() >= promise.mark
        }
        Message::Preempted(preempted) => promised >= Some(preempted.promised),
        Message::Accepted(accepted) => {
            let held = image.chain().is_some_and(|chain| {
                let whole = chain.from <= accepted.from && accepted.up_to <= chain.end;
                chain.ballot > accepted.ballot || (chain.ballot == accepted.ballot && whole)
            });
            promised >= Some(accepted.ballot) && (held || accepted.up_to <= image.mark())
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
        | Message::Transfer(_) => true,
    };
    if durable {
        return Ok(());
    }
    let detail = format!("{envelope:?} leaves, on disk is {image:?}");
    Err(Broken { invariant: "persist before send", detail })
}
