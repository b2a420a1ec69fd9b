//! Which store each member speaks from: what a replaced one said counts no more.
//!
//! A member whose disk is lost comes back with a store of a newer incarnation. Whatever counts
//! towards a quorum (Promise, Accepted, Echo, canvass answer, testimony) names its sender's store
//! and all others that the sender knows of; whoever learns of a newer one records it, and drops the
//! votes of the older, also those already collected. So a table travels with every vote, and the
//! votes of two stores of one member are never counted beside a vote that knew better.

use super::ballot::{Ballot, Incarnation, NodeId};
use super::durable::{Effects, Record};
use super::leader::Office;
use super::message::Seal;
use super::notice::Notice;
use super::replica::Replica;
use super::suffrage::Suffrage;

/// What is known of the store that a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// On record: its votes count.
    Known,
    /// Recorded in this very step: nothing that leaves early may rest on it yet.
    New,
    /// A newer store of that node is on record: its votes count no more.
    Replaced,
}

impl Replica {
    /// Judges the store that a peer speaks from, having learnt what the peer knows of others.
    pub(super) fn admit(&mut self, from: NodeId, seal: &Seal, fx: &mut Effects) -> Admission {
        for (node, incarnation) in &seal.known {
            self.meet(*node, *incarnation, fx);
        }
        self.meet(from, seal.incarnation, fx)
    }

    /// Whether the owner of a ballot speaks from the newest store known of it; records a new one.
    pub(super) fn admit_owner(&mut self, ballot: Ballot, fx: &mut Effects) -> bool {
        self.meet(ballot.node, ballot.incarnation, fx) != Admission::Replaced
    }

    /// Records a store that is newer than what is known of the node.
    pub(super) fn meet(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        fx: &mut Effects,
    ) -> Admission {
        if node == self.config.node {
            if incarnation > self.config.incarnation {
                self.suffrage = Suffrage::Gone;
                fx.notify(Notice::Replaced(incarnation));
            }
            return Admission::Known;
        }
        match self.acceptor.state.incarnation(node) {
            Some(known) if known == incarnation => return Admission::Known,
            Some(known) if known > incarnation => return Admission::Replaced,
            Some(_) | None => (),
        }
        if node.0 < self.config.members {
            fx.record(&mut self.acceptor.state, Record::Incarnation { node, incarnation });
            self.forget_votes(node, incarnation);
        }
        Admission::New
    }

    fn forget_votes(&mut self, node: NodeId, older_than: Incarnation) {
        self.election.forget(node, older_than);
        self.suffrage.forget(node, older_than);
        self.holding.forget(node, older_than);
        match &mut self.office {
            Office::None => (),
            Office::Campaign(campaign) => campaign.scout.forget(node, older_than),
            Office::Lead(lead) => {
                lead.commander.forget(node, older_than);
                lead.pulse.forget(node, older_than);
            }
        }
    }
}
