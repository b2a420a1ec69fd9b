//! A person in the room, at a terminal.
//!
//! One request is on its way at a time; what is typed meanwhile waits, and is said to wait. Own
//! lines show when they are decided, from the log and at their place, like all others. Without a
//! quorum this waits for as long as the person does, and says so; only once they have said that
//! there is no more to come (Ctrl-D) does `--wait` count.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::ChatArgs;
use super::standing::{Watch, count};
use super::terminal::{Terminal, Typed};
use super::views::{self, View};
use crate::cli::exit::{Failure, Status};
use crate::cli::harmless::harmless;
use crate::client::{Client, Error, Page, Reply, Standing};
use crate::cluster::Cluster;
use crate::paxos::Slot;

/// How often to look whether the status is worth a line.
const TICK: Duration = Duration::from_millis(100);

/// Lines that may wait: beyond that somebody pastes a book while there is no quorum.
const WAITING_MAX: usize = 10_000;

pub(super) async fn run(
    args: &ChatArgs,
    cluster: Cluster,
    client: Client,
    pages: mpsc::Receiver<Page>,
) -> Result<(), Failure> {
    let system = |error| Failure::system(&error);
    // Before the terminal changes hands: from here on no signal ends the process in between.
    let interrupted = signal(SignalKind::interrupt()).map_err(system)?;
    let terminated = signal(SignalKind::terminate()).map_err(system)?;
    let standing = client.standing();
    let (publish, view) = watch::channel(None);
    tokio::spawn(views::watch(cluster, standing.clone(), publish));
    let terminal =
        Terminal::open(format!("{}> ", harmless(args.name.as_bytes()))).map_err(system)?;
    let sources = Sources { pages, standing, view, interrupted, terminated };
    let mut person = Person {
        args,
        client,
        terminal,
        watch: Watch::new(Instant::now()),
        waiting: VecDeque::new(),
        asked: None,
        own_last: None,
        seen: Slot(0),
        acknowledged_at: Instant::now(),
        is_leaving: false,
    };
    let talked = person.talk(sources).await;
    let open = person.undecided();
    let left = person.leave().await;
    // What went wrong says more than what is left of it.
    talked.and(if open == 0 { Ok(()) } else { Err(left) })
}

/// Where news comes from, but for the terminal.
struct Sources {
    pages: mpsc::Receiver<Page>,
    standing: watch::Receiver<Standing>,
    view: watch::Receiver<View>,
    interrupted: Signal,
    terminated: Signal,
}

/// A request on its way.
struct Asked {
    number: u64,
    at: Instant,
    reply: Pin<Box<dyn Future<Output = Result<Reply, Error>>>>,
}

struct Person<'a> {
    args: &'a ChatArgs,
    client: Client,
    terminal: Terminal,
    watch: Watch,
    /// Typed, and not sent.
    waiting: VecDeque<String>,
    asked: Option<Asked>,
    /// The slot of the last own line.
    own_last: Option<Slot>,
    /// Every line below is handed to the terminal.
    seen: Slot,
    /// The last acknowledgement, or when there was something to wait for.
    acknowledged_at: Instant,
    /// No more will be typed; all that is undecided is waited for.
    is_leaving: bool,
}

impl Person<'_> {
    async fn talk(&mut self, mut from: Sources) -> Result<(), Failure> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_done() {
            let place = self.terminal.place();
            let paging = async { Some((place.await?, from.pages.recv().await?)) };
            tokio::select! {
                typed = self.terminal.next() => match typed {
                    Typed::Line(text) => self.on_line(text).await,
                    Typed::Garbled => self.terminal.say("-- not taken: it is not UTF-8").await,
                    Typed::End => self.on_end().await,
                    Typed::Left => return Ok(()),
                },
                Some((place, page)) = paging => {
                    self.seen = page.next;
                    let lines = super::lines(&page, true);
                    if !lines.is_empty() {
                        place.send(String::from_utf8_lossy(&lines).into_owned());
                    }
                }
                reply = answered(&mut self.asked) => self.on_reply(reply).await?,
                Ok(()) = from.standing.changed() => {
                    let now = *from.standing.borrow_and_update();
                    self.watch.on_standing(now.connected, now.leader, Instant::now());
                }
                Ok(()) = from.view.changed() => self.watch.on_view(*from.view.borrow_and_update()),
                _ = tick.tick() => self.on_tick().await?,
                _ = from.interrupted.recv() => return Ok(()),
                _ = from.terminated.recv() => return Ok(()),
            }
        }
        Ok(())
    }

    fn undecided(&self) -> usize {
        self.waiting.len() + usize::from(self.asked.is_some())
    }

    /// Whether a person who has no more to say has also seen all of it decided.
    fn is_done(&self) -> bool {
        let all_seen = self.own_last.is_none_or(|last| self.seen > last);
        self.is_leaving && !self.args.follow && self.undecided() == 0 && all_seen
    }

    async fn on_line(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        if self.undecided() == 0 {
            self.acknowledged_at = Instant::now();
        } else if self.waiting.len() >= WAITING_MAX {
            let line = format!("-- not taken, too many wait: {}", harmless(text.as_bytes()));
            return self.terminal.say(&line).await;
        } else {
            let (before, text) = (count(self.undecided()), harmless(text.as_bytes()));
            self.terminal.say(&format!("-- waits for {before} not yet decided: {text}")).await;
        }
        self.waiting.push_back(text);
        self.ask().await;
    }

    /// Sends the first line that waits, if none is on its way.
    async fn ask(&mut self) {
        while self.asked.is_none() {
            let Some(text) = self.waiting.pop_front() else { break };
            // It does not wait: nothing else is on its way.
            let ticket = self.client.submit(super::message(&self.args.name, text.as_bytes())).await;
            match ticket {
                Ok(ticket) => {
                    let (number, at) = (ticket.number, Instant::now());
                    self.asked = Some(Asked { number, at, reply: Box::pin(ticket.reply()) });
                    if self.args.verbose {
                        self.terminal.say(&format!("-- #{number} sent")).await;
                    }
                }
                Err(error) => self.terminal.say(&format!("-- not taken: {error}")).await,
            }
        }
        self.watch.on_unanswered(self.asked.as_ref().map(|asked| asked.at));
    }

    async fn on_reply(&mut self, reply: Result<Reply, Error>) -> Result<(), Failure> {
        let reply = reply.map_err(|error| Failure::new(Status::Unavailable, error))?;
        self.acknowledged_at = Instant::now();
        self.own_last = self.own_last.max(Some(reply.slot));
        if let Some(asked) = self.asked.take()
            && self.args.verbose
        {
            let line = format!("-- #{} decided in slot {}", asked.number, reply.slot);
            self.terminal.say(&line).await;
        }
        self.ask().await;
        Ok(())
    }

    async fn on_end(&mut self) {
        self.is_leaving = true;
        self.acknowledged_at = Instant::now();
        let undecided = self.undecided();
        if undecided > 0 {
            let lines = count(undecided);
            let line = format!("-- {lines} not yet decided: waiting; Ctrl-C leaves at once");
            self.terminal.say(&line).await;
        }
    }

    async fn on_tick(&mut self) -> Result<(), Failure> {
        let undecided = self.undecided();
        if let Some(line) = self.watch.news(undecided, Instant::now(), SystemTime::now()) {
            self.terminal.say(&line).await;
        }
        let silent = self.acknowledged_at.elapsed();
        if self.is_leaving && !self.args.follow && undecided > 0 && silent >= *self.args.wait {
            return Err(self.left());
        }
        Ok(())
    }

    /// The word on what is undecided.
    fn left(&self) -> Failure {
        let waiting = self.waiting.len();
        let mut line = format!("left with {} not decided", count(self.undecided()));
        if self.asked.is_some() {
            line += ": 1 was sent and may yet be";
        }
        if waiting > 0 {
            line += if self.asked.is_some() { ", " } else { ": " };
            line += &format!("{waiting} never sent");
        }
        Failure::new(Status::Unavailable, line)
    }

    async fn leave(self) -> Failure {
        let left = self.left();
        self.terminal.close("-- left the room").await;
        left
    }
}

/// The reply to what is on its way; never comes, if nothing is. Safe to abandon.
async fn answered(asked: &mut Option<Asked>) -> Result<Reply, Error> {
    match asked {
        Some(asked) => asked.reply.as_mut().await,
        None => std::future::pending().await,
    }
}
