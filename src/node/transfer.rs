//! How a node that is below its peers' logs gets what they have forgotten: snapshot and archive, in
//! chunks, from any of them.
//!
//! The one in need asks for each chunk: so a source that dies is just silent, and another goes on
//! where it ended, for snapshots at a slot are the same bytes everywhere and an archive never
//! changes. The archive's chunks are laid behind what is there; the snapshot is held in memory, for
//! it is small. Nothing of it counts until all of it is there: the archive's rolling hash must be
//! the one that the snapshot names, the snapshot's bytes those that were offered. Then it is made
//! durable, and only then takes the place of the log.
//!
//! So what came of the archive survives the one in need, too: its next life takes back what lies on
//! its disk above the end of its own archive, as far as it is whole, and asks from there. If in the
//! end the whole is wrong, or if this peer offers less, what is too much is cut and not taken back
//! again.
//!
//! Deliberately absent: any trust in a chunk by itself, and any deadline.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::paxos::{NodeId, Slot};
use crate::rsm::{Archive, Extent, Rolling, Snapshot};
use crate::wire::{client, codec};

/// What two nodes say to each other of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Parcel {
    /// What do you have?
    WantOffer,
    /// The newest snapshot here.
    Offer(Offer),
    /// The bytes of the snapshot at this slot, from here on.
    WantSnapshot(Slot, u64),
    /// Some of them.
    SnapshotChunk(Slot, u64, Bytes),
    /// The entries of the archive, from this slot on.
    WantArchive(Slot),
    /// Some of them.
    ArchiveChunk(Slot, Vec<(Slot, Bytes)>),
}

/// A snapshot that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// Everything below it is in it.
    slot: Slot,
    /// Its length.
    bytes: u64,
    /// The rolling hash of its bytes.
    hash: u64,
    /// The archive that goes with it.
    archive: Extent,
}

/// A snapshot that this node has, ready to be offered.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    offer: Offer,
    bytes: Bytes,
}

/// A transfer to this node.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    source: NodeId,
    offer: Option<Offer>,
    snapshot: Vec<u8>,
    /// How far this node has applied the log itself, and the archive as it was then.
    applied: Slot,
    own: Extent,
    /// Entries that an earlier life got.
    regained: u64,
    /// When it began to ask.
    began: u64,
    /// When the last chunk came, or the transfer began.
    heard: u64,
    /// When the next question is due; and when, at the earliest, once there is an answer.
    due: u64,
    rests_until: u64,
}

/// A snapshot that came whole, with its archive.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) snapshot: Snapshot,
    pub(super) bytes: Bytes,
}

/// Ticks from a question to the next, at least, where patience is not shorter. So long an idle node
/// sleeps: less would gain nothing where there is nothing else to do.
///
/// Measured (2026-11-27, two cores for three nodes and 64 clients, `make bench-transfer`, a million
/// messages missed, nothing beside): while it lasts the clients have 0.90 of the rate with two
/// nodes up and 0.91 of that with three (medians of four rounds, 0.76 to 0.93); without the rest it
/// was 0.60 to 0.77, beside other work. 176,594 entries come a second then, 160,691 on an idle
/// cluster.
const PACE_TICKS: u64 = 10;

/// Nothing of a transfer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Useless;

impl Offered {
    pub(super) fn new(snapshot: &Snapshot, bytes: Bytes) -> Offered {
        let mut hash = Rolling::default();
        hash.mix(&bytes);
        let offer = Offer {
            slot: snapshot.applied,
            bytes: bytes.len() as u64,
            hash: hash.value(),
            archive: snapshot.archive,
        };
        Offered { offer, bytes }
    }

    pub(super) fn slot(&self) -> Slot {
        self.offer.slot
    }
}

/// Answers a question, from the newest snapshot and the archive.
pub(super) fn serve(
    asked: &Parcel,
    newest: &Offered,
    archive: &Archive,
    chunk_bytes: usize,
) -> Option<Parcel> {
    match asked {
        Parcel::WantOffer => Some(Parcel::Offer(newest.offer)),
        Parcel::WantSnapshot(slot, from) if *slot == newest.offer.slot => {
            let from = (*from).min(newest.offer.bytes) as usize;
            let end = newest.bytes.len().min(from + chunk_bytes);
            Some(Parcel::SnapshotChunk(*slot, from as u64, newest.bytes.slice(from..end)))
        }
        // A newer one has taken its place.
        Parcel::WantSnapshot(..) => Some(Parcel::Offer(newest.offer)),
        Parcel::WantArchive(from) => {
            Some(Parcel::ArchiveChunk(*from, archive.page(*from, chunk_bytes)))
        }
        Parcel::Offer(_) | Parcel::SnapshotChunk(..) | Parcel::ArchiveChunk(..) => None,
    }
}

impl Transfer {
    /// A transfer from this peer, to a node that has applied so much, and has this archive.
    pub(super) fn new(source: NodeId, applied: Slot, own: Extent, now: u64) -> Transfer {
        let snapshot = Vec::new();
        let (regained, offer) = (0, None);
        let (began, heard, due, rests_until) = (now, now, now, now);
        Transfer { source, offer, snapshot, applied, own, regained, began, heard, due, rests_until }
    }

    /// Whom it comes from.
    pub(super) fn source(&self) -> NodeId {
        self.source
    }

    /// The archive as this node had it.
    pub(super) fn own(&self) -> Extent {
        self.own
    }

    /// The archive goes further than this node's own: an earlier life got that. The source has not
    /// been asked yet.
    pub(super) fn note_regained(&mut self, archive: &Archive, now: u64) {
        self.regained = archive.extent().entries - self.own.entries;
        (self.began, self.heard, self.due) = (now, now, now);
    }

    /// How far it has come, for people.
    pub(super) fn progress(&self, archive: &Archive, now: u64) -> client::Transfer {
        let held = archive.extent().entries;
        let all = self.offer.map_or(held, |offer| offer.archive.entries);
        let done = held - self.own.entries;
        client::Transfer {
            from: self.source,
            done,
            regained: self.regained.min(done),
            to_come: all.saturating_sub(held),
            millis: now - self.began,
        }
    }

    /// Whether its source has been silent for so long.
    pub(super) fn is_silent(&self, now: u64, patience: u64) -> bool {
        now >= self.heard + patience
    }

    /// It goes on from another source.
    pub(super) fn turn_to(&mut self, source: NodeId, now: u64) {
        self.source = source;
        self.heard = now;
        self.due = now;
        // What it has may be newer; what is here already is the same there.
        self.offer = None;
    }

    /// What to ask now, if it is time.
    pub(super) fn ask(&mut self, archive: &Archive, now: u64, patience: u64) -> Option<Parcel> {
        if now < self.due {
            return None;
        }
        self.due = now + patience;
        self.rests_until = now + patience.min(PACE_TICKS);
        Some(match self.offer {
            None => Parcel::WantOffer,
            Some(offer) if (self.snapshot.len() as u64) < offer.bytes => {
                Parcel::WantSnapshot(offer.slot, self.snapshot.len() as u64)
            }
            Some(_) => Parcel::WantArchive(archive.extent().end),
        })
    }

    /// An answer of the source. What came whole, once it has.
    ///
    /// # Errors
    ///
    /// If the source is of no use, or what came is not what was offered: nothing of it counts.
    pub(super) fn take(
        &mut self,
        answer: Parcel,
        archive: &mut Archive,
        now: u64,
    ) -> Result<Option<Arrived>, Useless> {
        match answer {
            Parcel::Offer(offer) => self.take_offer(offer, archive)?,
            Parcel::SnapshotChunk(slot, from, bytes) => {
                let wanted = self.offer.is_some_and(|offer| offer.slot == slot)
                    && from == self.snapshot.len() as u64;
                if !wanted {
                    return Ok(None);
                }
                self.snapshot.extend_from_slice(&bytes);
            }
            Parcel::ArchiveChunk(from, mut entries) => {
                let (end, Some(offer)) = (archive.extent().end, self.offer) else {
                    return Ok(None);
                };
                // The source may have come further since.
                entries.retain(|(slot, _)| *slot < offer.archive.end);
                let ascends = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
                if from != end || !ascends || entries.first().is_none_or(|(slot, _)| *slot < end) {
                    return Ok(None);
                }
                entries.into_iter().for_each(|(slot, body)| archive.append(slot, body));
            }
            Parcel::WantOffer | Parcel::WantSnapshot(..) | Parcel::WantArchive(_) => {
                return Ok(None);
            }
        }
        (self.heard, self.due) = (now, self.rests_until);
        self.whole(archive)
    }

    /// What is offered now counts, whatever was before.
    fn take_offer(&mut self, offer: Offer, archive: &mut Archive) -> Result<(), Useless> {
        if self.offer == Some(offer) {
            return Ok(());
        }
        if offer.slot <= self.applied || offer.archive.entries < self.own.entries {
            return Err(Useless);
        }
        // Another had come further: what of that goes with this snapshot stays.
        if offer.archive.entries < archive.extent().entries {
            archive.cut(offer.archive).map_err(|_| Useless)?;
        }
        self.snapshot.clear();
        self.offer = Some(offer);
        Ok(())
    }

    /// Whether all of it is there.
    fn whole(&self, archive: &Archive) -> Result<Option<Arrived>, Useless> {
        let Some(offer) = self.offer else { return Ok(None) };
        let held = archive.extent();
        if (self.snapshot.len() as u64) < offer.bytes || held.entries < offer.archive.entries {
            return Ok(None);
        }
        let mut hash = Rolling::default();
        hash.mix(&self.snapshot);
        let snapshot: Option<Snapshot> = codec::decode(&self.snapshot).ok();
        match snapshot {
            Some(snapshot)
                if hash.value() == offer.hash
                    && snapshot.applied == offer.slot
                    && snapshot.archive == held =>
            {
                let bytes = Bytes::copy_from_slice(&self.snapshot);
                Ok(Some(Arrived { snapshot, bytes }))
            }
            Some(_) | None => Err(Useless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsm::Sessions;

    const CHUNK_BYTES: usize = 256 << 10;

    /// A node's snapshot and archive, after so many entries of a few kilobytes.
    fn source(entries: u64) -> (Offered, Archive) {
        let mut archive = Archive::default();
        for slot in 0..entries {
            archive.append(Slot(slot), Bytes::from(vec![slot as u8; 5000]));
        }
        let snapshot = Snapshot {
            applied: Slot(entries),
            time_ms: 0,
            hash: entries,
            checkpoint: None,
            archive: archive.extent(),
            sessions: Sessions::default(),
            machine: Bytes::from(vec![7; CHUNK_BYTES + 1]),
        };
        let bytes = Bytes::from(codec::encode(&snapshot));
        (Offered::new(&snapshot, bytes), archive)
    }

    fn begun() -> (Transfer, Archive) {
        let archive = Archive::default();
        (Transfer::new(NodeId(1), Slot(0), archive.extent(), 0), archive)
    }

    /// Asks and takes up to so many times, each when it is due. What came, and how many questions
    /// it took.
    fn fetch(
        transfer: &mut Transfer,
        archive: &mut Archive,
        (offered, theirs): &(Offered, Archive),
        most: usize,
    ) -> (Result<Option<Arrived>, Useless>, usize) {
        for asked in 1..=most {
            let question = transfer.ask(archive, transfer.due, 100).expect("it is due");
            let answer =
                serve(&question, offered, theirs, CHUNK_BYTES).expect("a question is answered");
            let answer = codec::decode(&codec::encode(&answer)).expect("what was encoded");
            match transfer.take(answer, archive, transfer.rests_until) {
                Ok(None) => (),
                ended => return (ended, asked),
            }
        }
        (Ok(None), most)
    }

    #[test]
    fn all_of_it_comes_in_chunks_and_another_source_goes_on_where_one_ended() {
        let theirs = source(200);
        let (mut transfer, mut archive) = begun();
        let (arrived, whole) = fetch(&mut transfer, &mut archive, &theirs, 100);
        let arrived = arrived.expect("no fault").expect("all of it");
        assert_eq!(arrived.snapshot.applied, Slot(200));
        assert_eq!(archive.extent(), theirs.1.extent());
        let (mut transfer, mut archive) = begun();
        assert!(fetch(&mut transfer, &mut archive, &theirs, whole - 1).0.is_ok());
        transfer.turn_to(NodeId(2), 0);
        let (arrived, more) = fetch(&mut transfer, &mut archive, &source(200), 100);
        assert!(arrived.expect("no fault").is_some());
        assert!(more < whole, "offer, snapshot, and the end of the archive: {more} of {whole}");
    }

    #[test]
    fn nothing_counts_unless_the_hash_of_the_whole_is_right() {
        let (offered, theirs) = source(200);
        let mut forged = Archive::default();
        for (slot, mut body) in theirs.page(Slot(0), usize::MAX) {
            if slot == Slot(150) {
                body = Bytes::from(vec![0; body.len()]);
            }
            forged.append(slot, body);
        }
        let (mut transfer, mut archive) = begun();
        let (ended, _) = fetch(&mut transfer, &mut archive, &(offered, forged), 100);
        assert!(ended.is_err());
    }

    #[test]
    fn an_offer_of_what_is_here_already_is_useless() {
        let archive = Archive::default();
        let mut ours = Transfer::new(NodeId(1), Slot(200), archive.extent(), 0);
        let (ended, asked) = fetch(&mut ours, &mut archive.clone(), &source(200), 100);
        assert!(ended.is_err() && asked == 1);
    }

    #[test]
    fn it_asks_again_only_after_a_while() {
        let (mut transfer, archive) = begun();
        assert_eq!(transfer.ask(&archive, 5, 10), Some(Parcel::WantOffer));
        assert_eq!(transfer.ask(&archive, 14, 10), None);
        assert_eq!(transfer.ask(&archive, 15, 10), Some(Parcel::WantOffer));
        assert!(!transfer.is_silent(9, 10) && transfer.is_silent(10, 10));
    }

    /// Red if an answer makes the next question due at once: the source would be asked without end,
    /// and answer nobody else.
    #[test]
    fn it_rests_from_a_question_to_the_next() {
        let (mut transfer, mut archive) = begun();
        let answer = |asked: Option<Parcel>| {
            let (offered, theirs) = source(200);
            serve(&asked?, &offered, &theirs, CHUNK_BYTES)
        };
        let offer = answer(transfer.ask(&archive, 5, 100)).expect("an offer");
        assert!(transfer.take(offer.clone(), &mut archive, 7).is_ok());
        assert_eq!(transfer.ask(&archive, 14, 100), None);
        let slow = answer(transfer.ask(&archive, 15, 100)).expect("a chunk");
        assert!(transfer.take(slow, &mut archive, 80).is_ok());
        assert!(transfer.ask(&archive, 80, 3).is_some(), "the answer was long in coming");
        assert!(transfer.take(offer, &mut archive, 80).is_ok());
        assert!(transfer.ask(&archive, 83, 3).is_some(), "heartbeats are more frequent");
    }

    /// Red if what is here already is asked for again, or is told as if it came now.
    #[test]
    fn it_goes_on_from_what_was_regained() {
        let theirs = source(200);
        let (mut transfer, mut archive) = begun();
        for (slot, body) in theirs.1.page(Slot(0), 5000 * 120) {
            archive.append(slot, body);
        }
        transfer.note_regained(&archive, 0);
        let regained = archive.extent().entries;
        let (arrived, asked) = fetch(&mut transfer, &mut archive, &theirs, 100);
        assert!(arrived.expect("no fault").is_some());
        assert!(asked < 12, "{asked} questions");
        let told = transfer.progress(&archive, 1000);
        assert_eq!((told.done, told.regained, told.to_come), (200, regained, 0));
        assert!((told.rate() - (200 - regained) as f64).abs() < 1e-9, "{}", told.rate());
    }

    /// Red if a peer whose snapshot is older is of no use, or what is above it stays: the whole
    /// would never be right.
    #[test]
    fn an_offer_of_less_than_is_here_is_enough() {
        let (mut transfer, mut archive) = begun();
        for (slot, body) in source(200).1.page(Slot(0), usize::MAX) {
            archive.append(slot, body);
        }
        let theirs = source(150);
        let arrived = fetch(&mut transfer, &mut archive, &theirs, 100).0.expect("no fault");
        assert_eq!(arrived.expect("all of it").snapshot.applied, Slot(150));
        assert_eq!(archive.extent(), theirs.1.extent());
    }

    /// Red if an offer of another history cuts anything, or one of less than this node has itself
    /// is taken.
    #[test]
    fn an_offer_of_something_else_is_useless() {
        let (mut transfer, mut archive) = begun();
        for slot in 0..200 {
            archive.append(Slot(slot), Bytes::from_static(b"another"));
        }
        let held = archive.extent();
        assert!(fetch(&mut transfer, &mut archive, &source(150), 100).0.is_err());
        assert_eq!(archive.extent(), held);
        let mut own = Transfer::new(NodeId(1), Slot(100), held, 0);
        assert!(fetch(&mut own, &mut archive, &source(150), 100).0.is_err());
        assert_eq!(archive.extent(), held);
    }
}
