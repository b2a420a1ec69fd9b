//! `indelible bench`: clients that each wait for the answer before they ask again.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use serde_json::json;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::load::{self, Amount, Load, Tally, Work};
use super::lossy::LossArgs;
use crate::client::{Client, Options};
use crate::cluster::{Cluster, MEMBERS_MAX, Service};
use crate::local::{self, Rig};
use crate::paxos::ClientId;

/// Measure: clients that each wait for the answer before they ask again
///
/// Prints the rate of acknowledged messages and the percentiles of their latency (HDR histogram).
/// The messages stay in the room's log. With --locks each client locks and unlocks a lock of its
/// own, and what is counted is pairs of that.
///
///   indelible bench --cluster-file room.toml --clients 64 --seconds 10 --size 256
///   indelible bench --local 3       # a cluster of three, started here and removed again
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Start so many nodes on this machine and measure these
    #[arg(long, env = "INDELIBLE_LOCAL", value_name = "NODES")]
    local: Option<u16>,
    /// Where these keep their stores; a temporary folder where that cannot be written
    #[arg(long, env = "INDELIBLE_DATA", default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// How many clients
    #[arg(long, env = "INDELIBLE_CLIENTS", default_value_t = 16)]
    clients: usize,
    /// How long to measure, after a tenth of it to warm up
    #[arg(long, env = "INDELIBLE_SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Measure the lock service: each takes a lock of its own, and gives it back
    #[arg(long, env = "INDELIBLE_LOCKS")]
    locks: bool,
    /// Bytes of each message
    #[arg(long, env = "INDELIBLE_SIZE", default_value_t = 256)]
    size: usize,
    #[command(flatten)]
    lossy: LossArgs,
    /// For scripts: one object
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// How long a cluster that is started here may take to be ready.
const READY: Duration = Duration::from_secs(10);

/// The time to live of a session that locks.
const LEASE: Duration = Duration::from_secs(30);

impl BenchArgs {
    fn service(&self) -> Service {
        if self.locks { Service::Lock } else { Service::Chat }
    }
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    if args.clients == 0 || args.seconds == 0 {
        return Err(Failure::new(Status::Usage, "at least one client and one second"));
    }
    let tally = super::runtime()?.block_on(async {
        match args.local {
            Some(nodes) => measure_here(nodes, args).await,
            None => measure(&args.cluster.cluster_of(args.service())?, args).await,
        }
    })?;
    let line = report(args, &tally);
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::system(&error))
}

/// Measures a cluster of processes on this machine, which go when it is done.
async fn measure_here(nodes: u16, args: &BenchArgs) -> Result<Tally, Failure> {
    if nodes == 0 || usize::from(nodes) > MEMBERS_MAX {
        let line = format!("--local {nodes}: a cluster has 1 to {MEMBERS_MAX} nodes");
        return Err(Failure::new(Status::Usage, line));
    }
    let options = local::Options {
        nodes,
        data: args.data.clone(),
        keep: false,
        program: std::env::current_exe().map_err(|error| Failure::system(&error))?,
        allow_faults: false,
        log: "warn".to_owned(),
    };
    let mut rig = Rig::format_as(options, |cluster| cluster.with_service(args.service()))?;
    rig.start_all()?;
    rig.ready(READY).await?;
    measure(rig.cluster(), args).await
}

async fn measure(cluster: &Cluster, args: &BenchArgs) -> Result<Tally, Failure> {
    let measure = Duration::from_secs(args.seconds);
    let amount = Amount::Time { warm_up: measure / 10, measure };
    let name = Bytes::from_static(b"bench");
    let work = if args.locks { Work::Lock } else { Work::Say(args.size) };
    let load = Load { clients: args.clients, name, work, amount };
    let id = || ClientId(uuid::Uuid::new_v4().as_u128());
    // What its clients leave behind in a lock service goes.
    let ttl = if args.locks { LEASE } else { Duration::ZERO };
    let options = Options { ttl, loss: args.lossy.loss(), ..Options::default() };
    let open = || Client::open_with(cluster, id(), options);
    let tally = load::run(&load, &ProgressBar::hidden(), open).await?;
    if tally.acknowledged == 0 {
        return Err(Failure::new(Status::Unavailable, "no quorum: nothing was acknowledged"));
    }
    Ok(tally)
}

fn report(args: &BenchArgs, tally: &Tally) -> String {
    let count = tally.acknowledged;
    let rate = count as f64 / args.seconds as f64;
    if args.json && args.locks {
        let mut object = json!({
            "clients": args.clients, "seconds": args.seconds, "pairs": count, "rate": rate,
        });
        tally.latency_into(&mut object);
        return object.to_string();
    }
    if args.json {
        let mut object = json!({
            "clients": args.clients, "size": args.size, "seconds": args.seconds,
            "acknowledged": count, "rate": rate,
        });
        tally.latency_into(&mut object);
        return object.to_string();
    }
    let latency = tally.latency();
    let (clients, size) = (args.clients, args.size);
    if args.locks {
        return format!(
            "{count} locked and unlocked, {rate:.0}/s with {clients} clients; {latency}"
        );
    }
    format!("{count} acknowledged, {rate:.0}/s with {clients} clients of {size} bytes; {latency}")
}
