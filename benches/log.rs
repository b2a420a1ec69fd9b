//! Commits a second of the log on disk, beside a plain file with append and `fdatasync`.
//!
//! By records a commit, of 256 bytes each. Disks differ and share: only the ratio of the two, from
//! the same run, says something. `INDELIBLE_BENCH_DIR` names the folder whose disk is meant; a
//! memory file system would measure nothing.

#![allow(missing_docs, reason = "criterion's macros make an undocumented function")]
#![allow(clippy::print_stderr, reason = "figures are read by people")]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use indelible::paxos::{
    AcceptorState, Ballot, ClientId, Command, Incarnation, NodeId, Record, Request, RequestNumber,
    Run, Slot, Wal,
};
use indelible::wal::{Identity, Options, Store};

/// Records in one commit.
const BATCHES: [u64; 4] = [1, 16, 64, 256];

/// Bytes of a command.
const COMMAND_BYTES: usize = 256;

/// A store forgets what lies this many slots back, as a node does that trims.
const HELD_SLOTS: u64 = 50_000;

struct Log {
    store: Store,
    next: u64,
    trimmed: u64,
    /// Slots at which trimming may cut.
    marks: Vec<u64>,
}

impl Log {
    fn fresh(path: &Path) -> Log {
        let identity = Identity::new("bench", NodeId(0), Incarnation(1));
        Store::format(path, &identity, Options { ballast_bytes: 0 }).expect("formatted");
        let store = Store::open(path).expect("opens");
        Log { store, next: 0, trimmed: 0, marks: Vec::new() }
    }

    /// How long a commit takes, its records being at hand.
    fn commit(&mut self, records: u64) -> Duration {
        let mut batch: Vec<Record> = (self.next..self.next + records).map(accepted).collect();
        if self.next - self.trimmed > 2 * HELD_SLOTS {
            batch.extend(self.trim().into_iter().flatten());
        }
        if self.next / HELD_SLOTS != (self.next + records) / HELD_SLOTS {
            self.marks.push(self.next);
        }
        self.next += records;
        let began = Instant::now();
        self.store.commit(&batch).expect("committed");
        began.elapsed()
    }

    fn trim(&mut self) -> Option<Vec<Record>> {
        if self.marks.is_empty() {
            return None;
        }
        self.trimmed = self.marks.remove(0);
        let state = AcceptorState::replay([Record::Promised(ballot())]);
        Some(state.trim(Slot(self.trimmed)))
    }
}

fn ballot() -> Ballot {
    Ballot { round: 1, node: NodeId(0), incarnation: Incarnation(1) }
}

fn accepted(slot: u64) -> Record {
    let one = RequestNumber(1);
    let request = Request {
        client: ClientId(1),
        number: one,
        low_water: one,
        ttl_ms: 0,
        time_ms: slot,
        body: vec![slot as u8; COMMAND_BYTES].into(),
    };
    let (after, first) = (Slot(slot), Slot(slot));
    let commands = vec![Command::Request(request)];
    Record::Accepted(Run { ballot: ballot(), after, first, commands })
}

/// The rival: what the bytes of the same commands cost at least.
fn append(file: &mut File, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    file.write_all(black_box(bytes)).expect("written");
    file.sync_data().expect("synced");
    began.elapsed()
}

fn folder() -> tempfile::TempDir {
    let target = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let parent = std::env::var_os("INDELIBLE_BENCH_DIR").map_or_else(target, PathBuf::from);
    tempfile::Builder::new().prefix("bench-log-").tempdir_in(parent).expect("a folder")
}

/// Blocks of commits that are compared, ours beside the rival's.
const PAIRS: usize = 41;

/// Commits of a block.
const BLOCK: u64 = 40;

/// The same work by both in turn, so that whatever else the machine does hits both: the medians of
/// our seconds a commit and of the rival's share of them.
fn in_pairs(mut ours: impl FnMut() -> Duration, mut raw: impl FnMut() -> Duration) -> (f64, f64) {
    let mut took = Vec::new();
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let our_block: Duration = (0..BLOCK).map(|_| ours()).sum();
        let raw_block: Duration = (0..BLOCK).map(|_| raw()).sum();
        took.push(our_block.as_secs_f64() / BLOCK as f64);
        ratios.push(raw_block.as_secs_f64() / our_block.as_secs_f64());
    }
    (median(took), median(ratios))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn commits(criterion: &mut Criterion) {
    let folder = folder();
    let mut log = Log::fresh(&folder.path().join("store"));
    let plain = folder.path().join("plain");
    let mut file = OpenOptions::new().create(true).append(true).open(plain).expect("a file");
    let mut group = criterion.benchmark_group("log");
    for records in BATCHES {
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::new("store", records), |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| log.commit(records)).sum());
        });
        let bytes = vec![records as u8; COMMAND_BYTES * records as usize];
        group.bench_function(BenchmarkId::new("append+fdatasync", records), |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| append(&mut file, &bytes)).sum());
        });
        let (took, share) = in_pairs(|| log.commit(records), || append(&mut file, &bytes));
        eprintln!(
            "log: {records} records a commit: {:.0} commits/s, {:.0} records/s, {share:.2} of the \
             raw append",
            1.0 / took,
            records as f64 / took,
        );
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = commits
}
criterion_main!(benches);
