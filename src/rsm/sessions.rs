//! Client sessions: each request is applied at most once (Ongaro 6.3).
//!
//! A session begins with its request number 1. Requests of a session are applied in the order of
//! their numbers; one that was applied is answered from here, for as long as the client may still
//! ask. Replicated: every node holds the same table, since it changes only with decided commands.
//!
//! A session with a time to live is *leased*: it ends by a command in the log, which whoever leads
//! proposes when nothing was heard of its client for so long. No clock is read here. That a session
//! is over is remembered for a while, or a copy of its first request that comes late would begin it
//! anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::paxos::{ClientId, Request, RequestNumber, Slot};

/// Replies kept for one session at most; a client has fewer requests in flight.
pub const REPLIES_MAX: usize = 1024;

/// For how many slots it is remembered that a session is over. A request number 1 that comes late
/// by more begins a session anew; its time to live will end that one, too.
pub const ENDED_SLOTS: u64 = 1 << 16;

/// The sessions of all clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Sessions {
    table: BTreeMap<ClientId, Session>,
    /// Sessions that are over, by the slots in which they ended, for a while.
    ended: BTreeMap<Slot, ClientId>,
    /// The same, by session.
    ended_at: BTreeMap<ClientId, Slot>,
}

/// The sessions as a snapshot has them: what is over is told once.
#[derive(Serialize, Deserialize)]
struct Stored {
    table: BTreeMap<ClientId, Session>,
    ended: BTreeMap<Slot, ClientId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    last: u64,
    /// Milliseconds of silence after which it is ended; 0 is never.
    ttl_ms: u64,
    replies: BTreeMap<u64, (Slot, Bytes)>,
}

/// What a session knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied in that slot, with that reply.
    Applied(Slot, Bytes),
    /// It was applied, but its reply is no longer kept.
    Forgotten,
    /// It was not applied: the session is not known, or an earlier request is missing.
    Unknown,
}

impl Sessions {
    /// The last number applied of a client's session.
    #[must_use]
    pub fn last(&self, client: ClientId) -> Option<RequestNumber> {
        self.table.get(&client).map(|session| RequestNumber(session.last))
    }

    /// The time to live of a client's session, in milliseconds; 0 is for ever.
    #[must_use]
    pub fn ttl_ms(&self, client: ClientId) -> Option<u64> {
        self.table.get(&client).map(|session| session.ttl_ms)
    }

    /// The sessions that end when they are silent, and after how many milliseconds.
    pub fn leased(&self) -> impl Iterator<Item = (ClientId, u64)> {
        let of = |(client, session): (&ClientId, &Session)| (*client, session.ttl_ms);
        self.table.iter().map(of).filter(|(_, ttl_ms)| *ttl_ms > 0)
    }

    /// Whether a session was ended, as far as that is remembered.
    #[must_use]
    pub fn has_ended(&self, client: ClientId) -> bool {
        self.ended_at.contains_key(&client)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What became of a request.
    #[must_use]
    pub fn outcome(&self, client: ClientId, number: RequestNumber) -> Outcome {
        match self.table.get(&client) {
            Some(session) if number.0 <= session.last => match session.replies.get(&number.0) {
                Some((slot, reply)) => Outcome::Applied(*slot, reply.clone()),
                None => Outcome::Forgotten,
            },
            Some(_) | None => Outcome::Unknown,
        }
    }

    /// Applies a request if it is the next of its session, with `apply`, which is told the
    /// session's time to live. Whatever it was, says what became of it.
    pub fn apply(
        &mut self,
        slot: Slot,
        request: &Request,
        apply: impl FnOnce(u64) -> Bytes,
    ) -> Outcome {
        let last = self.table.get(&request.client).map_or(0, |session| session.last);
        if request.number.0 == last + 1 && !self.has_ended(request.client) {
            let session = self.table.entry(request.client).or_default();
            if last == 0 {
                session.ttl_ms = request.ttl_ms;
            }
            session.last = request.number.0;
            session.replies = session.replies.split_off(&request.low_water.0);
            while session.replies.len() >= REPLIES_MAX {
                session.replies.pop_first();
            }
            session.replies.insert(request.number.0, (slot, apply(session.ttl_ms)));
        }
        self.outcome(request.client, request.number)
    }

    /// Ends a session in this slot, if there is one and it does not live for ever: its time to
    /// live. No request of it is applied from now on.
    pub fn end(&mut self, slot: Slot, client: ClientId) -> Option<u64> {
        let ttl_ms = self.ttl_ms(client).filter(|ttl_ms| *ttl_ms > 0)?;
        self.table.remove(&client);
        let kept = self.ended.split_off(&Slot(slot.0.saturating_sub(ENDED_SLOTS)));
        for client in std::mem::replace(&mut self.ended, kept).into_values() {
            self.ended_at.remove(&client);
        }
        self.ended.insert(slot, client);
        self.ended_at.insert(client, slot);
        Some(ttl_ms)
    }
}

impl From<Stored> for Sessions {
    fn from(Stored { table, ended }: Stored) -> Sessions {
        let ended_at = ended.iter().map(|(slot, client)| (*client, *slot)).collect();
        Sessions { table, ended, ended_at }
    }
}

impl From<Sessions> for Stored {
    fn from(Sessions { table, ended, .. }: Sessions) -> Stored {
        Stored { table, ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64, low_water: u64) -> Request {
        Request {
            client: ClientId(5),
            number: RequestNumber(number),
            low_water: RequestNumber(low_water),
            ttl_ms: 0,
            time_ms: 0,
            body: Bytes::new(),
        }
    }

    #[test]
    fn once_in_order_and_answered_again() {
        let mut sessions = Sessions::default();
        let mut applied = 0;
        let mut apply = |sessions: &mut Sessions, slot, number, low_water| {
            sessions.apply(Slot(slot), &request(number, low_water), |_| {
                applied += 1;
                Bytes::from(format!("reply {applied}"))
            })
        };
        assert_eq!(apply(&mut sessions, 0, 2, 1), Outcome::Unknown, "no session yet");
        let first = Outcome::Applied(Slot(1), Bytes::from("reply 1"));
        assert_eq!(apply(&mut sessions, 1, 1, 1), first);
        assert_eq!(apply(&mut sessions, 2, 1, 1), first, "answered, not applied again");
        assert_eq!(apply(&mut sessions, 3, 3, 1), Outcome::Unknown, "number 2 is missing");
        apply(&mut sessions, 4, 2, 2);
        assert_eq!(apply(&mut sessions, 5, 1, 1), Outcome::Forgotten, "below the low-water mark");
        assert_eq!(applied, 2);
        assert_eq!(sessions.last(ClientId(5)), Some(RequestNumber(2)));
    }

    /// Bugs that turn it red: a session without a time to live that is ended; a copy of request 1
    /// that begins an ended session anew; memory of it that a snapshot loses, or that never ends.
    #[test]
    fn what_is_over_is_not_begun_anew_for_a_while() {
        let mut sessions = Sessions::default();
        let begin = |sessions: &mut Sessions, slot, ttl_ms| {
            let request = Request { ttl_ms, ..request(1, 1) };
            sessions.apply(Slot(slot), &request, |_| Bytes::new())
        };
        begin(&mut sessions, 0, 0);
        assert_eq!(sessions.end(Slot(1), ClientId(5)), None, "it is for ever");
        let mut sessions = Sessions::default();
        begin(&mut sessions, 0, 70);
        assert_eq!(sessions.leased().collect::<Vec<_>>(), [(ClientId(5), 70)]);
        assert_eq!(sessions.end(Slot(9), ClientId(5)), Some(70));
        assert_eq!(sessions.end(Slot(10), ClientId(5)), None, "once");
        let mut sessions = Sessions::from(Stored::from(sessions));
        assert_eq!(begin(&mut sessions, 11, 70), Outcome::Unknown);
        for (slot, is_remembered) in [(9 + ENDED_SLOTS, true), (10 + ENDED_SLOTS, false)] {
            let other = Request { client: ClientId(u128::from(slot)), ttl_ms: 1, ..request(1, 1) };
            sessions.apply(Slot(slot - 1), &other, |_| Bytes::new());
            sessions.end(Slot(slot), other.client).expect("it was begun");
            assert_eq!(sessions.has_ended(ClientId(5)), is_remembered);
        }
    }
}
