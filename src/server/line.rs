//! The way back to one client's connection: answers that wait to be written, in bounded number.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::wire::client::{FromNode, Outcome};

/// Bytes of answers that may wait for one client; with more, it does not read.
const ANSWERS_BYTES_MAX: usize = 4 << 20;

/// What any answer takes at least, in bytes.
const ANSWER_BYTES: usize = 256;

/// The way to one client. Never waits, as the node's thread goes it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    answers: mpsc::UnboundedSender<Answer>,
    room: Arc<Semaphore>,
    jammed: CancellationToken,
}

/// An answer, with the room that it takes until it is written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: FromNode,
    _room: OwnedSemaphorePermit,
}

impl Line {
    /// A line, and its other end.
    pub(super) fn new() -> (Line, mpsc::UnboundedReceiver<Answer>) {
        let (answers, written) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ANSWERS_BYTES_MAX));
        (Line { answers, room, jammed: CancellationToken::new() }, written)
    }

    /// Queues an answer. `false`: the client has gone, or reads so little that it must go.
    pub(super) fn tell(&self, message: FromNode) -> bool {
        let bytes = (ANSWER_BYTES + carried(&message)).min(ANSWERS_BYTES_MAX) as u32;
        match Arc::clone(&self.room).try_acquire_many_owned(bytes) {
            Ok(room) => self.answers.send(Answer { message, _room: room }).is_ok(),
            Err(_) => {
                self.jammed.cancel();
                false
            }
        }
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.answers.is_closed()
    }

    /// Returns when an answer found no room.
    pub(super) async fn jams(&self) {
        self.jammed.cancelled().await;
    }
}

fn carried(message: &FromNode) -> usize {
    match message {
        FromNode::Reply { outcome: Outcome::Applied(body), .. } => body.len(),
        FromNode::Answer { result: Ok(body), .. } => body.len(),
        FromNode::Notice { body, .. } => body.len(),
        FromNode::Done { result: Err(reason), .. } => reason.len(),
        FromNode::Status { status, .. } => status.holes.len() * 16,
        FromNode::Guests { sessions, .. } => sessions.len() * 16,
        FromNode::Entries { entries, .. } => entries.iter().map(|entry| entry.body.len()).sum(),
        FromNode::Reply { outcome: Outcome::Forgotten | Outcome::UnknownSession, .. }
        | FromNode::Answer { result: Err(_), .. }
        | FromNode::Done { result: Ok(()), .. }
        | FromNode::Leader(_)
        | FromNode::Queued(_)
        | FromNode::Rejected { .. }
        | FromNode::Alive { .. }
        | FromNode::Ended
        | FromNode::Left { .. }
        | FromNode::Pulse => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::paxos::{RequestNumber, Slot};

    /// Bug that turns it red: counting answers, not their bytes.
    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (line, mut answers) = Line::new();
        let body = Bytes::from(vec![0; 1 << 20]);
        let reply = |number| FromNode::Reply {
            number: RequestNumber(number),
            slot: Slot(number),
            outcome: Outcome::Applied(body.clone()),
        };
        assert!((0..3).all(|number| line.tell(reply(number))));
        assert!(!line.tell(reply(3)), "no room");
        line.jams().await;
        drop(answers.recv().await);
        assert!(line.tell(reply(4)), "room again, for as long as the connection lasts");
        drop(answers);
        assert!(!line.tell(reply(5)) && line.is_closed());
    }
}
