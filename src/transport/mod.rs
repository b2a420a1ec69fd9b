//! TCP between processes: who may talk, in what order, and how much may wait.
//!
//! Between two nodes there is one connection a direction: each node dials every other for what it
//! says. So messages between two nodes arrive in the order sent, or the connection breaks and both
//! start again from what their disks say; the core repeats what matters. Nothing about safety
//! rests on this module.
//!
//! Bounded: frames, queues per peer, connections, and the time that a stranger may take to say who
//! it is.

pub mod incoming;
pub mod listener;
pub mod outgoing;

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// How long the other side may take to say who it is.
pub const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// A connection cut into frames.
pub type Frames = Framed<TcpStream, LengthDelimitedCodec>;
