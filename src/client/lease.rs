//! The lease of a session, from the client's side: until when nobody ends it. Told the time.
//!
//! The servers count from a moment that is later than when the answered keep-alive was *sent*; so
//! here it is counted from then, and what is believed here ends first, as long as the clocks of the
//! two run alike. Whoever acts on a lease leaves a margin for those that do not.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::client::ToNode;

/// What a client knows of its session's lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lease {
    /// The session lives for ever, or nothing was answered yet.
    #[default]
    None,
    /// Nobody ends the session before.
    Until(Instant),
    /// The session is over: none of its requests will be applied any more.
    Over,
}

/// Keep-alives sent in a time to live, if each is answered.
const KEEP_ALIVES: u32 = 4;

/// How soon what was not taken is said again, and the end of a session that is not answered: who is
/// new in office takes neither for a moment, and may not be there for long.
const SOON: Duration = Duration::from_millis(100);

/// So many unanswered keep-alives are remembered.
const ASKED_MAX: usize = 64;

/// How the lease is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    ttl: Duration,
    lease: Lease,
    /// When the unanswered keep-alives were sent, by their ids.
    asked: BTreeMap<u64, Instant>,
    last: u64,
    due: Option<Instant>,
    /// The client said that the session is over, and waits to hear it.
    is_ending: bool,
}

impl Keeper {
    /// Of a session with this time to live; zero is for ever.
    pub(super) fn new(ttl: Duration) -> Keeper {
        let (lease, asked) = (Lease::None, BTreeMap::new());
        Keeper { ttl, lease, asked, last: 0, due: None, is_ending: false }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease
    }

    /// Whether the session can still be ended by silence, or is to end.
    fn is_kept(&self) -> bool {
        !self.ttl.is_zero() && self.lease != Lease::Over
    }

    /// A request of the session was applied, which was first said then.
    pub(super) fn on_applied(&mut self, said: Instant) {
        if self.is_kept() {
            self.extend(said);
        }
    }

    /// A keep-alive is answered. Whether that is news.
    pub(super) fn on_alive(&mut self, id: u64) -> bool {
        let Some(said) = self.asked.remove(&id).filter(|_| self.is_kept()) else { return false };
        self.asked = self.asked.split_off(&id);
        self.extend(said);
        true
    }

    fn extend(&mut self, said: Instant) {
        let until = said + self.ttl;
        let held = match self.lease {
            Lease::Until(held) => held,
            Lease::None | Lease::Over => until,
        };
        self.lease = Lease::Until(held.max(until));
        let next = said + self.ttl / KEEP_ALIVES;
        self.due = Some(self.due.map_or(next, |due| due.max(next)));
    }

    /// The session is over.
    pub(super) fn on_over(&mut self) {
        self.lease = Lease::Over;
        self.asked.clear();
        self.is_ending = false;
    }

    /// The node does not take it yet.
    pub(super) fn on_busy(&mut self, now: Instant) {
        self.due = self.due.map(|due| due.min(now + SOON));
    }

    /// The client says that the session is over: what to say now.
    pub(super) fn end(&mut self, now: Instant) -> Option<ToNode> {
        self.is_ending = true;
        self.due = Some(now);
        self.overdue(now)
    }

    /// What is due to be said.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<ToNode> {
        self.due.filter(|due| *due <= now).and_then(|_| self.ask(now))
    }

    /// What a node that knows nothing of us must hear.
    pub(super) fn introduce(&mut self, now: Instant) -> Option<ToNode> {
        self.due.and_then(|_| self.ask(now))
    }

    /// The next keep-alive; again soon, if it is not answered.
    fn ask(&mut self, now: Instant) -> Option<ToNode> {
        if !self.is_kept() {
            return None;
        }
        let again = self.ttl / KEEP_ALIVES / 2;
        if self.is_ending {
            self.due = Some(now + again.min(SOON));
            return Some(ToNode::End);
        }
        self.due = Some(now + again);
        self.last += 1;
        self.asked.insert(self.last, now);
        if self.asked.len() > ASKED_MAX {
            self.asked.pop_first();
        }
        Some(ToNode::KeepAlive { id: self.last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_millis(800);

    fn asked(said: Option<ToNode>) -> u64 {
        match said {
            Some(ToNode::KeepAlive { id }) => id,
            said => panic!("a keep-alive is due, not {said:?}"),
        }
    }

    /// Bugs that turn it red: a lease counted from when the answer came, or from the latest
    /// keep-alive; one that an older answer shortens; keep-alives before there is a session.
    #[test]
    fn it_is_counted_from_when_the_answered_keep_alive_was_sent() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut keeper = Keeper::new(TTL);
        assert_eq!((keeper.overdue(at(900)), keeper.introduce(at(900))), (None, None));
        keeper.on_applied(start);
        assert_eq!(keeper.lease(), Lease::Until(at(800)));
        assert_eq!(keeper.overdue(at(199)), None);
        let first = asked(keeper.overdue(at(200)));
        assert_eq!(keeper.overdue(at(299)), None);
        let second = asked(keeper.overdue(at(300)));
        assert!(keeper.on_alive(first));
        assert_eq!(keeper.lease(), Lease::Until(at(1000)));
        assert!(keeper.on_alive(second));
        assert!(!keeper.on_alive(second), "once");
        keeper.on_applied(at(100));
        assert_eq!(keeper.lease(), Lease::Until(at(1100)));
    }

    /// Bugs that turn it red: what a node did not take yet waits for its usual time; or nothing was
    /// to be said, and is.
    #[test]
    fn what_was_not_taken_is_said_again_soon() {
        let start = Instant::now();
        let mut keeper = Keeper::new(TTL * 100);
        keeper.on_busy(start);
        assert_eq!(keeper.overdue(start + TTL), None);
        keeper.on_applied(start);
        let asked_at = start + TTL * 25;
        asked(keeper.overdue(asked_at));
        assert_eq!(keeper.overdue(asked_at + SOON), None);
        keeper.on_busy(asked_at);
        asked(keeper.overdue(asked_at + SOON));
    }

    /// Bugs that turn it red: a session that comes back to life; an end that is said once only, or
    /// as seldom as a keep-alive; a session for ever that is kept alive.
    #[test]
    fn what_is_over_stays_over() {
        let start = Instant::now();
        let mut keeper = Keeper::new(TTL);
        keeper.on_applied(start);
        let id = asked(keeper.overdue(start + TTL));
        assert_eq!(keeper.end(start + TTL), Some(ToNode::End));
        assert_eq!(keeper.overdue(start + TTL), None);
        assert_eq!(keeper.overdue(start + TTL + SOON), Some(ToNode::End));
        keeper.on_over();
        keeper.on_applied(start + TTL);
        assert!(!keeper.on_alive(id));
        assert_eq!((keeper.lease(), keeper.end(start + TTL)), (Lease::Over, None));
        let mut keeper = Keeper::new(Duration::ZERO);
        keeper.on_applied(start);
        assert_eq!((keeper.lease(), keeper.overdue(start + TTL)), (Lease::None, None));
    }
}
