//! A member whose disk is lost comes back, and no promise that it gave is broken.
//!
//! Its new store is of a newer incarnation, and does not vote. It asks all others, of whom those
//! that vote testify: what they have promised, accepted and know to be decided, sealed with the
//! record that they have met the new store. With a quorum of testimonies, itself not counted, and
//! once everything below the highest mark in them is on its own disk, one commit brings the rest:
//!
//! - the highest promise of any of them;
//! - what they accepted at or above the mark in the highest ballot that any of them accepted in,
//!   and the longest chain of runs in it;
//! - the right to vote.
//!
//! **Why that is safe.** Let A be those who testified, and Q a quorum whose votes or promises
//! decided something, the lost store's among them. Both are quorums, and the member itself is not
//! in A, so another one, say a, is in both. Either a spoke for Q before it testified, or after.
//! After it, its word carried the table with the new store, and whoever counts it drops the word of
//! the lost one: Q is no quorum. (This is why the table is on disk before a testifies, why echoes
//! and canvass answers carry it, too, and why votes already collected are dropped.) So a spoke
//! before, and testified to what it had said:
//!
//! - If Q *promised* a ballot, a had promised it, and the new store starts at or above it.
//! - If Q *accepted* a command in ballot b, a had accepted it, or testified to a mark above it. In
//!   the second case it is decided, and on the new store. In the first, the highest ballot b' that
//!   any of A accepted in is at or above b. Whoever accepted anything in b' holds all that b'
//!   proposed below, or a mark above it (the acceptor's chain), and b' had adopted the command
//!   (P2c, as for the scout): so it is among what the new store takes over.
//!
//! What the new store takes over and the lost one never had does no harm: some acceptor has it, and
//! its ballot proposed it.
//!
//! **Why n - q + 1 testimonies are not enough**, though with as many A and Q meet. Of an even
//! number of members that is one less than a quorum, and a lost store that is not lost may be among
//! those who testify: its machine runs on, unheard. Who knows of its successor are those who
//! testified to that, and if they need not meet A, nobody in A does: the lost store and the new one
//! then make a quorum of their own, beside the successor's (found as seed 13265 of the simulator,
//! with two members). Two quorums of testimonies meet in a member that is neither of the two
//! replaced, and its word carries the table. So with two members neither can be replaced at all,
//! and with four all others must testify.
//!
//! A member that was itself replaced testifies only once it votes, and then stands for its lost
//! store by the same argument. One that was replaced *after* it testified has its testimony
//! dropped, as a vote would be. The lost store's ballots are none of the new one's: the incarnation
//! is part of a ballot. Should the lost store turn up, it stops as soon as it hears of the new one.
//!
//! A crash at any moment before the one commit leaves a store that does not vote, and asks again:
//! an older testimony is as good as a new one, since what was said after it counts no more either.

use std::collections::BTreeMap;

use super::ballot::{NodeId, Slot};
use super::durable::{Effects, Record};
use super::election::Election;
use super::message::{PValue, Recollection, Rejoin, Testimony};
use super::notice::Notice;
use super::replica::Replica;
use super::stores::Admission;
use super::suffrage::{Rejoining, Suffrage};

impl Replica {
    pub(super) fn ask_testimonies(&mut self, fx: &mut Effects) {
        let Suffrage::Rejoining(rejoining) = &mut self.suffrage else { return };
        if self.now >= rejoining.due {
            rejoining.due = self.now + self.config.timing.heartbeat_ticks * 2;
            let (incarnation, address) = (self.config.incarnation, self.config.address.clone());
            let silent = self.config.peers().filter(|peer| !rejoining.has(*peer));
            for peer in silent {
                fx.send_early(peer, Rejoin { incarnation, address: address.clone() });
            }
        }
        self.import(fx);
    }

    /// Testifies, unless there is a newer store still: then it is told of that.
    pub(super) fn on_rejoin(&mut self, from: NodeId, rejoin: &Rejoin, fx: &mut Effects) {
        let to = rejoin.incarnation;
        if self.meet(from, to, fx) == Admission::Replaced {
            let mut seal = self.acceptor.seal(&self.config);
            seal.known.retain(|(node, _)| *node == from);
            fx.send_early(from, Recollection { of: to, life: 0, pledges: 0, seal });
            return;
        }
        self.note_address(from, to, rejoin.address.as_ref(), fx);
        if !self.acceptor.state.has_testified(from, to) {
            let testified = Record::Testified { node: from, incarnation: to };
            fx.record(&mut self.acceptor.state, testified);
        }
        self.acceptor.raise_mark(self.learner.decided(), fx);
        let state = &self.acceptor.state;
        let testimony = Testimony {
            to,
            promised: state.promised(),
            mark: state.mark(),
            chain: state.chain(),
            accepted: state.accepted(),
            remembered: self.remembered(from, to),
            pledges: state.pledges(),
            seal: self.acceptor.seal(&self.config),
        };
        fx.send(from, testimony);
    }

    pub(super) fn on_testimony(&mut self, from: NodeId, testimony: Testimony, fx: &mut Effects) {
        if testimony.to != self.config.incarnation
            || self.admit(from, &testimony.seal, fx) == Admission::Replaced
        {
            return;
        }
        self.hear_pledges(from, testimony.seal.incarnation, testimony.pledges);
        self.learner.on_hint(from, testimony.mark);
        self.compare(from, testimony.remembered, fx);
        if let Suffrage::Rejoining(rejoining) = &mut self.suffrage {
            rejoining.testimonies.insert(from, testimony);
            self.import(fx);
        }
    }

    /// With enough testimonies, and all that they know to be decided: votes from now on.
    fn import(&mut self, fx: &mut Effects) {
        let Suffrage::Rejoining(rejoining) = &self.suffrage else { return };
        let needed = self.config.testimonies();
        if rejoining.testimonies.len() < needed || self.learner.decided() < rejoining.mark() {
            return;
        }
        let imported = rejoining.imported();
        self.acceptor.raise_mark(self.learner.decided(), fx);
        fx.record(&mut self.acceptor.state, imported);
        self.suffrage = Suffrage::Full;
        // Like one that starts: it may have promised a live leader.
        self.election = Election::new(&self.config, self.acceptor.promised(), self.now);
        fx.notify(Notice::Rejoined);
    }
}

impl Rejoining {
    fn has(&self, node: NodeId) -> bool {
        self.testimonies.contains_key(&node)
    }

    /// Below it everything is decided.
    fn mark(&self) -> Slot {
        self.testimonies.values().map(|testimony| testimony.mark).max().unwrap_or_default()
    }

    /// What the testimonies come to.
    fn imported(&self) -> Record {
        let all = || self.testimonies.values();
        let promised = all().filter_map(|testimony| testimony.promised).max();
        let chains = all().filter_map(|testimony| testimony.chain);
        let chain = chains.max_by_key(|chain| (chain.ballot, chain.end));
        let shown = all().flat_map(|testimony| &testimony.accepted);
        let highest = shown.filter(|p| chain.is_some_and(|chain| chain.ballot == p.ballot));
        let accepted: BTreeMap<Slot, &PValue> = highest.map(|p| (p.slot, p)).collect();
        Record::Imported { promised, chain, accepted: accepted.into_values().cloned().collect() }
    }
}
