//! What clients saw: each operation with its invocation, its answer and what both said.
//!
//! A history is judged against a [`Model`], the sequential object that the cluster claims to be,
//! by two checkers that share nothing but this file. [`History::check_witness`] believes the slots
//! that came with the answers and replays in their order: linear, and exact about the log.
//! [`History::check_linear`] does not believe them and searches for any order that explains the
//! answers: it judges what a user could see, and nothing else.
//!
//! An operation without an answer (its client crashed, or the run ended) may have taken effect at
//! any time after its invocation, or never.
//!
//! Deliberately absent: judgements. Whatever is told is recorded, also a second answer that differs
//! from the first; the checkers say what is wrong with it.

use std::fmt;
use std::fmt::Debug;

use bytes::Bytes;

use crate::paxos::{ClientId, RequestNumber, Slot};

/// A sequential object: what a service would be on one machine, for one client at a time.
///
/// The search keeps a copy of the state for each order that it tries, and knows two states for the
/// same when they are equal: a model that can, keeps a digest and not all it was ever told.
pub trait Model: Clone + Debug {
    /// An operation and its arguments.
    type Input: Clone + Debug;
    /// What an operation is answered with.
    type Output: Clone + Debug + PartialEq;

    /// Does one operation. A read leaves the state as it was.
    ///
    /// `at` is the slot of a write, and for a read the number of slots before it; `None` where the
    /// search hides them, and an output that names its slot then leaves it open.
    fn apply(&mut self, at: Option<Slot>, input: &Self::Input) -> Self::Output;

    /// Whether the operation takes no slot and changes nothing.
    fn is_read(input: &Self::Input) -> bool;

    /// Whether the answer that was told is the one computed, where that leaves nothing open.
    #[must_use]
    fn agrees(computed: &Self::Output, told: &Self::Output) -> bool {
        computed == told
    }

    /// The name of the object that the operation concerns, where a service holds many that know
    /// nothing of each other (locks, polls). The search takes each by itself: a history is
    /// linearizable if and only if each object's is (Herlihy and Wing 1990, theorem 1).
    #[must_use]
    fn object(_input: &Self::Input) -> &[u8] {
        &[]
    }
}

/// When something was recorded: events of one tick are in the order in which they were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Simulated time, in ticks.
    pub tick: u64,
    /// How many events of this history were recorded before it.
    pub sequence: u64,
}

/// Names an operation within its history, in the order of invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(usize);

/// What a client was told.
#[derive(Clone, Debug)]
pub struct Answer<O> {
    /// When it arrived.
    pub returned: Moment,
    /// The slot of a write; for a read, the number of slots that it had seen.
    pub at: Slot,
    /// What it said.
    pub output: O,
}

/// One operation, from its invocation on.
#[derive(Clone, Debug)]
pub struct Operation<M: Model> {
    /// Whose it is.
    pub client: ClientId,
    /// When it was asked for.
    pub invoked: Moment,
    /// What was asked for.
    pub input: M::Input,
    /// The first answer.
    pub answer: Option<Answer<M::Output>>,
    /// A later answer that differs from the first.
    pub other_answer: Option<Answer<M::Output>>,
    /// Where the log holds it, each slot once.
    pub decided: Vec<Slot>,
}

/// All operations of one run.
#[derive(Clone, Debug)]
pub struct History<M: Model> {
    operations: Vec<Operation<M>>,
    sequence: u64,
}

impl<M: Model> History<M> {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> History<M> {
        History { operations: Vec::new(), sequence: 0 }
    }

    /// A client asks for something at tick `now`. It asks once, however often it sends.
    pub fn invoke(&mut self, client: ClientId, now: u64, input: M::Input) -> OpId {
        let invoked = self.moment(now);
        let decided = Vec::new();
        let (answer, other_answer) = (None, None);
        let operation = Operation { client, invoked, input, answer, other_answer, decided };
        self.operations.push(operation);
        OpId(self.operations.len() - 1)
    }

    /// The client is answered at tick `now`: a write with its slot, a read with the number of slots
    /// that it had seen. A write that is answered again must be told the same; a read that was sent
    /// twice may be, and only its first answer counts.
    ///
    /// # Panics
    ///
    /// If `op` is not of this history.
    pub fn answer(&mut self, op: OpId, now: u64, at: Slot, output: M::Output) {
        let returned = self.moment(now);
        let answer = Answer { returned, at, output };
        let operation = &mut self.operations[op.0];
        let Some(first) = &operation.answer else {
            operation.answer = Some(answer);
            return;
        };
        let is_other = first.at != at || first.output != answer.output;
        if is_other && !M::is_read(&operation.input) {
            operation.other_answer = Some(answer);
        }
    }

    /// The log holds this write at `slot`, whether or not its client ever heard of it. Told once
    /// for each write that took effect without an answer, else the witness takes it for one that
    /// did not.
    ///
    /// # Panics
    ///
    /// If `op` is not of this history.
    pub fn decided(&mut self, op: OpId, slot: Slot) {
        let decided = &mut self.operations[op.0].decided;
        if !decided.contains(&slot) {
            decided.push(slot);
        }
    }

    /// All operations, in the order in which they were told.
    #[must_use]
    pub fn operations(&self) -> &[Operation<M>] {
        &self.operations
    }

    fn moment(&mut self, tick: u64) -> Moment {
        self.sequence += 1;
        Moment { tick, sequence: self.sequence - 1 }
    }
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        History::new()
    }
}

impl<M: Model> Operation<M> {
    /// Whether it takes no slot and changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        M::is_read(&self.input)
    }

    /// Where it stands, as far as anybody said: its client's answer first, else the log.
    #[must_use]
    pub fn at(&self) -> Option<Slot> {
        let told = self.answer.as_ref().map(|answer| answer.at);
        told.or_else(|| self.decided.first().copied())
    }
}

/// As a person would tell it.
impl<M: Model> fmt::Display for Operation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of client {:x}", self.input, self.client.0)?;
        write!(f, " (invoked at tick {}, ", self.invoked.tick)?;
        match (&self.answer, self.decided.first()) {
            (Some(Answer { returned, at, .. }), _) => {
                let place = if self.is_read() { "having seen" } else { "slot" };
                write!(f, "answered at tick {}, {place} {at})", returned.tick)
            }
            (None, Some(slot)) => write!(f, "never answered, decided in slot {slot})"),
            (None, None) => write!(f, "never answered)"),
        }
    }
}

/// The plainest model: lines in the order in which they were written, and a reader of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ledger {
    seen: Seen,
}

/// What a [`Ledger`] is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Writes one more line.
    Append {
        /// Its place in the client's session.
        number: RequestNumber,
        /// The line.
        body: Bytes,
    },
    /// Reads all lines.
    Read,
}

/// What a [`Ledger`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To an append: the line that was written.
    Reply(Bytes),
    /// To a read: what stands in the ledger.
    Seen(Seen),
}

/// All lines of a [`Ledger`], in few bytes: equal only if the same lines stand in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// How many lines.
    pub lines: u64,
    /// A rolling CRC-32 over their lengths and bytes.
    pub crc: u32,
}

impl Seen {
    /// What is seen when one more line stands below.
    #[must_use]
    pub fn and(self, line: &[u8]) -> Seen {
        let mut crc = crc32fast::Hasher::new_with_initial(self.crc);
        crc.update(&(line.len() as u64).to_le_bytes());
        crc.update(line);
        Seen { lines: self.lines + 1, crc: crc.finalize() }
    }
}

impl Model for Ledger {
    type Input = Ask;
    type Output = Told;

    fn apply(&mut self, _at: Option<Slot>, input: &Ask) -> Told {
        match input {
            Ask::Append { body, .. } => {
                self.seen = self.seen.and(body);
                Told::Reply(body.clone())
            }
            Ask::Read => Told::Seen(self.seen),
        }
    }

    fn is_read(input: &Ask) -> bool {
        match input {
            Ask::Append { .. } => false,
            Ask::Read => true,
        }
    }
}

#[cfg(test)]
mod tests;
