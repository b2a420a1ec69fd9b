//! A witness: a node that promises, accepts, learns and logs, but runs no state machine and talks
//! to no client.
//!
//! Nothing is ever applied, and no snapshot taken: the machine that the node was given stays blank.
//! What the log lets go of must be with others, as a quorum of the members tells (`paxos`,
//! `holding`). While a replica is away it may be that no quorum does, and the log grows; where it
//! has grown beyond a set size, the witness gets what others would get: a replica's newest snapshot
//! and the archive, by the same transfer. It keeps that *copy* on its shelf as it came, opaque. The
//! same law as for all holds for a copy: the log goes once a second, newer one is beside it, for
//! one of them may be lost; and whoever asks for a snapshot gets the newest, if this log goes on
//! from it.
//!
//! A witness that missed what its peers' logs have let go of needs no copy, if a quorum holds what
//! was there: its log begins anew above it.

use std::sync::Arc;

use bytes::Bytes;

use super::Node;
use super::recovery::{Beside, Error, Recovered};
use super::transfer::Offered;
use crate::paxos::{AcceptorState, Digest, Heard, Input, NodeId, Slot, Tap, Wal};
use crate::rsm::{Archive, Executor, Extent, Rolling, ShelfError, Snapshot, StateMachine};
use crate::wire::codec;

/// What a witness finds: its newest copy and the archive of that, and no state. A copy below the
/// log's beginning is of use to nobody; its archive is where the next one goes on.
///
/// # Errors
///
/// If the copy's archive is missing or damaged, and this log goes on from it: others may have let
/// go of what it holds.
pub(super) fn recover_copy<M: StateMachine, E>(
    state: &AcceptorState,
    beside: Beside,
    machine: M,
) -> Result<Recovered<M>, Error<E>> {
    let (archive, newest) = newest(state, beside)?;
    let copy = newest.filter(|(snapshot, _)| snapshot.applied >= state.trimmed());
    let copy = copy.map(|(snapshot, bytes)| Offered::new(&snapshot, bytes));
    Ok((Executor::on(machine, archive), copy))
}

/// How far a witness' newest copy goes, and the hash over what led to it: for those who look at a
/// store while nobody runs on it. The archive is cut to what belongs to it.
///
/// # Errors
///
/// As at a start.
pub fn copied<E>(state: &AcceptorState, beside: Beside) -> Result<Digest, Error<E>> {
    let (_, newest) = newest(state, beside)?;
    let of = |snapshot: Snapshot| Digest { slot: snapshot.applied, hash: snapshot.hash };
    let nothing = Digest { slot: Slot(0), hash: Rolling::default().value() };
    Ok(newest.map_or(nothing, |(snapshot, _)| of(snapshot)))
}

/// The archive and the newest copy that it belongs to.
fn newest<E>(state: &AcceptorState, beside: Beside) -> Result<Found, Error<E>> {
    let mut archive = Archive::on(beside.shelf);
    let newest = beside.snapshots.into_iter().find_map(|(_, bytes)| {
        let snapshot = codec::decode::<Snapshot>(&bytes).ok()?;
        Some((snapshot, bytes))
    });
    let extent = newest.as_ref().map_or(Extent::default(), |(snapshot, _)| snapshot.archive);
    let is_needed = newest.as_ref().is_some_and(|(it, _)| it.applied >= state.trimmed());
    match archive.cut(extent) {
        Ok(()) => Ok((archive, newest)),
        Err(error) if is_needed => Err(error.into()),
        Err(_) => {
            archive.cut(Extent::default())?;
            Ok((archive, None))
        }
    }
}

/// An archive, and a snapshot with its bytes.
type Found = (Archive, Option<(Snapshot, Bytes)>);

/// Within so many election timeouts a witness that starts has heard what others hold: they tell
/// each.
const TOLD_ELECTIONS: u64 = 2;

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// Whether it runs no state machine.
    pub(super) fn is_witness(&self) -> bool {
        self.replica.config().is_witness()
    }

    /// How far this node's snapshot or copy goes: less is of no use to it.
    pub(super) fn reached(&self) -> Slot {
        let offered = self.keeping.offered.as_ref().map(Offered::slot).unwrap_or_default();
        self.executor.applied().max(offered)
    }

    /// Whether this is a witness whose log has grown beyond the set size.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        let held = self.replica.decided().since(self.replica.state().trimmed());
        self.is_witness() && held > self.keeping.pace.witness_log_slots
    }

    /// A command is decided: it stays in the log, and what comes from others is not needed any
    /// more, unless the log is too long.
    pub(super) fn witness_decided(&mut self) -> Result<(), Arc<ShelfError>> {
        if self.is_pressed() { Ok(()) } else { self.drop_transfer() }
    }

    /// What is missing here is gone from a peer's log. It need not come where a quorum holds it; a
    /// witness that starts hears of that soon.
    pub(super) fn on_witness_stranded(&mut self, peer: NodeId) {
        let timing = self.replica.config().timing;
        let is_told = self.keeping.now > timing.election_ticks * TOLD_ELECTIONS;
        if is_told && self.replica.held() <= self.replica.decided() {
            self.on_stranded(peer);
        }
    }

    /// Time passed: the log lets go of what others hold, but for a margin, or begins anew above it;
    /// or a copy is to come.
    pub(super) fn tick_witness(&mut self) {
        let (held, decided) = (self.replica.held(), self.replica.decided());
        let below = Slot(held.0.saturating_sub(self.keeping.pace.margin_slots));
        if self.replica.state().trimmed() < below.min(decided) {
            self.first.push(Input::Trim(below));
        }
        if self.replica.is_stranded() && held > decided {
            self.tap.hear(Heard::Installed(held));
            self.first.push(Input::Install(held));
        } else if self.is_pressed()
            && let Some(giver) = self.giver()
        {
            self.on_stranded(giver);
        }
    }

    /// Who has a newer snapshot than the copy here: the one that told of the most, but another than
    /// is asked now, should that one be silent.
    fn giver(&self) -> Option<NodeId> {
        let (reached, trimmed) = (self.reached(), self.replica.state().trimmed());
        // Whoever tells of a snapshot has a newer one beside it.
        let has_newer = |(_, below): &(NodeId, Slot)| *below >= reached && *below > trimmed;
        let asked = self.keeping.transfer.as_ref().map(|transfer| transfer.source());
        let holders = self.replica.holders().filter(has_newer);
        holders.max_by_key(|(node, below)| (Some(*node) != asked, *below)).map(|(node, _)| node)
    }
}
