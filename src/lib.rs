//! Indelible: persistent, recoverable Multi-Paxos nodes on a write-ahead log.

pub mod paxos;
pub mod wire;
