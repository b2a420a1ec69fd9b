//! The polls' drawer in the room's archive: their entries lie among the messages of the chat.
//!
//! The poll service takes every entry of its archive for one of its own, and in a real cluster each
//! is. So here its entries are marked, and what it reads is the archive without all others. They
//! bear a checksum, too: a real shelf reads nothing else than what was appended.

use std::path::PathBuf;

use bytes::Bytes;

use crate::paxos::Slot;
use crate::rsm::{Archive, Extent, Shelf, ShelfError, Turn};

/// The first byte of an entry of the polls: no message of the room begins so.
const MARK: u8 = 0xFE;

/// The mark, and the checksum of the rest.
const HEAD_BYTES: usize = 5;

/// How much of the room's archive is looked through at a time.
const PIECE_BYTES: usize = 2 << 10;

/// The archive as the polls see it: to be read only.
#[derive(Clone, Debug)]
struct Drawer(Archive);

/// What the polls do in a turn of the room.
pub(super) fn turn<T>(turn: &mut Turn<'_>, step: impl FnOnce(&mut Turn<'_>) -> T) -> T {
    let mut own = Archive::default();
    let mut inner = Turn::new(turn.at, &mut own);
    (inner.session, inner.ttl_ms, inner.time_ms) = (turn.session, turn.ttl_ms, turn.time_ms);
    let done = step(&mut inner);
    for notice in inner.into_notices() {
        turn.tell(notice.session, notice.body.to_vec());
    }
    for (slot, body) in own.page(Slot(0), usize::MAX) {
        turn.archive.append(slot, marked(&body));
    }
    done
}

/// What of this archive is the polls'.
pub(super) fn of(archive: &Archive) -> Archive {
    Archive::on(Box::new(Drawer(archive.clone())))
}

fn marked(body: &[u8]) -> Bytes {
    let sum = crc32fast::hash(body).to_le_bytes();
    Bytes::from([[MARK].as_slice(), &sum, body].concat())
}

/// The polls' entry, if it is one, and whole.
fn unmarked(entry: &Bytes) -> Option<Result<Bytes, ShelfError>> {
    if entry.first() != Some(&MARK) || entry.len() < HEAD_BYTES {
        return None;
    }
    let body = entry.slice(HEAD_BYTES..);
    let is_whole = crc32fast::hash(&body).to_le_bytes() == entry[1..HEAD_BYTES];
    Some(if is_whole { Ok(body) } else { Err(damaged("an entry of the polls")) })
}

fn damaged(what: &str) -> ShelfError {
    ShelfError::Damaged { path: PathBuf::from("sim"), what: what.to_owned() }
}

impl Shelf for Drawer {
    fn append(&mut self, _entries: &[(Slot, Bytes)]) -> Result<(), ShelfError> {
        Err(damaged("nothing is written here"))
    }

    fn extent(&self) -> Extent {
        self.0.extent()
    }

    fn page(&self, from: Slot, bytes_max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let (mut next, mut bytes, mut found) = (from, 0, Vec::new());
        loop {
            let piece = self.0.page(next, PIECE_BYTES);
            let Some((last, _)) = piece.last() else { return Ok(found) };
            next = last.next();
            for (slot, entry) in piece {
                let Some(body) = unmarked(&entry).transpose()? else { continue };
                bytes += body.len();
                if bytes > bytes_max && !found.is_empty() {
                    return Ok(found);
                }
                found.push((slot, body));
            }
        }
    }

    fn cut(&mut self, _to: Extent) -> Result<(), ShelfError> {
        Err(damaged("nothing is written here"))
    }

    fn regain(&mut self) -> Result<bool, ShelfError> {
        Ok(false)
    }

    fn clone_box(&self) -> Box<dyn Shelf> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(archive: &Archive, from: u64, bytes_max: usize) -> Vec<u64> {
        archive.page(Slot(from), bytes_max).into_iter().map(|(slot, _)| slot.0).collect()
    }

    /// Bugs that turn it red: an entry of the chat's that is taken for one of the polls'; one of
    /// the polls' that is left out; a page without end; an entry that is not what was written.
    #[test]
    fn the_polls_see_their_own_entries_only() {
        let mut archive = Archive::default();
        for slot in 0..500 {
            match slot % 100 {
                7 => turn(&mut Turn::new(Slot(slot), &mut archive), |turn| {
                    turn.archive.append(turn.at, Bytes::from(vec![slot as u8; 10]));
                }),
                _ => archive.append(Slot(slot), Bytes::from(vec![1; 10])),
            }
        }
        let drawer = of(&archive);
        assert_eq!(slots(&drawer, 0, usize::MAX), [7, 107, 207, 307, 407]);
        assert_eq!(slots(&drawer, 108, 1), [207]);
        assert_eq!(drawer.page(Slot(407), 1), [(Slot(407), Bytes::from(vec![151; 10]))]);
        let mut bad = marked(b"a poll").to_vec();
        bad.pop();
        archive.append(Slot(500), Bytes::from(bad));
        let mut drawer = of(&archive);
        assert_eq!(slots(&drawer, 0, usize::MAX), [0; 0]);
        drawer.check().expect_err("it is told");
    }
}
