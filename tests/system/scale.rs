//! How much is done: little in `make test`, more in the soak; and from which seed.
//!
//! `INDELIBLE_SOAK=1` asks for the full counts. `INDELIBLE_SEED=n` repeats a run; without it the
//! seed is drawn, and always printed.

use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Random scripts for the master.
pub(crate) fn scripts() -> u64 {
    if soak() { 200 } else { 20 }
}

/// Random kills in the storm.
pub(crate) fn kills() -> u32 {
    if soak() { 100 } else { 15 }
}

/// Kills in the middle of snapshots, trims and transfers.
pub(crate) fn ledger_kills() -> u32 {
    if soak() { 200 } else { 15 }
}

/// Disks that are wiped, set back or damaged under load.
pub(crate) fn lost_disks() -> u32 {
    if soak() { 200 } else { 15 }
}

/// Locks and unlocks of all sessions together.
pub(crate) fn lock_operations() -> u64 {
    if soak() { 20_000 } else { 2_000 }
}

/// Replicas and clients of the poll service that are killed.
pub(crate) fn poll_kills() -> u32 {
    if soak() { 500 } else { 30 }
}

/// Replicas of the poll service that are killed, and started again by the other.
pub(crate) fn revivals() -> u32 {
    if soak() { 30 } else { 4 }
}

/// How long replicas are killed in turn.
pub(crate) fn rounds() -> Duration {
    Duration::from_secs(if soak() { 60 } else { 10 })
}

/// How many times as many messages as at least are sent where packets are lost.
pub(crate) fn lossy_times() -> usize {
    if soak() { 5 } else { 1 }
}

/// Replies of simulated nodes that are held against their disks.
pub(crate) fn traced_replies() -> u64 {
    if soak() { 1_000_000 } else { 20_000 }
}

/// Power cuts of one store.
pub(crate) fn cuts() -> u32 {
    if soak() { 300 } else { 20 }
}

/// The sync of a node that fails: the n-th, for each n up to this.
pub(crate) fn failing_syncs() -> u64 {
    if soak() { 40 } else { 8 }
}

/// Bytes written to a log and trimmed in turn.
pub(crate) fn growth_bytes() -> u64 {
    if soak() { 1 << 30 } else { 128 << 20 }
}

/// Whether the full counts are asked for.
pub(crate) fn soak() -> bool {
    std::env::var_os("INDELIBLE_SOAK").is_some_and(|soak| !soak.is_empty() && soak != "0")
}

/// The seed of this run: whatever a trial draws comes from it.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("INDELIBLE_SEED") {
        Ok(text) => text.trim().parse().expect("INDELIBLE_SEED is a number below 2^64"),
        Err(_) => fastrand::u64(..),
    })
}

/// Says how this run can be repeated.
pub(crate) fn announce() {
    let full = if soak() { " INDELIBLE_SOAK=1" } else { "" };
    eprintln!("the seed of this run: INDELIBLE_SEED={}{full}", seed());
}

/// Trials that measure time run alone; all that start a cluster hold the other side.
static ALONE: RwLock<()> = RwLock::new(());

/// Held by a trial beside which others may run.
pub(crate) fn beside() -> RwLockReadGuard<'static, ()> {
    ALONE.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Held by a trial that measures time.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    ALONE.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}
