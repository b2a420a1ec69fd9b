//! A probe: asks one given node how it is, or gives it an order. For tools and harnesses.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::Page;
use super::link::{Link, LinkError};
use crate::cluster::{Cluster, Member};
use crate::paxos::{ClientId, NodeId, Slot};
use crate::wire::client::{FromNode, NodeStatus, Order, ToNode};

/// A connection to one node for questions.
#[derive(Debug)]
pub struct Probe {
    link: Link,
    address: String,
    /// Where the node has found the members.
    found: Vec<(NodeId, String)>,
    patience: Duration,
    asked: u64,
    /// Where the next page of the archive begins that the node will send unasked.
    due: Option<Slot>,
}

impl Probe {
    /// Dials a node of a cluster.
    ///
    /// # Errors
    ///
    /// If it does not answer within `patience`, or refuses.
    pub async fn dial(
        address: &str,
        cluster: &str,
        patience: Duration,
    ) -> Result<Probe, LinkError> {
        let client = ClientId(uuid::Uuid::new_v4().as_u128());
        let link = Link::dial(address, cluster, client, patience).await?;
        let (address, found) = (address.to_owned(), link.found.clone());
        Ok(Probe { link, address, found, patience, asked: 0, due: None })
    }

    /// Dials a member where the cluster has it; or, if it does not answer there, where the others
    /// say that it is.
    ///
    /// # Errors
    ///
    /// If it does not answer within `patience` there, or refuses.
    pub async fn find(
        cluster: &Cluster,
        member: &Member,
        patience: Duration,
    ) -> Result<Probe, LinkError> {
        let name = &cluster.identity();
        let error = match Probe::dial(&member.address, name, patience).await {
            Ok(probe) if probe.link.node == member.id => return Ok(probe),
            Ok(probe) => {
                let why = format!("{} answers there", probe.link.node);
                LinkError::Unreachable(member.address.clone(), why)
            }
            Err(error) => error,
        };
        let others = cluster.nodes.iter().filter(|other| other.id != member.id);
        let asking = others.map(|other| Probe::dial(&other.address, name, patience));
        let told = join_all(asking).await.into_iter().flatten().flat_map(|probe| probe.found);
        let found: BTreeSet<String> =
            told.filter(|(node, _)| *node == member.id).map(|(_, address)| address).collect();
        for address in found {
            if let Ok(probe) = Probe::dial(&address, name, patience).await
                && probe.link.node == member.id
            {
                return Ok(probe);
            }
        }
        Err(error)
    }

    /// Where it was reached.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How is the node?
    ///
    /// # Errors
    ///
    /// If it does not say so in time; the probe is of no use any more.
    pub async fn status(&mut self) -> Result<NodeStatus, LinkError> {
        self.asked += 1;
        let asked = self.asked;
        // Asked again now and then, as the node may have been told to lose what it says.
        self.ask(ToNode::Status { id: asked }, Some(self.patience / 10), |answer| {
            let FromNode::Status { id, status } = answer else { return None };
            (id == asked).then_some(status)
        })
        .await
    }

    /// Which clients are connected to the node?
    ///
    /// # Errors
    ///
    /// As for [`Probe::status`].
    pub async fn guests(&mut self) -> Result<Vec<ClientId>, LinkError> {
        self.asked += 1;
        let asked = self.asked;
        self.ask(ToNode::Guests { id: asked }, Some(self.patience / 10), |answer| {
            let FromNode::Guests { id, sessions } = answer else { return None };
            (id == asked).then_some(sessions)
        })
        .await
    }

    /// Gives an order, once; the inner error is the node's reason not to obey.
    ///
    /// # Errors
    ///
    /// If it does not answer in time, as a node does that was ordered to die.
    pub async fn order(&mut self, order: Order) -> Result<Result<(), String>, LinkError> {
        self.asked += 1;
        let asked = self.asked;
        self.ask(ToNode::Order { id: asked, order }, None, |answer| {
            let FromNode::Done { id, result } = answer else { return None };
            (id == asked).then_some(result)
        })
        .await
    }

    /// The page of the archive that begins at this slot. Pages are best asked for in their order
    /// and without long pauses: a node sends on what follows, and hangs up on whoever leaves it
    /// lying. One that does not come is asked for again, as the node may have been told to lose
    /// what it says.
    ///
    /// # Errors
    ///
    /// If it does not come in time, as when the node has executed nothing from there on; the probe
    /// is of no use any more.
    pub async fn page(&mut self, from: Slot) -> Result<Page, LinkError> {
        let question = ToNode::Subscribe { from };
        if self.due != Some(from) {
            self.link.writer.say(&question);
        }
        let hearing = self.hear(question, Some(self.patience / 10), |told| {
            let FromNode::Entries { first, next, entries } = told else { return None };
            (first == from && next > first).then_some(Page { first, next, entries })
        });
        let page = hearing.await?;
        self.due = Some(page.next);
        Ok(page)
    }

    async fn ask<T>(
        &mut self,
        question: ToNode,
        repeat: Option<Duration>,
        is_answer: impl Fn(FromNode) -> Option<T>,
    ) -> Result<T, LinkError> {
        self.link.writer.say(&question);
        self.hear(question, repeat, is_answer).await
    }

    /// Says what is unsaid, and waits for the answer to a question; asks again now and then.
    async fn hear<T>(
        &mut self,
        question: ToNode,
        repeat: Option<Duration>,
        is_answer: impl Fn(FromNode) -> Option<T>,
    ) -> Result<T, LinkError> {
        let patience = self.patience;
        let asking = async {
            loop {
                self.link.writer.flush().await?;
                let hearing = self.link.reader.find(&is_answer);
                // What is not repeated ends with all patience.
                if let Ok(answer) = timeout(repeat.unwrap_or(patience * 2), hearing).await {
                    return answer;
                }
                self.link.writer.say(&question);
            }
        };
        let outcome = timeout(patience, asking).await;
        outcome.unwrap_or_else(|_| {
            Err(LinkError::Unreachable(self.address.clone(), "no answer in time".to_owned()))
        })
    }
}
