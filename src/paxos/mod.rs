//! The core: Multi-Paxos as a value with one method.
//!
//! **Architecture invariant:** nothing here does IO, reads a clock, starts a thread or draws a
//! random number but from its seed. The same inputs give the same effects, for ever.

mod acceptor;
#[cfg(test)]
mod arbitrary;
mod asked;
pub mod ballot;
mod campaigning;
pub mod claims;
pub mod command;
mod commander;
pub mod concord;
pub mod config;
pub mod durable;
mod election;
mod holding;
mod intake;
pub mod invariants;
mod leader;
mod leading;
mod learner;
pub mod message;
pub mod notice;
mod pulse;
mod recalling;
mod rejoining;
pub mod replica;
mod scout;
mod sound;
mod standing;
mod stores;
mod suffrage;
pub mod tap;
mod trimming;

pub use ballot::{Ballot, Incarnation, NodeId, Slot};
pub use claims::{Claim, Ground};
pub use command::{ClientId, Command, Request, RequestNumber};
pub use concord::Difference;
pub use config::{Config, Limits, Timing};
pub use durable::{AcceptorState, Chain, Effects, Network, Persister, Record, Released, Wal};
pub use message::*;
pub use notice::{Notice, ReadId, Rejection};
pub use replica::{Input, Replica};
pub use standing::Tenure;
pub use tap::{Heard, Listener, Tap};

/// Values for tests all over the crate.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Ballot, ClientId, Command, Incarnation, NodeId, Request, RequestNumber};

    /// A ballot of a node whose store is the first.
    pub(crate) fn ballot(round: u64, node: u16) -> Ballot {
        Ballot { round, node: NodeId(node), incarnation: Incarnation(1) }
    }

    /// A client's request of this number, as a command.
    pub(crate) fn command(number: u64) -> Command {
        Command::Request(Request {
            client: ClientId(1),
            number: RequestNumber(number),
            low_water: RequestNumber(1),
            ttl_ms: 0,
            time_ms: 0,
            body: bytes::Bytes::new(),
        })
    }
}
