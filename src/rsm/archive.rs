//! The archive: what a service keeps for ever, append-only and keyed by slot.
//!
//! Entries never change, so that a transfer can stream them while the node works on. Kept in memory
//! for now, and rebuilt from the log at a restart.

use bytes::Bytes;

use crate::paxos::Slot;

/// An append-only list of entries, at most one a slot, ascending.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    entries: Vec<(Slot, Bytes)>,
}

impl Archive {
    /// Adds the entry of a slot. Repeating the last one changes nothing.
    ///
    /// # Panics
    ///
    /// If a later slot has an entry already: commands are applied in slot order.
    pub fn append(&mut self, slot: Slot, body: Bytes) {
        match self.entries.last() {
            Some((last, _)) if *last == slot => (),
            Some((last, _)) => {
                assert!(*last < slot, "the archive grows in slot order");
                self.entries.push((slot, body));
            }
            None => self.entries.push((slot, body)),
        }
    }

    /// The entries from a slot on, ascending.
    pub fn from(&self, slot: Slot) -> impl Iterator<Item = (Slot, &Bytes)> {
        let start = self.entries.partition_point(|(at, _)| *at < slot);
        self.entries[start..].iter().map(|(at, body)| (*at, body))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_where_asked_and_repeats_change_nothing() {
        let mut archive = Archive::default();
        for slot in [2, 5, 5, 9] {
            archive.append(Slot(slot), Bytes::from(slot.to_string()));
        }
        let slots = |from| archive.from(Slot(from)).map(|(slot, _)| slot.0).collect::<Vec<_>>();
        assert_eq!(slots(0), [2, 5, 9]);
        assert_eq!(slots(3), [5, 9]);
        assert_eq!(slots(10), [0; 0]);
    }
}
