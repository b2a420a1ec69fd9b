//! The rules of the lock service word for word: lists, walks over all of them, and no index.
//!
//! Slow, and so short that it can be held against the rules by reading.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::waiting::{Entry, Wish};
use super::super::{Ask, By, Hold, Line, Mode, Said, Told};
use super::time_ms;
use crate::paxos::{ClientId, Slot};

/// Who holds what, and who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) holds: Vec<(Bytes, Hold)>,
    /// By the slots of their requests.
    pub(super) entries: Vec<Entry>,
}

/// What a step must bring about.
#[derive(Debug)]
pub(super) struct Due {
    /// The reply; `None` at an end. Of a deadlock only how many edges it has.
    pub(super) said: Option<Result<Said, usize>>,
    /// Grants out of the queue, and what was broken, in order.
    pub(super) told: Vec<(ClientId, Told)>,
}

/// What becomes of a request for locks.
enum Verdict {
    Granted(Vec<(Bytes, Slot)>),
    Hindered(Bytes, By),
}

impl Model {
    /// A command; nothing that breaks a rule.
    pub(super) fn ask(&mut self, at: Slot, session: ClientId, ask: &Ask) -> Due {
        let mut told = Vec::new();
        let said = match ask {
            Ask::Lock { names, label, mode } => {
                let mut each = Vec::new();
                names.iter().for_each(|name| {
                    if !each.contains(name) {
                        each.push(name.clone());
                    }
                });
                let (label, ttl_ms) = (label.clone(), session.0 as u64);
                self.lock(at, Wish { session, names: each, label, ttl_ms }, *mode, &mut told)
            }
            Ask::Unlock { name, token, session: of } => {
                let of = of.unwrap_or(session);
                let held = self.hold(name).map_or(at, |hold| hold.token);
                let token = token.unwrap_or(held);
                Ok(self.free(name, token, Some(of)).map_or_else(|no| no, |_| Said::Unlocked))
            }
            Ask::Cancel => Ok(match self.forget(session) {
                true => Said::Cancelled,
                false => Said::Idle,
            }),
            Ask::Break { name, token, reason, label } => {
                Ok(self.free(name, *token, None).map_or_else(
                    |no| no,
                    |former| {
                        let (name, by, reason) = (name.clone(), label.clone(), reason.clone());
                        told.push((former, Told::Broken { name, token: *token, by, reason }));
                        Said::Broken
                    },
                ))
            }
        };
        self.settle(at, &mut told);
        let said = Some(self.ahead_now(said, at));
        Due { said, told }
    }

    /// The end of a session.
    pub(super) fn end(&mut self, at: Slot, session: ClientId) -> Due {
        self.holds.retain(|(_, hold)| hold.session != session);
        self.forget(session);
        let mut told = Vec::new();
        self.settle(at, &mut told);
        Due { said: None, told }
    }

    fn lock(
        &mut self,
        at: Slot,
        wish: Wish,
        mode: Mode,
        told: &mut Vec<(ClientId, Told)>,
    ) -> Result<Said, usize> {
        let session = wish.session;
        let line = match mode {
            Mode::Now => {
                let stays = self.entry(session).is_some_and(|entry| entry.line == Line::Queued);
                return Ok(match self.decide(at, &wish, Slot(u64::MAX), stays) {
                    Verdict::Hindered(name, by) => Said::Busy { name, by },
                    Verdict::Granted(tokens) => {
                        let own = |name: &Bytes| {
                            self.hold(name).is_some_and(|hold| hold.session == session)
                        };
                        if self.entry(session).is_some_and(|entry| entry.wish.names.iter().all(own))
                        {
                            self.forget(session);
                        }
                        Said::Granted { tokens }
                    }
                });
            }
            Mode::Retry => Line::Trying,
            Mode::Queue => Line::Queued,
        };
        if self.entry(session).is_some_and(|entry| entry.line == Line::Queued) {
            return Ok(Said::Pending);
        }
        self.forget(session);
        let (name, by) = match self.decide(at, &wish, Slot(u64::MAX), false) {
            Verdict::Granted(tokens) => return Ok(Said::Granted { tokens }),
            Verdict::Hindered(name, by) => (name, by),
        };
        self.entries.push(Entry { wish, line, since: at });
        if let Some(edges) = self.shortest_cycle(session) {
            self.entries.pop();
            return Err(edges);
        }
        self.settle(at, told);
        Ok(match line {
            Line::Trying => Said::Busy { name, by },
            Line::Queued => Said::Queued { ahead: 0 },
        })
    }

    /// Puts the right number into `Queued`.
    fn ahead_now(&self, said: Result<Said, usize>, at: Slot) -> Result<Said, usize> {
        let Ok(Said::Queued { .. }) = said else { return said };
        let own = self.entries.iter().find(|entry| entry.since == at).expect("it waits");
        let ahead = self.earlier(&own.wish, at).len() as u64;
        Ok(Said::Queued { ahead })
    }

    /// Grants if nothing is in the way: see `hindrance`.
    fn decide(&mut self, at: Slot, wish: &Wish, before: Slot, stays: bool) -> Verdict {
        if let Some((name, by)) = self.hindrance(wish, before, stays) {
            return Verdict::Hindered(name, by);
        }
        let mut tokens = Vec::new();
        for name in &wish.names {
            if self.hold(name).is_none() {
                let (label, ttl_ms) = (wish.label.clone(), wish.ttl_ms);
                let (session, since_ms) = (wish.session, time_ms(at));
                let hold = Hold { session, label, token: at, since_ms, ttl_ms };
                self.holds.push((name.clone(), hold));
            }
            tokens.push((name.clone(), self.hold(name).expect("held by now").token));
        }
        Verdict::Granted(tokens)
    }

    /// What is in the way of a request: a name that another holds, or an earlier one in the queue
    /// whose session does not reach the asker.
    pub(super) fn hindrance(&self, wish: &Wish, before: Slot, stays: bool) -> Option<(Bytes, By)> {
        let held = wish.names.iter().find_map(|name| {
            let hold = self.hold(name).filter(|hold| hold.session != wish.session);
            hold.map(|hold| (name.clone(), By::Held(hold.clone())))
        });
        held.or_else(|| {
            let all = wish.names.iter().flat_map(|name| {
                let earlier = self.earlier(wish, before).into_iter();
                earlier.filter(|entry| entry.wants(name)).map(move |entry| (name, entry))
            });
            let mut blocking = all.filter(|(_, entry)| {
                stays || !self.reached(entry.wish.session, false).contains(&wish.session)
            });
            blocking.next().map(|(name, entry)| (name.clone(), By::Reserved(entry.waiter())))
        })
    }

    /// From the start again after each grant, until nothing can be granted.
    fn settle(&mut self, at: Slot, told: &mut Vec<(ClientId, Told)>) {
        'again: loop {
            for entry in self.entries.clone() {
                if entry.line == Line::Trying {
                    continue;
                }
                if let Verdict::Granted(tokens) = self.decide(at, &entry.wish, entry.since, false) {
                    self.forget(entry.wish.session);
                    told.push((entry.wish.session, Told::Granted { tokens }));
                    continue 'again;
                }
            }
            return;
        }
    }

    /// Frees a lock, of that session if one is named. Whose it was, or the reply.
    fn free(&mut self, name: &Bytes, token: Slot, of: Option<ClientId>) -> Result<ClientId, Said> {
        let holder = self.hold(name).cloned();
        match &holder {
            Some(hold) if hold.token == token && of.is_none_or(|of| of == hold.session) => {
                self.holds.retain(|(held, _)| held != name);
                Ok(hold.session)
            }
            Some(_) | None => Err(Said::NotOwner { holder }),
        }
    }

    fn forget(&mut self, session: ClientId) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.wish.session != session);
        self.entries.len() < before
    }

    pub(super) fn hold(&self, name: &Bytes) -> Option<&Hold> {
        self.holds.iter().find(|(held, _)| held == name).map(|(_, hold)| hold)
    }

    pub(super) fn entry(&self, session: ClientId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.wish.session == session)
    }

    /// Those of other sessions in the queue before that slot that want one of the same names.
    pub(super) fn earlier(&self, wish: &Wish, before: Slot) -> Vec<&Entry> {
        let entries = self.entries.iter().filter(|entry| {
            entry.line == Line::Queued
                && entry.since < before
                && entry.wish.session != wish.session
                && wish.names.iter().any(|name| entry.wants(name))
        });
        entries.collect()
    }

    /// Where the edges of one entry lead.
    pub(super) fn edges(&self, entry: &Entry, hard_only: bool) -> BTreeSet<ClientId> {
        let holders = entry.wish.names.iter().filter_map(|name| self.hold(name));
        let mut edges: BTreeSet<_> = holders.map(|hold| hold.session).collect();
        edges.remove(&entry.wish.session);
        if !hard_only {
            let earlier = self.earlier(&entry.wish, entry.since).into_iter();
            edges.extend(earlier.map(|entry| entry.wish.session));
        }
        edges
    }

    /// All sessions that one edge or more lead to.
    pub(super) fn reached(&self, from: ClientId, hard_only: bool) -> BTreeSet<ClientId> {
        let mut reached = self.entry(from).map_or_else(BTreeSet::new, |e| self.edges(e, hard_only));
        loop {
            let entries = reached.iter().filter_map(|session| self.entry(*session));
            let more: Vec<_> = entries.flat_map(|entry| self.edges(entry, hard_only)).collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                return reached;
            }
        }
    }

    /// How many hard edges lead from a session back to it, at least.
    pub(super) fn shortest_cycle(&self, session: ClientId) -> Option<usize> {
        let mut front = BTreeSet::from([session]);
        (1..=self.entries.len()).find(|_| {
            let entries = front.iter().filter_map(|session| self.entry(*session));
            front = entries.flat_map(|entry| self.edges(entry, true)).collect();
            front.contains(&session)
        })
    }
}
