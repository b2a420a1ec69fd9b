//! `indelible format` and `indelible node`: a member's store, and its process.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::lossy::LossArgs;
use crate::local::tied;
use crate::node::{Pace, Storage};
use crate::paxos::{Incarnation, NodeId, Slot};
use crate::server;
use crate::services::chat::{self, Chat};
use crate::wal::{Identity, Options, Store};

/// Make the store of a member, once, before it first runs.
///
/// A node never makes one by itself: a member that starts empty under its old name has forgotten
/// what it promised. Machines need not talk to each other for this; the cluster's name is its
/// identity.
///
///   indelible format --cluster-file room.toml --id 0 --store /var/lib/indelible/0
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct FormatArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Which member
    #[arg(long, env = "INDELIBLE_ID")]
    id: u16,
    /// The folder to make
    #[arg(long, env = "INDELIBLE_STORE", value_name = "DIR")]
    store: PathBuf,
    /// Disk space held back for a full disk, in bytes: 16 MiB or more, or 0 for none
    #[arg(long, env = "INDELIBLE_BALLAST", default_value_t = Options::BALLAST_DEFAULT)]
    ballast: u64,
}

/// Run a member, in the foreground, until SIGTERM or Ctrl-C.
///
/// What it acknowledges is on its disk first. When it is killed, or the power goes, start it again
/// the same way: it reads its log, and fetches from the others what it missed. Members may be
/// started in any order, minutes apart: they work as soon as a majority runs.
///
///   indelible node --cluster-file room.toml --id 0 --store /var/lib/indelible/0
///   indelible node --f 1 --replicas a:7000,b:7000,c:7000 --id 0 --store /var/lib/indelible/0
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Which member
    #[arg(long, env = "INDELIBLE_ID")]
    id: u16,
    /// Its store
    #[arg(long, env = "INDELIBLE_STORE", value_name = "DIR")]
    store: PathBuf,
    /// Append each executed line to this file, `SLOT SENDER: text`, with control characters,
    /// backslashes and a sender's colons written out. A copy for people and for `verify`: a
    /// restarted node continues it, and refuses a file that is not its own
    #[arg(long, env = "INDELIBLE_LOG_FILE", value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Append to this file what the node does, a JSON line each: records, syncs, messages with what
    /// they claim of the disk, decisions. For `audit --trace`. It is written ten times a second, so
    /// that a kill may lose its end
    #[arg(long, env = "INDELIBLE_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Take a snapshot each time so many slots are applied; the log is trimmed below the older of
    /// the two that are kept. The same on all replicas, or a transfer cannot change its source
    #[arg(long, env = "INDELIBLE_SNAPSHOT_SLOTS", value_name = "SLOTS")]
    #[arg(default_value_t = Pace::default().snapshot_slots)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_slots: u64,
    /// Leave so many slots in the log below that, for replicas that lag
    #[arg(long, env = "INDELIBLE_MARGIN_SLOTS", value_name = "SLOTS")]
    #[arg(default_value_t = Pace::default().margin_slots)]
    margin_slots: u64,
    /// Obey orders to fail: for test harnesses only
    #[arg(long, env = "INDELIBLE_ALLOW_FAULTS")]
    allow_faults: bool,
    /// Leave this slot out as primary of the first view, when it proposes new values: a fault to
    /// order. It stays empty until that primary dies; the next one fills it. Once for each
    #[arg(long, env = "INDELIBLE_SKIP_SLOT", value_name = "SLOT", value_delimiter = ',')]
    skip_slot: Vec<u64>,
    #[command(flatten)]
    lossy: LossArgs,
    /// End at once when this process, which holds our standard input, ends
    #[arg(long, env = "INDELIBLE_TIED", value_name = "PID", hide = true)]
    tied: Option<u32>,
}

pub(super) fn format(args: &FormatArgs) -> Result<(), Failure> {
    let cluster = args.cluster.cluster()?;
    let node = NodeId(args.id);
    if cluster.member(node).is_none() {
        let line = format!("--id {}: the cluster has {} members", args.id, cluster.members());
        return Err(Failure::new(Status::Usage, line));
    }
    if (1..Options::BALLAST_LEAST).contains(&args.ballast) {
        let (given, least) = (args.ballast, Options::BALLAST_LEAST);
        let line =
            format!("--ballast {given}: less than {least} opens no full disk; 0 is for none");
        return Err(Failure::new(Status::Usage, line));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let identity = Identity::new(&cluster.name, node, Incarnation(since.as_millis() as u64));
    Store::format(&args.store, &identity, Options { ballast_bytes: args.ballast })?;
    tracing::info!(store = %args.store.display(), "made");
    Ok(())
}

pub(super) fn run(args: NodeArgs) -> Result<(), Failure> {
    if let Some(parent) = args.tied {
        tied::die_with(parent).map_err(|error| Failure::system(&error))?;
        tied::end_with_stdin().map_err(|error| Failure::system(&error))?;
    }
    let cluster = args.cluster.cluster()?;
    let node = NodeId(args.id);
    let storage = Storage::open_as(&args.store, &cluster.name, node)?;
    let recovery = storage.wal.recovery();
    tracing::info!(
        node = args.id,
        records = recovery.records,
        cut = recovery.cut,
        bytes = recovery.bytes,
        took_ms = recovery.took.as_millis() as u64,
        "recovered"
    );
    let incarnation = storage.wal.identity().incarnation;
    let log_file = args.log_file.map(|path| (path, chat::logged as server::LineOf));
    let options = server::Options {
        node,
        incarnation,
        allow_faults: args.allow_faults,
        skip_slots: args.skip_slot.iter().copied().map(Slot).collect(),
        log_file,
        trace: args.trace,
        loss: args.lossy.loss(),
        pace: Pace {
            snapshot_slots: args.snapshot_slots,
            margin_slots: args.margin_slots,
            ..Pace::default()
        },
    };
    super::runtime()?.block_on(async {
        let stop = stopped().map_err(|error| Failure::system(&error))?;
        Ok(server::run(&cluster, options, storage, Chat, stop).await?)
    })
}

/// Resolves when this process is asked to end.
fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
