//! From silence to office: canvass, campaign, phase 1.
//!
//! A campaign begins with a durable promise to oneself and takes a fresh ballot each time, so that
//! no crash and no late message can make a node use a ballot twice.

use super::ballot::{Ballot, NodeId, Slot};
use super::durable::Effects;
use super::intake::Intake;
use super::leader::{Campaign, Office};
use super::message::{Canvass, CanvassAnswer, Preempted, Prepare, Promise};
use super::replica::Replica;
use super::scout::Scout;
use super::stores::Admission;

impl Replica {
    pub(super) fn tick_following(&mut self, fx: &mut Effects) {
        let may_lead = self.may_vote() && !self.is_stranded() && self.is_whole();
        if may_lead && self.election.is_due(&self.config, self.now) {
            self.canvass(fx);
        }
    }

    /// Asks all whether they would follow; the first answer is this node's own.
    fn canvass(&mut self, fx: &mut Effects) {
        let round = self.election.begin_canvass(&self.config, self.now);
        let decided = self.learner.decided();
        for peer in self.config.peers() {
            fx.send_early(peer, Canvass { round, decided });
        }
        self.count_yes(self.config.node, round, self.acceptor.promised(), fx);
    }

    pub(super) fn on_canvass(&mut self, from: NodeId, canvass: &Canvass, fx: &mut Effects) {
        self.learner.on_hint(from, canvass.decided);
        let leads = match &self.office {
            Office::None => false,
            Office::Campaign(_) => true,
            Office::Lead(lead) => lead.pulse.is_in_touch(self.now, self.config.timing.reach_ticks),
        };
        let yes = !leads && !self.election.hears_other_than(from, &self.config, self.now);
        let answer = CanvassAnswer {
            round: canvass.round,
            yes,
            promised: self.acceptor.promised(),
            decided: self.learner.decided(),
            seal: self.acceptor.seal(&self.config),
        };
        fx.send_early(from, answer);
    }

    pub(super) fn on_canvass_answer(
        &mut self,
        from: NodeId,
        answer: &CanvassAnswer,
        fx: &mut Effects,
    ) {
        self.learner.on_hint(from, answer.decided);
        let replaced = self.admit(from, &answer.seal, fx) == Admission::Replaced;
        if answer.yes && !replaced && matches!(self.office, Office::None) {
            // What follows from a quorum of yes leaves through the sealed lane, so an answer from
            // a store that was recorded in this very step may count.
            self.count_yes(from, answer.round, answer.promised, fx);
        }
    }

    fn count_yes(&mut self, from: NodeId, round: u64, promised: Option<Ballot>, fx: &mut Effects) {
        let incarnation = self.acceptor.state.incarnation(from).unwrap_or(self.config.incarnation);
        let won = self.election.on_yes(&self.config, from, round, promised, incarnation);
        if let Some(highest) = won {
            self.campaign(highest, Slot(0), None, fx);
        }
    }

    /// Runs phase 1 in the lowest own ballot above all promises known, filling holes up to
    /// `fill_to` even if nothing stands above them.
    pub(super) fn campaign(
        &mut self,
        highest: Option<Ballot>,
        fill_to: Slot,
        intake: Option<Intake>,
        fx: &mut Effects,
    ) {
        let floor = highest.max(self.acceptor.promised());
        let ballot = Ballot::above(floor, self.config.node, self.config.incarnation);
        let scout = Scout::new(ballot, self.config.quorum(), fill_to);
        let until = self.now + self.config.timing.reach_ticks;
        let retry_at = self.now + self.config.timing.heartbeat_ticks;
        self.office =
            Office::Campaign(Campaign { scout, until, retry_at, intake: intake.map(Box::new) });
        let (me, decided) = (self.config.node, self.learner.decided());
        let promised = self.acceptor.on_prepare(&self.config, me, ballot, decided, fx);
        assert!(promised, "A1: a fresh ballot lies above every own promise");
        self.election.hear(&self.config, ballot, self.now);
        let prepare = Prepare { ballot, pledges: self.acceptor.state.pledges() };
        for peer in self.config.peers() {
            fx.send(peer, prepare.clone());
        }
    }

    pub(super) fn tick_campaigning(&mut self, fx: &mut Effects) {
        let Office::Campaign(campaign) = &mut self.office else { return };
        if self.now >= campaign.until {
            self.step_down(fx);
            self.election.hurry(self.now);
            self.election.wait(&self.config, self.now);
        } else if self.now >= campaign.retry_at {
            campaign.retry_at = self.now + self.config.timing.heartbeat_ticks;
            let ballot = campaign.scout.ballot;
            let prepare = Prepare { ballot, pledges: self.acceptor.state.pledges() };
            for peer in self.config.peers() {
                if !campaign.scout.has_promise_of(peer) {
                    fx.send(peer, prepare.clone());
                }
            }
        }
    }

    pub(super) fn on_promise(&mut self, from: NodeId, promise: Promise, fx: &mut Effects) {
        if from != self.config.node {
            self.hear_pledges(from, promise.seal.incarnation, promise.pledges);
            match self.admit(from, &promise.seal, fx) {
                Admission::Known => (),
                // Asked again soon; until the store is on disk its vote must not count.
                Admission::New | Admission::Replaced => return,
            }
        }
        self.learner.on_hint(from, promise.mark);
        if let Office::Campaign(campaign) = &mut self.office
            && campaign.scout.on_promise(from, promise)
        {
            self.take_office(fx);
        }
    }

    pub(super) fn on_preempted(&mut self, preempted: &Preempted, fx: &mut Effects) {
        if self.office.ballot() == Some(preempted.refused) {
            self.step_down(fx);
            self.election.hurry(self.now);
        }
    }
}
