//! The disk: what it takes until something is really there.
//!
//! The only module that syncs, locks or replaces files, and the only home of `unsafe` (one file).
//! What is synced here is synced with `fdatasync` or `fsync` on a descriptor of our own, once: an
//! error of a sync is final, because the kernel reports it once and may have dropped the data
//! (Rebello et al., ATC '20).

pub mod ballast;
pub mod hook;
pub mod lock;
pub mod slots;
pub mod sync;
pub mod verdict;
