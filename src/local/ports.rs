//! Ports for a cluster on this machine: free now, and kept from other rigs for the rig's life.
//!
//! A port must stay a node's own while the node is dead, or a restarted node could not return to
//! it. So ports lie outside the range from which the kernel hands out ephemeral ones, and a rig
//! takes a block of them: it binds an abstract unix socket named after the block, which every
//! other rig on the machine sees, and which goes when the rig's process goes, however it ends.
//! Programs that know nothing of this are met by trying to bind each port first.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

use socket2::{Domain, Protocol, Socket, Type};

/// The ports of a rig. Dropping them gives the block back.
#[derive(Debug)]
pub struct Ports {
    ports: Vec<u16>,
    /// The first of the block.
    block: u16,
    _reservation: UnixListener,
}

/// How many ports a block has: enough for the largest cluster, and some that others may hold.
const BLOCK: u16 = 100;

/// Below lie the ports of well-known services.
const LOWEST: u16 = 10_000;

/// What Linux uses unless told otherwise.
const EPHEMERAL_DEFAULT: Range<u32> = 32_768..61_000;

impl Ports {
    /// Takes `count` ports on the loopback address.
    ///
    /// # Errors
    ///
    /// If there are not so many left in any block.
    pub fn reserve(count: usize) -> io::Result<Ports> {
        let blocks = blocks(&ephemeral());
        let start = fastrand::usize(..blocks.len().max(1));
        for at in 0..blocks.len() {
            let first = blocks[(start + at) % blocks.len()];
            if let Some(ports) = Ports::of_block(first, count) {
                return Ok(ports);
            }
        }
        let reason = format!("no {count} free ports outside the ephemeral range");
        Err(io::Error::new(io::ErrorKind::AddrInUse, reason))
    }

    /// The port of the node with this index.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[must_use]
    pub fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// The ports of the block that are free now, but for those that were taken.
    pub fn others(&self) -> impl Iterator<Item = u16> {
        let block = self.block..self.block + BLOCK;
        block.filter(|port| !self.ports.contains(port) && is_free(*port))
    }

    fn of_block(first: u16, count: usize) -> Option<Ports> {
        let name = UnixAddr::from_abstract_name(format!("indelible-ports-{first}")).ok()?;
        let reservation = UnixListener::bind_addr(&name).ok()?;
        let free = (first..first + BLOCK).filter(|port| is_free(*port));
        let ports: Vec<u16> = free.take(count).collect();
        (ports.len() == count).then_some(Ports { ports, block: first, _reservation: reservation })
    }
}

/// Whether a node could listen there. A bind alone does not ask whether somebody listens on all
/// addresses with the same option; listening does.
fn is_free(port: u16) -> bool {
    let try_port = || -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(1)
    };
    try_port().is_ok()
}

/// The first ports of all blocks that lie outside the ephemeral range; of all blocks, if that range
/// leaves none.
fn blocks(ephemeral: &Range<u32>) -> Vec<u16> {
    let starts = || (LOWEST..=u16::MAX - BLOCK).step_by(usize::from(BLOCK));
    let outside = |first: &u16| {
        let (first, end) = (u32::from(*first), u32::from(*first) + u32::from(BLOCK));
        end <= ephemeral.start || first >= ephemeral.end
    };
    let found: Vec<u16> = starts().filter(outside).collect();
    if found.is_empty() { starts().collect() } else { found }
}

fn ephemeral() -> Range<u32> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| parse_range(&text))
        .unwrap_or(EPHEMERAL_DEFAULT)
}

fn parse_range(text: &str) -> Option<Range<u32>> {
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(low..high + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn blocks_lie_outside_the_ephemeral_range() {
        let range = parse_range("32768\t60999\n").expect("as the kernel prints it");
        assert_eq!(range, EPHEMERAL_DEFAULT);
        let found = blocks(&range);
        assert!(found.len() > 200);
        for first in found {
            let (first, last) = (u32::from(first), u32::from(first + BLOCK - 1));
            assert!(last < range.start || first >= range.end, "{first}..={last}");
        }
        assert!(!blocks(&(1024..65536)).is_empty(), "better a contested port than none");
    }

    #[test]
    fn two_rigs_never_share_a_port() {
        let rigs: Vec<Ports> = (0..20).map(|_| Ports::reserve(63).expect("ports")).collect();
        let all: Vec<u16> = rigs.iter().flat_map(|rig| rig.ports.clone()).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_block_is_taken_once_and_given_back() {
        let ports = Ports::reserve(1).expect("ports");
        let first = LOWEST + (ports.port(0) - LOWEST) / BLOCK * BLOCK;
        assert!(Ports::of_block(first, 1).is_none());
        for _ in 0..3 * blocks(&ephemeral()).len() {
            Ports::reserve(1).expect("blocks that were given back");
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let stranger = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = stranger.local_addr().expect("an address").port();
        assert!(!is_free(port));
        let everywhere = TcpListener::bind("0.0.0.0:0").expect("a listener");
        assert!(!is_free(everywhere.local_addr().expect("an address").port()));
    }
}
