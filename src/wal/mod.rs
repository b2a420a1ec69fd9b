//! Stable storage: the write-ahead log under an acceptor.
//!
//! [`Store`] keeps it on disk, in sled; [`MemoryWal`] in memory, for tests. Both pass the same
//! contract (`contract`).
//!
//! **Architecture invariant:** the only module that names sled.

pub mod contract;
pub mod error;
mod format;
mod group;
mod high_water;
pub mod identity;
pub(crate) mod ledger;
pub mod memory;
mod mending;
mod sled_log;
pub mod store;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use identity::Identity;
pub use memory::MemoryWal;
pub use sled_log::fatal_line;
pub use store::{Options, Recovery, Store};
