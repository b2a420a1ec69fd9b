//! What others remember of this node's store, so that one which lost some of it is noticed.
//!
//! A log can lose its tail, or be rolled back as a whole, so that nothing on its own disk shows it:
//! a restored backup, a file system set back. So every message that rests on promises or votes
//! tells how many of these *pledges* its sender's store has made; who hears it remembers the
//! highest number, on disk with its next commit; and a leader tells all what it remembers, its own
//! number among it, with each heartbeat.
//!
//! A node that starts votes for nothing before it has heard from a quorum, itself included, that
//! nobody remembers more than it holds; or from one other at least, if no more answer within the
//! time for which a sign of life counts. (At the rim of a star a node reaches the hub alone, and
//! the hub cannot do without it.) Later answers count as well; those to a question that it asked in
//! an earlier life, before it forgot, do not. Who holds less than others remember is gone for good:
//! what it said and forgot may have decided something. What a node learns while it asks is no
//! pledge, so that one which forgot cannot make up the number, however often it starts.
//!
//! What it cannot notice: pledges that nobody but members now unreachable was told of; that is, of
//! the last heartbeat before a leader died, or of a power cut that hit all.

use bytes::Bytes;

use super::ballot::{Incarnation, NodeId};
use super::durable::{Effects, Record};
use super::message::{Pledged, Recall, Recollection};
use super::notice::Notice;
use super::replica::Replica;
use super::suffrage::Suffrage;

impl Replica {
    /// A peer's store told how many pledges it has made.
    pub(super) fn hear_pledges(&mut self, node: NodeId, store: Incarnation, pledges: u64) {
        let is_peer = node != self.config.node && node.0 < self.config.members;
        if self.config.recalls && is_peer && self.acceptor.state.heard(node, store) < pledges {
            let known = self.heard.entry(node).or_insert((store, pledges));
            *known = (store, pledges).max(*known);
        }
    }

    /// How many pledges of a peer's store this node knows of.
    pub(super) fn remembered(&self, node: NodeId, store: Incarnation) -> u64 {
        let pending = self.heard.get(&node).filter(|(of, _)| *of == store);
        let written = self.acceptor.state.heard(node, store);
        pending.map_or(0, |(_, pledges)| *pledges).max(written)
    }

    /// Writes down what was heard since. It costs nothing where something is written anyway.
    pub(super) fn write_heard(&mut self, fx: &mut Effects) {
        for (node, (incarnation, pledges)) in std::mem::take(&mut self.heard) {
            let state = &mut self.acceptor.state;
            let is_newest = state.incarnation(node) == Some(incarnation);
            if is_newest && state.heard(node, incarnation) < pledges {
                fx.record(state, Record::Heard { node, incarnation, pledges });
            }
        }
    }

    /// What a leader tells of everybody's pledges, its own included: with each heartbeat, but by
    /// the sealed lane.
    pub(super) fn tell_pledges(&mut self, fx: &mut Effects) {
        if !self.config.recalls {
            return;
        }
        let state = &self.acceptor.state;
        let known = |node: NodeId| {
            let store = state.incarnation(node)?;
            let pledges = self.remembered(node, store);
            (pledges > 0).then_some((node, store, pledges))
        };
        let pledged = Pledged {
            incarnation: self.config.incarnation,
            pledges: state.pledges(),
            others: self.config.peers().filter_map(known).collect(),
        };
        for peer in self.config.peers() {
            fx.send(peer, pledged.clone());
        }
    }

    pub(super) fn on_pledged(&mut self, from: NodeId, pledged: &Pledged, fx: &mut Effects) {
        self.meet(from, pledged.incarnation, fx);
        self.hear_pledges(from, pledged.incarnation, pledged.pledges);
        for (node, store, pledges) in &pledged.others {
            self.meet(*node, *store, fx);
            self.hear_pledges(*node, *store, *pledges);
        }
    }

    pub(super) fn ask_recollections(&mut self, fx: &mut Effects) {
        let Suffrage::Recalling(recalling) = &mut self.suffrage else { return };
        if !recalling.answers.is_empty() && self.now >= self.config.timing.reach_ticks {
            self.suffrage = Suffrage::Full;
            return;
        }
        if self.now < recalling.due {
            return;
        }
        recalling.due = self.now + self.config.timing.heartbeat_ticks;
        let (incarnation, address) = (self.config.incarnation, self.config.address.clone());
        let life = self.config.seed;
        let silent = self.config.peers().filter(|peer| !recalling.answers.contains_key(peer));
        for peer in silent {
            fx.send_early(peer, Recall { incarnation, life, address: address.clone() });
        }
    }

    /// One whose own store is new remembers nothing, and must not be taken for one that does.
    pub(super) fn on_recall(&mut self, from: NodeId, recall: &Recall, fx: &mut Effects) {
        self.meet(from, recall.incarnation, fx);
        self.note_address(from, recall.incarnation, recall.address.as_ref(), fx);
        if self.acceptor.state.is_fit() {
            let pledges = self.remembered(from, recall.incarnation);
            let seal = self.acceptor.seal(&self.config);
            let (of, life) = (recall.incarnation, recall.life);
            fx.send_early(from, Recollection { of, life, pledges, seal });
        }
    }

    pub(super) fn on_recollection(
        &mut self,
        from: NodeId,
        recollection: &Recollection,
        fx: &mut Effects,
    ) {
        if recollection.of != self.config.incarnation {
            return;
        }
        self.admit(from, &recollection.seal, fx);
        self.compare(from, recollection.pledges, fx);
        let (quorum, is_answer) = (self.config.quorum(), recollection.life == self.config.seed);
        if let Suffrage::Recalling(recalling) = &mut self.suffrage
            && is_answer
        {
            recalling.answers.insert(from, recollection.seal.incarnation);
            if recalling.answers.len() + 1 >= quorum {
                self.suffrage = Suffrage::Full;
            }
        }
    }

    /// Somebody remembers so many pledges of this store.
    pub(super) fn compare(&mut self, by: NodeId, told: u64, fx: &mut Effects) {
        let held = self.acceptor.state.pledges();
        if told > held {
            self.suffrage = Suffrage::Gone;
            fx.notify(Notice::Forgot { by, told, held });
        }
    }

    /// A peer's store is elsewhere than the cluster was told.
    pub(super) fn note_address(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        address: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        let state = &mut self.acceptor.state;
        let known = state.moved().find(|(moved, _)| *moved == node).map(|(_, at)| at);
        if let Some(address) = address
            && known != Some(address)
            && state.incarnation(node) == Some(incarnation)
        {
            let address = address.clone();
            fx.record(state, Record::Moved { node, incarnation, address: address.clone() });
            fx.notify(Notice::Moved(node, address));
        }
    }
}
