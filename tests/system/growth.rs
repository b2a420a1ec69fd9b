//! The log's file stays flat: what is written and trimmed in turn does not make it grow.
//!
//! One-line bug that turns it red: a trim records where the log begins, but removes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use indelible::paxos::{
    AcceptorState, Ballot, ClientId, Command, Incarnation, NodeId, Record, Request, RequestNumber,
    Run, Slot, Wal,
};
use indelible::wal::{Identity, Options, Store};
use libtest_mimic::{Failed, Trial};

use crate::{run, scale};

/// Bytes of a command.
const COMMAND_BYTES: usize = 16 << 10;

/// Commands in a commit.
const BATCH: u64 = 16;

/// Bytes that are held at least between two trims.
const HELD_BYTES: u64 = 16 << 20;

/// How often the file is looked at.
const LOOKS: u64 = 8;

const MEBIBYTE: u64 = 1 << 20;

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("growth::a_trimmed_log_stays_flat", flat)]
}

fn flat() -> Result<(), Failed> {
    let data = run::data()?;
    let path = data.path().join("store");
    let identity = Identity::new("growth", NodeId(0), Incarnation(1));
    Store::format(&path, &identity, Options { ballast_bytes: 0 })?;
    let mut store = Store::open(&path)?;
    let batch_bytes = BATCH * COMMAND_BYTES as u64;
    let batches = scale::growth_bytes() / batch_bytes;
    let (mut sizes, mut trim) = (Vec::new(), None);
    for batch in 0..batches {
        let mut records = vec![accepted(batch * BATCH)];
        if batch % (HELD_BYTES / batch_bytes) == 0 {
            records.extend(trim.replace(batch * BATCH).map(trimmed).into_iter().flatten());
        }
        store.commit(&records)?;
        if (batch + 1) % (batches / LOOKS) == 0 {
            // Blocks, not length: the file may have holes.
            sizes.push(fs::metadata(path.join("log/db"))?.blocks() * 512 / MEBIBYTE);
        }
    }
    drop(store);
    let written = scale::growth_bytes() / MEBIBYTE;
    eprintln!("growth: {written} MiB written and trimmed; the file, each eighth: {sizes:?} MiB");
    // Two eighths to reach the size it needs; from there on it may double.
    let (early, late) = (sizes[1], sizes.iter().max().copied().unwrap_or_default());
    assert!(late <= 2 * early, "the file grew from {early} to {late} MiB");
    let state = Store::open(&path)?.load()?;
    assert_eq!(state.end(), Slot(batches * BATCH), "and it holds what it should");
    Ok(())
}

fn ballot() -> Ballot {
    Ballot { round: 1, node: NodeId(0), incarnation: Incarnation(1) }
}

fn trimmed(below: u64) -> Vec<Record> {
    AcceptorState::replay([Record::Promised(ballot())]).trim(Slot(below))
}

fn accepted(slot: u64) -> Record {
    let one = RequestNumber(1);
    let request = |number: u64| Request {
        client: ClientId(1),
        number: one,
        low_water: one,
        ttl_ms: 0,
        time_ms: number,
        body: vec![number as u8; COMMAND_BYTES].into(),
    };
    let commands = (slot..slot + BATCH).map(|number| Command::Request(request(number))).collect();
    Record::Accepted(Run { ballot: ballot(), after: Slot(slot), first: Slot(slot), commands })
}
