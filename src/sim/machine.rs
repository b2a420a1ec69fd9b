//! A machine: a node or none, its disk, its clock, and what waits for it.

use std::collections::VecDeque;

use fastrand::Rng;

use super::disk::Disk;
use super::room::Room;
use super::shelf::SimShelf;
use crate::node::{Draft, Event, Node};
use crate::paxos::NodeId;
use crate::rsm::{Flipped, Keep};

/// A node as it runs here.
pub(super) type Running = Node<Disk, Flipped<Room>>;

/// One member's machine; it outlives the crashes of its node.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) node: Option<Running>,
    pub(super) shelf: SimShelf,
    /// Snapshots on their way to the shelf.
    pub(super) drafts: VecDeque<Draft>,
    /// What arrived while it was busy: all of it is taken in one turn.
    inbox: Vec<Event>,
    /// Until then it is paused, or waits for its disk.
    pub(super) busy_until: u64,
    /// Sixteenths of a tick that its clock counts in a tick.
    rate: u64,
    /// When its clock was last read.
    ticked: u64,
    /// Ticks that its clock has jumped since.
    jumped: u64,
    /// Until then its clock stands still.
    stopped_until: u64,
    /// Why it will not come back in this run.
    pub(super) gone: Option<String>,
}

/// A clock that runs as it should.
pub(super) const TRUE_RATE: u64 = 16;

impl Machine {
    pub(super) fn new(id: NodeId, rate: u64, shelf: SimShelf) -> Machine {
        Machine {
            id,
            node: None,
            shelf,
            drafts: VecDeque::new(),
            inbox: Vec::new(),
            busy_until: 0,
            rate,
            ticked: 0,
            jumped: 0,
            stopped_until: 0,
            gone: None,
        }
    }

    /// A node starts: nothing waits for it.
    pub(super) fn start(&mut self, node: Running, now: u64) {
        self.node = Some(node);
        self.ticked = now;
        self.jumped = 0;
        self.busy_until = now;
    }

    /// Its node is no more. Whether there was one.
    pub(super) fn stop(&mut self, rng: &mut Rng) -> bool {
        self.inbox.clear();
        if self.node.take().is_none() {
            return false;
        }
        // A snapshot on its way has just got there, and nobody was told; or it has not.
        if let Some(draft) = self.drafts.pop_front().filter(|_| rng.bool()) {
            let kept = self.shelf.store(draft.slot, draft.archive, &draft.bytes);
            kept.expect("a simulated shelf takes all");
        }
        self.drafts.clear();
        self.shelf.crash();
        true
    }

    /// The oldest snapshot on its way is durable.
    pub(super) fn keep_draft(&mut self) -> Option<Event> {
        let draft = self.drafts.pop_front()?;
        let older = self.shelf.keep(draft.slot, draft.archive, &draft.bytes);
        Some(Event::Kept(draft.slot, older.expect("a simulated shelf takes all")))
    }

    pub(super) fn is_busy(&self, now: u64) -> bool {
        now < self.busy_until
    }

    /// Something for later.
    pub(super) fn keep(&mut self, event: Event) {
        self.inbox.push(event);
    }

    /// All that waited.
    pub(super) fn take_inbox(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.inbox)
    }

    /// Reads its clock.
    pub(super) fn tick(&mut self, now: u64) -> Event {
        self.ticked = self.ticked.max(now.min(self.stopped_until));
        let passed = (now - self.ticked) * self.rate / TRUE_RATE + std::mem::take(&mut self.jumped);
        self.ticked = now;
        Event::Tick { elapsed: passed }
    }

    /// Its clock jumps ahead.
    pub(super) fn jump(&mut self, ticks: u64) {
        self.jumped += ticks;
    }

    /// Its clock stands still, though the machine does not. (So does one that jumps back: a node
    /// looks at what passed since, and that is never less than nothing.)
    pub(super) fn stop_clock(&mut self, now: u64, until: u64) {
        let tick = (now - self.ticked) * self.rate / TRUE_RATE;
        self.jumped += tick;
        self.ticked = now;
        self.stopped_until = self.stopped_until.max(until);
    }

    /// Its clock goes right from now on.
    pub(super) fn set_right(&mut self) {
        self.rate = TRUE_RATE;
        self.jumped = 0;
        self.stopped_until = 0;
    }
}
