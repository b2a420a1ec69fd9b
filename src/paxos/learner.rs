//! The learner: which slots are decided, in order, and how to get those that are missing.
//!
//! A slot is taken as decided in two ways only: below a leader's watermark, if it was accepted here
//! in that very ballot; or because a peer that knows it decided says so (learner sync, in chunks,
//! always from the first slot that is missing here). Never by looking at another's acceptances.
//!
//! Invariant: `decided` has no gap below it, and every slot below is in this node's log, with its
//! decided value, by the time the step's records are on disk.

use std::collections::BTreeMap;

use super::ballot::{Ballot, NodeId, Slot};
use super::config::{Config, Limits};
use super::durable::{AcceptorState, Effects, Record};
use super::message::{CatchUp, CatchUpAsk};
use super::notice::Notice;

/// What is decided, and who is known to know more.
#[derive(Clone, Debug)]
pub(super) struct Learner {
    decided: Slot,
    /// How far others have decided, as they said last.
    ahead: BTreeMap<NodeId, Slot>,
    /// Whom we asked, and when.
    asked: Option<(NodeId, u64)>,
    /// Below this slot a peer has trimmed what is missing here; and when it said so.
    stranded: Option<(Slot, u64)>,
}

impl Learner {
    /// A learner that knows what is on disk.
    pub(super) fn new(mark: Slot) -> Learner {
        Learner { decided: mark, ahead: BTreeMap::new(), asked: None, stranded: None }
    }

    /// What its future depends on, as text: see [`Replica::essence`](super::Replica::essence).
    pub(super) fn essence(&self, now: u64) -> String {
        let Learner { decided, ahead, asked, stranded } = self;
        let lately = asked.map(|(whom, at)| (whom, at == now));
        format!("{decided} {ahead:?} {lately:?} {stranded:?}")
    }

    /// Every slot below is decided.
    pub(super) fn decided(&self) -> Slot {
        self.decided
    }

    /// Whether somebody is known to be ahead.
    pub(super) fn is_behind(&self) -> bool {
        self.ahead.values().any(|decided| *decided > self.decided)
    }

    /// Whether what is missing here was gone from a peer's log within so many ticks: it comes as a
    /// snapshot, and until then this node is of no use as a leader.
    pub(super) fn is_stranded(&self, now: u64, patience: u64) -> bool {
        self.stranded.is_some_and(|(trimmed, at)| self.decided < trimmed && now < at + patience)
    }

    /// A snapshot of everything below is on this disk.
    pub(super) fn on_installed(&mut self, below: Slot) {
        self.decided = self.decided.max(below);
        self.asked = None;
    }

    /// A leader says that all it proposed in `ballot` below `watermark` is decided.
    pub(super) fn on_watermark(
        &mut self,
        state: &AcceptorState,
        ballot: Ballot,
        watermark: Slot,
        fx: &mut Effects,
    ) {
        while self.decided < watermark {
            match state.vote(self.decided) {
                Some(vote) if vote.ballot == Some(ballot) => {
                    fx.notify(Notice::Decided(self.decided, vote.command.clone()));
                    self.decided = self.decided.next();
                }
                Some(_) | None => break,
            }
        }
    }

    /// A peer says how far it has decided.
    pub(super) fn on_hint(&mut self, from: NodeId, decided: Slot) {
        if decided > self.decided {
            self.ahead.insert(from, decided);
        } else {
            self.ahead.remove(&from);
        }
    }

    /// Asks for what is missing, of `preferred` if it is ahead; not again before an answer, or
    /// `patience` ticks without one, after which somebody else is asked.
    pub(super) fn ask(
        &mut self,
        config: &Config,
        preferred: Option<NodeId>,
        now: u64,
        fx: &mut Effects,
    ) {
        let patience = config.timing.heartbeat_ticks * 2;
        self.ahead.retain(|_, decided| *decided > self.decided);
        if let Some((whom, at)) = self.asked {
            if now < at + patience {
                return;
            }
            // No answer: forget what it said, so that another one gets its turn.
            self.ahead.remove(&whom);
            self.asked = None;
        }
        let preferred = preferred.filter(|node| self.ahead.contains_key(node));
        let furthest = || self.ahead.iter().max_by_key(|(_, decided)| **decided).map(|(n, _)| *n);
        if let Some(node) = preferred.or_else(furthest) {
            fx.send_early(node, CatchUpAsk { from: self.decided });
            self.asked = Some((node, now));
        }
    }

    /// A chunk of decided slots, of which those below `limit` are wanted. Whether it helped.
    pub(super) fn on_catch_up(
        &mut self,
        state: &mut AcceptorState,
        from: NodeId,
        chunk: CatchUp,
        (limit, now): (Slot, u64),
        fx: &mut Effects,
    ) -> bool {
        if self.asked.is_some_and(|(whom, _)| whom == from) {
            self.asked = None;
        }
        if chunk.trimmed > self.decided {
            self.stranded = Some((chunk.trimmed, now));
            fx.notify(Notice::Stranded(from));
        }
        let known = self.decided.since(chunk.first) as usize;
        let wanted = limit.since(chunk.first).min(chunk.commands.len() as u64) as usize;
        if chunk.first > self.decided || wanted <= known {
            self.on_hint(from, chunk.decided.min(self.decided));
            return false;
        }
        let mut commands = chunk.commands;
        commands.truncate(wanted);
        commands.drain(..known);
        let first = self.decided;
        for command in &commands {
            fx.notify(Notice::Decided(self.decided, command.clone()));
            self.decided = self.decided.next();
        }
        // What the disk holds already need not be written again; the mark will cover it.
        let held = |(slot, command): (u64, &_)| {
            state.vote(Slot(slot)).is_some_and(|vote| vote.command == *command)
        };
        if !(first.0..).zip(&commands).all(held) {
            if state.mark() < first {
                fx.record(state, Record::Decided(first));
            }
            fx.record(state, Record::Learned { first, commands });
        }
        self.pass_held(state, Slot(0), fx);
        self.on_hint(from, chunk.decided);
        true
    }

    /// Behind what a damaged log had lost, it holds what is decided up to its mark. From `untold`
    /// on the node around the core is to hear of it.
    pub(super) fn pass_held(&mut self, state: &AcceptorState, untold: Slot, fx: &mut Effects) {
        while self.decided < state.mark()
            && let Some(vote) = state.vote(self.decided)
        {
            if self.decided >= untold {
                fx.notify(Notice::Decided(self.decided, vote.command.clone()));
            }
            self.decided = self.decided.next();
        }
    }

    /// The answer to a peer that asks from `from` on: decided values only, never acceptances.
    pub(super) fn serve(&self, state: &AcceptorState, from: Slot, limits: &Limits) -> CatchUp {
        let decided = self.decided;
        let trimmed = state.trimmed();
        let mut chunk = CatchUp { first: from, commands: Vec::new(), decided, trimmed };
        let mut bytes = 0;
        let mut next = from;
        if from < trimmed {
            return chunk;
        }
        for (slot, vote) in state.votes(from).take_while(|(slot, _)| *slot < decided) {
            bytes += vote.command.weight();
            if slot != next || (bytes > limits.chunk_bytes && !chunk.commands.is_empty()) {
                break;
            }
            chunk.commands.push(vote.command.clone());
            next = slot.next();
        }
        chunk
    }
}
