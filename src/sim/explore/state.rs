//! A state of a small world, and the events that lead out of it.

use super::atlas::{Atlas, Call, LetterId, MomentId, Outcome, Yes};
use super::seen::fingerprint;
use super::{NODES_MAX, World};
use crate::paxos::{NodeId, Slot};

/// Where all nodes are, what is in flight, and what may still happen.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) nodes: [MomentId; NODES_MAX],
    /// Letters in flight, ascending: any may arrive next.
    pub(super) mail: Vec<LetterId>,
    pub(super) left: Left,
    /// Everything that was ever decided, by anybody, by its number.
    pub(super) decided: u32,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) campaigns: u8,
    pub(super) commands: u8,
    pub(super) crashes: u8,
    pub(super) losses: u8,
}

/// One thing that can happen next.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The call comes to the node.
    At(usize, Call),
    /// The power goes in the midst of what the node does upon the call.
    Cut(usize, Call),
    /// A letter in flight is lost.
    Lose(LetterId),
}

impl State {
    /// The same states have the same fingerprint, different ones (nearly surely) different ones.
    pub(super) fn fingerprint(&self, members: usize) -> u128 {
        let Left { campaigns, commands, crashes, losses } = self.left;
        let left = u32::from_le_bytes([campaigns, commands, crashes, losses]);
        let head = [u64::from(left) << 32 | u64::from(self.decided)];
        let nodes = self.nodes[..members].iter().copied().map(u64::from);
        let mail = self.mail.iter().copied().map(u64::from);
        fingerprint(head.into_iter().chain(nodes).chain(mail))
    }

    /// Everything that can happen next, but for what would change nothing.
    pub(super) fn events(&self, world: &World, atlas: &Atlas) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.mail.len() + 8);
        let mut last = None;
        for letter in self.mail.iter().copied() {
            if last.replace(letter) == Some(letter) {
                continue;
            }
            events.push(Event::At(atlas.letter(letter).to, Call::Deliver(letter)));
            if self.left.losses > 0 {
                events.push(Event::Lose(letter));
            }
        }
        for node in 0..usize::from(world.members) {
            if self.left.campaigns > 0 {
                let calls = self.campaigns(world, atlas, node);
                events.extend(calls.into_iter().map(|call| Event::At(node, call)));
            }
            if atlas.facts(self.nodes[node]).is_ready {
                let calls = self.requests(world).map(Call::Propose);
                events.extend(calls.map(|call| Event::At(node, call)));
            }
            if self.left.crashes > 0 {
                events.push(Event::At(node, Call::Restart));
            }
        }
        events
    }

    /// The state after an outcome of a call to a node. Whether mail that arrives is used up is the
    /// world's to say; so is what a crash in the midst of it costs.
    pub(super) fn after(
        &self,
        world: &World,
        node: usize,
        call: &Call,
        outcome: &Outcome,
    ) -> Option<State> {
        let mut next = self.clone();
        next.nodes[node] = outcome.to;
        if outcome.is_crash {
            next.left.crashes = next.left.crashes.checked_sub(1)?;
        }
        match call {
            Call::Deliver(letter) if !world.duplicates => next.take(*letter),
            Call::Deliver(_) | Call::Restart => (),
            Call::Campaign(_) => next.left.campaigns = next.left.campaigns.checked_sub(1)?,
            Call::Propose(_) => next.left.commands = next.left.commands.checked_sub(1)?,
        }
        for letter in outcome.sends.iter().copied() {
            let at = next.mail.partition_point(|other| *other < letter);
            if !world.duplicates || next.mail.get(at) != Some(&letter) {
                next.mail.insert(at, letter);
            }
        }
        Some(next)
    }

    /// The state after a loss.
    pub(super) fn without(&self, letter: LetterId) -> State {
        let mut next = self.clone();
        next.left.losses -= 1;
        next.take(letter);
        next
    }

    /// Drops the letters that can change nothing any more.
    pub(super) fn drop_spent(&mut self, atlas: &Atlas) {
        let nodes = self.nodes;
        self.mail.retain(|letter| !atlas.is_spent(*letter, &nodes));
    }

    fn take(&mut self, letter: LetterId) {
        if let Ok(at) = self.mail.binary_search(&letter) {
            self.mail.remove(at);
        }
    }

    /// The ways in which a node can come to campaign: a quorum said yes, telling what they have
    /// promised now, or (an answer that took long) before anybody had promised anything.
    fn campaigns(&self, world: &World, atlas: &Atlas, node: usize) -> Vec<Call> {
        let members = usize::from(world.members);
        let peers: Vec<usize> = (1..members).map(|step| (node + step) % members).collect();
        let now = |peer: &usize| atlas.yes(NodeId(*peer as u16), self.nodes[*peer]);
        let early = |peer: &usize| -> Yes { (NodeId(*peer as u16), None, Slot(0)) };
        let answers = members / 2;
        let mut calls = vec![Call::Campaign(peers.iter().take(answers).map(early).collect())];
        for first in 0..peers.len() {
            let asked = peers.iter().cycle().skip(first).take(answers);
            let call = Call::Campaign(asked.map(now).collect());
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
        calls
    }

    /// Whose request may come next: an earlier client's once more, or a new one's.
    fn requests(&self, world: &World) -> impl Iterator<Item = u8> + use<> {
        let made = world.commands - self.left.commands;
        let newest = if self.left.commands > 0 { made + 1 } else { 0 };
        0..newest
    }
}
