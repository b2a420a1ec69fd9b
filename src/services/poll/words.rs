//! The words of the poll service: what is asked, said, told and kept.
//!
//! All of them go through the one codec, so new variants are added at the end. Nothing here is
//! longer than a frame to a client: names and questions have limits, lists come in pages.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::services::word::Word;

use super::office::{Office, Server};
use super::record::{Member, Poll, PollId, Row, Settled, Tally};

/// The longest name of a client, in bytes; the shortest is one.
pub const NAME_BYTES_MAX: usize = 64;

/// How many names may be joined at a time, and so the most that one poll asks.
pub const NAMES_MAX: usize = 256;

/// The longest question, in bytes; the shortest is one.
pub const QUESTION_BYTES_MAX: usize = 1024;

/// How many polls may be open, or closed while an earlier one is open.
pub const UNSETTLED_MAX: usize = 256;

/// The longest time that a poll may be given, in milliseconds: 30 days.
pub const FOR_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

/// How much of a list goes into one answer, in bytes, and of what is not in the archive yet all.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// How much goes into one entry of the archive, in bytes; one poll at least.
pub const ENTRY_BYTES_MAX: usize = 64 << 10;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// This session answers under that name from now on; who did before does no more.
    Join {
        /// The client's name for itself.
        name: Bytes,
    },
    /// It does no more.
    Leave,
    /// A poll is to begin.
    Open {
        /// What is asked.
        question: Bytes,
        /// After how many milliseconds it closes at the latest; `None` is never.
        for_ms: Option<u64>,
    },
    /// My answer.
    Vote {
        /// To which poll.
        poll: PollId,
        /// Yes or no.
        yes: bool,
    },
    /// A poll is to close now.
    Close {
        /// Which.
        poll: PollId,
    },
    /// The results of all polls up to this one are on the client's disk.
    Confirm {
        /// The client's name.
        name: Bytes,
        /// The last of them.
        up_to: PollId,
    },
    /// A replica leads.
    Preside {
        /// Which.
        server: Server,
        /// The view as it knows it.
        view: u64,
    },
    /// A replica has caught up with the primary.
    Attend {
        /// Which.
        server: Server,
        /// The view as it knows it.
        view: u64,
    },
    /// The primary hears a backup no more.
    Dismiss {
        /// Which.
        id: u16,
        /// The view as it knows it.
        view: u64,
    },
}

/// Why a command is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A name without a byte.
    EmptyName,
    /// A name of more than [`NAME_BYTES_MAX`] bytes.
    LongName,
    /// [`NAMES_MAX`] names are joined already.
    TooManyNames,
    /// A question without a byte.
    EmptyQuestion,
    /// A question of more than [`QUESTION_BYTES_MAX`] bytes.
    LongQuestion,
    /// A time of more than [`FOR_MS_MAX`] milliseconds.
    LongTime,
    /// [`UNSETTLED_MAX`] polls are open, or wait for an earlier one that is.
    TooManyPolls,
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The session has that name.
    Joined,
    /// The session has no name.
    Left,
    /// The poll has begun.
    Opened {
        /// Its id.
        poll: PollId,
        /// How many are asked.
        asked: u64,
        /// When it closes at the latest.
        closes_ms: Option<u64>,
    },
    /// The answer of this name is on record.
    Recorded {
        /// To which poll.
        poll: PollId,
        /// What it is: perhaps an earlier one, for the first is final.
        yes: bool,
    },
    /// The poll is closed: by this command, or before.
    Closed {
        /// Which.
        poll: PollId,
        /// How it came out; `None` if that lies in the archive, where a command does not look: see
        /// [`Question::Show`].
        tally: Option<Tally>,
    },
    /// That poll does not ask this name.
    NotAsked,
    /// There is no such poll.
    NoSuchPoll,
    /// This session has no name, or another session has taken it over.
    NotJoined,
    /// That is noted.
    Confirmed,
    /// The command breaks a rule; nothing has changed.
    Refused(Refusal),
    /// These bytes are no command.
    Unreadable,
    /// Who is in office now.
    Office(Office),
}

/// A notice to a session that did not ask just now. It may be lost, and may come twice: what it
/// says can be asked for as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A poll has begun, and asks you.
    Asked {
        /// Which.
        poll: PollId,
        /// What it asks.
        question: Bytes,
        /// How many it asks.
        asked: u64,
        /// When it closes at the latest.
        closes_ms: Option<u64>,
    },
    /// Somebody has answered a poll that asks you.
    Voted {
        /// Which.
        poll: PollId,
        /// How many have by now.
        voted: u64,
        /// Of how many.
        asked: u64,
    },
    /// A poll is closed.
    Result(Tally),
    /// Another session has your name now.
    TakenOver,
    /// Who is in office has changed. After a new primary all that is open is told once more, and
    /// what is closed and was not confirmed can be asked for.
    Office(Office),
}

/// A question, which changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// All there is to this poll?
    Show {
        /// Which.
        poll: PollId,
    },
    /// Which polls are there?
    List {
        /// Those after this one.
        after: PollId,
    },
    /// How did the polls that asked this name come out? Up to the first that is still open.
    Results {
        /// Whose.
        name: Bytes,
        /// Those after this one.
        after: PollId,
    },
    /// Which polls are open?
    Open {
        /// Those that ask this name; `None` is all.
        name: Option<Bytes>,
    },
    /// Who is joined?
    Joined,
    /// Who is in office?
    Office,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Show`: `None` if there is no such poll.
    Show(Option<Poll>),
    /// To `List` and `Results`: a page, ascending.
    Page {
        /// The polls.
        rows: Vec<Row>,
        /// The poll to ask on after; `None` at the end.
        next: Option<PollId>,
    },
    /// To `Open`: all, ascending.
    Open(Vec<Row>),
    /// To `Joined`: all, by name.
    Joined(BTreeMap<Bytes, Member>),
    /// These bytes are no question.
    Unreadable,
    /// To `Office`.
    Office(Office),
}

impl Word for Ask {}
impl Word for Said {}
impl Word for Told {}
impl Word for Settled {}
impl Word for Question {}
impl Word for Answer {}
