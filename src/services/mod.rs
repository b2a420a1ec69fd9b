//! Services: what people use on top of the log.
//!
//! **Architecture invariant:** a service knows nothing of Paxos: no ballot, no node, no disk. It is
//! a deterministic machine that takes bytes in slot order.

pub mod chat;
pub mod hosted;
pub mod lock;
pub mod poll;
pub mod printed;
pub mod word;
