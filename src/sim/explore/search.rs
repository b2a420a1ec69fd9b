//! The search itself: depth first, each state once, every law asked on the way.

use std::collections::BTreeMap;

use super::atlas::{Atlas, Call, LetterId, MomentId};
use super::laws;
use super::seen::{Seen, fingerprint};
use super::state::{Event, Left, State};
use super::{Counts, NODES_MAX, Trial, World};
use crate::paxos::invariants::{self, Broken, Proposed, Verdict};
use crate::paxos::{AcceptorState, Command, NodeId, Slot};
use crate::wire::codec;

/// States between two tellings.
const STATES_BETWEEN: u64 = 1 << 22;

/// A depth-first search.
#[derive(Debug)]
pub(super) struct Search {
    world: World,
    /// Whether to try what need not be tried, too.
    keeps_all: bool,
    atlas: Atlas,
    seen: Seen,
    constellations: Seen,
    decisions: Decisions,
    /// From the first state to the current one.
    path: Vec<Branch>,
    counts: Counts,
}

/// An event on the path, and what is left to try after it.
#[derive(Debug)]
struct Branch {
    event: Option<Event>,
    todo: Vec<(Event, State)>,
}

/// Everything that was ever decided in some state, by number.
#[derive(Debug)]
struct Decisions {
    all: Vec<Vec<Command>>,
    by_bytes: BTreeMap<Vec<u8>, u32>,
}

impl Search {
    pub(super) fn new(trial: Trial) -> Search {
        Search {
            atlas: Atlas::new(trial),
            seen: Seen::new(),
            constellations: Seen::new(),
            decisions: Decisions { all: Vec::new(), by_bytes: BTreeMap::new() },
            path: Vec::new(),
            counts: Counts::default(),
            world: trial.world,
            keeps_all: trial.keeps_all,
        }
    }

    /// What was searched so far.
    pub(super) fn counts(&self) -> Counts {
        let (moments, letters) = self.atlas.len();
        Counts {
            states: self.seen.len() as u64,
            moments: moments as u64,
            letters: letters as u64,
            constellations: self.constellations.len() as u64,
            ..self.counts
        }
    }

    /// Searches everything.
    ///
    /// # Errors
    ///
    /// At the first broken invariant; then the path tells how it came to that.
    pub(super) fn all(&mut self, tell: &mut impl FnMut(&Counts)) -> Result<(), Broken> {
        let first = self.first();
        self.visit(&first)?;
        let todo = vec![];
        self.path.push(Branch { event: None, todo });
        self.expand(&first)?;
        let mut next_tale = STATES_BETWEEN;
        while let Some(branch) = self.path.last_mut() {
            let Some((event, state)) = branch.todo.pop() else {
                self.path.pop();
                continue;
            };
            self.path.push(Branch { event: Some(event), todo: Vec::new() });
            self.expand(&state)?;
            if self.seen.len() as u64 >= next_tale {
                next_tale += STATES_BETWEEN;
                tell(&self.counts());
            }
        }
        tell(&self.counts());
        Ok(())
    }

    /// The current path, an event a line.
    pub(super) fn schedule(&self) -> Vec<String> {
        let events = self.path.iter().filter_map(|branch| branch.event.as_ref());
        events.map(|event| self.line(event)).collect()
    }

    fn first(&mut self) -> State {
        let World { members, campaigns, commands, crashes, losses, .. } = self.world;
        let mut nodes = [0; NODES_MAX];
        for node in 0..members {
            nodes[usize::from(node)] = self.atlas.first(NodeId(node));
        }
        let left = Left { campaigns, commands, crashes, losses };
        State { nodes, mail: Vec::new(), left, decided: self.decisions.number(Vec::new()) }
    }

    /// Notes what can come next of a state, as far as it was not seen yet.
    fn expand(&mut self, state: &State) -> Result<(), Broken> {
        self.counts.depth = self.counts.depth.max(self.path.len() as u64 - 1);
        for event in state.events(&self.world, &self.atlas) {
            match &event {
                Event::Lose(letter) => self.arrive(state.without(*letter), &event, None)?,
                Event::At(node, call) | Event::Cut(node, call) => {
                    self.call(state, *node, call, &event)?;
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, s: &State, node: usize, call: &Call, event: &Event) -> Result<(), Broken> {
        let outcomes = self.atlas.follow(s.nodes[node], call);
        let outcomes = outcomes.inspect_err(|_| self.blame(event))?;
        for outcome in outcomes.iter() {
            if let Some(next) = s.after(&self.world, node, call, outcome) {
                let is_cut = outcome.is_crash && *call != Call::Restart;
                let cut = is_cut.then(|| Event::Cut(node, call.clone()));
                self.arrive(next, cut.as_ref().unwrap_or(event), Some((node, &outcome.sends)))?;
            }
        }
        Ok(())
    }

    /// A state is reached: if it is new, its laws are asked, and it is put down to be expanded.
    fn arrive(
        &mut self,
        mut state: State,
        event: &Event,
        moved: Option<(usize, &[LetterId])>,
    ) -> Result<(), Broken> {
        self.counts.transitions += 1;
        if let Some((node, sends)) = moved {
            let checked = self.check(&mut state, node, sends);
            checked.inspect_err(|_| self.blame(event))?;
        }
        if !self.keeps_all {
            state.drop_spent(&self.atlas);
        }
        let checked = self.visit(&state);
        if checked.inspect_err(|_| self.blame(event))? {
            let branch = self.path.last_mut().expect("the path begins with the first state");
            branch.todo.push((event.clone(), state));
        }
        Ok(())
    }

    /// What must hold when a node has moved: one command a slot for ever, and nobody proposes
    /// anything against it.
    fn check(&mut self, state: &mut State, node: usize, sends: &[LetterId]) -> Verdict {
        state.decided = self.decide(state, node)?;
        for run in sends.iter().filter_map(|letter| self.atlas.proposal(*letter)) {
            let images = images(&self.atlas, &self.world, &state.nodes);
            invariants::l2(&images, self.quorum(), run)?;
            let mut proposed = Proposed::new();
            for other in state.mail.iter().filter_map(|letter| self.atlas.proposal(*letter)) {
                invariants::l1(&mut proposed, other)?;
            }
        }
        Ok(())
    }

    /// R1, over all nodes and all time; what is newly decided is no request twice, and a quorum
    /// holds it.
    fn decide(&mut self, state: &State, node: usize) -> Result<u32, Broken> {
        let known = &self.decisions.all[state.decided as usize];
        let told = &self.atlas.facts(state.nodes[node]).decided;
        for (slot, (known, told)) in known.iter().zip(told).enumerate() {
            let detail = || format!("n{node} has {told} in slot {slot}, where {known} was decided");
            laws::hold(known == told, "R1", detail)?;
        }
        if told.len() <= known.len() {
            return Ok(state.decided);
        }
        let images = images(&self.atlas, &self.world, &state.nodes);
        for (slot, command) in told.iter().enumerate().skip(known.len()) {
            let slot = Slot(slot as u64);
            laws::rests_on_a_quorum(&images, self.quorum(), slot, command)?;
        }
        laws::each_request_once(told)?;
        let told = told.clone();
        self.counts.decided = self.counts.decided.max(told.len() as u64);
        Ok(self.decisions.number(told))
    }

    /// Whether a state is new; then what its disks hold together is lawful.
    fn visit(&mut self, state: &State) -> Result<bool, Broken> {
        let members = usize::from(self.world.members);
        if !self.seen.insert(state.fingerprint(members)) {
            return Ok(false);
        }
        let nodes = state.nodes[..members].iter().copied().map(u64::from);
        if self.constellations.insert(fingerprint(nodes)) {
            let images = images(&self.atlas, &self.world, &state.nodes);
            invariants::a4(&images, Slot(0))?;
            invariants::a5(&images, self.quorum(), Slot(0))?;
        }
        Ok(true)
    }

    fn quorum(&self) -> usize {
        usize::from(self.world.members) / 2 + 1
    }

    /// Puts the event that broke a law at the end of the path.
    fn blame(&mut self, event: &Event) {
        self.path.push(Branch { event: Some(event.clone()), todo: Vec::new() });
    }

    fn line(&self, event: &Event) -> String {
        match event {
            Event::At(node, call) => format!("n{node} {}", self.words(call)),
            Event::Cut(node, call) => format!("n{node} loses power while {}", self.words(call)),
            Event::Lose(letter) => format!("lost: {:?}", self.atlas.letter(*letter).envelope),
        }
    }

    fn words(&self, call: &Call) -> String {
        match call {
            Call::Deliver(letter) => {
                let envelope = &self.atlas.letter(*letter).envelope;
                format!("hearing from {}: {:?}", envelope.from, envelope.message)
            }
            Call::Campaign(answers) => format!("campaigning after a yes of {answers:?}"),
            Call::Propose(client) => format!("taking the request of client {client}"),
            Call::Restart => "starting again".to_owned(),
        }
    }
}

impl Decisions {
    fn number(&mut self, commands: Vec<Command>) -> u32 {
        let next = self.all.len() as u32;
        let number = *self.by_bytes.entry(codec::encode(&commands)).or_insert(next);
        if number == next {
            self.all.push(commands);
        }
        number
    }
}

fn images<'a>(atlas: &'a Atlas, world: &World, nodes: &[MomentId]) -> Vec<&'a AcceptorState> {
    nodes[..usize::from(world.members)].iter().map(|id| atlas.disk(*id)).collect()
}
