//! A cluster in one thread, from one `u64` seed: the real nodes under simulated weather.
//!
//! [`run`](fn@run) builds a world of real [`Node`](crate::node::Node)s, with links, disks, clocks
//! and clients that fail (`faults`, `net`, `disk`), each seed in its own way (`weather`). After
//! every event the invariants are checked (`checks`, `astray`); at the end the faults stop, and in
//! bounded time everything outstanding must be decided and known to all (`ending`). What clients
//! saw is judged twice: in the order of the slots ([`witness`]), and without them ([`linear`]).
//!
//! In one seed of two there are holders, too (`holder`), whose sessions end when they are silent,
//! and who take locks in them. What they believe is held against what is decided (`locked`), and
//! what they are answered against a table that follows from the answers alone (`tenants`).
//!
//! In one seed of four there are voters (`voter`), with a file of results each and clocks that
//! differ (`clocks`). How each poll comes out follows from the log (`returns`), and what stands in
//! the files is held against that (`polled`).
//!
//! Beside the seeds stand two things that leave nothing to chance: [`explore`] takes every
//! interleaving of a small world, and `graphs` every way in which five nodes can be connected.
//! `transfers` crashes a node again and again while it gets a snapshot, `pressed` takes one replica
//! after the other from a witness that has to let go of its log.
//!
//! **Architecture invariant:** no clock, no thread, no disk, no socket, no hash map; the same seed
//! is the same run, for ever.

mod astray;
mod audited;
mod belief;
mod brought;
mod checks;
mod claims;
mod client;
mod clocks;
mod disk;
mod drawer;
mod ending;
pub mod explore;
mod faults;
#[cfg(test)]
mod graphs;
pub mod history;
mod holder;
mod holdings;
mod kept;
pub mod linear;
mod locked;
mod machine;
mod net;
mod orphan;
mod parties;
mod polled;
mod polling;
#[cfg(test)]
mod pressed;
mod queue;
mod rebirth;
mod report;
mod returns;
mod room;
mod rot;
mod run;
mod shelf;
mod stores;
mod tenancy;
mod tenants;
mod trace;
#[cfg(test)]
mod transfers;
mod voter;
mod votes;
pub mod weather;
pub mod witness;
mod world;

pub use report::Report;
pub use run::{Findings, Total, run, run_in, run_many, run_told};
pub use trace::{Ears, HEADING, Line, Sink, Tracer};
pub use weather::Weather;
