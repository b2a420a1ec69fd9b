//! What goes between nodes and those who ask them: clients, holders, and voters.

use super::astray;
use super::queue::Happening;
use super::room;
use super::world::World;
use crate::node::{Event, Output};
use crate::paxos::{ClientId, NodeId};

impl World {
    /// Clients, holders and voters have one place each.
    pub(super) fn parties(&self) -> usize {
        self.clients.len() + self.holders.len() + self.voters.len()
    }

    /// Whom this session belongs to, by place.
    fn party(&self, session: ClientId) -> usize {
        match (room::holder(session), room::voter(session)) {
            (Some(holder), _) => self.clients.len() + holder,
            (_, Some(voter)) => self.place_of_voter(voter),
            (None, None) => session.0 as usize,
        }
    }

    /// That of a voter.
    pub(super) fn place_of_voter(&self, voter: usize) -> usize {
        self.clients.len() + self.holders.len() + voter
    }

    /// What was decided since this was last asked, as those see it whom it concerns.
    pub(super) fn judge_news(&mut self) {
        if self.holders.is_empty() && self.voters.is_empty() {
            return;
        }
        for news in self.astray.news(&self.checks) {
            if !self.holders.is_empty() {
                self.judge_beliefs(&news);
            }
            if !self.voters.is_empty() {
                self.returns.learn(&news, !self.astray.ever());
            }
        }
    }

    /// Whether somebody leads who has gone astray: what he says is lost, and no one can tell.
    pub(super) fn is_led_astray(&self) -> bool {
        self.machines.iter().any(|machine| {
            let leads = machine.node.as_ref().is_some_and(|node| node.replica().is_leading());
            leads && self.astray.is_wrong(machine.id)
        })
    }

    /// What a node says to its clients and its keeper is on its way.
    pub(super) fn reply(&mut self, node: NodeId, busy: u64, outputs: Vec<Output>) {
        for output in outputs {
            if let Output::Draft(draft) = output {
                let takes = 1 + self.rng.u64(0..self.weather.election_ticks);
                self.machine(node).drafts.push_back(draft);
                self.plan(busy + takes, Happening::Keep(node));
                continue;
            }
            let party = match (&output, room::whose(&output)) {
                (_, Some(session)) => self.party(session),
                (Output::Answer { id, .. } | Output::Left { id, .. }, None) => {
                    (*id as usize) % self.parties()
                }
                (_, None) => continue,
            };
            let is_told = !self.astray.is_wrong(node) || !astray::tells_a_state(&output);
            if is_told && let Some(holder) = party.checked_sub(self.clients.len()) {
                self.note_promise(holder, &output);
                self.note_reply(&output);
            }
            if let Some(delay) = self.net.client_delay(&mut self.rng)
                && party < self.parties()
            {
                let answer = if is_told { Happening::Answer } else { Happening::Misled };
                self.plan(busy + delay, answer(party, Box::new(output)));
            }
        }
    }

    /// It arrives.
    pub(super) fn answered(&mut self, party: usize, output: Output) {
        self.report.reads += u64::from(matches!(output, Output::Answer { result: Ok(_), .. }));
        let first_voter = self.place_of_voter(0);
        match self.clients.get_mut(party) {
            Some(client) => client.on_output(&output, self.now, &mut self.history),
            None if party < first_voter => {
                self.answer_holder(party - self.clients.len(), output);
            }
            None => self.answer_voter(party - first_voter, output),
        }
    }

    /// An answer that may be wrong arrives. To holders and voters it is lost on the way.
    pub(super) fn misled(&mut self, party: usize, output: &Output) {
        if let Some(client) = self.clients.get_mut(party) {
            client.on_misled(output);
        }
    }

    /// Somebody's turn.
    pub(super) fn turn(&mut self, party: usize) {
        match (party.checked_sub(self.clients.len()), party.checked_sub(self.place_of_voter(0))) {
            (_, Some(voter)) => self.turn_voter(voter),
            (Some(holder), None) => self.turn_holder(holder),
            (None, None) => self.turn_client(party),
        }
    }

    fn turn_client(&mut self, index: usize) {
        let wait = 1 + self.rng.u64(0..self.weather.load.request_ticks * 2);
        if self.is_hushed() {
            return self.plan(wait, Happening::Turn(index));
        }
        let load = &self.weather.load;
        let (in_flight, reads) = (load.in_flight, load.reads);
        let (turns, asks) = (self.rng.u8(0..8) == 0, self.rng.f64() < reads);
        let (members, now, count) = (self.weather.members, self.now, self.parties() as u64);
        let id = self.report.events * count + index as u64;
        let busy = self.weather.tenancy.busy;
        let asks_more = self.faults && (busy >= 1.0 || self.rng.f64() < busy);
        let (client, history) = (&mut self.clients[index], &mut self.history);
        if turns {
            client.turn(members, &mut self.rng);
        }
        let mut events = Vec::new();
        if asks_more {
            client.issue(in_flight, now, history);
            events.extend(asks.then(|| client.read(id, now, history)).flatten());
        }
        let target = client.target;
        let mut events: Vec<_> = events.into_iter().map(|event| (target, event)).collect();
        let posts = self.weather.tenancy.posts;
        let by_any = posts > 0.0 && self.rng.f64() < posts;
        for request in self.clients[index].unanswered() {
            events.push(match by_any {
                true => (NodeId(self.rng.u16(0..members)), Event::Post(request)),
                false => (target, Event::Request(request)),
            });
        }
        // In one piece, as over a connection, or each by itself: then some overtake others.
        let is_scattered = self.rng.u8(0..4) == 0;
        let mut delay = self.net.client_delay(&mut self.rng);
        for (to, event) in events {
            if is_scattered {
                delay = self.net.client_delay(&mut self.rng);
            }
            if let Some(delay) = delay {
                self.plan(delay, Happening::Ask(to, Box::new(event)));
            }
        }
        self.plan(wait, Happening::Turn(index));
    }
}
