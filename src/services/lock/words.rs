//! The words of the lock service: what is asked, said, and told.
//!
//! All of them go through the one codec, so new variants are added at the end. Nothing here is
//! longer than a frame to a client: names, labels and reasons have limits, lists come in pages.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::services::word::Word;

use crate::paxos::{ClientId, Slot};

/// The longest name of a lock, in bytes; the shortest is one.
pub const NAME_BYTES_MAX: usize = 1024;

/// How many names one request may have, repeated ones included.
pub const NAMES_MAX: usize = 64;

/// The longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;

/// The longest reason for breaking a lock, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// How much of a list goes into one answer, in bytes; one item at least.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// How many edges of a cycle are shown; of a longer one the first ones and the last.
pub const EDGES_MAX: usize = 32;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// I want these locks: all of them or none.
    Lock {
        /// Which; a name that comes twice counts once.
        names: Vec<Bytes>,
        /// Who asks, for people to read: `user@host pid 7`.
        label: Bytes,
        /// What to do if they cannot be had now.
        mode: Mode,
    },
    /// I give a lock back.
    Unlock {
        /// Which.
        name: Bytes,
        /// The token of its grant: a copy of this command that comes late has an old one. `None` is
        /// for a session that asks without having heard of its grant: whichever it holds then.
        token: Option<Slot>,
        /// For which session; `None` is the one that asks.
        session: Option<ClientId>,
    },
    /// I wait no longer.
    Cancel,
    /// An operator takes a lock away from its holder, on the record.
    Break {
        /// Which.
        name: Bytes,
        /// The token that the operator saw: a grant that came meanwhile is not meant.
        token: Slot,
        /// Why.
        reason: Bytes,
        /// Who does it, for people to read.
        label: Bytes,
    },
}

/// What to do with a request for locks that cannot be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing: busy is an answer.
    Now,
    /// The client will ask again, and wants to be told when that is worth it.
    Retry,
    /// It waits in line, and is granted when its turn comes.
    Queue,
}

/// Where a session waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// In the queue ([`Mode::Queue`]).
    Queued,
    /// Beside it: its client asks again ([`Mode::Retry`]).
    Trying,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The session.
    pub session: ClientId,
    /// Its name for itself.
    pub label: Bytes,
    /// The fencing token: the slot of the grant. Later grants of the name have higher ones.
    pub token: Slot,
    /// When it was granted, as [`Turn::time_ms`](crate::rsm::Turn::time_ms) has it: for people. 0
    /// if the end of another session made room for it, since an end does not say when it is.
    pub since_ms: u64,
    /// The session's time to live, in milliseconds; 0 is for ever.
    pub ttl_ms: u64,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// The session.
    pub session: ClientId,
    /// Its name for itself.
    pub label: Bytes,
    /// Where.
    pub line: Line,
    /// The slot of its request.
    pub since: Slot,
}

/// What a session waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Which locks, in the order asked.
    pub names: Vec<Bytes>,
    /// Where.
    pub line: Line,
    /// The slot of its request.
    pub since: Slot,
    /// How many requests before it in the queue want one of the same names.
    pub ahead: u64,
}

/// What keeps a request from being granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// A session that holds the lock.
    Held(Hold),
    /// A session that waits for the lock since earlier, which nobody holds just now.
    Reserved(Waiter),
}

/// One session that waits for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Who waits.
    pub session: ClientId,
    /// Its name for itself, in its request.
    pub label: Bytes,
    /// For which lock.
    pub name: Bytes,
    /// Who holds that one.
    pub holder: ClientId,
    /// The holder's name for itself, when it was granted.
    pub holder_label: Bytes,
}

/// Why a command is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It names no lock.
    NoNames,
    /// More than [`NAMES_MAX`] names.
    TooManyNames,
    /// A name without a byte.
    EmptyName,
    /// A name of more than [`NAME_BYTES_MAX`] bytes.
    LongName,
    /// A label of more than [`LABEL_BYTES_MAX`] bytes.
    LongLabel,
    /// A reason of more than [`REASON_BYTES_MAX`] bytes.
    LongReason,
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The asker holds all it asked for.
    Granted {
        /// Each lock, in the order asked, with its token.
        tokens: Vec<(Bytes, Slot)>,
    },
    /// Not now; nothing was taken.
    Busy {
        /// The first of its names that is held, or, if none is, that is reserved.
        name: Bytes,
        /// By whom.
        by: By,
    },
    /// The request waits in the queue.
    Queued {
        /// How many before it want one of the same names.
        ahead: u64,
    },
    /// The request is refused, as it would wait for its own session.
    Deadlock {
        /// Who waits for whom: the asker first, and last the one that waits for the asker.
        cycle: Vec<Edge>,
        /// How many edges before the last are not shown.
        left_out: u64,
    },
    /// This session waits in the queue already; nothing has changed.
    Pending,
    /// The lock is free, or another's by now.
    Unlocked,
    /// That session does not hold that lock with that token; nothing has changed.
    NotOwner {
        /// Who does.
        holder: Option<Hold>,
    },
    /// The session waits no longer.
    Cancelled,
    /// The session did not wait. Perhaps it was granted what it waited for: see
    /// [`Question::Mine`].
    Idle,
    /// The lock was taken away from its holder.
    Broken,
    /// The command breaks a rule; nothing has changed.
    Refused(Refusal),
    /// These bytes are no command.
    Unreadable,
}

/// A notice to a session that did not ask just now. It may be lost, and may come twice: what it
/// says can be asked for as well ([`Question::Mine`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Your turn has come: you hold all you queued for.
    Granted {
        /// Each lock, in the order asked, with its token.
        tokens: Vec<(Bytes, Slot)>,
    },
    /// All you tried to get could be had in that slot. Whoever asks first has it.
    Free {
        /// The locks, in the order asked.
        names: Vec<Bytes>,
    },
    /// A lock was taken away from you.
    Broken {
        /// Which.
        name: Bytes,
        /// The token that you had.
        token: Slot,
        /// Who did it.
        by: Bytes,
        /// Why.
        reason: Bytes,
    },
}

/// An entry of the archive: a lock was broken in its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Which.
    pub name: Bytes,
    /// From whom it was taken.
    pub holder: Hold,
    /// Who did it.
    pub by: Bytes,
    /// In which session.
    pub by_session: ClientId,
    /// Why.
    pub reason: Bytes,
    /// When, as [`Turn::time_ms`](crate::rsm::Turn::time_ms) has it: for people.
    pub time_ms: u64,
}

/// A question, which changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Who holds this lock, and who waits for it?
    Show {
        /// Which.
        name: Bytes,
    },
    /// Which locks are held?
    List {
        /// Those after this name; `None` is from the first one on.
        after: Option<Bytes>,
        /// Whose names begin so; empty is all.
        prefix: Bytes,
    },
    /// Is this token the current one? To be asked by whoever guards a resource and has not seen a
    /// higher token yet.
    Check {
        /// Of which lock.
        name: Bytes,
        /// The token that was shown.
        token: Slot,
    },
    /// What does this session hold, and what does it wait for?
    Mine {
        /// Whose.
        session: ClientId,
        /// Locks after this name; `None` is from the first one on.
        after: Option<Bytes>,
    },
    /// Which locks were broken?
    Breaks {
        /// From this slot on.
        from: Slot,
    },
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Show`.
    Show {
        /// Who holds it.
        holder: Option<Hold>,
        /// Who waits for it: the queue in its order, then those that try.
        waiting: Vec<Waiter>,
        /// How many more wait than fit here.
        left_out: u64,
    },
    /// To `List`: a page, ascending by name.
    List {
        /// Each lock, who holds it, and how many wait for it.
        locks: Vec<(Bytes, Hold, u64)>,
        /// The name to ask on after; `None` at the end.
        next: Option<Bytes>,
    },
    /// To `Check`.
    Check {
        /// Whether the lock is held with that token.
        current: bool,
        /// Who holds it.
        holder: Option<Hold>,
    },
    /// To `Mine`: a page, ascending by name.
    Mine {
        /// Each lock that the session holds, with its token.
        held: Vec<(Bytes, Slot)>,
        /// The name to ask on after; `None` at the end.
        next: Option<Bytes>,
        /// What it waits for; on every page.
        waits: Option<Wait>,
    },
    /// To `Breaks`: a page, ascending by slot.
    Breaks {
        /// Each with its slot.
        records: Vec<(Slot, Broken)>,
        /// The slot to ask on from; `None` at the end.
        next: Option<Slot>,
    },
    /// These bytes are no question.
    Unreadable,
}

impl Word for Ask {}
impl Word for Said {}
impl Word for Told {}
impl Word for Broken {}
impl Word for Question {}
impl Word for Answer {}
