//! A store whose making was interrupted.

use std::fs;

use super::{Case, NODE, identity, slots, state};
use crate::paxos::Wal;
use crate::wal::{Error, Options, Store};

/// Bugs that turn it red: `format` or `open` does not look for the file `unfinished`.
#[test]
fn what_an_interrupted_format_left_is_made_anew() {
    let all = ["ballast", "high-water", "log", "identity"];
    for done in 0..=all.len() {
        let case = Case::with(&slots(0..3));
        fs::write(case.file("unfinished"), "").expect("planted");
        fs::write(case.file("ballast"), "some").expect("planted");
        for part in &all[done..] {
            let part = case.file(part);
            let removed =
                if part.is_dir() { fs::remove_dir_all(part) } else { fs::remove_file(part) };
            removed.expect("removed");
        }
        assert!(matches!(case.open(), Err(Error::Unfinished(_))), "{done} parts");
        let format = || Store::format(&case.path, &identity(NODE), Options { ballast_bytes: 0 });
        format().expect("made anew");
        let mut store = case.open().expect("opens");
        assert_eq!(store.load().expect("loads"), state(&[]));
        assert!(matches!(format(), Err(Error::Exists(_) | Error::Locked { .. })));
    }
}

/// Bugs that turn it red: a replacement without its first commit, or with one behind the marker;
/// `format` that makes a voting store of a replacement that was interrupted.
#[test]
fn a_replacement_does_not_vote_whenever_its_making_was_interrupted() {
    let all = ["ballast", "high-water", "log", "identity"];
    let options = Options { ballast_bytes: 0 };
    for done in 0..=all.len() {
        let case = Case::with(&slots(0..3));
        fs::write(case.file("unfinished-replacement"), "").expect("planted");
        fs::write(case.file("ballast"), "some").expect("planted");
        for part in &all[done..] {
            let part = case.file(part);
            let removed =
                if part.is_dir() { fs::remove_dir_all(part) } else { fs::remove_file(part) };
            removed.expect("removed");
        }
        let format = || Store::format(&case.path, &identity(NODE), options);
        let replace = || Store::format_replacement(&case.path, &identity(NODE), options);
        assert!(matches!(case.open(), Err(Error::UnfinishedReplacement(_))), "{done} parts");
        assert!(matches!(format(), Err(Error::UnfinishedReplacement(_))), "{done} parts");
        replace().expect("made anew");
        let mut store = case.open().expect("opens");
        let state = store.load().expect("loads");
        assert!(!state.is_fit() && state.pledges() == 0, "{state:?}");
        assert!(matches!(replace(), Err(Error::Exists(_) | Error::Locked { .. })));
    }
}

/// Bug that turns it red: a replacement over an unfinished first store that leaves its marker.
#[test]
fn a_replacement_takes_the_place_of_an_unfinished_first_store() {
    let case = Case::with(&slots(0..3));
    fs::write(case.file("unfinished"), "").expect("planted");
    let options = Options { ballast_bytes: 0 };
    Store::format_replacement(&case.path, &identity(NODE), options).expect("made");
    let state = case.open().expect("opens").load().expect("loads");
    assert!(!state.is_fit());
}
