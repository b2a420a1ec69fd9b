//! How a node comes back: from its newest whole snapshot, and from its log above that.
//!
//! The log is trimmed below the older of two snapshots, so one that is damaged is done without; if
//! nothing whole reaches up to where the log begins, the node does not start.

use std::sync::Arc;

use bytes::Bytes;

use super::keeping::Pace;
use super::transfer::Offered;
use crate::paxos::{AcceptorState, Difference, NodeId, Slot};
use crate::rsm::{
    Archive, Executor, Extent, MemoryShelf, Shelf, ShelfError, Snapshot, StateMachine,
};
use crate::wire::codec;

/// Why a node must stop, or does not start: final.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error<E> {
    /// The log's.
    #[error(transparent)]
    Log(E),
    /// The archive's.
    #[error(transparent)]
    Shelf(#[from] Arc<ShelfError>),
    /// The log begins at a slot below which no snapshot is whole.
    #[error(
        "the log begins at slot {0}, and no snapshot up to there is whole: this node cannot tell \
         what was before. Remove the folder, and bring the node back with `indelible replace`"
    )]
    NoSnapshot(Slot),
    /// Others remember more of this store than it holds.
    #[error(
        "this store holds {held} promises and votes, but node {} was told of {told}: it has \
         lost what it said, and must not be voted from again. `indelible replace {} --address \
         HOST:PORT`, on an empty folder, brings the node back",
        by.0, node.0
    )]
    Forgot {
        /// Whose store it is.
        node: NodeId,
        /// Who remembers.
        by: NodeId,
        /// How many promises and votes it was told of.
        told: u64,
        /// How many there are.
        held: u64,
    },
    /// Another store has taken the place of this one.
    #[error(
        "this store of node {} was replaced by a newer one, which votes in its place: what is left \
         of it may be removed",
        .0.0
    )]
    Replaced(NodeId),
    /// What this node applied led to something else than with the others.
    #[error(
        "this node stops: its state is not that of a majority ({0}). What it answered since may be \
         wrong: compare what it executed with the others (`indelible verify`). Started again, it \
         replays its snapshot and its log; if it stops again, the snapshot holds the wrong state, \
         too: replace the node. Report it, for it is a bug or bad memory"
    )]
    Differs(Box<Difference>),
}

/// What lies beside a log when a node starts. By default nothing, in memory.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The archive.
    pub shelf: Box<dyn Shelf>,
    /// The snapshots that are whole, newest first.
    pub snapshots: Vec<(Slot, Bytes)>,
    /// When the next ones are due.
    pub pace: Pace,
}

impl Default for Beside {
    fn default() -> Beside {
        let shelf = Box::new(MemoryShelf::default());
        Beside { shelf, snapshots: Vec::new(), pace: Pace::NEVER }
    }
}

/// What a node comes back with: what it applied, and the snapshot that others can have.
pub(super) type Recovered<M> = (Executor<M>, Option<Offered>);

/// What applying the log led to, from the newest snapshot on and as far as this disk knows.
///
/// # Errors
///
/// If something is missing or damaged that cannot be done without.
pub fn replay<M: StateMachine, E>(
    state: &AcceptorState,
    beside: Beside,
    machine: M,
) -> Result<Executor<M>, Error<E>> {
    recover(state, beside, machine).map(|(executor, _)| executor)
}

pub(super) fn recover<M: StateMachine, E>(
    state: &AcceptorState,
    beside: Beside,
    machine: M,
) -> Result<Recovered<M>, Error<E>> {
    let mut executor = Executor::on(machine, Archive::on(beside.shelf))
        .with_checkpoints(beside.pace.checkpoint_slots);
    let newest = beside.snapshots.into_iter().find_map(|(_, bytes)| {
        let snapshot = codec::decode::<Snapshot>(&bytes).ok()?;
        (snapshot.applied >= state.trimmed()).then_some((snapshot, bytes))
    });
    match &newest {
        Some((snapshot, _)) => {
            executor.archive_mut().cut(snapshot.archive)?;
            executor.restore(snapshot);
        }
        None if state.trimmed() == Slot(0) => executor.archive_mut().cut(Extent::default())?,
        None => return Err(Error::NoSnapshot(state.trimmed())),
    }
    let decided = state.votes(executor.applied()).take_while(|(slot, _)| *slot < state.mark());
    for (slot, vote) in decided {
        // Where the log was damaged, what follows comes from others first.
        if slot != executor.applied() {
            break;
        }
        executor.apply(slot, &vote.command);
    }
    executor.archive_mut().flush()?;
    Ok((executor, newest.map(|(snapshot, bytes)| Offered::new(&snapshot, bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::Digest;
    use crate::rsm::Sessions;
    use crate::services::chat::Chat;

    fn beside(applied: u64) -> Beside {
        let snapshot = Snapshot {
            applied: Slot(applied),
            time_ms: 0,
            hash: applied,
            checkpoint: None,
            archive: Extent::default(),
            sessions: Sessions::default(),
            machine: Bytes::new(),
        };
        let snapshots = vec![(Slot(applied), Bytes::from(codec::encode(&snapshot)))];
        Beside { snapshots, ..Beside::default() }
    }

    #[test]
    fn a_snapshot_must_reach_up_to_where_the_log_begins() {
        let state = AcceptorState::default();
        let state = state.clone().then(state.trim(Slot(10)));
        let found = |applied| replay::<_, ()>(&state, beside(applied), Chat);
        let digest = found(10).map(|executor| executor.digest());
        assert_eq!(digest.ok(), Some(Digest { slot: Slot(10), hash: 10 }));
        assert!(found(12).is_ok(), "ahead of the log");
        assert!(matches!(found(9), Err(Error::NoSnapshot(Slot(10)))));
        let nothing = replay::<_, ()>(&state, Beside::default(), Chat);
        assert!(matches!(nothing, Err(Error::NoSnapshot(Slot(10)))));
    }
}
