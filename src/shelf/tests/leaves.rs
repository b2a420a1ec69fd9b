//! What a crash leaves above the newest snapshot: it is no damage, and it is in nobody's way.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::{Case, FINGERPRINT, append_and_keep, assert_holds, entries, extent, state};
use crate::paxos::Slot;
use crate::rsm::{Extent, Keep, Shelf};
use crate::shelf::file::{SEGMENT, SNAPSHOT};
use crate::shelf::{DiskShelf, segment};

/// With 12 entries kept and then more, up to `count`, that were not.
fn grown(count: u64) -> Case {
    let case = Case::kept(12);
    case.shelf().append(&entries(12..count)).expect("appended");
    case
}

/// That the case goes on from what was kept, and that this is found again.
#[track_caller]
fn assert_goes_on(case: &Case) {
    let mut shelf = case.shelf();
    assert_holds(&shelf, 12);
    shelf.append(&entries(12..30)).expect("appended");
    assert_holds(&shelf, 30);
    append_and_keep(&mut shelf, 30..31);
    assert_holds(&case.shelf(), 31);
}

/// Red if an open takes what lies above its snapshot for damage, or appends behind it.
#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let whole = grown(14);
    let last = whole.segments().pop().expect("a segment");
    let entry = segment::entry_bytes(&entries(13..14)[0].1) as u64;
    let length = fs::metadata(last).expect("there").len();
    for torn in length - entry..=length {
        let case = grown(14);
        let last = case.segments().pop().expect("a segment");
        let file = fs::OpenOptions::new().write(true).open(last).expect("opens");
        file.set_len(torn).expect("cut");
        assert_goes_on(&case);
    }
}

/// Red if `settle` does not shorten the file: what is written over the rest may be shorter.
#[test]
fn what_lies_behind_is_cut_off() {
    let case = Case::kept(12);
    let last = case.segments().pop().expect("a segment");
    let file = fs::OpenOptions::new().append(true).open(last).expect("opens");
    (&file).write_all(&[7; 1000]).expect("planted");
    assert_goes_on(&case);
}

/// Red if a file that was made and not filled is in the way of the one that is to come.
#[test]
fn a_half_made_segment_is_in_nobodys_way() {
    for length in 0..=segment::HEADER_BYTES {
        let case = Case::kept(12);
        let header = segment::header(FINGERPRINT, extent(12));
        let path = SEGMENT.path(&case.archive(), extent(12).end);
        fs::write(path, &header[..length]).expect("planted");
        assert_goes_on(&case);
    }
}

/// Power may fail with any of the unsynced files on disk, and zeros in them. Red if `settle` leaves
/// one behind, or stops at a gap.
#[test]
fn segments_above_are_removed_whatever_is_in_them() {
    let expected = grown(13).segments().len();
    let count = grown(80).segments().len();
    assert!(count > expected + 2);
    for lost in expected + 1..count {
        let case = grown(80);
        let segments = case.segments();
        fs::remove_file(&segments[lost]).expect("lost");
        let file = fs::OpenOptions::new().write(true).open(&segments[lost - 1]).expect("opens");
        let length = file.metadata().expect("there").len() as usize;
        file.write_all_at(&vec![0; length - 20], 20).expect("zeroed");
        case.shelf().append(&entries(12..13)).expect("appended");
        assert_eq!(case.segments(), segments[..expected], "nothing is left above");
        assert_goes_on(&case);
    }
}

/// Red if opening cuts: somebody whose snapshots are damaged would lose the history by looking.
#[test]
fn opening_removes_nothing() {
    let case = grown(40);
    for snapshot in case.snapshots() {
        fs::write(snapshot, "damaged").expect("written");
    }
    let (segments, snapshots) = (case.segments(), case.snapshots());
    let mut shelf = case.shelf();
    assert_eq!(shelf.extent(), Extent::default());
    shelf.cut(Extent::default()).expect("cut");
    shelf.append(&[]).expect("nothing to append");
    assert_eq!((case.segments(), case.snapshots()), (segments, snapshots));
    shelf.append(&entries(0..2)).expect("appended");
    assert_holds(&shelf, 2);
    assert_eq!(case.segments().len(), 1);
}

/// Red if a cut does not remove the later segments, or leaves the rest of the one it cuts into.
#[test]
fn a_cut_into_an_earlier_segment_removes_the_later() {
    let case = Case::kept(100);
    let before = case.segments();
    let mut shelf = case.shelf();
    for count in [71, 33, 5] {
        shelf.cut(extent(count)).expect("cut");
        assert_holds(&shelf, count);
    }
    shelf.append(&entries(5..6)).expect("appended");
    assert_eq!(case.segments(), before[..1]);
    append_and_keep(&mut shelf, 6..9);
    assert_holds(&case.shelf(), 9);
    let kept = case.shelf().kept().expect("read");
    assert_eq!(
        kept,
        [(extent(9).end, state(extent(9)))],
        "that of the history that was cut is gone"
    );
}

/// Red if a temporary file stays: each crash would leave one more.
#[test]
fn a_half_written_snapshot_is_removed() {
    let case = Case::kept(12);
    let planted = case.folder.path().join("snapshots").join(".tmpAbC123");
    fs::write(&planted, "half").expect("planted");
    assert_eq!(case.shelf().kept().expect("read").len(), 1);
    assert!(!planted.exists());
}

/// A crash between the new snapshot and the removal of the oldest. Red if it is given, too.
#[test]
fn a_third_snapshot_is_left_out() {
    let case = Case::kept(3);
    let oldest = case.snapshots().remove(0);
    let content = fs::read(&oldest).expect("read");
    append_and_keep(&mut case.shelf(), 3..6);
    append_and_keep(&mut case.shelf(), 6..9);
    assert!(!oldest.exists(), "two are kept");
    fs::write(&oldest, content).expect("planted");
    let kept = case.shelf().kept().expect("read");
    assert_eq!(kept.iter().map(|it| it.0).collect::<Vec<_>>(), [extent(9).end, extent(6).end]);
    append_and_keep(&mut case.shelf(), 9..12);
    assert_eq!(SNAPSHOT.list(oldest.parent().expect("a folder")).expect("read").len(), 2);
}

/// Red if what one life appended and did not keep is taken over by the next without its bytes
/// being synced: it goes back, again and again, and nothing is lost or doubled.
#[test]
fn many_lives_without_a_snapshot_come_to_the_same() {
    let case = Case::fresh();
    for count in [50, 3, 80, 1] {
        let mut shelf = case.shelf();
        assert_holds(&shelf, 0);
        for n in 0..count {
            shelf.append(&entries(n..n + 1)).expect("appended");
        }
        assert_holds(&shelf, count);
    }
    assert_eq!(case.shelf().page(Slot(0), 100).expect("read"), []);
}

/// Takes back all that there is. How many entries there are then, each as it was appended.
#[track_caller]
fn regain(shelf: &mut DiskShelf) -> u64 {
    while shelf.regain().expect("no fault") {}
    let count = shelf.extent().entries;
    assert_holds(shelf, count);
    count
}

/// Red if `beyond` counts an entry that is cut short, or leaves out one that is whole; or if what
/// is appended then begins behind the torn one.
#[test]
fn a_torn_end_is_taken_back_up_to_the_tear() {
    let whole = grown(40);
    let start = SEGMENT.list(&whole.archive()).expect("read").pop().expect("a segment");
    let before = entries(0..40).iter().filter(|(slot, _)| *slot < start).count() as u64;
    let last = whole.segments().pop().expect("a segment");
    let length = fs::metadata(last).expect("there").len();
    let mut ends = vec![segment::HEADER_BYTES as u64];
    for (_, body) in &entries(before..40) {
        ends.push(ends[ends.len() - 1] + segment::entry_bytes(body) as u64);
    }
    for torn in 0..=length {
        let case = grown(40);
        let last = case.segments().pop().expect("a segment");
        fs::OpenOptions::new().write(true).open(last).expect("opens").set_len(torn).expect("cut");
        let mut shelf = case.shelf();
        let whole = ends.iter().filter(|end| **end <= torn).count().saturating_sub(1) as u64;
        assert_eq!(regain(&mut shelf), before + whole, "{torn} bytes of the last segment");
        shelf.append(&entries(before + whole..50)).expect("appended");
        append_and_keep(&mut shelf, 50..51);
        assert_holds(&case.shelf(), 51);
    }
}

/// Red if an entry's checksum, or the header's, is not looked at when it is taken back.
#[test]
fn what_is_taken_back_is_checked() {
    let case = grown(40);
    let above = case.segments().pop().expect("a segment");
    let whole = fs::read(&above).expect("read");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&above, &flipped).expect("written");
        assert!(regain(&mut case.shelf()) < 40, "byte {at}");
    }
    fs::write(&above, &whole).expect("written");
    assert_eq!(regain(&mut case.shelf()), 40, "nothing was changed by looking");
}

/// Red if a segment is taken for the next because it begins at the right slot, or lies next: the
/// header says how far the archive went before it.
#[test]
fn what_is_taken_back_goes_on_from_the_end() {
    let (case, other) = (grown(40), Case::fresh());
    let segments = case.segments();
    let count = segments.len();
    // Of the same slots, after another beginning.
    let mut shelf = other.shelf();
    shelf.append(&[(Slot(0), "another".into())]).expect("appended");
    shelf.append(&entries(1..40)).expect("appended");
    let mut swapped = 0;
    for (ours, theirs) in segments.iter().zip(other.segments()).skip(2) {
        let held = fs::read(ours).expect("read");
        fs::write(ours, fs::read(theirs).expect("read")).expect("swapped");
        swapped += u64::from(regain(&mut case.shelf()) < 40);
        fs::write(ours, held).expect("put back");
    }
    assert_eq!(swapped, count as u64 - 2);
    fs::remove_file(&segments[count - 2]).expect("lost");
    let regained = regain(&mut case.shelf());
    assert!(12 < regained && regained < 40, "up to the gap: {regained}");
}

/// A cut may be undone by a power failure: the segment it cut into is as long as before, and the
/// next one goes on from where it was cut. Red if that is taken back: the one before would be
/// found damaged whenever it is read.
#[test]
fn nothing_is_taken_back_behind_an_end_that_is_not_whole() {
    let case = Case::kept(12);
    let path = SEGMENT.path(&case.archive(), extent(12).end);
    let mut next = segment::header(FINGERPRINT, extent(12));
    for (slot, body) in entries(12..14) {
        segment::encode(FINGERPRINT, slot, &body, &mut next);
    }
    fs::write(path, next).expect("planted");
    assert_eq!(regain(&mut case.shelf()), 14);
    let segments = case.segments();
    let cut_into = &segments[segments.len() - 2];
    let file = fs::OpenOptions::new().append(true).open(cut_into).expect("opens");
    (&file).write_all(&[7]).expect("planted");
    assert_eq!(regain(&mut case.shelf()), 12);
}

/// Red if what was taken back has to be synced once more, or what is then appended has not.
#[test]
fn what_is_taken_back_is_kept_like_all_else() {
    let case = grown(40);
    let mut shelf = case.shelf();
    assert_eq!(regain(&mut shelf), 40);
    shelf.keep(extent(40).end, extent(40), &state(extent(40))).expect("kept");
    assert_holds(&case.shelf(), 40);
    append_and_keep(&mut shelf, 40..44);
    assert_holds(&case.shelf(), 44);
}
