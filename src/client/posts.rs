//! Requests that go by another node than the one that the session talks to.
//!
//! Such a node passes a request on to whoever leads, and tells the reply when it has applied it
//! itself. All of this may get lost, with the node or on the way: then the session says the request
//! again, where it talks. So nothing is repeated here, and nothing is waited for: a node that does
//! not answer its call costs the requests that were to go there some time, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;

use super::link::{Link, LinkError};
use crate::cluster::Cluster;
use crate::paxos::{ClientId, NodeId, Request};
use crate::wire::client::{FromNode, ToNode};

/// By which node a request goes first. What is unanswered is said again to whoever leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// By the one that leads.
    #[default]
    Leader,
    /// By any, each time another.
    Random,
    /// By the one that a hash of the request gives, modulo the number of nodes.
    Hash,
    /// By this one.
    Node(NodeId),
}

/// Requests that wait for a call to be answered; more are dropped.
const WAITING_MAX: usize = 256;

/// How long a node may take to answer a call.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);

/// What other nodes said that waits to be taken.
const HEARD_MAX: usize = 1024;

/// The other nodes, as far as anything went by them.
#[derive(Debug)]
pub(super) struct Posts {
    way: Way,
    /// Who gets a copy of each new request beside that.
    copies: BTreeSet<NodeId>,
    client: ClientId,
    open: BTreeMap<NodeId, mpsc::Sender<ToNode>>,
    hand_in: mpsc::Sender<FromNode>,
    heard: mpsc::Receiver<FromNode>,
}

impl Way {
    /// The node of so many by which a request goes; `None`: the one that leads.
    fn pick(self, request: &Request, members: u16) -> Option<NodeId> {
        match self {
            Way::Leader => None,
            Way::Random => Some(NodeId(fastrand::u16(..members))),
            Way::Hash => Some(NodeId((crc32fast::hash(&request.body) % u32::from(members)) as u16)),
            Way::Node(node) => Some(node),
        }
    }
}

impl Posts {
    pub(super) fn new(way: Way, client: ClientId) -> Posts {
        let (hand_in, heard) = mpsc::channel(HEARD_MAX);
        Posts { way, copies: BTreeSet::new(), client, open: BTreeMap::new(), hand_in, heard }
    }

    /// Whether requests may overtake each other.
    pub(super) fn are_used(&self) -> bool {
        self.way != Way::Leader
    }

    /// From now on these nodes get a copy of each new request.
    pub(super) fn copy_to(&mut self, nodes: BTreeSet<NodeId>) {
        self.copies = nodes;
    }

    /// Sends a new request by another node, if it is to go by another; or gives it back. Its copies
    /// go anyway.
    pub(super) fn post(
        &mut self,
        message: ToNode,
        here: NodeId,
        cluster: &Cluster,
        found: &BTreeMap<NodeId, String>,
    ) -> Option<ToNode> {
        let ToNode::Request(request) = message else { return Some(message) };
        let picked = self.way.pick(&request, cluster.members()).filter(|node| *node != here);
        let copies = self.copies.iter().copied().filter(|node| *node != here);
        let nodes: BTreeSet<NodeId> = copies.chain(picked).collect();
        let mut is_sent = false;
        for node in nodes {
            let posted = self.post_to(node, &request, cluster, found);
            is_sent |= posted && picked == Some(node);
        }
        (!is_sent).then_some(ToNode::Request(request))
    }

    /// Sends it by this node, if there is such a one.
    fn post_to(
        &mut self,
        node: NodeId,
        request: &Request,
        cluster: &Cluster,
        found: &BTreeMap<NodeId, String>,
    ) -> bool {
        let Some(member) = cluster.member(node) else { return false };
        let post = self.open.get(&node).filter(|post| !post.is_closed()).cloned();
        let post = post.unwrap_or_else(|| {
            let address = found.get(&node).unwrap_or(&member.address).clone();
            let (post, posted) = mpsc::channel(WAITING_MAX);
            let (name, heard) = (cluster.identity(), self.hand_in.clone());
            tokio::spawn(carry(address, name, self.client, posted, heard));
            self.open.insert(node, post.clone());
            post
        });
        // If it does not keep up, the session says it again elsewhere.
        let _ = post.try_send(ToNode::Post(request.clone()));
        true
    }

    /// The next thing that another node said. Safe to abandon while it waits.
    pub(super) async fn next(&mut self) -> FromNode {
        match self.heard.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

/// One other node, until it fails or nobody posts any more.
async fn carry(
    address: String,
    cluster: String,
    client: ClientId,
    mut posted: mpsc::Receiver<ToNode>,
    heard: mpsc::Sender<FromNode>,
) {
    let carried = async {
        let mut link = Link::dial(&address, &cluster, client, DIAL_PATIENCE).await?;
        loop {
            let is_written = link.writer.is_done();
            tokio::select! {
                message = link.reader.next() => match message? {
                    message @ (FromNode::Reply { .. } | FromNode::Notice { .. }) => {
                        // A client that takes no more hears it where its session talks.
                        let _ = heard.try_send(message);
                    }
                    FromNode::Leader(_)
                    | FromNode::Queued(_)
                    | FromNode::Rejected { .. }
                    | FromNode::Entries { .. }
                    | FromNode::Answer { .. }
                    | FromNode::Status { .. }
                    | FromNode::Done { .. }
                    | FromNode::Pulse
                    | FromNode::Alive { .. }
                    | FromNode::Ended
                    | FromNode::Guests { .. }
                    | FromNode::Left { .. } => (),
                },
                message = posted.recv() => match message {
                    Some(message) => link.writer.say(&message),
                    None => return Ok::<(), LinkError>(()),
                },
                written = link.writer.write(), if !is_written => written?,
            }
        }
    };
    if let Err(error) = carried.await {
        tracing::debug!(%client, "by another node: {error}");
    }
}
