//! What a client must remember: its requests without an answer, its questions, and how far it has
//! read. Knows no socket and no clock.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Ask, Error, IN_FLIGHT_MAX, Page, Reply};
use crate::paxos::{ClientId, Request, RequestNumber, Slot};
use crate::wire::client::{FromNode, Outcome, Refusal, ToNode};

/// A session from the client's side.
#[derive(Debug)]
pub(super) struct Session {
    client: ClientId,
    last: u64,
    unanswered: BTreeMap<u64, Unanswered>,
    queries: BTreeMap<u64, (Bytes, oneshot::Sender<Result<Bytes, Error>>)>,
    queries_asked: u64,
    subscription: Option<(Slot, mpsc::Sender<Page>)>,
}

#[derive(Debug)]
struct Unanswered {
    body: Bytes,
    /// Taken when a leader has queued it.
    queued: Option<oneshot::Sender<()>>,
    reply: oneshot::Sender<Answer>,
}

/// What a message from a node calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// Send everything again, after a pause.
    Again,
    /// The leader changed, or is another one than the sender.
    Leader(Option<crate::paxos::NodeId>),
    /// Give a page to the subscriber, who may have to be waited for.
    Page(Page),
}

impl Session {
    pub(super) fn new(client: ClientId) -> Session {
        Session {
            client,
            last: 0,
            unanswered: BTreeMap::new(),
            queries: BTreeMap::new(),
            queries_asked: 0,
            subscription: None,
        }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether it can take no more requests for now.
    pub(super) fn is_full(&self) -> bool {
        self.unanswered.len() >= IN_FLIGHT_MAX
    }

    /// Whether something was asked that no leader has taken yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.unanswered.values().any(|request| request.queued.is_some()) || !self.queries.is_empty()
    }

    pub(super) fn subscriber(&self) -> Option<mpsc::Sender<Page>> {
        self.subscription.as_ref().map(|(_, pages)| pages.clone())
    }

    /// Takes on what the handle asks for; what must be sent for it.
    pub(super) fn take(&mut self, ask: Ask) -> ToNode {
        match ask {
            Ask::Submit { body, queued, reply, number } => {
                self.last += 1;
                // Whoever asked may have lost interest; the request is sent all the same.
                let _ = number.send(self.last);
                let request = Unanswered { body, queued: Some(queued), reply };
                self.unanswered.insert(self.last, request);
                ToNode::Request(self.request(self.last, &self.unanswered[&self.last]))
            }
            Ask::Query { body, answer } => {
                self.queries_asked += 1;
                self.queries.insert(self.queries_asked, (body.clone(), answer));
                ToNode::Query { id: self.queries_asked, body }
            }
            Ask::Subscribe { from, pages } => {
                self.subscription = Some((from, pages));
                ToNode::Subscribe { from }
            }
        }
    }

    /// All that a node must be told that knows nothing of this session.
    pub(super) fn introduction(&self) -> Vec<ToNode> {
        let subscription = self.subscription.as_ref();
        let subscribe = subscription.map(|(from, _)| ToNode::Subscribe { from: *from });
        subscribe.into_iter().chain(self.again()).collect()
    }

    /// All that is unanswered, in order.
    pub(super) fn again(&self) -> Vec<ToNode> {
        let requests = self.unanswered.iter();
        let requests = requests.map(|(number, it)| ToNode::Request(self.request(*number, it)));
        let queries = self.queries.iter();
        let queries = queries.map(|(id, (body, _))| ToNode::Query { id: *id, body: body.clone() });
        requests.chain(queries).collect()
    }

    /// Notes what a node says.
    pub(super) fn hear(&mut self, message: FromNode) -> Next {
        match message {
            FromNode::Leader(leader) => return Next::Leader(leader),
            FromNode::Queued(number) => {
                let request = self.unanswered.get_mut(&number.0);
                if let Some(queued) = request.and_then(|request| request.queued.take()) {
                    // Whoever waited for it may have gone.
                    let _ = queued.send(());
                }
            }
            FromNode::Reply { number, slot, outcome } => match outcome {
                Outcome::Applied(body) => self.answer(number, Ok(Reply { slot, body: Some(body) })),
                Outcome::Forgotten => self.answer(number, Ok(Reply { slot, body: None })),
                Outcome::UnknownSession => self.answer(number, Err(Error::UnknownSession)),
            },
            FromNode::Rejected { number, why } => return self.rejected(number, &why),
            FromNode::Entries { first, next, entries } => return self.page(first, next, entries),
            FromNode::Answer { id, result } => return self.answer_query(id, result),
            FromNode::Status { .. } | FromNode::Done { .. } | FromNode::Pulse => (),
        }
        Next::Nothing
    }

    fn request(&self, number: u64, unanswered: &Unanswered) -> Request {
        let lowest = self.unanswered.first_key_value().map_or(number, |(lowest, _)| *lowest);
        Request {
            client: self.client,
            number: RequestNumber(number),
            low_water: RequestNumber(lowest),
            ttl_ms: 0,
            time_ms: 0,
            body: unanswered.body.clone(),
        }
    }

    fn answer(&mut self, number: RequestNumber, answer: Answer) {
        if let Some(request) = self.unanswered.remove(&number.0) {
            // Whoever asked may have lost interest.
            let _ = request.reply.send(answer);
        }
    }

    fn rejected(&mut self, number: RequestNumber, why: &Refusal) -> Next {
        match why {
            Refusal::NotLeader(Some(leader)) => Next::Leader(Some(*leader)),
            Refusal::NotLeader(None) | Refusal::Busy | Refusal::Gap(_) => Next::Again,
            Refusal::UnknownSession => {
                self.answer(number, Err(Error::UnknownSession));
                Next::Nothing
            }
        }
    }

    fn answer_query(&mut self, id: u64, result: Result<Bytes, Refusal>) -> Next {
        match result {
            Ok(body) => {
                if let Some((_, answer)) = self.queries.remove(&id) {
                    // Whoever asked may have lost interest.
                    let _ = answer.send(Ok(body));
                }
                Next::Nothing
            }
            Err(Refusal::NotLeader(Some(leader))) => Next::Leader(Some(leader)),
            Err(_) => Next::Again,
        }
    }

    /// A page is taken if it continues where the last one ended; another is of an earlier
    /// subscription.
    fn page(
        &mut self,
        first: Slot,
        next: Slot,
        mut entries: Vec<crate::wire::client::Entry>,
    ) -> Next {
        let Some((cursor, _)) = &mut self.subscription else { return Next::Nothing };
        if first > *cursor || next <= *cursor {
            return Next::Nothing;
        }
        entries.retain(|entry| entry.slot >= *cursor);
        let page = Page { first: *cursor, next, entries };
        *cursor = next;
        Next::Page(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Watch = (oneshot::Receiver<()>, oneshot::Receiver<Answer>);

    fn submit(session: &mut Session, body: &'static str) -> (ToNode, Watch) {
        let (queued, was_queued) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let (number, _) = oneshot::channel();
        let ask = Ask::Submit { body: Bytes::from_static(body.as_bytes()), queued, reply, number };
        (session.take(ask), (was_queued, answer))
    }

    fn numbers(messages: &[ToNode]) -> Vec<(u64, u64)> {
        let number = |message: &ToNode| {
            let ToNode::Request(request) = message else { return None };
            Some((request.number.0, request.low_water.0))
        };
        messages.iter().filter_map(number).collect()
    }

    #[test]
    fn what_is_unanswered_is_sent_again_in_order() {
        let mut session = Session::new(ClientId(1));
        let watches: Vec<Watch> = ["a", "b", "c"].map(|b| submit(&mut session, b).1).into();
        let reply = |number, slot| FromNode::Reply {
            number: RequestNumber(number),
            slot: Slot(slot),
            outcome: Outcome::Applied(Bytes::new()),
        };
        session.hear(reply(1, 0));
        session.hear(reply(1, 0));
        assert_eq!(numbers(&session.introduction()), [(2, 2), (3, 2)]);
        let mut answers = watches.into_iter().map(|(_, answer)| answer);
        let first = answers.next().expect("three").try_recv().expect("answered");
        assert_eq!(first.expect("applied").slot, Slot(0));
        assert!(answers.next().expect("three").try_recv().is_err(), "not answered");
    }

    #[test]
    fn pages_are_taken_once_and_in_order() {
        let mut session = Session::new(ClientId(1));
        let (pages, _keep) = mpsc::channel(1);
        session.take(Ask::Subscribe { from: Slot(2), pages });
        let page = |first, next| FromNode::Entries {
            first: Slot(first),
            next: Slot(next),
            entries: (first..next)
                .map(|slot| crate::wire::client::Entry { slot: Slot(slot), body: Bytes::new() })
                .collect(),
        };
        let slots = |next: Next| -> Vec<u64> {
            let Next::Page(page) = next else { return vec![] };
            page.entries.iter().map(|entry| entry.slot.0).collect()
        };
        assert_eq!(slots(session.hear(page(0, 5))), [2, 3, 4]);
        assert_eq!(slots(session.hear(page(2, 5))), [0; 0], "a repetition");
        assert_eq!(slots(session.hear(page(7, 9))), [0; 0], "a gap");
        assert_eq!(slots(session.hear(page(5, 6))), [5]);
    }
}
