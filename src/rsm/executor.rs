//! The executor: applies decided commands, in slot order, each once.
//!
//! It keeps a rolling hash over commands and replies. That hash is cheap and misses what no reply
//! has shown yet: so at each *checkpoint*, after so many slots, the service's own state and the
//! archive are hashed with it, and nodes compare what came out. Not in the hash are the sessions,
//! which may be large: what they lead to is, since it is replies, state and archive.

use bytes::Bytes;

use super::archive::Archive;
use super::hash::Rolling;
use super::machine::{Notice, StateMachine, Turn};
use super::sessions::{Outcome, Sessions};
use super::shelf::Extent;
use super::snapshot::Snapshot;
use crate::paxos::{ClientId, Command, Digest, RequestNumber, Slot};

/// A state machine with its sessions, its archive, and how far it has come.
#[derive(Clone, Debug)]
pub struct Executor<M> {
    machine: M,
    archive: Archive,
    sessions: Sessions,
    applied: Slot,
    /// The latest time that any command told.
    time_ms: u64,
    hash: Rolling,
    checkpoint_slots: u64,
    checkpoint: Option<Digest>,
    /// Checkpoints passed since they were last taken.
    passed: Vec<Digest>,
}

/// What a slot led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What became of its command.
    pub fate: Fate,
    /// What the machine told sessions beside.
    pub notices: Vec<Notice>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing that anybody waits for.
    Nothing,
    /// It was a request.
    Request {
        /// Whose.
        client: ClientId,
        /// Which.
        number: RequestNumber,
        /// What came of it.
        outcome: Outcome,
    },
    /// This session is over, or was already.
    Ended(ClientId),
}

/// The state is hashed, for others to compare, each time so many slots are applied.
pub const CHECKPOINT_SLOTS: u64 = 1000;

impl<M: StateMachine> Executor<M> {
    /// A machine that has applied nothing, with its archive in memory.
    pub fn new(machine: M) -> Executor<M> {
        Executor::on(machine, Archive::default())
    }

    /// A machine that has applied nothing, and this archive, which holds nothing either, or is yet
    /// to be cut by a [`restore`](Executor::restore).
    pub fn on(machine: M, archive: Archive) -> Executor<M> {
        Executor {
            machine,
            archive,
            sessions: Sessions::default(),
            applied: Slot(0),
            time_ms: 0,
            hash: Rolling::default(),
            checkpoint_slots: CHECKPOINT_SLOTS,
            checkpoint: None,
            passed: Vec::new(),
        }
    }

    /// With a checkpoint each time so many slots are applied: the same on all nodes, or they have
    /// nothing to compare.
    #[must_use]
    pub fn with_checkpoints(self, checkpoint_slots: u64) -> Executor<M> {
        Executor { checkpoint_slots, ..self }
    }

    /// Applies the next slot's command, and says what that led to.
    ///
    /// # Panics
    ///
    /// If the slot is not the next one (R2: commands are applied in slot order).
    pub fn apply(&mut self, slot: Slot, command: &Command) -> Applied {
        assert_eq!(slot, self.applied, "R2: commands are applied in slot order, without a gap");
        let Executor { machine, archive, sessions, time_ms, .. } = self;
        let mut turn = Turn::new(slot, archive);
        let fate = match command {
            Command::Noop => Fate::Nothing,
            Command::Request(request) => {
                let (client, number) = (request.client, request.number);
                *time_ms = request.time_ms.max(*time_ms);
                (turn.session, turn.time_ms) = (client, *time_ms);
                let outcome = sessions.apply(slot, request, |ttl_ms| {
                    turn.ttl_ms = ttl_ms;
                    Bytes::from(machine.apply(&mut turn, &request.body))
                });
                Fate::Request { client, number, outcome }
            }
            Command::End(client) => {
                if let Some(ttl_ms) = sessions.end(slot, *client) {
                    (turn.session, turn.ttl_ms, turn.time_ms) = (*client, ttl_ms, *time_ms);
                    machine.end(&mut turn);
                }
                Fate::Ended(*client)
            }
            Command::Wake(at_ms) => {
                *time_ms = (*at_ms).max(*time_ms);
                turn.time_ms = *time_ms;
                machine.wake(&mut turn);
                Fate::Nothing
            }
        };
        let applied = Applied { fate, notices: turn.into_notices() };
        self.applied = slot.next();
        self.hash_slot(slot, command, &applied);
        applied
    }

    /// What all that was applied led to.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            applied: self.applied,
            time_ms: self.time_ms,
            hash: self.hash.value(),
            checkpoint: self.checkpoint,
            archive: self.archive.extent(),
            sessions: self.sessions.clone(),
            machine: Bytes::from(self.machine.snapshot()),
        }
    }

    /// Goes on from a snapshot. The archive is left as it is: it must hold what the snapshot names.
    ///
    /// Its last checkpoint is this node's from now on; one at its very slot is hashed anew, from
    /// what was restored.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.machine.restore(&snapshot.machine);
        self.sessions = snapshot.sessions.clone();
        (self.applied, self.time_ms) = (snapshot.applied, snapshot.time_ms);
        self.hash = Rolling::from_value(snapshot.hash);
        self.checkpoint = match self.is_checkpoint() {
            true => Some(self.state(snapshot.archive)),
            false => snapshot.checkpoint,
        };
        self.passed = self.checkpoint.into_iter().collect();
    }

    /// Answers a question from the state as it is.
    #[must_use]
    pub fn query(&self, query: &[u8]) -> Bytes {
        Bytes::from(self.machine.query(query, &self.archive))
    }

    /// Every slot below is applied.
    #[must_use]
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// The rolling hash over everything applied.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest { slot: self.applied, hash: self.hash.value() }
    }

    /// The hash of the whole state at the last checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Digest> {
        self.checkpoint
    }

    /// The checkpoints that were passed since this was last asked, ascending.
    pub fn take_checkpoints(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.passed)
    }

    /// The sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The archive.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The archive, for the node that keeps it.
    pub fn archive_mut(&mut self) -> &mut Archive {
        &mut self.archive
    }

    /// The state machine.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    fn hash_slot(&mut self, slot: Slot, command: &Command, applied: &Applied) {
        let hash = &mut self.hash;
        hash.mix(&slot.0.to_le_bytes());
        match command {
            Command::Noop => (),
            Command::Request(request) => {
                hash.mix(&request.client.0.to_le_bytes());
                hash.mix(&request.number.0.to_le_bytes());
                hash.mix(&request.body);
            }
            Command::End(client) => hash.mix(&client.0.to_le_bytes()),
            Command::Wake(at_ms) => hash.mix(&at_ms.to_le_bytes()),
        }
        if let Fate::Request { outcome: Outcome::Applied(_, reply), .. } = &applied.fate {
            hash.mix(reply);
        }
        for Notice { session, body } in &applied.notices {
            hash.mix(&session.0.to_le_bytes());
            hash.mix(body);
        }
        if self.is_checkpoint() {
            let state = self.state(self.archive.extent());
            self.checkpoint = Some(state);
            self.passed.push(state);
        }
    }

    fn is_checkpoint(&self) -> bool {
        self.applied.0 > 0 && self.applied.0.is_multiple_of(self.checkpoint_slots)
    }

    /// The hash of everything: what was applied, what the service holds, and this archive.
    fn state(&self, archive: Extent) -> Digest {
        let mut hash = self.hash;
        let machine = self.machine.snapshot();
        hash.mix(&(machine.len() as u64).to_le_bytes());
        hash.mix(&machine);
        for part in [archive.end.0, archive.entries, archive.bytes, archive.hash] {
            hash.mix(&part.to_le_bytes());
        }
        Digest { slot: self.applied, hash: hash.value() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::Request;

    /// Says nothing in its replies of what it holds.
    #[derive(Default)]
    struct Silent {
        held: u8,
        archives: bool,
    }

    impl StateMachine for Silent {
        fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
            if self.archives {
                turn.archive.append(turn.at, Bytes::from(vec![self.held]));
            }
            self.held = self.held.wrapping_add(command.len() as u8);
            Vec::new()
        }

        fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
            Vec::new()
        }

        fn snapshot(&self) -> Vec<u8> {
            if self.archives { Vec::new() } else { vec![self.held] }
        }

        fn restore(&mut self, snapshot: &[u8]) {
            self.held = snapshot.first().copied().unwrap_or(0);
        }
    }

    fn executor(held: u8, archives: bool) -> Executor<Silent> {
        Executor::new(Silent { held, archives }).with_checkpoints(3)
    }

    fn apply(executor: &mut Executor<Silent>, slots: std::ops::Range<u64>) {
        for slot in slots {
            let request = Request {
                client: ClientId(1),
                number: RequestNumber(slot + 1),
                low_water: RequestNumber(1),
                ttl_ms: 0,
                time_ms: 0,
                body: Bytes::from_static(b"x"),
            };
            executor.apply(Slot(slot), &Command::Request(request));
        }
    }

    /// Bugs that turn it red: a machine that is not hashed; an archive that is not.
    #[test]
    fn what_no_reply_shows_is_in_the_next_checkpoint() {
        for archives in [false, true] {
            let (mut one, mut other) = (executor(0, archives), executor(1, archives));
            apply(&mut one, 0..7);
            apply(&mut other, 0..7);
            assert_eq!(one.digest(), other.digest(), "replies and commands are the same");
            let (one, other) = (one.take_checkpoints(), other.take_checkpoints());
            let slots: Vec<u64> = one.iter().map(|digest| digest.slot.0).collect();
            assert_eq!(slots, [3, 6]);
            assert!(one.iter().zip(&other).all(|(one, other)| one.hash != other.hash));
        }
    }

    /// Bugs that turn it red: a snapshot whose checkpoint is dropped; one that is believed where
    /// the state that was restored is another.
    #[test]
    fn a_snapshot_brings_its_checkpoint() {
        for (end, last) in [(5, 3), (6, 6)] {
            let mut own = executor(0, false);
            apply(&mut own, 0..end);
            let checkpoint = own.checkpoint().expect("one was passed");
            assert_eq!(checkpoint.slot, Slot(last));
            let mut restored = executor(9, false);
            restored.restore(&own.snapshot());
            assert_eq!(restored.take_checkpoints(), [checkpoint]);
            apply(&mut own, end..9);
            apply(&mut restored, end..9);
            assert_eq!(restored.checkpoint(), own.checkpoint());
        }
        let mut own = executor(0, false);
        apply(&mut own, 0..6);
        let snapshot = Snapshot { machine: Bytes::from_static(&[77]), ..own.snapshot() };
        let mut restored = executor(0, false);
        restored.restore(&snapshot);
        assert_ne!(restored.checkpoint(), own.checkpoint());
    }
}
