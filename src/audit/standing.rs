//! What a log says of its store as a whole, and of the others' stores: that it votes, how many
//! pledges it has made, and whom it has testified to. A trim restates all of it, in one commit.

use super::Invariant;
use super::reader::{Owed, Reader};
use super::refuted::Refuted;
use super::tells::Tells;
use crate::paxos::{Ballot, Incarnation, NodeId, Record};

impl Reader<'_> {
    /// Only a store that votes writes this.
    pub(super) fn votes(&self, at: usize) -> Result<(), Refuted> {
        if self.ledger.state.is_fit() {
            return Ok(());
        }
        let why = "a store in the place of a lost one votes before it has taken over what others \
                   testify to";
        let born = |record: &Record| Tells::of(record).pledges.is_some();
        self.refute(Invariant::Suffrage, why.to_owned(), self.earlier(at, born), at)
    }

    /// What others testified to is taken over once, by one that does not vote yet, and nothing of
    /// it lies above the promise.
    pub(super) fn imported(
        &self,
        at: usize,
        promised: Option<Ballot>,
        highest: Option<Ballot>,
    ) -> Result<(), Refuted> {
        self.grows(at, promised, Invariant::A1)?;
        if highest > promised {
            let why = "what is taken over was accepted above the promise that is".to_owned();
            return self.refute(Invariant::A2, why, None, at);
        }
        if self.ledger.state.is_fit() && self.is_whole {
            let why = "a store that votes takes over what others testify to".to_owned();
            return self.refute(Invariant::Suffrage, why, None, at);
        }
        Ok(())
    }

    /// The number of pledges does not fall, and a store comes to vote by what it takes over alone.
    pub(super) fn standing(&mut self, at: usize, pledges: u64, votes: bool) -> Result<(), Refuted> {
        let state = &self.ledger.state;
        let is_birth = at == 0 && self.is_whole;
        let now =
            Owed { at, pledges: state.pledges(), is_fit: state.is_fit(), was_whole: self.is_whole };
        let before = self.owed.take().unwrap_or(now);
        let earlier = Some(before.at).filter(|trim| *trim != at);
        if pledges < before.pledges || (before.was_whole && pledges != before.pledges) {
            let why = format!("{} pledges were made, but {pledges} are restated", before.pledges);
            return self.refute(Invariant::Pledges, why, earlier, at);
        }
        if before.was_whole && votes != before.is_fit && !is_birth {
            let words = |votes: bool| if votes { "votes" } else { "does not vote" };
            let (is, told) = (words(before.is_fit), words(votes));
            let why = format!("this store {is}, but it is restated that it {told}");
            return self.refute(Invariant::Suffrage, why, earlier, at);
        }
        Ok(())
    }

    /// A trim has restated how many pledges were made, unless more of its commit is to come.
    pub(super) fn is_paid(&self, goes_on: impl Fn(&Owed) -> bool) -> Result<(), Refuted> {
        match self.owed.filter(|owed| !goes_on(owed)) {
            None => Ok(()),
            Some(owed) => {
                let why =
                    format!("a trim does not restate that {} pledges were made", owed.pledges);
                self.refute(Invariant::Pledges, why, None, owed.at)
            }
        }
    }

    /// A trim restates the table of the others' stores, and what is known of each.
    pub(super) fn restates_stores(
        &self,
        at: usize,
        restated: &[(NodeId, Incarnation)],
    ) -> Result<(), Refuted> {
        let (state, records) = (&self.ledger.state, self.ledger.records());
        let commit = records[at..].iter().take_while(|(number, _)| *number == records[at].0);
        let commit: Vec<&Record> = commit.map(|(_, record)| record).collect();
        for (node, incarnation) in state.incarnations() {
            let newest = restated.iter().find(|(other, _)| *other == node);
            let newest = newest.map_or(Incarnation(0), |(_, restated)| *restated);
            self.met(at, node, newest, "a trim restates a store of node")?;
            let testified = Record::Testified { node, incarnation };
            if state.has_testified(node, incarnation) && !commit.contains(&&testified) {
                let why = format!(
                    "a trim forgets the testimony to store {} of node {}",
                    incarnation.0, node.0
                );
                let gave = |record: &Record| *record == testified;
                return self.refute(Invariant::A3, why, self.earlier(at, gave), at);
            }
            let heard = state.heard(node, incarnation);
            let is_told = |record: &&Record| match record {
                Record::Heard { node: other, incarnation: store, pledges } => {
                    (*other, *store) == (node, incarnation) && *pledges >= heard
                }
                Record::Promised(_)
                | Record::Accepted(_)
                | Record::Learned { .. }
                | Record::Decided(_)
                | Record::Incarnation { .. }
                | Record::Trimmed { .. }
                | Record::Standing { .. }
                | Record::Moved { .. }
                | Record::Testified { .. }
                | Record::Imported { .. }
                | Record::Lost { .. } => false,
            };
            if heard > 0 && !commit.iter().any(is_told) {
                let why = format!("a trim forgets that node {} told of {heard} pledges", node.0);
                let told = |record: &Record| is_told(&record);
                return self.refute(Invariant::Pledges, why, self.earlier(at, told), at);
            }
        }
        Ok(())
    }
}
