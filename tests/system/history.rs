//! A cluster with a history: snapshots and trims all the time, and much for a transfer to bring.
//!
//! What a node was about when it died is read from its disk: which snapshots lie there, whether one
//! is half written, where the log begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indelible::client::Client;
use indelible::local::{Options, Rig};
use indelible::paxos::{ClientId, NodeId, Slot, Wal};
use indelible::services::chat::Message;
use indelible::wal::Store;
use indelible::wire::client::NodeStatus;
use libtest_mimic::{Failed, Trial};

use crate::scale;

/// How long the cluster may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_indelible");

/// Snapshots so often that there is always one on its way.
pub(crate) const PACE: [&str; 2] = ["--snapshot-slots=50", "--margin-slots=20"];

/// The margin of [`PACE`].
const MARGIN_SLOTS: u64 = 20;

/// A long message: of these a transfer brings some eight in a chunk.
const LONG_BYTES: usize = 32 << 10;

/// A trial that needs nothing but a runtime.
pub(crate) fn trial<F: Future<Output = Result<(), Failed>>>(
    name: &str,
    play: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let _beside = scale::beside();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(play())
    })
}

/// A cluster at that pace, at work.
pub(crate) async fn rig(nodes: u16, data: &Path) -> Result<Rig, Failed> {
    let mut rig = format(nodes, data)?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    Ok(rig)
}

/// The same, before anything is started.
pub(crate) fn format(nodes: u16, data: &Path) -> Result<Rig, Failed> {
    let mut rig = Rig::format(Options {
        nodes,
        data: data.to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    rig.set_flags(&PACE);
    Ok(rig)
}

/// Somebody who says a lot.
pub(crate) struct Teller {
    client: Client,
    said: u64,
}

impl Teller {
    /// Who has said nothing yet.
    pub(crate) fn new(rig: &Rig) -> Teller {
        Teller { client: Client::open(rig.cluster(), ClientId(fastrand::u128(..))), said: 0 }
    }

    /// Says so many long messages, and waits until all are acknowledged.
    pub(crate) async fn say_long(&mut self, count: u64) -> Result<(), Failed> {
        self.say(count, LONG_BYTES).await
    }

    /// Says so many messages of so many bytes, and waits until all are acknowledged.
    pub(crate) async fn say(&mut self, count: u64, bytes: usize) -> Result<(), Failed> {
        let mut tickets = Vec::new();
        for number in self.said..self.said + count {
            let mut text = format!("{number} ").into_bytes();
            text.resize(bytes, b'x');
            let body = Message { sender: Bytes::from_static(b"teller"), text: text.into() };
            tickets.push(self.client.submit(body.encode()).await?);
        }
        self.said += count;
        for ticket in tickets {
            tokio::time::timeout(PATIENCE, ticket.reply()).await??;
        }
        Ok(())
    }
}

/// Waits until so many nodes answer, all so.
pub(crate) async fn all_show(
    rig: &mut Rig,
    nodes: usize,
    shows: impl Fn(&NodeStatus) -> bool,
) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answers: Vec<NodeStatus> = rig.statuses().await.into_iter().flatten().collect();
        if answers.len() == nodes && answers.iter().all(&shows) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("not as they should be: {answers:#?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the live nodes know to exist: no dead one has decided more.
pub(crate) async fn end(rig: &mut Rig) -> Slot {
    let answers = rig.statuses().await;
    answers.into_iter().flatten().map(|status| status.end).max().unwrap_or_default()
}

/// Who is asked for a snapshot by this node now.
pub(crate) async fn source(rig: &mut Rig, receiver: NodeId) -> Option<NodeId> {
    rig.status(receiver).await?.transfer.map(|transfer| transfer.from)
}

/// The snapshots in a store: their slots, ascending.
pub(crate) fn snapshots(store: &Path) -> Vec<u64> {
    let names = names(store);
    let slots = names.iter().filter_map(|name| name.strip_suffix(".snap")?.parse().ok());
    let mut slots: Vec<u64> = slots.collect();
    slots.sort_unstable();
    slots
}

/// The file of the snapshot at a slot.
pub(crate) fn snapshot(store: &Path, slot: u64) -> PathBuf {
    store.join(format!("snapshots/{slot:020}.snap"))
}

/// Whether a snapshot is half written: it lies beside the others, under no name yet.
pub(crate) fn is_being_written(store: &Path) -> bool {
    names(store).iter().any(|name| name.starts_with(".tmp"))
}

/// Whether the log of a node that is down holds more than its snapshots ask for: it died after one
/// was durable, and before the trim was.
pub(crate) fn owes_a_trim(store: &Path) -> Result<bool, Failed> {
    let trimmed = Store::open(store)?.load()?.trimmed();
    let older = snapshots(store).into_iter().rev().nth(1);
    Ok(older.is_some_and(|older| older.saturating_sub(MARGIN_SLOTS) > trimmed.0))
}

/// Whether a node's log, from some place on, ends within a transfer to it.
pub(crate) fn ends_in_a_transfer(log: &str) -> bool {
    let (begins, ends) = ("its snapshot comes", "no snapshot comes any more");
    log.rfind(begins).is_some_and(|began| log.rfind(ends).is_none_or(|ended| ended < began))
}

fn names(store: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(store.join("snapshots")) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).collect()
}
