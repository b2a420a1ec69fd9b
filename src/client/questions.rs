//! Questions that change nothing, until they are answered: reads, and how long a session has left.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::repeat::{Pace, Repeat};
use crate::paxos::ClientId;
use crate::wire::client::ToNode;

/// What is asked, and not answered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    unanswered: BTreeMap<u64, (Asked, Repeat)>,
    last: u64,
}

/// What is asked, and who waits for the answer.
#[derive(Debug)]
pub(super) enum Asked {
    /// The state machine.
    Machine(Bytes, oneshot::Sender<Bytes>),
    /// The leader: how many milliseconds that session has left.
    Lease(ClientId, oneshot::Sender<Option<u64>>),
}

impl Asked {
    fn is_closed(&self) -> bool {
        match self {
            Asked::Machine(_, on_answer) => on_answer.is_closed(),
            Asked::Lease(_, on_answer) => on_answer.is_closed(),
        }
    }

    fn message(&self, id: u64) -> ToNode {
        match self {
            Asked::Machine(body, _) => ToNode::Query { id, body: body.clone() },
            Asked::Lease(session, _) => ToNode::Lease { id, session: *session },
        }
    }
}

impl Questions {
    /// A new question; what to say now.
    pub(super) fn ask(&mut self, asked: Asked, pace: Pace, now: Instant) -> ToNode {
        self.last += 1;
        let message = asked.message(self.last);
        self.unanswered.insert(self.last, (asked, Repeat::new(pace, now)));
        message
    }

    /// Somebody else listens: nothing was said to it in vain.
    pub(super) fn on_news(&mut self) {
        self.unanswered.values_mut().for_each(|(_, repeat)| repeat.on_news());
    }

    /// What to say again: those of which this holds. Nobody waits for one whose asker has gone.
    pub(super) fn where_due(
        &mut self,
        mut is_said: impl FnMut(&mut Repeat) -> bool,
    ) -> Vec<ToNode> {
        self.unanswered.retain(|_, (asked, _)| !asked.is_closed());
        let due = self
            .unanswered
            .iter_mut()
            .filter_map(|(id, (asked, repeat))| is_said(repeat).then(|| asked.message(*id)));
        due.collect()
    }

    /// The question with this id is answered now.
    pub(super) fn answered(&mut self, id: u64) -> Option<(Asked, Repeat)> {
        self.unanswered.remove(&id)
    }

    pub(super) fn are_open(&self) -> bool {
        !self.unanswered.is_empty()
    }
}
