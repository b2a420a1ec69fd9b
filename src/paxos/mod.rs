//! The core: Multi-Paxos as a value with one method.
//!
//! **Architecture invariant:** nothing here does IO, reads a clock, starts a thread or draws a
//! random number but from its seed. The same inputs give the same effects, for ever.

pub mod ballot;
pub mod command;
pub mod durable;
pub mod message;
pub mod notice;

pub use ballot::{Ballot, Incarnation, NodeId, Slot};
pub use command::{ClientId, Command, Request, RequestNumber};
pub use durable::{AcceptorState, Effects, Network, Persister, Record, Released, Wal};
pub use message::*;
pub use notice::{Notice, ReadId, Rejection};
