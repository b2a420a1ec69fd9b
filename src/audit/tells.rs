//! What a record tells, by what the laws look at.

use crate::paxos::{Ballot, Incarnation, NodeId, Record, Slot};

/// What one record tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tells {
    /// A promise.
    pub(super) promised: Option<Ballot>,
    /// A decided mark.
    pub(super) mark: Option<Slot>,
    /// That the log holds nothing below.
    pub(super) trimmed: Option<Slot>,
    /// That runs were accepted, or taken over: where a chain ends.
    pub(super) is_run: bool,
    /// A store of a peer.
    pub(super) met: Option<(NodeId, Incarnation)>,
    /// How many pledges were made.
    pub(super) pledges: Option<u64>,
}

impl Tells {
    pub(super) fn of(record: &Record) -> Tells {
        let nothing = Tells::default();
        match record {
            Record::Promised(ballot) => Tells { promised: Some(*ballot), ..nothing },
            Record::Accepted(run) => Tells { promised: Some(run.ballot), is_run: true, ..nothing },
            Record::Learned { first, commands } => {
                Tells { mark: Some(first.plus(commands.len() as u64)), ..nothing }
            }
            Record::Decided(mark) => Tells { mark: Some(*mark), ..nothing },
            Record::Incarnation { node, incarnation }
            | Record::Heard { node, incarnation, .. }
            | Record::Moved { node, incarnation, .. }
            | Record::Testified { node, incarnation } => {
                Tells { met: Some((*node, *incarnation)), ..nothing }
            }
            Record::Trimmed { below, mark, promised, .. } => {
                let (mark, trimmed) = (Some(*mark), Some(*below));
                Tells { promised: *promised, mark, trimmed, ..nothing }
            }
            Record::Lost { promised, accepted_in, pledges, .. } => {
                let promised = (*promised).max(*accepted_in);
                Tells { promised, pledges: Some(*pledges), ..nothing }
            }
            Record::Standing { pledges, .. } => Tells { pledges: Some(*pledges), ..nothing },
            Record::Imported { promised, .. } => {
                Tells { promised: *promised, is_run: true, ..nothing }
            }
        }
    }

    /// Whether it tells of this store, or restates it.
    pub(super) fn has_met(record: &Record, store: (NodeId, Incarnation)) -> bool {
        let restated = match record {
            Record::Trimmed { incarnations, .. } => incarnations.contains(&store),
            Record::Promised(_)
            | Record::Accepted(_)
            | Record::Learned { .. }
            | Record::Decided(_)
            | Record::Incarnation { .. }
            | Record::Standing { .. }
            | Record::Heard { .. }
            | Record::Moved { .. }
            | Record::Testified { .. }
            | Record::Lost { .. }
            | Record::Imported { .. } => false,
        };
        restated || Tells::of(record).met == Some(store)
    }
}
