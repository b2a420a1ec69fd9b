//! The lock service: names that one session at a time may hold.
//!
//! # What a lock promises
//!
//! At most one session holds a name, as the log has it: between the slot that grants it and the one
//! that takes it back there is no other grant. A session frees its locks by `Unlock`, or all of
//! them by its end, at once; an operator frees one by `Break`, which stays on the record. Nothing
//! here looks at a clock: that a session is over because it was silent for its time to live is a
//! command in the log like any other, and so every node frees the same locks in the same slot.
//!
//! # What it cannot promise, and what the token is for
//!
//! That the holder knows. A process that is stopped, swapped out or cut off in the middle of its
//! work still believes that it holds what has long been given to another, and it may find out only
//! after its next write. No lock on a network can prevent that. So each grant has a *fencing
//! token*, the slot it was made in, and of a name each later grant has a higher one. The resource
//! that a lock guards must keep the highest token that it was ever shown, and refuse whatever comes
//! with a lower one. One that can keep no number can ask whether a token is current
//! ([`Question::Check`]), but then a write may still be under way while the lock moves on.
//!
//! Nor does a lock know who is honest. Who names another's session and token is taken for it, and
//! anybody may ask for both.
//!
//! # Who is granted what
//!
//! A request asks for all of its names or none. It is granted if all are free or its own already,
//! and if no request that queued earlier wants one of them. So two requests for one name are
//! granted in their order, and one for many names is not starved by those for few. The exception
//! is an earlier one that cannot go on before the asker does: that one is overtaken, or both would
//! wait for ever (`graph.rs` tells more). A request that would close a cycle of sessions of
//! which each waits for what the next one *holds* is refused, with the cycle.
//!
//! A session waits for one request at a time, but may ask for more without waiting (`Mode::Now`).
//! While it is in the queue such a request overtakes nobody: the grant would make a hard edge out
//! of a soft one, and might so close a cycle of queued sessions, which nobody would notice.
//!
//! # What it costs
//!
//! A lock that nobody waits for is found, given and freed by its name. A change looks at those who
//! wait for a name that it touched, and from there along the edges; a long queue behind one who
//! cannot go on is not walked.
//!
//! Deliberately absent: shared locks, and leases on a clock. A lock is held by a session, so a
//! client that wants two locks to end apart has two sessions.

mod answers;
mod graph;
mod table;
mod waiting;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use self::graph::{Graph, InOrder, LAST};
use self::table::Table;
use self::waiting::{Entry, Waiting, Wish};
pub use self::words::{
    Answer, Ask, Broken, By, Edge, Hold, Line, Mode, Question, Refusal, Said, Told, Wait, Waiter,
    Word,
};
use self::words::{EDGES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, NAMES_MAX, REASON_BYTES_MAX};
use crate::paxos::{ClientId, Slot};
use crate::rsm::{Archive, StateMachine, Turn};
use crate::wire::codec;

/// The locks: who holds them, and who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    table: Table,
    waiting: Waiting,
}

/// How many sessions that try are told in one turn that what they want is free: those that have
/// asked least lately. Only one will have it, and all ask again by themselves.
pub const TOLD_MAX: usize = 128;

impl StateMachine for Locks {
    /// Takes an [`Ask`], replies with a [`Said`], and tells others what is [`Told`].
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        let said = match Ask::decode(command) {
            Some(Ask::Lock { names, label, mode }) => self.lock(turn, names, label, mode),
            Some(Ask::Unlock { name, token, session }) => {
                let of = session.unwrap_or(turn.session);
                self.unlock(turn, &name, token, of)
            }
            Some(Ask::Cancel) => self.cancel(turn),
            Some(Ask::Break { name, token, reason, label }) => {
                self.break_off(turn, name, token, reason, label)
            }
            None => Said::Unreadable,
        };
        codec::encode(&said)
    }

    /// Frees all that the session holds, and forgets what it waited for.
    fn end(&mut self, turn: &mut Turn<'_>) {
        let mut touched = self.table.free_all(turn.session);
        if let Some(entry) = self.waiting.remove(turn.session) {
            touched.extend(given_up(entry));
        }
        self.go_on(turn, &touched);
    }

    /// Answers a [`Question`] with an [`Answer`].
    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8> {
        let answer = match Question::decode(query) {
            Some(question) => self.answer(question, archive),
            None => Answer::Unreadable,
        };
        codec::encode(&answer)
    }

    fn snapshot(&self) -> Vec<u8> {
        let entries: Vec<&Entry> = self.waiting.entries().collect();
        codec::encode(&(self.table.holds(), entries))
    }

    fn restore(&mut self, snapshot: &[u8]) {
        let (holds, entries): (BTreeMap<Bytes, Hold>, Vec<Entry>) =
            codec::decode(snapshot).unwrap_or_default();
        *self = Locks { table: Table::of(holds), waiting: Waiting::of(entries) };
    }
}

impl Locks {
    fn lock(&mut self, turn: &mut Turn<'_>, names: Vec<Bytes>, label: Bytes, mode: Mode) -> Said {
        if let Some(refusal) = refusal(&names, &label) {
            return Said::Refused(refusal);
        }
        let (session, ttl_ms) = (turn.session, turn.ttl_ms);
        let wish = Wish { session, names: each_once(names), label, ttl_ms };
        match mode {
            Mode::Now => self.take(turn, &wish),
            Mode::Retry => self.take_or_wait(turn, wish, Line::Trying),
            Mode::Queue => self.take_or_wait(turn, wish, Line::Queued),
        }
    }

    /// Grants a request or leaves it. What else the session waits for goes on waiting, unless it
    /// tries for nothing that it does not hold now.
    fn take(&mut self, turn: &mut Turn<'_>, wish: &Wish) -> Said {
        let waits = self.waiting.line(wish.session);
        let stays = waits == Some(Line::Queued);
        if let Some((name, by)) = self.graph().hindrance(wish, LAST, stays) {
            return Said::Busy { name, by };
        }
        let tokens = self.grant(turn, wish);
        if let Some(entry) = self.waiting.entry(wish.session) {
            let is_own = |name: &Bytes| self.is_own(wish.session, name);
            if entry.line == Line::Trying && entry.wish.names.iter().all(is_own) {
                self.waiting.remove(wish.session);
            } else if tokens.iter().any(|(_, token)| *token == turn.at) {
                self.give_way(turn, wish.session);
            }
        }
        Said::Granted { tokens }
    }

    fn take_or_wait(&mut self, turn: &mut Turn<'_>, wish: Wish, line: Line) -> Said {
        let session = wish.session;
        if self.waiting.line(session) == Some(Line::Queued) {
            return Said::Pending;
        }
        self.waiting.remove(session);
        let Some((name, by)) = self.graph().hindrance(&wish, LAST, false) else {
            return Said::Granted { tokens: self.grant(turn, &wish) };
        };
        if let Some(cycle) = self.graph().cycle(&wish) {
            return deadlock(cycle);
        }
        let names = wish.names.clone();
        self.waiting.insert(Entry { wish, line, since: turn.at });
        self.give_way(turn, session);
        match line {
            Line::Trying => Said::Busy { name, by },
            Line::Queued => Said::Queued { ahead: self.waiting.ahead(&names, turn.at) },
        }
    }

    fn unlock(
        &mut self,
        turn: &mut Turn<'_>,
        name: &Bytes,
        token: Option<Slot>,
        of: ClientId,
    ) -> Said {
        match self.table.hold(name) {
            Some(hold) if hold.session == of && token.is_none_or(|token| token == hold.token) => {
                self.table.free(name);
                self.go_on(turn, &BTreeSet::from([name.clone()]));
                Said::Unlocked
            }
            holder => Said::NotOwner { holder: holder.cloned() },
        }
    }

    fn cancel(&mut self, turn: &mut Turn<'_>) -> Said {
        match self.waiting.remove(turn.session) {
            Some(entry) => {
                self.go_on(turn, &given_up(entry).into_iter().collect());
                Said::Cancelled
            }
            None => Said::Idle,
        }
    }

    fn break_off(
        &mut self,
        turn: &mut Turn<'_>,
        name: Bytes,
        token: Slot,
        reason: Bytes,
        by: Bytes,
    ) -> Said {
        if by.len() > LABEL_BYTES_MAX {
            return Said::Refused(Refusal::LongLabel);
        }
        if reason.len() > REASON_BYTES_MAX {
            return Said::Refused(Refusal::LongReason);
        }
        let holder = match self.table.hold(&name) {
            Some(hold) if hold.token == token => hold.clone(),
            other => return Said::NotOwner { holder: other.cloned() },
        };
        self.table.free(&name);
        let told =
            Told::Broken { name: name.clone(), token, by: by.clone(), reason: reason.clone() };
        turn.tell(holder.session, codec::encode(&told));
        let touched = BTreeSet::from([name.clone()]);
        let (by_session, time_ms) = (turn.session, turn.time_ms);
        let record = Broken { name, holder, by, by_session, reason, time_ms };
        turn.archive.append(turn.at, record.encode());
        self.go_on(turn, &touched);
        Said::Broken
    }

    /// Gives a session all that it wants: what it holds already keeps its token.
    fn grant(&mut self, turn: &Turn<'_>, wish: &Wish) -> Vec<(Bytes, Slot)> {
        let give = |name: &Bytes| {
            if let Some(hold) = self.table.hold(name) {
                assert_eq!(hold.session, wish.session, "only what is free is granted");
                return (name.clone(), hold.token);
            }
            let (label, token, since_ms) = (wish.label.clone(), turn.at, turn.time_ms);
            let (session, ttl_ms) = (wish.session, wish.ttl_ms);
            self.table.give(name.clone(), Hold { session, label, token, since_ms, ttl_ms });
            (name.clone(), token)
        };
        wish.names.iter().map(give).collect()
    }

    /// Lets the queue go on after these names were freed, or given up by one who waited for them.
    fn go_on(&mut self, turn: &mut Turn<'_>, touched: &BTreeSet<Bytes>) {
        let queued = self.graph().next_for(Line::Queued, touched);
        self.grant_in_turn(turn, &queued);
        let trying = self.graph().next_for(Line::Trying, touched);
        self.tell_in_turn(turn, &trying);
    }

    /// Lets others overtake after edges were added at this session.
    fn give_way(&mut self, turn: &mut Turn<'_>, session: ClientId) {
        let queued = self.graph().next_after(session, Line::Queued);
        self.grant_in_turn(turn, &queued);
        let trying = self.graph().next_after(session, Line::Trying);
        self.tell_in_turn(turn, &trying);
    }

    /// Grants what can be granted of these, in their order.
    ///
    /// Once is enough: a grant takes names, and all edges of its session, so nobody can be granted
    /// after it who could not before.
    fn grant_in_turn(&mut self, turn: &mut Turn<'_>, queued: &InOrder) {
        for (slot, session) in queued {
            let Some(entry) = self.waiting.entry(*session) else { continue };
            if self.graph().hindrance(&entry.wish, *slot, false).is_some() {
                continue;
            }
            if let Some(entry) = self.waiting.remove(*session) {
                let tokens = self.grant(turn, &entry.wish);
                turn.tell(*session, codec::encode(&Told::Granted { tokens }));
            }
        }
    }

    /// Tells those of these that could have what they try for.
    fn tell_in_turn(&self, turn: &mut Turn<'_>, trying: &InOrder) {
        let entries = trying.values().filter_map(|session| self.waiting.entry(*session));
        let free =
            entries.filter(|entry| self.graph().hindrance(&entry.wish, LAST, false).is_none());
        for Entry { wish, .. } in free.take(TOLD_MAX) {
            let told = Told::Free { names: wish.names.clone() };
            turn.tell(wish.session, codec::encode(&told));
        }
    }

    fn is_own(&self, session: ClientId, name: &[u8]) -> bool {
        self.table.hold(name).is_some_and(|hold| hold.session == session)
    }

    fn graph(&self) -> Graph<'_> {
        Graph { table: &self.table, waiting: &self.waiting }
    }
}

/// What is wrong with a request for locks.
fn refusal(names: &[Bytes], label: &[u8]) -> Option<Refusal> {
    let cases = [
        (names.is_empty(), Refusal::NoNames),
        (names.len() > NAMES_MAX, Refusal::TooManyNames),
        (names.iter().any(Bytes::is_empty), Refusal::EmptyName),
        (names.iter().any(|name| name.len() > NAME_BYTES_MAX), Refusal::LongName),
        (label.len() > LABEL_BYTES_MAX, Refusal::LongLabel),
    ];
    cases.into_iter().find_map(|(is_so, refusal)| is_so.then_some(refusal))
}

/// The names that others may get when this entry is gone: nobody stands behind one that tries.
fn given_up(entry: Entry) -> Vec<Bytes> {
    match entry.line {
        Line::Queued => entry.wish.names,
        Line::Trying => Vec::new(),
    }
}

/// The names in their order, without those that came before.
fn each_once(names: Vec<Bytes>) -> Vec<Bytes> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

/// The refusal of a request that would close this cycle. Of a long one the middle is left out.
fn deadlock(mut cycle: Vec<Edge>) -> Said {
    let left_out = cycle.len().saturating_sub(EDGES_MAX);
    if left_out > 0 {
        cycle.drain(EDGES_MAX - 1..cycle.len() - 1);
    }
    Said::Deadlock { cycle, left_out: left_out as u64 }
}
