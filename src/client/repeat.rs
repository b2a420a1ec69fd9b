//! When something unanswered is said again. No clock: it is told the time.
//!
//! A connection that stands is no proof that anything arrives: a leader may have lost what it was
//! told with its office, and a process may lose messages above TCP (`wire::drop`). So all that is
//! unanswered is said again, first after a few times what an answer usually takes. Who was unlucky
//! a few times tries on at that pace; after that each wait is twice as long as the one before: who
//! waits for a quorum, or behind a hole, must not be a load on those who work.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest and the longest wait.
pub(super) const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How many waits are as short as the first.
const EVEN: u32 = 3;

/// How many times the usual an answer may take at first.
const USUAL_TIMES: u32 = 4;

/// The weight of what is known already, against one of each new measurement.
const MEMORY: u32 = 7;

/// The wait after so many in vain: the first few alike, then each twice as long as the one before.
pub(super) fn wait(first: Duration, longest: Duration, in_vain: u32) -> Duration {
    let doublings = in_vain.saturating_add(1).saturating_sub(EVEN);
    first.saturating_mul(2u32.saturating_pow(doublings)).min(longest)
}

/// How long answers usually take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    usual: Duration,
}

impl Pace {
    /// Something was answered. Only what was said once tells how long that took (Karn).
    pub(super) fn on_answer(&mut self, said: &Repeat, now: Instant) {
        if said.times == 1 {
            // What waited for a quorum, for minutes perhaps, tells nothing about the next one.
            let took = now.saturating_duration_since(said.said_at).min(WAIT.1);
            self.usual = (self.usual * MEMORY + took) / (MEMORY + 1);
        }
    }

    fn first_wait(self) -> Duration {
        (self.usual * USUAL_TIMES).clamp(WAIT.0, WAIT.1)
    }
}

/// One thing that was said, until it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    first_said: Instant,
    said_at: Instant,
    times: u32,
    first_wait: Duration,
    waits_in_vain: u32,
}

impl Repeat {
    /// It was just said for the first time.
    pub(super) fn new(pace: Pace, now: Instant) -> Repeat {
        let first_wait = pace.first_wait();
        Repeat { first_said: now, said_at: now, times: 1, first_wait, waits_in_vain: 0 }
    }

    /// When it was said for the first time.
    pub(super) fn first_said(&self) -> Instant {
        self.first_said
    }

    /// Whether it was said more than once.
    pub(super) fn is_repeated(&self) -> bool {
        self.times > 1
    }

    /// Whether it is to be said again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.said_at + wait(self.first_wait, WAIT.1, self.waits_in_vain)
    }

    /// It was said again, since nothing came.
    pub(super) fn on_late(&mut self, now: Instant) {
        self.on_said(now);
        self.waits_in_vain = self.waits_in_vain.saturating_add(1);
    }

    /// Somebody else listens from now on: nothing was in vain yet.
    pub(super) fn on_news(&mut self) {
        self.waits_in_vain = 0;
    }

    /// It was said again for another reason.
    pub(super) fn on_said(&mut self, now: Instant) {
        self.said_at = now;
        self.times = self.times.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug that turns it red: a wait that does not grow, or without a bound.
    #[test]
    fn waits_grow_up_to_a_second() {
        let start = Instant::now();
        let mut repeat = Repeat::new(Pace::default(), start);
        let mut said = Vec::new();
        for ms in 0..5000 {
            let now = start + Duration::from_millis(ms);
            if repeat.is_due(now) {
                repeat.on_late(now);
                said.push(ms);
            }
        }
        assert_eq!(said, [100, 200, 300, 500, 900, 1700, 2700, 3700, 4700]);
    }

    /// Bug that turns it red: a client that comes to a new leader and waits as for the old one.
    #[test]
    fn who_is_new_is_asked_soon_again() {
        let now = Instant::now();
        let mut repeat = Repeat::new(Pace::default(), now);
        (0..9).for_each(|_| repeat.on_late(now));
        assert!(!repeat.is_due(now + Duration::from_millis(999)));
        repeat.on_news();
        assert!(repeat.is_due(now + Duration::from_millis(100)));
    }

    /// Bug that turns it red: a first wait that does not follow what answers take, or one that
    /// counts answers to what was said twice.
    #[test]
    fn who_is_slow_is_asked_again_later() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let later = start + Duration::from_millis(200);
        for _ in 0..50 {
            pace.on_answer(&Repeat::new(pace, start), later);
        }
        let waits = pace.first_wait();
        assert!((780..=800).contains(&waits.as_millis()), "{waits:?}");
        let mut again = Repeat::new(pace, start);
        again.on_late(start);
        pace.on_answer(&again, start + Duration::from_secs(60));
        assert_eq!(pace.first_wait(), waits);
    }
}
