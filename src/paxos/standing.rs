//! What the node around the core, and the curious, may know of a replica. Changes nothing.

use super::ballot::{Ballot, NodeId, Slot};
use super::command::ClientId;
use super::config::Config;
use super::durable::AcceptorState;
use super::leader::Office;
use super::replica::Replica;

/// A leadership, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// In which ballot.
    pub ballot: Ballot,
    /// The first slot it proposed.
    pub first: Slot,
    /// How many slots phase 1 found and proposed again.
    pub adopted: u64,
    /// How many of these were holes, filled with no-ops.
    pub filled: u64,
}

impl Replica {
    /// Who this is, and its limits.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What this node's disk says, or will once the steps so far are persisted.
    #[must_use]
    pub fn state(&self) -> &AcceptorState {
        &self.acceptor.state
    }

    /// Every slot below is decided.
    #[must_use]
    pub fn decided(&self) -> Slot {
        self.learner.decided()
    }

    /// The ballot of the view this node is in: the highest that it promised, or heard a leader in.
    /// The two differ where it came back while nothing was proposed: a heartbeat is no promise.
    #[must_use]
    pub fn view(&self) -> Option<Ballot> {
        self.acceptor.promised().max(self.election.view())
    }

    /// The leader this node follows: itself, or whom it heard lately.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.office {
            Office::Lead(_) => Some(self.config.node),
            Office::Campaign(_) => None,
            Office::None => self.election.heard(&self.config, self.now),
        }
    }

    /// Whether it leads, as far as it knows.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        matches!(self.office, Office::Lead(_))
    }

    /// The leadership it holds, if it leads.
    #[must_use]
    pub fn tenure(&self) -> Option<Tenure> {
        match &self.office {
            Office::None | Office::Campaign(_) => None,
            Office::Lead(lead) => Some(Tenure {
                ballot: lead.ballot,
                first: lead.first,
                adopted: lead.adopted_end.since(lead.first),
                filled: lead.filled,
            }),
        }
    }

    /// Whether it runs phase 1.
    #[must_use]
    pub fn is_campaigning(&self) -> bool {
        matches!(self.office, Office::Campaign(_))
    }

    /// Whether it asks others if they would follow.
    #[must_use]
    pub fn is_canvassing(&self) -> bool {
        matches!(self.office, Office::None) && self.election.is_canvassing()
    }

    /// Whether somebody is known to have decided more.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.learner.is_behind()
    }

    /// Whether it leads and its state machine knows every slot below what it will propose: only
    /// then can it tell a new request from an old one.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.office {
            Office::None => false,
            Office::Campaign(campaign) => campaign.intake.is_some(),
            Office::Lead(lead) => lead.adopted.is_none() && self.applied >= lead.first,
        }
    }

    /// Whether a client has a request waiting or proposed here.
    #[must_use]
    pub fn has_request_of(&self, client: ClientId) -> bool {
        self.office.intake().is_some_and(|intake| intake.has(client))
    }

    /// Requests that wait or are proposed here, and not yet applied.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.office.intake().map_or(0, super::intake::Intake::outstanding)
    }

    /// The slot after the last that is decided, or proposed in the ballot that is promised here.
    /// What an older ballot left above is no business of anybody's: nobody will adopt it.
    #[must_use]
    pub fn end(&self) -> Slot {
        let decided = self.learner.decided();
        match &self.office {
            Office::Lead(lead) => decided.max(lead.commander.next()),
            Office::None | Office::Campaign(_) => {
                self.proposed().last().map_or(decided, Slot::next)
            }
        }
    }

    /// Slots below the end that hold nothing: ranges `from..to`.
    #[must_use]
    pub fn holes(&self) -> Vec<(Slot, Slot)> {
        let mut next = self.learner.decided();
        match &self.office {
            Office::Lead(lead) => {
                let open = lead.commander.holes().iter().filter(|(_, to)| *to > next);
                open.map(|(from, to)| ((*from).max(next), *to)).collect()
            }
            Office::None | Office::Campaign(_) => {
                let mut holes = Vec::new();
                for slot in self.proposed() {
                    if slot > next {
                        holes.push((next, slot));
                    }
                    next = slot.next();
                }
                holes
            }
        }
    }

    /// The undecided slots that hold what the promised ballot proposed.
    fn proposed(&self) -> impl Iterator<Item = Slot> {
        let promised = self.acceptor.promised();
        let votes = self.acceptor.state.votes(self.learner.decided());
        votes.filter(move |(_, vote)| vote.ballot == promised).map(|(slot, _)| slot)
    }
}
