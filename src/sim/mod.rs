//! A cluster in one thread, from one `u64` seed: the real nodes under simulated weather.
//!
//! [`run`] builds a world of real [`Node`](crate::node::Node)s with simulated disks, network and
//! clients, lets faults happen, checks the invariants after every event, then lets the faults stop
//! and demands that everything outstanding is decided and every node catches up. Each seed draws
//! its own cluster size and its own intensity of each fault: uniform faults find little.
//!
//! **Architecture invariant:** no clock, no thread, no disk, no socket, no hash map; the same seed
//! is the same run, for ever.

mod checks;
mod client;
mod disk;
mod ending;
pub mod explore;
mod faults;
#[cfg(test)]
mod graphs;
pub mod history;
pub mod linear;
mod machine;
mod net;
mod queue;
mod room;
mod run;
mod trace;
pub mod weather;
pub mod witness;
mod world;

pub use run::{Findings, Total, run, run_in, run_many, run_told};
pub use trace::{HEADING, Line, Sink};
pub use weather::Weather;
pub use world::Report;
