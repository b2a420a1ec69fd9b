//! Damage to what was kept: it is always noticed, said with its file, and never a panic.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Case, FINGERPRINT, append_and_keep, damage, entries, extent, state};
use crate::paxos::Slot;
use crate::rsm::{Extent, Keep, Shelf};
use crate::shelf::segment;

/// Does something for each flipped bit of a file, and puts it back.
fn each_flip(path: &Path, mut look: impl FnMut(&str)) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
    for (at, byte) in fs::read(path).expect("read").into_iter().enumerate() {
        for bit in 0..8 {
            file.write_all_at(&[byte ^ 1 << bit], at as u64).expect("written");
            look(&format!("bit {bit} of byte {at}"));
        }
        file.write_all_at(&[byte], at as u64).expect("written");
    }
}

/// Does something for each length to which a file may be cut, the longest first.
fn each_length(path: &Path, mut look: impl FnMut(u64)) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
    for length in (0..file.metadata().expect("there").len()).rev() {
        file.set_len(length).expect("cut");
        look(length);
    }
}

fn names(said: &str, path: &Path) -> bool {
    said.starts_with(&path.display().to_string())
}

/// Red if `reach` leaves out the hash, or an entry's checksum leaves out its length or its slot.
#[test]
fn a_flipped_bit_in_the_last_segment_is_refused() {
    let case = Case::kept(25);
    let last = case.segments().pop().expect("a segment");
    each_flip(&last, |flip| {
        let said = case.refusal();
        assert!(names(&said, &last), "{flip}: {said}");
    });
    super::assert_holds(&case.shelf(), 25);
}

/// Red if a page does not check what it gives.
#[test]
fn a_flipped_bit_in_an_earlier_segment_is_noticed_when_it_is_read() {
    let case = Case::kept(25);
    let first = case.segments().remove(0);
    let shelf = case.shelf();
    each_flip(&first, |flip| {
        let said = damage(shelf.page(Slot(0), usize::MAX));
        assert!(names(&said, &first), "{flip}: {said}");
    });
    let said = {
        fs::write(&first, &fs::read(&first).expect("read")[..60]).expect("cut");
        damage(shelf.page(Slot(0), usize::MAX))
    };
    let place = format!("the entry at byte {}: it is cut short", segment::HEADER_BYTES);
    assert!(said.contains(&place), "the place is said: {said}");
}

/// Red if `unseal` believes anything, or a damaged snapshot ends it all.
#[test]
fn a_damaged_snapshot_gives_way_to_the_older() {
    let case = Case::kept(5);
    append_and_keep(&mut case.shelf(), 5..25);
    let [older, newer] = [extent(5), extent(25)].map(|extent| (extent.end, state(extent)));
    assert_eq!(case.shelf().kept().expect("read"), [newer, older.clone()]);
    let newest = case.snapshots().pop().expect("a snapshot");
    let look = |damage: &str| {
        let shelf = case.shelf();
        assert_eq!(shelf.kept().expect("read"), std::slice::from_ref(&older), "{damage}");
        assert_eq!(shelf.extent(), extent(5), "{damage}");
    };
    each_flip(&newest, look);
    each_length(&newest, |length| look(&format!("cut to {length} bytes")));
    let mut shelf = case.shelf();
    append_and_keep(&mut shelf, 5..25);
    super::assert_holds(&shelf, 25);
}

/// Red if only the newest snapshot is tried: its archive may be rebuilt, for the log still goes
/// back to the older.
#[test]
fn an_archive_damaged_above_the_older_snapshot_goes_back_to_it() {
    let case = Case::kept(5);
    append_and_keep(&mut case.shelf(), 5..25);
    fs::remove_file(case.segments().pop().expect("a segment")).expect("removed");
    let mut shelf = case.shelf();
    assert_eq!(shelf.extent(), extent(5));
    assert_eq!(shelf.kept().expect("read"), [(extent(5).end, state(extent(5)))]);
    damage(shelf.cut(extent(25)));
    shelf.append(&entries(5..8)).expect("appended");
    super::assert_holds(&shelf, 8);
    let token = shelf.keep(extent(8).end, extent(8), b"on").expect("kept");
    assert_eq!(token.map(|kept| kept.slot()), Some(extent(5).end), "not the one that was lost");
}

/// Red if a segment may be shorter than the next one's name, or the extent, says.
#[test]
fn a_missing_end_is_noticed() {
    let case = Case::kept(25);
    let segments = case.segments();
    let shelf = case.shelf();
    each_length(&segments[0], |length| {
        let said = damage(shelf.page(Slot(0), usize::MAX));
        assert!(names(&said, &segments[0]), "at {length}: {said}");
    });
    let last = segments.last().expect("a segment");
    each_length(last, |length| {
        assert!(names(&case.refusal(), last), "at {length}");
        damage(shelf.page(extent(24).end, usize::MAX));
    });
}

/// Red if nobody notices that a whole file is gone.
#[test]
fn a_missing_segment_is_noticed() {
    let count = Case::kept(40).segments().len();
    for gone in 0..count {
        let case = Case::kept(40);
        let shelf = case.shelf();
        let path = case.segments().remove(gone);
        fs::remove_file(&path).expect("removed");
        let said = damage(shelf.page(Slot(0), usize::MAX));
        assert!(said.contains("it is gone") && names(&said, &path), "{said}");
        let said = match gone {
            _ if gone == 0 || gone + 1 == count => case.refusal(),
            _ => damage(case.shelf().page(Slot(0), usize::MAX)),
        };
        let place = if gone == 0 { "first segment is gone" } else { "" };
        assert!(said.contains(place), "{gone}: {said}");
    }
}

/// Red if the header, the checksums or the snapshots leave out the fingerprint.
#[test]
fn the_files_of_another_node_are_refused() {
    let (ours, theirs) = (Case::kept(25), Case::fresh());
    let mut shelf = theirs.open_as(FINGERPRINT + 1).expect("opens");
    append_and_keep(&mut shelf, 0..25);
    let swap = |ours: &[std::path::PathBuf], theirs: &[std::path::PathBuf]| {
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours.file_name(), theirs.file_name());
            fs::copy(theirs, ours).expect("swapped");
        }
    };
    // Their entries behind our header: all that differs is the checksums.
    let (last, other) = (ours.segments().pop(), theirs.segments().pop());
    let (last, other) = (last.expect("a segment"), other.expect("a segment"));
    let mut mixed = fs::read(&last).expect("read")[..segment::HEADER_BYTES].to_vec();
    mixed.extend_from_slice(&fs::read(other).expect("read")[segment::HEADER_BYTES..]);
    fs::write(last, mixed).expect("written");
    assert!(ours.refusal().contains("its checksum does not match"));

    swap(&ours.segments(), &theirs.segments());
    assert!(ours.refusal().contains("another node's"));
    swap(&ours.snapshots(), &theirs.snapshots());
    assert_eq!(ours.shelf().kept().expect("read"), []);
    assert_eq!(ours.shelf().extent(), Extent::default());
}

/// Red if a file is believed under another's name.
#[test]
fn a_renamed_file_is_refused() {
    let case = Case::kept(40);
    let segments = case.segments();
    fs::copy(&segments[0], &segments[1]).expect("copied");
    let said = damage(case.shelf().page(Slot(0), usize::MAX));
    assert!(said.contains("its name does not say"), "{said}");
    let snapshot = case.snapshots().remove(0);
    fs::rename(&snapshot, snapshot.with_file_name(format!("{:020}.snap", 7))).expect("renamed");
    assert_eq!(case.shelf().kept().expect("read"), []);
}

/// Red if entries that are whole, but not in order, are given: an old write that came late.
#[test]
fn entries_out_of_order_are_refused() {
    let case = Case::kept(25);
    let path = case.segments().remove(0);
    let mut bytes = segment::header(FINGERPRINT, Extent::default());
    for (slot, body) in [entries(0..1), entries(2..3), entries(1..2)].concat() {
        segment::encode(FINGERPRINT, slot, &body, &mut bytes);
    }
    fs::write(path, bytes).expect("written");
    let said = damage(case.shelf().page(Slot(0), usize::MAX));
    assert!(said.contains("its slot is not above the last"), "{said}");
}

/// Red if a folder that is gone is taken for one that is empty.
#[test]
fn a_missing_folder_is_damage() {
    for name in ["archive", "snapshots"] {
        let case = Case::kept(3);
        fs::remove_dir_all(case.folder.path().join(name)).expect("removed");
        assert!(case.refusal().contains("the folder is gone"), "{name}");
    }
}
