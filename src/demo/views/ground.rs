//! The ground of a play: where its replicas stand, and who loses their messages.

use std::io;

use crate::local::{self, Rig};

/// Where replicas stand. A play makes them anew for each cluster; the ones before are gone then.
pub trait Ground {
    /// Makes the replicas, with their stores. Starts nothing.
    ///
    /// # Errors
    ///
    /// If they cannot be made.
    fn rig(&mut self, options: local::Options) -> Result<Rig, local::Error>;

    /// Has the network lose this share of all that the replicas of the last rig and their clients
    /// send to each other. What it cannot lose it returns, for the processes to lose themselves.
    ///
    /// # Errors
    ///
    /// If the network cannot be told.
    fn lose(&mut self, share: f64) -> io::Result<f64>;
}

/// Ports of this machine's loopback. It loses nothing.
#[derive(Clone, Copy, Debug)]
pub struct Loopback;

impl Ground for Loopback {
    fn rig(&mut self, options: local::Options) -> Result<Rig, local::Error> {
        Rig::format(options)
    }

    fn lose(&mut self, share: f64) -> io::Result<f64> {
        Ok(share)
    }
}
