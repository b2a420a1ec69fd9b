//! The network of a node's thread, and the bomb that a harness can put in it.
//!
//! A leader with a bomb kills itself right after its Nth Prepare or Accept to another node: that
//! one is in the socket, and nothing after it ever will be. It stands here because only here is it
//! known what leaves, and in which order.

use std::time::{Duration, Instant};

use crate::paxos::{Message, Network, NodeId, Released};
use crate::transport::outgoing::Outgoing;

/// The ways to the peers, and perhaps a bomb.
pub(super) struct Ways {
    peers: Vec<(NodeId, Outgoing)>,
    fuse: Option<u64>,
}

/// How long the last messages may take to reach their sockets.
const LAST_WORDS: Duration = Duration::from_millis(200);

impl Ways {
    pub(super) fn new(peers: Vec<(NodeId, Outgoing)>) -> Ways {
        Ways { peers, fuse: None }
    }

    /// Kills the process after so many Prepares and Accepts to other nodes; at once if 0.
    pub(super) fn arm(&mut self, fuse: u64) {
        if fuse == 0 {
            self.explode();
        }
        self.fuse = Some(fuse);
    }

    /// Waits until what was sent is in the sockets, then kills this process.
    fn explode(&self) {
        let until = Instant::now() + LAST_WORDS;
        while self.peers.iter().any(|(_, way)| way.pending() > 0) && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(100));
        }
        loop {
            // Nobody survives this; where it is refused there is nothing better to do than to try
            // again.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Network for Ways {
    fn send(&mut self, released: Released) {
        for envelope in released.into_messages() {
            let counts = matches!(envelope.message, Message::Prepare(_) | Message::Accept(_));
            if let Some((_, way)) = self.peers.iter().find(|(id, _)| *id == envelope.to) {
                way.send(envelope);
            }
            if counts && let Some(left) = self.fuse.as_mut() {
                *left -= 1;
                if *left == 0 {
                    self.explode();
                }
            }
        }
    }
}
