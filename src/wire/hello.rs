//! The first frame of every connection: who calls, and which cluster it means.

use serde::{Deserialize, Serialize};

use crate::paxos::{ClientId, Incarnation, NodeId};

/// The first bytes of every hello, so that a stray connection is told apart at once.
pub const MAGIC: [u8; 8] = *b"INDELIBL";

/// The version of the protocol; both ends must speak the same one.
pub const PROTOCOL: u16 = 3;

/// The first frame on a connection, from the side that dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// The cluster's name.
    pub cluster: String,
    /// What the caller is.
    pub caller: Caller,
}

/// What dials a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// Another node: the connection carries envelopes, from it to us only.
    Peer {
        /// Who it is.
        from: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// The store it speaks from.
        incarnation: Incarnation,
        /// Where it is: its cluster file may be another than ours.
        address: String,
    },
    /// A client, or a tool.
    Client {
        /// Its id.
        client: ClientId,
    },
}

/// The answer to a [`Hello`], before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// Go on.
    Welcome {
        /// The node that answers.
        node: NodeId,
        /// The leader it knows.
        leader: Option<NodeId>,
        /// Where members are that have told it, or that have moved.
        found: Vec<(NodeId, String)>,
    },
    /// Go away: the reason, in a sentence. The connection ends here.
    Refused(String),
    /// The caller is a node, and this newer store of it is on record: it must stop.
    Replaced(Incarnation),
}

impl Hello {
    /// A hello of this version.
    #[must_use]
    pub fn new(cluster: &str, caller: Caller) -> Hello {
        Hello { magic: MAGIC, protocol: PROTOCOL, cluster: cluster.to_owned(), caller }
    }
}
