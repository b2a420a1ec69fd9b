//! What a message claims of the disk that it comes from: persist before send, over values.
//!
//! The gate (`durable`) is what makes it so. Here it is said once more, for those who look at what
//! passed: the simulator at each release, and whoever audits a trace of it.

use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Incarnation, NodeId, Slot};
use super::durable::{AcceptorState, Chain};
use super::invariants::{Broken, Verdict};
use super::message::{Envelope, Message};

/// What a disk must hold before a message may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// A promise of this ballot, or a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Ballot>,
    /// A decided mark, here or above.
    pub mark: Slot,
    /// That all which this ballot proposed in these slots was accepted, or is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voted: Option<Chain>,
    /// So many pledges, or more.
    pub pledges: u64,
    /// A store of a peer, or a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<(NodeId, Incarnation)>,
}

/// What claims can rest on.
pub trait Ground {
    /// The promise.
    fn promised(&self) -> Option<Ballot>;
    /// The decided mark.
    fn mark(&self) -> Slot;
    /// The runs accepted last.
    fn chain(&self) -> Option<Chain>;
    /// How many pledges were made.
    fn pledges(&self) -> u64;
    /// The newest store of a peer.
    fn incarnation(&self, node: NodeId) -> Option<Incarnation>;
}

impl Claim {
    /// What a message claims; `None` for one that claims nothing.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Option<Claim> {
        let nothing = Claim::default();
        match &envelope.message {
            Message::Prepare(it) => {
                Some(Claim { promised: Some(it.ballot), pledges: it.pledges, ..nothing })
            }
            Message::Promise(it) => {
                let (promised, mark, pledges) = (Some(it.ballot), it.mark, it.pledges);
                Some(Claim { promised, mark, pledges, ..nothing })
            }
            Message::Preempted(it) => Some(Claim { promised: Some(it.promised), ..nothing }),
            Message::Accepted(it) => {
                let (promised, pledges) = (Some(it.ballot), it.pledges);
                let voted = Some(Chain { ballot: it.ballot, from: it.from, end: it.up_to });
                Some(Claim { promised, voted, pledges, ..nothing })
            }
            Message::Pledged(it) => Some(Claim { pledges: it.pledges, ..nothing }),
            Message::Testimony(it) => {
                let (promised, mark, pledges) = (it.promised, it.mark, it.pledges);
                let met = Some((envelope.to, it.to));
                Some(Claim { promised, mark, pledges, met, ..nothing })
            }
            Message::Holds(it) => Some(Claim { mark: it.below, ..nothing }),
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
            | Message::Rejoin(_) => None,
        }
    }

    /// Whether a disk holds it.
    #[must_use]
    pub fn rests_on(&self, ground: &impl Ground) -> bool {
        let voted = self.voted.is_none_or(|voted| {
            let held = ground.chain().is_some_and(|chain| {
                let is_whole = chain.from <= voted.from && voted.end <= chain.end;
                chain.ballot > voted.ballot || (chain.ballot == voted.ballot && is_whole)
            });
            held || voted.end <= ground.mark()
        });
        let met = self.met.is_none_or(|(node, store)| ground.incarnation(node) >= Some(store));
        let is_promised = ground.promised() >= self.promised;
        is_promised
            && ground.mark() >= self.mark
            && voted
            && ground.pledges() >= self.pledges
            && met
    }
}

impl Ground for AcceptorState {
    fn promised(&self) -> Option<Ballot> {
        AcceptorState::promised(self)
    }

    fn mark(&self) -> Slot {
        AcceptorState::mark(self)
    }

    fn chain(&self) -> Option<Chain> {
        AcceptorState::chain(self)
    }

    fn pledges(&self) -> u64 {
        AcceptorState::pledges(self)
    }

    fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        AcceptorState::incarnation(self, node)
    }
}

/// Whatever leaves and claims something is on the disk it rests on.
///
/// # Errors
///
/// If it is not.
pub fn persist_before_send(image: &AcceptorState, envelope: &Envelope) -> Verdict {
    if Claim::of(envelope).is_none_or(|claim| claim.rests_on(image)) {
        return Ok(());
    }
    let detail = format!("{envelope:?} leaves, on disk is {image:?}");
    Err(Broken { invariant: "persist before send", detail })
}

#[cfg(test)]
mod tests {
    use super::super::durable::Record;
    use super::super::testing::{ballot, command};
    use super::super::{Run, Slot};
    use super::*;

    /// Red if any part of a claim is not asked for.
    #[test]
    fn each_part_of_a_claim_must_be_held() {
        let (first, commands) = (Slot(3), vec![command(1), command(2)]);
        let (node, incarnation) = (NodeId(2), Incarnation(7));
        let state = AcceptorState::replay([
            Record::Accepted(Run { ballot: ballot(1, 0), after: first, first, commands }),
            Record::Decided(Slot(4)),
            Record::Incarnation { node, incarnation },
        ]);
        let nothing = Claim::default();
        let voted = |round, from, end| {
            let (from, end) = (Slot(from), Slot(end));
            Claim { voted: Some(Chain { ballot: ballot(round, 0), from, end }), ..nothing }
        };
        let promised = |round| Claim { promised: Some(ballot(round, 0)), ..nothing };
        let mark = |mark| Claim { mark: Slot(mark), ..nothing };
        let pledges = |pledges| Claim { pledges, ..nothing };
        let met = |it| Claim { met: Some((node, Incarnation(it))), ..nothing };
        let held = [nothing, promised(1), promised(0), mark(4), pledges(1), met(7), met(6)];
        let votes = [voted(1, 3, 5), voted(1, 4, 5), voted(0, 3, 9), voted(2, 0, 4)];
        for claim in held.into_iter().chain(votes) {
            assert!(claim.rests_on(&state), "{claim:?}");
        }
        let not = [promised(2), mark(5), pledges(2), met(8), voted(1, 3, 6), voted(1, 2, 5)];
        for claim in not.into_iter().chain([voted(2, 3, 5)]) {
            assert!(!claim.rests_on(&state), "{claim:?}");
        }
    }
}
