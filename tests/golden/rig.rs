//! A cluster in memory that does nothing by itself: no message moves, no time passes unless told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::rc::Rc;

use super::{Filter, show};
use indelible::paxos::invariants::{self, Proposed};
use indelible::paxos::{
    AcceptorState, ClientId, Command, Config, Digest, Effects, Envelope, Incarnation, Input,
    Limits, Message, NodeId, Notice, Persister, Record, Replica, Request, RequestNumber, Slot,
    Timing, Wal,
};

/// A power cut in the middle of the next commit, after so many of its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) written: usize,
}

/// The power went.
#[derive(Debug, thiserror::Error)]
#[error("power cut")]
pub(super) struct PowerCut;

/// What is on a node's disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
struct Disk(Rc<RefCell<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    records: Vec<Record>,
    doomed: Option<Cut>,
}

impl Wal for Disk {
    type Error = PowerCut;

    fn commit(&mut self, records: &[Record]) -> Result<(), PowerCut> {
        let mut platter = self.0.borrow_mut();
        let cut = platter.doomed.take();
        let written = cut.map_or(records.len(), |cut| cut.written.min(records.len()));
        platter.records.extend_from_slice(&records[..written]);
        if cut.is_some() { Err(PowerCut) } else { Ok(()) }
    }

    fn load(&mut self) -> Result<AcceptorState, PowerCut> {
        Ok(self.image())
    }
}

impl Disk {
    fn image(&self) -> AcceptorState {
        AcceptorState::replay(self.0.borrow().records.iter().cloned())
    }

    fn length(&self) -> usize {
        self.0.borrow().records.len()
    }
}

/// A running node: the core, its gate, and which requests of each client it has applied.
#[derive(Debug)]
struct Live {
    replica: Replica,
    persister: Persister<Disk>,
    applied: BTreeMap<ClientId, RequestNumber>,
}

/// The cluster.
#[derive(Debug, Default)]
pub(super) struct Rig {
    pub(super) limits: Limits,
    /// What the primary of the first view leaves out.
    pub(super) skip_slots: BTreeSet<Slot>,
    /// Whether a node that starts asks what others remember.
    pub(super) recalls: bool,
    /// Who can talk to whom; no groups: everybody to everybody.
    pub(super) groups: Vec<Vec<NodeId>>,
    disks: Vec<Disk>,
    live: Vec<Option<Live>>,
    flying: Vec<Envelope>,
    shelf: Vec<Envelope>,
    /// For the invariants: what was ever proposed, decided, and on each disk.
    proposed: Proposed,
    decided: BTreeMap<Slot, Command>,
    images: Vec<AcceptorState>,
}

impl Rig {
    pub(super) fn new(members: usize) -> Rig {
        Rig {
            disks: (0..members).map(|_| Disk::default()).collect(),
            live: (0..members).map(|_| None).collect(),
            images: vec![AcceptorState::default(); members],
            ..Rig::default()
        }
    }

    pub(super) fn start(&mut self) -> Result<String, Box<dyn Error>> {
        for node in self.nodes() {
            self.restart(node)?;
        }
        Ok(String::new())
    }

    pub(super) fn restart(&mut self, node: NodeId) -> Result<String, Box<dyn Error>> {
        let index = usize::from(node.0);
        let members = self.disks.len() as u16;
        // No jitter: in a script time is told, and 80 ticks is easy to reckon with.
        let timing = Timing { jitter_ticks: 0, ..Timing::from_election(80) };
        let mut config = Config::new(node, Incarnation(1), members, timing);
        config.limits = self.limits;
        config.skip_slots = self.skip_slots.clone();
        config.recalls = self.recalls;
        let mut disk = self.disks[index].clone();
        let state = disk.load()?;
        let mut applied = BTreeMap::new();
        for (_, vote) in state.votes(Slot(0)).take_while(|(slot, _)| *slot < state.mark()) {
            note_applied(&mut applied, &vote.command);
        }
        let replica = Replica::recover(config, state);
        self.live[index] = Some(Live { replica, persister: Persister::new(disk), applied });
        Ok(if self.disks[index].length() == 0 { String::new() } else { self.disk(node) })
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        (0..self.disks.len() as u16).map(NodeId).collect()
    }

    pub(super) fn living(&self) -> Vec<NodeId> {
        self.nodes().into_iter().filter(|node| self.replica(*node).is_some()).collect()
    }

    pub(super) fn replica(&self, node: NodeId) -> Option<&Replica> {
        self.live[usize::from(node.0)].as_ref().map(|live| &live.replica)
    }

    /// A request as it reaches a node: with what its session has applied there.
    pub(super) fn proposal(&self, at: NodeId, request: Request) -> Input {
        let live = self.live[usize::from(at.0)].as_ref();
        let applied = live.and_then(|live| live.applied.get(&request.client).copied());
        Input::Propose { request, applied: applied.unwrap_or(RequestNumber(0)) }
    }

    /// One turn of a node's loop, with what it says to itself.
    pub(super) fn turn(&mut self, node: NodeId, inputs: Vec<Input>) -> String {
        let mut out = show::inputs(node, &inputs);
        let mut inputs = inputs;
        loop {
            let index = usize::from(node.0);
            let Some(live) = self.live[index].as_mut() else {
                return format!("{node}  is down\n");
            };
            let mut effects = step_all(&mut live.replica, inputs);
            let early = live.persister.release_early(&mut effects).into_messages();
            let (disk, before) = (self.disks[index].clone(), self.disks[index].length());
            let outcome = live.persister.persist(effects);
            out += &show::sent("early", &early);
            out += &show::records(&disk.0.borrow().records[before..]);
            let Ok(mut released) = outcome else {
                self.fly(early);
                return out + &self.crash(node);
            };
            let own = released.take_loopback(node);
            let notices = released.take_notices();
            live.apply(&notices);
            let sealed = released.into_messages();
            out += &show::sent("sent", &sealed);
            out += &show::notices(&notices);
            self.fly(early);
            self.fly(sealed);
            if own.is_empty() {
                return out;
            }
            out += &show::own(&own);
            inputs = own.into_iter().map(Input::Message).collect();
        }
    }

    /// What a node applied led to this state.
    pub(super) fn checkpoint(&mut self, node: NodeId, digest: Digest) {
        if let Some(live) = self.live[usize::from(node.0)].as_mut() {
            live.replica.note_applied(live.replica.decided(), [digest]);
        }
    }

    /// Messages leave: those that cross a partition are lost.
    fn fly(&mut self, messages: Vec<Envelope>) {
        for envelope in messages {
            if let Message::Accept(accept) = &envelope.message {
                let fresh = invariants::l1(&mut self.proposed, &accept.run);
                fresh.expect("one command for a ballot and a slot");
                let images: Vec<AcceptorState> = self.disks.iter().map(Disk::image).collect();
                let images: Vec<&AcceptorState> = images.iter().collect();
                let lawful = invariants::l2(&images, self.quorum(), &accept.run);
                lawful.expect("a later leader proposes what was decided");
            }
            let (from, to) = (envelope.from, envelope.to);
            let joined = |group: &Vec<NodeId>| group.contains(&from) && group.contains(&to);
            if self.groups.is_empty() || self.groups.iter().any(joined) {
                self.flying.push(envelope);
            }
        }
    }

    /// Delivers what is under way now, not what it causes: a turn for each receiver.
    pub(super) fn deliver(&mut self, filter: &Filter) -> String {
        let wave = self.take(filter);
        let mut out = String::new();
        for node in self.nodes() {
            let mine = wave.iter().filter(|envelope| envelope.to == node);
            let inputs: Vec<Input> = mine.cloned().map(Input::Message).collect();
            if !inputs.is_empty() {
                out += &self.turn(node, inputs);
            }
        }
        out
    }

    /// Delivers until nothing is under way.
    pub(super) fn settle(&mut self) -> String {
        let all = Filter { kinds: Vec::new(), from: None, to: None };
        let mut out = String::new();
        for _ in 0..100 {
            if self.flying.is_empty() {
                return out;
            }
            out += &self.deliver(&all);
        }
        panic!("a hundred waves, and still no rest");
    }

    pub(super) fn lose(&mut self, filter: &Filter) -> String {
        show::listed("lost", &self.take(filter))
    }

    pub(super) fn hold(&mut self, filter: &Filter) -> String {
        let held = self.take(filter);
        let out = show::listed("held", &held);
        self.shelf.extend(held);
        out
    }

    /// What was held is under way again, behind all the rest; it stays on the shelf.
    pub(super) fn replay(&mut self) -> String {
        self.flying.extend(self.shelf.iter().cloned());
        show::listed("again", &self.shelf)
    }

    pub(super) fn flying(&self) -> String {
        show::listed("flies", &self.flying)
    }

    fn take(&mut self, filter: &Filter) -> Vec<Envelope> {
        let taken =
            |envelope: &mut Envelope| filter.takes(envelope.from, envelope.to, &envelope.message);
        self.flying.extract_if(.., taken).collect()
    }

    pub(super) fn doom(&mut self, node: NodeId, cut: Cut) {
        self.disks[usize::from(node.0)].0.borrow_mut().doomed = Some(cut);
    }

    pub(super) fn crash(&mut self, node: NodeId) -> String {
        self.live[usize::from(node.0)] = None;
        format!("{node}  crashes\n")
    }

    pub(super) fn status(&self) -> String {
        let mut out = String::new();
        for node in self.nodes() {
            match self.replica(node) {
                Some(replica) => out += &show::status(replica),
                None => writeln!(out, "{node}  down").expect("a string takes all"),
            }
        }
        out
    }

    pub(super) fn disk(&self, node: NodeId) -> String {
        show::disk(node, &self.disks[usize::from(node.0)].image())
    }

    fn quorum(&self) -> usize {
        self.disks.len() / 2 + 1
    }

    /// All that can be asked of the disks and of the nodes that run.
    pub(super) fn check(&mut self) -> Result<(), invariants::Broken> {
        let images: Vec<AcceptorState> = self.disks.iter().map(Disk::image).collect();
        for (before, after) in self.images.iter().zip(&images) {
            invariants::a1(before.promised(), after.promised())?;
            invariants::a2(after, Slot(0))?;
            invariants::a3(before, after)?;
        }
        let all: Vec<&AcceptorState> = images.iter().collect();
        invariants::a4(&all, Slot(0))?;
        invariants::a5(&all, self.quorum(), Slot(0))?;
        for live in self.live.iter().flatten() {
            invariants::r1(&mut self.decided, &live.replica, Slot(0))?;
            invariants::r2(&live.replica, Slot(0))?;
            invariants::r5(&live.replica, 100)?;
        }
        self.images = images;
        Ok(())
    }
}

impl Live {
    fn apply(&mut self, notices: &[Notice]) {
        for notice in notices {
            if let Notice::Decided(_, command) = notice {
                note_applied(&mut self.applied, command);
            }
        }
        self.replica.note_applied(self.replica.decided(), None);
    }
}

fn note_applied(applied: &mut BTreeMap<ClientId, RequestNumber>, command: &Command) {
    if let Command::Request(request) = command {
        applied.insert(request.client, request.number);
    }
}

fn step_all(replica: &mut Replica, inputs: Vec<Input>) -> Effects {
    let (first, rest) = {
        let mut steps = inputs.into_iter().chain([Input::Flush]);
        (steps.next().expect("a flush at least"), steps)
    };
    let mut joined = replica.step(first);
    for input in rest {
        joined = joined.then(replica.step(input));
    }
    joined
}
