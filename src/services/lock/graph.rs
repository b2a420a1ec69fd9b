//! The wait-for graph: who cannot go on before whom, and what follows for a request.
//!
//! Two kinds of edges lead away from a session that waits:
//!
//! - *hard*: to the holder of a lock it wants;
//! - *soft*: to a session whose request stands in the queue before its own and wants one of the
//!   same locks.
//!
//! ```text
//!            hard
//!       A ─────────▶ B        B holds a. A waits for a, and C, behind A, for a and c.
//!       ▲            ▲
//!  soft └──── C ─────┘ hard   Now B asks for c, which is free. It must not wait behind C, which
//!                             cannot have c before B has let go of a: B overtakes C.
//!
//!                             Or B asks for what A holds: it is refused, for that is a deadlock.
//! ```
//!
//! A cycle with a soft edge is a matter of order only, and order can give way: if C stands in the
//! way of B, and cannot go on before B does, then B may overtake. A cycle of hard edges is for
//! good: the request that would close it is refused. (A request with `Mode::Now` may close one, but
//! only through a session that tries, and that one is refused when it tries again.)
//!
//! So there is never a set of queued sessions in which each is kept back only by others of the set:
//! along the edges that keep them back one would come round, and such a cycle has no soft edge, for
//! a soft edge of a cycle keeps nobody back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::table::Table;
use super::waiting::{Entry, Waiting, Wish};
use super::words::{By, Edge, Line};
use crate::paxos::{ClientId, Slot};

/// After every request: where a new one stands.
pub(super) const LAST: Slot = Slot(u64::MAX);

/// Sessions by the slots of their requests.
pub(super) type InOrder = BTreeMap<Slot, ClientId>;

/// The graph, as its edges follow from who holds and who waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Graph<'a> {
    pub(super) table: &'a Table,
    pub(super) waiting: &'a Waiting,
}

impl<'a> Graph<'a> {
    /// What keeps a request that stands before that slot in the queue from being granted, if
    /// anything does.
    ///
    /// All its names must be free or its own. And nobody may be overtaken, but for those that
    /// cannot go on before the asker does; where it `stays` behind, not even those.
    pub(super) fn hindrance(&self, wish: &Wish, before: Slot, stays: bool) -> Option<(Bytes, By)> {
        for name in &wish.names {
            let hold = self.table.hold(name).filter(|hold| hold.session != wish.session);
            if let Some(hold) = hold {
                return Some((name.clone(), By::Held(hold.clone())));
            }
        }
        for name in &wish.names {
            let mut earlier = self.waiting.wanting(Line::Queued, name, Slot(0)..before);
            // The first will do: those behind it cannot go on before it does.
            let first = earlier.find(|(_, session)| *session != wish.session);
            if let Some((_, session)) = first
                && let Some(entry) = self.waiting.entry(session)
                && (stays || !self.reaches(session, wish.session))
            {
                return Some((name.clone(), By::Reserved(entry.waiter())));
            }
        }
        None
    }

    /// Whether a session cannot go on before another does.
    fn reaches(&self, from: ClientId, to: ClientId) -> bool {
        let is_reached = self.is_waited_for(to) || self.waiting.line(to) == Some(Line::Queued);
        is_reached && self.reach(from).any(|session| session == to)
    }

    /// Whether anybody waits for what a session holds.
    pub(super) fn is_waited_for(&self, session: ClientId) -> bool {
        self.table.of_session(session, None).any(|(name, _)| self.waiting.is_wanted(name))
    }

    /// A session, and those before which it cannot go on.
    fn reach(&self, from: ClientId) -> impl Iterator<Item = ClientId> {
        let (mut met, mut to_do) = (BTreeSet::from([from]), vec![from]);
        std::iter::from_fn(move || {
            let session = to_do.pop()?;
            to_do.extend(self.edges(session).filter(|to| met.insert(*to)));
            Some(session)
        })
    }

    /// Where edges of a session lead. Of the soft ones of a name only that to the last before it,
    /// from which others lead to the rest: many wait for a popular lock.
    fn edges(&self, session: ClientId) -> impl Iterator<Item = ClientId> {
        self.waiting.entry(session).into_iter().flat_map(move |entry| {
            entry.wish.names.iter().flat_map(move |name| {
                let hard = self.table.hold(name).map(|hold| hold.session);
                let mut earlier = self.waiting.wanting(Line::Queued, name, Slot(0)..entry.since);
                let soft = earlier.next_back().map(|(_, session)| session);
                hard.into_iter().chain(soft)
            })
        })
    }

    /// The shortest cycle of hard edges that this request would close; of several, the one that
    /// goes by the names asked for first.
    pub(super) fn cycle(&self, wish: &'a Wish) -> Option<Vec<Edge>> {
        let mut came: BTreeMap<ClientId, (&Wish, &Bytes)> = BTreeMap::new();
        let mut to_do = VecDeque::from([wish]);
        while let Some(waits) = to_do.pop_front() {
            for name in &waits.names {
                let Some(hold) = self.table.hold(name) else { continue };
                let (holder, waiter) = (hold.session, waits.session);
                if holder == waiter {
                    continue;
                }
                if holder == wish.session {
                    return Some(self.path(&came, waits, name));
                }
                if let Some(entry) = self.waiting.entry(holder)
                    && !came.contains_key(&holder)
                {
                    came.insert(holder, (waits, name));
                    to_do.push_back(&entry.wish);
                }
            }
        }
        None
    }

    /// The edges from where a search began to this one.
    fn path<'b>(
        &self,
        came: &BTreeMap<ClientId, (&'b Wish, &'b Bytes)>,
        waits: &'b Wish,
        name: &'b Bytes,
    ) -> Vec<Edge> {
        let before = std::iter::successors(Some((waits, name)), |(waits, _)| {
            came.get(&waits.session).copied()
        });
        let edges = before.filter_map(|(waits, name)| {
            self.table.hold(name).map(|hold| Edge {
                session: waits.session,
                label: waits.label.clone(),
                name: name.clone(),
                holder: hold.session,
                holder_label: hold.label.clone(),
            })
        });
        let mut edges: Vec<Edge> = edges.collect();
        edges.reverse();
        edges
    }

    /// Those in this line that may have come to be granted when these names were freed, or were
    /// given up by one who waited for them.
    ///
    /// The first in the queue of a name, and otherwise only those before which that one cannot go
    /// on: nobody else overtakes it. So a long queue costs nothing.
    pub(super) fn next_for<'b>(
        &self,
        line: Line,
        names: impl IntoIterator<Item = &'b Bytes>,
    ) -> InOrder {
        let mut next = InOrder::new();
        for name in names.into_iter().filter(|name| self.table.hold(name).is_none()) {
            match self.waiting.wanting(Line::Queued, name, Slot(0)..LAST).next() {
                Some((_, first)) => {
                    let entries =
                        self.reach(first).filter_map(|session| self.waiting.entry(session));
                    next.extend(in_order(entries.filter(|entry| entry.wants(name)), line));
                }
                None => next.extend(self.waiting.wanting(line, name, Slot(0)..LAST)),
            }
        }
        next
    }

    /// Those in this line that may have come to be granted when edges were added at this session:
    /// itself, and those before which it cannot go on, for who waits for it waits for them, too.
    ///
    /// Whoever overtakes out of the queue waits for the one that it overtakes. So of the queue only
    /// those count that wait for this session in their turn.
    pub(super) fn next_after(&self, session: ClientId, line: Line) -> InOrder {
        if !self.is_waited_for(session) {
            return InOrder::new();
        }
        let next: BTreeSet<ClientId> = match line {
            Line::Queued => self.knot(session),
            Line::Trying => self.reach(session).collect(),
        };
        in_order(next.into_iter().filter_map(|other| self.waiting.entry(other)), line).collect()
    }

    /// A session and those on a cycle with it, of edges of any kind.
    fn knot(&self, session: ClientId) -> BTreeSet<ClientId> {
        let mut back: BTreeMap<ClientId, Vec<ClientId>> = BTreeMap::new();
        for from in self.reach(session) {
            self.edges(from).for_each(|to| back.entry(to).or_default().push(from));
        }
        let (mut knot, mut to_do) = (BTreeSet::from([session]), vec![session]);
        while let Some(to) = to_do.pop() {
            let from = back.get(&to).into_iter().flatten();
            to_do.extend(from.filter(|from| knot.insert(**from)));
        }
        knot
    }
}

fn in_order<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    line: Line,
) -> impl Iterator<Item = (Slot, ClientId)> {
    let in_line = entries.filter(move |entry| entry.line == line);
    in_line.map(|entry| (entry.since, entry.wish.session))
}
