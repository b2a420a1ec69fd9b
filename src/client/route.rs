//! The route: which node to call next.
//!
//! The leader, if somebody named one; else the nodes in turn, from a random one on. A node that
//! could not be reached, or fell silent, is left alone for a while, whoever recommends it: those
//! who recommend a dead leader have not noticed yet.

use std::time::Duration;

use tokio::time::Instant;

use crate::paxos::NodeId;

/// How long an unreachable node is left alone while there are others.
const SHUN: Duration = Duration::from_millis(300);

/// The least time between two moves on recommendation, so that two nodes which name each other do
/// not keep a client running to and fro.
const MOVE_PAUSE: Duration = Duration::from_millis(20);

/// The waits after all nodes failed in turn: the shortest and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

#[derive(Debug)]
pub(super) struct Route {
    shunned_until: Vec<Option<Instant>>,
    turn: usize,
    named: Option<NodeId>,
    moved: Option<Instant>,
    failures: usize,
}

impl Route {
    pub(super) fn new(members: u16, first: usize) -> Route {
        let members = usize::from(members);
        Route {
            shunned_until: vec![None; members],
            turn: first % members,
            named: None,
            moved: None,
            failures: 0,
        }
    }

    /// The node to call, and how long to wait before.
    pub(super) fn pick(&mut self, now: Instant) -> (NodeId, Duration) {
        if let Some(named) = self.named.take()
            && !self.is_shunned(named, now)
        {
            return (named, Duration::ZERO);
        }
        let members = self.shunned_until.len();
        let mut picked = self.turn;
        for step in 0..members {
            let candidate = (self.turn + step) % members;
            if !self.is_shunned(NodeId(candidate as u16), now) {
                picked = candidate;
                break;
            }
        }
        self.turn = (picked + 1) % members;
        (NodeId(picked as u16), self.wait())
    }

    /// Somebody says that this node leads: when to move there.
    pub(super) fn move_at(&self, node: NodeId, now: Instant) -> Option<Instant> {
        let shunned = *self.shunned_until.get(usize::from(node.0))?;
        let rested = self.moved.map_or(now, |moved| moved + MOVE_PAUSE);
        Some(rested.max(shunned.unwrap_or(now)))
    }

    /// The next call goes to this node, which is said to lead.
    pub(super) fn move_to(&mut self, node: NodeId, now: Instant) {
        self.named = Some(node);
        self.moved = Some(now);
    }

    /// The node could not be reached, or is not to be relied on.
    pub(super) fn failed(&mut self, node: NodeId, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if let Some(until) = self.shunned_until.get_mut(usize::from(node.0)) {
            *until = Some(now + SHUN);
        }
    }

    /// The node greeted us.
    pub(super) fn reached(&mut self, node: NodeId) {
        self.failures = 0;
        if let Some(until) = self.shunned_until.get_mut(usize::from(node.0)) {
            *until = None;
        }
    }

    fn is_shunned(&self, node: NodeId, now: Instant) -> bool {
        let until = self.shunned_until.get(usize::from(node.0)).copied().flatten();
        until.is_some_and(|until| until > now)
    }

    /// No wait in the first round; then longer from round to round, and never in step with others.
    fn wait(&self) -> Duration {
        let rounds = self.failures / self.shunned_until.len();
        if rounds == 0 {
            return Duration::ZERO;
        }
        let longest = BACKOFF.0 * 2u32.saturating_pow(rounds.min(5) as u32 - 1);
        longest.min(BACKOFF.1).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_called_in_turn_and_the_named_one_first() {
        let now = Instant::now();
        let mut route = Route::new(3, 1);
        let mut picked = || route.pick(now).0.0;
        assert_eq!([picked(), picked(), picked(), picked()], [1, 2, 0, 1]);
        route.move_to(NodeId(1), now);
        assert_eq!(route.pick(now).0, NodeId(1));
        assert_eq!(route.pick(now).0, NodeId(2), "a name counts once");
    }

    #[test]
    fn a_dead_node_is_left_alone_even_if_it_is_named() {
        let now = Instant::now();
        let mut route = Route::new(3, 0);
        route.failed(NodeId(0), now);
        route.move_to(NodeId(0), now);
        assert_eq!(route.pick(now).0, NodeId(1));
        assert_eq!(route.move_at(NodeId(0), now), Some(now + SHUN));
        let later = now + SHUN;
        route.move_to(NodeId(0), later);
        assert_eq!(route.pick(later).0, NodeId(0));
    }

    #[test]
    fn two_nodes_that_name_each_other_are_not_obeyed_at_once() {
        let now = Instant::now();
        let mut route = Route::new(2, 0);
        assert_eq!(route.move_at(NodeId(1), now), Some(now));
        route.move_to(NodeId(1), now);
        assert_eq!(route.move_at(NodeId(0), now), Some(now + MOVE_PAUSE));
        assert_eq!(route.move_at(NodeId(7), now), None, "no such node");
    }

    #[test]
    fn waits_begin_when_everybody_failed_and_grow() {
        let now = Instant::now();
        let mut route = Route::new(3, 0);
        route.failed(NodeId(0), now);
        route.failed(NodeId(1), now);
        assert_eq!(route.pick(now).1, Duration::ZERO);
        route.failed(NodeId(2), now);
        let (_, wait) = route.pick(now);
        assert!(wait > Duration::ZERO && wait <= BACKOFF.0);
        for _ in 0..1000 {
            route.failed(NodeId(0), now);
        }
        assert!(route.pick(now).1 <= BACKOFF.1);
        route.reached(NodeId(1));
        assert_eq!(route.pick(now).1, Duration::ZERO);
    }
}
