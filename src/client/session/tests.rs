//! What a session says, hears and advises.

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
        let notices = broadcast::Sender::new(8);
        let session = Session::new(ClientId(7), Duration::ZERO, false, notices);
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
            | ToNode::Post(_)
            | ToNode::KeepAlive { .. }
            | ToNode::Lease { .. }
            | ToNode::End
            | ToNode::Guests { .. }
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
    rig.session.ask(Asked::Machine(Bytes::new(), on_answer), start);
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
