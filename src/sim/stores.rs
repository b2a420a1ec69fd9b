//! All stores that the members of a cluster ever had, and machines that should not run any more.
//!
//! A member whose store is lost gets a new, empty one, which takes the place of the lost one by the
//! protocol (`paxos::rejoining`). The lost one may turn out not to be lost at all: its machine then
//! goes on as a *ghost*, hears what its member is told, and answers. Some are elsewhere in the
//! network than the machine that took their place: they keep a leader company that is cut off from
//! all others, and so are all that it hears.

use fastrand::Rng;

use super::disk::Disk;
use super::machine::{Machine, TRUE_RATE};
use super::queue::Happening;
use super::shelf::SimShelf;
use super::votes::Store;
use super::world::World;
use crate::node::Event;
use crate::paxos::{AcceptorState, Envelope, NodeId};

/// The stores.
#[derive(Debug)]
pub(super) struct Stores {
    members: usize,
    all: Vec<Disk>,
}

/// A machine that was replaced, and runs.
#[derive(Debug)]
pub(super) struct Ghost {
    pub(super) machine: Machine,
    pub(super) disk: Disk,
    /// When it is to be left alone with a leader, if it is to be.
    secluded_at: Option<u64>,
    company: Option<Company>,
}

/// A node that only a ghost reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Company {
    partner: NodeId,
    until: u64,
}

/// How many election timeouts a leader has a ghost for company.
const SECLUDED_ELECTIONS: u64 = 6;

impl Ghost {
    /// It hears what its node is told, unless it is elsewhere; but not what became of that one's
    /// snapshots: it has another shelf.
    pub(super) fn overhear(&mut self, node: NodeId, event: &Event, now: u64) {
        let is_apart = self.company.is_some_and(|company| now < company.until);
        if self.machine.id == node && !is_apart && !matches!(event, Event::Kept(..)) {
            self.machine.keep(event.clone());
        }
    }
}

impl Company {
    /// Whether this goes from the ghost to its company.
    fn hears(self, envelope: &Envelope, now: u64) -> bool {
        envelope.to == self.partner && now < self.until
    }
}

impl Stores {
    pub(super) fn new(disks: &[Disk]) -> Stores {
        Stores { members: disks.len(), all: disks.to_vec() }
    }

    pub(super) fn quorum(&self) -> usize {
        self.members / 2 + 1
    }

    /// One more.
    pub(super) fn add(&mut self, disk: Disk) {
        self.all.push(disk);
    }

    /// The newest store of a member.
    pub(super) fn newest(&self, node: NodeId) -> Store {
        let stores = self.all.iter().map(Disk::store);
        stores.filter(|(of, _)| *of == node).max().expect("a member has a store")
    }

    /// Looks at what all of them hold.
    pub(super) fn inspect<T>(&self, look: impl FnOnce(&[(NodeId, &AcceptorState)]) -> T) -> T {
        Disk::inspect_all(&self.all, look)
    }
}

impl World {
    /// A node's store is lost, unless too many others could not testify: then nobody would replace
    /// it yet. Its machine may go on all the same.
    pub(super) fn wipe(&mut self, node: NodeId) {
        let victim = self.members().find(|node| self.machines[usize::from(node.0)].gone.is_some());
        let node = victim.unwrap_or(node);
        if self.may_lose(node) {
            let runs_on = self.rng.bool() && !self.astray.may_go_astray(node);
            self.replace(node, runs_on);
        }
    }

    /// A node's store is lost, if there is to be any fault, and the others can bear it.
    pub(super) fn lose(&mut self, node: NodeId) {
        if self.faults && self.may_lose(node) {
            self.replace(node, false);
        }
    }

    /// Whether enough others can bring a node back that has lost its store. While a store is rolled
    /// back, all others are to remember.
    pub(super) fn may_lose(&self, node: NodeId) -> bool {
        let others = || self.members().filter(move |other| *other != node);
        let is_fit = |other: &NodeId| {
            let gone = self.machines[usize::from(other.0)].gone.is_some();
            !gone && self.disk(*other).inspect(AcceptorState::is_fit)
        };
        let needed = self.stores.quorum();
        others().filter(is_fit).count() >= needed
            && !others().any(|other| self.disk(other).is_rolled_back())
    }

    /// A new, empty store takes the place of a node's.
    pub(super) fn replace(&mut self, node: NodeId, runs_on: bool) {
        let index = usize::from(node.0);
        let seed = self.rng.u64(..);
        let disk = Disk::in_place_of(&self.disks[index], seed);
        let machine = Machine::new(node, TRUE_RATE, SimShelf::new(seed, self.weather.disk.flips));
        self.note(node, "loses its store", || format!("now {:?}, ghost {runs_on}", disk.store()));
        self.report.replaced += 1;
        self.stores.add(disk.clone());
        let disk = std::mem::replace(&mut self.disks[index], disk);
        let machine = std::mem::replace(&mut self.machines[index], machine);
        if runs_on && machine.node.is_some() {
            let mut rng = Rng::with_seed(seed);
            let soon = self.now + rng.u64(0..self.weather.election_ticks * SECLUDED_ELECTIONS);
            let secluded_at = rng.bool().then_some(soon);
            self.ghosts.push(Ghost { machine, disk, secluded_at, company: None });
            if self.ghosts.len() == 1 {
                self.plan(1, Happening::Haunt);
            }
        }
        let away = 1 + self.rng.u64(0..self.weather.process.restart_ticks.max(1));
        self.plan(away, Happening::Restart(node));
    }

    /// The ghosts go on: each in the place of its node for a moment.
    pub(super) fn haunt(&mut self) {
        let mut ghosts = std::mem::take(&mut self.ghosts);
        for ghost in &mut ghosts {
            let (node, index, now) = (ghost.machine.id, usize::from(ghost.machine.id.0), self.now);
            self.seclude(ghost);
            if ghost.machine.is_busy(now) {
                continue;
            }
            std::mem::swap(&mut self.machines[index], &mut ghost.machine);
            std::mem::swap(&mut self.disks[index], &mut ghost.disk);
            let mut events = self.machines[index].take_inbox();
            events.extend(self.tick_of(node));
            self.haunting = ghost.company;
            self.handle(node, events);
            self.haunting = None;
            std::mem::swap(&mut self.machines[index], &mut ghost.machine);
            std::mem::swap(&mut self.disks[index], &mut ghost.disk);
        }
        ghosts.retain(|ghost| ghost.machine.node.is_some());
        self.ghosts = ghosts;
        if !self.ghosts.is_empty() {
            let soon = 1 + self.rng.u64(0..1 + self.weather.election_ticks / 8);
            self.plan(soon, Happening::Haunt);
        }
    }

    /// Leaves a ghost alone with whoever leads, when it is time.
    fn seclude(&mut self, ghost: &mut Ghost) {
        let is_due = self.faults && ghost.secluded_at.is_some_and(|at| at <= self.now);
        let leads = |id: &NodeId| {
            let node = self.machines[usize::from(id.0)].node.as_ref();
            *id != ghost.machine.id && node.is_some_and(|node| node.replica().tenure().is_some())
        };
        if is_due && let Some(partner) = self.members().find(leads) {
            let until = self.now + self.weather.election_ticks * SECLUDED_ELECTIONS;
            self.net.isolate(partner, until);
            self.note(partner, "is left alone with", || format!("a ghost of {}", ghost.machine.id));
            (ghost.secluded_at, ghost.company) = (None, Some(Company { partner, until }));
        }
    }

    /// Something leaves: whether it goes by a way that only a ghost and its company have. What a
    /// partner says arrives here; what the ghost says is to be delivered.
    pub(super) fn goes_apart(&mut self, envelope: &Envelope) -> bool {
        let now = self.now;
        if self.haunting.is_some_and(|company| company.hears(envelope, now)) {
            return true;
        }
        for ghost in &mut self.ghosts {
            let hears = |it: Company| it.partner == envelope.from && now < it.until;
            if ghost.machine.id == envelope.to && ghost.company.is_some_and(hears) {
                ghost.machine.keep(Event::Message(envelope.clone()));
            }
        }
        false
    }

    /// A node's store is set back to a copy, if all others remember more than that holds.
    pub(super) fn roll_back(&mut self, node: NodeId) {
        let index = usize::from(node.0);
        let (store, disk) = (self.disks[index].store(), &self.disks[index]);
        let Some(pledges) = disk.pledges_in_backup() else { return };
        let others = || self.members().filter(|other| *other != node);
        let remembers = |other: NodeId| {
            self.disk(other)
                .inspect(|image| image.heard(node, store.1) > pledges || !image.is_fit())
        };
        let may_happen = self.machines[index].gone.is_none()
            && others().count() > 0
            && others().all(remembers)
            && !self.members().any(|other| self.disk(other).is_rolled_back())
            && self.may_lose(node);
        if may_happen {
            self.crash(node, "is rolled back");
            // What was counted of it before stays decided.
            self.stores.add(self.disks[index].copy());
            self.disks[index].roll_back();
            self.checks.forget(store);
        }
    }

    /// A node has learnt that its store is not to be used any more.
    pub(super) fn ends_for_good(&mut self, node: NodeId) {
        let index = usize::from(node.0);
        let (is_rolled_back, newest) =
            (self.disks[index].is_rolled_back(), self.stores.newest(node));
        let is_replaced = self.disks[index].store() != newest;
        assert!(is_rolled_back || is_replaced, "{node} stops, though nothing was lost");
        self.machines[index].stop(&mut self.rng);
        self.note(node, "ends for good", String::new);
        if is_rolled_back {
            self.report.found_out += 1;
            self.machines[index].gone = Some("it was rolled back".to_owned());
        }
    }
}
