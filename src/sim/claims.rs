//! Which messages count towards a quorum: those that a store which was rolled back must not say.

use crate::paxos::Message;

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
        | Message::Rejoin(_)
        | Message::Holds(_) => false,
    }
}
