//! The replicated state machine's side: what decided commands do.
//!
//! **Architecture invariant:** applying is total and deterministic. Time, chance and errors come
//! inside the command or go out as replies, never from the node that applies.

pub mod archive;
pub mod executor;
pub mod flipped;
pub mod hash;
pub mod machine;
pub mod sessions;
pub mod shelf;
pub mod snapshot;

pub use archive::Archive;
pub use executor::{Applied, Executor, Fate};
pub use flipped::{Flip, Flipped};
pub use hash::Rolling;
pub use machine::{Notice, StateMachine, Turn};
pub use sessions::{Outcome, Sessions};
pub use shelf::{Extent, Keep, Kept, MemoryShelf, Shelf, ShelfError};
pub use snapshot::Snapshot;
