//! `indelible inspect`: what a store says, read offline.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::exit::Failure;
use crate::cluster::Service;
use crate::node::{self, Pace, Storage};
use crate::paxos::{AcceptorState, Command, Slot, Wal};
use crate::rsm::Executor;
use crate::services::chat::Message;
use crate::services::hosted::Hosted;
use crate::wal::{self, Store};

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

/// Bytes of the archive that are read at a time.
const PAGE_BYTES: usize = 1 << 20;

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let mut storage = Storage::open(&args.store)?;
    let state = storage.wal.load()?;
    // What was decided, as far as this disk can tell: below its mark.
    let beside = storage.found::<wal::Error>(Pace::NEVER)?;
    let machine = || Hosted::of(Service::of_identity(&storage.wal.identity().cluster));
    let (executor, has_state) = match node::replay::<_, wal::Error>(&state, beside, machine()) {
        Ok(executor) => (executor, true),
        // A witness has none; where others should have one, the node says so when it starts.
        Err(node::Error::NoSnapshot(_)) => (Executor::new(machine()), false),
        Err(error) => return Err(error.into()),
    };
    let store = &storage.wal;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = if args.held {
        print_held(&mut out, &executor, &state)
    } else if args.entries {
        print_entries(&mut out, &executor, executor.applied())
    } else if args.json {
        print_json(&mut out, store, &state, &executor)
    } else {
        print_text(&mut out, store, &state, (&executor, has_state))
    };
    printed.and_then(|()| out.flush()).map_err(|error| Failure::system(&error))
}

/// Where the log takes over from the archive: where it begins, or at a snapshot that is ahead of it
/// and takes its place when the node starts.
fn begin(executor: &Executor<Hosted>, state: &AcceptorState) -> Slot {
    if executor.applied() > state.mark() { executor.applied() } else { state.trimmed() }
}

/// Every slot below is decided, by the log or by a snapshot that is ahead of it.
fn decided(executor: &Executor<Hosted>, state: &AcceptorState) -> Slot {
    executor.applied().max(state.mark())
}

fn holes(executor: &Executor<Hosted>, state: &AcceptorState) -> Vec<(Slot, Slot)> {
    let mut holes = Vec::new();
    let mut next = begin(executor, state);
    for (slot, _) in state.votes(next) {
        if slot > next {
            holes.push((next, slot));
        }
        next = slot.next();
    }
    holes
}

/// The lines below a slot, a page at a time.
fn print_entries(out: &mut impl Write, executor: &Executor<Hosted>, end: Slot) -> io::Result<()> {
    let mut next = Slot(0);
    while next < end {
        let page = executor.archive().page(next, PAGE_BYTES);
        let Some((last, _)) = page.last() else { break };
        next = last.next();
        for (slot, body) in page.iter().filter(|(slot, _)| *slot < end) {
            if let Some(message) = Message::decode(body) {
                out.write_all(&message.line(*slot))?;
                out.write_all(b"\n")?;
            }
        }
    }
    Ok(())
}

fn print_held(
    out: &mut impl Write,
    executor: &Executor<Hosted>,
    state: &AcceptorState,
) -> io::Result<()> {
    let begin = begin(executor, state);
    print_entries(out, executor, begin)?;
    for (slot, vote) in state.votes(begin) {
        if let Command::Request(request) = &vote.command
            && let Some(message) = Message::decode(&request.body)
        {
            out.write_all(&message.line(slot))?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn print_json(
    out: &mut impl Write,
    store: &Store,
    state: &AcceptorState,
    executor: &Executor<Hosted>,
) -> io::Result<()> {
    let (identity, recovery) = (store.identity(), store.recovery());
    let decided = decided(executor, state);
    let accepted = state.votes(decided).map(|(slot, vote)| {
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
        "votes": state.is_fit(),
        "promised": state.promised().map(|b| json!({ "round": b.round, "owner": b.node.0 })),
        "decided": decided.0,
        "accepted": accepted.collect::<Vec<_>>(),
        "holes": holes(executor, state).iter().map(|(from, to)| [from.0, to.0]).collect::<Vec<_>>(),
        "entries": executor.archive().extent().entries,
        "state": format!("{:016x}", executor.digest().hash),
        "records": recovery.records,
        "bytes": recovery.bytes,
        "cut": recovery.cut,
        "took_ms": recovery.took.as_secs_f64() * 1000.0,
    });
    writeln!(out, "{value}")
}

fn print_text(
    out: &mut impl Write,
    store: &Store,
    state: &AcceptorState,
    (executor, has_state): (&Executor<Hosted>, bool),
) -> io::Result<()> {
    let (identity, recovery) = (store.identity(), store.recovery());
    let decided = decided(executor, state);
    let promised = state.promised().map_or("nothing".to_owned(), |b| format!("ballot {b}"));
    writeln!(out, "store      node {} of cluster {}", identity.node.0, identity.cluster)?;
    writeln!(out, "made       incarnation {}", identity.incarnation.0)?;
    if !state.is_fit() {
        writeln!(out, "votes      not yet: it takes the place of a lost store")?;
    }
    writeln!(out, "promised   {promised}")?;
    writeln!(out, "decided    every slot below {decided}")?;
    if has_state {
        writeln!(out, "lines      {}", executor.archive().extent().entries)?;
        writeln!(out, "state      {:016x}", executor.digest().hash)?;
    } else {
        let begin = state.trimmed();
        writeln!(out, "state      none: the log begins at slot {begin}, as a witness' may")?;
    }
    for (slot, vote) in state.votes(decided) {
        let ballot = vote.ballot.map_or("learnt".to_owned(), |ballot| format!("in {ballot}"));
        writeln!(out, "accepted   slot {slot} {ballot}: {}", describe(&vote.command))?;
    }
    for (from, to) in holes(executor, state) {
        writeln!(out, "hole       {from}..{to}")?;
    }
    let took = recovery.took.as_secs_f64() * 1000.0;
    writeln!(out, "read       {} records, {} bytes, {took:.1} ms", recovery.records, recovery.bytes)
}

fn describe(command: &Command) -> String {
    match command {
        Command::Noop => "no-op".to_owned(),
        Command::End(client) => format!("end of session {client}"),
        Command::Wake(time_ms) => format!("wake at {time_ms} ms"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{ClientId, Record, Request, RequestNumber};

    fn said(number: u64) -> Command {
        let message = Message { sender: "ann".into(), text: number.to_string().into() };
        Command::Request(Request {
            client: ClientId(1),
            number: RequestNumber(number + 1),
            low_water: RequestNumber(1),
            ttl_ms: 0,
            time_ms: 0,
            body: message.encode(),
        })
    }

    /// A node that dies after a snapshot from others is durable, and before its log says so.
    ///
    /// Red if the log's mark is all that counts: lines that this disk holds would be missed.
    #[test]
    fn a_snapshot_ahead_of_the_log_takes_its_place() {
        let mut executor = Executor::new(Hosted::of(Service::Chat));
        (0..5).for_each(|slot| drop(executor.apply(Slot(slot), &said(slot))));
        let learned = Record::Learned { first: Slot(0), commands: vec![said(0), said(1)] };
        let state = AcceptorState::replay([learned]);
        assert_eq!((state.mark(), decided(&executor, &state)), (Slot(2), Slot(5)));
        assert_eq!(holes(&executor, &state), []);
        let mut held = Vec::new();
        print_held(&mut held, &executor, &state).expect("a vector takes all");
        let held = String::from_utf8(held).expect("text");
        assert_eq!(held, "0 ann: 0\n1 ann: 1\n2 ann: 2\n3 ann: 3\n4 ann: 4\n");
    }
}
