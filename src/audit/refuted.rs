//! What breaks an invariant, in words: the counterexample.

use std::fmt;

use bytes::Bytes;

use super::Invariant;
use crate::paxos::{Ballot, Chain, Command, NodeId, PValue, Record, Slot};
use crate::services::chat;
use crate::wire::client::Entry;

/// An invariant that does not hold, and the records that show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", invariant.name())]
pub struct Refuted {
    /// Which.
    pub invariant: Invariant,
    /// How, in one line.
    pub why: String,
    /// What shows it.
    pub exhibits: Vec<Exhibit>,
}

/// Something that a store holds, or lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhibit {
    /// The store, as it was named.
    pub store: String,
    /// Whose it is.
    pub node: NodeId,
    /// Where in its log; `None` for what does not stand there.
    pub place: Option<Place>,
    /// What it says.
    pub words: String,
}

/// Where a record stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the value in which its commit begins.
    pub value: u64,
    /// Which of that commit's records, from 0.
    pub record: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value {}, record {}", self.value, self.record)
    }
}

impl fmt::Display for Exhibit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (node {}), ", self.store, self.node.0)?;
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.words),
            None => write!(f, "{}", self.words),
        }
    }
}

/// Of what was said so much is shown.
const SHOWN_CHARS: usize = 100;

/// A record in words; of many slots the one that matters, if one does.
pub(super) fn record(record: &Record, slot: Option<Slot>) -> String {
    match record {
        Record::Promised(ballot) => format!("promises ballot {ballot}"),
        Record::Accepted(run) => {
            let what = held(run.first, &run.commands, slot);
            format!("accepts {what} in ballot {}, after slot {}", run.ballot, run.after)
        }
        Record::Learned { first, commands } => {
            format!("learns that {} is decided", held(*first, commands, slot))
        }
        Record::Decided(mark) => format!("knows every slot below {mark} to be decided"),
        Record::Incarnation { node, incarnation } => {
            format!("has heard from store {} of node {}", incarnation.0, node.0)
        }
        Record::Trimmed { below, mark, promised, chain, incarnations, first_record: _ } => {
            let promised = promised.map_or("nothing".to_owned(), |ballot| ballot.to_string());
            let chain = chain.map_or("none".to_owned(), self::chain);
            let known: Vec<String> =
                incarnations.iter().map(|(node, it)| format!("{}:{}", node.0, it.0)).collect();
            format!(
                "trims below slot {below}; restates promise {promised}, mark {mark}, runs {chain}, \
                 stores [{}]",
                known.join(" ")
            )
        }
        Record::Standing { pledges, votes } => {
            let votes = if *votes { "votes" } else { "does not vote yet" };
            format!("has made {pledges} pledges, and {votes}")
        }
        Record::Heard { node, incarnation, pledges } => {
            format!("was told of {pledges} pledges of store {} of node {}", incarnation.0, node.0)
        }
        Record::Moved { node, incarnation, address } => {
            let address = String::from_utf8_lossy(address);
            format!("has found store {} of node {} at {address:?}", incarnation.0, node.0)
        }
        Record::Testified { node, incarnation } => {
            format!("has testified to store {} of node {}", incarnation.0, node.0)
        }
        Record::Lost { below, .. } => {
            format!("is damaged here, in what it said below slot {below}")
        }
        Record::Imported { promised, chain, accepted } => {
            imported(*promised, *chain, accepted, slot)
        }
    }
}

fn imported(
    promised: Option<Ballot>,
    chain: Option<Chain>,
    accepted: &[PValue],
    slot: Option<Slot>,
) -> String {
    let promised = promised.map_or("nothing".to_owned(), |ballot| ballot.to_string());
    let chain = chain.map_or("none".to_owned(), self::chain);
    let one = accepted.iter().find(|pvalue| Some(pvalue.slot) == slot);
    let what = match one {
        Some(PValue { ballot, slot, command }) => {
            format!("slot {slot}, {} in ballot {ballot}", value(*slot, command))
        }
        None => format!("{} slots", accepted.len()),
    };
    format!("takes over promise {promised}, runs {chain}, and {what}")
}

/// A chain of runs in words.
pub(in crate::audit) fn chain(chain: Chain) -> String {
    format!("{}..{} of {}", chain.from, chain.end, chain.ballot)
}

fn held(first: Slot, commands: &[Command], slot: Option<Slot>) -> String {
    let inside = |slot: &Slot| *slot >= first && slot.since(first) < commands.len() as u64;
    match slot.filter(inside) {
        Some(slot) => {
            let command = &commands[slot.since(first) as usize];
            format!("slot {slot}, {}", value(slot, command))
        }
        None => format!("slots {first}..{}", first.plus(commands.len() as u64)),
    }
}

/// What a slot holds, in words.
pub(super) fn value(slot: Slot, command: &Command) -> String {
    match command {
        Command::Noop => "a no-op".to_owned(),
        Command::End(client) => format!("the end of session {client}"),
        Command::Wake(time_ms) => format!("the wake at {time_ms} ms"),
        Command::Request(request) => {
            let (number, client) = (request.number, request.client);
            format!("request {number} of {client}, {}", body(slot, &request.body))
        }
    }
}

/// A command's body in words: its line, if it is a message of the room.
pub(super) fn body(slot: Slot, body: &Bytes) -> String {
    match chat::logged(&Entry { slot, body: body.clone() }) {
        Some(line) if line.chars().count() <= SHOWN_CHARS => format!("\"{line}\""),
        Some(line) => format!("\"{}..\"", line.chars().take(SHOWN_CHARS).collect::<String>()),
        None => format!("{} bytes", body.len()),
    }
}
