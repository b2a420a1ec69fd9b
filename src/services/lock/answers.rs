//! The answers: what people and clients see of the locks, a page at a time.

use std::ops::Bound;

use bytes::Bytes;

use super::Locks;
use super::graph::LAST;
use super::waiting::Entry;
use super::words::{Answer, Broken, Line, PAGE_BYTES_MAX, Question, Wait, Word};
use crate::paxos::{ClientId, Slot};
use crate::rsm::Archive;

/// More than the fixed part of any item of a page takes.
const ITEM_BYTES: usize = 96;

impl Locks {
    /// The answer to a question.
    pub(super) fn answer(&self, question: Question, archive: &Archive) -> Answer {
        match question {
            Question::Show { name } => self.show(&name),
            Question::List { after, prefix } => self.list(after.as_ref(), &prefix),
            Question::Check { name, token } => self.check(&name, token),
            Question::Mine { session, after } => self.mine(session, after.as_ref()),
            Question::Breaks { from } => breaks(from, archive),
        }
    }

    fn show(&self, name: &Bytes) -> Answer {
        let lines = [Line::Queued, Line::Trying].into_iter();
        let sessions = lines.flat_map(|line| self.waiting.wanting(line, name, Slot(0)..LAST));
        let waiters =
            sessions.filter_map(|(_, session)| self.waiting.entry(session).map(Entry::waiter));
        let (waiting, _) = page(waiters, |waiter| waiter.label.len());
        let left_out = self.count(name) - waiting.len() as u64;
        Answer::Show { holder: self.table.hold(name).cloned(), waiting, left_out }
    }

    fn list(&self, after: Option<&Bytes>, prefix: &Bytes) -> Answer {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let held = self.table.holds().range::<Bytes, _>((start, Bound::Unbounded));
        let rows = held
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, hold)| (name.clone(), hold.clone(), self.count(name)));
        let (locks, goes_on) = page(rows, |(name, hold, _)| name.len() + hold.label.len());
        let next = locks.last().filter(|_| goes_on).map(|(name, ..)| name.clone());
        Answer::List { locks, next }
    }

    fn check(&self, name: &Bytes, token: Slot) -> Answer {
        let holder = self.table.hold(name).cloned();
        Answer::Check { current: holder.as_ref().is_some_and(|hold| hold.token == token), holder }
    }

    fn mine(&self, session: ClientId, after: Option<&Bytes>) -> Answer {
        let rows = self.table.of_session(session, after);
        let (held, goes_on) =
            page(rows.map(|(name, token)| (name.clone(), token)), |(name, _)| name.len());
        let next = held.last().filter(|_| goes_on).map(|(name, _)| name.clone());
        let waits = self.waiting.entry(session).map(|Entry { wish, line, since }| Wait {
            names: wish.names.clone(),
            line: *line,
            since: *since,
            ahead: self.waiting.ahead(&wish.names, *since),
        });
        Answer::Mine { held, next, waits }
    }

    fn count(&self, name: &[u8]) -> u64 {
        self.waiting.count(Line::Queued, name) + self.waiting.count(Line::Trying, name)
    }
}

fn breaks(from: Slot, archive: &Archive) -> Answer {
    let page = archive.page(from, PAGE_BYTES_MAX);
    let next = page.last().map(|(slot, _)| slot.next()).filter(|end| *end < archive.extent().end);
    let records = page.into_iter();
    let records = records.filter_map(|(slot, body)| Some((slot, Broken::decode(&body)?))).collect();
    Answer::Breaks { records, next }
}

/// As many of these items as fit a page, one at least, and whether there are more.
fn page<T>(items: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> (Vec<T>, bool) {
    let (mut page, mut sum) = (Vec::new(), 0);
    for item in items {
        sum += bytes(&item) + ITEM_BYTES;
        if sum > PAGE_BYTES_MAX && !page.is_empty() {
            return (page, true);
        }
        page.push(item);
    }
    (page, false)
}
