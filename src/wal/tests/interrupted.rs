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
