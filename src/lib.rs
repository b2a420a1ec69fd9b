//! Indelible: persistent, recoverable Multi-Paxos nodes on a write-ahead log.

pub mod cli;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod local;
pub mod master;
pub mod node;
pub mod paxos;
pub mod rsm;
pub mod server;
pub mod services;
pub mod sim;
pub mod transport;
pub mod wal;
pub mod wire;
