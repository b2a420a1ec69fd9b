//! What may be let go of: what nodes claim of their shelves, and what witnesses' logs lose on the
//! strength of it.
//!
//! A claim is true when it leaves: the shelf of its sender would keep a snapshot of all that, and
//! its archive, through a power cut, and a newer one as well. A witness' log loses nothing but what
//! a quorum has claimed, from stores of which it knows no newer one, or what a copy on its own
//! shelf holds. What it could know is asked here of all that was ever said, heard or not.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Disk;
use super::shelf::SimShelf;
use super::votes::Store;
use super::weather::Weather;
use crate::paxos::{Envelope, Incarnation, Message, NodeId, Record, Slot};
use crate::rsm::Keep;

/// What was claimed, by which stores.
#[derive(Debug)]
pub(super) struct Holdings {
    witnesses: BTreeSet<NodeId>,
    quorum: usize,
    claimed: BTreeMap<Store, Slot>,
}

impl Holdings {
    pub(super) fn new(weather: &Weather) -> Holdings {
        Holdings {
            witnesses: weather.witnesses.iter().copied().map(NodeId).collect(),
            quorum: usize::from(weather.members) / 2 + 1,
            claimed: BTreeMap::new(),
        }
    }

    /// A message leaves.
    pub(super) fn released(&mut self, disk: &Disk, shelf: &SimShelf, envelope: &Envelope) {
        let Message::Holds(holds) = &envelope.message else { return };
        let older = shelf.kept().ok().and_then(|kept| kept.get(1).map(|(slot, _)| *slot));
        let (from, below) = (envelope.from, holds.below);
        assert!(
            older >= Some(below),
            "{from} claims to hold all below {below}, but its older snapshot is at {older:?}"
        );
        let claimed = self.claimed.entry(disk.store()).or_default();
        *claimed = below.max(*claimed);
    }

    /// Records are on a disk, beside which there is this shelf.
    pub(super) fn written(&self, disk: &Disk, shelf: &SimShelf, written: &[Record]) {
        if !self.witnesses.contains(&disk.node()) {
            return;
        }
        for (nth, record) in written.iter().enumerate() {
            if let Record::Trimmed { below, .. } = record {
                self.may_trim(disk, shelf, *below, &written[nth..]);
            }
        }
    }

    /// Stores that the same commit records after the trim were not known to it.
    fn may_trim(&self, witness: &Disk, shelf: &SimShelf, below: Slot, after: &[Record]) {
        let (me, copies) = (witness.node(), shelf.kept().unwrap_or_default());
        let has_copy = copies.first().is_some_and(|(slot, _)| *slot >= below);
        let is_newest = |(node, store): &Store| {
            let newest = witness.inspect(|image| image.incarnation(*node));
            newest.is_none_or(|newest| newest <= *store || after.contains(&met(*node, newest)))
        };
        let claims = self
            .claimed
            .iter()
            .filter(|(store, claimed)| store.0 != me && **claimed >= below && is_newest(store));
        let holders: BTreeSet<NodeId> = claims.map(|((node, _), _)| *node).collect();
        assert!(
            has_copy || holders.len() >= self.quorum,
            "the log of witness {me} is trimmed below {below}, which {holders:?} alone hold"
        );
    }
}

fn met(node: NodeId, incarnation: Incarnation) -> Record {
    Record::Incarnation { node, incarnation }
}
