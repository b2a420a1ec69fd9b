//! The archive in plain segment files, beside the same in sled and in redb: which to take.
//!
//! Appends in small batches with a sync now and then, pages from random slots, bytes on disk, and
//! the time to open. The three do the same work in turn, block by block, so that whatever else the
//! machine does hits all: only the ratios within one run say something. `INDELIBLE_BENCH_DIR` names
//! the folder whose disk is meant. `cargo bench --bench archive`

#![allow(missing_docs, reason = "criterion's macros make an undocumented function")]
#![allow(clippy::print_stderr, reason = "figures are read by people")]

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use indelible::paxos::Slot;
use indelible::rsm::{Keep, Shelf};
use indelible::shelf::DiskShelf;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

/// Entries in all, and of those in one block, after which each store syncs.
const ENTRIES: u64 = 1_000_000;
const BLOCK: u64 = 50_000;

/// Entries in one append, and bytes of each.
const BATCH: usize = 64;
const BODY_BYTES: usize = 100;

/// Pages in one block, and bytes of each.
const PAGES: u64 = 40;
const PAGE_BYTES: usize = 256 << 10;

/// Blocks of pages, and of openings.
const PAGE_BLOCKS: u64 = 21;
const OPENINGS: u64 = 5;

/// Whoever holds an archive.
trait Store {
    fn append(&mut self, entries: &[(Slot, Bytes)]);
    fn sync(&mut self);
    /// How many entries were on the page.
    fn page(&self, from: Slot) -> usize;
}

impl Store for DiskShelf {
    fn append(&mut self, entries: &[(Slot, Bytes)]) {
        Shelf::append(self, entries).expect("appended");
    }

    fn sync(&mut self) {
        let extent = self.extent();
        self.store(extent.end, extent, b"a small state").expect("stored");
    }

    fn page(&self, from: Slot) -> usize {
        Shelf::page(self, from, PAGE_BYTES).expect("read").len()
    }
}

impl Store for sled::Db {
    fn append(&mut self, entries: &[(Slot, Bytes)]) {
        let mut batch = sled::Batch::default();
        for (slot, body) in entries {
            batch.insert(&slot.0.to_be_bytes(), &body[..]);
        }
        self.apply_batch(batch).expect("appended");
    }

    fn sync(&mut self) {
        self.flush().expect("flushed");
    }

    fn page(&self, from: Slot) -> usize {
        let range = self.range(from.0.to_be_bytes()..).map(|entry| {
            let (key, body) = entry.expect("read");
            let slot = u64::from_be_bytes(key[..].try_into().expect("a slot"));
            (Slot(slot), Bytes::copy_from_slice(&body))
        });
        one_page(range)
    }
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("archive");

impl Store for Database {
    fn append(&mut self, entries: &[(Slot, Bytes)]) {
        write(self, entries, Durability::None);
    }

    fn sync(&mut self) {
        write(self, &[], Durability::Immediate);
    }

    fn page(&self, from: Slot) -> usize {
        let table = self.begin_read().expect("begun").open_table(TABLE).expect("opened");
        let range = table.range(from.0..).expect("found").map(|entry| {
            let (key, body) = entry.expect("read");
            (Slot(key.value()), Bytes::copy_from_slice(body.value()))
        });
        one_page(range)
    }
}

fn write(database: &Database, entries: &[(Slot, Bytes)], durability: Durability) {
    let mut transaction = database.begin_write().expect("begun");
    transaction.set_durability(durability).expect("set");
    {
        let mut table = transaction.open_table(TABLE).expect("opened");
        for (slot, body) in entries {
            table.insert(slot.0, &body[..]).expect("inserted");
        }
    }
    transaction.commit().expect("done");
}

fn one_page(entries: impl Iterator<Item = (Slot, Bytes)>) -> usize {
    let mut bytes = 0;
    let fits = |(_, body): &(Slot, Bytes)| {
        bytes += body.len();
        bytes <= PAGE_BYTES
    };
    let page: Vec<_> = entries.take_while(fits).collect();
    black_box(&page).len()
}

/// A store by its name, and how it is opened.
struct Candidate {
    name: &'static str,
    path: PathBuf,
    open: fn(&Path) -> Box<dyn Store>,
    store: Option<Box<dyn Store>>,
}

impl Candidate {
    fn fresh(name: &'static str, folder: &Path, open: fn(&Path) -> Box<dyn Store>) -> Candidate {
        let path = folder.join(name);
        fs::create_dir(&path).expect("made");
        let store = Some(open(&path));
        Candidate { name, path, open, store }
    }

    fn store(&mut self) -> &mut dyn Store {
        self.store.as_deref_mut().expect("open")
    }

    fn append(&mut self, block: u64) -> Duration {
        let entries = entries(block * BLOCK..(block + 1) * BLOCK);
        timed(|| {
            for batch in entries.chunks(BATCH) {
                self.store().append(batch);
            }
            self.store().sync();
        })
    }

    fn read(&mut self, block: u64) {
        let mut random = fastrand::Rng::with_seed(block);
        for _ in 0..PAGES {
            black_box(self.store().page(random_slot(&mut random)));
        }
    }

    fn close(&mut self) {
        self.store = None;
    }

    fn open(&mut self) {
        self.store = Some((self.open)(&self.path));
    }
}

fn candidates(folder: &Path) -> [Candidate; 3] {
    let segments = |path: &Path| -> Box<dyn Store> {
        if !path.join("archive").exists() {
            DiskShelf::format(path).expect("formatted");
        }
        Box::new(DiskShelf::open(path, 7).expect("opens"))
    };
    let sled = |path: &Path| -> Box<dyn Store> {
        let config = sled::Config::new().path(path).flush_every_ms(None);
        Box::new(config.open().expect("opens"))
    };
    let redb = |path: &Path| -> Box<dyn Store> {
        Box::new(Database::create(path.join("archive.redb")).expect("opens"))
    };
    [
        Candidate::fresh("segments", folder, segments),
        Candidate::fresh("sled", folder, sled),
        Candidate::fresh("redb", folder, redb),
    ]
}

/// Bodies as text has them: not all alike, and the same for every store.
fn entries(slots: std::ops::Range<u64>) -> Vec<(Slot, Bytes)> {
    let body = |slot: u64| {
        let mut body = vec![0; BODY_BYTES];
        fastrand::Rng::with_seed(slot).fill(&mut body);
        Bytes::from(body)
    };
    slots.map(|slot| (Slot(slot), body(slot))).collect()
}

/// Not so near the end that no whole page follows.
fn random_slot(random: &mut fastrand::Rng) -> Slot {
    Slot(random.u64(..ENTRIES - (PAGE_BYTES / BODY_BYTES) as u64))
}

/// The same work by all in turn, and what it took: the median of each, and of its ratio to the
/// first's.
fn in_turn(
    what: &str,
    candidates: &mut [Candidate],
    blocks: u64,
    unit: (u64, &str),
    mut work: impl FnMut(&mut Candidate, u64) -> Duration,
) {
    let mut took = vec![Vec::new(); candidates.len()];
    for block in 0..blocks {
        for (candidate, took) in candidates.iter_mut().zip(&mut took) {
            took.push(work(candidate, block).as_secs_f64());
        }
    }
    for (candidate, each) in candidates.iter().zip(&took) {
        let ratios = each.iter().zip(&took[0]).map(|(theirs, ours)| theirs / ours).collect();
        let (count, unit) = unit;
        let micros = 1e6 * median(each.clone()) / count as f64;
        let (name, ratio) = (candidate.name, median(ratios));
        eprintln!("archive: {what}: {name}: {micros:.1} us {unit}, {ratio:.1} times the segments'");
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Blocks that the file system counts for all below a path.
fn disk_bytes(path: &Path) -> u64 {
    let metadata = fs::metadata(path).expect("there");
    if metadata.is_file() {
        return metadata.blocks() * 512;
    }
    fs::read_dir(path).expect("read").map(|entry| disk_bytes(&entry.expect("read").path())).sum()
}

fn folder() -> tempfile::TempDir {
    let target = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let parent = std::env::var_os("INDELIBLE_BENCH_DIR").map_or_else(target, PathBuf::from);
    tempfile::Builder::new().prefix("bench-archive-").tempdir_in(parent).expect("a folder")
}

fn archive(criterion: &mut Criterion) {
    let folder = folder();
    let mut all = candidates(folder.path());
    in_turn("append", &mut all, ENTRIES / BLOCK, (BLOCK, "an entry"), Candidate::append);
    in_turn("page", &mut all, PAGE_BLOCKS, (PAGES, "a page"), |candidate, block| {
        timed(|| candidate.read(block))
    });
    in_turn("open", &mut all, OPENINGS, (1, "to open"), |candidate, _| {
        candidate.close();
        let took = timed(|| candidate.open());
        assert!(candidate.store().page(Slot(ENTRIES / 2)) > 1, "{} lost them", candidate.name);
        took
    });
    for candidate in &all {
        let bytes = disk_bytes(&candidate.path) as f64 / ENTRIES as f64;
        eprintln!("archive: disk: {}: {bytes:.0} bytes an entry", candidate.name);
    }
    let mut group = criterion.benchmark_group("archive");
    group.throughput(Throughput::Bytes(PAGE_BYTES as u64));
    for candidate in &mut all {
        let mut random = fastrand::Rng::with_seed(1);
        group.bench_function(candidate.name, |bencher| {
            bencher.iter(|| candidate.store().page(random_slot(&mut random)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = archive
}
criterion_main!(benches);
