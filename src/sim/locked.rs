//! Holders in the world: their turns, what reaches them, and what they believe, held against what
//! is decided at the very moment when the first node knows of it.
//!
//! - *Lease*: no session is ended while its client believes otherwise, or could come to: what the
//!   nodes have answered or applied may be on its way to it.
//! - *Mutual exclusion*, in simulated time: nobody is granted a lock while another believes that it
//!   holds it.
//! - *At most once*: each copy of a request has the first reply.
//! - *No lost waiter*: once the faults have stopped, whoever is dead is ended, and whoever waits is
//!   granted what it waits for.

use super::belief::Hour;
use super::holder::{Holder, NAMES, Occasion};
use super::queue::Happening;
use super::room;
use super::tenants::{Change, News};
use super::world::World;
use crate::node::{Event, Output};
use crate::paxos::{ClientId, NodeId};
use crate::rsm::StateMachine;
use crate::services::lock::{Answer, Question, Word};
use crate::wire::client::Outcome;

/// Copies of what holders and voters say come this many election timeouts late, at most.
pub(super) const LATE_ELECTIONS: u64 = 40;

impl World {
    /// Now, as holders know it.
    pub(super) fn hour(&self) -> Hour {
        Hour { now: self.now, leapt: self.leapt }
    }

    /// The holders come.
    pub(super) fn let_in(&mut self) {
        for index in 0..usize::from(self.weather.tenancy.holders) {
            let holder = Holder::new(index, self.weather.tenancy, &mut self.rng);
            self.holders.push(holder);
            let late = 1 + self.rng.u64(0..self.weather.election_ticks * 4);
            self.plan(late, Happening::Turn(self.clients.len() + index));
        }
    }

    /// A holder's turn.
    pub(super) fn turn_holder(&mut self, index: usize) {
        self.act(index);
        let wait = 1 + self.rng.u64(0..self.holders[index].turn_ticks() * 2);
        self.plan(wait, Happening::Turn(self.clients.len() + index));
    }

    /// A holder does something.
    pub(super) fn act(&mut self, index: usize) {
        let party = self.clients.len() + index;
        let occasion = Occasion {
            hour: self.hour(),
            members: self.weather.members,
            faults: self.faults,
            is_hushed: self.is_hushed(),
            read: self.report.events * self.parties() as u64 + party as u64,
        };
        let said = self.holders[index].turn(&occasion, &mut self.rng);
        for (node, event) in said {
            self.carry(node, event);
        }
    }

    /// What somebody says arrives, perhaps; and perhaps once more, very much later.
    pub(super) fn carry(&mut self, node: NodeId, event: Event) {
        let duplicates = self.weather.network.duplicates;
        if self.faults && duplicates > 0.0 && self.rng.f64() < duplicates {
            let most = (self.weather.election_ticks * LATE_ELECTIONS) as f64;
            let late = 1 + (most * 10f64.powf(-2.0 * self.rng.f64())) as u64;
            self.plan(late, Happening::Ask(node, Box::new(event.clone())));
        }
        if let Some(delay) = self.net.client_delay(&mut self.rng) {
            self.plan(delay, Happening::Ask(node, Box::new(event)));
        }
    }

    /// A node says something to a holder: that is a promise from now on.
    pub(super) fn note_promise(&mut self, index: usize, output: &Output) {
        let Some(holder) = self.holders.get_mut(index) else { return };
        match output {
            Output::Alive { client, id } if *client == holder.belief.id => {
                holder.belief.note_alive(*id);
            }
            Output::Reply { client, number, slot, outcome: Outcome::Applied(reply) } => {
                let first = self.tenants.reply(*client, *number);
                let same = first.is_some_and(|(at, first)| at == slot && first == reply);
                assert!(
                    same,
                    "at most once: request {number} of {client} is answered {reply:?} in {slot}, \
                     and was applied with {first:?}"
                );
            }
            Output::Alive { .. }
            | Output::Reply { .. }
            | Output::Queued(..)
            | Output::Rejected(..)
            | Output::Ended(_)
            | Output::Notice { .. }
            | Output::Left { .. }
            | Output::Answer { .. }
            | Output::Draft(_)
            | Output::Moved(..)
            | Output::Rejoined
            | Output::Differs(_) => (),
        }
    }

    /// It arrives.
    pub(super) fn answer_holder(&mut self, index: usize, output: Output) {
        let hour = self.hour();
        if let Some(holder) = self.holders.get_mut(index) {
            holder.take(output, hour);
        }
    }

    /// What was decided, held against what is believed.
    pub(super) fn judge_beliefs(&mut self, news: &News) {
        let hour = self.hour();
        for change in self.tenants.learn(news) {
            self.judge_change(&change, hour);
        }
    }

    fn judge_change(&mut self, change: &Change, hour: Hour) {
        match change {
            Change::Applied(session, number) => {
                let holder = room::holder(*session).and_then(|at| self.holders.get_mut(at));
                if let Some(holder) = holder.filter(|holder| holder.belief.id == *session) {
                    holder.belief.note_applied(*number);
                }
            }
            Change::Ended(session) => {
                for holder in self.holders.iter().filter(|it| it.belief.id == *session) {
                    let law = "is ended while its time to live runs";
                    assert!(!holder.belief.is_promised(hour), "lease: {session} {law}");
                }
            }
            Change::Granted(session, name) => {
                for holder in self.holders.iter().filter(|it| it.belief.id != *session) {
                    let believes =
                        holder.living().is_some() && holder.belief.believes_to_hold(name, hour);
                    assert!(
                        !believes,
                        "mutual exclusion: {} believes to hold {name:?}, and {session} has it",
                        holder.belief.id
                    );
                }
            }
        }
    }

    /// The faults have stopped: some holders die, the others are to come to an end.
    pub(super) fn calm_holders(&mut self) {
        for holder in &mut self.holders {
            if self.rng.f64() < self.weather.tenancy.left_behind {
                holder.die();
            }
        }
    }

    /// Whether all who are dead are ended, and all others have nothing and wait for nothing. Who
    /// asks a leader that has gone astray will never hear that.
    pub(super) fn is_vacant(&self) -> bool {
        if self.is_led_astray() {
            return true;
        }
        let living: Vec<ClientId> = self.holders.iter().filter_map(Holder::living).collect();
        self.holders.iter().all(Holder::is_done)
            && self.tenants.open().iter().all(|session| living.contains(session))
            && self.tenants.waiting().is_empty()
    }

    /// Who holds up the end, for a person.
    pub(super) fn tenants_standing(&self) -> Vec<String> {
        let tenants = &self.tenants;
        let mut lines: Vec<String> = (self.holders.iter())
            .filter(|holder| !holder.is_done())
            .map(|holder| format!("no lost waiter: {holder:?}"))
            .collect();
        if !self.is_vacant() {
            lines.push(format!(
                "no lost waiter: open {:?}, waiting {:?}",
                tenants.open(),
                tenants.waiting()
            ));
        }
        lines
    }

    /// At the end the lock service itself says who holds what, and who waits.
    pub(super) fn locks_are_as_told(&self) {
        for name in NAMES {
            let question = Question::Show { name: bytes::Bytes::from_static(name) }.encode();
            let truth = self.astray.truth();
            let answer = truth.machine().query(&question, truth.archive());
            let Some(Answer::Show { holder, waiting, .. }) = Answer::decode(&answer) else {
                panic!("the locks' own words");
            };
            let told = holder.map(|hold| (hold.session, hold.token));
            let held = self.tenants.holder(name);
            assert_eq!(told, held, "no lost waiter: who holds {name:?} at the end");
            let known = self.tenants.waiting();
            let lost = waiting.iter().find(|waiter| !known.contains_key(&waiter.session));
            assert_eq!(lost, None, "no lost waiter: who waits for {name:?} at the end");
        }
    }
}
