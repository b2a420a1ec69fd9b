//! The leader: what a node keeps while it leads, or tries to (PMMC 2.3).
//!
//! Data only; what a replica does with it stands in `campaigning` and `leading`.

use std::collections::BTreeMap;

use super::ballot::{Ballot, NodeId, Slot};
use super::command::Command;
use super::commander::Commander;
use super::intake::Intake;
use super::pulse::Pulse;
use super::scout::Scout;

/// What a replica does beside accepting and learning.
#[derive(Clone, Debug)]
pub(super) enum Office {
    /// Follows whoever leads.
    None,
    /// Runs phase 1.
    Campaign(Campaign),
    /// Leads: phase 1 is finished.
    Lead(Box<Lead>),
}

/// Phase 1 under way.
#[derive(Clone, Debug)]
pub(super) struct Campaign {
    pub(super) scout: Scout,
    /// When it is given up.
    pub(super) until: u64,
    /// When those who have not answered are asked again.
    pub(super) retry_at: u64,
    /// The requests of a leader that campaigns again in order to fill its holes.
    pub(super) intake: Option<Box<Intake>>,
}

/// Leadership in one ballot.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    pub(super) ballot: Ballot,
    /// What phase 1 adopted, until everything below it is known here.
    pub(super) adopted: Option<Vec<Command>>,
    /// The first slot of this ballot: the highest mark of its quorum.
    pub(super) first: Slot,
    /// The slot after the last that phase 1 adopted: no read is answered below.
    pub(super) adopted_end: Slot,
    /// How many of the adopted are no-ops, in holes.
    pub(super) filled: u64,
    pub(super) commander: Commander,
    pub(super) intake: Intake,
    pub(super) pulse: Pulse,
    /// The watermark that the others were told.
    pub(super) told: Slot,
    /// When undecided runs are sent again.
    pub(super) retry_at: u64,
    /// When each node that asked was sent them last.
    pub(super) resent_at: BTreeMap<NodeId, u64>,
}

impl Lead {
    fn essence(&self) -> String {
        let Lead {
            ballot: _, // the commander's
            adopted,
            first,
            adopted_end: _, // for reads
            filled: _,      // for logs
            commander,
            intake,
            pulse: _,
            told,
            retry_at: _,
            resent_at,
        } = self;
        let resent = resent_at.keys();
        format!("{first} {adopted:?} {commander:?} {intake:?} {told} {resent:?}")
    }
}

impl Office {
    /// What its future depends on, as text: see [`Replica::essence`](super::Replica::essence).
    pub(super) fn essence(&self) -> String {
        match self {
            Office::None => String::new(),
            Office::Campaign(Campaign { scout, until: _, retry_at: _, intake }) => {
                format!("{scout:?} {intake:?}")
            }
            Office::Lead(lead) => lead.essence(),
        }
    }

    /// The ballot of this office.
    pub(super) fn ballot(&self) -> Option<Ballot> {
        match self {
            Office::None => None,
            Office::Campaign(campaign) => Some(campaign.scout.ballot),
            Office::Lead(lead) => Some(lead.ballot),
        }
    }

    /// The requests it has taken.
    pub(super) fn intake(&self) -> Option<&Intake> {
        match self {
            Office::None => None,
            Office::Campaign(campaign) => campaign.intake.as_deref(),
            Office::Lead(lead) => Some(&lead.intake),
        }
    }

    /// The requests it has taken, to take more.
    pub(super) fn intake_mut(&mut self) -> Option<&mut Intake> {
        match self {
            Office::None => None,
            Office::Campaign(campaign) => campaign.intake.as_deref_mut(),
            Office::Lead(lead) => Some(&mut lead.intake),
        }
    }
}
