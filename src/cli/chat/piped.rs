//! A pipe in the room: lines from standard input, decided lines to standard output.
//!
//! It is read as fast as the cluster takes it, with as many requests on their way as the client
//! library allows; then reading pauses. Nothing waits in silence: when nothing is acknowledged for
//! a while this says so on standard error, once, and once more when it goes on. And nothing waits
//! for ever: `--wait` runs from the last acknowledgement (or the first message after it), whether
//! or not the input has ended.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::ChatArgs;
use super::standing::clock;
use crate::cli::exit::{Failure, Status};
use crate::client::{Client, Error, Page, Reply, Ticket};
use crate::paxos::Slot;

/// Whoever reads the log from its end waits so long for a first answer from the cluster.
const FIRST_WORD: Duration = Duration::from_millis(1500);

/// Nothing acknowledged for so long is worth a word.
const QUIET: Duration = Duration::from_secs(2);

pub(super) async fn run(
    args: &ChatArgs,
    client: Client,
    pages: mpsc::Receiver<Page>,
) -> Result<(), Failure> {
    let out = Out { seen: Slot(0), for_terminal: io::stdout().is_terminal() };
    let open = Open::new(*args.wait, args.follow, args.verbose);
    let input = BufReader::new(tokio::io::stdin());
    let is_typed = io::stdin().is_terminal();
    let mut pipe = Pipe { client, name: &args.name, pages, input, is_typed, out, open };
    pipe.talk().await?;
    if args.follow { pipe.follow().await } else { pipe.finish().await }
}

struct Pipe<'a> {
    client: Client,
    name: &'a str,
    pages: mpsc::Receiver<Page>,
    input: BufReader<Stdin>,
    /// A terminal's lines; empty ones are not meant.
    is_typed: bool,
    out: Out,
    open: Open,
}

impl Pipe<'_> {
    /// Sends what stands on standard input, and prints what is decided, until the input ends.
    async fn talk(&mut self) -> Result<(), Failure> {
        let mut line = Vec::new();
        loop {
            tokio::select! {
                read = self.input.read_until(b'\n', &mut line) => {
                    if read.map_err(|error| Failure::system(&error))? == 0 {
                        return Ok(());
                    }
                    while matches!(line.last(), Some(b'\n' | b'\r')) {
                        line.pop();
                    }
                    if !(self.is_typed && line.is_empty()) {
                        self.send(&line).await?;
                    }
                    line.clear();
                }
                Some(page) = self.pages.recv() => self.out.print(&page)?,
                event = self.open.next() => self.open.take(event)?,
            }
        }
    }

    async fn send(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.open.is_reading_paused = true;
        let submit = self.client.submit(super::message(self.name, text));
        tokio::pin!(submit);
        // While too many are unanswered, go on printing.
        loop {
            tokio::select! {
                ticket = &mut submit => {
                    let ticket = ticket.map_err(|error| Failure::new(Status::Usage, error))?;
                    self.open.add(ticket);
                    return Ok(());
                }
                Some(page) = self.pages.recv() => self.out.print(&page)?,
                event = self.open.next() => self.open.take(event)?,
            }
        }
    }

    /// Waits until all is decided and printed.
    async fn finish(&mut self) -> Result<(), Failure> {
        while !self.open.is_empty() {
            tokio::select! {
                Some(page) = self.pages.recv() => self.out.print(&page)?,
                event = self.open.next() => self.open.take(event)?,
            }
        }
        // Own messages must show; without any, what is there comes in one go.
        let last = self.open.last;
        let patience = if last.is_some() { self.open.wait } else { FIRST_WORD };
        let until = Instant::now() + patience;
        while last.is_none_or(|last| self.out.seen <= last) {
            tokio::select! {
                Some(page) = self.pages.recv() => self.out.print(&page)?,
                () = sleep_until(until) => break,
            }
        }
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        loop {
            tokio::select! {
                Some(page) = self.pages.recv() => self.out.print(&page)?,
                event = self.open.next() => self.open.take(event)?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

struct Out {
    /// Every line below is printed.
    seen: Slot,
    for_terminal: bool,
}

impl Out {
    fn print(&mut self, page: &Page) -> Result<(), Failure> {
        self.seen = page.next;
        super::write_out(&super::lines(page, self.for_terminal))
    }
}

type Answered = Pin<Box<dyn Future<Output = (u64, Result<Reply, Error>)>>>;

/// What was sent and is not acknowledged.
struct Open {
    replies: FuturesOrdered<Answered>,
    /// One more is in hand, and not yet taken by the client library.
    is_reading_paused: bool,
    sent: usize,
    /// The slot of the last reply.
    last: Option<Slot>,
    /// The last time there was progress, or something to wait for began.
    since: (Instant, SystemTime),
    is_told: bool,
    wait: Duration,
    /// It waits for ever.
    follows: bool,
    verbose: bool,
}

/// What happens to what is open.
enum Event {
    Answered(u64, Result<Reply, Error>),
    Quiet,
    Late,
}

impl Open {
    fn new(wait: Duration, follows: bool, verbose: bool) -> Open {
        let replies = FuturesOrdered::new();
        let since = (Instant::now(), SystemTime::now());
        Open {
            replies,
            is_reading_paused: false,
            sent: 0,
            last: None,
            since,
            is_told: false,
            wait,
            follows,
            verbose,
        }
    }

    fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    fn add(&mut self, ticket: Ticket) {
        if self.is_empty() {
            self.since = (Instant::now(), SystemTime::now());
        }
        self.sent += 1;
        self.is_reading_paused = false;
        let number = ticket.number;
        self.replies.push_back(Box::pin(async move { (number, ticket.reply().await) }));
    }

    /// Waits for the next event; for ever, if nothing is open. Safe to abandon.
    async fn next(&mut self) -> Event {
        if self.is_empty() {
            return std::future::pending().await;
        }
        let (quiet_at, late_at) = (self.since.0 + QUIET, self.since.0 + self.wait);
        tokio::select! {
            biased;
            Some((number, reply)) = self.replies.next() => Event::Answered(number, reply),
            () = sleep_until(late_at), if !self.follows => Event::Late,
            () = sleep_until(quiet_at), if !self.is_told => Event::Quiet,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let in_hand = usize::from(self.is_reading_paused);
        let (open, sent) = (self.replies.len() + in_hand, self.sent + in_hand);
        match event {
            Event::Answered(number, reply) => self.on_reply(number, reply),
            Event::Quiet => {
                self.is_told = true;
                let at = clock(self.since.1);
                let paused = if self.is_reading_paused { "; reading has paused" } else { "" };
                tell(&format!("no quorum since {at}: {open} of {sent} undecided{paused}"));
                Ok(())
            }
            Event::Late => {
                let line = format!("no quorum: {open} of {sent} messages undecided");
                Err(Failure::new(Status::Unavailable, line))
            }
        }
    }

    fn on_reply(&mut self, number: u64, reply: Result<Reply, Error>) -> Result<(), Failure> {
        let reply = reply.map_err(|error| Failure::new(Status::Unavailable, error))?;
        self.last = self.last.max(Some(reply.slot));
        if self.is_told {
            let silent = self.since.0.elapsed().as_secs_f64();
            tell(&format!("a quorum again, after {silent:.1} s"));
        }
        self.is_told = false;
        self.since = (Instant::now(), SystemTime::now());
        if self.verbose {
            tell(&format!("#{number} decided in slot {}", reply.slot));
        }
        Ok(())
    }
}

/// Says something on standard error, where the log is not.
fn tell(line: &str) {
    // If it is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "indelible: {line}");
}
