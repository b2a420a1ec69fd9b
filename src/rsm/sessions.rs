//! Client sessions: each request is applied at most once (Ongaro 6.3).
//!
//! A session begins with its request number 1. Requests of a session are applied in the order of
//! their numbers; one that was applied is answered from here, for as long as the client may still
//! ask. Replicated: every node holds the same table, since it changes only with decided commands.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::paxos::{ClientId, Request, RequestNumber, Slot};

/// Replies kept for one session at most; a client has fewer requests in flight.
pub const REPLIES_MAX: usize = 1024;

/// The sessions of all clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    table: BTreeMap<ClientId, Session>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    last: u64,
    /// Milliseconds of silence after which it may be ended; 0 is never.
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

    /// Applies a request if it is the next of its session, with `apply`. Whatever it was, says what
    /// became of it.
    pub fn apply(
        &mut self,
        slot: Slot,
        request: &Request,
        apply: impl FnOnce() -> Bytes,
    ) -> Outcome {
        let last = self.table.get(&request.client).map_or(0, |session| session.last);
        if request.number.0 == last + 1 {
            let session = self.table.entry(request.client).or_default();
            if last == 0 {
                session.ttl_ms = request.ttl_ms;
            }
            session.last = request.number.0;
            session.replies = session.replies.split_off(&request.low_water.0);
            while session.replies.len() >= REPLIES_MAX {
                session.replies.pop_first();
            }
            session.replies.insert(request.number.0, (slot, apply()));
        }
        self.outcome(request.client, request.number)
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
            sessions.apply(Slot(slot), &request(number, low_water), || {
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
}
