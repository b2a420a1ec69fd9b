//! The session: what is unanswered, and what to say about it. No socket, no clock.
//!
//! Invariants: requests are said in the order of their numbers, whenever they are said; a request
//! is forgotten only when its reply is in (or can never come); of the archive each entry is handed
//! on once, in order, whatever pages arrive.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{Answer, Error, Page, Reply};
use crate::paxos::{ClientId, NodeId, Request, RequestNumber, Slot};
use crate::wire::client::{Entry, FromNode, Outcome, Refusal, ToNode};

#[derive(Debug)]
pub(super) struct Session {
    id: ClientId,
    requests: BTreeMap<RequestNumber, Unanswered>,
    queries: BTreeMap<u64, Query>,
    queries_asked: u64,
    feed: Option<Feed>,
    lost: bool,
    /// The last request that was ever said again: a request is counted once as such.
    last_retried: RequestNumber,
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
}

#[derive(Debug)]
struct Feed {
    pages: mpsc::Sender<Page>,
    /// The first slot that was not handed on.
    cursor: Slot,
    /// There was no room for a page: the stream must begin again at the cursor.
    is_paused: bool,
    /// The stream was asked to begin at the cursor, and pages of an earlier one may still come.
    is_expecting: bool,
}

impl Feed {
    /// Asks for the stream from the cursor on.
    fn begin(&mut self) -> ToNode {
        self.is_paused = false;
        self.is_expecting = true;
        ToNode::Subscribe { from: self.cursor }
    }
}

/// What the driver should do beyond saying what the session says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing.
    Stay,
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
            last_retried: RequestNumber(0),
            retried: 0,
        }
    }

    /// A new request; what to say now.
    pub(super) fn submit(&mut self, number: RequestNumber, request: Unanswered) -> Option<ToNode> {
        if self.lost {
            // Nobody may wait any more; then there is nobody to tell.
            let _ = request.on_reply.send(Err(Error::UnknownSession));
            return None;
        }
        self.requests.insert(number, request);
        self.request(number)
    }

    /// A new read; what to say now.
    pub(super) fn query(&mut self, body: Bytes, on_answer: oneshot::Sender<Bytes>) -> ToNode {
        self.queries_asked += 1;
        let id = self.queries_asked;
        self.queries.insert(id, Query { body: body.clone(), on_answer });
        ToNode::Query { id, body }
    }

    /// A new subscription in place of the one before; what to say now.
    pub(super) fn subscribe(&mut self, from: Slot, pages: mpsc::Sender<Page>) -> ToNode {
        let feed = Feed { pages, cursor: from, is_paused: false, is_expecting: true };
        self.feed.insert(feed).begin()
    }

    /// All that a node which knows nothing of us must hear.
    pub(super) fn introduction(&mut self) -> Vec<ToNode> {
        let feed = self.feed.as_mut().map(Feed::begin);
        feed.into_iter().chain(self.everything()).collect()
    }

    /// All unanswered requests, in the order of their numbers, and all reads.
    pub(super) fn everything(&mut self) -> Vec<ToNode> {
        // Nobody waits for a read whose asker has gone.
        self.queries.retain(|_, query| !query.on_answer.is_closed());
        let anew = self.requests.range((Bound::Excluded(self.last_retried), Bound::Unbounded));
        self.retried += anew.count() as u64;
        if let Some((last, _)) = self.requests.last_key_value() {
            self.last_retried = self.last_retried.max(*last);
        }
        let requests = self.requests.keys().filter_map(|number| self.request(*number));
        let queries = self.queries.iter();
        let queries =
            queries.map(|(id, query)| ToNode::Query { id: *id, body: query.body.clone() });
        requests.chain(queries).collect()
    }

    /// What to say when there is room again for a subscription that had to wait.
    pub(super) fn resume(&mut self) -> Option<ToNode> {
        let feed = self.feed.as_mut().filter(|feed| feed.is_paused)?;
        (feed.pages.capacity() > 0).then(|| feed.begin())
    }

    /// How many requests are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// How many requests were said more than once.
    pub(super) fn retried(&self) -> u64 {
        self.retried
    }

    /// Whether anything is unanswered.
    pub(super) fn is_waiting(&self) -> bool {
        !self.requests.is_empty() || !self.queries.is_empty()
    }

    /// Takes in what a node said.
    pub(super) fn hear(&mut self, message: FromNode) -> Advice {
        match message {
            FromNode::Leader(leader) => Advice::Leader(leader),
            FromNode::Queued(number) => self.on_queued(number),
            FromNode::Reply { number, slot, outcome } => self.on_reply(number, slot, outcome),
            FromNode::Rejected { why, .. } => self.on_refusal(&why),
            FromNode::Entries { first, next, entries } => self.on_entries(first, next, entries),
            FromNode::Answer { id, result } => self.on_answer(id, result),
            FromNode::Pulse => Advice::Stay,
            FromNode::Status { .. } | FromNode::Done { .. } => {
                Advice::Leave("it answers what was not asked")
            }
        }
    }

    fn request(&self, number: RequestNumber) -> Option<ToNode> {
        let (lowest, _) = self.requests.first_key_value()?;
        let unanswered = self.requests.get(&number)?;
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
        if let Some(unanswered) = self.requests.get_mut(&number) {
            announce(&mut unanswered.on_queued);
        }
        Advice::Stay
    }

    fn on_reply(&mut self, number: RequestNumber, slot: Slot, outcome: Outcome) -> Advice {
        let result = match outcome {
            Outcome::Applied(body) => Ok(Reply { slot, body: Some(body) }),
            Outcome::Forgotten => Ok(Reply { slot, body: None }),
            Outcome::UnknownSession => return self.lose(),
        };
        if let Some(mut unanswered) = self.requests.remove(&number) {
            announce(&mut unanswered.on_queued);
            drop(unanswered.place);
            // Whoever asked may not care for the reply.
            let _ = unanswered.on_reply.send(result);
        }
        Advice::Stay
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
        for (_, unanswered) in std::mem::take(&mut self.requests) {
            let _ = unanswered.on_reply.send(Err(Error::UnknownSession));
        }
        Advice::Stay
    }

    fn on_answer(&mut self, id: u64, result: Result<Bytes, Refusal>) -> Advice {
        match result {
            Ok(body) => {
                if let Some(query) = self.queries.remove(&id) {
                    // Whoever asked may have given up.
                    let _ = query.on_answer.send(body);
                }
                Advice::Stay
            }
            Err(Refusal::NotLeader(leader)) => Advice::Leader(leader),
            Err(Refusal::Busy | Refusal::Gap(_) | Refusal::UnknownSession) => Advice::Again,
        }
    }

    fn on_entries(&mut self, first: Slot, next: Slot, entries: Vec<Entry>) -> Advice {
        let Some(feed) = &mut self.feed else { return Advice::Stay };
        if first > feed.cursor {
            let is_lawful = feed.is_paused || feed.is_expecting;
            return if is_lawful { Advice::Stay } else { Advice::Leave("it left out a stretch") };
        }
        if next <= feed.cursor {
            return Advice::Stay;
        }
        let ascending = entries.windows(2).all(|pair| pair[0].slot < pair[1].slot);
        let inside = entries.iter().all(|entry| first <= entry.slot && entry.slot < next);
        if !ascending || !inside {
            return Advice::Leave("its entries are out of order");
        }
        let cursor = feed.cursor;
        let unseen = entries.into_iter().filter(|entry| entry.slot >= cursor).collect();
        match feed.pages.try_send(Page { first: cursor, next, entries: unseen }) {
            Ok(()) => {
                feed.cursor = next;
                feed.is_expecting = false;
            }
            Err(TrySendError::Full(_)) => feed.is_paused = true,
            Err(TrySendError::Closed(_)) => self.feed = None,
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

    use tokio::sync::Semaphore;

    use super::*;

    type OnReply = oneshot::Receiver<Answer>;

    struct Rig {
        session: Session,
        window: Arc<Semaphore>,
    }

    impl Rig {
        fn new() -> Rig {
            let session = Session::new(ClientId(7));
            Rig { session, window: Arc::new(Semaphore::new(8)) }
        }

        fn submit(&mut self, number: u64) -> (oneshot::Receiver<()>, OnReply) {
            let (on_queued, queued) = oneshot::channel();
            let (on_reply, reply) = oneshot::channel();
            let place = Arc::clone(&self.window).try_acquire_owned().expect("room");
            let body = Bytes::from(format!("body {number}"));
            let unanswered = Unanswered { body, on_queued: Some(on_queued), on_reply, place };
            let said = self.session.submit(RequestNumber(number), unanswered);
            assert!(matches!(said, Some(ToNode::Request(_))));
            (queued, reply)
        }

        fn reply(&mut self, number: u64, slot: u64) -> Advice {
            let outcome = Outcome::Applied(Bytes::from_static(b"done"));
            let number = RequestNumber(number);
            self.session.hear(FromNode::Reply { number, slot: Slot(slot), outcome })
        }

        /// Numbers and low-water marks of all that is said again.
        fn again(&mut self) -> Vec<(u64, u64)> {
            let said = self.session.everything();
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

        fn entries(&mut self, first: u64, next: u64, slots: &[u64]) -> Advice {
            let entry = |slot: &u64| Entry { slot: Slot(*slot), body: Bytes::new() };
            let entries = slots.iter().map(entry).collect();
            self.session.hear(FromNode::Entries { first: Slot(first), next: Slot(next), entries })
        }
    }

    fn slots(page: &Page) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.slot.0).collect()
    }

    #[test]
    fn what_is_unanswered_is_said_again_in_order() {
        let mut rig = Rig::new();
        let _first = rig.submit(1);
        let (_, mut second) = rig.submit(2);
        let _third = rig.submit(3);
        assert_eq!(rig.session.retried(), 0);
        assert_eq!(rig.again(), [(1, 1), (2, 1), (3, 1)]);
        rig.reply(2, 40);
        assert_eq!(second.try_recv().expect("a reply").expect("applied").slot, Slot(40));
        assert_eq!(rig.again(), [(1, 1), (3, 1)], "1 is still the low-water mark");
        rig.reply(1, 41);
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
        rig.session.hear(FromNode::Queued(RequestNumber(2)));
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
        let mut refused = |why| rig.session.hear(FromNode::Rejected { number, why });
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
        rig.session
            .hear(FromNode::Rejected { number: RequestNumber(1), why: Refusal::UnknownSession });
        assert_eq!(reply.try_recv().expect("told"), Err(Error::UnknownSession));
        assert_eq!(rig.again(), []);
        assert_eq!(rig.window.available_permits(), 8);
    }

    #[test]
    fn entries_are_handed_on_once_and_in_order() {
        let mut rig = Rig::new();
        let (feed, mut pages) = mpsc::channel(8);
        rig.session.subscribe(Slot(0), feed);
        rig.entries(0, 4, &[0, 1, 3]);
        // A new connection begins again at the cursor, or before it.
        assert_eq!(rig.session.introduction(), [ToNode::Subscribe { from: Slot(4) }]);
        rig.entries(2, 6, &[3, 5]);
        rig.entries(4, 6, &[5]);
        assert_eq!(slots(&pages.try_recv().expect("a page")), [0, 1, 3]);
        assert_eq!(slots(&pages.try_recv().expect("a page")), [5]);
        pages.try_recv().expect_err("nothing twice");
        assert_eq!(rig.entries(7, 9, &[8]), Advice::Leave("it left out a stretch"));
        assert_eq!(rig.entries(6, 9, &[8, 7]), Advice::Leave("its entries are out of order"));
        assert_eq!(rig.entries(6, 8, &[9]), Advice::Leave("its entries are out of order"));
    }

    #[test]
    fn a_slow_subscriber_pauses_the_stream_and_misses_nothing() {
        let mut rig = Rig::new();
        let (feed, mut pages) = mpsc::channel(1);
        rig.session.subscribe(Slot(0), feed);
        rig.entries(0, 1, &[0]);
        rig.entries(1, 2, &[1]);
        assert_eq!(rig.session.resume(), None, "still no room");
        assert_eq!(rig.entries(2, 3, &[2]), Advice::Stay, "dropped, not a gap");
        assert_eq!(slots(&pages.try_recv().expect("a page")), [0]);
        assert_eq!(rig.session.resume(), Some(ToNode::Subscribe { from: Slot(1) }));
        assert_eq!(rig.entries(3, 4, &[3]), Advice::Stay, "of the stream before");
        rig.entries(1, 4, &[1, 2, 3]);
        assert_eq!(slots(&pages.try_recv().expect("a page")), [1, 2, 3]);
        assert_eq!(rig.session.resume(), None);
    }
}
