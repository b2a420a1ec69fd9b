//! TCP between processes: who may talk, in what order, and how much may wait.
//!
//! Between two nodes there is one connection a direction: each node dials every other for what it
//! says. So messages between two nodes arrive in the order sent, or the connection breaks and both
//! start again from what their disks say; the core repeats what matters. Nothing about safety
//! rests on this module.
//!
//! Where the others are is in the address book: the cluster file is where it begins, hellos and
//! greetings keep it up to date.
//!
//! Bounded: frames, queues per peer, connections, and the time that a stranger may take to say who
//! it is.

pub mod book;
pub mod incoming;
pub mod listener;
pub mod outgoing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// How long the other side may take to say who it is.
pub const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// A connection cut into frames.
pub type Frames = Framed<TcpStream, LengthDelimitedCodec>;

/// A connection whose other end has vanished without a word (a machine that lost its power) is
/// given up after about this long.
const VANISHED: Duration = Duration::from_secs(20);

/// Sets what every connection has: no delay of small writes, and an end when the other end has
/// vanished.
///
/// # Errors
///
/// If the connection is over already.
pub fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(VANISHED / 2).with_interval(VANISHED / 8);
    socket.set_tcp_keepalive(&keepalive.with_retries(4))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(VANISHED))?;
    Ok(())
}
