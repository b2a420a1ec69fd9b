//! The answers: what people and clients see of the polls, a page at a time.
//!
//! Polls that are closed, and all before them too, lie in the archive, in the order of their ids;
//! the others in memory. The archive has no index by id: an entry is found by halving its slots.

use bytes::Bytes;

use super::Polls;
use super::words::{Answer, PAGE_BYTES_MAX, Question, Word};
use super::{Poll, PollId, Row, Settled};
use crate::paxos::Slot;
use crate::rsm::Archive;

impl Polls {
    /// The answer to a question.
    pub(super) fn answer(&self, question: Question, archive: &Archive) -> Answer {
        match question {
            Question::Show { poll } => Answer::Show(self.show(poll, archive)),
            Question::List { after } => self.list(after, archive),
            Question::Results { name, after } => self.results(&name, after, archive),
            Question::Open { name } => {
                let open = self.polls.values().filter(|poll| poll.closed.is_none());
                let asks =
                    |poll: &&Poll| name.as_ref().is_none_or(|name| poll.answers.contains_key(name));
                Answer::Open(open.filter(asks).map(|poll| poll.row(name.as_ref())).collect())
            }
            Question::Joined => Answer::Joined(self.joined.clone()),
            Question::Office => Answer::Office(self.office.clone()),
        }
    }

    fn show(&self, id: PollId, archive: &Archive) -> Option<Poll> {
        if let Some(poll) = self.polls.get(&id) {
            return Some(poll.clone());
        }
        if id > self.settled() {
            return None;
        }
        let before = PollId(id.0.checked_sub(1)?);
        page_after(before, archive, 1).into_iter().find(|poll| poll.id == id)
    }

    fn list(&self, after: PollId, archive: &Archive) -> Answer {
        let (mut rows, seen) = self.rows_of_archive(after, archive, |poll| Some(poll.row(None)));
        if seen < self.settled() {
            return Answer::Page { rows, next: (seen > after).then_some(seen) };
        }
        let others = self.polls.values().filter(|poll| poll.id > seen);
        rows.extend(others.map(|poll| poll.row(None)));
        Answer::Page { rows, next: None }
    }

    /// Never one of which an earlier one is left out: whoever writes them down knows by the last
    /// where to go on.
    fn results(&self, name: &Bytes, after: PollId, archive: &Archive) -> Answer {
        let row = |poll: &Poll| poll.answers.contains_key(name).then(|| poll.row(Some(name)));
        let (mut rows, seen) = self.rows_of_archive(after, archive, row);
        if seen < self.settled() {
            return Answer::Page { rows, next: (seen > after).then_some(seen) };
        }
        let closed = self.polls.values().filter_map(row).take_while(|row| row.tally.is_some());
        rows.extend(closed.filter(|row| row.poll > seen));
        Answer::Page { rows, next: None }
    }

    /// One page of the archive, and the last poll that was looked at.
    fn rows_of_archive(
        &self,
        after: PollId,
        archive: &Archive,
        row: impl Fn(&Poll) -> Option<Row>,
    ) -> (Vec<Row>, PollId) {
        if after >= self.settled() {
            return (Vec::new(), after);
        }
        let polls = page_after(after, archive, PAGE_BYTES_MAX);
        let seen = polls.last().map_or(after, |poll| poll.id);
        (polls.iter().filter_map(row).collect(), seen)
    }
}

/// The polls of the archive after this one, of as many entries as have so many bytes.
fn page_after(id: PollId, archive: &Archive, bytes_max: usize) -> Vec<Poll> {
    let entries = archive.page(slot_after(id, archive), bytes_max);
    let polls = entries.iter().filter_map(|(_, body)| Settled::decode(body));
    polls.flat_map(|settled| settled.0).filter(|poll| poll.id > id).collect()
}

/// A slot from which on the first entry is the first that has a poll after this one.
fn slot_after(id: PollId, archive: &Archive) -> Slot {
    let (mut low, mut high) = (0, archive.extent().end.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = archive.page(Slot(middle), 1).into_iter().next();
        let settled = entry.and_then(|(slot, body)| Some((slot, Settled::decode(&body)?)));
        match settled {
            Some((slot, Settled(polls))) if polls.last().is_none_or(|poll| poll.id <= id) => {
                low = slot.0 + 1;
            }
            Some(_) | None => high = middle,
        }
    }
    Slot(low)
}
