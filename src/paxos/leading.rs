//! In office: phase 2, heartbeats, reads, and when to step down.

use std::collections::BTreeMap;

use super::ballot::{NodeId, Slot};
use super::command::Command;
use super::commander::Commander;
use super::durable::Effects;
use super::intake::Next;
use super::leader::{Lead, Office};
use super::message::{Accept, Accepted, Decide, Echo, Heartbeat, Resend};
use super::notice::Notice;
use super::pulse::Pulse;
use super::replica::Replica;
use super::sound::SKIP_MAX;
use super::stores::Admission;

impl Replica {
    /// Phase 1 is finished: leads, from the highest mark of its quorum on.
    pub(super) fn take_office(&mut self, fx: &mut Effects) {
        let Office::Campaign(campaign) = std::mem::replace(&mut self.office, Office::None) else {
            unreachable!("only a campaign ends in office");
        };
        let scout = campaign.scout;
        let ballot = scout.ballot;
        let pulse = Pulse::new(self.config.node, self.config.quorum(), scout.voters(), self.now);
        let (ahead, _) = scout.highest_mark();
        // What it had taken waits on only if nobody led meanwhile, who may have decided it.
        let kept = campaign.intake.filter(|_| scout.is_alone());
        let adopted = scout.adopt();
        let mut intake = kept.map(|kept| *kept).unwrap_or_default();
        intake.adopt(adopted.mark, &adopted.commands);
        self.office = Office::Lead(Box::new(Lead {
            ballot,
            first: adopted.mark,
            adopted_end: adopted.mark.plus(adopted.commands.len() as u64),
            commander: Commander::new(ballot, self.config.quorum(), adopted.mark),
            filled: adopted.commands.iter().filter(|it| **it == Command::Noop).count() as u64,
            adopted: Some(adopted.commands),
            intake,
            pulse,
            told: adopted.mark,
            retry_at: self.now,
            resent_at: BTreeMap::new(),
        }));
        self.learner.on_hint(ahead, adopted.mark);
        self.ask(Some(ahead), fx);
    }

    /// Once everything below the first slot is known: proposes all that phase 1 adopted, in one
    /// run.
    fn propose_adopted(&mut self, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        if self.learner.decided() < lead.first {
            return;
        }
        match lead.adopted.take() {
            Some(commands) if !commands.is_empty() => {
                let accept = lead.commander.propose(commands);
                self.send_accept(accept, fx);
            }
            Some(_) | None => (),
        }
    }

    /// Proposes what was gathered, as far as the window goes, and tells what is decided.
    pub(super) fn flush(&mut self, fx: &mut Effects) {
        self.propose_adopted(fx);
        while let Some(accept) = self.next_run() {
            self.send_accept(accept, fx);
        }
        self.send_heartbeat_if_due(fx);
        let Office::Lead(lead) = &mut self.office else { return };
        let watermark = lead.commander.watermark();
        if lead.told < watermark {
            lead.told = watermark;
            let ballot = lead.ballot;
            for peer in self.config.peers() {
                fx.send_early(peer, Decide { ballot, watermark });
            }
        }
        self.answer_reads(fx);
    }

    fn next_run(&mut self) -> Option<Accept> {
        let decided = self.learner.decided();
        if !self.is_ready() {
            return None;
        }
        let Office::Lead(lead) = &mut self.office else { return None };
        loop {
            let limits = &self.config.limits;
            let room = lead.commander.room(limits, decided);
            let slots = limits.window_slots.saturating_sub(lead.commander.next().since(decided));
            if room == 0 || slots == 0 {
                return None;
            }
            let next = lead.commander.next();
            let left_out = self.config.left_out(lead.ballot, next);
            if left_out == Some(next) && lead.intake.is_command_next() {
                lead.commander.skip(1);
                continue;
            }
            let slots = left_out.map_or(slots, |end| slots.min(end.since(next)));
            match lead.intake.next(room, slots)? {
                Next::Skip(count) => lead.commander.skip(count),
                Next::Commands(commands) => {
                    lead.intake.note_proposed(lead.commander.next(), &commands);
                    return Some(lead.commander.propose(commands));
                }
            }
        }
    }

    /// Whether one of the holes is to stay for as long as this view lasts. To heal any of them
    /// would end it.
    fn leaves_out_slots(&self) -> bool {
        let Office::Lead(lead) = &self.office else { return false };
        lead.commander.holes().iter().any(|(from, to)| {
            self.config.left_out(lead.ballot, *from).is_some_and(|slot| slot < *to)
        })
    }

    /// Sends a run to all, itself included: its own vote counts once it is on its own disk.
    fn send_accept(&mut self, accept: Accept, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        lead.told = lead.told.max(accept.watermark);
        lead.retry_at = self.now + self.config.timing.heartbeat_ticks * 2;
        for peer in self.config.peers() {
            fx.send_early(peer, accept.clone());
        }
        assert_eq!(self.acceptor.promised(), Some(lead.ballot), "a leader's promise is its ballot");
        let (me, decided) = (self.config.node, self.learner.decided());
        self.acceptor.on_accept(&self.config, me, accept.run, decided, fx);
    }

    pub(super) fn on_accepted(&mut self, from: NodeId, accepted: &Accepted, fx: &mut Effects) {
        if from != self.config.node {
            self.hear_pledges(from, accepted.seal.incarnation, accepted.pledges);
            if self.admit(from, &accepted.seal, fx) != Admission::Known {
                return;
            }
        }
        let Office::Lead(lead) = &mut self.office else { return };
        if lead.commander.on_accepted(from, accepted) {
            let (ballot, watermark) = (lead.ballot, lead.commander.watermark());
            let heal = lead.commander.has_decided_above_a_hole() && !self.leaves_out_slots();
            self.on_watermark(ballot, watermark, fx);
            if heal {
                self.heal(fx);
            }
        }
    }

    pub(super) fn on_resend(&mut self, from: NodeId, resend: &Resend, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        // Each run that does not follow asks: one answer is enough, or they would multiply.
        let next =
            lead.resent_at.get(&from).map_or(0, |at| at + self.config.timing.heartbeat_ticks);
        if lead.ballot == resend.ballot && self.now >= next {
            lead.resent_at.insert(from, self.now);
            for accept in lead.commander.missing(from) {
                fx.send_early(from, accept);
            }
        }
    }

    pub(super) fn on_echo(&mut self, from: NodeId, echo: &Echo, fx: &mut Effects) {
        self.learner.on_hint(from, echo.decided);
        let admission = self.admit(from, &echo.seal, fx);
        let Office::Lead(lead) = &mut self.office else { return };
        if admission == Admission::Known && echo.ballot == lead.ballot {
            lead.pulse.on_echo(from, echo.round, echo.seal.incarnation);
            self.concord.hear(from, echo.digest);
        }
    }

    pub(super) fn tick_leading(&mut self, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        let timing = self.config.timing;
        if !lead.pulse.is_in_touch(self.now, timing.reach_ticks) {
            self.step_down(fx);
            self.election.hurry(self.now);
            self.election.wait(&self.config, self.now);
            return;
        }
        if self.now >= lead.retry_at {
            lead.retry_at = self.now + timing.heartbeat_ticks * 2;
            for peer in self.config.peers() {
                for accept in lead.commander.missing(peer) {
                    fx.send_early(peer, accept);
                }
            }
        }
        self.send_heartbeat_if_due(fx);
    }

    fn send_heartbeat_if_due(&mut self, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        if !lead.pulse.is_due(self.now) {
            return;
        }
        let heartbeat = Heartbeat {
            ballot: lead.ballot,
            round: lead.pulse.begin(self.now, self.config.timing.heartbeat_ticks),
            watermark: lead.commander.watermark(),
            decided: self.learner.decided(),
            digests: Vec::new(),
        };
        for peer in self.config.peers() {
            let digests = self.concord.all_for(self.config.node, peer);
            fx.send_early(peer, Heartbeat { digests, ..heartbeat.clone() });
        }
        self.tell_pledges(fx);
    }

    fn answer_reads(&mut self, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        for (id, index) in lead.pulse.ready(self.learner.decided()) {
            fx.notify(Notice::ReadReady(id, index));
        }
    }

    /// Leaves slots empty after what waits now (a fault that a harness orders).
    pub(super) fn on_skip(&mut self, count: u64) {
        if let Some(intake) = self.office.intake_mut() {
            intake.skip(count.min(SKIP_MAX));
        }
    }

    /// Fills the holes that were left on purpose: runs phase 1 for them, in a fresh ballot.
    pub(super) fn heal(&mut self, fx: &mut Effects) {
        let Office::Lead(lead) = &mut self.office else { return };
        if lead.commander.holes().is_empty() {
            return;
        }
        let fill_to: Slot = lead.commander.next();
        let intake = std::mem::take(&mut lead.intake);
        self.step_down(fx);
        self.campaign(None, fill_to, Some(intake), fx);
    }
}
