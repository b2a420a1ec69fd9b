//! How polls read: a line for people, or an object for programs.
//!
//! Names and questions are any bytes: for people what could act on a terminal is written out, and
//! in JSON bytes that are no UTF-8 become `\x..`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::super::harmless::harmless;
use super::super::lock::{text, time};
use crate::services::poll::{Poll, Refusal, Row, Settled, Tally, Why, Word};
use crate::wire::client::Entry;

/// The line of an executed log that an entry of the archive stands for: how polls came out.
pub(crate) fn logged(entry: &Entry) -> Option<String> {
    let Settled(polls) = Settled::decode(&entry.body)?;
    let of = |it: Tally| format!("poll {}: {}", it.poll, counts(&it));
    let all: Vec<String> = polls.iter().filter_map(Poll::tally).map(of).collect();
    Some(format!("{} {}", entry.slot, all.join("; ")))
}

/// `5 yes, 4 no, 0 abstained`.
pub(super) fn counts(tally: &Tally) -> String {
    format!("{} yes, {} no, {} abstained", tally.yes, tally.no, tally.abstained)
}

/// `55 % voted yes (5 yes, 4 no, 0 abstained)`.
pub(super) fn result(tally: &Tally) -> String {
    match tally.percent() {
        Some(percent) => format!("{percent} % voted yes ({})", counts(tally)),
        None => "nobody was asked".to_owned(),
    }
}

/// One's own answer, once it is on record.
pub(super) fn own(yes: bool) -> String {
    format!("your vote: {} (recorded)", if yes { "yes" } else { "no" })
}

/// `27 s left, 5 of 9 voted`, or how it came out.
pub(super) fn standing(row: &Row) -> String {
    match &row.tally {
        Some(tally) => result(tally),
        None => format!("{}{} of {} voted", left(row.closes_ms), row.voted, row.asked),
    }
}

/// `27 s left, `, by the clock of this machine; nothing if it may stay open for ever.
fn left(closes_ms: Option<u64>) -> String {
    let Some(closes) = closes_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)))
    else {
        return String::new();
    };
    match closes.duration_since(SystemTime::now()) {
        Ok(left) => format!("{} s left, ", left.as_secs()),
        Err(_) => "time is up, ".to_owned(),
    }
}

pub(super) fn row_line(row: &Row) -> String {
    format!("{}  {}  {}", row.poll, harmless(&row.question), standing(row))
}

pub(super) fn row_object(row: &Row) -> Value {
    let mut object = json!({
        "poll": row.poll.0, "question": text(&row.question), "asked": row.asked,
        "voted": row.voted, "closes": row.closes_ms.map(time),
    });
    add_tally(&mut object, row.tally.as_ref());
    object
}

/// While it is open nobody is told who is for it.
pub(super) fn poll_object(poll: &Poll) -> Value {
    let word = |answer: &Option<bool>| match (answer, poll.closed) {
        (Some(true), Some(_)) => "yes",
        (Some(false), Some(_)) => "no",
        (Some(_), None) => "voted",
        (None, _) => "nothing",
    };
    let names = poll.answers.iter().map(|(name, answer)| (text(name), json!(word(answer))));
    let mut object = row_object(&poll.row(None));
    object["opened"] = json!(time(poll.opened_ms));
    object["closed"] = json!(poll.closed.map(|closed| time(closed.at_ms)));
    object["why"] = json!(poll.closed.map(|closed| why(closed.why)));
    object["names"] = Value::Object(names.collect::<Map<String, Value>>());
    object
}

/// How a poll came out; nulls while it is open.
pub(super) fn add_tally(object: &mut Value, tally: Option<&Tally>) {
    object["state"] = json!(if tally.is_some() { "closed" } else { "open" });
    object["yes"] = json!(tally.map(|tally| tally.yes));
    object["no"] = json!(tally.map(|tally| tally.no));
    object["abstained"] = json!(tally.map(|tally| tally.abstained));
}

/// Why it closed.
pub(super) fn why(why: Why) -> &'static str {
    match why {
        Why::Answered => "all have answered",
        Why::Deadline => "its time was up",
        Why::ByHand => "by hand",
    }
}

pub(super) fn refusal_line(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::EmptyName => "a name has one byte at least",
        Refusal::LongName => "the name is longer than 64 bytes",
        Refusal::TooManyNames => "256 clients are joined already",
        Refusal::EmptyQuestion => "a question has one byte at least",
        Refusal::LongQuestion => "the question is longer than 1024 bytes",
        Refusal::LongTime => "a poll is open for 30 days at most",
        Refusal::TooManyPolls => {
            "256 polls are open or wait for an earlier one that is: close that first"
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::paxos::Slot;
    use crate::services::poll::{Closed, PollId};

    /// Bugs that turn it red: a share of those who voted, or rounded up; an answer that is shown
    /// while the poll is open; a poll that asked nobody, divided by.
    #[test]
    fn how_a_poll_reads() {
        let tally = Tally { poll: PollId(3), yes: 5, no: 3, abstained: 1 };
        assert_eq!(result(&tally), "55 % voted yes (5 yes, 3 no, 1 abstained)");
        let nobody = Tally { yes: 0, no: 0, abstained: 0, ..tally };
        assert_eq!(result(&nobody), "nobody was asked");
        let mut poll = Poll {
            id: PollId(3),
            question: Bytes::from_static(b"a\x1b?"),
            opened_ms: 1,
            closes_ms: None,
            answers: [(Bytes::from_static(b"ann"), Some(true)), (Bytes::new(), None)].into(),
            closed: None,
        };
        assert_eq!(row_line(&poll.row(None)), "3  a\\u{1b}?  1 of 2 voted");
        let open = poll_object(&poll);
        assert_eq!((&open["state"], &open["yes"]), (&json!("open"), &Value::Null));
        assert_eq!(open["names"]["ann"], json!("voted"));
        poll.closed = Some(Closed { at_ms: 2, why: Why::Deadline });
        let closed = poll_object(&poll);
        assert_eq!((&closed["yes"], &closed["abstained"]), (&json!(1), &json!(1)));
        assert_eq!(closed["names"]["ann"], json!("yes"));
        let entry = Entry { slot: Slot(7), body: Settled(vec![poll]).encode() };
        let line = logged(&entry).expect("a line");
        assert_eq!(line, "7 poll 3: 1 yes, 0 no, 1 abstained");
    }
}
