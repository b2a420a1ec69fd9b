//! Bytes on sockets and disks: one codec, one frame, and what clients and nodes say to each other.
//!
//! **Architecture invariant:** nothing here panics, or allocates past its limit, on any bytes.

pub mod client;
pub mod codec;
pub mod drop;
pub mod frame;
pub mod hello;

#[cfg(test)]
mod golden;
