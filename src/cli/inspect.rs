//! `indelible inspect`: what a store says, read offline.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::exit::Failure;
use crate::paxos::{AcceptorState, Command, Slot, Wal};
use crate::rsm::Executor;
use crate::services::chat::{Chat, Message};
use crate::wal::Store;

/// Read a store while its node does not run.
///
/// Tells whose it is, what it has promised, accepted and decided, and what it lacks; with --entries
/// every decided line of the room, as `SLOT SENDER: text`. Nothing is changed, but a torn end that
/// was never acknowledged is cut, as the node would.
///
///   indelible inspect /var/lib/indelible/0 --json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct InspectArgs {
    /// The store
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// For scripts: one object
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
    /// Print the decided lines instead
    #[arg(long, env = "INDELIBLE_ENTRIES")]
    entries: bool,
    /// Print every line that the disk holds instead: decided, or accepted only
    #[arg(long, env = "INDELIBLE_HELD", conflicts_with = "entries")]
    held: bool,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.store)?;
    let state = store.load()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = if args.held {
        print_held(&mut out, &state)
    } else if args.entries {
        print_entries(&mut out, &state)
    } else if args.json {
        print_json(&mut out, &store, &state)
    } else {
        print_text(&mut out, &store, &state)
    };
    printed.and_then(|()| out.flush()).map_err(|error| Failure::system(&error))
}

/// What was decided, as far as this disk can tell: below its mark.
fn replay(state: &AcceptorState) -> Executor<Chat> {
    let mut executor = Executor::new(Chat);
    for (slot, vote) in state.votes(Slot(0)).take_while(|(slot, _)| *slot < state.mark()) {
        executor.apply(slot, &vote.command);
    }
    executor
}

fn holes(state: &AcceptorState) -> Vec<(Slot, Slot)> {
    let mut holes = Vec::new();
    let mut next = state.trimmed();
    for (slot, _) in state.votes(next) {
        if slot > next {
            holes.push((next, slot));
        }
        next = slot.next();
    }
    holes
}

fn print_entries(out: &mut impl Write, state: &AcceptorState) -> io::Result<()> {
    for (slot, body) in replay(state).archive().from(Slot(0)) {
        if let Some(message) = Message::decode(body) {
            out.write_all(&message.line(slot))?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn print_held(out: &mut impl Write, state: &AcceptorState) -> io::Result<()> {
    for (slot, vote) in state.votes(Slot(0)) {
        if let Command::Request(request) = &vote.command
            && let Some(message) = Message::decode(&request.body)
        {
            out.write_all(&message.line(slot))?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn print_json(out: &mut impl Write, store: &Store, state: &AcceptorState) -> io::Result<()> {
    let (identity, recovery) = (store.identity(), store.recovery());
    let executor = replay(state);
    let accepted = state.votes(state.mark()).map(|(slot, vote)| {
        json!({
            "slot": slot.0,
            "round": vote.ballot.map(|ballot| ballot.round),
            "owner": vote.ballot.map(|ballot| ballot.node.0),
            "command": describe(&vote.command),
        })
    });
    let value = json!({
        "cluster": identity.cluster,
        "node": identity.node.0,
        "incarnation": identity.incarnation.0,
        "promised": state.promised().map(|b| json!({ "round": b.round, "owner": b.node.0 })),
        "decided": state.mark().0,
        "accepted": accepted.collect::<Vec<_>>(),
        "holes": holes(state).iter().map(|(from, to)| [from.0, to.0]).collect::<Vec<_>>(),
        "entries": executor.archive().len(),
        "state": format!("{:016x}", executor.digest().hash),
        "records": recovery.records,
        "bytes": recovery.bytes,
        "cut": recovery.cut,
        "took_ms": recovery.took.as_secs_f64() * 1000.0,
    });
    writeln!(out, "{value}")
}

fn print_text(out: &mut impl Write, store: &Store, state: &AcceptorState) -> io::Result<()> {
    let (identity, recovery) = (store.identity(), store.recovery());
    let executor = replay(state);
    let promised = state.promised().map_or("nothing".to_owned(), |b| format!("ballot {b}"));
    writeln!(out, "store      node {} of cluster {}", identity.node.0, identity.cluster)?;
    writeln!(out, "made       incarnation {}", identity.incarnation.0)?;
    writeln!(out, "promised   {promised}")?;
    writeln!(out, "decided    every slot below {}", state.mark())?;
    writeln!(out, "lines      {}", executor.archive().len())?;
    writeln!(out, "state      {:016x}", executor.digest().hash)?;
    for (slot, vote) in state.votes(state.mark()) {
        let ballot = vote.ballot.map_or("learnt".to_owned(), |ballot| format!("in {ballot}"));
        writeln!(out, "accepted   slot {slot} {ballot}: {}", describe(&vote.command))?;
    }
    for (from, to) in holes(state) {
        writeln!(out, "hole       {from}..{to}")?;
    }
    let took = recovery.took.as_secs_f64() * 1000.0;
    writeln!(out, "read       {} records, {} bytes, {took:.1} ms", recovery.records, recovery.bytes)
}

fn describe(command: &Command) -> String {
    match command {
        Command::Noop => "no-op".to_owned(),
        Command::Request(request) => {
            format!(
                "request {} of {}, {} bytes",
                request.number,
                request.client,
                request.body.len()
            )
        }
    }
}
