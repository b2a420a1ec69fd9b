//! A simulated shelf: an archive whose unsynced end a power cut shortens or tears, and snapshots
//! that are written beside and renamed, so that each is there whole or not at all. What happens to
//! it behind the node's back is noticed by a checksum wherever it is read, as on a real one
//! (`shelf`); but not what becomes of an entry once it is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fastrand::Rng;

use crate::paxos::Slot;
use crate::rsm::{Extent, Keep, Shelf, ShelfError};

/// The shelf of one node; it outlives the node's crashes. Clones are the same shelf.
#[derive(Clone, Debug)]
pub(super) struct SimShelf(Arc<Mutex<Boards>>);

#[derive(Debug)]
struct Boards {
    rng: Rng,
    /// All that lie there, also above where the archive was cut.
    entries: Vec<(Slot, Bytes)>,
    /// How far the archive went before each entry, and after the last.
    extents: Vec<Extent>,
    /// So many entries are the archive.
    end: usize,
    /// So many entries are synced.
    synced: usize,
    snapshots: BTreeMap<Slot, Saved>,
    /// An entry that is not what was written.
    rotten: Option<usize>,
    /// One that a crash tore: none that was synced.
    torn: Option<usize>,
    /// The share of pages of which a bit flips when it was read.
    flips: f64,
}

#[derive(Debug)]
struct Saved {
    archive: Extent,
    bytes: Bytes,
    is_whole: bool,
}

/// Entries that are taken back at a time, at most.
const PIECE: usize = 3;

impl SimShelf {
    pub(super) fn new(seed: u64, flips: f64) -> SimShelf {
        SimShelf(Arc::new(Mutex::new(Boards {
            rng: Rng::with_seed(seed),
            entries: Vec::new(),
            extents: vec![Extent::default()],
            end: 0,
            synced: 0,
            snapshots: BTreeMap::new(),
            rotten: None,
            torn: None,
            flips,
        })))
    }

    fn boards(&self) -> MutexGuard<'_, Boards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes, and some of what was not synced is not there any more, or not whole; or only
    /// the process ends. Whoever comes next finds all that lies there.
    pub(super) fn crash(&self) {
        let mut boards = self.boards();
        let synced = boards.synced;
        if boards.rng.bool() {
            let all = boards.entries.len();
            let left = boards.rng.usize(synced..=all);
            boards.shorten(left);
            if left > synced && boards.rng.bool() {
                boards.torn = Some(boards.rng.usize(synced..left));
            }
        }
        boards.end = boards.entries.len();
    }

    /// How many entries lie there that can be had, whether they count now or not.
    #[cfg(test)]
    pub(super) fn found(&self) -> u64 {
        let boards = self.boards();
        let bad = [boards.rotten, boards.torn].into_iter().flatten().min();
        bad.unwrap_or(usize::MAX).min(boards.entries.len()) as u64
    }

    /// From now on nothing happens to what is read.
    pub(super) fn spare(&self) {
        self.boards().flips = 0.0;
    }

    /// Something happens to what is written, while nobody looks; says what.
    pub(super) fn rot(&self) -> Option<&'static str> {
        let mut boards = self.boards();
        let at = boards.rng.usize(0..2);
        if at == 0 {
            // The newest is the one that matters.
            let slots: Vec<Slot> = boards.snapshots.keys().rev().copied().collect();
            let older = slots.len() > 1 && boards.rng.u8(0..4) == 0;
            let victim = *slots.get(usize::from(older))?;
            boards.snapshots.get_mut(&victim)?.is_whole = false;
            return Some("a bit of a snapshot flips");
        }
        let synced = boards.synced;
        if synced == 0 {
            return None;
        }
        let victim = boards.rng.usize(0..synced);
        boards.rotten = Some(victim);
        Some("a bit of the archive flips")
    }

    /// Whether anything ever happened to it that a log cannot mend.
    pub(super) fn is_rotten(&self) -> bool {
        let boards = self.boards();
        boards.rotten.is_some() || boards.snapshots.values().any(|saved| !saved.is_whole)
    }
}

impl Boards {
    fn shorten(&mut self, entries: usize) {
        self.entries.truncate(entries);
        self.extents.truncate(entries + 1);
        self.end = self.end.min(entries);
        self.synced = self.synced.min(entries);
        self.rotten = self.rotten.filter(|at| *at < entries);
        self.torn = self.torn.filter(|at| *at < entries);
    }

    fn extent(&self) -> Extent {
        self.extents[self.end]
    }

    /// How many entries lie below this extent, if it is one of this archive's.
    fn place(&self, extent: Extent) -> Option<usize> {
        let place = usize::try_from(extent.entries).ok()?;
        (self.extents[..=self.end].get(place) == Some(&extent)).then_some(place)
    }

    fn whole(&self, from: usize, to: usize) -> Result<(), ShelfError> {
        match self.rotten {
            Some(at) if (from..to).contains(&at) => Err(damaged(&format!("entry {at}"))),
            Some(_) | None => Ok(()),
        }
    }
}

fn damaged(what: &str) -> ShelfError {
    ShelfError::Damaged { path: PathBuf::from("sim"), what: what.to_owned() }
}

impl Shelf for SimShelf {
    fn append(&mut self, entries: &[(Slot, Bytes)]) -> Result<(), ShelfError> {
        let mut boards = self.boards();
        if !entries.is_empty() {
            let end = boards.end;
            boards.shorten(end);
        }
        boards.end += entries.len();
        for (slot, body) in entries {
            let extent = boards.extents[boards.entries.len()].then(*slot, body);
            boards.entries.push((*slot, body.clone()));
            boards.extents.push(extent);
        }
        Ok(())
    }

    fn extent(&self) -> Extent {
        self.boards().extent()
    }

    fn page(&self, from: Slot, bytes_max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let mut boards = self.boards();
        let archive = &boards.entries[..boards.end];
        let first = archive.partition_point(|(slot, _)| *slot < from);
        let mut bytes = 0_usize;
        let fits = archive[first..].iter().take_while(|(_, body)| {
            bytes = bytes.saturating_add(body.len());
            bytes <= bytes_max
        });
        let count = fits.count().max(1).min(archive.len() - first);
        boards.whole(first, first + count)?;
        let mut page = boards.entries[first..first + count].to_vec();
        if count > 0 && boards.flips > 0.0 && boards.rng.f64() < boards.flips {
            let (_, body) = &mut page[boards.rng.usize(0..count)];
            let flipped = body.iter().rev().enumerate().map(|(at, byte)| byte ^ u8::from(at == 0));
            *body = flipped.rev().collect();
        }
        Ok(page)
    }

    fn cut(&mut self, to: Extent) -> Result<(), ShelfError> {
        let mut boards = self.boards();
        let place = boards.place(to).ok_or_else(|| damaged("it does not go so far"))?;
        boards.whole(0, place)?;
        boards.end = place;
        let gone = |saved: &Saved| saved.archive.entries > to.entries;
        boards.snapshots.retain(|_, saved| !gone(saved));
        Ok(())
    }

    fn regain(&mut self) -> Result<bool, ShelfError> {
        let mut boards = self.boards();
        let from = boards.end;
        let all = boards.entries.len().min(from + PIECE);
        let bad = [boards.rotten, boards.torn].into_iter().flatten().filter(|at| *at >= from).min();
        boards.end = all.min(bad.unwrap_or(all));
        boards.synced = boards.synced.max(boards.end);
        Ok(boards.end > from)
    }

    fn clone_box(&self) -> Box<dyn Shelf> {
        Box::new(self.clone())
    }
}

impl Keep for SimShelf {
    fn store(&mut self, slot: Slot, archive: Extent, snapshot: &[u8]) -> Result<(), ShelfError> {
        let mut boards = self.boards();
        let place = boards.place(archive).expect("what a snapshot names is appended before");
        boards.synced = boards.synced.max(place);
        let saved = Saved { archive, bytes: Bytes::copy_from_slice(snapshot), is_whole: true };
        boards.snapshots.split_off(&slot.next());
        boards.snapshots.insert(slot, saved);
        while boards.snapshots.len() > 2 {
            boards.snapshots.pop_first();
        }
        Ok(())
    }

    fn kept(&self) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let boards = self.boards();
        let usable = |saved: &&Saved| saved.is_whole && boards.place(saved.archive).is_some();
        let kept = boards.snapshots.iter().rev().filter(|(_, saved)| usable(saved));
        Ok(kept.map(|(slot, saved)| (*slot, saved.bytes.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsm::shelf::contract;

    #[test]
    fn it_keeps_the_contract_of_every_shelf() {
        let shelf = SimShelf::new(7, 0.0);
        let tear = || {
            let mut boards = shelf.boards();
            boards.torn = boards.entries.len().checked_sub(1);
        };
        contract::run(|| shelf.clone(), tear);
    }
}
