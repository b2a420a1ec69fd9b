//! A shelf on disk and one in memory, side by side through random lives.
//!
//! Red if they ever differ: by an entry at the border of a segment, a cut too short or too long, a
//! snapshot too many, anything that was kept and is not there after a restart, or anything that is
//! taken back after something else was appended.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Case, FINGERPRINT};
use crate::paxos::Slot;
use crate::rsm::{Extent, Keep, MemoryShelf, Shelf};
use crate::shelf::DiskShelf;

/// What may happen to a shelf.
#[derive(Clone, Debug)]
enum Step {
    /// Entries, each by the slots it leaves out and the length of its body.
    Append(Vec<(u64, usize)>),
    Page(u64, usize),
    Keep,
    /// To the extent of the older of two snapshots.
    CutToOlder,
    /// All that can be taken back.
    Regain,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = prop::collection::vec((0..3u64, 0..60usize), 0..12).prop_map(Step::Append);
    let page = (0..100u64, 0..200usize).prop_map(|(from, max)| Step::Page(from, max));
    let step = prop_oneof![
        4 => append,
        3 => page,
        2 => Just(Step::Keep),
        1 => Just(Step::CutToOlder),
        1 => Just(Step::Regain),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..24)
}

/// Both, and the extents that snapshots of theirs name, oldest first.
struct Pair {
    case: Case,
    segment_bytes: u64,
    disk: DiskShelf,
    memory: MemoryShelf,
    kept: Vec<Extent>,
    /// Both as the files have them: a cut changes none until something is appended.
    files: (MemoryShelf, Vec<Extent>),
    count: usize,
}

impl Pair {
    fn fresh(segment_bytes: u64) -> Pair {
        let case = Case::fresh();
        let disk = open(&case, segment_bytes);
        let (memory, kept) = (MemoryShelf::default(), Vec::new());
        let files = (memory.clone(), kept.clone());
        Pair { case, segment_bytes, disk, memory, kept, files, count: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(entries) => self.append(&entries),
            Step::Page(from, max) => {
                let page = |shelf: &dyn Shelf| shelf.page(Slot(from), max).expect("read");
                assert_eq!(page(&self.disk), page(&self.memory));
            }
            Step::Keep => self.keep(),
            Step::CutToOlder => {
                let older = self.kept.first().copied().unwrap_or_default();
                self.disk.cut(older).expect("cut");
                self.memory.cut(older).expect("cut");
                self.kept.truncate(1);
            }
            Step::Regain => {
                while self.disk.regain().expect("no fault") {}
                while self.memory.regain().expect("no fault") {}
            }
            Step::Restart => self.restart(),
        }
        assert_eq!(self.disk.extent(), self.memory.extent());
        assert_eq!(self.disk.kept().expect("read"), self.memory.kept().expect("read"));
    }

    fn append(&mut self, entries: &[(u64, usize)]) {
        let mut end = self.memory.extent().end;
        let mut entry = |(gap, length): &(u64, usize)| {
            self.count += 1;
            let slot = end.plus(*gap);
            end = slot.next();
            (slot, Bytes::from(vec![self.count as u8; *length]))
        };
        let entries: Vec<_> = entries.iter().map(&mut entry).collect();
        self.disk.append(&entries).expect("appended");
        self.memory.append(&entries).expect("appended");
        if !entries.is_empty() {
            self.files = (self.memory.clone(), self.kept.clone());
        }
    }

    fn keep(&mut self) {
        let extent = self.memory.extent();
        let state = self.count.to_le_bytes();
        let token = self.disk.keep(extent.end, extent, &state).expect("kept");
        assert_eq!(token, self.memory.keep(extent.end, extent, &state).expect("kept"));
        self.kept.retain(|older| older.end < extent.end);
        self.kept.drain(..self.kept.len().saturating_sub(1));
        self.kept.push(extent);
        self.files = (self.memory.clone(), self.kept.clone());
    }

    fn restart(&mut self) {
        self.disk = open(&self.case, self.segment_bytes);
        (self.memory, self.kept) = self.files.clone();
        self.memory.cut(self.kept.last().copied().unwrap_or_default()).expect("cut");
    }
}

fn open(case: &Case, segment_bytes: u64) -> DiskShelf {
    DiskShelf::with_segments(case.folder.path(), FINGERPRINT, segment_bytes).expect("opens")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn disk_and_memory_agree(steps in steps(), segment_bytes in 1..500u64) {
        let mut pair = Pair::fresh(segment_bytes);
        for step in steps {
            pair.take(step);
        }
    }
}
