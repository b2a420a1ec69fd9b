//! The session: what is unanswered, and what to say about it. No socket; it is told the time.
//!
//! Invariants: requests are said in the order of their numbers, whenever they are said; a request
//! is forgotten only when its reply is in (or can never come).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::feed::{Feed, Taken};
use super::lease::{Keeper, Lease};
use super::questions::{Asked, Questions};
use super::repeat::{Pace, Repeat};
use super::{Answer, Error, Notice, Page, Reply};
use crate::paxos::{ClientId, NodeId, Request, RequestNumber, Slot};
use crate::wire::client::{Entry, FromNode, Outcome, Refusal, ToNode};

#[derive(Debug)]
pub(super) struct Session {
    id: ClientId,
    requests: BTreeMap<RequestNumber, (Unanswered, Repeat)>,
    questions: Questions,
    feed: Option<Feed>,
    lost: bool,
    pace: Pace,
    retried: u64,
    keeper: Keeper,
    notices: broadcast::Sender<Notice>,
    /// Those who wait to hear that the session is over.
    on_ended: Vec<oneshot::Sender<()>>,
    /// Whether requests may overtake each other: a gap is nothing to worry about then.
    overtakes: bool,
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
    /// A session that lives so long without a word (zero is for ever), and whose requests may
    /// overtake each other or not.
    pub(super) fn new(
        id: ClientId,
        ttl: Duration,
        overtakes: bool,
        notices: broadcast::Sender<Notice>,
    ) -> Session {
        Session {
            id,
            requests: BTreeMap::new(),
            questions: Questions::default(),
            feed: None,
            lost: false,
            pace: Pace::default(),
            retried: 0,
            keeper: Keeper::new(ttl),
            notices,
            on_ended: Vec::new(),
            overtakes,
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
    pub(super) fn ask(&mut self, asked: Asked, now: Instant) -> ToNode {
        self.questions.ask(asked, self.pace, now)
    }

    /// The client says that the session is over; what to say now.
    pub(super) fn end(&mut self, on_ended: oneshot::Sender<()>, now: Instant) -> Option<ToNode> {
        let said = self.keeper.end(now);
        if said.is_some() {
            self.on_ended.push(on_ended);
        } else {
            // There is nothing to end, or it has ended: nobody may wait any more.
            let _ = on_ended.send(());
        }
        said
    }

    /// Until when nobody ends the session.
    pub(super) fn lease(&self) -> Lease {
        self.keeper.lease()
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
        let alive = self.keeper.introduce(now);
        self.on_news();
        feed.into_iter().chain(alive).chain(self.everything(now)).collect()
    }

    /// Somebody else listens, or listens as a leader: nothing was said to it in vain.
    pub(super) fn on_news(&mut self) {
        self.requests.values_mut().for_each(|(_, repeat)| repeat.on_news());
        self.questions.on_news();
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
        let alive = self.keeper.overdue(now);
        feed.into_iter().chain(alive).chain(late).collect()
    }

    /// Those of the unanswered requests, in the order of their numbers, and of the reads.
    fn unanswered_where(&mut self, mut is_said: impl FnMut(&mut Repeat) -> bool) -> Vec<ToNode> {
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
        said.extend(self.questions.where_due(is_said));
        said
    }

    /// How many requests are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// Whether anything is unanswered, a read included.
    pub(super) fn is_waiting(&self) -> bool {
        !self.requests.is_empty() || self.questions.are_open() || !self.on_ended.is_empty()
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
            FromNode::Rejected { number: RequestNumber(0), why: Refusal::Busy } => {
                self.keeper.on_busy(now);
                Advice::Stay
            }
            FromNode::Rejected { why, .. } => self.on_refusal(&why),
            FromNode::Entries { first, next, entries } => {
                self.on_entries(first, next, entries, now)
            }
            FromNode::Answer { id, result } => self.on_answer(id, result, now),
            FromNode::Pulse => Advice::Stay,
            FromNode::Alive { id } if self.keeper.on_alive(id) => Advice::Onward,
            FromNode::Alive { .. } => Advice::Stay,
            FromNode::Ended => self.lose(),
            FromNode::Notice { slot, body } => {
                // Nobody may listen.
                let _ = self.notices.send(Notice { slot, body });
                Advice::Stay
            }
            FromNode::Left { id, result } => self.on_left(id, result, now),
            FromNode::Status { .. } | FromNode::Done { .. } | FromNode::Guests { .. } => {
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
            ttl_ms: self.keeper.ttl().as_millis() as u64,
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
        self.keeper.on_applied(said.first_said());
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
            Refusal::Gap(_) if self.overtakes => Advice::Stay,
            Refusal::Busy | Refusal::Gap(_) => Advice::Again,
            Refusal::UnknownSession => self.lose(),
        }
    }

    /// Nothing unanswered will ever be applied.
    fn lose(&mut self) -> Advice {
        self.lost = true;
        self.keeper.on_over();
        for on_ended in self.on_ended.drain(..) {
            let _ = on_ended.send(());
        }
        for (unanswered, _) in std::mem::take(&mut self.requests).into_values() {
            let _ = unanswered.on_reply.send(Err(Error::UnknownSession));
        }
        Advice::Stay
    }

    fn on_answer(&mut self, id: u64, result: Result<Bytes, Refusal>, now: Instant) -> Advice {
        match result {
            Ok(body) => {
                let Some(asked) = self.answered(id, now) else { return Advice::Stay };
                if let Asked::Machine(_, on_answer) = asked {
                    // Whoever asked may have given up.
                    let _ = on_answer.send(body);
                }
                Advice::Onward
            }
            Err(why) => unanswered_since(&why),
        }
    }

    fn on_left(&mut self, id: u64, result: Result<Option<u64>, Refusal>, now: Instant) -> Advice {
        match result {
            Ok(left) => {
                let Some(asked) = self.answered(id, now) else { return Advice::Stay };
                if let Asked::Lease(_, on_answer) = asked {
                    let _ = on_answer.send(left);
                }
                Advice::Onward
            }
            Err(why) => unanswered_since(&why),
        }
    }

    /// The question with this id, which is answered now.
    fn answered(&mut self, id: u64, now: Instant) -> Option<Asked> {
        let (asked, said) = self.questions.answered(id)?;
        self.pace.on_answer(&said, now);
        Some(asked)
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

/// What to do about a question that was not taken.
fn unanswered_since(why: &Refusal) -> Advice {
    match why {
        Refusal::NotLeader(leader) => Advice::Leader(*leader),
        Refusal::Busy | Refusal::Gap(_) | Refusal::UnknownSession => Advice::Again,
    }
}

fn announce(on_queued: &mut Option<oneshot::Sender<()>>) {
    if let Some(on_queued) = on_queued.take() {
        // Whoever asked may not care.
        let _ = on_queued.send(());
    }
}
