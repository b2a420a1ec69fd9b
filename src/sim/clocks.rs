//! What the clocks of nodes show: the hour, more or less. Polls close by them; all else goes by
//! what passes between two looks (`machine`).
//!
//! Each is ahead or behind by so much, runs too fast or too slow, and is set to another time now
//! and then, as the weather says; when the faults stop all are right.

use fastrand::Rng;

use super::polling::Polling;
use super::room;
use super::world::World;
use crate::node::Event;
use crate::paxos::NodeId;

/// The clocks of all nodes.
#[derive(Debug)]
pub(super) struct Clocks {
    rng: Rng,
    polling: Polling,
    hands: Vec<Hand>,
    are_right: bool,
    /// The latest that any ever showed.
    latest: u64,
}

/// What is wrong with a clock.
#[derive(Clone, Copy, Debug)]
struct Hand {
    /// In ticks, beside the most that a clock may be behind.
    ahead: u64,
    /// Sixteenths of a tick that it counts in a tick.
    rate: u64,
}

/// What a right clock shows when a run begins.
const BEGIN: u64 = 1 << 40;

/// A clock that runs as it should.
const TRUE_RATE: u64 = 16;

impl Clocks {
    pub(super) fn new(seed: u64, members: u16, polling: Polling) -> Clocks {
        let mut rng = Rng::with_seed(seed ^ 0x0000_C10C);
        let (slow, fast) = (TRUE_RATE - polling.drift, TRUE_RATE + polling.drift);
        let hand =
            |_| Hand { ahead: rng.u64(0..=polling.skew_ticks * 2), rate: rng.u64(slow..=fast) };
        let hands = (0..members).map(hand).collect();
        Clocks { rng, polling, hands, are_right: false, latest: 0 }
    }

    /// What a right clock shows.
    pub(super) fn right(now: u64) -> u64 {
        BEGIN + now
    }

    /// What the clock of this node shows.
    fn show(&mut self, node: NodeId, now: u64) -> u64 {
        if self.are_right {
            return Clocks::right(now);
        }
        let Polling { skew_ticks, steps, .. } = self.polling;
        let hand = &mut self.hands[usize::from(node.0)];
        if steps > 0.0 && self.rng.f64() < steps {
            hand.ahead = self.rng.u64(0..=skew_ticks * 2);
        }
        let shown = BEGIN + now * hand.rate / TRUE_RATE + hand.ahead - skew_ticks;
        self.latest = self.latest.max(shown);
        shown
    }

    /// All are right from now on.
    pub(super) fn set_right(&mut self) {
        self.are_right = true;
    }

    /// So much before the truth was what any of them ever showed.
    pub(super) fn was_ahead(&self, now: u64) -> u64 {
        self.latest.saturating_sub(Clocks::right(now))
    }
}

impl World {
    /// Reads the clock of a machine, and what it shows if anybody there wants to know.
    pub(super) fn tick_of(&mut self, node: NodeId) -> Vec<Event> {
        let now = self.now;
        let machine = self.machine(node);
        let tick = machine.tick(now);
        let is_asked = machine.node.as_ref().is_some_and(|node| node.deadline().is_some());
        let mut events = vec![tick];
        if is_asked {
            events.push(Event::Clock(self.clocks.show(node, now)));
        }
        events
    }

    /// Something comes from a client. If it is for the polls, the node says when.
    pub(super) fn asked(&mut self, node: NodeId, mut event: Event) {
        if let Event::Request(request) | Event::Post(request) = &mut event
            && room::voter(request.client).is_some()
        {
            request.time_ms = self.clocks.show(node, self.now);
        }
        self.arrive(node, event);
    }
}
