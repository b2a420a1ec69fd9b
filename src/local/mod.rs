//! A cluster of child processes on this machine: the one kill rig.
//!
//! The master program, demos, benches and every test of processes start, kill and restart nodes
//! through here, so that what a test kills is what a person would run: the same binary, its own
//! store, a socket. Nothing reaches into a child but signals, sockets and pipes.
//!
//! **Architecture invariant:** whatever ends the rig, a panic or a SIGKILL included, takes all
//! children with it; its ports and folder are then free for the next one.

mod ask;
pub mod driven;
pub mod driver;
pub mod folder;
pub mod idle;
mod lost;
pub mod place;
pub mod ports;
pub mod process;
pub mod rig;
pub mod tied;

pub use ask::Pause;
pub use driven::Driven;
pub use idle::Verdict;
pub use place::Place;
pub use rig::{Error, Options, Rig};
