//! The replica: one node's share of the protocol, as a value with one method.
//!
//! [`Replica::step`] is total: it never fails, never waits, and its effects depend on nothing but
//! the steps before. Stale or foreign input is ignored; a broken invariant panics. Durable state
//! changes only through [`Effects::record`].
//!
//! This file dispatches and holds what every replica does: promise, accept, learn. What only some
//! do at times stands beside it: `campaigning` (canvass and phase 1) and `leading` (phase 2).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::acceptor::Acceptor;
use super::ballot::{Ballot, Incarnation, NodeId, Slot};
use super::command::{Command, Request, RequestNumber};
use super::concord::Concord;
use super::config::Config;
use super::durable::{AcceptorState, Effects};
use super::election::Election;
use super::holding::Holding;
use super::leader::Office;
use super::learner::Learner;
use super::message::{
    Accept, CatchUp, CatchUpAsk, Digest, Echo, Envelope, Heartbeat, Message, Prepare, Transfer,
};
use super::notice::{Notice, ReadId, Rejection};
use super::suffrage::{self, Suffrage};

/// All that can happen to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A message arrived.
    Message(Envelope),
    /// A client's request arrived; its session has applied everything up to `applied` here.
    Propose {
        /// The request.
        request: Request,
        /// The last number of its session that is applied, 0 if there is no session.
        applied: RequestNumber,
    },
    /// If this node leads: propose a command that is no client's request, after what waits now.
    Own(Command),
    /// A linearizable read arrived.
    Read(ReadId),
    /// The connection from a peer broke: if it led, its silence need not be waited for.
    Reset(NodeId),
    /// Time passed: so many ticks since the last one.
    Tick {
        /// Ticks since the last tick.
        elapsed: u64,
    },
    /// The queue of inputs is drained: propose what was gathered.
    Flush,
    /// Leave the next slots empty, as if their proposals had been lost (a fault to order).
    Skip(u64),
    /// Fill the slots that were left empty.
    Heal,
    /// A snapshot of everything below this slot is durable, and so is one at a higher slot: what
    /// lies below may go from the log.
    Trim(Slot),
    /// A peer's snapshot of everything below this slot is durable here, and in force; or others
    /// hold it for this witness.
    Install(Slot),
    /// A snapshot of everything below this slot is durable here, with its archive, and a newer one
    /// beside it: of the two, one may be lost.
    Hold(Slot),
    /// The node around this replica says this to the one around a peer's.
    Transfer(NodeId, Bytes),
}

/// One node's share of the protocol.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) config: Config,
    pub(super) acceptor: Acceptor,
    pub(super) learner: Learner,
    pub(super) election: Election,
    pub(super) office: Office,
    pub(super) suffrage: Suffrage,
    /// What peers' stores told of their pledges, and no record of this one says yet.
    pub(super) heard: BTreeMap<NodeId, (Incarnation, u64)>,
    /// Ticks since the start.
    pub(super) now: u64,
    /// Every slot below is applied by the node around the core.
    pub(super) applied: Slot,
    pub(super) concord: Concord,
    pub(super) holding: Holding,
    steps: u64,
    /// Whether anything was recorded since the last flush: then the mark rides along.
    recorded: bool,
    mark_due: u64,
    heard_due: u64,
}

impl Replica {
    /// A replica that goes on from what its disk says.
    #[must_use]
    pub fn recover(config: Config, state: AcceptorState) -> Replica {
        Replica {
            learner: Learner::new(state.known()),
            election: Election::new(&config, state.promised(), 0),
            applied: state.known(),
            suffrage: Suffrage::at_start(&config, &state),
            heard: BTreeMap::new(),
            acceptor: Acceptor { state },
            office: Office::None,
            now: 0,
            concord: Concord::default(),
            holding: Holding::default(),
            steps: 0,
            recorded: false,
            mark_due: 0,
            heard_due: 0,
            config,
        }
    }

    /// Does what this input asks for, and says what must be written, sent and told.
    pub fn step(&mut self, input: Input) -> Effects {
        let mut fx = Effects::of_step(self.config.node, self.steps);
        self.steps += 1;
        if self.is_gone() {
            return fx;
        }
        match input {
            Input::Message(envelope) => self.on_message(envelope, &mut fx),
            Input::Propose { request, applied } => self.on_propose(request, applied, &mut fx),
            Input::Own(command) => self.on_own(command),
            Input::Read(id) => self.on_read(id, &mut fx),
            Input::Reset(node) => self.on_reset(node),
            Input::Tick { elapsed } => self.on_tick(elapsed, &mut fx),
            Input::Flush => self.on_flush(&mut fx),
            Input::Skip(count) => self.on_skip(count),
            Input::Heal => self.heal(&mut fx),
            Input::Trim(below) => self.on_trim(below, &mut fx),
            Input::Install(below) => self.on_install(below, &mut fx),
            Input::Hold(below) => self.on_hold(below, &mut fx),
            Input::Transfer(to, body) => fx.send(to, Transfer { body }),
        }
        self.recorded |= fx.is_recording();
        if self.is_gone() {
            self.step_down(&mut fx);
        }
        fx
    }

    /// The node around the core has applied every slot below `applied`, and passed these
    /// checkpoints.
    pub fn note_applied(&mut self, applied: Slot, passed: impl IntoIterator<Item = Digest>) {
        self.applied = applied;
        passed.into_iter().for_each(|digest| self.concord.note(digest));
        if let Some(intake) = self.office.intake_mut() {
            intake.note_applied(applied);
        }
    }

    /// A state of others has taken the place of what the node around the core had applied.
    pub fn note_replaced(&mut self) {
        self.concord.restart();
    }

    /// What this replica's future depends on, as text, where time is no event: equal texts go on
    /// alike. Clocks, timers and the pulse are left out, so it holds only for one whose ticks, if
    /// any come, outlast every timer, and that gets no heartbeat, echo, canvass or read.
    pub(crate) fn essence(&self) -> String {
        let Replica {
            config,
            acceptor,
            learner,
            election: _, // timers
            office,
            suffrage,
            heard,
            now,
            applied,
            concord: _, // rides on heartbeats
            holding: _, // of witnesses, whose logs are trimmed
            steps: _,
            recorded,
            mark_due: _,
            heard_due: _,
        } = self;
        let (node, learner, office) = (config.node, learner.essence(*now), office.essence());
        format!(
            "{node} {applied} {recorded} {acceptor:?} {learner} {office} {suffrage:?} {heard:?}"
        )
    }

    fn on_message(&mut self, envelope: Envelope, fx: &mut Effects) {
        let from = envelope.from;
        let known = envelope.to == self.config.node && from.0 < self.config.members;
        if !known || !envelope.message.is_sound() {
            return;
        }
        if !self.may_vote() && suffrage::is_for_voters(&envelope.message) {
            return;
        }
        match envelope.message {
            Message::Prepare(prepare) => self.on_prepare(from, &prepare, fx),
            Message::Promise(promise) => self.on_promise(from, promise, fx),
            Message::Preempted(preempted) => self.on_preempted(&preempted, fx),
            Message::Accept(accept) => self.on_accept(from, accept, fx),
            Message::Accepted(accepted) => self.on_accepted(from, &accepted, fx),
            Message::Resend(resend) => self.on_resend(from, &resend, fx),
            Message::Decide(decide) => self.on_watermark(decide.ballot, decide.watermark, fx),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, &heartbeat, fx),
            Message::Echo(echo) => self.on_echo(from, &echo, fx),
            Message::Canvass(canvass) => self.on_canvass(from, &canvass, fx),
            Message::CanvassAnswer(answer) => self.on_canvass_answer(from, &answer, fx),
            Message::CatchUpAsk(ask) => self.on_catch_up_ask(from, &ask, fx),
            Message::CatchUp(chunk) => self.on_catch_up(from, chunk, fx),
            Message::Transfer(Transfer { body }) => fx.notify(Notice::Transfer(from, body)),
            Message::Pledged(pledged) => self.on_pledged(from, &pledged, fx),
            Message::Recall(recall) => self.on_recall(from, &recall, fx),
            Message::Recollection(it) => self.on_recollection(from, &it, fx),
            Message::Rejoin(rejoin) => self.on_rejoin(from, &rejoin, fx),
            Message::Testimony(testimony) => self.on_testimony(from, testimony, fx),
            Message::Holds(holds) => self.on_holds(from, &holds, fx),
        }
    }

    fn on_prepare(&mut self, from: NodeId, prepare: &Prepare, fx: &mut Effects) {
        let ballot = prepare.ballot;
        if ballot.node != from || !self.admit_owner(ballot, fx) {
            return;
        }
        self.hear_pledges(from, ballot.incarnation, prepare.pledges);
        let decided = self.learner.decided();
        if self.acceptor.on_prepare(&self.config, from, ballot, decided, fx) {
            self.election.hear(&self.config, ballot, self.now);
            self.yield_to_promise(fx);
        }
    }

    fn on_accept(&mut self, from: NodeId, accept: Accept, fx: &mut Effects) {
        let ballot = accept.run.ballot;
        if ballot.node != from || !self.admit_owner(ballot, fx) {
            return;
        }
        self.on_watermark(ballot, accept.watermark, fx);
        let decided = self.learner.decided();
        self.acceptor.on_accept(&self.config, from, accept.run, decided, fx);
        self.yield_to_promise(fx);
    }

    pub(super) fn on_watermark(&mut self, ballot: Ballot, watermark: Slot, fx: &mut Effects) {
        self.learner.on_watermark(&self.acceptor.state, ballot, watermark, fx);
    }

    fn on_heartbeat(&mut self, from: NodeId, heartbeat: &Heartbeat, fx: &mut Effects) {
        let ballot = heartbeat.ballot;
        if ballot.node != from || !self.admit_owner(ballot, fx) {
            return;
        }
        if !self.may_vote() {
            if self.acceptor.promised() <= Some(ballot) {
                self.concord.hear_all(&self.config, &heartbeat.digests);
            }
            self.learner.on_hint(from, heartbeat.decided);
            self.ask(Some(from), fx);
            return;
        }
        if self.acceptor.refuses(from, ballot, fx) {
            return;
        }
        if self.office.ballot().is_some_and(|mine| mine < ballot) {
            self.step_down(fx);
        }
        self.election.hear(&self.config, ballot, self.now);
        self.concord.hear_all(&self.config, &heartbeat.digests);
        self.on_watermark(ballot, heartbeat.watermark, fx);
        self.learner.on_hint(from, heartbeat.decided);
        let echo = Echo {
            ballot,
            round: heartbeat.round,
            decided: self.learner.decided(),
            seal: self.acceptor.seal(&self.config),
            digest: self.concord.newest(),
        };
        fx.send_early(from, echo);
        self.ask(Some(from), fx);
    }

    fn on_catch_up_ask(&mut self, from: NodeId, ask: &CatchUpAsk, fx: &mut Effects) {
        let chunk = self.learner.serve(&self.acceptor.state, ask.from, &self.config.limits);
        fx.send_early(from, chunk);
    }

    fn on_catch_up(&mut self, from: NodeId, chunk: CatchUp, fx: &mut Effects) {
        // A leader learns from others only what lies below its first slot; what it proposed itself
        // it knows from votes alone, or it would send watermarks that rest on another's ballot.
        let limit = match &self.office {
            Office::None | Office::Campaign(_) => Slot(u64::MAX),
            Office::Lead(lead) => lead.first,
        };
        let until = (limit, self.now);
        if self.learner.on_catch_up(&mut self.acceptor.state, from, chunk, until, fx) {
            self.ask(Some(from), fx);
        }
        // Whoever cannot learn what lies below its first slot must not keep the others waiting.
        if self.is_stranded() && !self.is_ready() {
            self.step_down(fx);
        }
    }

    pub(super) fn ask(&mut self, preferred: Option<NodeId>, fx: &mut Effects) {
        let limit = match &self.office {
            Office::None | Office::Campaign(_) => Slot(u64::MAX),
            Office::Lead(lead) => lead.first,
        };
        if self.learner.decided() < limit {
            self.learner.ask(&self.config, preferred, self.now, fx);
        }
    }

    /// Whether everything below this node's mark is known here: not if its log was damaged.
    pub(super) fn is_whole(&self) -> bool {
        self.learner.decided() >= self.acceptor.state.mark()
    }

    /// A node whose log was damaged does not wait to be told who is ahead: nobody may lead, as long
    /// as all are damaged, each elsewhere. It asks all others in turn.
    fn suppose_others_whole(&mut self) {
        if !self.is_whole() {
            let turn = self.now / self.config.timing.heartbeat_ticks;
            let peers = u64::from(self.config.members - 1).max(1);
            let peer = self.config.peers().nth((turn % peers) as usize);
            let mark = self.acceptor.state.mark();
            peer.into_iter().for_each(|peer| self.learner.on_hint(peer, mark));
        }
    }

    fn on_reset(&mut self, node: NodeId) {
        if matches!(self.office, Office::None) {
            self.election.lose(&self.config, node, self.now);
        }
    }

    fn on_tick(&mut self, elapsed: u64, fx: &mut Effects) {
        self.now = self.now.saturating_add(elapsed);
        self.tick_suffrage(fx);
        self.tick_holding(fx);
        match &self.office {
            Office::None => self.tick_following(fx),
            Office::Campaign(_) => self.tick_campaigning(fx),
            Office::Lead(_) => self.tick_leading(fx),
        }
        self.suppose_others_whole();
        self.ask(self.election.heard(&self.config, self.now), fx);
        if self.now >= self.mark_due && self.acceptor.state.mark() < self.learner.decided() {
            self.acceptor.raise_mark(self.learner.decided(), fx);
            self.mark_due = self.now + self.config.timing.heartbeat_ticks * 2;
        }
        if self.now >= self.heard_due && !self.heard.is_empty() {
            self.write_heard(fx);
            self.heard_due = self.now + self.config.timing.heartbeat_ticks * 2;
        }
    }

    fn on_flush(&mut self, fx: &mut Effects) {
        self.flush(fx);
        // The mark costs nothing where something is written anyway.
        if self.recorded || fx.is_recording() {
            self.acceptor.raise_mark(self.learner.decided(), fx);
            self.write_heard(fx);
        }
        self.recorded = false;
        self.judge(fx);
    }

    /// Steps down if this node's own promise forbids its office.
    fn yield_to_promise(&mut self, fx: &mut Effects) {
        if self.office.ballot().is_some_and(|mine| Some(mine) < self.acceptor.promised()) {
            self.step_down(fx);
        }
    }

    /// Gives up office. A ballot once left is never led again: the next campaign takes a new one.
    pub(super) fn step_down(&mut self, fx: &mut Effects) {
        if let Office::Lead(lead) = std::mem::replace(&mut self.office, Office::None) {
            for id in lead.pulse.into_reads() {
                fx.notify(Notice::ReadRejected(id, Rejection::NotLeader(None)));
            }
        }
    }
}
