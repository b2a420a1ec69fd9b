//! Sweeps over the log's file: flipped bits and torn tails, at many places.
//!
//! Each store that was damaged either is refused as damaged or holds exactly what was acknowledged.
//! sled itself answers damage by leaving out the tail, or by a panic: without the high-water file
//! or the care about panics these turn red.

use std::fs;
use std::path::Path;

use super::{Case, accepted, flip, state};
use crate::paxos::Wal;
use crate::wal::Error;

/// How far a file is written: behind that only zeros follow.
fn used(path: &Path) -> u64 {
    let content = fs::read(path).expect("read");
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// A sweep over the whole log: each flipped bit is refused, or harmless.
#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    const POSITIONS: u64 = 150;
    // Where a segment tells what it is.
    const HEAD: u64 = 40;
    let commits: Vec<_> = (0..40).map(|n| accepted(1, n, 50 + n as usize * 97)).collect();
    let (case, expected) = (Case::with(&commits), state(&commits));
    let end = used(&case.file("log").join("db"));
    let (mut refused, mut harmless) = (0, 0);
    let everywhere = (0..POSITIONS).map(|position| position * end / POSITIONS);
    let mut tried = 0;
    for position in (0..HEAD).chain(everywhere) {
        tried += 1;
        let copy = case.copy();
        flip(&copy.file("log").join("db"), position, (tried % 8) as u8);
        match copy.open() {
            Ok(mut store) => {
                assert_eq!(store.load().expect("loads"), expected, "silent loss at {position}");
                harmless += 1;
            }
            Err(Error::Damaged { .. }) => refused += 1,
            Err(other) => panic!("not named as damage: {other}"),
        }
    }
    println!("{tried} flipped bits in {end} bytes: {refused} refused, {harmless} harmless");
    assert!(refused > tried / 4);
    // A panic in one of sled's threads spoils its pool for the whole process; refusals after that
    // would prove nothing.
    let mut store = case.open().expect("the whole one still opens");
    assert_eq!(store.load().expect("loads"), expected);
}

/// A torn tail: what was covered is there or refused, what was not is there up to some commit.
#[test]
fn a_torn_tail_is_cut_or_refused() {
    const LENGTHS: u64 = 60;
    let commits: Vec<_> = (0..30).map(|n| accepted(1, n, 50 + n as usize * 97)).collect();
    let (covered, late) = commits.split_at(15);
    let case = Case::with(covered);
    let db = case.file("log").join("db");
    let from = used(&db) - used(&db) / 4;
    let water = fs::read(case.file("high-water")).expect("read");
    case.commit(late);
    // As if the machine had stopped before the file was raised again.
    fs::write(case.file("high-water"), water).expect("written");
    let end = used(&db);
    let states: Vec<_> = (15..=30).map(|count| state(&commits[..count])).collect();
    let (mut cut, mut refused) = (0, 0);
    for step in 0..LENGTHS {
        let copy = case.copy();
        let length = from + step * (end - from) / LENGTHS;
        let file = fs::OpenOptions::new().write(true).open(copy.file("log").join("db"));
        let file = file.expect("opens");
        let whole = file.metadata().expect("known").len();
        file.set_len(length).expect("cut");
        if step % 2 == 0 {
            // The length was on the disk already, the bytes were not.
            file.set_len(whole).expect("grown");
        }
        drop(file);
        match copy.open() {
            Ok(mut store) => {
                let found = store.load().expect("loads");
                assert!(states.contains(&found), "cut at {length}: no state that ever was");
                cut += 1;
            }
            Err(Error::Damaged { .. }) => refused += 1,
            Err(other) => panic!("not named as damage: {other}"),
        }
    }
    println!("{LENGTHS} torn tails from {from} to {end}: {cut} cut, {refused} refused");
    assert!(cut > 0 && refused > 0, "both sides of the high-water mark were tried");
}
