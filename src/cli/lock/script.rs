//! `indelible lock --script`: many requests at once over one session, an answer a line.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::super::exit::{Failure, Status};
use super::super::harmless::harmless;
use super::SessionArgs;
use super::tell::{Tell, by_line, by_object, cycle_line, edge_object, refusal_line, text};
use crate::client::Ticket;
use crate::cluster::Cluster;
use crate::locker::{Error, Locker};
use crate::paxos::Slot;
use crate::services::lock::{Ask, Mode, Said};

/// A line: what it asks for, and of which lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    lock: bool,
    name: Bytes,
}

/// Requests on their way before the first answer is waited for: a session has no more.
const IN_FLIGHT: usize = crate::client::IN_FLIGHT_MAX;

pub(super) async fn run(args: &SessionArgs, cluster: &Cluster, path: &Path) -> Result<(), Failure> {
    let orders = parse(&read(path)?)?;
    let (locker, tell) = (args.open(cluster)?, args.tell());
    let mut under_way: VecDeque<(&Order, Ticket)> = VecDeque::new();
    for order in &orders {
        if under_way.len() == IN_FLIGHT {
            answer(&locker, tell, &mut under_way).await?;
        }
        let ticket = locker.submit(&ask(order, &locker)).await;
        under_way.push_back((order, ticket.map_err(|error| tell.failed(&error, false))?));
    }
    while !under_way.is_empty() {
        answer(&locker, tell, &mut under_way).await?;
    }
    locker.end().await.map_err(|error| tell.failed(&error, false))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let done = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).map(drop)
    } else {
        std::fs::read(path).map(|read| text = read)
    };
    match done {
        Ok(()) => Ok(text),
        Err(error) => {
            Err(Failure::new(Status::Missing, format!("script {}: {error}", path.display())))
        }
    }
}

/// One order a line; blank lines and those that begin with `#` are none.
fn parse(script: &[u8]) -> Result<Vec<Order>, Failure> {
    let mut orders = Vec::new();
    for (at, line) in (1..).zip(script.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let order =
            [(true, &b"lock "[..]), (false, b"unlock ")].into_iter().find_map(|(lock, word)| {
                let name = line.strip_prefix(word).filter(|name| !name.is_empty())?;
                Some(Order { lock, name: Bytes::copy_from_slice(name) })
            });
        orders.push(order.ok_or_else(|| {
            let shown = harmless(line);
            let line = format!("line {at}: \"{shown}\": expected `lock NAME` or `unlock NAME`");
            Failure::new(Status::Usage, line)
        })?);
    }
    Ok(orders)
}

fn ask(order: &Order, locker: &Locker) -> Ask {
    let name = order.name.clone();
    if order.lock {
        let label = locker.terms().label.clone();
        return Ask::Lock { names: vec![name], label, mode: Mode::Now };
    }
    // The token is not known yet: what this session holds when its turn comes is meant.
    Ask::Unlock { name, token: None, session: None }
}

/// Prints the next answer.
async fn answer(
    locker: &Locker,
    tell: Tell,
    under_way: &mut VecDeque<(&Order, Ticket)>,
) -> Result<(), Failure> {
    let Some((order, ticket)) = under_way.pop_front() else { return Ok(()) };
    let (slot, said) =
        locker.await_reply(ticket).await.map_err(|error| tell.failed(&error, false))?;
    let verb = if order.lock { "lock" } else { "unlock" };
    let (word, line, more) = in_words(&said).ok_or_else(|| tell.failed(&Error::Foreign, false))?;
    let mut object = json!({ "order": verb, "lock": text(&order.name), "slot": slot.0 });
    object["result"] = word.into();
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    tell.line(&format!("{verb} {}: {line}", harmless(&order.name)), &object)
}

/// The result in a word, for people, and what a program may want beside.
fn in_words(said: &Said) -> Option<(&'static str, String, serde_json::Value)> {
    Some(match said {
        Said::Granted { tokens } => {
            let Slot(token) = tokens.first()?.1;
            ("granted", format!("granted, token {token}"), json!({ "token": token }))
        }
        Said::Busy { by, .. } => {
            ("busy", format!("busy: {}", by_line(by, None)), json!({ "by": by_object(by, None) }))
        }
        Said::Deadlock { cycle, left_out } => {
            let edges: Vec<_> = cycle.iter().map(edge_object).collect();
            let line = format!("deadlock: {}", cycle_line(cycle, *left_out));
            ("deadlock", line, json!({ "cycle": edges, "left_out": left_out }))
        }
        Said::Unlocked => ("unlocked", "unlocked".to_owned(), json!({})),
        Said::NotOwner { holder } => {
            let by = holder.clone().map(crate::services::lock::By::Held);
            let line = by.as_ref().map_or("is free".to_owned(), |by| by_line(by, None));
            let object = json!({ "by": by.as_ref().map(|by| by_object(by, None)) });
            ("not owner", format!("not owner: {line}"), object)
        }
        Said::Refused(refusal) => {
            let line = refusal_line(*refusal);
            ("refused", line.to_owned(), json!({ "why": line }))
        }
        Said::Queued { .. }
        | Said::Pending
        | Said::Cancelled
        | Said::Idle
        | Said::Broken
        | Said::Unreadable => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: a name that is trimmed; a wrong line that is left out.
    #[test]
    fn a_script_is_an_order_a_line() {
        let orders = parse(b"lock x\n\n# no order\nunlock a b \r\nlock \xff").expect("a script");
        let order = |lock, name: &'static [u8]| Order { lock, name: Bytes::from_static(name) };
        assert_eq!(orders, [order(true, b"x"), order(false, b"a b "), order(true, b"\xff")]);
        for (script, expected) in [("lock x\nlok y\n", "line 2: \"lok y\""), ("lock ", "line 1")] {
            let failure = parse(script.as_bytes()).expect_err(script).to_string();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
