//! The world: machines, links and clients in one queue of events, and nothing else.

use fastrand::Rng;

use super::astray::Astray;
use super::brought::Brought;
use super::checks::Checks;
use super::client::Client;
use super::clocks::Clocks;
use super::disk::Disk;
use super::faults::Fault;
use super::history::History;
use super::holder::Holder;
use super::kept::Kept;
use super::machine::{Machine, TRUE_RATE};
use super::net::Net;
use super::queue::{Happening, Queue};
use super::report::Report;
use super::returns::Returns;
use super::room::Seen;
use super::shelf::SimShelf;
use super::stores::{Company, Ghost, Stores};
use super::tenants::Tenants;
use super::trace::{self, Ears, Line, Trace};
use super::voter::Voter;
use super::weather::Weather;
use crate::node::{self, Event, Output};
use crate::paxos::{ClientId, Envelope, Message, Network, NodeId, Released};
use crate::wire::codec;

pub(super) struct World {
    pub(super) weather: Weather,
    pub(super) rng: Rng,
    pub(super) now: u64,
    /// How far clocks of nodes have jumped ahead, all told.
    pub(super) leapt: u64,
    /// Until then nobody asks for anything.
    pub(super) hushed_until: u64,
    queue: Queue,
    pub(super) disks: Vec<Disk>,
    pub(super) machines: Vec<Machine>,
    pub(super) stores: Stores,
    pub(super) ghosts: Vec<Ghost>,
    /// Whom the ghost reaches that is in the place of its node just now.
    pub(super) haunting: Option<Company>,
    pub(super) clients: Vec<Client>,
    pub(super) holders: Vec<Holder>,
    pub(super) tenants: Tenants,
    pub(super) voters: Vec<Voter>,
    pub(super) returns: Returns,
    pub(super) clocks: Clocks,
    pub(super) net: Net,
    pub(super) kept: Kept,
    pub(super) history: History<Seen>,
    pub(super) checks: Checks,
    pub(super) astray: Astray,
    pub(super) trace: Trace,
    /// Whether faults happen.
    pub(super) faults: bool,
    pub(super) report: Report,
}

/// Carries what is released into the world's queue, and looks at the disk as it passes.
struct Gate<'a> {
    now: u64,
    from: &'a Disk,
    shelf: &'a SimShelf,
    stores: &'a Stores,
    checks: &'a mut Checks,
    passed: Vec<(u64, Envelope)>,
}

impl Network for Gate<'_> {
    fn send(&mut self, released: Released) {
        let departs = self.now + self.from.busy();
        self.checks.committed(self.from, self.shelf);
        for envelope in released.into_messages() {
            self.checks.released((self.from, self.shelf), self.stores, &envelope);
            self.passed.push((departs, envelope));
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather, ears: Ears) -> World {
        let (members, clients) = (weather.members, weather.load.clients);
        let mut rng = Rng::with_seed(seed ^ 0x5EED);
        let rate = |rng: &mut Rng| match weather.process.drift {
            true => rng.u64(TRUE_RATE / 4..=TRUE_RATE * 4),
            false => TRUE_RATE,
        };
        let machine = |id| {
            let shelf = SimShelf::new(seed ^ u64::from(id) << 32, weather.disk.flips);
            Machine::new(NodeId(id), rate(&mut rng), shelf)
        };
        let machines = (0..members).map(machine).collect();
        let disk = |id: u16| {
            let mut own = weather.disk.clone();
            own.commit_ticks *= if own.uneven { rng.u64(1..=10) } else { 1 };
            Disk::new(NodeId(id), rng.u64(..), own)
        };
        let disks: Vec<Disk> = (0..members).map(disk).collect();
        let mut world = World {
            stores: Stores::new(&disks),
            ghosts: Vec::new(),
            haunting: None,
            disks,
            machines,
            clients: (0..clients).map(|id| Client::new(ClientId(id.into()))).collect(),
            holders: Vec::new(),
            tenants: Tenants::default(),
            voters: Vec::new(),
            returns: Returns::default(),
            clocks: Clocks::new(seed, members, weather.polling),
            net: Net::new(members, weather.election_ticks, weather.network.clone()),
            kept: Kept::new(weather.network.kept),
            rng: Rng::with_seed(seed ^ 0xC0FFEE),
            now: 0,
            leapt: 0,
            hushed_until: 0,
            queue: Queue::default(),
            history: History::new(),
            checks: Checks::new(&weather),
            astray: Astray::new(seed, &weather),
            trace: Trace::new(seed, ears),
            faults: true,
            report: Report::default(),
            weather,
        };
        for node in world.members() {
            world.restart(node);
            world.plan(1, Happening::Tick(node));
        }
        for client in 0..world.clients.len() {
            // Some come late, when others have led already.
            let late =
                if world.rng.bool() { world.rng.u64(0..world.weather.storm_ticks) } else { 0 };
            world.plan(1 + late, Happening::Turn(client));
        }
        Fault::ALL.into_iter().for_each(|fault| world.plan_fault(fault));
        world.let_in();
        world.let_voters_in();
        world
    }

    pub(super) fn members(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.weather.members).map(NodeId)
    }

    pub(super) fn machine(&mut self, node: NodeId) -> &mut Machine {
        &mut self.machines[usize::from(node.0)]
    }

    pub(super) fn disk(&self, node: NodeId) -> &Disk {
        &self.disks[usize::from(node.0)]
    }

    pub(super) fn plan(&mut self, after: u64, happening: Happening) {
        self.queue.push(self.now + after, happening);
    }

    /// Lets the next thing happen.
    pub(super) fn next(&mut self) {
        let (at, happening) = self.queue.pop().expect("ticks never end");
        self.now = at;
        self.report.events += 1;
        match happening {
            Happening::Deliver(envelope) => self.arrive(envelope.to, Event::Message(*envelope)),
            Happening::Ask(node, event) => self.asked(node, *event),
            Happening::Answer(party, output) => self.answered(party, *output),
            Happening::Misled(party, output) => self.misled(party, &output),
            Happening::Tick(node) => self.tick(node),
            Happening::Wake(node) => self.wake(node),
            Happening::Keep(node) => {
                if let Some(event) = self.machine(node).keep_draft() {
                    self.report.copies += u64::from(self.weather.is_witness(node));
                    self.after_question(node);
                    self.arrive(node, event);
                }
            }
            Happening::Restart(node) => self.restart(node),
            Happening::End(node) => self.crash(node, "right after a question"),
            Happening::Turn(party) => self.turn(party),
            Happening::Lure(node) => self.lure(node),
            Happening::Lose(node) => self.lose(node),
            Happening::Orphan(node, stage) => self.orphan(node, stage),
            Happening::Haunt => self.haunt(),
            Happening::Fault(fault) => {
                if self.faults {
                    self.strike(fault);
                    self.plan_fault(fault);
                }
            }
        }
    }

    fn tick(&mut self, node: NodeId) {
        self.plan(1 + self.weather.election_ticks / 16, Happening::Tick(node));
        let now = self.now;
        let machine = self.machine(node);
        if machine.node.is_some() && !machine.is_busy(now) {
            let events = self.tick_of(node);
            self.handle(node, events);
        }
    }

    pub(super) fn arrive(&mut self, node: NodeId, event: Event) {
        let now = self.now;
        self.ghosts.iter_mut().for_each(|ghost| ghost.overhear(node, &event, now));
        let machine = self.machine(node);
        if machine.node.is_none() {
            return;
        }
        if machine.is_busy(now) {
            machine.keep(event);
        } else {
            self.handle(node, vec![event]);
        }
    }

    /// A machine goes on with all that has come meanwhile. It may have stood still just after it
    /// had read its clock: then some of that is done in an hour that has passed long ago.
    fn wake(&mut self, node: NodeId) {
        let now = self.now;
        let machine = self.machine(node);
        if machine.node.is_none() || machine.is_busy(now) {
            return;
        }
        let mut early = machine.take_inbox();
        let late = early.split_off(self.rng.usize(0..=early.len()));
        if !early.is_empty() {
            self.handle(node, early);
        }
        if self.machine(node).is_busy(now) {
            late.into_iter().for_each(|event| self.machine(node).keep(event));
            return;
        }
        let mut events = self.tick_of(node);
        events.extend(late);
        self.handle(node, events);
    }

    /// A machine does nothing until then.
    pub(super) fn pause(&mut self, node: NodeId, ticks: u64) {
        let until = self.now + ticks;
        let machine = self.machine(node);
        machine.busy_until = machine.busy_until.max(until);
        let after = machine.busy_until - self.now;
        self.plan(after, Happening::Wake(node));
    }

    pub(super) fn handle(&mut self, node: NodeId, events: Vec<Event>) {
        let index = usize::from(node.0);
        for event in &events {
            self.note_event(node, event);
            if let Event::Query { id, .. } = event {
                self.checks.asked(node, *id);
            }
        }
        let Machine { node: running, shelf, .. } = &mut self.machines[index];
        let Some(running) = running.as_mut() else { return };
        let brought = Brought::by(running);
        // A ghost's state is right: nobody in whose memory bits flip becomes one.
        let is_ghost = self.disks[index].store() != self.stores.newest(node);
        let told = (!is_ghost).then(|| self.astray.overhear(running, &events));
        let (checks, stores) = (&mut self.checks, &self.stores);
        let (from, passed) = (&self.disks[index], Vec::new());
        let mut gate = Gate { now: self.now, from, shelf, stores, checks, passed };
        let outcome = running.handle(events, &mut gate);
        let passed = gate.passed;
        self.checks.committed(&self.disks[index], shelf);
        let busy = self.disks[index].take_busy();
        let failed = match outcome {
            Ok(outputs) => {
                self.checks.after(running);
                brought.count(running, &mut self.report);
                if let Some(told) = &told {
                    self.astray.after(running, &self.checks);
                    self.astray.goes_on(running, told);
                }
                let applied = running.applied();
                for output in &outputs {
                    if let Output::Answer { id, result: Ok(_) } = output {
                        self.checks.answers(node, *id, applied);
                    }
                }
                self.judge_news();
                self.reply(node, busy, outputs);
                None
            }
            Err(error) => Some(error),
        };
        for (departs, envelope) in passed {
            self.post(departs, envelope);
        }
        match failed {
            Some(node::Error::Forgot { .. } | node::Error::Replaced(_)) => self.ends_for_good(node),
            Some(error) => self.end(node, &error),
            None if busy > 0 => self.pause(node, busy),
            None => (),
        }
    }

    fn post(&mut self, departs: u64, envelope: Envelope) {
        self.note_end(&envelope);
        if let Some(old) = self.kept.pass(&mut self.rng, &envelope) {
            let delay = 1 + self.rng.u64(0..self.weather.network.delay_ticks * 2);
            self.plan(departs - self.now + delay, Happening::Deliver(Box::new(old)));
        }
        if self.goes_apart(&envelope) {
            self.plan(1, Happening::Deliver(Box::new(envelope)));
            return;
        }
        let arrivals = self.net.route(&mut self.rng, departs, &envelope);
        if arrivals.is_empty() {
            return;
        }
        // A wrong snapshot that is handed on makes others wrong, and nobody could tell.
        let is_snapshot = matches!(envelope.message, Message::Transfer(_));
        if is_snapshot && self.astray.is_wrong(envelope.from) {
            return;
        }
        let (kind, from) = (&envelope.message, envelope.from);
        if matches!(kind, Message::Prepare(_) | Message::CatchUpAsk(_) | Message::Transfer(_)) {
            self.after_question(from);
        }
        // Over the wire and back: what arrives is what can be written down.
        let bytes = codec::encode(&envelope);
        for at in arrivals {
            let copy = codec::decode(&bytes).expect("what was encoded can be decoded");
            self.plan(at - self.now, Happening::Deliver(Box::new(copy)));
        }
    }

    fn note_event(&mut self, node: NodeId, event: &Event) {
        let (what, ballot, slot) = trace::about(event);
        let disk = Some(self.disk(node).inspect(crate::paxos::AcceptorState::mark));
        let note = match event {
            Event::Message(envelope) if self.trace.is_read() => format!("from {}", envelope.from),
            Event::Message(_)
            | Event::Request(_)
            | Event::Post(_)
            | Event::KeepAlive { .. }
            | Event::Lease { .. }
            | Event::End(_)
            | Event::Query { .. }
            | Event::Reset(_)
            | Event::Tick { .. }
            | Event::Clock(_)
            | Event::Skip(_)
            | Event::Heal
            | Event::Kept(..) => String::new(),
        };
        let line = Line { at: self.now, node: Some(node), what, ballot, slot, disk, note };
        self.trace.note(&line);
    }

    /// Something happened at a node that is no event of its own.
    pub(super) fn note(&mut self, node: NodeId, what: &'static str, note: impl FnOnce() -> String) {
        let note = if self.trace.is_read() { note() } else { String::new() };
        let (ballot, slot, disk) = (None, None, None);
        let line = Line { at: self.now, node: Some(node), what, ballot, slot, disk, note };
        self.trace.note(&line);
    }
}
