//! What there is to a poll: its id, whom it asks, what they have said, and how it came out.
//!
//! These lie in snapshots and archives, and go over the wire.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::Told;
use crate::paxos::ClientId;

/// A poll: 1, 2, 3, ... in the order of opening.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PollId(pub u64);

/// How a poll came out: `yes + no + abstained` is how many were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Which poll.
    pub poll: PollId,
    /// How many said yes.
    pub yes: u64,
    /// How many said no.
    pub no: u64,
    /// How many said nothing.
    pub abstained: u64,
}

/// Why a poll closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// All that it asked have answered.
    Answered,
    /// Its time was up.
    Deadline,
    /// Somebody closed it.
    ByHand,
}

/// The end of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When, as [`Turn::time_ms`](crate::rsm::Turn::time_ms) has it.
    pub at_ms: u64,
    /// Why.
    pub why: Why,
}

/// All there is to a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// Its id.
    pub id: PollId,
    /// What it asks.
    pub question: Bytes,
    /// When it began, as [`Turn::time_ms`](crate::rsm::Turn::time_ms) has it.
    pub opened_ms: u64,
    /// When it closes at the latest.
    pub closes_ms: Option<u64>,
    /// Whom it asks, and what they have said.
    pub answers: BTreeMap<Bytes, Option<bool>>,
    /// Its end; `None` while it is open.
    pub closed: Option<Closed>,
}

/// An entry of the archive: polls that are closed, as are all before them. Ids go up from entry to
/// entry without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled(pub Vec<Poll>);

/// A poll as a list has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub poll: PollId,
    /// What it asks.
    pub question: Bytes,
    /// How many it asks.
    pub asked: u64,
    /// How many have answered.
    pub voted: u64,
    /// When it closes at the latest.
    pub closes_ms: Option<u64>,
    /// How it came out; `None` while it is open.
    pub tally: Option<Tally>,
    /// What the name in the question has answered.
    pub own: Option<bool>,
}

/// Who is joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The session that has the name.
    pub session: ClientId,
    /// Up to where the results are on its disk, as it said since the name was joined.
    pub confirmed: PollId,
}

impl fmt::Display for PollId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Tally {
    /// How many were asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.yes + self.no + self.abstained
    }

    /// How many in a hundred of those asked said yes, rounded down; `None` if nobody was asked.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        (100 * self.yes).checked_div(self.asked())
    }
}

impl Poll {
    /// How many it asks.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.answers.len() as u64
    }

    /// How many have answered.
    #[must_use]
    pub fn voted(&self) -> u64 {
        self.answers.values().flatten().count() as u64
    }

    /// What those it asks are told when it opens.
    pub(super) fn asked_of_all(&self) -> Told {
        let (poll, question, closes_ms) = (self.id, self.question.clone(), self.closes_ms);
        Told::Asked { poll, question, asked: self.asked(), closes_ms }
    }

    /// How it came out; `None` while it is open.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        self.closed?;
        let yes = self.answers.values().filter(|answer| **answer == Some(true)).count() as u64;
        let (no, abstained) = (self.voted() - yes, self.asked() - self.voted());
        Some(Tally { poll: self.id, yes, no, abstained })
    }

    /// As a list has it, for this name.
    #[must_use]
    pub fn row(&self, name: Option<&Bytes>) -> Row {
        Row {
            poll: self.id,
            question: self.question.clone(),
            asked: self.asked(),
            voted: self.voted(),
            closes_ms: self.closes_ms,
            tally: self.tally(),
            own: name.and_then(|name| self.answers.get(name).copied().flatten()),
        }
    }
}
