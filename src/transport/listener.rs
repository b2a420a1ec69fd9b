//! The listener: a port that is ours, again and again.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("address {0} is taken: another process listens there (or choose another port)")]
    Taken(String),
    /// The name means nothing here.
    #[error("address {0} cannot be resolved: {1}")]
    Unknown(String, io::Error),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Other(String, io::Error),
}

/// Listens on an address of the cluster file, at the first of its meanings that is on this machine.
/// A port that this node has just left is free for it again (SO_REUSEADDR).
///
/// # Errors
///
/// If the name means nothing, is not of this machine, or the port is taken.
pub fn listen(address: &str) -> Result<TcpListener, Error> {
    let meanings =
        address.to_socket_addrs().map_err(|error| Error::Unknown(address.to_owned(), error))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for meaning in meanings {
        match bind(meaning) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    if last.kind() == io::ErrorKind::AddrInUse {
        return Err(Error::Taken(address.to_owned()));
    }
    Err(Error::Other(address.to_owned(), last))
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_to_be_taken() {
        let first = listen("127.0.0.1:0").expect("any port");
        let address = first.local_addr().expect("bound").to_string();
        let error = listen(&address).expect_err("taken");
        assert!(matches!(error, Error::Taken(_)), "{error}");
        drop(first);
        listen(&address).expect("free again at once");
    }

    #[tokio::test]
    async fn six_is_an_address_too() {
        let listener = listen("[::1]:0").expect("any port");
        assert!(listener.local_addr().expect("bound").is_ipv6());
    }
}
