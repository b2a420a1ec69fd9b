//! A probe: asks one given node how it is, or gives it an order. For tools and harnesses.

use std::time::Duration;

use tokio::time::timeout;

use super::Page;
use super::link::{Link, LinkError};
use crate::paxos::{ClientId, Slot};
use crate::wire::client::{FromNode, NodeStatus, Order, ToNode};

/// A connection to one node for questions.
#[derive(Debug)]
pub struct Probe {
    link: Link,
    address: String,
    patience: Duration,
    asked: u64,
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
        Ok(Probe { link, address: address.to_owned(), patience, asked: 0 })
    }

    /// How is the node?
    ///
    /// # Errors
    ///
    /// If it does not say so in time; the probe is of no use any more.
    pub async fn status(&mut self) -> Result<NodeStatus, LinkError> {
        self.asked += 1;
        let asked = self.asked;
        self.ask(ToNode::Status { id: asked }, |answer| {
            let FromNode::Status { id, status } = answer else { return None };
            (id == asked).then_some(status)
        })
        .await
    }

    /// Gives an order; the inner error is the node's reason not to obey.
    ///
    /// # Errors
    ///
    /// If it does not answer in time, as a node does that was ordered to die.
    pub async fn order(&mut self, order: Order) -> Result<Result<(), String>, LinkError> {
        self.asked += 1;
        let asked = self.asked;
        self.ask(ToNode::Order { id: asked, order }, |answer| {
            let FromNode::Done { id, result } = answer else { return None };
            (id == asked).then_some(result)
        })
        .await
    }

    /// Asks for the archive from a slot on. It comes [a page](Probe::page) at a time, and a node
    /// hangs up on whoever leaves pages lying for long.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    pub async fn subscribe(&mut self, from: Slot) -> Result<(), LinkError> {
        self.link.writer.say(&ToNode::Subscribe { from });
        self.link.writer.flush().await
    }

    /// The page of the archive that begins there: the next one of what was asked for.
    ///
    /// # Errors
    ///
    /// If it does not come in time, as when the node has executed nothing more; the probe is of no
    /// use any more.
    pub async fn page(&mut self, from: Slot) -> Result<Page, LinkError> {
        self.hear(|told| {
            let FromNode::Entries { first, next, entries } = told else { return None };
            (first == from && next > first).then_some(Page { first, next, entries })
        })
        .await
    }

    async fn ask<T>(
        &mut self,
        question: ToNode,
        is_answer: impl Fn(FromNode) -> Option<T>,
    ) -> Result<T, LinkError> {
        self.link.writer.say(&question);
        self.hear(is_answer).await
    }

    /// Says what is unsaid, and waits for the answer.
    async fn hear<T>(&mut self, is_answer: impl Fn(FromNode) -> Option<T>) -> Result<T, LinkError> {
        let patience = self.patience;
        let asking = async {
            self.link.writer.flush().await?;
            loop {
                if let Some(answer) = is_answer(self.link.reader.next().await?) {
                    return Ok(answer);
                }
            }
        };
        let outcome = timeout(patience, asking).await;
        outcome.unwrap_or_else(|_| {
            Err(LinkError::Unreachable(self.address.clone(), "no answer in time".to_owned()))
        })
    }
}
