//! What two nodes say to each other that is no matter of the protocol's.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::transfer::Parcel;
use super::{Node, Output};
use crate::paxos::{Input, Request, Wal};
use crate::rsm::{Outcome, StateMachine};
use crate::wire::codec;

/// One thing that a node says to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// Something of a transfer.
    Parcel(Parcel),
    /// A client's request, to be proposed by whoever leads.
    Post(Request),
}

impl Word {
    pub(super) fn encode(&self) -> Bytes {
        Bytes::from(codec::encode(self))
    }

    /// What these bytes say, if anything.
    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        codec::decode(bytes).ok()
    }
}

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// A client gave its request here, whoever leads. If it gets lost on the way, or there is no
    /// leader, the client gives it again.
    pub(super) fn pass_on(&mut self, request: Request, outputs: &mut Vec<Output>) -> Option<Input> {
        // A witness would never have a reply to give.
        if self.is_witness() {
            return self.admit_request(request, outputs);
        }
        let sessions = self.executor.sessions();
        let is_known = sessions.outcome(request.client, request.number) != Outcome::Unknown;
        let me = self.replica.config().node;
        match self.replica.leader() {
            Some(leader) if leader != me && !is_known => {
                Some(Input::Transfer(leader, Word::Post(request).encode()))
            }
            Some(_) | None => self.admit_request(request, outputs),
        }
    }
}
