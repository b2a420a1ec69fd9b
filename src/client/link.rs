//! A connection to one node, from the client's side.
//!
//! Reading and writing are apart, and each step of either may be abandoned while it waits: a node
//! that has stopped reading must not keep its client from noticing that it has fallen silent.

use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::paxos::{ClientId, NodeId};
use crate::wire::client::{FromNode, ToNode};
use crate::wire::frame;
use crate::wire::hello::{Caller, Greeting, Hello};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers there.
    #[error("{0} does not answer: {1}")]
    Unreachable(String, String),
    /// Somebody answers, and says no.
    #[error("{0} refuses: {1}")]
    Refused(String, String),
    /// It broke, or what came over it was not ours.
    #[error("the connection to {0} broke: {1}")]
    Broken(String, String),
}

/// A connection whose other end is known.
#[derive(Debug)]
pub(super) struct Link {
    /// Who answered.
    pub(super) node: NodeId,
    /// The leader it named.
    pub(super) leader: Option<NodeId>,
    /// Where it has found the members.
    pub(super) found: Vec<(NodeId, String)>,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// What the node says.
#[derive(Debug)]
pub(super) struct Reader {
    address: String,
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
}

/// What is said to the node, and not yet written.
#[derive(Debug)]
pub(super) struct Writer {
    address: String,
    half: OwnedWriteHalf,
    unwritten: BytesMut,
}

impl Link {
    /// Dials and introduces itself: each within `patience`, as a stopped process is called by the
    /// kernel's grace and never greets.
    pub(super) async fn dial(
        address: &str,
        cluster: &str,
        client: ClientId,
        patience: Duration,
    ) -> Result<Link, LinkError> {
        let unreachable = |why: String| LinkError::Unreachable(address.to_owned(), why);
        let dialled = timeout(patience, TcpStream::connect(address)).await;
        let stream = dialled
            .map_err(|_| unreachable("no connection in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let (reading, half) = stream.into_split();
        let frames = FramedRead::new(reading, frame::codec(frame::ANSWER_BYTES_MAX));
        let mut reader = Reader { address: address.to_owned(), frames };
        let mut writer = Writer { address: address.to_owned(), half, unwritten: BytesMut::new() };
        writer.put(&Hello::new(cluster, Caller::Client { client }));
        let greeting = timeout(patience, async {
            writer.flush().await?;
            reader.read().await
        });
        match greeting.await.map_err(|_| unreachable("no greeting in time".to_owned()))?? {
            Greeting::Welcome { node, leader, found } => {
                Ok(Link { node, leader, found, reader, writer })
            }
            Greeting::Replaced(_) => Err(unreachable("it takes us for a node".to_owned())),
            Greeting::Refused(why) => Err(LinkError::Refused(address.to_owned(), why)),
        }
    }
}

impl Reader {
    /// The next message. Safe to abandon while it waits.
    pub(super) async fn next(&mut self) -> Result<FromNode, LinkError> {
        self.read().await
    }

    /// The first message of which `pick` makes something. Safe to abandon while it waits.
    pub(super) async fn find<T>(
        &mut self,
        pick: impl Fn(FromNode) -> Option<T>,
    ) -> Result<T, LinkError> {
        loop {
            if let Some(picked) = pick(self.next().await?) {
                return Ok(picked);
            }
        }
    }

    async fn read<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        let broken = |why: String| LinkError::Broken(self.address.clone(), why);
        match self.frames.next().await {
            Some(Ok(bytes)) => frame::open(&bytes).map_err(|error| broken(error.to_string())),
            Some(Err(error)) => Err(broken(error.to_string())),
            None => Err(broken("the other end closed it".to_owned())),
        }
    }
}

impl Writer {
    /// Puts a message behind what is unwritten.
    pub(super) fn say(&mut self, message: &ToNode) {
        self.put(message);
    }

    /// Whether everything that was said is written.
    pub(super) fn is_done(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Writes some of what is unwritten. Safe to abandon while it waits.
    pub(super) async fn write(&mut self) -> Result<(), LinkError> {
        let written = self.half.write(&self.unwritten).await;
        let count =
            written.map_err(|error| LinkError::Broken(self.address.clone(), error.to_string()))?;
        self.unwritten.advance(count);
        Ok(())
    }

    /// Writes all of it.
    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        while !self.is_done() {
            self.write().await?;
        }
        Ok(())
    }

    fn put<T: Serialize>(&mut self, value: &T) {
        let sealed = frame::seal(value);
        self.unwritten.put_u32(sealed.len() as u32);
        self.unwritten.put_slice(&sealed);
    }
}
