//! The acceptor: promises, accepts, and never takes either back (PMMC 2.1).
//!
//! Knows no time and no leader but what its disk says. Everything it answers rests on a record and
//! so leaves through the sealed lane; the one exception asks for something.
//!
//! Invariants: A1, the promise only grows; A2, it accepts only ballots at or above its promise; and
//! one of our own, on which phase 1 leans: *whoever accepted anything in a ballot holds everything
//! that the ballot proposed below it, or knows it to be decided.* Hence the chain of runs.

use super::ballot::{Ballot, NodeId, Slot};
use super::config::Config;
use super::durable::{AcceptorState, Chain, Effects, Record};
use super::message::{Accepted, Preempted, Promise, Resend, Run, Seal};
use super::sound::SPAN_MAX;

/// An acceptor on its durable state.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    pub(super) state: AcceptorState,
}

impl Acceptor {
    pub(super) fn promised(&self) -> Option<Ballot> {
        self.state.promised()
    }

    /// Phase 1b. Whether the promise was given.
    pub(super) fn on_prepare(
        &mut self,
        config: &Config,
        from: NodeId,
        ballot: Ballot,
        decided: Slot,
        fx: &mut Effects,
    ) -> bool {
        if self.refuses(from, ballot, fx) {
            return false;
        }
        if self.promised() < Some(ballot) {
            fx.record(&mut self.state, Record::Promised(ballot));
        }
        // A promise lists from the mark on; raising it first keeps the list within the window.
        self.raise_mark(decided, fx);
        let promise = Promise {
            ballot,
            mark: self.state.mark(),
            accepted_in: self.state.chain().map(|chain| chain.ballot),
            accepted: self.state.accepted(),
            pledges: self.state.pledges(),
            seal: self.seal(config),
        };
        fx.send(from, promise);
        true
    }

    /// Phase 2b: votes for a run, unless a higher ballot is promised or its predecessor is missing;
    /// that is asked for.
    pub(super) fn on_accept(
        &mut self,
        config: &Config,
        from: NodeId,
        run: Run,
        decided: Slot,
        fx: &mut Effects,
    ) {
        let ballot = run.ballot;
        if self.refuses(from, ballot, fx) || run.commands.is_empty() {
            return;
        }
        let chain = self.state.chain().filter(|chain| chain.ballot == ballot);
        let known = chain.is_some_and(|chain| chain.from <= run.first && run.end() <= chain.end);
        if known {
            self.vote(config, from, ballot, chain, fx);
        } else if run.end() <= decided {
            self.vote_for_decided(config, from, &run, decided, fx);
        } else if follows(chain, &run, decided) {
            // Where a chain begins, everything below it must be decided *on disk*: a promise made
            // after a crash lists from the durable mark on.
            self.raise_mark(decided, fx);
            fx.record(&mut self.state, Record::Accepted(run));
            self.vote(config, from, ballot, self.state.chain(), fx);
        } else {
            fx.send_early(from, Resend { ballot });
        }
    }

    fn vote(
        &self,
        config: &Config,
        to: NodeId,
        ballot: Ballot,
        chain: Option<Chain>,
        fx: &mut Effects,
    ) {
        if let Some(Chain { from, end, .. }) = chain {
            let (pledges, seal) = (self.state.pledges(), self.seal(config));
            fx.send(to, Accepted { ballot, from, up_to: end, pledges, seal });
        }
    }

    /// Every slot of the run is decided here, perhaps by a ballot that its leader never heard of:
    /// there is nothing to store, since any promise from now on states a mark above it, but the
    /// leader must not wait for a vote that would never come.
    fn vote_for_decided(
        &mut self,
        config: &Config,
        to: NodeId,
        run: &Run,
        decided: Slot,
        fx: &mut Effects,
    ) {
        let ballot = run.ballot;
        if self.promised() < Some(ballot) {
            fx.record(&mut self.state, Record::Promised(ballot));
        }
        self.raise_mark(decided, fx);
        let (from, up_to) = (run.first, run.end());
        let (pledges, seal) = (self.state.pledges(), self.seal(config));
        fx.send(to, Accepted { ballot, from, up_to, pledges, seal });
    }

    /// Writes down how far this node has decided, if the disk does not say so yet.
    pub(super) fn raise_mark(&mut self, decided: Slot, fx: &mut Effects) {
        if self.state.mark() < decided {
            fx.record(&mut self.state, Record::Decided(decided));
        }
    }

    /// Refuses a ballot below the promise (A2).
    pub(super) fn refuses(&self, from: NodeId, ballot: Ballot, fx: &mut Effects) -> bool {
        match self.promised() {
            Some(promised) if promised > ballot => {
                fx.send(from, Preempted { refused: ballot, promised });
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn seal(&self, config: &Config) -> Seal {
        Seal { incarnation: config.incarnation, known: self.state.incarnations() }
    }
}

/// Whether everything that the run's ballot proposed before it is held here, or decided; and
/// whether it lies near enough for a Promise to list it.
fn follows(chain: Option<Chain>, run: &Run, decided: Slot) -> bool {
    let near = run.end().since(decided) <= SPAN_MAX;
    near && (chain.is_some_and(|chain| chain.end == run.after) || run.after <= decided)
}
