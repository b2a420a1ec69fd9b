//! Who was heard when: what a node can say of the others from its own ears, for people and for
//! those who judge whether a member has failed. The protocol rests nothing on it.

use std::collections::BTreeMap;

use crate::paxos::NodeId;

/// When each other member was heard last, and when there was a leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Hearing {
    /// Milliseconds since the node started.
    now: u64,
    heard: BTreeMap<NodeId, u64>,
    led: u64,
}

impl Hearing {
    /// Time passed.
    pub(super) fn pass(&mut self, elapsed: u64) {
        self.now += elapsed;
    }

    /// A message came.
    pub(super) fn hear(&mut self, from: NodeId) {
        self.heard.insert(from, self.now);
    }

    /// There is a leader, or there is none.
    pub(super) fn note_leader(&mut self, leader: Option<NodeId>) {
        if leader.is_some() {
            self.led = self.now;
        }
    }

    /// For how long each of these was not heard; since the start, if it never was.
    pub(super) fn silences(&self, peers: impl Iterator<Item = NodeId>) -> Vec<(NodeId, u64)> {
        let heard = |peer| self.heard.get(&peer).copied().unwrap_or(0);
        peers.map(|peer| (peer, self.now - heard(peer))).collect()
    }

    /// For how long there was no leader.
    pub(super) fn leaderless(&self) -> u64 {
        self.now - self.led
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: a node that was never heard and counts as heard just now; a silence
    /// that a message of another ends.
    #[test]
    fn silence_lasts_until_one_is_heard() {
        let mut hearing = Hearing::default();
        let peers = || [NodeId(1), NodeId(2)].into_iter();
        hearing.pass(100);
        hearing.hear(NodeId(1));
        hearing.note_leader(Some(NodeId(1)));
        hearing.pass(30);
        hearing.note_leader(None);
        assert_eq!(hearing.silences(peers()), [(NodeId(1), 30), (NodeId(2), 130)]);
        assert_eq!(hearing.leaderless(), 30);
    }
}
