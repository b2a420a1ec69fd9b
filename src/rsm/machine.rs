//! The interface of a service: a deterministic state machine (Schneider 1990).

use super::archive::Archive;
use crate::paxos::Slot;

/// A service that can be replicated.
///
/// There is no `Result`: what a user did wrong is a reply. The same commands in the same slots give
/// the same state, replies and archive on every node and for ever: no clock, no chance, no
/// iteration over hash maps.
pub trait StateMachine {
    /// Applies one command and returns the reply. Total: any bytes will do.
    fn apply(&mut self, at: Slot, command: &[u8], archive: &mut Archive) -> Vec<u8>;

    /// Answers a question without changing anything. Total: any bytes will do.
    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8>;

    /// The whole state but the archive: small, and the same bytes on every node that applied the
    /// same. Nodes compare hashes of it, and whoever has other bytes than a majority stops.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes the state of a snapshot that [`snapshot`](StateMachine::snapshot) made.
    fn restore(&mut self, snapshot: &[u8]);
}
