//! The feed: the archive as it streams in, each entry handed on once and in order.
//!
//! Pages are not acknowledged. That one was lost shows by a gap before the next, by a reply from a
//! slot that was not shown yet, or, if it was the last and somebody else's, only by asking: so a
//! feed that stands still asks now and then. Whatever pages arrive, the cursor decides.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::Page;
use super::repeat::{WAIT, wait};
use crate::paxos::Slot;
use crate::wire::client::{Entry, ToNode};

/// A subscription to the archive.
#[derive(Debug)]
pub(super) struct Feed {
    pages: mpsc::Sender<Page>,
    /// The first slot that was not handed on.
    cursor: Slot,
    /// There was no room for a page: the stream must begin again at the cursor.
    is_paused: bool,
    /// Entries up to here are known to exist.
    known: Slot,
    /// When the stream was asked for, or moved.
    moved_at: Instant,
    /// How often it was asked for in vain, if something is known to come, or may well.
    hurry: Option<u32>,
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was handed on, or is of no use now.
    Well,
    /// It makes no sense.
    Absurd,
    /// Nobody wants pages any more.
    Unwanted,
}

impl Feed {
    /// A feed from `cursor` on, into `pages`.
    pub(super) fn new(pages: mpsc::Sender<Page>, cursor: Slot, now: Instant) -> Feed {
        Feed { pages, cursor, is_paused: false, known: cursor, moved_at: now, hurry: Some(0) }
    }

    /// What to say to a node that has not heard of it.
    pub(super) fn begin(&mut self, now: Instant) -> ToNode {
        self.hurry = Some(0);
        self.ask(now)
    }

    /// There are entries up to `next`, which are to be shown before long.
    pub(super) fn expect(&mut self, next: Slot, now: Instant) {
        if self.known <= self.cursor && self.cursor < next {
            self.moved_at = now;
            self.hurry = Some(0);
        }
        self.known = self.known.max(next);
    }

    /// What to say if it has room again, or stands still.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<ToNode> {
        if self.is_paused {
            return (self.pages.capacity() > 0).then(|| self.ask(now));
        }
        let patience = self.hurry.map_or(WAIT.1, |in_vain| wait(WAIT.0, WAIT.1, in_vain));
        (now >= self.moved_at + patience).then(|| {
            self.hurry = self.hurry.map(|in_vain| in_vain.saturating_add(1));
            self.ask(now)
        })
    }

    /// Hands on what is new in a page of all entries in `first..next`.
    pub(super) fn take(
        &mut self,
        first: Slot,
        next: Slot,
        entries: Vec<Entry>,
        now: Instant,
    ) -> Taken {
        if first > self.cursor {
            // A page before it was lost, or found no room here.
            self.expect(next, now);
            return Taken::Well;
        }
        if next <= self.cursor {
            return Taken::Well;
        }
        let ascending = entries.windows(2).all(|pair| pair[0].slot < pair[1].slot);
        let inside = entries.iter().all(|entry| first <= entry.slot && entry.slot < next);
        if !ascending || !inside {
            return Taken::Absurd;
        }
        let cursor = self.cursor;
        let unseen = entries.into_iter().filter(|entry| entry.slot >= cursor).collect();
        match self.pages.try_send(Page { first: cursor, next, entries: unseen }) {
            Ok(()) => self.on_moved(next, now),
            Err(TrySendError::Full(_)) => self.is_paused = true,
            Err(TrySendError::Closed(_)) => return Taken::Unwanted,
        }
        Taken::Well
    }

    /// If no entries are known to follow, there is no hurry.
    fn on_moved(&mut self, next: Slot, now: Instant) {
        self.cursor = next;
        self.moved_at = now;
        self.hurry = (self.cursor < self.known).then_some(0);
    }

    /// Asks for the stream from the cursor on.
    fn ask(&mut self, now: Instant) -> ToNode {
        self.is_paused = false;
        self.moved_at = now;
        ToNode::Subscribe { from: self.cursor }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Rig {
        feed: Feed,
        pages: mpsc::Receiver<Page>,
        start: Instant,
    }

    impl Rig {
        /// A feed that has begun, with room for so many pages.
        fn new(room: usize) -> Rig {
            let (sender, pages) = mpsc::channel(room);
            let start = Instant::now();
            let mut feed = Feed::new(sender, Slot(0), start);
            assert_eq!(feed.begin(start), ToNode::Subscribe { from: Slot(0) });
            Rig { feed, pages, start }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn take(&mut self, ms: u64, first: u64, next: u64, slots: &[u64]) -> Taken {
            let entry = |slot: &u64| Entry { slot: Slot(*slot), body: bytes::Bytes::new() };
            let (entries, now) = (slots.iter().map(entry).collect(), self.at(ms));
            self.feed.take(Slot(first), Slot(next), entries, now)
        }

        /// Where it asks for the stream to begin, if it does.
        fn asks(&mut self, ms: u64) -> Option<u64> {
            let said = self.feed.overdue(self.at(ms))?;
            let ToNode::Subscribe { from } = said else { panic!("{said:?}") };
            Some(from.0)
        }

        /// The slots of the next page.
        fn page(&mut self) -> Vec<u64> {
            let page = self.pages.try_recv().expect("a page");
            page.entries.iter().map(|entry| entry.slot.0).collect()
        }
    }

    #[test]
    fn entries_are_handed_on_once_and_in_order() {
        let mut rig = Rig::new(8);
        rig.take(0, 0, 4, &[0, 1, 3]);
        // A new connection begins again at the cursor, or before it.
        let now = rig.at(1);
        assert_eq!(rig.feed.begin(now), ToNode::Subscribe { from: Slot(4) });
        rig.take(1, 2, 6, &[3, 5]);
        rig.take(1, 4, 6, &[5]);
        assert_eq!((rig.page(), rig.page()), (vec![0, 1, 3], vec![5]));
        rig.pages.try_recv().expect_err("nothing twice");
        assert_eq!(rig.take(1, 6, 9, &[8, 7]), Taken::Absurd);
        assert_eq!(rig.take(1, 6, 8, &[9]), Taken::Absurd);
    }

    #[test]
    fn a_slow_subscriber_pauses_the_stream_and_misses_nothing() {
        let mut rig = Rig::new(1);
        rig.take(0, 0, 1, &[0]);
        rig.take(0, 1, 2, &[1]);
        assert_eq!(rig.asks(5000), None, "still no room");
        assert_eq!(rig.take(0, 2, 3, &[2]), Taken::Well, "dropped, not a gap");
        assert_eq!(rig.page(), [0]);
        assert_eq!(rig.asks(0), Some(1));
        assert_eq!(rig.take(0, 3, 4, &[3]), Taken::Well, "of the stream before");
        rig.take(0, 1, 4, &[1, 2, 3]);
        assert_eq!(rig.page(), [1, 2, 3]);
        assert_eq!(rig.asks(0), None);
    }

    /// Bug that turns it red: to take a gap for a broken node, or to wait for the next page.
    #[test]
    fn a_lost_page_is_asked_for_again() {
        let mut rig = Rig::new(8);
        rig.take(0, 0, 2, &[0, 1]);
        assert_eq!(rig.take(10, 4, 6, &[4, 5]), Taken::Well, "slots 2 and 3 were lost");
        assert_eq!((rig.asks(50), rig.asks(110), rig.asks(150)), (None, Some(2), None));
        assert_eq!((rig.asks(209), rig.asks(210)), (None, Some(2)), "that was lost, too");
        rig.take(320, 2, 6, &[2, 3, 4, 5]);
        assert_eq!((rig.page(), rig.page()), (vec![0, 1], vec![2, 3, 4, 5]));
        assert_eq!((rig.asks(1310), rig.asks(1320)), (None, Some(6)), "the last may be lost, too");
    }

    /// Bug that turns it red: to wait a second for the page with one's own message.
    #[test]
    fn what_is_known_to_exist_is_asked_for_soon() {
        let mut rig = Rig::new(8);
        rig.take(0, 0, 2, &[0, 1]);
        let now = rig.at(900);
        rig.feed.expect(Slot(2), now);
        rig.feed.expect(Slot(5), now);
        assert_eq!((rig.asks(990), rig.asks(1000)), (None, Some(2)));
        rig.take(1001, 2, 3, &[2]);
        assert_eq!((rig.asks(1090), rig.asks(1101)), (None, Some(3)), "and there is more");
    }
}
