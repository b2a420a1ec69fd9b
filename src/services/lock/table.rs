//! The table: who holds what.
//!
//! At most one holder a name, for a name is a key. The index by session is made anew from the
//! names when a snapshot is restored, so the two cannot disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::words::Hold;
use crate::paxos::{ClientId, Slot};

/// All locks that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    holds: BTreeMap<Bytes, Hold>,
    /// Their names by session; no empty set.
    names: BTreeMap<ClientId, BTreeSet<Bytes>>,
}

impl Table {
    /// The table of these locks.
    pub(super) fn of(holds: BTreeMap<Bytes, Hold>) -> Table {
        let mut names: BTreeMap<ClientId, BTreeSet<Bytes>> = BTreeMap::new();
        for (name, hold) in &holds {
            names.entry(hold.session).or_default().insert(name.clone());
        }
        Table { holds, names }
    }

    /// All locks that are held, by name.
    pub(super) fn holds(&self) -> &BTreeMap<Bytes, Hold> {
        &self.holds
    }

    /// Who holds a lock.
    pub(super) fn hold(&self, name: &[u8]) -> Option<&Hold> {
        self.holds.get(name)
    }

    /// Gives a free lock to its next holder.
    pub(super) fn give(&mut self, name: Bytes, hold: Hold) {
        self.names.entry(hold.session).or_default().insert(name.clone());
        let former = self.holds.insert(name, hold);
        assert_eq!(former, None, "a lock has one holder at most");
    }

    /// Frees a lock.
    pub(super) fn free(&mut self, name: &[u8]) -> Option<Hold> {
        let hold = self.holds.remove(name)?;
        if let Some(names) = self.names.get_mut(&hold.session) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&hold.session);
            }
        }
        Some(hold)
    }

    /// Frees all that a session holds, and says what that was.
    pub(super) fn free_all(&mut self, session: ClientId) -> BTreeSet<Bytes> {
        let names = self.names.remove(&session).unwrap_or_default();
        for name in &names {
            self.holds.remove(name);
        }
        names
    }

    /// What a session holds after this name, ascending.
    pub(super) fn of_session(
        &self,
        session: ClientId,
        after: Option<&Bytes>,
    ) -> impl Iterator<Item = (&Bytes, Slot)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.get(&session).into_iter();
        names
            .flat_map(move |names| names.range::<Bytes, _>((start, Bound::Unbounded)))
            .filter_map(|name| self.hold(name).map(|hold| (name, hold.token)))
    }
}
