//! What a store does about damage: it refuses, by name, or it says exactly what was acknowledged.
//!
//! Each damage is made by hand, in the file or through the log below the store, so that nothing
//! depends on when a crash happens; `tests/system` crashes for real. What each test catches when a
//! line is broken stands at its head.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::group;
use super::mending::Before;
use super::sled_log::{SEGMENT_BYTES, SledLog};
use super::{Error, Identity, Options, Store};
use crate::paxos::{
    AcceptorState, Command, Incarnation, NodeId, Record, Run, Slot, Wal, testing::ballot,
};

mod interrupted;
mod mended;
mod sweeps;

const NODE: NodeId = NodeId(2);

/// A store in a folder of its own.
struct Case {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Case {
    fn fresh() -> Case {
        Case::of(&identity(NODE))
    }

    fn of(identity: &Identity) -> Case {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store");
        Store::format(&path, identity, Options { ballast_bytes: 0 }).expect("formatted");
        Case { _folder: folder, path }
    }

    /// With these commits, each acknowledged, all covered by the high-water file.
    fn with(commits: &[Vec<Record>]) -> Case {
        let case = Case::fresh();
        case.commit(commits);
        case
    }

    fn commit(&self, commits: &[Vec<Record>]) {
        let mut store = self.open().expect("opens");
        for records in commits {
            store.commit(records).expect("committed");
        }
        store.settle().expect("settled");
    }

    fn open(&self) -> Result<Store, Error> {
        Store::open(&self.path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The log below the store, to break it.
    fn log(&self) -> SledLog {
        SledLog::open(&self.file("log")).expect("opens")
    }

    /// What the refusal says.
    fn damage(&self) -> String {
        match self.open() {
            Err(Error::Damaged { what, .. }) => what,
            Err(other) => panic!("refused, but as: {other}"),
            Ok(_) => panic!("it opened"),
        }
    }

    /// A copy that can be damaged while this one stays whole.
    fn copy(&self) -> Case {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store");
        copy_folder(&self.path, &path);
        Case { _folder: folder, path }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("read") {
        let entry = entry.expect("read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn identity(node: NodeId) -> Identity {
    Identity::new("room", node, Incarnation(1))
}

/// One slot of about so many bytes, accepted in ballot `round`.
fn accepted(round: u64, slot: u64, bytes: usize) -> Vec<Record> {
    let commands = vec![Command::Noop; 1 + bytes / 4];
    let (after, first) = (Slot(slot), Slot(slot));
    vec![Record::Accepted(Run { ballot: ballot(round, 2), after, first, commands })]
}

fn slots(slots: std::ops::Range<u64>) -> Vec<Vec<Record>> {
    slots.map(|slot| accepted(1, slot, 200)).collect()
}

fn state(commits: &[Vec<Record>]) -> AcceptorState {
    AcceptorState::replay(commits.iter().flatten().cloned())
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1 << bit], at).expect("written");
}

/// Without `remove_generating`, nothing opens a store that was killed at its start.
#[test]
fn an_unfinished_snapshot_of_sled_is_removed() {
    let case = Case::with(&slots(0..3));
    // sled reads the last by name, and a new one covers more than those before.
    let planted = case.file("log").join("snap.0000000000FFFFFF.generating");
    for half in [b"".as_slice(), b"half a snapshot"] {
        fs::write(&planted, half).expect("planted");
        let mut store = case.open().expect("opens all the same");
        assert_eq!(store.load().expect("loads"), state(&slots(0..3)));
        assert!(!planted.exists());
    }
}

/// With a limit above a sixteenth of the blob limit, pages leave the log.
#[test]
fn values_at_the_limit_stay_in_the_log() {
    let limit = group::VALUE_BYTES_MAX;
    let commits: Vec<_> = (0..60)
        .map(|n| accepted(1, n, [limit - 60, limit - 4, limit, 5 * limit][n as usize % 4]))
        .collect();
    let case = Case::with(&commits);
    let blobs = case.file("log").join("blobs");
    assert_eq!(fs::read_dir(&blobs).map_or(0, Iterator::count), 0, "a page left the log");
    assert_eq!(case.open().expect("opens").load().expect("loads"), state(&commits));
}

/// The limit is where `group` says, and what leaves the log is refused.
#[test]
fn above_the_blob_limit_sled_writes_beside_its_log_and_that_is_refused() {
    let case = Case::fresh();
    let blobs = case.file("log").join("blobs");
    let count = || fs::read_dir(&blobs).map_or(0, Iterator::count);
    let log = case.log();
    log.append(0, &[vec![1; SEGMENT_BYTES / 4 - 4096]]).expect("written");
    assert_eq!(count(), 0, "below a quarter of a segment");
    log.append(1, &[vec![1; SEGMENT_BYTES / 4 + 1]]).expect("written");
    assert!(count() > 0, "above it");
    drop(log);
    assert!(case.damage().contains("outside the log"));
}

#[test]
fn a_missing_beginning_is_refused() {
    let case = Case::with(&slots(0..6));
    case.log().remove(0, 2).expect("removed");
    assert_eq!(case.damage(), "values 0..2 are missing");
}

/// Without the high-water file a lost tail is not noticed.
#[test]
fn a_lost_tail_is_refused() {
    let case = Case::with(&slots(0..6));
    case.log().remove(5, 6).expect("removed");
    assert_eq!(case.damage(), "it ends at value 5, but 6 were acknowledged");
    let case = Case::with(&slots(0..2));
    case.log().remove(0, 2).expect("removed");
    assert_eq!(case.damage(), "it ends at value 0, but 2 were acknowledged", "nothing is left");
}

/// A log that is rolled back beside its high-water file.
#[test]
fn an_older_log_is_refused() {
    let case = Case::with(&slots(0..3));
    let older = case.copy();
    case.commit(&slots(3..5));
    fs::remove_dir_all(case.file("log")).expect("removed");
    copy_folder(&older.file("log"), &case.file("log"));
    assert_eq!(case.damage(), "it ends at value 3, but 5 were acknowledged");
}

#[test]
fn a_lost_promise_is_refused_however_long_the_log_is() {
    let high = Case::with(&[vec![Record::Promised(ballot(9, 1))]]);
    let low = Case::with(&slots(0..5));
    fs::copy(high.file("high-water"), low.file("high-water")).expect("copied");
    assert_eq!(low.damage(), "it has lost a promise that left this node");
}

/// The promise must be covered before its commit returns, not when the node is idle next.
#[test]
fn a_promise_is_covered_by_the_high_water_file_when_its_commit_returns() {
    let case = Case::fresh();
    let before = fs::read(case.file("high-water")).expect("read");
    let mut store = case.open().expect("opens");
    store.commit(&[Record::Promised(ballot(1, 2))]).expect("committed");
    let promised = fs::read(case.file("high-water")).expect("read");
    assert_ne!(before, promised);
    drop(store);
    case.log().remove(0, 1).expect("removed");
    case.damage();
}

#[test]
fn a_high_water_file_that_is_gone_blank_or_spoilt_is_refused() {
    let case = Case::with(&slots(0..2));
    let water = case.file("high-water");
    let spoilt = case.copy();
    for at in [0, 4096] {
        flip(&spoilt.file("high-water"), at, 3);
    }
    assert_eq!(spoilt.damage(), "neither slot is whole");
    fs::write(&water, []).expect("emptied");
    assert_eq!(case.damage(), "nothing is written in it");
    fs::remove_file(&water).expect("removed");
    assert_eq!(case.damage(), "`high-water` or `log/db` is gone");
}

#[test]
fn a_log_that_is_gone_is_damage_not_a_fresh_one() {
    let case = Case::with(&slots(0..2));
    fs::remove_dir_all(case.file("log")).expect("removed");
    assert_eq!(case.damage(), "`high-water` or `log/db` is gone");
    assert!(!case.file("log").exists(), "nothing was made in its place");
}

/// The log of another node in this one's folder.
#[test]
fn another_nodes_log_is_refused() {
    let (ours, theirs) = (Case::with(&slots(0..3)), Case::of(&identity(NodeId(1))));
    theirs.commit(&slots(0..3));
    fs::remove_dir_all(ours.file("log")).expect("removed");
    copy_folder(&theirs.file("log"), &ours.file("log"));
    assert_eq!(ours.damage(), "value 0 belongs to another store");
}

#[test]
fn another_nodes_or_clusters_store_is_refused_by_name() {
    let case = Case::fresh();
    let said = |opened: Result<Store, Error>| match opened {
        Err(error @ Error::Foreign { .. }) => error.to_string(),
        other => panic!("not refused as foreign: {other:?}"),
    };
    let node = said(Store::open_as(&case.path, "room", NodeId(1)));
    assert!(node.ends_with(
        "the store of node 2 of cluster \"room\", not of node 1 of cluster \
                            \"room\""
    ));
    assert!(said(Store::open_as(&case.path, "hall", NODE)).contains("cluster \"hall\""));
    Store::open_as(&case.path, "room", NODE).expect("its own");
}

#[test]
fn a_newer_format_is_refused_by_number() {
    let newer = |case: &Case| match case.open() {
        Err(Error::Newer { found, known, .. }) => (found, known),
        other => panic!("not refused as newer: {other:?}"),
    };
    let case = Case::with(&slots(0..2));
    let log = case.log();
    let mut value = log.values().expect("read")[1].1.to_vec();
    value[0] = 7;
    log.append(1, &[value]).expect("written");
    drop(log);
    assert_eq!(newer(&case), (7, 2), "of a value");
    let mut content = fs::read(case.file("identity")).expect("read");
    content[8] = 9;
    fs::write(case.file("identity"), content).expect("written");
    assert_eq!(newer(&case), (9, 1), "of the store");
}

#[test]
fn what_exists_is_never_formatted_and_what_does_not_is_never_opened() {
    let case = Case::with(&slots(0..2));
    let again = Store::format(&case.path, &identity(NODE), Options { ballast_bytes: 0 });
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    assert_eq!(case.open().expect("opens").load().expect("loads"), state(&slots(0..2)));
    fs::remove_file(case.file("identity")).expect("removed");
    let again = Store::format(&case.path, &identity(NODE), Options { ballast_bytes: 0 });
    assert!(matches!(again, Err(Error::Exists(_))), "a log without its identity: {again:?}");
    assert_eq!(case.damage(), "`identity` is gone");
    assert!(matches!(Store::open(&case.path.join("nowhere")), Err(Error::Missing(_))));
}

#[test]
fn the_second_opening_is_refused_and_told_the_process() {
    let case = Case::fresh();
    let first = case.open().expect("opens");
    let Err(Error::Locked { pid, .. }) = case.open() else { panic!("it opened twice") };
    assert_eq!(pid, Some(std::process::id()));
    drop(first);
    case.open().expect("free again");
}

/// Without the places in a group, half of a run would be voted on.
#[test]
fn a_group_that_is_not_whole_is_cut_and_reported() {
    let case = Case::with(&slots(0..4));
    let values = group::lay_out(
        Before::default(),
        &accepted(1, 4, 200_000),
        4,
        identity(NODE).fingerprint(),
    );
    assert!(values.len() > 3);
    case.log().append(4, &values[..2]).expect("written");
    let mut store = case.open().expect("opens");
    assert_eq!(store.recovery().cut, 2);
    assert_eq!(store.load().expect("loads"), state(&slots(0..4)));
    store.commit(&accepted(1, 4, 10)).expect("goes on");
    drop(store);
    let mut store = case.open().expect("opens");
    assert_eq!(store.recovery().cut, 0);
    assert_eq!(store.next_value(), 5);
    let commits = [slots(0..4), vec![accepted(1, 4, 10)]].concat();
    assert_eq!(store.load().expect("loads"), state(&commits));
}

/// A crash within the deletes of a trim leaves the end of a group at the front.
#[test]
fn deletes_that_a_crash_interrupted_are_finished() {
    let trim = |first_record| Record::Trimmed {
        below: Slot(60_000),
        mark: Slot(60_000),
        promised: Some(ballot(1, 2)),
        chain: None,
        incarnations: Vec::new(),
        first_record,
    };
    let big = accepted(1, 0, 200_000);
    let values =
        group::lay_out(Before::default(), &big, 0, identity(NODE).fingerprint()).len() as u64;
    let whole = Case::with(&[big, vec![trim(values)]]);
    assert_eq!(whole.open().expect("opens").recovery().records, 1);
    for gone in 1..=values {
        let case = Case::with(&[accepted(1, 0, 200_000)]);
        let commit = group::lay_out(
            Before::default(),
            &[trim(values)],
            values,
            identity(NODE).fingerprint(),
        );
        let log = case.log();
        log.append(values, &commit).expect("written");
        log.remove(0, gone).expect("removed");
        log.flush().expect("flushed");
        drop(log);
        let mut store = case.open().expect("opens");
        assert_eq!(store.load().expect("loads"), AcceptorState::replay([trim(values)]));
        drop(store);
        let left = case.log().values().expect("read");
        assert_eq!(left.len(), 1, "with {gone} of {values} gone before");
    }
}

/// The head of a group is missing, and no trim explains it.
#[test]
fn a_group_without_its_beginning_is_refused() {
    let case = Case::with(&[accepted(1, 0, 200_000), accepted(1, 60_000, 10)]);
    case.log().remove(0, 1).expect("removed");
    assert!(case.damage().ends_with("are missing"));
}
