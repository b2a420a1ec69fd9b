//! The network between simulated nodes: links that keep their order, until something happens.
//!
//! A link is a TCP connection in one direction: what it delivers comes in order. What is *late* is
//! a copy outside of that order, as a retransmission after a new connection would be.

use fastrand::Rng;

use super::weather;
use crate::paxos::{Envelope, Message, NodeId};

/// All links of a cluster.
#[derive(Debug)]
pub(super) struct Net {
    members: u16,
    weather: weather::Network,
    /// How late a copy may come, at most.
    late_ticks: u64,
    links: Vec<Link>,
}

/// One direction between two nodes.
#[derive(Clone, Debug, Default)]
struct Link {
    /// Never carries anything.
    absent: bool,
    /// Carries nothing until then.
    cut_until: u64,
    /// Holds everything until then.
    clogged_until: u64,
    /// When the last message arrives.
    last: u64,
}

/// Copies of messages that a campaign or a vote rests on come this many election timeouts late.
const HELD_ELECTIONS: u64 = 40;

impl Net {
    pub(super) fn new(members: u16, election_ticks: u64, weather: weather::Network) -> Net {
        let links = vec![Link::default(); usize::from(members) * usize::from(members)];
        Net { members, weather, late_ticks: election_ticks * HELD_ELECTIONS, links }
    }

    /// When copies of this message arrive: once, unless something happens to it.
    pub(super) fn route(&mut self, rng: &mut Rng, departs: u64, envelope: &Envelope) -> Vec<u64> {
        let Network { loss, duplicates, held, delay_ticks } = self.now();
        let late_ticks = self.late_ticks;
        let link = self.link(envelope.from, envelope.to);
        let mut arrivals = Vec::with_capacity(1);
        if !link.absent && link.cut_until <= departs && !(loss > 0.0 && rng.f64() < loss) {
            let delay = 1 + rng.u64(0..delay_ticks);
            link.last = link.last.max(link.clogged_until).max(departs + delay);
            arrivals.push(link.last);
        }
        if link.absent {
            return arrivals;
        }
        if duplicates > 0.0 && rng.f64() < duplicates {
            arrivals.push(departs + 1 + rng.u64(0..late_ticks / 10));
        }
        let is_vote = matches!(
            envelope.message,
            Message::Promise(_) | Message::Accepted(_) | Message::Prepare(_) | Message::Accept(_)
        );
        if is_vote && held > 0.0 && rng.f64() < held {
            // Over two orders of magnitude: most harm is done by what is a little late.
            let late = late_ticks as f64 * 10f64.powf(-2.0 * rng.f64());
            arrivals.push(departs + 1 + late as u64);
        }
        arrivals
    }

    /// How long something takes between a client and a node.
    pub(super) fn client_delay(&self, rng: &mut Rng) -> Option<u64> {
        let lost = self.weather.loss > 0.0 && rng.f64() < self.weather.loss;
        (!lost).then(|| 1 + rng.u64(0..self.weather.delay_ticks))
    }

    /// Cuts a node off from all others until then.
    pub(super) fn isolate(&mut self, lone: NodeId, until: u64) {
        self.cut_where(until, |from, to| from == lone.0 || to == lone.0);
    }

    /// A node reaches all others again.
    pub(super) fn rejoin(&mut self, node: NodeId) {
        self.cut_where(0, |from, to| from == node.0 || to == node.0);
    }

    /// All that is on its way to a node, or leaves for it, arrives then.
    pub(super) fn clog_into(&mut self, node: NodeId, until: u64) {
        let members = self.members;
        for (at, link) in self.links.iter_mut().enumerate() {
            if at as u16 % members == node.0 {
                link.clogged_until = until;
            }
        }
    }

    /// Cuts some links until then: that node off, a group off, or single directions. Says what.
    pub(super) fn cut(&mut self, rng: &mut Rng, lone: NodeId, until: u64) -> &'static str {
        let one_way = self.weather.one_way;
        match rng.u8(0..4) {
            0 => {
                let lone = lone.0;
                let (off, on) = if one_way { (rng.bool(), true) } else { (true, true) };
                self.cut_where(until, |from, to| (from == lone && on) || (to == lone && off));
                "one node is cut off"
            }
            1 => {
                let side = rng.u16(..);
                let split = |from: u16, to: u16| (side >> from & 1) != (side >> to & 1);
                let inward = |from: u16| !one_way || side >> from & 1 == 0;
                self.cut_where(until, |from, to| split(from, to) && inward(from));
                "the cluster is split"
            }
            2 => {
                // A bridge: two groups that only one node reaches.
                let (side, bridge) = (rng.u16(..), rng.u16(0..self.members));
                self.cut_where(until, |from, to| {
                    from != bridge && to != bridge && (side >> from & 1) != (side >> to & 1)
                });
                "one node bridges two groups"
            }
            _ => {
                let cut: Vec<bool> = self.links.iter().map(|_| rng.bool()).collect();
                let members = self.members;
                self.cut_where(until, |from, to| {
                    let (low, high) =
                        if one_way { (from, to) } else { (from.min(to), from.max(to)) };
                    cut[usize::from(low * members + high)]
                });
                "links are cut at random"
            }
        }
    }

    /// One link holds everything back until then.
    pub(super) fn clog(&mut self, rng: &mut Rng, until: u64) {
        let at = rng.usize(0..self.links.len());
        self.links[at].clogged_until = until;
    }

    /// Only these links exist from now on.
    #[cfg(test)]
    pub(super) fn keep_only(&mut self, exists: impl Fn(u16, u16) -> bool) {
        let members = self.members;
        for (at, link) in self.links.iter_mut().enumerate() {
            let at = at as u16;
            link.absent = !exists(at / members, at % members);
        }
    }

    /// This share of messages is lost from now on.
    #[cfg(test)]
    pub(super) fn set_loss(&mut self, share: f64) {
        self.weather.loss = share;
    }

    /// Everything works from now on, and takes its time as it should.
    pub(super) fn heal(&mut self, election_ticks: u64) {
        for link in &mut self.links {
            link.cut_until = 0;
            link.clogged_until = 0;
        }
        self.weather.loss = 0.0;
        self.weather.duplicates = 0.0;
        self.weather.held = 0.0;
        self.weather.delay_ticks = self.weather.delay_ticks.min(1 + election_ticks / 16);
    }

    fn now(&self) -> Network {
        let weather::Network { loss, duplicates, held, delay_ticks, .. } = self.weather;
        Network { loss, duplicates, held, delay_ticks }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        &mut self.links[usize::from(from.0 * self.members + to.0)]
    }

    fn cut_where(&mut self, until: u64, is_cut: impl Fn(u16, u16) -> bool) {
        let members = self.members;
        for (at, link) in self.links.iter_mut().enumerate() {
            let at = at as u16;
            if is_cut(at / members, at % members) {
                link.cut_until = until;
            }
        }
    }
}

/// What holds for every link at this moment.
struct Network {
    loss: f64,
    duplicates: f64,
    held: f64,
    delay_ticks: u64,
}
