//! What must hold of sessions that end, and of what they hold: judged by the log, slot by slot.
//!
//! The log is applied once more by an executor that no fault touches (`astray`). What comes of each
//! slot is held here against a table of its own, which knows no queue and no graph: who holds what
//! follows from the replies and notices alone. So the lock service is not judged by itself.
//!
//! - *Mutual exclusion*, in slot order: nobody is granted what another holds. In simulated time it
//!   is judged where what clients believe is known (`locked`).
//! - *Tokens* of a name grow strictly, and each is the slot of its grant.
//! - *At most once*: a session that is over applies nothing, and is not begun anew.
//! - *No lost waiter*: what is over holds nothing, keeps nobody waiting, and is granted nothing.
//! - *No false deadlock*: each edge of a cycle that is told was there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::room;
use crate::paxos::{ClientId, Command, Request, RequestNumber, Slot};
use crate::rsm::{Applied, Fate, Notice, Outcome};
use crate::services::lock::{Ask, By, Edge, Hold, Line, Mode, Said, Told, Word};

/// What a slot led to.
#[derive(Debug)]
pub(super) struct News {
    pub(super) slot: Slot,
    pub(super) command: Command,
    pub(super) applied: Applied,
}

/// Something that concerns what clients believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A request of this session was applied.
    Applied(ClientId, RequestNumber),
    /// This session has this lock now.
    Granted(ClientId, Bytes),
    /// This session is over.
    Ended(ClientId),
}

/// Who holds what, as far as was told.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    open: BTreeSet<ClientId>,
    over: BTreeSet<ClientId>,
    held: BTreeMap<Bytes, (ClientId, Slot)>,
    /// The last token of each name.
    tokens: BTreeMap<Bytes, Slot>,
    waiting: BTreeMap<ClientId, (Line, Vec<Bytes>)>,
    replies: BTreeMap<(ClientId, RequestNumber), (Slot, Bytes)>,
    changes: Vec<Change>,
    /// How often a lock was granted, and a session ended.
    pub(super) grants: u64,
    pub(super) ends: u64,
    pub(super) deadlocks: u64,
}

impl Tenants {
    /// Judges what a slot led to. What follows for those who believe something.
    pub(super) fn learn(&mut self, news: &News) -> Vec<Change> {
        let News { slot, command, applied } = news;
        match (command, &applied.fate) {
            (Command::Request(request), Fate::Request { outcome, .. })
                if room::holder(request.client).is_some() =>
            {
                self.on_request(*slot, request, outcome);
            }
            (Command::End(session), _) => self.on_end(*session),
            (Command::Request(_) | Command::Noop | Command::Wake(_), _) => (),
        }
        let told = applied.notices.iter().filter(|it| room::holder(it.session).is_some());
        for Notice { session, body } in told {
            match Told::decode(body).expect("the locks' own words") {
                Told::Granted { tokens } => {
                    assert!(
                        self.waiting.remove(session).is_some(),
                        "slot {slot}: {session} is granted what it does not wait for"
                    );
                    self.grant(*slot, *session, &tokens);
                }
                Told::Free { .. } | Told::Broken { .. } => (),
            }
        }
        std::mem::take(&mut self.changes)
    }

    /// The sessions that are open.
    pub(super) fn open(&self) -> &BTreeSet<ClientId> {
        &self.open
    }

    /// Who waits, and for what.
    pub(super) fn waiting(&self) -> &BTreeMap<ClientId, (Line, Vec<Bytes>)> {
        &self.waiting
    }

    /// Who holds a lock.
    pub(super) fn holder(&self, name: &[u8]) -> Option<(ClientId, Slot)> {
        self.held.get(name).copied()
    }

    /// What was answered to a request, if it was applied.
    pub(super) fn reply(&self, session: ClientId, number: RequestNumber) -> Option<&(Slot, Bytes)> {
        self.replies.get(&(session, number))
    }

    fn on_request(&mut self, slot: Slot, request: &Request, outcome: &Outcome) {
        let (session, number) = (request.client, request.number);
        let Outcome::Applied(at, reply) = outcome else { return };
        if *at != slot {
            return;
        }
        let is_over = self.over.contains(&session);
        assert!(
            !is_over,
            "at most once: {session} is over, and request {number} applied in {slot}"
        );
        let first = self.replies.insert((session, number), (slot, reply.clone()));
        assert_eq!(first, None, "at most once: request {number} of {session} was applied before");
        self.open.insert(session);
        self.changes.push(Change::Applied(session, number));
        let ask = room::as_of_locks(&request.body).expect("a holder's own words");
        let said = Said::decode(reply).expect("the locks' own words");
        self.judge(slot, session, ask, said);
    }

    fn judge(&mut self, slot: Slot, session: ClientId, ask: Ask, said: Said) {
        match (ask, said) {
            (Ask::Lock { names, mode, .. }, Said::Granted { tokens }) => {
                let granted: BTreeSet<_> = tokens.iter().map(|(name, _)| name).collect();
                assert_eq!(granted, names.iter().collect(), "slot {slot}: all of them or none");
                self.grant(slot, session, &tokens);
                let waits = self.waiting.get(&session);
                let is_trying = waits.is_some_and(|(line, _)| *line == Line::Trying);
                let has_all = waits.is_some_and(|(_, names)| {
                    names.iter().all(|name| self.holder(name).map(|it| it.0) == Some(session))
                });
                if mode != Mode::Now || is_trying && has_all {
                    self.waiting.remove(&session);
                }
            }
            (Ask::Lock { names, mode, .. }, Said::Busy { name, by }) => {
                self.is_in_the_way(slot, session, &name, &by);
                if mode == Mode::Retry {
                    self.waiting.insert(session, (Line::Trying, names));
                }
            }
            (Ask::Lock { names, .. }, Said::Queued { .. }) => {
                self.waiting.insert(session, (Line::Queued, names));
            }
            (Ask::Lock { names, .. }, Said::Deadlock { cycle, .. }) => {
                self.waiting.remove(&session);
                self.deadlocks += 1;
                self.is_a_cycle(slot, session, &names, &cycle);
            }
            (Ask::Lock { .. }, Said::Pending) => self.waits_in_line(slot, session),
            (Ask::Unlock { name, token, .. }, Said::Unlocked) => {
                let held = self.held.remove(&name);
                let is_meant = held.is_some_and(|(holder, held)| {
                    holder == session && token.is_none_or(|token| token == held)
                });
                assert!(is_meant, "tokens: slot {slot} frees what is not meant, {held:?}");
            }
            (Ask::Unlock { name, token, .. }, Said::NotOwner { holder }) => {
                let told = holder.map(|hold| (hold.session, hold.token));
                assert_eq!(told, self.holder(&name), "slot {slot} tells of another holder");
                let is_own = told.is_some_and(|(holder, held)| {
                    holder == session && token.is_none_or(|token| token == held)
                });
                assert!(!is_own, "slot {slot}: {session} may not free what it holds");
            }
            (Ask::Cancel, Said::Cancelled) => {
                let waited = self.waiting.remove(&session).is_some();
                assert!(waited, "slot {slot} cancels what did not wait");
            }
            (Ask::Cancel, Said::Idle) => {
                let waited = self.waiting.contains_key(&session);
                assert!(!waited, "no lost waiter: {session} waits, and {slot} finds it idle");
            }
            (ask, said) => panic!("slot {slot} answers {ask:?} with {said:?}"),
        }
    }

    fn waits_in_line(&self, slot: Slot, session: ClientId) {
        let line = self.waiting.get(&session).map(|(line, _)| *line);
        assert_eq!(line, Some(Line::Queued), "slot {slot}: {session} does not wait in line");
    }

    /// What is told to be in the way is.
    fn is_in_the_way(&self, slot: Slot, session: ClientId, name: &Bytes, by: &By) {
        match by {
            By::Held(Hold { session: holder, token, .. }) => {
                let held = self.holder(name);
                assert_eq!(
                    held,
                    Some((*holder, *token)),
                    "slot {slot}: {session} waits for {by:?}"
                );
            }
            By::Reserved(waiter) => {
                let waits = self.waiting.get(&waiter.session);
                let is_there = waits.is_some_and(|(_, names)| names.contains(name));
                assert!(is_there, "slot {slot}: {session} waits for {by:?}, who does not wait");
            }
        }
    }

    fn grant(&mut self, slot: Slot, session: ClientId, tokens: &[(Bytes, Slot)]) {
        let is_open = self.open.contains(&session);
        assert!(is_open, "no lost waiter: slot {slot} grants {session} something, which is over");
        for (name, token) in tokens {
            if let Some(held) = self.holder(name) {
                assert_eq!(
                    held,
                    (session, *token),
                    "mutual exclusion: {name:?} is held, and {slot} grants it to {session}"
                );
                continue;
            }
            assert_eq!(*token, slot, "tokens: each is the slot of its grant");
            let last = self.tokens.insert(name.clone(), *token);
            assert!(last < Some(*token), "tokens: those of {name:?} grow: {last:?}, then {token}");
            self.held.insert(name.clone(), (session, *token));
            self.grants += 1;
            self.changes.push(Change::Granted(session, name.clone()));
        }
    }

    fn on_end(&mut self, session: ClientId) {
        if self.open.remove(&session) {
            self.over.insert(session);
            self.held.retain(|_, (holder, _)| *holder != session);
            self.waiting.remove(&session);
            self.ends += 1;
            self.changes.push(Change::Ended(session));
        }
    }

    fn is_a_cycle(&self, slot: Slot, session: ClientId, names: &[Bytes], cycle: &[Edge]) {
        let law = || format!("no false deadlock: slot {slot} tells {session} of {cycle:?}");
        let mut next = session;
        for edge in cycle {
            assert!(edge.session == next && edge.holder != edge.session, "{}", law());
            let wanted = match self.waiting.get(&edge.session) {
                _ if edge.session == session => names,
                Some((_, names)) => names,
                None => &[],
            };
            assert!(wanted.contains(&edge.name), "{}", law());
            let holder = self.holder(&edge.name).map(|(holder, _)| holder);
            assert_eq!(holder, Some(edge.holder), "{}", law());
            next = edge.holder;
        }
        assert!(next == session && !cycle.is_empty(), "{}", law());
    }
}
