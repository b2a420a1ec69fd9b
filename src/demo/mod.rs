//! Demonstrations: what a person would do to convince themselves, played and checked.
//!
//! Each play starts a cluster of real processes, tells in plain sentences what it does, and ends
//! with a proof that could fail.

mod executed;
pub mod kill;
pub mod locks;
pub mod lost_disk;
pub mod polls;
mod program;
pub mod proof;
mod stage;
pub mod storm;
pub mod views;

use std::io;
use std::path::PathBuf;

use crate::local;

/// What a play is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the run's folder is made.
    pub data: PathBuf,
    /// Whether it stays.
    pub keep: bool,
    /// The binary of this crate.
    pub program: PathBuf,
}

impl Options {
    /// So many nodes of the play.
    fn rig(&self, nodes: u16) -> local::Options {
        local::Options {
            nodes,
            data: self.data.clone(),
            keep: self.keep,
            program: self.program.clone(),
            allow_faults: false,
            log: "info".to_owned(),
        }
    }
}

/// Why a play did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster could not be made.
    #[error(transparent)]
    Rig(#[from] local::Error),
    /// The operating system refused something.
    #[error("{0}")]
    System(#[from] io::Error),
    /// What should have held did not.
    #[error("the proof fails: {0}")]
    Refuted(String),
    /// There is no such step.
    #[error("no step is called {0}; there are {names}", names = views::names_of_all())]
    NoStep(String),
}

fn refuted(why: impl Into<String>) -> Error {
    Error::Refuted(why.into())
}
