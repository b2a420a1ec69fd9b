//! A connection to one node, from the client's side.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::paxos::{ClientId, NodeId};
use crate::wire::client::{FromNode, ToNode};
use crate::wire::frame;
use crate::wire::hello::{Caller, Greeting, Hello};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
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
pub(super) struct Link {
    address: String,
    pub(super) node: NodeId,
    pub(super) leader: Option<NodeId>,
    reader: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    writer: FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>,
}

impl Link {
    /// Dials and introduces itself.
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
        let (reading, writing) = stream.into_split();
        let mut link = Link {
            address: address.to_owned(),
            node: NodeId(0),
            leader: None,
            reader: FramedRead::new(reading, frame::codec(frame::ANSWER_BYTES_MAX)),
            writer: FramedWrite::new(writing, frame::codec(frame::REQUEST_BYTES_MAX)),
        };
        let greeting = timeout(patience, link.greet(cluster, client)).await;
        match greeting.map_err(|_| unreachable("no greeting in time".to_owned()))?? {
            Greeting::Welcome { node, leader } => {
                (link.node, link.leader) = (node, leader);
                Ok(link)
            }
            Greeting::Refused(why) => Err(LinkError::Refused(address.to_owned(), why)),
        }
    }

    async fn greet(&mut self, cluster: &str, client: ClientId) -> Result<Greeting, LinkError> {
        let hello = Hello::new(cluster, Caller::Client { client });
        let sent = self.writer.send(frame::seal(&hello)).await;
        sent.map_err(|error| self.broken(&error))?;
        self.read().await
    }

    /// Queues a message; [`flush`](Link::flush) sends it.
    pub(super) async fn feed(&mut self, message: &ToNode) -> Result<(), LinkError> {
        let fed = self.writer.feed(frame::seal(message)).await;
        fed.map_err(|error| self.broken(&error))
    }

    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        let flushed = SinkExt::<bytes::Bytes>::flush(&mut self.writer).await;
        flushed.map_err(|error| self.broken(&error))
    }

    /// The next message. Safe to abandon while it waits.
    pub(super) async fn next(&mut self) -> Result<FromNode, LinkError> {
        self.read().await
    }

    async fn read<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        match self.reader.next().await {
            Some(Ok(bytes)) => frame::open(&bytes).map_err(|error| self.broken(&error)),
            Some(Err(error)) => Err(self.broken(&error)),
            None => Err(self.broken(&"the other end closed it")),
        }
    }

    fn broken(&self, why: &impl ToString) -> LinkError {
        LinkError::Broken(self.address.clone(), why.to_string())
    }
}
