//! How the answers of the lock service read: a line for people, or an object for programs.
//!
//! Names and labels are any bytes: for people what could act on a terminal is written out, and in
//! JSON bytes that are no UTF-8 become `\x..`.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::exit::{Failure, Status};
use super::super::harmless::harmless;
use super::super::write_line;
use crate::locker::{Error, Locker, Outcome};
use crate::paxos::{ClientId, Slot};
use crate::services::lock::{Broken, By, Edge, Hold, Line, Refusal, Waiter, Word};
use crate::services::printed::{is_harmful, print};
use crate::wire::client::Entry;

/// To whom it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tell {
    /// To a program.
    pub(super) json: bool,
}

impl Tell {
    /// Prints each lock with its token and session.
    pub(super) fn granted(
        self,
        tokens: &[(bytes::Bytes, Slot)],
        session: ClientId,
    ) -> Result<(), Failure> {
        for (name, token) in tokens {
            self.line(
                &format!("{} {token} {}", harmless(name), whole(session)),
                &json!({
                    "result": "granted", "lock": text(name), "token": token.0,
                    "session": whole(session),
                }),
            )?;
        }
        Ok(())
    }

    /// Where stdout is the command's.
    pub(super) fn granted_to_command(self, tokens: &[(bytes::Bytes, Slot)], session: ClientId) {
        for (name, token) in tokens.iter().filter(|_| self.json) {
            aside(&json!({
                "result": "granted", "lock": text(name), "token": token.0,
                "session": whole(session),
            }));
        }
    }

    /// A line for people, or an object for programs, on stdout.
    pub(super) fn line(self, line: &str, object: &Value) -> Result<(), Failure> {
        if self.json { write_line(&object.to_string()) } else { write_line(line) }
    }

    /// Why the locks could not be had.
    pub(super) async fn refused(
        self,
        locker: &Locker,
        outcome: Outcome,
        has_command: bool,
    ) -> Failure {
        let (status, line, object) = match outcome {
            Outcome::Busy { name, by, timed_out } => {
                let left = match &by {
                    By::Held(hold) => locker.left(hold.session).await.ok().flatten(),
                    By::Reserved(_) => None,
                };
                let result = if timed_out { "timed out" } else { "busy" };
                let object = json!({
                    "result": result, "lock": text(&name), "by": by_object(&by, left),
                });
                let line = format!("{result}: \"{}\" {}", harmless(&name), by_line(&by, left));
                (Status::Busy, line, object)
            }
            Outcome::Deadlock { cycle, left_out } => {
                let edges: Vec<Value> = cycle.iter().map(edge_object).collect();
                let object = json!({
                    "result": "deadlock", "cycle": edges, "left_out": left_out,
                });
                (Status::Busy, format!("deadlock: {}", cycle_line(&cycle, left_out)), object)
            }
            Outcome::Refused(refusal) => {
                let line = refusal_line(refusal);
                (Status::Usage, line.to_owned(), json!({ "result": "refused", "why": line }))
            }
            Outcome::Granted(_) => unreachable!("what is granted is not refused"),
        };
        self.failure(status, &line, &object, has_command)
    }

    /// A call that came to nothing.
    pub(super) fn failed(self, error: &Error, has_command: bool) -> Failure {
        let status = Status::from(error);
        let object =
            json!({ "result": "failed", "status": status as u8, "why": error.to_string() });
        self.failure(status, &error.to_string(), &object, has_command)
    }

    /// One line, or one object, and a status. The object goes where stdout is not a command's.
    pub(super) fn failure(
        self,
        status: Status,
        line: &str,
        object: &Value,
        has_command: bool,
    ) -> Failure {
        if !self.json {
            return Failure::new(status, line);
        }
        if has_command {
            aside(object);
            return Failure::silent(status as u8);
        }
        match write_line(&object.to_string()) {
            Ok(()) => Failure::silent(status as u8),
            Err(failure) => failure,
        }
    }

    /// The command is asked to end, or killed.
    pub(super) fn danger(self, why: &str, signal: &str) {
        if self.json {
            aside(&json!({ "result": "in danger", "why": why, "sent": signal }));
        } else {
            tracing::warn!("the lock is in danger: {why}. The command gets {signal}");
        }
    }

    /// The command has ended as the lock was lost.
    pub(super) fn lost(self, why: &str) -> Failure {
        let line = format!("the lock was lost while the command ran: {why}");
        self.failure(Status::LockLost, &line, &json!({ "result": "lost", "why": why }), true)
    }

    /// The command has ended, and its lock is not free yet.
    pub(super) fn not_freed(self, error: &Error, ttl: Duration) {
        let (why, ttl) = (error.to_string(), humantime::format_duration(ttl));
        if self.json {
            aside(&json!({ "result": "not freed", "why": why }));
        } else {
            tracing::warn!("the lock falls free by itself, in {ttl} at most: {why}");
        }
    }

    /// Who broke a lock, and why.
    pub(super) fn broken(name: &[u8], by: &[u8], reason: &[u8]) -> String {
        format!("\"{}\" was broken by {}: {}", harmless(name), harmless(by), harmless(reason))
    }
}

/// The line of an executed log that an entry of the archive stands for: a lock that was broken.
pub(crate) fn logged(entry: &Entry) -> Option<String> {
    let broken = Broken::decode(&entry.body)?;
    let mut line = format!("{} broke ", entry.slot);
    let parts = [("", &broken.name), (" for ", &broken.by), (": ", &broken.reason)];
    for (before, part) in parts {
        line.push_str(before);
        print(&mut line, part, |char| is_harmful(char) || matches!(char, '\\' | ':'));
    }
    Some(line)
}

/// What is said beside a command's own output.
#[allow(clippy::print_stderr)]
fn aside(object: &Value) {
    eprintln!("{object}");
}

/// Bytes as text, for programs.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    print(&mut text, bytes, |_| false);
    text
}

/// A session's id in full: whoever knows it is taken for the holder.
pub(super) fn whole(session: ClientId) -> String {
    format!("{:032x}", session.0)
}

/// A holder, for people: not enough of its session to be taken for it.
pub(super) fn hold_line(hold: &Hold, left: Option<Duration>) -> String {
    let mut line = format!(
        "held by {} (session {}) since {}, token {}",
        harmless(&hold.label),
        hold.session,
        time(hold.since_ms),
        hold.token
    );
    if let Some(left) = left {
        line.push_str(&format!(
            "; its session has {:.1} s left unless it is heard of",
            left.as_secs_f64()
        ));
    }
    line
}

pub(super) fn hold_object(hold: &Hold, left: Option<Duration>) -> Value {
    json!({
        "session": hold.session.to_string(), "label": text(&hold.label), "token": hold.token.0,
        "since": time(hold.since_ms), "ttl_ms": hold.ttl_ms,
        "left_ms": left.map(|left| left.as_millis() as u64),
    })
}

pub(super) fn waiter_line(waiter: &Waiter) -> String {
    let how = match waiter.line {
        Line::Queued => "waits in the queue",
        Line::Trying => "asks again and again",
    };
    let (label, session, since) = (harmless(&waiter.label), waiter.session, waiter.since);
    format!("{label} (session {session}) {how} since slot {since}")
}

pub(super) fn waiter_object(waiter: &Waiter) -> Value {
    let line = match waiter.line {
        Line::Queued => "queue",
        Line::Trying => "trying",
    };
    json!({
        "session": waiter.session.to_string(), "label": text(&waiter.label), "line": line,
        "since_slot": waiter.since.0,
    })
}

pub(super) fn by_line(by: &By, left: Option<Duration>) -> String {
    match by {
        By::Held(hold) => format!("is {}", hold_line(hold, left)),
        By::Reserved(waiter) => format!("is free, but {}", waiter_line(waiter)),
    }
}

pub(super) fn by_object(by: &By, left: Option<Duration>) -> Value {
    match by {
        By::Held(hold) => json!({ "held": hold_object(hold, left) }),
        By::Reserved(waiter) => json!({ "reserved": waiter_object(waiter) }),
    }
}

/// `ann waits for "b", held by bob, who waits for "a", held by ann`.
pub(super) fn cycle_line(cycle: &[Edge], left_out: u64) -> String {
    let mut line = String::new();
    for (at, edge) in cycle.iter().enumerate() {
        let who = if at == 0 { named(&edge.label, edge.session) } else { ", who".to_owned() };
        if at > 0 && at + 1 == cycle.len() && left_out > 0 {
            line.push_str(&format!(" (and {left_out} more)"));
        }
        let (name, holder) = (harmless(&edge.name), named(&edge.holder_label, edge.holder));
        line.push_str(&format!("{who} waits for \"{name}\", held by {holder}"));
    }
    line
}

fn named(label: &[u8], session: ClientId) -> String {
    if label.is_empty() { format!("session {session}") } else { harmless(label) }
}

pub(super) fn edge_object(edge: &Edge) -> Value {
    json!({
        "session": edge.session.to_string(), "label": text(&edge.label),
        "waits_for": text(&edge.name), "held_by": edge.holder.to_string(),
        "holder_label": text(&edge.holder_label),
    })
}

pub(super) fn refusal_line(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoNames => "no lock is named",
        Refusal::TooManyNames => "more than 64 locks at once",
        Refusal::EmptyName => "a lock's name has one byte at least: nothing stands between commas",
        Refusal::LongName => "a lock's name is longer than 1024 bytes",
        Refusal::LongLabel => "the label is longer than 256 bytes",
        Refusal::LongReason => "the reason is longer than 1024 bytes",
    }
}

/// A time as a clock said it.
pub(crate) fn time(since_ms: u64) -> String {
    if !(1..MS_MAX).contains(&since_ms) {
        return "a time unknown".to_owned();
    }
    let at = UNIX_EPOCH + Duration::from_millis(since_ms);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// The year 10000, which has no RFC 3339 form.
const MS_MAX: u64 = 253_402_300_800_000;
