//! What every shelf must do, as a suite that each runs.
//!
//! Red, for example, if a page leaves out a byte or an entry that fits, a cut does not look at the
//! hash, a third snapshot stays, the token is that of the newer one, or what was cut is taken back
//! behind something else.

use bytes::Bytes;

use super::{Extent, Keep, Shelf, ShelfError};
use crate::paxos::Slot;

/// Runs the suite on a shelf, which `open` makes or opens again, and of which `tear` damages the
/// last entry that lies there.
///
/// # Panics
///
/// If the shelf breaks the contract.
pub fn run<S: Shelf + Keep>(mut open: impl FnMut() -> S, mut tear: impl FnMut()) {
    let entries = example();
    begins_empty(&open());
    let mut shelf = open();
    grows(&mut shelf, &entries);
    let extents = keeps_two(&mut shelf, &entries);
    drop(shelf);
    outlives(&mut open(), &entries, &extents);
    refuses_what_it_does_not_hold(&mut open(), &extents);
    goes_back(&mut open(), &entries, &extents);
    let base = takes_back(&mut open());
    takes_back_what_an_earlier_life_left(&mut open(), base);
    tear();
    takes_back_what_is_whole(&mut open(), base);
    takes_back_nothing_behind_another(&mut open(), base);
}

fn begins_empty(shelf: &impl ShelfAndKeep) {
    assert_eq!(shelf.extent(), Extent::default());
    assert_eq!(page(shelf, 0, 100), []);
    assert_eq!(kept(shelf), []);
}

/// The first half of the entries: in batches of all sizes, each seen at once.
fn grows(shelf: &mut impl ShelfAndKeep, entries: &[(Slot, Bytes)]) {
    let mut done = 0;
    for count in 0..8 {
        shelf.append(&entries[done..done + count]).expect("appended");
        done += count;
        assert_eq!(shelf.extent(), extent(&entries[..done]), "after {done} entries");
    }
    shelf.append(&entries[done..entries.len() / 2]).expect("appended");
    pages_are_right(shelf, &entries[..entries.len() / 2]);
}

/// The second half, in three parts with a snapshot after each. Returns the extents of the two kept.
fn keeps_two(shelf: &mut impl ShelfAndKeep, entries: &[(Slot, Bytes)]) -> [Extent; 2] {
    let half = entries.len() / 2;
    let mut extents = Vec::new();
    let mut tokens = Vec::new();
    for (count, part) in entries[half..].chunks(entries.len().div_ceil(6)).enumerate() {
        shelf.append(part).expect("appended");
        extents.push(shelf.extent());
        let token = shelf.keep(shelf.extent().end, shelf.extent(), &snapshot(count));
        tokens.push(token.expect("kept").map(super::Kept::slot));
    }
    assert_eq!(tokens, [None, Some(extents[0].end), Some(extents[1].end)], "the older's token");
    assert_eq!(kept(shelf), [(extents[2].end, snapshot(2)), (extents[1].end, snapshot(1))]);
    pages_are_right(shelf, entries);
    [extents[1], extents[2]]
}

/// What was kept is there again, and what was not is gone when it is cut.
fn outlives(shelf: &mut impl ShelfAndKeep, entries: &[(Slot, Bytes)], extents: &[Extent; 2]) {
    assert_eq!(kept(shelf), [(extents[1].end, snapshot(2)), (extents[0].end, snapshot(1))]);
    shelf.append(&[(extents[1].end, "above".into())]).expect("appended");
    shelf.cut(extents[1]).expect("cut");
    assert_eq!(shelf.extent(), extents[1]);
    pages_are_right(shelf, entries);
}

fn refuses_what_it_does_not_hold(shelf: &mut impl ShelfAndKeep, extents: &[Extent; 2]) {
    let newest = extents[1];
    let more = newest.then(newest.end, b"never appended");
    let others = [
        more,
        Extent { hash: newest.hash ^ 1, ..newest },
        Extent { bytes: newest.bytes + 1, ..newest },
        Extent { entries: newest.entries - 1, ..newest },
        Extent { end: Slot(newest.end.0 - 1), ..newest },
    ];
    for to in others {
        let refused = shelf.cut(to);
        assert!(matches!(refused, Err(ShelfError::Damaged { .. })), "{to}: {refused:?}");
        assert_eq!(shelf.extent(), newest, "nothing is changed by that");
    }
}

/// To the older snapshot, and on from there with another history.
fn goes_back(shelf: &mut impl ShelfAndKeep, entries: &[(Slot, Bytes)], extents: &[Extent; 2]) {
    shelf.cut(extents[0]).expect("cut");
    assert_eq!(kept(shelf), [(extents[0].end, snapshot(1))], "the newer's archive is not there");
    assert!(shelf.cut(extents[1]).is_err(), "what was cut is gone");
    let mut entries = entries[..extents[0].entries as usize].to_vec();
    pages_are_right(shelf, &entries);
    let last = (extents[0].end, Bytes::from("another"));
    shelf.append(std::slice::from_ref(&last)).expect("appended");
    entries.push(last);
    pages_are_right(shelf, &entries);
    let token = shelf.keep(extents[0].end.next(), shelf.extent(), b"on").expect("kept");
    assert_eq!(token.map(super::Kept::slot), Some(extents[0].end), "the later one went");
    shelf.cut(Extent::default()).expect("cut");
    assert_eq!(page(shelf, 0, 100), [], "nothing is left");
    shelf.append(&entries).expect("appended");
    assert_eq!(shelf.extent(), extent(&entries));
    pages_are_right(shelf, &entries);
}

/// What lies above a snapshot, when it was cut. Returns how far that snapshot goes.
fn takes_back(shelf: &mut impl ShelfAndKeep) -> Extent {
    let entries = example();
    assert!(!regain(shelf), "nothing was cut");
    shelf.cut(Extent::default()).expect("cut");
    shelf.append(&entries).expect("appended");
    for count in [60, 59, 17, 1, 0] {
        let from = extent(&entries[..count]);
        shelf.cut(from).expect("cut");
        assert_regains(shelf, &entries);
        shelf.cut(from).expect("what was taken back is cut as if it were new");
        assert_eq!(shelf.extent(), from);
    }
    assert_regains(shelf, &entries);
    let base = extent(&entries[..20]);
    shelf.cut(base).expect("cut");
    assert!(regain(shelf));
    let end = shelf.extent();
    shelf.keep(base.end, base, b"base").expect("kept");
    assert_eq!(shelf.extent(), end, "what was taken back stays");
    assert_regains(shelf, &entries);
    base
}

/// Entries that nobody kept, after a restart.
fn takes_back_what_an_earlier_life_left(shelf: &mut impl ShelfAndKeep, base: Extent) {
    shelf.cut(base).expect("cut");
    assert_regains(shelf, &example());
}

/// All but the last, which is damaged, or those that lie with it.
fn takes_back_what_is_whole(shelf: &mut impl ShelfAndKeep, base: Extent) {
    shelf.cut(base).expect("cut");
    while regain(shelf) {}
    let (entries, held) = (example(), shelf.extent());
    let count = usize::try_from(held.entries).expect("few");
    assert!(base.entries < held.entries && count < entries.len(), "{held}");
    assert_eq!(held, extent(&entries[..count]));
    pages_are_right(shelf, &entries[..count]);
}

/// Once something is appended, what was cut is gone.
fn takes_back_nothing_behind_another(shelf: &mut impl ShelfAndKeep, base: Extent) {
    shelf.cut(base).expect("cut");
    assert!(regain(shelf), "once more");
    shelf.append(&[]).expect("nothing to append");
    let mut entries = example();
    entries.truncate(usize::try_from(shelf.extent().entries).expect("few"));
    entries.push((shelf.extent().end, "another".into()));
    shelf.append(&entries[entries.len() - 1..]).expect("appended");
    assert!(!regain(shelf));
    assert_eq!(shelf.extent(), extent(&entries));
    pages_are_right(shelf, &entries);
    shelf.cut(base).expect("cut");
    assert_regains(shelf, &entries);
}

/// That it goes on, piece by piece, to the end of these.
fn assert_regains(shelf: &mut impl ShelfAndKeep, entries: &[(Slot, Bytes)]) {
    let mut before = shelf.extent();
    while regain(shelf) {
        let held = shelf.extent();
        assert!(before.entries < held.entries, "a piece is one entry at least");
        assert_eq!(held, extent(&entries[..usize::try_from(held.entries).expect("few")]));
        before = held;
    }
    assert_eq!(shelf.extent(), extent(entries));
    pages_are_right(shelf, entries);
}

/// From every slot, by few bytes and many.
fn pages_are_right(shelf: &impl ShelfAndKeep, entries: &[(Slot, Bytes)]) {
    let end = entries.last().map_or(0, |(slot, _)| slot.0 + 2);
    for from in 0..end {
        let rest: Vec<_> = entries.iter().filter(|(slot, _)| slot.0 >= from).cloned().collect();
        for bytes_max in [0, 1, 50, usize::MAX] {
            let page = page(shelf, from, bytes_max);
            assert_eq!(page, rest[..page.len()], "from slot {from}");
            let bytes = |entries: &[(Slot, Bytes)]| entries.iter().map(|it| it.1.len()).sum();
            assert!(page.len() <= 1 || bytes(&page) <= bytes_max, "more than {bytes_max} bytes");
            let is_all = page.len() == rest.len();
            let next: usize = if is_all { 0 } else { bytes(&rest[..=page.len()]) };
            assert!(is_all || !page.is_empty() && next > bytes_max, "{from}: less than fits");
        }
    }
}

fn page(shelf: &impl Shelf, from: u64, bytes_max: usize) -> Vec<(Slot, Bytes)> {
    shelf.page(Slot(from), bytes_max).expect("read")
}

fn regain(shelf: &mut impl Shelf) -> bool {
    shelf.regain().expect("no fault")
}

fn kept(shelf: &impl Keep) -> Vec<(Slot, Bytes)> {
    shelf.kept().expect("read")
}

fn extent(entries: &[(Slot, Bytes)]) -> Extent {
    entries.iter().fold(Extent::default(), |extent, (slot, body)| extent.then(*slot, body))
}

fn snapshot(count: usize) -> Bytes {
    vec![count as u8; 1000 * count].into()
}

/// Slots with gaps; bodies from none to longer than a page.
fn example() -> Vec<(Slot, Bytes)> {
    let body = |n: u64| vec![n as u8; [0, 1, 7, 30, 60, 200][n as usize % 6]];
    (0..60).map(|n| (Slot(2 * n + n % 2), body(n).into())).collect()
}

/// Both halves.
trait ShelfAndKeep: Shelf + Keep {}

impl<S: Shelf + Keep> ShelfAndKeep for S {}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;
    use crate::rsm::MemoryShelf;

    /// A shelf in memory that is opened again.
    #[derive(Clone, Debug, Default)]
    struct Shared(Arc<Mutex<MemoryShelf>>);

    impl Shared {
        fn shelf(&self) -> MutexGuard<'_, MemoryShelf> {
            self.0.lock().expect("whole")
        }
    }

    impl Shelf for Shared {
        fn append(&mut self, entries: &[(Slot, Bytes)]) -> Result<(), ShelfError> {
            self.shelf().append(entries)
        }

        fn extent(&self) -> Extent {
            self.shelf().extent()
        }

        fn page(&self, from: Slot, bytes_max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
            self.shelf().page(from, bytes_max)
        }

        fn cut(&mut self, to: Extent) -> Result<(), ShelfError> {
            self.shelf().cut(to)
        }

        fn regain(&mut self) -> Result<bool, ShelfError> {
            self.shelf().regain()
        }

        fn clone_box(&self) -> Box<dyn Shelf> {
            Box::new(self.clone())
        }
    }

    impl Keep for Shared {
        fn store(&mut self, slot: Slot, at: Extent, snapshot: &[u8]) -> Result<(), ShelfError> {
            self.shelf().store(slot, at, snapshot)
        }

        fn kept(&self) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
            self.shelf().kept()
        }
    }

    #[test]
    fn memory_keeps_the_contract() {
        let shared = Shared::default();
        run(|| shared.clone(), || shared.shelf().tear());
    }
}
