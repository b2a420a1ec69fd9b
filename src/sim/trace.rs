//! What happens in a run, an event a line in fixed columns, and a hash over all of it.
//!
//! The hash is always taken; the lines are made only for whoever asks for them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::votes::Store;
use crate::audit::{self, trace::Teller};
use crate::node::Event;
use crate::paxos::{Ballot, Heard, Incarnation, Message, NodeId, Slot, Tap};

/// Where the lines go.
pub type Sink = Box<dyn FnMut(&Line)>;

/// Where the traces of the nodes go, as `audit` reads them: one for each store, since a node that
/// was replaced may go on beside the new one.
pub type Tracer = Arc<Mutex<dyn FnMut((NodeId, Incarnation), &audit::trace::Line) + Send>>;

/// Who is told of a run.
#[derive(Default)]
pub struct Ears {
    /// Is told each event.
    pub sink: Option<Sink>,
    /// Is told what each node does.
    pub tracer: Option<Tracer>,
}

/// What a node tells a tracer.
struct Tape {
    store: Store,
    teller: Teller,
    tracer: Tracer,
}

impl Tap for Tape {
    fn hear(&mut self, heard: Heard<'_>) {
        let line = self.teller.line(heard);
        let mut tracer = self.tracer.lock().unwrap_or_else(PoisonError::into_inner);
        tracer(self.store, &line);
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Line {
    /// When, in ticks.
    pub at: u64,
    /// At which node; `None`: at none, or at all.
    pub node: Option<NodeId>,
    /// What.
    pub what: &'static str,
    /// In which ballot.
    pub ballot: Option<Ballot>,
    /// At which slot.
    pub slot: Option<Slot>,
    /// The durable decided mark of that node's disk.
    pub disk: Option<Slot>,
    /// Whatever else there is to say.
    pub note: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        write!(
            f,
            "{:>8} {:>3} {:<15} {:>9} {:>6} {:>6}  {}",
            self.at,
            or(self.node.map(|node| node.to_string())),
            self.what,
            or(self.ballot.map(|ballot| ballot.to_string())),
            or(self.slot.map(|slot| slot.to_string())),
            or(self.disk.map(|slot| slot.to_string())),
            self.note
        )
    }
}

/// The heading above the columns.
pub const HEADING: &str = "    time  at what               ballot   slot   disk";

pub(super) struct Trace {
    hash: u64,
    ears: Ears,
}

impl Trace {
    pub(super) fn new(seed: u64, ears: Ears) -> Trace {
        Trace { hash: seed ^ 0xcbf2_9ce4_8422_2325, ears }
    }

    /// For a node that starts on this store.
    pub(super) fn tap(&self, store: Store) -> Option<Box<dyn Tap + Send>> {
        let tracer = self.ears.tracer.clone()?;
        Some(Box::new(Tape { store, teller: Teller::default(), tracer }))
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn note(&mut self, line: &Line) {
        let add = |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        let what = line.what.bytes().fold(0, add);
        let ballot = line.ballot.map_or(0, |it| it.round.wrapping_mul(64) ^ u64::from(it.node.0));
        self.mix(line.at);
        self.mix(line.node.map_or(99, |node| u64::from(node.0)));
        self.mix(what);
        self.mix(ballot);
        self.mix(line.slot.map_or(u64::MAX, |slot| slot.0));
        if let Some(sink) = &mut self.ears.sink {
            sink(line);
        }
    }

    /// Whether anybody reads the lines.
    pub(super) fn is_read(&self) -> bool {
        self.ears.sink.is_some()
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

/// What an event is called, and the ballot and slot that it is about.
pub(super) fn about(event: &Event) -> (&'static str, Option<Ballot>, Option<Slot>) {
    match event {
        Event::Message(envelope) => {
            let (ballot, slot) = about_message(&envelope.message);
            (envelope.message.kind(), ballot, slot)
        }
        Event::Request(request) => ("request", None, Some(Slot(request.number.0))),
        Event::Post(request) => ("post", None, Some(Slot(request.number.0))),
        Event::KeepAlive { .. } => ("keep-alive", None, None),
        Event::Lease { .. } => ("lease", None, None),
        Event::End(_) => ("end", None, None),
        Event::Query { .. } => ("read", None, None),
        Event::Reset(_) => ("reset", None, None),
        Event::Tick { .. } => ("tick", None, None),
        Event::Clock(_) => ("clock", None, None),
        Event::Skip(count) => ("skip", None, Some(Slot(*count))),
        Event::Heal => ("heal", None, None),
        Event::Kept(slot, _) => ("kept", None, Some(*slot)),
    }
}

fn about_message(message: &Message) -> (Option<Ballot>, Option<Slot>) {
    match message {
        Message::Prepare(it) => (Some(it.ballot), None),
        Message::Promise(it) => (Some(it.ballot), Some(it.mark)),
        Message::Preempted(it) => (Some(it.promised), None),
        Message::Accept(it) => (Some(it.run.ballot), Some(it.run.first)),
        Message::Accepted(it) => (Some(it.ballot), Some(it.up_to)),
        Message::Resend(it) => (Some(it.ballot), None),
        Message::Decide(it) => (Some(it.ballot), Some(it.watermark)),
        Message::Heartbeat(it) => (Some(it.ballot), Some(it.watermark)),
        Message::Echo(it) => (Some(it.ballot), Some(it.decided)),
        Message::Canvass(it) => (None, Some(it.decided)),
        Message::CanvassAnswer(it) => (it.promised, Some(it.decided)),
        Message::CatchUpAsk(it) => (None, Some(it.from)),
        Message::CatchUp(it) => (None, Some(it.first)),
        Message::Transfer(_)
        | Message::Pledged(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Rejoin(_) => (None, None),
        Message::Testimony(it) => (it.promised, Some(it.mark)),
        Message::Holds(it) => (None, Some(it.below)),
    }
}
