//! The audit: whether what some stores hold can be what one cluster decided, proved or refuted.
//!
//! No node is asked. Each store's log is read once more, record by record ([`Ledger`]), and all
//! are held against each other and against what clients were told ([`compare`](fn@compare)). Either
//! every [`Invariant`] holds, and the [`Proof`] says how far, or the first that does not is told
//! with the records that break it ([`Refuted`]).
//!
//! What a store cannot know any more is no lie: a log that was trimmed, or a store that is not
//! given, may have held any vote. A slot whose majority could lie there is counted as undecided,
//! with the reason; only what no such vote could mend is refuted.
//!
//! Beside the stores there are traces: what a node did, in the order in which it did it
//! ([`trace`]).
//!
//! **Architecture invariant:** no IO, clock or thread. Records come as slices and archives as
//! shelves, so that tests and the simulator are audited by the same lines as disks are.
//!
//! Deliberately absent: trust in the protocol's code. Only a record's meaning is shared with it
//! ([`AcceptorState`](crate::paxos::AcceptorState)); what is lawful is said here once more.

mod archives;
mod compare;
mod ledger;
mod reader;
mod refuted;
mod slots;
mod standing;
mod tells;
#[cfg(test)]
mod tests;
pub mod trace;

pub use archives::Acknowledged;
pub use compare::{Book, Failed, Proof, compare};
pub use ledger::{Ledger, Read};
pub use refuted::{Exhibit, Place, Refuted};
pub use slots::Slots;

/// What is proved, or refuted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// PMMC A1, in each store by itself.
    A1,
    /// PMMC A2.
    A2,
    /// PMMC A3: nothing that counts is ever let go.
    A3,
    /// PMMC A4, over all stores.
    A4,
    /// PMMC A5, over all stores.
    A5,
    /// PMMC R1, over all logs and archives.
    R1,
    /// PMMC R2.
    R2,
    /// PMMC R3: the states that were applied.
    R3,
    /// PMMC R4.
    R4,
    /// Our own, on which phase 1 leans.
    Runs,
    /// Our own: a store that was replaced is never heard again.
    Incarnations,
    /// Our own: a store in the place of a lost one.
    Suffrage,
    /// Our own: what peers remember of a store.
    Pledges,
    /// What deciding is (PMMC 2.2).
    Majority,
    /// Our own, of sessions.
    Once,
    /// What clients were told.
    Acknowledged,
}

impl Invariant {
    /// All of them, in the order in which they are told.
    pub const ALL: [Invariant; 16] = [
        Invariant::A1,
        Invariant::A2,
        Invariant::A3,
        Invariant::A4,
        Invariant::A5,
        Invariant::R1,
        Invariant::R2,
        Invariant::R3,
        Invariant::R4,
        Invariant::Runs,
        Invariant::Incarnations,
        Invariant::Suffrage,
        Invariant::Pledges,
        Invariant::Majority,
        Invariant::Once,
        Invariant::Acknowledged,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Invariant::A1 => "A1",
            Invariant::A2 => "A2",
            Invariant::A3 => "A3",
            Invariant::A4 => "A4",
            Invariant::A5 => "A5",
            Invariant::R1 => "R1",
            Invariant::R2 => "R2",
            Invariant::R3 => "R3",
            Invariant::R4 => "R4",
            Invariant::Runs => "runs",
            Invariant::Incarnations => "incarnations",
            Invariant::Suffrage => "suffrage",
            Invariant::Pledges => "pledges",
            Invariant::Majority => "majority",
            Invariant::Once => "once",
            Invariant::Acknowledged => "acknowledged",
        }
    }

    /// What it says.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Invariant::A1 => "promises only grow, also over trims",
            Invariant::A2 => "nothing is accepted below the promise",
            Invariant::A3 => "trims lose nothing but what is decided",
            Invariant::A4 => "one value for a ballot and a slot",
            Invariant::A5 => "no later ballot changes what is decided",
            Invariant::R1 => "one decided value for a slot",
            Invariant::R2 => "no slot below a decided mark is missing",
            Invariant::R3 => "equal states and snapshots at equal slots",
            Invariant::R4 => "decided marks only rise",
            Invariant::Runs => "a run follows its predecessor, or what is decided",
            Invariant::Incarnations => "a replaced store is never heard again",
            Invariant::Suffrage => "a new store votes once others have testified",
            Invariant::Pledges => "no store holds less than others remember of it",
            Invariant::Majority => "a majority accepted what is decided, in one ballot",
            Invariant::Once => "no request is decided twice",
            Invariant::Acknowledged => "what was told stands at its slot on a majority",
        }
    }
}
