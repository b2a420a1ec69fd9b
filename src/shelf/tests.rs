//! The shelf on disk against its contract, and what only a disk can do.
//!
//! Segments are of a few entries here, so that every border is met. What each test catches when a
//! line is broken stands at its head.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;

use super::DiskShelf;
use super::file::{SEGMENT, SNAPSHOT};
use crate::paxos::Slot;
use crate::rsm::shelf::contract;
use crate::rsm::{Extent, Keep, Shelf, ShelfError};

mod damage;
mod leaves;
mod random;

const FINGERPRINT: u32 = 0x1234_5678;

/// Room for the header and some ten entries of [`entries`].
const SEGMENT_BYTES: u64 = 300;

/// A store's folder with a shelf in it.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn fresh() -> Case {
        let folder = tempfile::tempdir().expect("a folder");
        DiskShelf::format(folder.path()).expect("formatted");
        Case { folder }
    }

    /// With so many entries, kept.
    fn kept(count: u64) -> Case {
        let case = Case::fresh();
        append_and_keep(&mut case.shelf(), 0..count);
        case
    }

    fn open(&self) -> Result<DiskShelf, ShelfError> {
        self.open_as(FINGERPRINT)
    }

    fn open_as(&self, fingerprint: u32) -> Result<DiskShelf, ShelfError> {
        DiskShelf::with_segments(self.folder.path(), fingerprint, SEGMENT_BYTES)
    }

    fn shelf(&self) -> DiskShelf {
        self.open().expect("opens")
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// The segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let slots = SEGMENT.list(&self.archive()).expect("read");
        slots.into_iter().map(|slot| SEGMENT.path(&self.archive(), slot)).collect()
    }

    /// The snapshots, oldest first.
    fn snapshots(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join("snapshots");
        let slots = SNAPSHOT.list(&folder).expect("read");
        slots.into_iter().map(|slot| SNAPSHOT.path(&folder, slot)).collect()
    }

    /// What the refusal to open says.
    fn refusal(&self) -> String {
        damage(self.open())
    }
}

/// What was found damaged.
#[track_caller]
fn damage<T>(result: Result<T, ShelfError>) -> String {
    match result {
        Err(error @ ShelfError::Damaged { .. }) => error.to_string(),
        Err(other) => panic!("refused, but as: {other}"),
        Ok(_) => panic!("it was taken"),
    }
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<(Slot, Bytes)> {
    let body = |n: u64| Bytes::from(n.to_string().repeat(1 + n as usize % 4));
    numbers.map(|n| (Slot(3 * n), body(n))).collect()
}

/// The slot of the snapshot is the end of the archive, and its state says so.
fn append_and_keep(shelf: &mut DiskShelf, numbers: std::ops::Range<u64>) {
    shelf.append(&entries(numbers)).expect("appended");
    let extent = shelf.extent();
    shelf.keep(extent.end, extent, &state(extent)).expect("kept");
}

fn state(extent: Extent) -> Bytes {
    extent.to_string().into()
}

fn extent(count: u64) -> Extent {
    let entries = entries(0..count);
    entries.iter().fold(Extent::default(), |extent, (slot, body)| extent.then(*slot, body))
}

/// That it holds so many entries, each as it was appended.
#[track_caller]
fn assert_holds(shelf: &DiskShelf, count: u64) {
    assert_eq!(shelf.extent(), extent(count));
    assert_eq!(shelf.page(Slot(0), usize::MAX).expect("read"), entries(0..count));
}

/// Red, besides what the contract says, if a page loses its way at the border of a segment, or what
/// was kept is not found again.
#[test]
fn the_disk_keeps_the_contract() {
    for segment_bytes in [1, SEGMENT_BYTES, 1 << 20] {
        let case = Case::fresh();
        let open = || DiskShelf::with_segments(case.folder.path(), FINGERPRINT, segment_bytes);
        let tear = || {
            let last = case.segments().pop().expect("a segment");
            let file = fs::OpenOptions::new().write(true).open(last).expect("opens");
            file.set_len(file.metadata().expect("there").len() - 1).expect("cut");
        };
        contract::run(|| open().expect("opens"), tear);
    }
}

/// Red if the format changes under the same version: a node could not read its own history.
#[test]
fn the_files_are_as_they_were() {
    let case = Case::fresh();
    let mut shelf = case.shelf();
    shelf.append(&entries(0..1)).expect("appended");
    shelf.keep(Slot(9), shelf.extent(), b"state").expect("kept");
    let hex = |path: PathBuf| -> String {
        let bytes = fs::read(path).expect("read");
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let segment = "494e44454c415243 01 30b1e238 78563412 0000000000000000 0000000000000000 \
                   0000000000000000 25232284e49cf2cb e596627c 01000000 0000000000000000 30";
    assert_eq!(hex(case.segments().remove(0)), segment.replace(' ', ""));
    let snapshot = "494e44454c534e50 01 a043c163 78563412 0900000000000000 0100000000000000 \
                    0100000000000000 0100000000000000 1cf35c3da22790ba \
                    0500000000000000 7374617465";
    assert_eq!(hex(case.snapshots().remove(0)), snapshot.replace(' ', ""));
}

/// Red if `append` keeps to one segment, or leaves out the segment's own header when it counts.
#[test]
fn segments_keep_to_their_size() {
    let case = Case::kept(100);
    let sizes = case.segments().into_iter().map(|path| fs::metadata(path).expect("there").len());
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.len() > 5, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= SEGMENT_BYTES), "{sizes:?}");
    assert!(sizes[..sizes.len() - 1].iter().all(|size| *size > SEGMENT_BYTES / 2), "{sizes:?}");
}

/// Red if opening or a page looks at other segments than those it is about: a history of years
/// would be read to answer a question about yesterday.
#[test]
fn other_segments_are_not_looked_at() {
    let case = Case::kept(100);
    let segments = case.segments();
    let last = segments.len() - 1;
    for other in &segments[..last] {
        fs::write(other, "").expect("emptied");
    }
    let shelf = case.shelf();
    assert_eq!(shelf.extent(), extent(100));
    assert_eq!(shelf.page(entries(99..100)[0].0, 1000).expect("read"), entries(99..100));
    damage(shelf.page(Slot(0), 1000));
}

/// Red if a clone has a state of its own: the keeper would sync nothing.
#[test]
fn clones_are_the_same_shelf() {
    let case = Case::fresh();
    let (mut shelf, mut keeper) = (case.shelf(), case.shelf());
    let mut boxed = shelf.clone_box();
    boxed.append(&entries(0..9)).expect("appended");
    assert_holds(&shelf, 9);
    assert_eq!(keeper.extent(), extent(0), "another shelf");
    keeper = shelf.clone();
    keeper.keep(Slot(30), extent(9), b"nine").expect("kept");
    shelf.append(&entries(9..11)).expect("appended");
    assert_holds(&keeper, 11);
    drop((shelf, boxed, keeper));
    assert_holds(&case.shelf(), 9);
}

/// Red if an error is forgotten: what the failed write left would be kept as if it were whole.
#[test]
fn an_error_of_the_disk_is_final() {
    let case = Case::fresh();
    let mut shelf = case.shelf();
    fs::remove_dir(case.archive()).expect("removed");
    let failed = shelf.append(&entries(0..3)).expect_err("there is no folder");
    assert!(matches!(failed, ShelfError::Io { .. }), "{failed}");
    fs::create_dir(case.archive()).expect("made");
    let after = shelf.append(&entries(3..4)).expect_err("it failed before");
    assert!(after.to_string().contains("it failed before"), "{after}");
    let extent = shelf.extent();
    assert!(shelf.clone().keep(Slot(9), extent, b"").is_err(), "nothing is kept, either");
    assert_eq!(case.shelf().kept().expect("read"), []);
}

/// Red if a snapshot may name what the archive does not hold yet.
#[test]
#[should_panic(expected = "what a snapshot names is appended before")]
fn a_snapshot_is_not_ahead_of_its_archive() {
    let _ = Case::kept(5).shelf().store(Slot(100), extent(6), b"");
}
