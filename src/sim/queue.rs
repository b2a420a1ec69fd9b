//! What is to happen, in the order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::faults::Fault;
use super::orphan::Stage;
use crate::node::{Event, Output};
use crate::paxos::{Envelope, NodeId};

/// Something that is to happen.
#[derive(Debug)]
pub(super) enum Happening {
    /// A message arrives.
    Deliver(Box<Envelope>),
    /// A client's question arrives.
    Ask(NodeId, Box<Event>),
    /// A node's answer arrives.
    Answer(usize, Box<Output>),
    /// The answer of a node that has gone astray arrives.
    Misled(usize, Box<Output>),
    /// A machine's clock is read.
    Tick(NodeId),
    /// A machine may be able to go on.
    Wake(NodeId),
    /// A snapshot may be durable.
    Keep(NodeId),
    /// A machine starts again.
    Restart(NodeId),
    /// A node ends.
    End(NodeId),
    /// A client's turn.
    Turn(usize),
    /// Clients turn to a node that was deposed and may not know it.
    Lure(NodeId),
    /// A node's store is lost.
    Lose(NodeId),
    /// The end that this node proposed outlives it.
    Orphan(NodeId, Stage),
    /// Machines that were replaced, and run, go on.
    Haunt,
    /// A fault.
    Fault(Fault),
}

/// All that is planned.
#[derive(Default)]
pub(super) struct Queue {
    order: u64,
    planned: BinaryHeap<Reverse<Planned>>,
}

impl Queue {
    /// Plans something at that time, after all that is planned then already.
    pub(super) fn push(&mut self, at: u64, happening: Happening) {
        self.order += 1;
        self.planned.push(Reverse(Planned { at, order: self.order, happening }));
    }

    /// What comes next, and when.
    pub(super) fn pop(&mut self) -> Option<(u64, Happening)> {
        self.planned.pop().map(|Reverse(planned)| (planned.at, planned.happening))
    }
}

/// A happening at its time; of one time, in the order in which they were planned.
struct Planned {
    at: u64,
    order: u64,
    happening: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
