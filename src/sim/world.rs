//! The world: nodes, disks, links and clients in one queue of events, and nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;

use super::checks::{Checks, claims_are_durable};
use super::client::Client;
use super::disk::Disk;
use super::weather::Weather;
use crate::node::{Event, Node, Output};
use crate::paxos::{
    ClientId, Config, Envelope, Incarnation, Network, NodeId, Released, Slot, Timing,
};
use crate::rsm::{Archive, StateMachine};

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Events that happened.
    pub events: u64,
    /// Slots decided.
    pub decided: u64,
    /// Requests answered.
    pub answered: u64,
    /// Crashes.
    pub crashes: u64,
    /// Linearizable reads answered.
    pub reads: u64,
    /// A hash over all that happened: equal for equal seeds.
    pub trace: u64,
}

/// One run under the weather that the seed draws.
///
/// # Panics
///
/// If an invariant breaks, or the cluster does not recover once the faults stop: with the seed.
#[must_use]
pub fn run(seed: u64) -> Report {
    let mut rng = Rng::with_seed(seed);
    let weather = Weather::draw(&mut rng);
    run_in(seed, &weather)
}

/// One run under this weather.
///
/// # Panics
///
/// As [`run`].
#[must_use]
pub fn run_in(seed: u64, weather: &Weather) -> Report {
    let mut world = World::new(seed, weather.clone());
    world.storm();
    world.calm();
    world.report()
}

/// A machine whose reply to a command is the command, and which counts.
#[derive(Debug, Default)]
struct Tape {
    applied: u64,
}

impl StateMachine for Tape {
    fn apply(&mut self, at: Slot, command: &[u8], archive: &mut Archive) -> Vec<u8> {
        archive.append(at, Bytes::copy_from_slice(command));
        self.applied += 1;
        command.to_vec()
    }

    fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
        self.applied.to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.applied.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) {
        self.applied = snapshot.try_into().map_or(0, u64::from_le_bytes);
    }
}

#[derive(Debug)]
enum Happening {
    Deliver(Envelope),
    Tick(NodeId),
    Crash,
    Restart(NodeId),
    Client(usize),
    Skip,
    Read,
}

struct World {
    weather: Weather,
    rng: Rng,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    disks: Vec<Disk>,
    nodes: Vec<Option<Node<Disk, Tape>>>,
    ticked: Vec<u64>,
    clients: Vec<Client>,
    /// When the last message of each link arrives: a link keeps its order.
    links: BTreeMap<(NodeId, NodeId), u64>,
    checks: Checks,
    /// Answers that a read must see, by its id.
    reads: BTreeMap<u64, u64>,
    faults: bool,
    report: Report,
}

/// Carries what is released into the world's queue, and looks at the disk as it passes.
struct Gate<'a> {
    disks: &'a [Disk],
    checks: &'a mut Checks,
    passed: Vec<Envelope>,
}

impl Network for Gate<'_> {
    fn send(&mut self, released: Released) {
        for envelope in released.into_messages() {
            claims_are_durable(&self.disks[usize::from(envelope.from.0)], &envelope);
            self.checks.proposed(self.disks, &envelope);
            self.passed.push(envelope);
        }
    }
}

impl World {
    fn new(seed: u64, weather: Weather) -> World {
        let members = weather.members;
        let mut world = World {
            rng: Rng::with_seed(seed ^ 0x5EED),
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            disks: (0..members).map(|_| Disk::default()).collect(),
            nodes: (0..members).map(|_| None).collect(),
            ticked: vec![0; usize::from(members)],
            clients: (0..weather.clients).map(|c| Client::new(ClientId(c.into()))).collect(),
            links: BTreeMap::new(),
            checks: Checks::default(),
            reads: BTreeMap::new(),
            faults: true,
            report: Report {
                events: 0,
                decided: 0,
                answered: 0,
                crashes: 0,
                reads: 0,
                trace: seed,
            },
            weather,
        };
        for node in (0..members).map(NodeId) {
            world.restart(node);
            world.plan(1, Happening::Tick(node));
        }
        for client in 0..world.clients.len() {
            world.plan(1, Happening::Client(client));
        }
        world.plan(world.weather.election_ticks, Happening::Read);
        world.plan_fault(world.weather.crash_ticks, Happening::Crash);
        world.plan_fault(world.weather.skip_ticks, Happening::Skip);
        world
    }

    /// Faults happen.
    fn storm(&mut self) {
        while self.now < self.weather.storm_ticks {
            self.next();
        }
    }

    /// The faults stop: within a bounded time all is decided, and all know it.
    fn calm(&mut self) {
        self.faults = false;
        for node in (0..self.weather.members).map(NodeId) {
            self.disks[usize::from(node.0)].spare();
            self.restart(node);
        }
        let patience = self.now + self.weather.election_ticks * 40 + 40_000;
        while !self.is_quiet() {
            self.next();
            assert!(self.now < patience, "no recovery in {:?}: {}", self.weather, self.standing());
        }
    }

    fn is_quiet(&self) -> bool {
        let decided =
            |node: &Option<Node<Disk, Tape>>| node.as_ref().map(|n| n.replica().decided());
        let first = decided(&self.nodes[0]);
        self.clients.iter().all(Client::is_done)
            && self.nodes.iter().all(|node| decided(node) == first)
            && self.nodes.iter().flatten().all(|node| node.applied() == node.replica().decided())
    }

    /// Who waits for what, for a person.
    fn standing(&self) -> String {
        let node = |node: &Node<Disk, Tape>| format!("{:?}", node.status());
        let nodes: Vec<String> = self.nodes.iter().flatten().map(node).collect();
        format!("clients {:?}\n{}", self.clients, nodes.join("\n"))
    }

    fn report(mut self) -> Report {
        self.report.decided = self.checks.decided();
        self.report.answered = self.clients.iter().map(Client::answered).sum();
        self.report
    }

    fn plan(&mut self, after: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), happening);
    }

    fn plan_fault(&mut self, mean: u64, happening: Happening) {
        if mean > 0 && self.faults {
            let after = 1 + self.rng.u64(0..mean * 2);
            self.plan(after, happening);
        }
    }

    fn next(&mut self) {
        let ((at, _), happening) = self.queue.pop_first().expect("ticks never end");
        self.now = at;
        self.report.events += 1;
        match happening {
            Happening::Deliver(envelope) => {
                let to = envelope.to;
                self.handle(to, vec![Event::Message(envelope)]);
            }
            Happening::Tick(node) => self.tick(node),
            Happening::Crash => {
                let node = NodeId(self.rng.u16(0..self.weather.members));
                self.crash(node);
                self.plan_fault(self.weather.crash_ticks, Happening::Crash);
            }
            Happening::Restart(node) => self.restart(node),
            Happening::Client(client) => self.client(client),
            Happening::Skip => {
                for node in (0..self.weather.members).map(NodeId) {
                    self.handle(node, vec![Event::Skip(1 + self.now % 3)]);
                }
                self.plan_fault(self.weather.skip_ticks, Happening::Skip);
            }
            Happening::Read => self.read(),
        }
    }

    fn tick(&mut self, node: NodeId) {
        let elapsed = self.now - self.ticked[usize::from(node.0)];
        self.ticked[usize::from(node.0)] = self.now;
        self.handle(node, vec![Event::Tick { elapsed }]);
        self.plan(1 + self.weather.election_ticks / 16, Happening::Tick(node));
    }

    fn read(&mut self) {
        let id = self.report.events;
        let acknowledged = self.clients.iter().map(Client::answered).sum();
        self.reads.insert(id, acknowledged);
        for node in (0..self.weather.members).map(NodeId) {
            self.handle(node, vec![Event::Query { id, body: Bytes::new() }]);
        }
        self.plan(1 + self.weather.election_ticks / 2, Happening::Read);
    }

    fn client(&mut self, index: usize) {
        let wait = 1 + self.rng.u64(0..self.weather.request_ticks * 2);
        self.plan(wait, Happening::Client(index));
        let client = &mut self.clients[index];
        if self.faults {
            client.issue();
        }
        if self.rng.u8(0..8) == 0 {
            client.turn(self.weather.members, &mut self.rng);
        }
        let target = client.target;
        let requests: Vec<Event> = client.unanswered().map(Event::Request).collect();
        let is_lost = self.faults && self.rng.f64() < self.weather.loss;
        if !requests.is_empty() && !is_lost {
            self.handle(target, requests);
        }
    }

    fn handle(&mut self, node: NodeId, events: Vec<Event>) {
        let index = usize::from(node.0);
        let doomed = self.faults && self.rng.f64() < self.weather.crash_in_commit;
        let Some(running) = self.nodes[index].as_mut() else { return };
        if doomed {
            self.disks[index].doom(self.rng.f64());
        }
        let checks = &mut self.checks;
        let mut gate = Gate { disks: &self.disks, checks, passed: Vec::new() };
        let outcome = running.handle(events, &mut gate);
        let passed = gate.passed;
        self.disks[index].spare();
        match outcome {
            Ok(outputs) => {
                self.checks.after(running);
                self.answer(node, outputs);
            }
            Err(_) => self.crash(node),
        }
        self.checks.together(&self.disks);
        for envelope in passed {
            self.post(envelope);
        }
    }

    fn answer(&mut self, node: NodeId, outputs: Vec<Output>) {
        let lost = self.faults && self.rng.f64() < self.weather.loss;
        for output in outputs {
            self.trace(u64::from(node.0));
            match &output {
                Output::Queued(client, _)
                | Output::Rejected(client, _, _)
                | Output::Reply { client, .. } => {
                    if !lost && let Some(client) = self.clients.get_mut(client.0 as usize) {
                        client.on_output(&output);
                    }
                }
                Output::Answer { id, result: Ok(count) } => {
                    let seen = u64::from_le_bytes(count[..].try_into().expect("eight bytes"));
                    let owed = self.reads.get(id).copied().unwrap_or(0);
                    assert!(seen >= owed, "stale read at {node}: {seen} of {owed} answered");
                    self.report.reads += 1;
                }
                Output::Answer { result: Err(_), .. } => (),
            }
        }
    }

    fn post(&mut self, envelope: Envelope) {
        self.trace(envelope.message.kind().len() as u64 + u64::from(envelope.to.0));
        if self.faults && self.rng.f64() < self.weather.loss {
            return;
        }
        if self.faults && self.rng.f64() < self.weather.duplicates {
            let late = self.weather.election_ticks * self.rng.u64(1..4);
            self.plan(late, Happening::Deliver(envelope.clone()));
        }
        let delay = 1 + self.rng.u64(0..self.weather.delay_ticks);
        let link = self.links.entry((envelope.from, envelope.to)).or_insert(0);
        *link = (*link).max(self.now + delay);
        let after = *link - self.now;
        self.plan(after, Happening::Deliver(envelope));
    }

    fn crash(&mut self, node: NodeId) {
        if self.nodes[usize::from(node.0)].take().is_none() {
            return;
        }
        self.report.crashes += 1;
        let away = 1 + self.rng.u64(0..self.weather.restart_ticks);
        self.plan(away, Happening::Restart(node));
        // The sockets of a killed process are closed: most peers notice at once.
        for peer in (0..self.weather.members).map(NodeId).filter(|peer| *peer != node) {
            if self.rng.u8(0..4) > 0 && self.nodes[usize::from(peer.0)].is_some() {
                self.handle(peer, vec![Event::Reset(node)]);
            }
        }
    }

    fn restart(&mut self, node: NodeId) {
        let index = usize::from(node.0);
        if self.nodes[index].is_some() {
            return;
        }
        let timing = Timing::from_election(self.weather.election_ticks);
        let mut config = Config::new(node, Incarnation(1), self.weather.members, timing);
        config.seed = self.rng.u64(..);
        config.limits.window_runs = 1 + self.rng.usize(0..4);
        let opened = Node::open(config, self.disks[index].clone(), Tape::default());
        let opened = opened.expect("a disk without power cuts opens");
        self.ticked[index] = self.now;
        self.checks.on_restart(node, &self.disks[index], opened.replica().state());
        self.checks.after(&opened);
        self.nodes[index] = Some(opened);
    }

    fn trace(&mut self, word: u64) {
        let mixed = (self.report.trace ^ word ^ self.now).wrapping_mul(0x0000_0100_0000_01b3);
        self.report.trace = mixed.rotate_left(5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calm_world_decides_everything() {
        let mut rng = Rng::with_seed(1);
        let calm = Weather {
            members: 3,
            loss: 0.0,
            duplicates: 0.0,
            crash_ticks: 0,
            crash_in_commit: 0.0,
            skip_ticks: 0,
            ..Weather::draw(&mut rng)
        };
        let report = run_in(1, &calm);
        assert!(report.answered > 50 && report.reads > 10, "{report:?}");
        assert_eq!(report.crashes, 0);
        assert_eq!(report.decided, report.answered, "dense: nothing but requests takes a slot");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        assert_eq!(run(7), run(7));
    }

    #[test]
    fn seeds() {
        let count = std::env::var("INDELIBLE_SIM_SEEDS").ok().and_then(|s| s.parse().ok());
        let from = std::env::var("INDELIBLE_SIM_FROM").ok().and_then(|s| s.parse().ok());
        let from = from.unwrap_or(0);
        let mut total =
            Report { events: 0, decided: 0, answered: 0, crashes: 0, reads: 0, trace: 0 };
        for seed in from..from + count.unwrap_or(300) {
            let report = std::panic::catch_unwind(|| run(seed));
            let report = report.unwrap_or_else(|_| {
                panic!("seed {seed} fails in {:?}", Weather::draw(&mut Rng::with_seed(seed)))
            });
            total.events += report.events;
            total.decided += report.decided;
            total.answered += report.answered;
            total.crashes += report.crashes;
            total.reads += report.reads;
        }
        assert!(total.crashes > 100 && total.reads > 100, "weather worth the name: {total:?}");
    }
}
