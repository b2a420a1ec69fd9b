//! Traces: what a node did, in the order in which it did it, a JSON object a line.
//!
//! Stores tell what was written; only a trace tells *when*, beside what was said. [`Teller`] makes
//! its lines of what a [`Tap`](crate::paxos::Tap) hears, and [`Replay`] goes through them again:
//! whatever leaves claims nothing that the disk was not said to hold by then.
//!
//! | line | what |
//! |---|---|
//! | `{"started": {..}}` | a node starts, with this on its disk; records are counted anew |
//! | `{"recorded": [n, {..}]}` | record n goes to the log: without the values of slots |
//! | `{"synced": n}` | the log says that it holds the n records before |
//! | `{"sent": {..}}` | a message leaves; and what it claims, if anything |
//! | `{"decided": s}`, `{"applied": s}` | slot s is decided, or applied |
//! | `{"installed": s}` | a snapshot takes the place of everything below slot s |

mod line;
mod replay;
#[cfg(test)]
mod tests;

pub use line::{Line, Sent, Started, Teller, Written};
pub use replay::{Broken, Replay, Replayed, Rule};
