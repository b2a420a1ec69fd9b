//! Who waits for what: one request a session, in the queue or beside it.
//!
//! The queue is one, ordered by the slots of its requests; what is kept by name are views of it,
//! so that a change looks only at those who want a name that it touched. The views are made anew
//! when a snapshot is restored.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::{Line, Waiter};
use crate::paxos::{ClientId, Slot};

/// A request for locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    /// Whose.
    pub(super) session: ClientId,
    /// Which locks, in the order asked, each once.
    pub(super) names: Vec<Bytes>,
    /// The session's name for itself.
    pub(super) label: Bytes,
    /// Its time to live.
    pub(super) ttl_ms: u64,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What it wants.
    pub(super) wish: Wish,
    /// Where it waits.
    pub(super) line: Line,
    /// The slot that it came in. No two entries have the same: a slot has one command.
    pub(super) since: Slot,
}

/// All requests that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    entries: BTreeMap<ClientId, Entry>,
    queued: ByName,
    trying: ByName,
}

/// Sessions by the names they want, and the slots of their requests; no empty map.
type ByName = BTreeMap<Bytes, BTreeMap<Slot, ClientId>>;

impl Entry {
    /// This entry as people see it.
    pub(super) fn waiter(&self) -> Waiter {
        let Wish { session, label, .. } = &self.wish;
        Waiter { session: *session, label: label.clone(), line: self.line, since: self.since }
    }

    /// Whether it wants this lock.
    pub(super) fn wants(&self, name: &[u8]) -> bool {
        self.wish.names.iter().any(|own| own == name)
    }
}

impl Waiting {
    /// These entries.
    pub(super) fn of(entries: Vec<Entry>) -> Waiting {
        let mut waiting = Waiting::default();
        entries.into_iter().for_each(|entry| waiting.insert(entry));
        waiting
    }

    /// All entries, ascending by session.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// What a session waits for.
    pub(super) fn entry(&self, session: ClientId) -> Option<&Entry> {
        self.entries.get(&session)
    }

    /// Where a session waits.
    pub(super) fn line(&self, session: ClientId) -> Option<Line> {
        self.entry(session).map(|entry| entry.line)
    }

    /// Adds an entry, in the place of the session's former one.
    pub(super) fn insert(&mut self, entry: Entry) {
        let session = entry.wish.session;
        self.remove(session);
        let by_name = self.by_name_mut(entry.line);
        for name in &entry.wish.names {
            by_name.entry(name.clone()).or_default().insert(entry.since, session);
        }
        self.entries.insert(session, entry);
    }

    /// Removes a session's entry.
    pub(super) fn remove(&mut self, session: ClientId) -> Option<Entry> {
        let entry = self.entries.remove(&session)?;
        let by_name = self.by_name_mut(entry.line);
        for name in &entry.wish.names {
            if let Some(sessions) = by_name.get_mut(name) {
                sessions.remove(&entry.since);
                if sessions.is_empty() {
                    by_name.remove(name);
                }
            }
        }
        Some(entry)
    }

    /// Who wants this lock and came in one of these slots, in their order.
    pub(super) fn wanting(
        &self,
        line: Line,
        name: &[u8],
        slots: std::ops::Range<Slot>,
    ) -> impl DoubleEndedIterator<Item = (Slot, ClientId)> {
        let sessions = self.by_name(line).get(name).into_iter();
        sessions.flat_map(move |sessions| {
            sessions.range(slots.clone()).map(|(slot, session)| (*slot, *session))
        })
    }

    /// How many want this lock.
    pub(super) fn count(&self, line: Line, name: &[u8]) -> u64 {
        self.by_name(line).get(name).map_or(0, |sessions| sessions.len() as u64)
    }

    /// Whether anybody wants this lock.
    pub(super) fn is_wanted(&self, name: &[u8]) -> bool {
        self.queued.contains_key(name) || self.trying.contains_key(name)
    }

    /// How many requests in the queue came before this slot and want one of these names.
    pub(super) fn ahead(&self, names: &[Bytes], before: Slot) -> u64 {
        if let [name] = names {
            // Mostly it is the last one that asks.
            let others = self.wanting(Line::Queued, name, before..Slot(u64::MAX)).count() as u64;
            return self.count(Line::Queued, name) - others;
        }
        let of = |name| self.wanting(Line::Queued, name, Slot(0)..before);
        let each = names.iter().flat_map(|name: &Bytes| of(name));
        each.collect::<BTreeSet<_>>().len() as u64
    }

    fn by_name(&self, line: Line) -> &ByName {
        match line {
            Line::Queued => &self.queued,
            Line::Trying => &self.trying,
        }
    }

    fn by_name_mut(&mut self, line: Line) -> &mut ByName {
        match line {
            Line::Queued => &mut self.queued,
            Line::Trying => &mut self.trying,
        }
    }
}
