//! The session: what is unanswered, and what to say about it. No socket; it is told the time.
//!
//! Invariants: requests are said in the order of their numbers, whenever they are said; a request
//! is forgotten only when its reply is in (or can never come).

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::feed::{Feed, Taken};
use super::repeat::{Pace, Repeat};
use super::{Answer, Error, Page, Reply};
use crate::paxos::{ClientId, NodeId, Request, RequestNumber, Slot};
use crate::wire::client::{Entry, FromNode, Outcome, Refusal, ToNode};

#[derive(Debug)]
pub(super) struct Session {
    id: ClientId,
    requests: BTreeMap<RequestNumber, (Unanswered, Repeat)>,
    queries: BTreeMap<u64, Query>,
    queries_asked: u64,
    feed: Option<Feed>,
    lost: bool,
    pace: Pace,
    retried: u64,
}

/// A request whose reply is not in.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) body: Bytes,
    /// Taken when the request is known to stand in a leader's queue.
    pub(super) on_queued: Option<oneshot::Sender<()>>,
    pub(super) on_reply: oneshot::Sender<Answer>,
    /// Its place in the window.
    pub(super) place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Query {
    body: Bytes,
    on_answer: oneshot::Sender<Bytes>,
    repeat: Repeat,
}

/// What the driver should do beyond saying what the session says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing.
    Stay,
    /// Nothing: something that was waited for has come.
    Onward,
    /// The node says who leads, if anybody.
    Leader(Option<NodeId>),
    /// Something was not taken here: say everything again, a little later.
    Again,
    /// The node makes no sense.
    Leave(&'static str),
}

impl Session {
    pub(super) fn new(id: ClientId) -> Session {
        Session {
            id,
            requests: BTreeMap::new(),
            queries: BTreeMap::new(),
            queries_asked: 0,
            feed: None,
            lost: false,
            pace: Pace::default(),
            retried: 0,
        }
    }

    /// A new request; what to say now.
    pub(super) fn submit(
        &mut self,
        number: RequestNumber,
        request: Unanswered,
        now: Instant,
    ) -> Option<ToNode> {
        if self.lost {
            // Nobody may wait any more; then there is nobody to tell.
            let _ = request.on_reply.send(Err(Error::UnknownSession));
            return None;
        }
        self.requests.insert(number, (request, Repeat::new(self.pace, now)));
        self.request(number)
    }

    /// A new read; what to say now.
    pub(super) fn query(
        &mut self,
        body: Bytes,
        on_answer: oneshot::Sender<Bytes>,
        now: Instant,
    ) -> ToNode {
        self.queries_asked += 1;
        let (id, repeat) = (self.queries_asked, Repeat::new(self.pace, now));
        self.queries.insert(id, Query { body: body.clone(), on_answer, repeat });
        ToNode::Query { id, body }
    }

    /// A new subscription in place of the one before; what to say now.
    pub(super) fn subscribe(
        &mut self,
        from: Slot,
        pages: mpsc::Sender<Page>,
        now: Instant,
    ) -> ToNode {
        self.feed.insert(Feed::new(pages, from, now)).begin(now)
    }

    /// All that a node which knows nothing of us must hear.
    pub(super) fn introduction(&mut self, now: Instant) -> Vec<ToNode> {
        let feed = self.feed.as_mut().map(|feed| feed.begin(now));
        self.on_news();
        feed.into_iter().chain(self.everything(now)).collect()
    }

    /// Somebody else listens, or listens as a leader: nothing was said to it in vain.
    pub(super) fn on_news(&mut self) {
        self.requests.values_mut().for_each(|(_, repeat)| repeat.on_news());
        self.queries.values_mut().for_each(|query| query.repeat.on_news());
    }

    /// All unanswered requests, in the order of their numbers, and all reads.
    pub(super) fn everything(&mut self, now: Instant) -> Vec<ToNode> {
        self.unanswered_where(|repeat| {
            repeat.on_said(now);
            true
        })
    }

    /// What was said long ago, and not answered; a subscription that stands still.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<ToNode> {
        let feed = self.feed.as_mut().and_then(|feed| feed.overdue(now));
        let late = self.unanswered_where(|repeat| {
            let is_due = repeat.is_due(now);
            if is_due {
                repeat.on_late(now);
            }
            is_due
        });
        feed.into_iter().chain(late).collect()
    }

    /// Those of the unanswered requests, in the order of their numbers, and of the reads.
    fn unanswered_where(&mut self, mut is_said: impl FnMut(&mut Repeat) -> bool) -> Vec<ToNode> {
        // Nobody waits for a read whose asker has gone.
        self.queries.retain(|_, query| !query.on_answer.is_closed());
        let mut numbers = Vec::new();
        for (number, (_, repeat)) in &mut self.requests {
            let is_anew = !repeat.is_repeated();
            if is_said(repeat) {
                numbers.push(*number);
                self.retried += u64::from(is_anew);
            }
        }
        let requests = numbers.into_iter().filter_map(|number| self.request(number));
        let mut said: Vec<ToNode> = requests.collect();
        for (id, query) in &mut self.queries {
            if is_said(&mut query.repeat) {
                said.push(ToNode::Query { id: *id, body: query.body.clone() });
            }
        }
        said
    }

    /// How many requests are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// Whether anything is unanswered, a read included.
    pub(super) fn is_waiting(&self) -> bool {
        !self.requests.is_empty() || !self.queries.is_empty()
    }

    /// How many requests were said more than once.
    pub(super) fn retried(&self) -> u64 {
        self.retried
    }

    /// Takes in what a node said.
    pub(super) fn hear(&mut self, message: FromNode, now: Instant) -> Advice {
        match message {
            FromNode::Leader(leader) => Advice::Leader(leader),
            FromNode::Queued(number) => self.on_queued(number),
            FromNode::Reply { number, slot, outcome } => self.on_reply(number, slot, outcome, now),
            FromNode::Rejected { why, .. } => self.on_refusal(&why),
            FromNode::Entries { first, next, entries } => {
                self.on_entries(first, next, entries, now)
            }
            FromNode::Answer { id, result } => self.on_answer(id, result, now),
            FromNode::Pulse => Advice::Stay,
            FromNode::Status { .. } | FromNode::Done { .. } => {
                Advice::Leave("it answers what was not asked")
            }
        }
    }

    fn request(&self, number: RequestNumber) -> Option<ToNode> {
        let (lowest, _) = self.requests.first_key_value()?;
        let (unanswered, _) = self.requests.get(&number)?;
        Some(ToNode::Request(Request {
            client: self.id,
            number,
            low_water: *lowest,
            ttl_ms: 0,
            time_ms: 0,
            body: unanswered.body.clone(),
        }))
    }

    fn on_queued(&mut self, number: RequestNumber) -> Advice {
        match self.requests.get_mut(&number) {
            Some((unanswered, _)) if unanswered.on_queued.is_some() => {
                announce(&mut unanswered.on_queued);
                Advice::Onward
            }
            Some(_) | None => Advice::Stay,
        }
    }

    fn on_reply(
        &mut self,
        number: RequestNumber,
        slot: Slot,
        outcome: Outcome,
        now: Instant,
    ) -> Advice {
        let result = match outcome {
            Outcome::Applied(body) => Ok(Reply { slot, body: Some(body) }),
            Outcome::Forgotten => Ok(Reply { slot, body: None }),
            Outcome::UnknownSession => return self.lose(),
        };
        let Some((mut unanswered, said)) = self.requests.remove(&number) else {
            return Advice::Stay;
        };
        self.pace.on_answer(&said, now);
        if let Some(feed) = &mut self.feed {
            feed.expect(slot.next(), now);
        }
        announce(&mut unanswered.on_queued);
        drop(unanswered.place);
        // Whoever asked may not care for the reply.
        let _ = unanswered.on_reply.send(result);
        Advice::Onward
    }

    fn on_refusal(&mut self, why: &Refusal) -> Advice {
        match why {
            Refusal::NotLeader(leader) => Advice::Leader(*leader),
            Refusal::Busy | Refusal::Gap(_) => Advice::Again,
            Refusal::UnknownSession => self.lose(),
        }
    }

    /// Nothing unanswered will ever be applied.
    fn lose(&mut self) -> Advice {
        self.lost = true;
        for (unanswered, _) in std::mem::take(&mut self.requests).into_values() {
            let _ = unanswered.on_reply.send(Err(Error::UnknownSession));
        }
        Advice::Stay
    }

    fn on_answer(&mut self, id: u64, result: Result<Bytes, Refusal>, now: Instant) -> Advice {
        match result {
            Ok(body) => {
                let Some(query) = self.queries.remove(&id) else { return Advice::Stay };
                self.pace.on_answer(&query.repeat, now);
                // Whoever asked may have given up.
                let _ = query.on_answer.send(body);
                Advice::Onward
            }
            Err(Refusal::NotLeader(leader)) => Advice::Leader(leader),
            Err(Refusal::Busy | Refusal::Gap(_) | Refusal::UnknownSession) => Advice::Again,
        }
    }

    fn on_entries(&mut self, first: Slot, next: Slot, entries: Vec<Entry>, now: Instant) -> Advice {
        let taken = self.feed.as_mut().map(|feed| feed.take(first, next, entries, now));
        match taken {
            Some(Taken::Absurd) => return Advice::Leave("its entries are out of order"),
            Some(Taken::Unwanted) => self.feed = None,
            Some(Taken::Well) | None => (),
        }
        Advice::Stay
    }
}

fn announce(on_queued: &mut Option<oneshot::Sender<()>>) {
    if let Some(on_queued) = on_queued.take() {
        // Whoever asked may not care.
        let _ = on_queued.send(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    type OnReply = oneshot::Receiver<Answer>;

    struct Rig {
        session: Session,
        window: Arc<Semaphore>,
        now: Instant,
    }

    impl Rig {
        fn new() -> Rig {
            let session = Session::new(ClientId(7));
            Rig { session, window: Arc::new(Semaphore::new(8)), now: Instant::now() }
        }

        fn submit(&mut self, number: u64) -> (oneshot::Receiver<()>, OnReply) {
            let (on_queued, queued) = oneshot::channel();
            let (on_reply, reply) = oneshot::channel();
            let place = Arc::clone(&self.window).try_acquire_owned().expect("room");
            let body = Bytes::from(format!("body {number}"));
            let unanswered = Unanswered { body, on_queued: Some(on_queued), on_reply, place };
            let said = self.session.submit(RequestNumber(number), unanswered, self.now);
            assert!(matches!(said, Some(ToNode::Request(_))));
            (queued, reply)
        }

        fn reply(&mut self, number: u64, slot: u64) -> Advice {
            let outcome = Outcome::Applied(Bytes::from_static(b"done"));
            let number = RequestNumber(number);
            self.hear(FromNode::Reply { number, slot: Slot(slot), outcome })
        }

        fn hear(&mut self, message: FromNode) -> Advice {
            self.session.hear(message, self.now)
        }

        /// Numbers and low-water marks of all that is said again.
        fn again(&mut self) -> Vec<(u64, u64)> {
            let said = self.session.everything(self.now);
            let request = |message: &ToNode| match message {
                ToNode::Request(request) => Some((request.number.0, request.low_water.0)),
                ToNode::Subscribe { .. }
                | ToNode::Query { .. }
                | ToNode::Status { .. }
                | ToNode::Order { .. }
                | ToNode::Pulse => None,
            };
            said.iter().filter_map(request).collect()
        }
    }

    #[test]
    fn what_is_unanswered_is_said_again_in_order() {
        let mut rig = Rig::new();
        let _first = rig.submit(1);
        let (_, mut second) = rig.submit(2);
        let _third = rig.submit(3);
        assert_eq!(rig.session.retried(), 0);
        assert_eq!(rig.again(), [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(rig.reply(2, 40), Advice::Onward);
        assert_eq!(second.try_recv().expect("a reply").expect("applied").slot, Slot(40));
        assert_eq!(rig.again(), [(1, 1), (3, 1)], "1 is still the low-water mark");
        assert_eq!(rig.reply(1, 41), Advice::Onward);
        assert_eq!(rig.again(), [(3, 3)]);
        assert_eq!(rig.session.retried(), 3, "each is counted once, however often it is said");
        assert_eq!(rig.window.available_permits(), 7, "answered requests leave the window");
        assert_eq!(rig.reply(1, 41), Advice::Stay, "a reply twice is no news");
    }

    #[test]
    fn a_reply_says_that_the_request_was_queued() {
        let mut rig = Rig::new();
        let (mut first, _) = rig.submit(1);
        let (mut second, _reply) = rig.submit(2);
        rig.hear(FromNode::Queued(RequestNumber(2)));
        assert!(first.try_recv().is_err());
        second.try_recv().expect("queued");
        rig.reply(1, 0);
        first.try_recv().expect("queued, as it was applied");
    }

    #[test]
    fn refusals_say_where_to_go_or_to_try_again() {
        let mut rig = Rig::new();
        let _first = rig.submit(1);
        let number = RequestNumber(1);
        let mut refused = |why| rig.hear(FromNode::Rejected { number, why });
        let leader = Some(NodeId(2));
        assert_eq!(refused(Refusal::NotLeader(leader)), Advice::Leader(leader));
        assert_eq!(refused(Refusal::Busy), Advice::Again);
        assert_eq!(refused(Refusal::Gap(number)), Advice::Again);
        assert_eq!(rig.again(), [(1, 1)], "nothing was lost by it");
    }

    #[test]
    fn a_lost_session_fails_what_waits_and_what_comes() {
        let mut rig = Rig::new();
        let (_, mut reply) = rig.submit(1);
        rig.hear(FromNode::Rejected { number: RequestNumber(1), why: Refusal::UnknownSession });
        assert_eq!(reply.try_recv().expect("told"), Err(Error::UnknownSession));
        assert_eq!(rig.again(), []);
        assert_eq!(rig.window.available_permits(), 8);
    }

    /// Bug that turns it red: to say all again when one is late, or only requests.
    #[test]
    fn what_is_late_is_said_again_and_nothing_else() {
        let mut rig = Rig::new();
        let start = Instant::now();
        rig.now = start;
        let (_queued, _reply) = rig.submit(1);
        let (on_answer, _answer) = oneshot::channel();
        rig.session.query(Bytes::new(), on_answer, start);
        rig.now = start + Duration::from_millis(60);
        let _late = rig.submit(2);
        assert_eq!(rig.session.overdue(start + Duration::from_millis(99)), []);
        let said = rig.session.overdue(start + Duration::from_millis(100));
        assert!(
            matches!(&said[..], [ToNode::Request(one), ToNode::Query { id: 1, .. }]
            if one.number == RequestNumber(1)),
            "{said:?}"
        );
        let said = rig.session.overdue(start + Duration::from_millis(160));
        assert!(matches!(&said[..], [ToNode::Request(two)] if two.number == RequestNumber(2)));
    }

    #[test]
    fn news_is_told_from_what_is_known() {
        let mut rig = Rig::new();
        let (_queued, _reply) = rig.submit(1);
        let queued = FromNode::Queued(RequestNumber(1));
        assert_eq!(rig.hear(queued.clone()), Advice::Onward);
        assert_eq!(rig.hear(queued), Advice::Stay);
        assert_eq!((rig.reply(1, 4), rig.reply(1, 4)), (Advice::Onward, Advice::Stay));
    }
}
