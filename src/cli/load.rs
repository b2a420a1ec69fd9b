//! Load: clients that each wait for the answer before they ask again, and what they measured.
//!
//! What they ask for is that a message be said; or that a lock of their own be theirs, and then
//! free again. A closed loop: a client has one request on its way, sends the next as soon as the
//! reply is in, and gives up when a reply takes too long. How much there is to do is either a
//! number of messages, which the clients share, or a stretch of time. Latency is what a user sees:
//! from handing the request to the client library to its reply, over every connection and leader
//! in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exit::{Failure, Status};
use crate::client::Client;
use crate::services::chat::Message;
use crate::services::lock::{Ask, Mode, Said, Word};

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// How many clients.
    pub(super) clients: usize,
    /// Under which name they speak.
    pub(super) name: Bytes,
    /// What they ask for.
    pub(super) work: Work,
    /// How much.
    pub(super) amount: Amount,
}

/// What a client asks for again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// That a message with so many bytes of text be said.
    Say(usize),
    /// That its lock be its own, and then free again: one after the other, counted as one.
    Lock,
}

/// How much is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// So many messages, by all clients together; a client whose reply takes longer than `patience`
    /// gives up.
    Messages {
        /// How many.
        count: u64,
        /// How long one reply may take.
        patience: Duration,
    },
    /// For so long, after a time that does not count.
    Time {
        /// Not counted.
        warm_up: Duration,
        /// Counted.
        measure: Duration,
    },
}

/// What one client, or all together, did.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Messages handed to the client library.
    pub(super) sent: u64,
    /// Messages whose reply came, and counts.
    pub(super) acknowledged: u64,
    /// Messages that had to be said more than once.
    pub(super) retried: u64,
    /// From the first message to the last reply.
    pub(super) took: Duration,
    latency_us: Histogram<u64>,
}

/// Latencies are told to three digits, up to a minute.
const LATENCY_MAX_US: u64 = 60_000_000;

/// The quantiles that are told, and how they are called.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Does it, with clients that `open` makes; `bar` goes on by one for each reply.
///
/// # Errors
///
/// If a client panicked.
pub(super) async fn run(
    load: &Load,
    bar: &ProgressBar,
    open: impl Fn() -> Client,
) -> Result<Tally, Failure> {
    let drawn = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut loops = JoinSet::new();
    for client in 0..load.clients {
        let name = Bytes::from(client.to_string());
        let (load, bar, drawn) = (load.clone(), bar.clone(), Arc::clone(&drawn));
        loops.spawn(Loop { client: open(), name, load, bar, drawn, begun }.run());
    }
    let mut all = Tally::new();
    while let Some(one) = loops.join_next().await {
        all.add(&one.map_err(|error| Failure::new(Status::Internal, error))?);
    }
    all.took = begun.elapsed();
    Ok(all)
}

/// One client.
struct Loop {
    client: Client,
    /// Its lock.
    name: Bytes,
    load: Load,
    bar: ProgressBar,
    /// Messages that were drawn, by all clients.
    drawn: Arc<AtomicU64>,
    begun: Instant,
}

impl Loop {
    async fn run(self) -> Tally {
        let mut tally = Tally::new();
        while let Some((number, patience)) = self.draw() {
            let asked = Instant::now();
            tally.sent += 1;
            // Without a reply in time there is nothing to go on with.
            let Ok(Some(())) = timeout(patience, self.ask(number)).await else { break };
            if self.counts(asked) {
                tally.acknowledged += 1;
                tally.latency_us.saturating_record(asked.elapsed().as_micros() as u64);
            }
            self.bar.inc(1);
        }
        tally.retried = self.client.standing().borrow().retried;
        tally
    }

    /// The number of the next message, and how long its reply may take.
    fn draw(&self) -> Option<(u64, Duration)> {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        match self.load.amount {
            Amount::Messages { count, patience } => (number < count).then_some((number, patience)),
            Amount::Time { warm_up, measure } => {
                let left = (warm_up + measure).checked_sub(self.begun.elapsed())?;
                Some((number, left))
            }
        }
    }

    fn counts(&self, asked: Instant) -> bool {
        match self.load.amount {
            Amount::Messages { .. } => true,
            Amount::Time { warm_up, .. } => asked.duration_since(self.begun) >= warm_up,
        }
    }

    /// Asks once, and waits for the answer; `None` if it is not the one that belongs to it.
    async fn ask(&self, number: u64) -> Option<()> {
        let Work::Say(size) = self.load.work else { return self.lock_and_unlock().await };
        self.client.submit(self.message(number, size)).await.ok()?.reply().await.ok().map(drop)
    }

    async fn lock_and_unlock(&self) -> Option<()> {
        let (name, label) = (self.name.clone(), self.load.name.clone());
        let lock = Ask::Lock { names: vec![name.clone()], label, mode: Mode::Now };
        let Said::Granted { tokens } = self.said(&lock).await? else { return None };
        let token = tokens.first().map(|(_, token)| *token);
        let unlock = Ask::Unlock { name, token, session: None };
        (self.said(&unlock).await? == Said::Unlocked).then_some(())
    }

    async fn said(&self, ask: &Ask) -> Option<Said> {
        let reply = self.client.submit(ask.encode()).await.ok()?.reply().await.ok()?;
        Said::decode(&reply.body?)
    }

    /// Each message is another, so that one that is decided twice can be seen in the log; but for
    /// sizes that are too small for a number.
    fn message(&self, number: u64, size: usize) -> Bytes {
        let mut text = format!("{number} ").into_bytes();
        text.resize(size, b'x');
        Message { sender: self.load.name.clone(), text: Bytes::from(text) }.encode()
    }
}

impl Tally {
    fn new() -> Tally {
        let latency_us = Histogram::new_with_max(LATENCY_MAX_US, 3).expect("sound bounds");
        Tally { sent: 0, acknowledged: 0, retried: 0, took: Duration::ZERO, latency_us }
    }

    fn add(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.retried += other.retried;
        self.latency_us.add(&other.latency_us).expect("all have the same bounds");
    }

    /// The percentiles of the latency, for people.
    pub(super) fn latency(&self) -> String {
        if self.latency_us.is_empty() {
            return "no latency to tell".to_owned();
        }
        let mut text = "latency in microseconds: ".to_owned();
        for (name, quantile) in QUANTILES {
            text += &format!("{name} {}, ", self.latency_us.value_at_quantile(quantile));
        }
        text + &format!("max {}", self.latency_us.max())
    }

    /// The same for scripts: added to `object`, which is one.
    pub(super) fn latency_into(&self, object: &mut Value) {
        for (name, quantile) in QUANTILES {
            object[format!("{name}_us")] = json!(self.latency_us.value_at_quantile(quantile));
        }
        object["max_us"] = json!(self.latency_us.max());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: a quantile beside its name; an `add` that forgets a count.
    #[test]
    fn tallies_add_up_and_tell_their_percentiles() {
        let mut all = Tally::new();
        assert_eq!(all.latency(), "no latency to tell");
        for part in [1..=500, 501..=1000] {
            let mut one = Tally { sent: 501, acknowledged: 500, retried: 3, ..Tally::new() };
            part.for_each(|us| one.latency_us.saturating_record(us));
            all.add(&one);
        }
        assert_eq!((all.sent, all.acknowledged, all.retried), (1002, 1000, 6));
        let told = "latency in microseconds: p50 500, p90 900, p99 990, p99.9 999, max 1000";
        assert_eq!(all.latency(), told);
        let mut object = json!({ "clients": 2 });
        all.latency_into(&mut object);
        assert_eq!(
            object.to_string(),
            r#"{"clients":2,"max_us":1000,"p50_us":500,"p90_us":900,"p99.9_us":999,"p99_us":990}"#
        );
    }
}
