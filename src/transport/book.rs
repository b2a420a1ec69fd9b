//! The address book: where each member is found, and which of its stores is the newest.
//!
//! The cluster file says where; a member whose store took the place of a lost one may be elsewhere,
//! and the file is a copy that may be older than its. What a member says itself, in its hello, is
//! believed. What this node's disk or a peer's greeting says of it counts only as long as it has
//! not spoken itself since this node started: such words may be old. An address leads nobody astray
//! for long: whoever answers says who it is, and where nobody does the listed one is tried in turn.
//!
//! A store that was replaced is known from the disk alone: it is refused by whoever has the newer
//! one on record, also after a restart; and one that is being heard is hung up on, so that it calls
//! again and is told.

use tokio::sync::watch;

use crate::cluster::Member;
use crate::paxos::{Incarnation, NodeId};

/// What is known of the members, shared by all connections of a node.
#[derive(Debug)]
pub struct Book {
    /// By id.
    entries: watch::Sender<Vec<Entry>>,
    /// The newer store of this very node that somebody told of.
    replaced: watch::Sender<Option<Incarnation>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Where the cluster file has it.
    listed: String,
    /// Where it is.
    address: String,
    /// The store that said so itself.
    heard: Option<Incarnation>,
    /// The newest store on record.
    newest: Option<Incarnation>,
}

impl Book {
    /// What the cluster file says.
    #[must_use]
    pub fn new(members: &[Member]) -> Book {
        let entry = |member: &Member| Entry {
            listed: member.address.clone(),
            address: member.address.clone(),
            heard: None,
            newest: None,
        };
        let entries = watch::Sender::new(members.iter().map(entry).collect());
        Book { entries, replaced: watch::Sender::new(None) }
    }

    /// A member says where it is.
    pub fn hear(&self, node: NodeId, store: Incarnation, address: &str) {
        self.change(node, |entry| {
            if entry.heard <= Some(store) {
                entry.heard = Some(store);
                address.clone_into(&mut entry.address);
            }
        });
    }

    /// Somebody else, or the disk, says where a member is.
    pub fn hear_of(&self, node: NodeId, address: &str) {
        self.change(node, |entry| {
            if entry.heard.is_none() {
                address.clone_into(&mut entry.address);
            }
        });
    }

    /// A member's store is on record.
    pub fn record(&self, node: NodeId, store: Incarnation) {
        self.change(node, |entry| entry.newest = entry.newest.max(Some(store)));
    }

    /// The newer store of that member which is on record, if there is one.
    #[must_use]
    pub fn newer(&self, node: NodeId, store: Incarnation) -> Option<Incarnation> {
        let entries = self.entries.borrow();
        let newest = entries.get(usize::from(node.0))?.newest;
        newest.filter(|newest| *newest > store)
    }

    /// Returns when a newer store of that member than this is on record.
    pub async fn replaces(&self, node: NodeId, store: Incarnation) {
        let mut entries = self.entries.subscribe();
        let is_newer = |entries: &Vec<Entry>| {
            entries.get(usize::from(node.0)).is_some_and(|entry| entry.newest > Some(store))
        };
        // The sender lives as long as the book.
        let _ = entries.wait_for(is_newer).await;
    }

    /// Where a member is.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<String> {
        Some(self.entries.borrow().get(usize::from(node.0))?.address.clone())
    }

    /// Where the cluster file has a member.
    #[must_use]
    pub fn listed(&self, node: NodeId) -> Option<String> {
        Some(self.entries.borrow().get(usize::from(node.0))?.listed.clone())
    }

    /// Where members are that have told it, or that are not where the cluster file has them. The
    /// rest is hearsay of this node's file, which others have themselves.
    #[must_use]
    pub fn found(&self) -> Vec<(NodeId, String)> {
        let entries = self.entries.borrow();
        let all = (0..).map(NodeId).zip(entries.iter());
        let found = all.filter(|(_, it)| it.heard.is_some() || it.address != it.listed);
        found.map(|(node, entry)| (node, entry.address.clone())).collect()
    }

    /// Returns when a member is said to be elsewhere than there.
    pub async fn moves(&self, node: NodeId, from: &str) {
        let mut entries = self.entries.subscribe();
        let is_elsewhere = |entries: &Vec<Entry>| {
            entries.get(usize::from(node.0)).is_some_and(|entry| entry.address != from)
        };
        // The sender lives as long as the book.
        let _ = entries.wait_for(is_elsewhere).await;
    }

    /// Somebody has a newer store of this very node on record.
    pub fn note_replaced(&self, by: Incarnation) {
        self.replaced.send_replace(Some(by));
    }

    /// Returns when somebody has told of a newer store of this very node.
    pub async fn is_replaced(&self) {
        let _ = self.replaced.subscribe().wait_for(Option::is_some).await;
    }

    fn change(&self, node: NodeId, change: impl FnOnce(&mut Entry)) {
        self.entries.send_if_modified(|entries| {
            let Some(entry) = entries.get_mut(usize::from(node.0)) else { return false };
            let before = entry.clone();
            change(entry);
            *entry != before
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn book() -> Book {
        let member = |id| Member { id: NodeId(id), address: format!("a:{id}"), witness: false };
        Book::new(&[member(0), member(1)])
    }

    fn address(book: &Book) -> String {
        book.address(NODE).expect("a member")
    }

    /// Bugs that turn it red: old words of others that outweigh a member's own; a replaced store
    /// that is believed; a member that came back to its listed address and is sought elsewhere.
    #[test]
    fn a_member_is_where_its_newest_store_says() {
        let book = book();
        assert_eq!(address(&book), "a:1");
        book.hear_of(NODE, "b:1");
        assert_eq!((address(&book), book.found()), ("b:1".into(), vec![(NODE, "b:1".into())]));
        book.hear(NODE, Incarnation(5), "c:1");
        book.hear_of(NODE, "b:1");
        assert_eq!(address(&book), "c:1");
        book.hear(NODE, Incarnation(4), "a:1");
        assert_eq!(address(&book), "c:1", "an older store");
        book.hear(NODE, Incarnation(5), "a:1");
        assert_eq!((address(&book), book.found()), ("a:1".into(), vec![(NODE, "a:1".into())]));
    }

    /// Bugs that turn it red: the store itself taken for a newer one; an older record that
    /// overwrites.
    #[test]
    fn a_store_is_replaced_when_a_newer_one_is_on_record() {
        let book = book();
        assert_eq!(book.newer(NODE, Incarnation(3)), None);
        book.record(NODE, Incarnation(7));
        book.record(NODE, Incarnation(6));
        assert_eq!(book.newer(NODE, Incarnation(6)), Some(Incarnation(7)));
        assert_eq!(book.newer(NODE, Incarnation(7)), None);
        assert_eq!(book.newer(NodeId(0), Incarnation(1)), None);
    }
}
