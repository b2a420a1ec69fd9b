//! A snapshot: all that applying the log up to a slot led to, but for the archive, whose extent it
//! names.
//!
//! Every node takes its snapshots at the same slots, and applying is deterministic: so two nodes'
//! snapshots at a slot are the same bytes, and a transfer that one node began another can finish.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sessions::Sessions;
use super::shelf::Extent;
use crate::paxos::{Digest, Slot};

/// What an executor is made of at a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every slot below was applied.
    pub applied: Slot,
    /// The latest time that any command told, in milliseconds since 1970.
    pub time_ms: u64,
    /// The rolling hash over all that was applied.
    pub hash: u64,
    /// The hash of the whole state at the last checkpoint.
    pub checkpoint: Option<Digest>,
    /// The archive as it was then.
    pub archive: Extent,
    /// The sessions of all clients.
    pub sessions: Sessions,
    /// The service's own state.
    pub machine: Bytes,
}
