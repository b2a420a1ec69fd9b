//! How long each leased session has left: the leader's watch. No clock: it is told the time.
//!
//! A lease is a promise to a client: for its time to live, counted from when the client last *sent*
//! a keep-alive that was answered, nobody ends its session. So it is counted here from a moment
//! that is certainly later: the answer. Only a leader counts, from when it was proved to lead; all
//! leases are whole then, for it does not know what the leader before it had promised.
//!
//! Invariant: a session whose end was proposed is not renewed any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::paxos::{Ballot, ClientId};

/// The leases of one leadership.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    /// Milliseconds since the start.
    now: u64,
    /// The leadership that they are counted in, if this node leads.
    office: Option<Ballot>,
    leases: BTreeMap<ClientId, Lease>,
    /// The same, by when they are over; without those whose end is proposed.
    order: BTreeSet<(u64, ClientId)>,
    /// Those renewed since time was told last.
    renewed: BTreeSet<ClientId>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl_ms: u64,
    /// When it is over; `None` once its end is proposed.
    due: Option<u64>,
}

impl Leases {
    /// So many milliseconds passed: none of them for those who were heard of meanwhile.
    pub(super) fn pass(&mut self, elapsed: u64) {
        self.now = self.now.saturating_add(elapsed);
        for client in std::mem::take(&mut self.renewed) {
            if let Some(Lease { ttl_ms, due: Some(_) }) = self.leases.get(&client).copied() {
                self.put_off(client, ttl_ms);
            }
        }
    }

    /// The leadership that leases are counted in.
    pub(super) fn office(&self) -> Option<Ballot> {
        self.office
    }

    /// This node leads in that ballot, and these are the sessions: each has all of its time.
    pub(super) fn enter(
        &mut self,
        office: Ballot,
        sessions: impl Iterator<Item = (ClientId, u64)>,
    ) {
        self.leave();
        self.office = Some(office);
        sessions.for_each(|(client, ttl_ms)| self.renew(client, ttl_ms));
    }

    /// This node does not lead any more.
    pub(super) fn leave(&mut self) {
        self.office = None;
        self.leases.clear();
        self.order.clear();
        self.renewed.clear();
    }

    /// A session was heard of: it has all of its time again, unless its end is proposed.
    pub(super) fn renew(&mut self, client: ClientId, ttl_ms: u64) {
        if ttl_ms == 0 || self.office.is_none() || self.is_ending(client) {
            return;
        }
        self.put_off(client, ttl_ms);
        self.renewed.insert(client);
    }

    /// From now on a session has all of its time.
    fn put_off(&mut self, client: ClientId, ttl_ms: u64) {
        let due = self.now.saturating_add(ttl_ms);
        if let Some(Lease { due: Some(due), .. }) =
            self.leases.insert(client, Lease { ttl_ms, due: Some(due) })
        {
            self.order.remove(&(due, client));
        }
        self.order.insert((due, client));
    }

    /// The end of a session is proposed: nothing renews it any more. Whether this is news.
    pub(super) fn begin_end(&mut self, client: ClientId) -> bool {
        let due = self.leases.get_mut(&client).and_then(|lease| lease.due.take());
        due.is_some_and(|due| self.order.remove(&(due, client)))
    }

    /// A session is over.
    pub(super) fn remove(&mut self, client: ClientId) {
        self.begin_end(client);
        self.leases.remove(&client);
    }

    /// A session whose time is up, if there is one whose end is not proposed, and that time.
    pub(super) fn overdue(&self) -> Option<(ClientId, u64)> {
        let (_, client) = self.order.first().filter(|(due, _)| *due <= self.now)?;
        self.leases.get(client).map(|lease| (*client, lease.ttl_ms))
    }

    /// Whether a session's end is proposed.
    pub(super) fn is_ending(&self, client: ClientId) -> bool {
        self.leases.get(&client).is_some_and(|lease| lease.due.is_none())
    }

    /// How many milliseconds a session has left, if it is not renewed.
    pub(super) fn left(&self, client: ClientId) -> Option<u64> {
        let lease = self.leases.get(&client)?;
        Some(lease.due.map_or(0, |due| due.saturating_sub(self.now).min(lease.ttl_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{Incarnation, NodeId};

    fn leading(sessions: &[(u128, u64)]) -> Leases {
        let office = Ballot { round: 1, node: NodeId(0), incarnation: Incarnation(1) };
        let mut leases = Leases::default();
        leases.pass(1000);
        leases.enter(office, sessions.iter().map(|(client, ttl)| (ClientId(*client), *ttl)));
        leases
    }

    /// Bugs that turn it red: a lease counted from the start of the node; one that a renewal does
    /// not move, or leaves in its old place, too; a session for ever that ends.
    #[test]
    fn a_lease_is_over_when_nothing_was_heard_for_its_time() {
        let mut leases = leading(&[(1, 50), (2, 80), (3, 0)]);
        leases.pass(0);
        leases.pass(49);
        assert_eq!((leases.overdue(), leases.left(ClientId(1))), (None, Some(1)));
        leases.renew(ClientId(1), 50);
        leases.pass(0);
        leases.pass(31);
        assert_eq!(leases.overdue(), Some((ClientId(2), 80)));
        assert!(leases.begin_end(ClientId(2)), "news");
        assert_eq!(leases.overdue(), None);
        leases.pass(19);
        assert_eq!(leases.overdue(), Some((ClientId(1), 50)));
        leases.pass(1_000_000);
        leases.remove(ClientId(1));
        assert_eq!((leases.overdue(), leases.left(ClientId(3))), (None, None));
    }

    /// Bugs that turn it red: time that is told after a renewal is taken for time after it; an end
    /// that a tick takes back.
    #[test]
    fn what_passed_until_the_next_tick_counts_for_nothing() {
        let mut leases = leading(&[(1, 50), (2, 50)]);
        leases.begin_end(ClientId(2));
        leases.pass(70);
        assert_eq!((leases.overdue(), leases.left(ClientId(1))), (None, Some(50)));
        assert_eq!(leases.left(ClientId(2)), Some(0));
        leases.pass(49);
        leases.renew(ClientId(1), 50);
        leases.pass(50);
        leases.pass(49);
        assert_eq!(leases.overdue(), None);
        leases.pass(1);
        assert_eq!(leases.overdue(), Some((ClientId(1), 50)));
    }

    /// Bugs that turn it red: a renewal of what is to end; an end that is proposed twice; leases
    /// that outlast their leadership.
    #[test]
    fn what_is_to_end_is_not_renewed() {
        let mut leases = leading(&[(1, 50)]);
        assert!(leases.begin_end(ClientId(1)));
        leases.renew(ClientId(1), 50);
        assert_eq!((leases.left(ClientId(1)), leases.is_ending(ClientId(1))), (Some(0), true));
        leases.pass(100);
        assert_eq!(leases.overdue(), None);
        assert!(!leases.begin_end(ClientId(1)));
        leases.leave();
        leases.renew(ClientId(1), 50);
        assert_eq!(leases.left(ClientId(1)), None);
    }
}
