//! All archives, a page at a time, beside the logs: where slots are trimmed, what was decided there
//! is told by the entries that applying them left.
//!
//! No more than a page of each archive is in memory, however long they are.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Invariant;
use super::compare::{Book, Failed};
use super::ledger::Ledger;
use super::refuted::{Exhibit, Refuted, body, value};
use crate::paxos::{Command, Slot};
use crate::rsm::ShelfError;
use crate::services::chat;
use crate::wire::client::Entry;

/// What a client was told: that this line stands in that slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The slot it was told.
    pub slot: Slot,
    /// The line, as executed logs have it: `SLOT SENDER: text`.
    pub line: String,
    /// Its place in the client's list, from 1.
    pub place: u64,
}

/// Bytes of an archive that are read at a time.
const PAGE_BYTES: usize = 1 << 20;

/// Holds all archives against each other, against the logs, and against what was acknowledged (by
/// slot, ascending). How many entries there are.
pub(super) fn merge(
    books: &[Book<'_>],
    members: u16,
    acknowledged: &[Acknowledged],
) -> Result<u64, Failed> {
    let cursors = books.iter().map(Cursor::new).collect();
    let mut merge = Merge { books, members: members.into(), cursors, told: acknowledged };
    let mut entries = 0;
    while let Some(slot) = merge.next_slot()? {
        merge.stand(Some(slot), &[])?;
        let bodies = merge.take(slot)?;
        entries += 1;
        merge.stand(Some(slot.next()), &bodies)?;
    }
    merge.stand(None, &[])?;
    Ok(entries)
}

/// Reads on in one archive.
struct Cursor<'b, 'a> {
    book: &'b Book<'a>,
    page: VecDeque<(Slot, Bytes)>,
    next: Slot,
}

impl<'b, 'a> Cursor<'b, 'a> {
    fn new(book: &'b Book<'a>) -> Cursor<'b, 'a> {
        Cursor { book, page: VecDeque::new(), next: Slot(0) }
    }

    /// The next entry's slot.
    fn peek(&mut self) -> Result<Option<Slot>, ShelfError> {
        if self.page.is_empty() && self.next < self.book.applied {
            let mut page = self.book.archive.page(self.next, PAGE_BYTES)?;
            page.retain(|(slot, _)| *slot < self.book.applied);
            self.next = page.last().map_or(self.book.applied, |(slot, _)| slot.next());
            self.page = page.into();
        }
        Ok(self.page.front().map(|(slot, _)| *slot))
    }

    fn take(&mut self, slot: Slot) -> Option<Bytes> {
        self.page.pop_front_if(|(front, _)| *front == slot).map(|(_, body)| body)
    }
}

struct Merge<'b, 'a> {
    books: &'b [Book<'a>],
    members: usize,
    cursors: Vec<Cursor<'b, 'a>>,
    /// What was acknowledged, and is not checked yet.
    told: &'b [Acknowledged],
}

impl Merge<'_, '_> {
    fn next_slot(&mut self) -> Result<Option<Slot>, ShelfError> {
        let mut lowest = None;
        for cursor in &mut self.cursors {
            let slot = cursor.peek()?;
            lowest = [lowest, slot].into_iter().flatten().min();
        }
        Ok(lowest)
    }

    /// The entries of a slot, by archive: the same in all that go so far, and what the logs hold.
    fn take(&mut self, slot: Slot) -> Result<Vec<Option<Bytes>>, Refuted> {
        let bodies: Vec<_> = self.cursors.iter_mut().map(|cursor| cursor.take(slot)).collect();
        let with = bodies.iter().position(Option::is_some).unwrap_or_default();
        let Some(one) = &bodies[with] else { return Ok(bodies) };
        for (at, book) in self.books.iter().enumerate() {
            let other = bodies[at].as_ref();
            if slot < book.applied && other != Some(one) {
                let why = format!("the archives differ in slot {slot}");
                let exhibits = [with, at].map(|at| self.entry(at, slot, &bodies)).to_vec();
                return Err(Refuted { invariant: Invariant::R1, why, exhibits });
            }
            if let Some(command) = decided(&book.ledger, slot)
                && book.is_whole
                && request(command) != Some(one)
            {
                let why = format!(
                    "slot {slot} is in an archive with {}, but {} is decided there",
                    body(slot, one),
                    value(slot, command)
                );
                let mut exhibits = vec![self.entry(with, slot, &bodies)];
                exhibits.extend(book.ledger.decision(slot));
                return Err(Refuted { invariant: Invariant::R1, why, exhibits });
            }
        }
        Ok(bodies)
    }

    /// What was acknowledged below a slot, or all, stands where it was told; `bodies` are the
    /// entries of the slot before that one, if it has any.
    fn stand(&mut self, below: Option<Slot>, bodies: &[Option<Bytes>]) -> Result<(), Refuted> {
        while let Some((first, rest)) = self.told.split_first()
            && below.is_none_or(|below| first.slot < below)
        {
            let stands = |(at, book): &(usize, &Book<'_>)| self.holds(*at, book, first, bodies);
            let (on, others): (Vec<_>, Vec<_>) = self.books.iter().enumerate().partition(stands);
            // A store in the place of a lost one that held it may be on its way there still.
            let lost = others.iter().filter(|(_, book)| {
                book.applied <= first.slot && first.slot < book.ledger.lost_below()
            });
            let absent = self.members - self.books.len();
            if (on.len() + absent + lost.count()) * 2 <= self.members {
                return Err(self.missing(first, on.len(), bodies));
            }
            self.told = rest;
        }
        Ok(())
    }

    /// Whether a store has the line in its archive or, above that, in its log.
    fn holds(
        &self,
        at: usize,
        book: &Book<'_>,
        told: &Acknowledged,
        bodies: &[Option<Bytes>],
    ) -> bool {
        let held = match bodies.get(at) {
            Some(Some(body)) => Some(body),
            Some(None) | None if told.slot < book.applied => None,
            Some(None) | None => {
                book.ledger.state().vote(told.slot).and_then(|vote| request(&vote.command))
            }
        };
        held.is_some_and(|body| line(told.slot, body).as_ref() == Some(&told.line))
    }

    fn missing(&self, told: &Acknowledged, on: usize, bodies: &[Option<Bytes>]) -> Refuted {
        let Acknowledged { slot, line, place } = told;
        let why = format!(
            "\"{line}\" (line {place} of the acknowledgements) stands on {on} of {} members",
            self.members
        );
        let shown = |(at, book): (usize, &Book<'_>)| {
            if *slot < book.applied {
                return self.entry(at, *slot, bodies);
            }
            let vote = book.ledger.state().vote(*slot);
            let held = vote.map_or("nothing".to_owned(), |vote| value(*slot, &vote.command));
            book.ledger.note(format!("its log has {held} in slot {slot}"))
        };
        let exhibits = self.books.iter().enumerate().map(shown).collect();
        Refuted { invariant: Invariant::Acknowledged, why, exhibits }
    }

    fn entry(&self, at: usize, slot: Slot, bodies: &[Option<Bytes>]) -> Exhibit {
        let held = bodies.get(at).and_then(Option::as_ref);
        let held = held.map_or("no entry".to_owned(), |it| body(slot, it));
        let ledger = &self.books[at].ledger;
        ledger.note(format!("its archive has {held} in slot {slot}"))
    }
}

/// What a ledger says was decided in a slot.
fn decided<'l>(ledger: &'l Ledger<'_>, slot: Slot) -> Option<&'l Command> {
    let is_known = ledger.trimmed() <= slot && slot < ledger.mark();
    ledger.state().vote(slot).filter(|_| is_known).map(|vote| &vote.command)
}

fn request(command: &Command) -> Option<&Bytes> {
    match command {
        Command::Noop | Command::End(_) | Command::Wake(_) => None,
        Command::Request(request) => Some(&request.body),
    }
}

fn line(slot: Slot, body: &Bytes) -> Option<String> {
    chat::logged(&Entry { slot, body: body.clone() })
}
