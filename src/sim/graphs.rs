//! Every way in which five nodes can be connected, with each of them as the first leader.
//!
//! Partial connectivity is what classic leader elections cannot bear (Ng et al., *Omni-Paxos*,
//! EuroSys 2023, table 1: quorum loss, constrained election, chained; and the one-way failure of
//! Cloudflare's etcd of 2020). Here: whenever some node reaches a quorum both ways, something is
//! decided within four election timeouts, the leader changes twice at most, and then no more.
//!
//! All 5,120 pairs take a while: `INDELIBLE_SOAK=1` runs them all, else a share of them.

use super::trace::Ears;
use super::weather::Weather;
use super::world::World;
use crate::node::Event;
use crate::paxos::{Ballot, NodeId};

/// An election timeout, in ticks.
const ELECTION: u64 = 64;

/// Something must be decided within so many of them.
const DECIDED_WITHIN: u64 = 4;

/// Leaders may change for so many of them; then for as many again none may.
const SETTLED_AFTER: u64 = 10;

/// Directed links: bit `from * members + to`.
#[derive(Clone, Copy)]
struct Graph {
    members: u16,
    links: u64,
}

impl Graph {
    /// The links that both directions of the `at`-th pair of nodes make, for each bit of `pairs`.
    fn undirected(members: u16, pairs: u64) -> Graph {
        let mut links = 0;
        let ends = (0..members).flat_map(|one| (one + 1..members).map(move |two| (one, two)));
        for (at, (one, two)) in ends.enumerate() {
            if pairs >> at & 1 == 1 {
                links |= 1 << (one * members + two) | 1 << (two * members + one);
            }
        }
        Graph { members, links }
    }

    fn has(self, from: u16, to: u16) -> bool {
        from == to || self.links >> (from * self.members + to) & 1 == 1
    }

    /// Whether somebody reaches a quorum both ways.
    fn can_live(self) -> bool {
        (0..self.members).any(|hub| {
            let both = |&peer: &u16| self.has(hub, peer) && self.has(peer, hub);
            (0..self.members).filter(both).count() > usize::from(self.members / 2)
        })
    }
}

/// What came of a graph.
#[derive(Debug, Default)]
struct Outcome {
    /// Ticks until the first decision.
    decided_after: Option<u64>,
    /// Ballots that led after the cut.
    changes: Vec<(u64, Ballot)>,
}

struct Trial {
    world: World,
    cut_at: u64,
    leaders: Vec<Ballot>,
    outcome: Outcome,
}

impl Trial {
    /// A cluster in which `first` leads and something was decided; then only `graph` remains.
    fn new(graph: Graph, first: NodeId, loss: f64) -> Trial {
        let mut weather = Weather::calm(graph.members, ELECTION);
        weather.load.reads = 0.0;
        weather.network.delay_ticks = 2;
        let mut world = World::new(u64::from(first.0), weather, Ears::default());
        // Only `first` reaches anybody: so only it can lead.
        world.net.keep_only(|from, to| from == first.0 || to == first.0);
        let mut trial =
            Trial { world, cut_at: 0, leaders: Vec::new(), outcome: Outcome::default() };
        while trial.leaders.is_empty() || trial.world.checks.decided() == 0 {
            trial.turn();
            assert!(trial.world.now < 100 * ELECTION, "{first} does not lead");
        }
        trial.world.net.keep_only(|from, to| graph.has(from, to));
        trial.world.net.set_loss(loss);
        trial.begin();
        trial
    }

    /// From now on it counts.
    fn begin(&mut self) {
        self.cut_at = self.world.now;
        self.outcome = Outcome::default();
    }

    fn run(mut self, elections: u64) -> Outcome {
        let decided = self.world.checks.decided();
        let end = self.cut_at + elections * ELECTION;
        // What was under way at the cut does not count.
        let mut settled = None;
        while self.world.now < end {
            self.turn();
            if self.world.now > self.cut_at + 8 && settled.is_none() {
                settled = Some(self.world.checks.decided().max(decided));
            }
            let new = settled.is_some_and(|before| self.world.checks.decided() > before);
            if new && self.outcome.decided_after.is_none() {
                self.outcome.decided_after = Some(self.world.now - self.cut_at);
            }
        }
        self.outcome
    }

    fn until(&mut self, end: u64) {
        while self.world.now < end {
            self.turn();
        }
    }

    /// One event; and each client tells everybody, so that only the nodes are on trial.
    fn turn(&mut self) {
        let before = self.world.now;
        self.world.next();
        let now = self.world.now;
        if now / 8 != before / 8 {
            let requests: Vec<Event> = self
                .world
                .clients
                .iter()
                .flat_map(super::client::Client::unanswered)
                .map(Event::Request)
                .collect();
            for node in self.world.members() {
                for request in &requests {
                    self.world.arrive(node, request.clone());
                }
            }
        }
        for machine in &self.world.machines {
            let Some(node) = &machine.node else { continue };
            let replica = node.replica();
            if let (true, Some(ballot)) = (replica.is_leading(), replica.state().promised())
                && !self.leaders.contains(&ballot)
            {
                self.leaders.push(ballot);
                self.outcome.changes.push((now - self.cut_at, ballot));
            }
        }
    }
}

fn is_soak() -> bool {
    std::env::var_os("INDELIBLE_SOAK").is_some()
}

fn demand(name: &str, graph: Graph, first: u16) {
    let outcome = Trial::new(graph, NodeId(first), 0.0).run(2 * SETTLED_AFTER);
    let case = format!("{name}, {first} leads first: {outcome:?}");
    let after = outcome.decided_after.unwrap_or(u64::MAX);
    assert!(after <= DECIDED_WITHIN * ELECTION, "too late: {case}");
    assert!(outcome.changes.len() <= 2, "too many leaders: {case}");
    let last = outcome.changes.last().map_or(0, |(at, _)| *at);
    assert!(last <= SETTLED_AFTER * ELECTION, "it does not settle: {case}");
}

#[test]
fn every_graph_of_five_that_can_live_lives() {
    let step = if is_soak() { 1 } else { 32 };
    let mut live = 0;
    for case in (0..1024 * 5).step_by(step) {
        let (pairs, first) = (case / 5, (case % 5) as u16);
        let graph = Graph::undirected(5, pairs);
        if graph.can_live() {
            demand(&format!("graph {pairs:010b}"), graph, first);
            live += 1;
        }
    }
    assert!(step > 1 || live == 4990, "{live} cases with a quorum");
}

#[test]
fn every_directed_graph_of_three_that_can_live_lives() {
    for links in 0..64_u64 {
        let ends = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
        let bit = |(at, (from, to)): (usize, (u16, u16))| (links >> at & 1) << (from * 3 + to);
        let links = ends.into_iter().enumerate().map(bit).sum();
        let graph = Graph { members: 3, links };
        for first in (0..3).filter(|_| graph.can_live()) {
            demand(&format!("directed {links:09b}"), graph, first);
        }
    }
}

#[test]
fn the_three_partial_partitions_of_omni_paxos() {
    let link = |pairs: &[(u16, u16)]| {
        let links = pairs.iter().map(|(a, b)| 1 << (a * 5 + b) | 1 << (b * 5 + a)).sum();
        Graph { members: 5, links }
    };
    // Quorum loss: the leader keeps one link, only node 0 reaches a quorum.
    demand("quorum loss", link(&[(0, 1), (0, 2), (0, 3), (0, 4)]), 2);
    // Constrained election: the same, and the leader is cut off.
    demand("constrained election", link(&[(0, 1), (0, 2), (0, 3)]), 4);
    // Chained, of three: the two ends do not see each other.
    let chain = Graph { members: 3, links: 0b010_101_010 };
    (0..3).for_each(|first| demand("chained", chain, first));
}

/// A link carries one way only (Cloudflare, 2020-11-02:
/// a switch that failed in one direction).
#[test]
fn a_link_that_fails_one_way() {
    let whole = Graph::undirected(3, 0b111).links;
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        let graph = Graph { members: 3, links: whole & !(1 << (from * 3 + to)) };
        (0..3).for_each(|first| demand(&format!("{from} to {to} fails"), graph, first));
    }
}

/// One graph of each class of directed graphs of five nodes that are the same but for the names.
fn directed_classes_of_five() -> Vec<Graph> {
    let ends: Vec<(u16, u16)> = (0..5)
        .flat_map(|from| (0..5).map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
        .collect();
    let place = |link| ends.iter().position(|end| *end == link).expect("a link of the graph");
    // Where each renaming of the nodes puts each link.
    let renamed: Vec<Vec<usize>> = renamings(5)
        .iter()
        .map(|name| {
            let moved =
                |(from, to): &(u16, u16)| (name[usize::from(*from)], name[usize::from(*to)]);
            ends.iter().map(|end| place(moved(end))).collect()
        })
        .collect();
    let mut is_seen = vec![false; 1 << ends.len()];
    let mut classes = Vec::new();
    for graph in 0..is_seen.len() {
        if is_seen[graph] {
            continue;
        }
        for places in &renamed {
            let moved = |(at, place): (usize, &usize)| (graph >> at & 1) << place;
            is_seen[places.iter().enumerate().map(moved).sum::<usize>()] = true;
        }
        let link =
            |(at, (from, to)): (usize, &(u16, u16))| (graph as u64 >> at & 1) << (from * 5 + to);
        classes.push(Graph { members: 5, links: ends.iter().enumerate().map(link).sum() });
    }
    classes
}

fn renamings(count: u16) -> Vec<Vec<u16>> {
    let mut all = vec![Vec::new()];
    for _ in 0..count {
        let longer = |some: &Vec<u16>| {
            let free = (0..count).filter(|name| !some.contains(name));
            free.map(|name| [&some[..], &[name]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

#[test]
fn every_directed_graph_of_five_that_can_live_lives() {
    let classes = directed_classes_of_five();
    assert_eq!(classes.len(), 9608);
    let step = if is_soak() { 1 } else { 128 };
    for (at, graph) in classes.iter().enumerate().step_by(step).filter(|(_, it)| it.can_live()) {
        let first = at as u16 % 5;
        let outcome = Trial::new(*graph, NodeId(first), 0.0).run(SETTLED_AFTER);
        let case = format!("links {:b}, {first} leads first: {outcome:?}", graph.links);
        assert!(outcome.decided_after.is_some(), "{case}");
    }
}

/// With loss and restarts there are no such bounds; but it goes on.
#[test]
fn graphs_with_loss_and_restarts_still_live() {
    let step = if is_soak() { 8 } else { 256 };
    for pairs in (0..1024).step_by(step).map(|pairs| pairs | 0b1111) {
        let graph = Graph::undirected(5, pairs);
        let lossy = Trial::new(graph, NodeId(3), 0.05).run(40);
        assert!(lossy.decided_after.is_some(), "graph {pairs:010b}: {lossy:?}");
        let mut trial = Trial::new(graph, NodeId(3), 0.05);
        for node in (0..5).map(NodeId) {
            trial.world.crash(node, "in its turn");
            trial.until(trial.world.now + 4 * ELECTION);
        }
        trial.begin();
        assert!(trial.run(40).decided_after.is_some(), "graph {pairs:010b} after restarts");
    }
}

/// Whoever comes back after a hundred election timeouts on its own finds a cluster at work, and
/// does not disturb it.
#[test]
fn a_node_that_was_away_disturbs_nobody() {
    for away in 0..5 {
        let whole = Graph::undirected(5, 0b11_1111_1111);
        let mut trial = Trial::new(whole, NodeId(0), 0.0);
        trial.world.net.keep_only(|from, to| from != away && to != away);
        trial.until(trial.world.now + 100 * ELECTION);
        trial.world.net.keep_only(|from, to| whole.has(from, to));
        trial.begin();
        let outcome = trial.run(2 * SETTLED_AFTER);
        assert!(outcome.changes.is_empty(), "{away} was away: {outcome:?}");
        assert!(outcome.decided_after.is_some(), "{away} was away: {outcome:?}");
    }
}
