//! To get locks: at once or not at all, by asking again, or in the queue.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Error, Locker};
use crate::paxos::Slot;
use crate::services::lock::{Answer, Ask, By, Edge, Mode, Question, Refusal, Said, Told};

/// What to do while the locks cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it is now or not at all.
    Now,
    /// Ask again, after a random while that grows, and when the locks are told to be free; until
    /// then, or for ever.
    Again(Option<Instant>),
    /// Wait in the queue; until then, or for ever.
    Queue(Option<Instant>),
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This session holds all of them: each with its token, in the order asked.
    Granted(Vec<(Bytes, Slot)>),
    /// One of them is another's.
    Busy {
        /// Which.
        name: Bytes,
        /// Whose.
        by: By,
        /// Whether its time was up, rather than that nobody was to wait.
        timed_out: bool,
    },
    /// To wait would be to wait for oneself.
    Deadlock {
        /// Who waits for whom.
        cycle: Vec<Edge>,
        /// How many links are not shown, before the last.
        left_out: u64,
    },
    /// The request breaks a rule.
    Refused(Refusal),
}

/// The back-off: from no wait at all up to so long, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often one who waits in the queue asks whether its turn has come and it was not told.
const LOOK: Duration = Duration::from_secs(1);

impl Locker {
    /// Gets these locks, all or none, or says why not.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn lock(&mut self, names: &[Bytes], want: Want) -> Result<Outcome, Error> {
        match want {
            Want::Now => settled(self.ask_for(names, Mode::Now).await?.1),
            Want::Again(until) => self.lock_again(names, until).await,
            Want::Queue(until) => self.lock_queued(names, until).await,
        }
    }

    /// What is said to a request for these, and the slot that it came in.
    async fn ask_for(&self, names: &[Bytes], mode: Mode) -> Result<(Slot, Said), Error> {
        let (names, label) = (names.to_vec(), self.terms.label.clone());
        self.ask(&Ask::Lock { names, label, mode }).await
    }

    /// Full jitter: any wait up to a bound that doubles. So many that wait for one lock do not ask
    /// in step, and one that is told that it is free asks at once.
    async fn lock_again(
        &mut self,
        names: &[Bytes],
        until: Option<Instant>,
    ) -> Result<Outcome, Error> {
        let mut bound = BACK_OFF.0;
        loop {
            let (_, said) = self.ask_for(names, Mode::Retry).await?;
            let Said::Busy { name, by } = said else { return settled(said) };
            let again = Instant::now() + bound.mul_f64(fastrand::f64());
            bound = (bound * 2).min(BACK_OFF.1);
            if until.is_some_and(|until| until <= again) {
                self.ask(&Ask::Cancel).await?;
                return Ok(Outcome::Busy { name, by, timed_out: true });
            }
            // Nothing told until then: ask all the same.
            let _ = timeout_at(again, self.told_free(names)).await;
        }
    }

    async fn told_free(&mut self, wanted: &[Bytes]) {
        loop {
            match self.ear.told().await {
                Told::Free { names } if names.iter().any(|name| wanted.contains(name)) => return,
                Told::Free { .. } | Told::Granted { .. } | Told::Broken { .. } => (),
            }
        }
    }

    async fn lock_queued(
        &mut self,
        names: &[Bytes],
        until: Option<Instant>,
    ) -> Result<Outcome, Error> {
        let (asked, said) = self.ask_for(names, Mode::Queue).await?;
        let Said::Queued { .. } = said else { return settled(said) };
        loop {
            let look = Instant::now() + LOOK;
            let wake = until.map_or(look, |until| until.min(look));
            tokio::select! {
                told = self.ear.told() => {
                    if let Told::Granted { tokens } = told && answers(&tokens, names, asked) {
                        return Ok(Outcome::Granted(tokens));
                    }
                }
                () = sleep_until(wake) => {
                    if let Some(tokens) = self.granted(names).await? {
                        return Ok(Outcome::Granted(tokens));
                    }
                }
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return self.leave_queue(names).await;
            }
        }
    }

    /// Its time is up; unless its turn comes just now.
    async fn leave_queue(&self, names: &[Bytes]) -> Result<Outcome, Error> {
        self.ask(&Ask::Cancel).await?;
        if let Some(tokens) = self.granted(names).await? {
            return Ok(Outcome::Granted(tokens));
        }
        let (_, said) = self.ask_for(names, Mode::Now).await?;
        let Said::Busy { name, by } = said else { return settled(said) };
        Ok(Outcome::Busy { name, by, timed_out: true })
    }

    /// The tokens of these locks, if this session holds all of them.
    async fn granted(&self, names: &[Bytes]) -> Result<Option<Vec<(Bytes, Slot)>>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let mine = Question::Mine { session: self.id, after };
            let Answer::Mine { held, next, .. } = self.question(&mine).await? else {
                return Err(Error::Foreign);
            };
            all.extend(held);
            after = next;
            if after.is_none() {
                break;
            }
        }
        let token = |name: &Bytes| all.iter().find(|(held, _)| held == name).cloned();
        Ok(names.iter().map(token).collect())
    }
}

/// Whether these tokens answer the request for those locks that came in that slot. What was granted
/// before it has a lower one: a notice may come late, from a node that lags or from where it waited
/// to be looked at, when all was given back long ago.
fn answers(tokens: &[(Bytes, Slot)], names: &[Bytes], asked: Slot) -> bool {
    names.iter().all(|name| tokens.iter().any(|(held, _)| held == name))
        && tokens.iter().any(|(_, token)| *token > asked)
}

/// The outcome of an answer that leaves nothing to wait for.
fn settled(said: Said) -> Result<Outcome, Error> {
    match said {
        Said::Granted { tokens } => Ok(Outcome::Granted(tokens)),
        Said::Deadlock { cycle, left_out } => Ok(Outcome::Deadlock { cycle, left_out }),
        Said::Refused(refusal) => Ok(Outcome::Refused(refusal)),
        Said::Busy { name, by } => Ok(Outcome::Busy { name, by, timed_out: false }),
        Said::Queued { .. }
        | Said::Pending
        | Said::Unlocked
        | Said::NotOwner { .. }
        | Said::Cancelled
        | Said::Idle
        | Said::Broken
        | Said::Unreadable => Err(Error::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: a notice of an earlier grant that is taken for this one's; one for
    /// some of the locks; one that is not taken since a lock was held before.
    #[test]
    fn a_late_notice_grants_nothing() {
        let [a, b] = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let names = [a.clone(), b.clone()];
        let told = |one, other| [(a.clone(), Slot(one)), (b.clone(), Slot(other))];
        assert!(answers(&told(9, 9), &names, Slot(7)));
        assert!(answers(&told(3, 9), &names, Slot(7)), "one was held already");
        assert!(!answers(&told(3, 5), &names, Slot(7)), "granted before, and given back");
        assert!(!answers(&told(9, 9)[..1], &names, Slot(7)));
    }
}
