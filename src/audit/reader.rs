//! Reads a log record by record: what an acceptor may write, and after what.
//!
//! Of a log that was trimmed the beginning is gone, and with it some of what its first records rest
//! on. They say it themselves soon: a run tells where its chain ended, a mark what was decided, and
//! a trim restates everything. Until then what cannot be told is counted, not refuted.

use super::Invariant;
use super::ledger::Ledger;
use super::refuted::{self, Refuted};
use super::tells::Tells;
use crate::paxos::{Ballot, Chain, Incarnation, NodeId, Record, Run, Slot};

/// Goes through a log.
pub(super) struct Reader<'a> {
    pub(super) ledger: Ledger<'a>,
    /// Below this slot something may be missing that nothing tells of any more.
    gone_below: Slot,
    /// Whether all that came before is known: from the first record on, or once a trim restated it,
    /// and up to a part that was damaged.
    pub(super) is_whole: bool,
    /// Whether the chain of runs is known, but perhaps for where it begins.
    knows_chain: bool,
    /// Whether the mark is known.
    knows_mark: bool,
    /// What a trim that is being read has yet to restate.
    pub(super) owed: Option<Owed>,
}

/// How a log stood before a trim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) at: usize,
    pub(super) pledges: u64,
    pub(super) is_fit: bool,
    pub(super) was_whole: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(ledger: Ledger<'a>) -> Reader<'a> {
        let records = ledger.records();
        let is_whole = records.first().is_none_or(|(number, _)| *number == 0);
        let trims = records.iter().filter_map(|(_, record)| Tells::of(record).trimmed);
        let gone_below = if is_whole { Slot(0) } else { trims.max().unwrap_or_default() };
        let (knows_chain, knows_mark) = (is_whole, is_whole);
        Reader { ledger, gone_below, is_whole, knows_chain, knows_mark, owed: None }
    }

    /// Reads all of it.
    pub(super) fn read(mut self) -> Result<Ledger<'a>, Refuted> {
        for (at, (number, record)) in self.ledger.records().iter().enumerate() {
            self.is_paid(|owed| self.ledger.records()[owed.at].0 == *number)?;
            self.take(at, record)?;
        }
        self.is_paid(|_| false)?;
        if self.ledger.state.known() < self.ledger.mark() {
            self.ledger.lose_below(self.ledger.mark());
        }
        Ok(self.ledger)
    }

    fn take(&mut self, at: usize, record: &Record) -> Result<(), Refuted> {
        let before = self.ledger.state.mark();
        match record {
            Record::Promised(ballot) => self.promised(at, *ballot)?,
            Record::Accepted(run) => self.accepted(at, run)?,
            Record::Learned { first, commands } => {
                self.learned(at, *first, first.plus(commands.len() as u64))?;
            }
            Record::Decided(mark) => self.decided(at, *mark)?,
            Record::Incarnation { node, incarnation }
            | Record::Heard { node, incarnation, .. }
            | Record::Moved { node, incarnation, .. } => {
                self.met(at, *node, *incarnation, "a store of node")?;
            }
            Record::Testified { node, incarnation } => {
                self.met(at, *node, *incarnation, "a store of node")?;
                self.votes(at)?;
            }
            Record::Trimmed { below, mark, promised, chain, incarnations, first_record: _ } => {
                self.trimmed(at, (*below, *mark), *promised, *chain)?;
                self.restates_stores(at, incarnations)?;
            }
            Record::Standing { pledges, votes } => self.standing(at, *pledges, *votes)?,
            // Damage that was mended: what was said is bounded, and not known.
            Record::Lost { below, .. } => {
                (self.is_whole, self.knows_chain, self.knows_mark) = (false, false, false);
                self.gone_below = self.gone_below.max(*below);
                self.ledger.lose_below(*below);
            }
            Record::Imported { promised, chain, accepted } => {
                let ballots = accepted.iter().map(|pvalue| pvalue.ballot);
                let highest = ballots.chain(chain.map(|chain| chain.ballot)).max();
                self.imported(at, *promised, highest)?;
            }
        }
        self.ledger.read.records += 1;
        let state = std::mem::take(&mut self.ledger.state);
        self.ledger.state = state.then([record.clone()]);
        if matches!(record, Record::Imported { .. }) {
            self.ledger.lose_below(self.ledger.state.end());
        }
        self.no_gap(at, before)
    }

    fn promised(&mut self, at: usize, ballot: Ballot) -> Result<(), Refuted> {
        self.ledger.read.promises += 1;
        self.votes(at)?;
        self.grows(at, Some(ballot), Invariant::A1)
    }

    /// A ballot is not below the promise.
    pub(super) fn grows(
        &self,
        at: usize,
        to: Option<Ballot>,
        law: Invariant,
    ) -> Result<(), Refuted> {
        let Some(promised) = self.ledger.state.promised().filter(|it| Some(*it) > to) else {
            return Ok(());
        };
        let to = to.map_or("nothing".to_owned(), |ballot| format!("ballot {ballot}"));
        let what = if law == Invariant::A2 { "accepted" } else { "promised" };
        let why = format!("{to} is {what}, where ballot {promised} was promised");
        let made = |record: &Record| Tells::of(record).promised == Some(promised);
        self.refute(law, why, self.earlier(at, made), at)
    }

    fn accepted(&mut self, at: usize, run: &Run) -> Result<(), Refuted> {
        self.ledger.read.runs += 1;
        self.votes(at)?;
        self.grows(at, Some(run.ballot), Invariant::A2)?;
        let (state, after) = (&self.ledger.state, run.after);
        let chain = state.chain().filter(|chain| chain.ballot == run.ballot);
        let follows = chain.is_some_and(|chain| chain.end == after) || after <= state.mark();
        let is_sound = !run.commands.is_empty() && after <= run.first;
        let is_known = self.knows_chain && self.knows_mark;
        if !is_sound || (!follows && is_known) {
            let ended = chain.map_or("with none".to_owned(), |chain| format!("at {}", chain.end));
            let (ballot, mark) = (run.ballot, state.mark());
            let why = format!(
                "a run names slot {after} as the end of the one before; the runs of ballot \
                 {ballot} ended {ended}, and decided is every slot below {mark}"
            );
            let last = |record: &Record| Tells::of(record).is_run;
            return self.refute(Invariant::Runs, why, self.earlier(at, last), at);
        }
        self.ledger.read.unfollowed += u64::from(!follows);
        self.knows_chain = true;
        Ok(())
    }

    fn learned(&mut self, at: usize, first: Slot, end: Slot) -> Result<(), Refuted> {
        let mark = self.ledger.state.mark();
        if self.knows_mark && first > mark {
            let why = format!("slots {mark}..{first} are left out of what is learned");
            let marked = |record: &Record| Tells::of(record).mark.is_some();
            return self.refute(Invariant::R2, why, self.earlier(at, marked), at);
        }
        // What was known to be decided is learnt once more where damage had taken it, and perhaps
        // a vote.
        if !self.knows_mark || first < mark {
            self.ledger.lose_below(end);
        }
        Ok(())
    }

    fn decided(&mut self, at: usize, mark: Slot) -> Result<(), Refuted> {
        self.knows_mark = true;
        self.rises(at, mark)
    }

    fn rises(&self, at: usize, to: Slot) -> Result<(), Refuted> {
        let mark = self.ledger.state.mark();
        if mark <= to {
            return Ok(());
        }
        let why = format!("the decided mark falls from {mark} to {to}");
        let made = |record: &Record| Tells::of(record).mark == Some(mark);
        self.refute(Invariant::R4, why, self.earlier(at, made), at)
    }

    pub(super) fn met(
        &self,
        at: usize,
        node: NodeId,
        incarnation: Incarnation,
        what: &str,
    ) -> Result<(), Refuted> {
        let Some(known) = self.ledger.state.incarnation(node).filter(|it| *it > incarnation) else {
            return Ok(());
        };
        let (id, older, newer) = (node.0, incarnation.0, known.0);
        let why = format!("{what} {id}, {older}, where {newer} is known");
        let met = |record: &Record| Tells::has_met(record, (node, known));
        self.refute(Invariant::Incarnations, why, self.earlier(at, met), at)
    }

    /// A trim restates what was, and lets go of nothing that is not decided.
    fn trimmed(
        &mut self,
        at: usize,
        (below, mark): (Slot, Slot),
        promised: Option<Ballot>,
        chain: Option<Chain>,
    ) -> Result<(), Refuted> {
        self.ledger.read.trims += 1;
        self.grows(at, promised, Invariant::A1)?;
        self.rises(at, mark)?;
        let known = self.ledger.state.chain();
        if !self.restates(known, chain) {
            let words = |chain: Option<Chain>| chain.map_or("none".to_owned(), refuted::chain);
            let why = format!("a trim restates the runs {}, not {}", words(chain), words(known));
            let last = |record: &Record| Tells::of(record).is_run;
            return self.refute(Invariant::A3, why, self.earlier(at, last), at);
        }
        if mark < below {
            let why = format!("slots {mark}..{below} are trimmed, and not decided");
            return self.refute(Invariant::A3, why, None, at);
        }
        let state = &self.ledger.state;
        let (pledges, is_fit, was_whole) = (state.pledges(), state.is_fit(), self.is_whole);
        self.owed = Some(Owed { at, pledges, is_fit, was_whole });
        if !was_whole {
            self.gone_below = self.gone_below.max(mark);
        }
        (self.is_whole, self.knows_chain, self.knows_mark) = (true, true, true);
        Ok(())
    }

    fn restates(&self, known: Option<Chain>, restated: Option<Chain>) -> bool {
        match (known, restated) {
            _ if !self.knows_chain => {
                restated.map(|chain| chain.ballot) >= known.map(|chain| chain.ballot)
            }
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(known), Some(it)) => {
                let is_from = it.from == known.from || (!self.is_whole && it.from < known.from);
                is_from && (it.ballot, it.end) == (known.ballot, known.end)
            }
        }
    }

    /// Where the mark has risen from `before`, every slot holds something; but what was trimmed
    /// away may have been damage, and what it took need not be learnt again yet.
    fn no_gap(&self, at: usize, before: Slot) -> Result<(), Refuted> {
        if !self.is_whole {
            return Ok(());
        }
        let state = &self.ledger.state;
        let mut next = before.max(state.trimmed()).max(self.gone_below);
        for (slot, _) in state.votes(next).take_while(|(slot, _)| *slot < state.mark()) {
            if slot > next {
                break;
            }
            next = slot.next();
        }
        if next >= state.mark() {
            return Ok(());
        }
        let why = format!("slot {next} holds nothing, below the decided mark {}", state.mark());
        self.refute(Invariant::R2, why, None, at)
    }

    /// The last record before one that is such.
    pub(super) fn earlier(&self, at: usize, is_such: impl Fn(&Record) -> bool) -> Option<usize> {
        self.ledger.records()[..at].iter().rposition(|(_, record)| is_such(record))
    }

    pub(super) fn refute(
        &self,
        invariant: Invariant,
        why: String,
        earlier: Option<usize>,
        at: usize,
    ) -> Result<(), Refuted> {
        let shown = earlier.into_iter().chain([at]);
        let exhibits = shown.map(|at| self.ledger.exhibit(at, None)).collect();
        Err(Refuted { invariant, why, exhibits })
    }
}
