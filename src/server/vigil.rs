//! What a node that does not vote yet tells of its way there: for whom it waits, and what it
//! fetches.
//!
//! Its store took the place of a lost one. An operator stands beside it and wants to know whether
//! it comes on, or which machine must be started: so this is said aloud, also where little is
//! logged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::node::{Event, Node};
use crate::paxos::{Config, Message, NodeId, Wal};
use crate::rsm::StateMachine;
use crate::transport::book::Book;

/// How often it is said again, if it does not change.
const AGAIN: Duration = Duration::from_secs(5);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// Who has told what it knows.
    heard: BTreeSet<NodeId>,
    /// Of how many that was told, and when.
    told: Option<(usize, Instant)>,
}

impl Vigil {
    /// Takes notice of what a peer says.
    pub(super) fn note(&mut self, event: &Event, config: &Config) {
        if let Event::Message(envelope) = event
            && let Message::Testimony(testimony) = &envelope.message
            && testimony.to == config.incarnation
        {
            self.heard.insert(envelope.from);
        }
    }

    /// Says how the node comes on, if it does not vote yet, and that is new or was said long ago.
    pub(super) fn tell<W: Wal, M: StateMachine>(&mut self, node: &Node<W, M>, book: &Book) {
        if !node.replica().is_rejoining() {
            return;
        }
        let heard = self.heard.len();
        let is_old = self.told.is_none_or(|(of, at)| of != heard || at.elapsed() >= AGAIN);
        if is_old {
            self.told = Some((heard, Instant::now()));
            tracing::warn!("{}", self.line(node, book));
        }
    }

    fn line<W: Wal, M: StateMachine>(&self, node: &Node<W, M>, book: &Book) -> String {
        let config = node.replica().config();
        let needed = config.testimonies();
        let no_vote = "this store takes the place of a lost one and does not vote yet";
        let has = match self.heard.len() {
            0 => "none has come".to_owned(),
            1 => format!("that of {} has come", names(&self.heard)),
            _ => format!("those of {} have come", names(&self.heard)),
        };
        if self.heard.len() < needed {
            let rest: Vec<String> = config
                .peers()
                .filter(|peer| !self.heard.contains(peer))
                .map(|peer| {
                    format!("node {} at {}", peer.0, book.address(peer).unwrap_or_default())
                })
                .collect();
            let missing = needed - self.heard.len();
            let any = if rest.len() > missing { format!("{missing} of ") } else { String::new() };
            let rest = rest.join(", ");
            return format!(
                "{no_vote}: it needs the word of {needed} others that vote; {has}, it waits for \
                 {any}{rest}"
            );
        }
        let decided = node.replica().decided();
        let comes = match node.status().transfer {
            Some(it) => format!(
                "a snapshot comes from node {}, {} of {} entries of the archive are here",
                it.from.0,
                it.done,
                it.done + it.to_come
            ),
            None => "it fetches what is decided".to_owned(),
        };
        format!(
            "{no_vote}: the word of enough others has come, and {comes}: so far all below slot \
             {decided}"
        )
    }
}

fn names(nodes: &BTreeSet<NodeId>) -> String {
    let ids: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
    let many = if ids.len() == 1 { "" } else { "s" };
    format!("node{many} {}", ids.join(", "))
}
