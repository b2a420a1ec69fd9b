//! The archive: what a service keeps for ever, append-only and keyed by slot.
//!
//! Entries never change, so that a transfer can stream them while the node works on. They lie on a
//! [`Shelf`]; what was appended last waits in memory until the node writes it there, so that
//! applying a command never fails and never waits. A fault of the shelf that comes up where nobody
//! can be told, in the middle of a query, is kept and told at the next [`check`](Archive::check).

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::shelf::{Extent, MemoryShelf, Shelf, ShelfError};
use crate::paxos::Slot;

/// An append-only list of entries, at most one a slot, ascending.
#[derive(Clone, Debug)]
pub struct Archive {
    shelf: Box<dyn Shelf>,
    /// What is not on the shelf yet, ascending.
    tail: Vec<(Slot, Bytes)>,
    /// Of the shelf and the tail.
    extent: Extent,
    /// Whether there may be more on the shelf above its end, from an earlier life, that is wanted.
    regains: bool,
    fault: RefCell<Option<Arc<ShelfError>>>,
}

/// What an entry counts beside its body: it takes room on the wire, too.
const ENTRY_BYTES: usize = 24;

impl Clone for Box<dyn Shelf> {
    fn clone(&self) -> Box<dyn Shelf> {
        self.clone_box()
    }
}

impl Default for Archive {
    /// An empty one, in memory.
    fn default() -> Archive {
        Archive::on(Box::new(MemoryShelf::default()))
    }
}

impl Archive {
    /// The archive that lies on this shelf.
    #[must_use]
    pub fn on(shelf: Box<dyn Shelf>) -> Archive {
        let extent = shelf.extent();
        Archive { shelf, tail: Vec::new(), extent, regains: true, fault: RefCell::new(None) }
    }

    /// Adds the entry of a slot. Repeating the last one changes nothing.
    ///
    /// # Panics
    ///
    /// If a later slot has an entry already: commands are applied in slot order.
    pub fn append(&mut self, slot: Slot, body: Bytes) {
        if self.extent.entries > 0 && slot.next() == self.extent.end {
            return;
        }
        assert!(slot >= self.extent.end, "the archive grows in slot order");
        self.extent = self.extent.then(slot, &body);
        self.tail.push((slot, body));
    }

    /// The entries from a slot on, ascending: of at most so many bytes, but one at least if there
    /// is any.
    #[must_use]
    pub fn page(&self, from: Slot, bytes_max: usize) -> Vec<(Slot, Bytes)> {
        let mut page = match self.shelf.page(from, bytes_max) {
            Ok(page) => page,
            Err(error) => {
                *self.fault.borrow_mut() = Some(Arc::new(error));
                return Vec::new();
            }
        };
        let end = page.last().map(|(slot, _)| slot.next());
        if end.is_none_or(|end| end == self.shelf.extent().end) {
            let start = self.tail.partition_point(|(slot, _)| *slot < from);
            page.extend(self.tail[start..].iter().cloned());
        }
        let mut bytes = 0;
        let fits = page.iter().take_while(|(_, body)| {
            bytes += body.len() + ENTRY_BYTES;
            bytes <= bytes_max
        });
        let fits = fits.count().max(1);
        page.truncate(fits);
        page
    }

    /// How far it goes.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Bytes of bodies that are not on the shelf yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.extent.bytes - self.shelf.extent().bytes
    }

    /// Whether every page since the last time could be read.
    ///
    /// # Errors
    ///
    /// The shelf's: final.
    pub fn check(&mut self) -> Result<(), Arc<ShelfError>> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Puts on the shelf what is not there yet. What an earlier life has put there, above where it
    /// was cut, is not written again: so what lies further above is not lost, and can still be
    /// [regained](Archive::regain).
    ///
    /// # Errors
    ///
    /// The shelf's: final.
    pub fn flush(&mut self) -> Result<(), Arc<ShelfError>> {
        while self.regains && !self.tail.is_empty() && self.meet()? {}
        if !self.tail.is_empty() {
            self.shelf.append(&self.tail)?;
            self.tail.clear();
            self.regains = false;
        }
        Ok(())
    }

    /// Takes back a piece of the shelf for what is the same in the tail. Whether there was any.
    fn meet(&mut self) -> Result<bool, Arc<ShelfError>> {
        let from = self.shelf.extent();
        if !self.shelf.regain()? {
            return Ok(false);
        }
        let held = self.shelf.extent();
        let regained = usize::try_from(held.entries - from.entries).unwrap_or(usize::MAX);
        let count = self.tail.len().min(regained);
        let then = |extent: Extent, (slot, body): &(Slot, Bytes)| extent.then(*slot, body);
        let to = self.tail[..count].iter().fold(from, then);
        match if to == held { Ok(()) } else { self.shelf.cut(to) } {
            Ok(()) => {
                self.tail.drain(..count);
                Ok(true)
            }
            // Something else lies there.
            Err(ShelfError::Damaged { .. }) => {
                self.shelf.cut(from)?;
                Ok(false)
            }
            Err(error @ ShelfError::Io { .. }) => Err(error.into()),
        }
    }

    /// Whether there may be something to [regain](Archive::regain).
    #[must_use]
    pub fn regains(&self) -> bool {
        self.regains
    }

    /// Takes back a piece of what an earlier life left on the shelf above the end, if there is any.
    ///
    /// # Errors
    ///
    /// The shelf's: final.
    pub fn regain(&mut self) -> Result<(), Arc<ShelfError>> {
        self.flush()?;
        self.regains = self.regains && self.shelf.regain()?;
        self.extent = self.shelf.extent();
        Ok(())
    }

    /// Goes back to this extent: what lies above does not count any more.
    ///
    /// # Errors
    ///
    /// The shelf's: final.
    pub fn cut(&mut self, to: Extent) -> Result<(), Arc<ShelfError>> {
        self.flush()?;
        self.shelf.cut(to)?;
        self.extent = to;
        Ok(())
    }

    /// Goes back to this extent, and takes nothing back of what lies above: it came to nothing.
    ///
    /// # Errors
    ///
    /// The shelf's: final.
    pub fn give_up(&mut self, to: Extent) -> Result<(), Arc<ShelfError>> {
        self.cut(to)?;
        self.regains = false;
        Ok(())
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
            if slot == 5 {
                archive.flush().expect("memory takes all");
            }
        }
        let slots = |archive: &Archive, from, bytes| {
            let page = archive.page(Slot(from), bytes);
            page.into_iter().map(|(slot, _)| slot.0).collect::<Vec<_>>()
        };
        assert_eq!(slots(&archive, 0, 100), [2, 5, 9]);
        assert_eq!(slots(&archive, 3, 100), [5, 9]);
        assert_eq!(slots(&archive, 10, 100), [0; 0]);
        assert_eq!(slots(&archive, 0, 2 * (ENTRY_BYTES + 1)), [2, 5]);
        assert_eq!(slots(&archive, 6, 0), [9], "one at least");
        let whole = archive.extent();
        archive.append(Slot(11), Bytes::from_static(b"more"));
        archive.cut(whole).expect("memory takes all");
        assert_eq!(slots(&archive, 0, 100), [2, 5, 9]);
    }

    /// An archive whose entries up to `end` an earlier life put on the shelf, cut to nothing.
    fn left(end: u64) -> Archive {
        let mut archive = Archive::default();
        appended(&mut archive, 0..end);
        archive.flush().expect("memory takes all");
        let mut next = Archive::on(archive.shelf);
        next.cut(Extent::default()).expect("memory takes all");
        next
    }

    fn appended(archive: &mut Archive, slots: std::ops::Range<u64>) {
        slots.for_each(|slot| archive.append(Slot(slot), Bytes::from(slot.to_string())));
    }

    /// Red if a flush appends what lies there already, or the end that a piece goes beyond is lost:
    /// an earlier life's transfer would be gone as soon as the log is replayed.
    #[test]
    fn a_flush_writes_nothing_that_is_there_already() {
        for own in [1, 7, 20, 98, 99] {
            let mut archive = left(100);
            appended(&mut archive, 0..own);
            archive.flush().expect("memory takes all");
            assert_eq!((archive.extent().entries, archive.waiting_bytes()), (own, 0));
            regain(&mut archive);
            assert_eq!(archive.extent(), filled(100), "after {own}");
            appended(&mut archive, 100..101);
            assert_eq!(archive.page(Slot(0), usize::MAX).len(), 101);
        }
    }

    /// Red if the two are compared by their lengths: what another history left would stand in the
    /// place of what was appended.
    #[test]
    fn a_flush_writes_over_what_is_not_the_same() {
        for (at, own) in [(0, 3), (3, 9), (9, 12), (50, 120)] {
            let mut archive = left(100);
            let body =
                |slot: u64| Bytes::from(if slot == at { "x".to_owned() } else { slot.to_string() });
            (0..own).for_each(|slot| archive.append(Slot(slot), body(slot)));
            let extent = archive.extent();
            archive.flush().expect("memory takes all");
            regain(&mut archive);
            assert_eq!(archive.extent(), extent, "{at} of {own}");
            let page = archive.page(Slot(0), usize::MAX);
            assert_eq!(page, (0..own).map(|slot| (Slot(slot), body(slot))).collect::<Vec<_>>());
        }
    }

    /// Red if what came to nothing is taken back, or stays on the shelf because it begins like what
    /// comes in its place: after a restart all of it would be taken for good once more.
    #[test]
    fn what_is_given_up_is_gone() {
        let mut archive = left(100);
        appended(&mut archive, 0..10);
        let own = archive.extent();
        regain(&mut archive);
        archive.give_up(own).expect("memory takes all");
        regain(&mut archive);
        assert_eq!(archive.extent(), own);
        appended(&mut archive, 10..20);
        archive.flush().expect("memory takes all");
        let mut next = Archive::on(archive.shelf);
        next.cut(own).expect("memory takes all");
        regain(&mut next);
        assert_eq!(next.extent(), filled(20));
    }

    fn regain(archive: &mut Archive) {
        while archive.regains() {
            archive.regain().expect("no fault");
        }
    }

    fn filled(end: u64) -> Extent {
        let mut archive = Archive::default();
        appended(&mut archive, 0..end);
        archive.extent()
    }
}
