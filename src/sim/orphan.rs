//! A dangerous moment, helped along: the end of a session outlives the leader that proposed it.
//!
//! A leader is cut off just as it proposes an end, so that this stands on its own disk only. The
//! next one hears of the session again, has nothing to propose, and is gone; the one after that
//! meets the first again and finds the end among what it accepted. By chance that hardly ever
//! happens: somebody always asks for something in the second ballot. So nobody does, here.

use super::queue::Happening;
use super::world::World;
use crate::paxos::{Command, Envelope, Message, NodeId};

/// After so many election timeouts the session is heard of, and after so many more its leader goes.
const HEARD_AFTER: u64 = 4;
const GONE_AFTER: u64 = 3;

/// For so long the first leader is cut off at most, and nobody asks for anything.
const HUSH_ELECTIONS: u64 = 16;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Somebody else leads, and hears of the session.
    Heard,
    /// That one goes, and the first is back.
    Gone,
}

impl World {
    /// Something leaves: perhaps a proposed end that is to be orphaned.
    pub(super) fn note_end(&mut self, envelope: &Envelope) {
        let share = self.weather.tenancy.orphans;
        let Message::Accept(accept) = &envelope.message else { return };
        if share == 0.0 || !self.faults || self.is_hushed() {
            return;
        }
        let is_end = |command: &Command| {
            let of = |session| self.holders.iter().any(|it| it.living() == Some(session));
            matches!(command, Command::End(session) if of(*session))
        };
        if !accept.run.commands.iter().any(is_end) || self.rng.f64() >= share {
            return;
        }
        let (now, election, leader) = (self.now, self.weather.election_ticks, envelope.from);
        self.hushed_until = now + election * HUSH_ELECTIONS;
        self.net.isolate(leader, self.hushed_until);
        self.note(leader, "orphans an end", String::new);
        self.plan(election * HEARD_AFTER, Happening::Orphan(leader, Stage::Heard));
    }

    /// Whether nobody asks for anything for a while.
    pub(super) fn is_hushed(&self) -> bool {
        self.faults && self.now < self.hushed_until
    }

    /// It goes on.
    pub(super) fn orphan(&mut self, first: NodeId, stage: Stage) {
        let election = self.weather.election_ticks;
        let leads = |node: &NodeId| {
            let running = self.machines[usize::from(node.0)].node.as_ref();
            running.is_some_and(|it| it.replica().is_leading())
        };
        let second = self.members().find(|node| *node != first && leads(node));
        let Some(second) = second.filter(|_| self.is_hushed()) else { return };
        match stage {
            Stage::Heard => {
                for index in 0..self.holders.len() {
                    self.holders[index].go_on(self.now);
                    self.holders[index].turn_to(second);
                    self.act(index);
                }
                self.plan(election * GONE_AFTER, Happening::Orphan(first, Stage::Gone));
            }
            Stage::Gone => {
                self.crash_for(second, "is gone before it proposes anything", election * 8);
                self.net.rejoin(first);
            }
        }
    }
}
