//! The command that runs while the lock is held, and who watches over it.
//!
//! It must not outlive the lock. Three watches: the lease (SIGTERM when it runs low, SIGKILL before
//! it is over), what the service tells (an operator broke the lock), and the kernel's death signal,
//! if this process is killed. The last is set by the child itself, through a step in between of
//! this very program that then becomes the command: between fork and exec there is no safe Rust.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::exit::{Failure, Status};
use super::tell::Tell;
use crate::client::Lease;
use crate::local::tied;
use crate::locker::Locker;
use crate::paxos::Slot;
use crate::services::lock::{Answer, Question, Told};

/// Becomes a command that dies with its parent.
#[derive(clap::Args)]
pub(crate) struct TiedArgs {
    /// The process that it dies with
    #[arg(long, env = "INDELIBLE_TIED", value_name = "PID")]
    parent: u32,
    /// What to become
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Where the command finds its token.
const TOKEN_VARIABLE: &str = "INDELIBLE_LOCK_TOKEN";

/// Of the time to live, in tenths: with less left the command is asked to end, and is killed.
const TENTHS_LEFT: (u32, u32) = (4, 1);

/// How long a command has that is to end as the lock was broken.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the end of a session whose lock was lost.
const FAREWELL: Duration = Duration::from_millis(500);

/// How often, in a time to live, the service is asked whether the lock is still held: that it was
/// broken is told, but may get lost.
const LOOKS: u32 = 2;

/// As shells have it: a command that is not found, and one that cannot be run.
const STATUS_NOT_FOUND: u8 = 127;
const STATUS_NOT_RUN: u8 = 126;

pub(crate) fn run_tied(args: TiedArgs) -> Result<(), Failure> {
    tied::die_with(args.parent).map_err(|error| Failure::system(&error))?;
    let Some((program, rest)) = args.command.split_first() else { return Ok(()) };
    let error = std::process::Command::new(program).args(rest).exec();
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    let code = if is_missing { STATUS_NOT_FOUND } else { STATUS_NOT_RUN };
    let line = format!("cannot run {}: {error}", program.to_string_lossy());
    Err(Failure::new(Status::Usage, line).with_code(code))
}

/// Resolves when a person or the system asks this process to end, before there is a command.
pub(crate) fn interrupted() -> Result<impl Future<Output = Failure>, Failure> {
    let system = |error: std::io::Error| Failure::system(&error);
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).map(|stream| (kind.as_raw_value(), stream)));
    let [interrupt, terminate, hangup] = &mut signals;
    for stream in [&interrupt, &terminate, &hangup] {
        if let Err(error) = stream {
            return Err(system(std::io::Error::from(error.kind())));
        }
    }
    Ok(async move {
        let number = any_signal(&mut signals).await;
        Failure::silent(128u8.saturating_add(number as u8))
    })
}

type Stream = std::io::Result<(i32, tokio::signal::unix::Signal)>;

/// The number of the next signal of these.
async fn any_signal(streams: &mut [Stream; 3]) -> i32 {
    let [one, two, three] = streams;
    let next = async |stream: &mut Stream| match stream {
        Ok((number, stream)) => {
            stream.recv().await;
            *number
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        number = next(one) => number,
        number = next(two) => number,
        number = next(three) => number,
    }
}

/// Runs the command to its end, or to that of the lock; and frees the lock.
pub(super) async fn run(
    locker: Locker,
    tokens: &[(Bytes, Slot)],
    command: &[OsString],
    tell: Tell,
) -> Result<(), Failure> {
    let token = tokens.iter().map(|(_, token)| token.0).max().unwrap_or_default();
    let child = match spawn(command, token) {
        Ok(child) => child,
        Err(error) => {
            let _ = locker.end().await;
            return Err(Failure::system(&error));
        }
    };
    let mut watch = Watch { locker, child, tokens, stage: Stage::Well, tell };
    let status = watch.until_it_ends().await?;
    watch.finish(status).await
}

fn spawn(command: &[OsString], token: u64) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("tied")
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--")
        .args(command)
        .env(TOKEN_VARIABLE, token.to_string())
        .spawn()
}

/// Asks, at that time, whether all is still held. That nobody answers is no reason to act: the
/// lease will be.
async fn is_held(locker: &Locker, tokens: &[(Bytes, Slot)], at: Instant) -> bool {
    sleep_until(at).await;
    for (name, token) in tokens {
        let check = Question::Check { name: name.clone(), token: *token };
        if let Ok(Answer::Check { current: false, .. }) = locker.question(&check).await {
            return false;
        }
    }
    true
}

struct Watch<'t> {
    locker: Locker,
    child: Child,
    tokens: &'t [(Bytes, Slot)],
    stage: Stage,
    tell: Tell,
}

/// How it stands with the command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The lock is held.
    Well,
    /// It was asked to end, for this reason; then it is killed, if not before.
    Asked(String, Option<Instant>),
    /// It was killed.
    Killed(String),
}

impl Watch<'_> {
    async fn until_it_ends(&mut self) -> Result<ExitStatus, Failure> {
        let system = |error: std::io::Error| Failure::system(&error);
        let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .map(|kind| signal(kind).map(|stream| (kind.as_raw_value(), stream)));
        let (mut standing, mut ear) = (self.locker.standing(), self.locker.ear());
        let look = self.locker.terms().ttl / LOOKS;
        let mut look_at = Instant::now() + look;
        loop {
            self.judge();
            let wake = self.next_judgement();
            tokio::select! {
                status = self.child.wait() => return status.map_err(system),
                number = any_signal(&mut signals) => self.pass_on(number),
                told = ear.told() => self.on_told(told),
                // It is published for as long as the session is there.
                _ = standing.changed() => (),
                () = sleep_until(wake) => (),
                held = is_held(&self.locker, self.tokens, look_at) => {
                    look_at = Instant::now() + look;
                    if !held {
                        self.ask_to_end("it is not held any more".to_owned(), Some(GRACE));
                    }
                }
            }
        }
    }

    /// Acts on the time that the lease has left.
    fn judge(&mut self) {
        let now = Instant::now();
        match (self.locker.lease(), &self.stage) {
            (_, Stage::Killed(_)) => (),
            (Lease::Over, _) => self.kill("the session is over".to_owned()),
            (_, Stage::Asked(why, Some(until))) if *until <= now => {
                let why = why.clone();
                self.kill(why);
            }
            (Lease::Until(until), stage) => {
                let left = until.saturating_duration_since(now);
                let ttl = self.locker.terms().ttl;
                let why = || format!("no quorum has renewed the session for {:?}", ttl - left);
                if left <= ttl * TENTHS_LEFT.1 / 10 {
                    self.kill(why());
                } else if left <= ttl * TENTHS_LEFT.0 / 10 && *stage == Stage::Well {
                    self.ask_to_end(why(), None);
                }
            }
            (Lease::None, _) => (),
        }
    }

    /// When the lease, or a command that was asked to end, is to be looked at next.
    fn next_judgement(&self) -> Instant {
        let (now, ttl) = (Instant::now(), self.locker.terms().ttl);
        let limit = match self.stage {
            Stage::Well => TENTHS_LEFT.0,
            Stage::Asked(..) => TENTHS_LEFT.1,
            Stage::Killed(_) => return now + ttl,
        };
        let by_lease = match self.locker.lease() {
            Lease::Until(until) => until.checked_sub(ttl * limit / 10).unwrap_or(now),
            Lease::None | Lease::Over => now + ttl,
        };
        match &self.stage {
            Stage::Asked(_, Some(until)) => by_lease.min(*until),
            Stage::Asked(_, None) | Stage::Well | Stage::Killed(_) => by_lease,
        }
    }

    fn on_told(&mut self, told: Told) {
        if let Told::Broken { name, token, by, reason } = told
            && self.tokens.contains(&(name.clone(), token))
        {
            self.ask_to_end(Tell::broken(&name, &by, &reason), Some(GRACE));
        }
    }

    /// Asks the command to end; after that grace, or when the lease is all but over, it is killed.
    fn ask_to_end(&mut self, why: String, grace: Option<Duration>) {
        if self.stage == Stage::Well {
            self.tell.danger(&why, "SIGTERM");
            self.send(Signal::TERM);
            self.stage = Stage::Asked(why, grace.map(|grace| Instant::now() + grace));
        }
    }

    fn kill(&mut self, why: String) {
        self.tell.danger(&why, "SIGKILL");
        self.send(Signal::KILL);
        self.stage = Stage::Killed(why);
    }

    /// What a terminal sends, it sends the command, too.
    fn pass_on(&self, number: i32) {
        let signal = Signal::from_named_raw(number);
        let is_typed = signal == Some(Signal::INT) && std::io::stdin().is_terminal();
        if let Some(signal) = signal.filter(|_| !is_typed) {
            self.send(signal);
        }
    }

    fn send(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(id) = id {
            // It may have ended just now; then nobody else has its id before it is waited for.
            let _ = kill_process(id, signal);
        }
    }

    async fn finish(self, status: ExitStatus) -> Result<(), Failure> {
        let lost = match (self.stage, self.locker.lease()) {
            (Stage::Asked(why, _) | Stage::Killed(why), _) => Some(why),
            (Stage::Well, Lease::Over) => Some("the session is over".to_owned()),
            (Stage::Well, Lease::Until(_) | Lease::None) => None,
        };
        if let Some(why) = lost {
            // What else the session holds is free at once, if that can be had at once.
            let _ = timeout(FAREWELL, self.locker.end()).await;
            return Err(self.tell.lost(&why));
        }
        if let Err(error) = self.locker.end().await {
            self.tell.not_freed(&error, self.locker.terms().ttl);
        }
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        if code == 0 { Ok(()) } else { Err(Failure::silent(code as u8)) }
    }
}
