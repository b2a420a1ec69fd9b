//! `indelible format` and `indelible node`: a member's store, and its process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::lossy::LossArgs;
use super::revive::{Own, ReviveArgs};
use crate::cluster::{Cluster, Service, is_address};
use crate::local::tied;
use crate::node::{Pace, Storage};
use crate::paxos::{Incarnation, NodeId, Slot};
use crate::rsm::{Flip, Flipped};
use crate::server;
use crate::services::chat;
use crate::services::hosted::Hosted;
use crate::steward;
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
    #[command(flatten)]
    ballast: BallastArgs,
}

/// How a store is made.
#[derive(clap::Args)]
pub(super) struct BallastArgs {
    /// Disk space held back for a full disk, in bytes: 16 MiB or more, or 0 for none
    #[arg(long, env = "INDELIBLE_BALLAST", default_value_t = Options::BALLAST_DEFAULT)]
    ballast: u64,
}

/// Run a member, in the foreground, until SIGTERM or Ctrl-C.
///
/// What it acknowledges is on its disk first. When it is killed, or the power goes, start it again
/// the same way: it reads its log, and fetches from the others what it missed. Members may be
/// started in any order, minutes apart: they work as soon as a majority runs. Before it votes it
/// asks the others what they remember of its store: one that has lost something refuses to go on,
/// and `replace` brings the member back.
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
    #[command(flatten)]
    run: RunArgs,
}

/// How a member runs.
#[derive(clap::Args)]
pub(super) struct RunArgs {
    /// Listen here, and tell the others, in place of what the cluster file says: host and port, as
    /// the others reach it. Give it each time the member is started
    #[arg(long, env = "INDELIBLE_ADDRESS", value_name = "HOST:PORT", value_parser = address)]
    address: Option<String>,
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
    /// Only for a witness: with more slots in the log than this, since a replica is away, get a
    /// copy of another's snapshot and archive. Less than twice the two above, and it always does
    #[arg(long, env = "INDELIBLE_WITNESS_LOG_SLOTS", value_name = "SLOTS")]
    #[arg(default_value_t = Pace::default().witness_log_slots)]
    witness_log_slots: u64,
    /// Obey orders to fail: for test harnesses only
    #[arg(long, env = "INDELIBLE_ALLOW_FAULTS")]
    allow_faults: bool,
    /// Leave this slot out as primary of the first view, when it proposes new values: a fault to
    /// order. It stays empty until that primary dies; the next one fills it. Once for each
    #[arg(long, env = "INDELIBLE_SKIP_SLOT", value_name = "SLOT", value_delimiter = ',')]
    skip_slot: Vec<u64>,
    /// Flip a bit of what this slot's command does, in memory only: a fault to order
    #[arg(long, env = "INDELIBLE_CORRUPT_AT", value_name = "SLOT", hide = true)]
    #[arg(requires = "allow_faults")]
    corrupt_at: Option<u64>,
    #[command(flatten)]
    lossy: LossArgs,
    #[command(flatten)]
    revive: ReviveArgs,
    /// End at once when this process, which holds our standard input, ends
    #[arg(long, env = "INDELIBLE_TIED", value_name = "PID", hide = true)]
    tied: Option<u32>,
}

impl BallastArgs {
    pub(super) fn options(&self) -> Result<Options, Failure> {
        if (1..Options::BALLAST_LEAST).contains(&self.ballast) {
            let (given, least) = (self.ballast, Options::BALLAST_LEAST);
            let line =
                format!("--ballast {given}: less than {least} opens no full disk; 0 is for none");
            return Err(Failure::new(Status::Usage, line));
        }
        Ok(Options { ballast_bytes: self.ballast })
    }
}

pub(super) fn format(args: &FormatArgs) -> Result<(), Failure> {
    let cluster = args.cluster.cluster()?;
    let node = member(&cluster, args.id)?;
    let options = args.ballast.options()?;
    let identity = Identity::new(&cluster.identity(), node, now());
    Store::format(&args.store, &identity, options)?;
    tracing::info!(store = %args.store.display(), "made");
    Ok(())
}

/// The member with this id.
pub(super) fn member(cluster: &Cluster, id: u16) -> Result<NodeId, Failure> {
    if cluster.member(NodeId(id)).is_some() {
        return Ok(NodeId(id));
    }
    let line = format!("id {id}: the cluster has {} members, from 0 on", cluster.members());
    Err(Failure::new(Status::Usage, line))
}

/// What a store that is made now is called.
pub(super) fn now() -> Incarnation {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Incarnation(since.as_millis() as u64)
}

fn address(text: &str) -> Result<String, String> {
    if is_address(text) { Ok(text.to_owned()) } else { Err("not HOST:PORT".to_owned()) }
}

pub(super) fn run(args: NodeArgs) -> Result<(), Failure> {
    args.run.tie()?;
    let cluster = args.cluster.cluster()?;
    let (node, store) = (NodeId(args.id), args.store.as_path());
    serve(&Own { cluster: &cluster, named: &args.cluster, node, store }, args.run)
}

impl RunArgs {
    /// The steward beside a member, if it has one.
    fn steward(&self, own: &Own<'_>) -> Result<Option<steward::Options>, Failure> {
        let (snapshot, margin) = (self.snapshot_slots, self.margin_slots);
        let mut run = vec![
            format!("--snapshot-slots={snapshot}").into(),
            format!("--margin-slots={margin}").into(),
        ];
        run.extend(self.lossy.words().map(OsString::from));
        let revival = self.revive.revival(own, &run)?;
        let member = own.cluster.member(own.node).filter(|member| !member.witness);
        let member = member.filter(|_| own.cluster.service == Service::Poll);
        Ok(member.map(|member| steward::Options {
            node: own.node,
            address: self.address.as_ref().unwrap_or(&member.address).clone(),
            revival,
        }))
    }

    /// Ties this process to its parent, if it was started by one that wants so.
    pub(super) fn tie(&self) -> Result<(), Failure> {
        let Some(parent) = self.tied else { return Ok(()) };
        tied::die_with(parent).map_err(|error| Failure::system(&error))?;
        tied::end_with_stdin().map_err(|error| Failure::system(&error))
    }
}

/// Runs a member on its store until it is asked to end, or must.
pub(super) fn serve(own: &Own<'_>, args: RunArgs) -> Result<(), Failure> {
    let Own { cluster, node, store, .. } = *own;
    let steward = args.steward(own)?;
    let storage = Storage::open_as(store, &cluster.identity(), node)?;
    let recovery = storage.wal.recovery();
    tracing::info!(
        node = node.0,
        records = recovery.records,
        cut = recovery.cut,
        bytes = recovery.bytes,
        took_ms = recovery.took.as_millis() as u64,
        "recovered"
    );
    // Each node has a bit of its own, so that no two go astray together.
    let flip = args.corrupt_at.map(|at| Flip { at: Slot(at), bit: (node.0 % 8) as u8 });
    let incarnation = storage.wal.identity().incarnation;
    if cluster.witnesses().contains(&node) && args.log_file.is_some() {
        tracing::warn!("a witness executes nothing: its --log-file stays empty");
    }
    let line_of: server::LineOf = match cluster.service {
        Service::Chat => chat::logged,
        Service::Lock => super::lock::logged,
        Service::Poll => super::poll::logged,
    };
    let log_file = args.log_file.map(|path| (path, line_of));
    let options = server::Options {
        node,
        incarnation,
        address: args.address,
        allow_faults: args.allow_faults,
        skip_slots: args.skip_slot.iter().copied().map(Slot).collect(),
        log_file,
        trace: args.trace,
        loss: args.lossy.loss(),
        pace: Pace {
            snapshot_slots: args.snapshot_slots,
            margin_slots: args.margin_slots,
            witness_log_slots: args.witness_log_slots,
            ..Pace::default()
        },
    };
    super::runtime()?.block_on(async {
        let stop = stopped().map_err(|error| Failure::system(&error))?;
        let machine = Flipped::new(Hosted::of(cluster.service), flip);
        let beside = async {
            match steward {
                Some(steward) => steward::run(cluster, steward).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = server::run(cluster, options, storage, machine, stop) => Ok(ended?),
            () = beside => unreachable!("a steward never ends"),
        }
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
