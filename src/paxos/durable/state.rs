//! What an acceptor must never forget.
//!
//! A [`Record`] is the only way to change it, and only replay and
//! [`Effects::record`](super::Effects::record) apply one: the fields are private to this file,
//! `apply` to the one above.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::{Chain, Record};
use crate::paxos::ballot::{Ballot, Incarnation, NodeId, Slot};
use crate::paxos::command::Command;
use crate::paxos::message::{PValue, Run};

/// What one slot holds on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The ballot in which it was accepted; `None` for a decided value that came from a peer.
    pub ballot: Option<Ballot>,
    /// The value.
    pub command: Command,
}

/// What is known of a peer's store.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    incarnation: Incarnation,
    /// How many pledges it has told of.
    pledges: u64,
    /// Where it is, if not where the cluster was told.
    address: Option<Bytes>,
    /// Whether this store has testified to it.
    is_testified: bool,
}

/// All that an acceptor must never forget. Changes only through
/// [`Effects::record`](super::Effects::record).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptorState {
    promised: Option<Ballot>,
    chain: Option<Chain>,
    votes: BTreeMap<Slot, Vote>,
    mark: Slot,
    trimmed: Slot,
    peers: BTreeMap<NodeId, Peer>,
    /// How many pledges were recorded, trimmed ones included.
    pledges: u64,
    /// Whether this store took the place of a lost one, and knows too little to vote yet.
    is_unfit: bool,
}

impl AcceptorState {
    /// What the log says, from its records in order.
    #[must_use]
    pub fn replay(records: impl IntoIterator<Item = Record>) -> AcceptorState {
        AcceptorState::default().then(records)
    }

    /// This state, and what these further records say.
    #[must_use]
    pub fn then(mut self, records: impl IntoIterator<Item = Record>) -> AcceptorState {
        for record in records {
            self.apply(record);
        }
        self
    }

    /// The highest ballot promised; accepting a ballot promises it (A1: it only grows).
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// The runs accepted last.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        self.chain
    }

    /// The durable decided mark: every slot below is decided, and its value is here.
    #[must_use]
    pub fn mark(&self) -> Slot {
        self.mark
    }

    /// Every slot below is decided, and its value is here: the mark, unless the log was damaged
    /// below that. Then what follows must be learnt again.
    #[must_use]
    pub fn known(&self) -> Slot {
        let mut next = self.trimmed;
        for (slot, _) in self.votes(next) {
            if slot != next || next >= self.mark {
                break;
            }
            next = next.next();
        }
        next.min(self.mark)
    }

    /// Whether this is what became of `whole` where a log was damaged in its middle, and mended:
    /// all but decided values, and what others told.
    #[must_use]
    pub(crate) fn is_mended(&self, whole: &AcceptorState) -> bool {
        let plain = |state: &AcceptorState| AcceptorState {
            votes: state.votes.range(state.mark..).map(|(s, vote)| (*s, vote.clone())).collect(),
            peers: state
                .peers
                .iter()
                .map(|(node, peer)| (*node, Peer { pledges: 0, address: None, ..peer.clone() }))
                .collect(),
            chain: state.chain.map(|chain| Chain { from: Slot(0), end: Slot(0), ..chain }),
            ..state.clone()
        };
        // What was learnt, too, stands for a vote that is lost.
        let same = |(slot, vote): (Slot, &Vote)| {
            let held = whole.vote(slot).filter(|held| held.command == vote.command);
            held.is_some_and(|held| vote.ballot.is_none() || vote.ballot == held.ballot)
        };
        plain(self) == plain(whole) && self.votes(Slot(0)).all(same)
    }

    /// The lowest slot whose value is still held.
    #[must_use]
    pub fn trimmed(&self) -> Slot {
        self.trimmed
    }

    /// What a slot holds.
    #[must_use]
    pub fn vote(&self, slot: Slot) -> Option<&Vote> {
        self.votes.get(&slot)
    }

    /// What the slots from `from` on hold, ascending.
    pub fn votes(&self, from: Slot) -> impl Iterator<Item = (Slot, &Vote)> {
        self.votes.range(from..).map(|(slot, vote)| (*slot, vote))
    }

    /// The slot after the highest that holds anything, or the mark if that is higher.
    #[must_use]
    pub fn end(&self) -> Slot {
        let held = self.votes.last_key_value().map_or(Slot(0), |(slot, _)| slot.next());
        held.max(self.mark)
    }

    /// What a Promise must list: everything accepted at or above the mark.
    ///
    /// # Panics
    ///
    /// If a learned value lies above the mark; `Learned` raises the mark, so none can.
    #[must_use]
    pub fn accepted(&self) -> Vec<PValue> {
        let pvalue = |(slot, vote): (Slot, &Vote)| PValue {
            ballot: vote.ballot.expect("a learned value lies below the mark"),
            slot,
            command: vote.command.clone(),
        };
        self.votes(self.mark).map(pvalue).collect()
    }

    /// How many pledges this store has made: promises, runs accepted, testimonies, and the one
    /// import. What it told others rests on them, and their number never falls.
    #[must_use]
    pub fn pledges(&self) -> u64 {
        self.pledges
    }

    /// Whether this store may vote: one that took the place of a lost one may not at first.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !self.is_unfit
    }

    /// The newest store of a peer that this node has on record.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.peers.get(&node).map(|peer| peer.incarnation)
    }

    /// The table of the peers' stores.
    #[must_use]
    pub fn incarnations(&self) -> Vec<(NodeId, Incarnation)> {
        self.peers.iter().map(|(node, peer)| (*node, peer.incarnation)).collect()
    }

    /// How many pledges this store of a peer has told of: 0 if it is not the newest on record.
    #[must_use]
    pub fn heard(&self, node: NodeId, incarnation: Incarnation) -> u64 {
        let newest = self.peers.get(&node).filter(|peer| peer.incarnation == incarnation);
        newest.map_or(0, |peer| peer.pledges)
    }

    /// Whether it is on record that a peer's store was testified to.
    #[must_use]
    pub fn has_testified(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let newest = self.peers.get(&node).filter(|peer| peer.incarnation == incarnation);
        newest.is_some_and(|peer| peer.is_testified)
    }

    /// Where the peers are that are not where the cluster was told.
    pub fn moved(&self) -> impl Iterator<Item = (NodeId, &Bytes)> {
        self.peers.iter().filter_map(|(node, peer)| Some((*node, peer.address.as_ref()?)))
    }

    /// The records by which the slots below go, and everything else stays: one commit. A snapshot
    /// at or above `below` must be durable before it is written; the mark rises to it if need be.
    #[must_use]
    pub fn trim(&self, below: Slot) -> Vec<Record> {
        let trimmed = Record::Trimmed {
            below,
            mark: self.mark.max(below),
            promised: self.promised,
            chain: self.chain,
            incarnations: self.incarnations(),
            first_record: 0,
        };
        let mut records = vec![trimmed];
        for (node, peer) in &self.peers {
            let (node, incarnation) = (*node, peer.incarnation);
            if peer.pledges > 0 {
                records.push(Record::Heard { node, incarnation, pledges: peer.pledges });
            }
            if let Some(address) = peer.address.clone() {
                records.push(Record::Moved { node, incarnation, address });
            }
            if peer.is_testified {
                records.push(Record::Testified { node, incarnation });
            }
        }
        records.push(Record::Standing { pledges: self.pledges, votes: self.is_fit() });
        records
    }

    /// What no record can make: for the test of the invariant that forbids it.
    #[cfg(test)]
    pub(in crate::paxos) fn with_a_vote_above_its_promise() -> AcceptorState {
        let ballot = crate::paxos::testing::ballot(1, 0);
        let chain = Chain { ballot, from: Slot(0), end: Slot(1) };
        AcceptorState { chain: Some(chain), ..AcceptorState::default() }
    }

    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Promised(ballot) => {
                self.pledges += 1;
                self.promised = self.promised.max(Some(ballot));
            }
            Record::Accepted(run) => self.accept(run),
            Record::Learned { first, commands } => self.learn(first, commands),
            Record::Decided(mark) => self.mark = self.mark.max(mark),
            Record::Incarnation { node, incarnation } => self.meet(node, incarnation),
            Record::Trimmed { below, mark, promised, chain, incarnations, first_record: _ } => {
                self.votes = self.votes.split_off(&below);
                self.trimmed = self.trimmed.max(below);
                self.mark = self.mark.max(mark);
                self.promised = self.promised.max(promised);
                self.chain = chain;
                incarnations.into_iter().for_each(|(node, store)| self.meet(node, store));
            }
            Record::Standing { pledges, votes } => {
                self.pledges = pledges;
                self.is_unfit = !votes;
            }
            Record::Heard { node, incarnation, pledges } => {
                self.meet(node, incarnation);
                self.peer(node, incarnation, |peer| peer.pledges = peer.pledges.max(pledges));
            }
            Record::Moved { node, incarnation, address } => {
                self.meet(node, incarnation);
                self.peer(node, incarnation, |peer| peer.address = Some(address));
            }
            Record::Lost { below, promised, accepted_in, pledges } => {
                let mark = self.mark;
                self.votes.retain(|slot, _| *slot < mark || *slot >= below);
                self.promised = self.promised.max(promised).max(accepted_in);
                if let Some(ballot) = accepted_in {
                    // The chain of runs is broken here, whatever it was.
                    self.chain = Some(Chain { ballot, from: below, end: below });
                }
                self.pledges = pledges;
            }
            Record::Testified { node, incarnation } => {
                self.pledges += 1;
                self.meet(node, incarnation);
                self.peer(node, incarnation, |peer| peer.is_testified = true);
            }
            Record::Imported { promised, chain, accepted } => {
                self.pledges += 1;
                self.promised = self.promised.max(promised);
                self.chain = chain;
                for PValue { ballot, slot, command } in accepted {
                    if slot >= self.mark {
                        self.votes.insert(slot, Vote { ballot: Some(ballot), command });
                    }
                }
                self.is_unfit = false;
            }
        }
    }

    /// Nothing that was known of an older store of the peer is true of a newer one.
    fn meet(&mut self, node: NodeId, incarnation: Incarnation) {
        if self.incarnation(node) < Some(incarnation) {
            self.peers
                .insert(node, Peer { incarnation, pledges: 0, address: None, is_testified: false });
        }
    }

    fn peer(&mut self, node: NodeId, incarnation: Incarnation, note: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.incarnation == incarnation
        {
            note(peer);
        }
    }

    fn accept(&mut self, run: Run) {
        self.pledges += 1;
        self.promised = self.promised.max(Some(run.ballot));
        self.chain = Some(match self.chain {
            Some(chain) if chain.ballot == run.ballot && run.after == chain.end => {
                Chain { end: run.end(), ..chain }
            }
            Some(_) | None => Chain { ballot: run.ballot, from: run.after, end: run.end() },
        });
        for (slot, command) in (run.first.0..).map(Slot).zip(run.commands) {
            // What is decided stays: a later ballot can only repeat it (A3, P2c).
            if slot >= self.mark {
                self.votes.insert(slot, Vote { ballot: Some(run.ballot), command });
            }
        }
    }

    fn learn(&mut self, first: Slot, commands: Vec<Command>) {
        for (slot, command) in (first.0..).map(Slot).zip(commands) {
            // Below the mark a damaged log may have lost it.
            if slot >= self.mark || !self.votes.contains_key(&slot) {
                self.votes.insert(slot, Vote { ballot: None, command });
                self.mark = self.mark.max(slot.next());
            }
        }
    }
}
