//! The executor: applies decided commands, in slot order, each once.

use bytes::Bytes;

use super::archive::Archive;
use super::hash::Rolling;
use super::machine::StateMachine;
use super::sessions::{Outcome, Sessions};
use super::snapshot::Snapshot;
use crate::paxos::{ClientId, Command, Digest, RequestNumber, Slot};

/// A state machine with its sessions, its archive, and how far it has come.
#[derive(Clone, Debug)]
pub struct Executor<M> {
    machine: M,
    archive: Archive,
    sessions: Sessions,
    applied: Slot,
    hash: Rolling,
    checkpoint: Option<Digest>,
}

/// What became of a client's request in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whose it was.
    pub client: ClientId,
    /// Which.
    pub number: RequestNumber,
    /// What came of it.
    pub outcome: Outcome,
}

/// A hash of the state is told to the others each time so many slots are applied.
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
            hash: Rolling::default(),
            checkpoint: None,
        }
    }

    /// Applies the next slot's command. For a request: what became of it.
    ///
    /// # Panics
    ///
    /// If the slot is not the next one (R2: commands are applied in slot order).
    pub fn apply(&mut self, slot: Slot, command: &Command) -> Option<Applied> {
        assert_eq!(slot, self.applied, "R2: commands are applied in slot order, without a gap");
        let applied = match command {
            Command::Noop => None,
            Command::Request(request) => {
                let Executor { machine, archive, sessions, .. } = self;
                let apply = || Bytes::from(machine.apply(slot, &request.body, archive));
                let outcome = sessions.apply(slot, request, apply);
                Some(Applied { client: request.client, number: request.number, outcome })
            }
        };
        self.applied = slot.next();
        self.hash_slot(slot, command, applied.as_ref());
        applied
    }

    /// What all that was applied led to.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            applied: self.applied,
            hash: self.hash.value(),
            checkpoint: self.checkpoint,
            archive: self.archive.extent(),
            sessions: self.sessions.clone(),
            machine: Bytes::from(self.machine.snapshot()),
        }
    }

    /// Goes on from a snapshot. The archive is left as it is: it must hold what the snapshot names.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.machine.restore(&snapshot.machine);
        self.sessions = snapshot.sessions.clone();
        self.applied = snapshot.applied;
        self.hash = Rolling::from_value(snapshot.hash);
        self.checkpoint = snapshot.checkpoint;
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

    /// The hash at the last checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Digest> {
        self.checkpoint
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

    fn hash_slot(&mut self, slot: Slot, command: &Command, applied: Option<&Applied>) {
        let hash = &mut self.hash;
        hash.mix(&slot.0.to_le_bytes());
        if let Command::Request(request) = command {
            hash.mix(&request.client.0.to_le_bytes());
            hash.mix(&request.number.0.to_le_bytes());
            hash.mix(&request.body);
        }
        if let Some(Applied { outcome: Outcome::Applied(_, reply), .. }) = applied {
            hash.mix(reply);
        }
        if self.applied.0.is_multiple_of(CHECKPOINT_SLOTS) {
            self.checkpoint = Some(self.digest());
        }
    }
}
