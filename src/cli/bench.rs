//! `indelible bench`: clients that each wait for the answer before they ask again.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use serde_json::json;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::load::{self, Amount, Load, Tally};
use super::lossy::LossArgs;
use crate::client::Client;
use crate::cluster::{Cluster, MEMBERS_MAX, Service};
use crate::local::{self, Rig};
use crate::paxos::ClientId;

/// Measure: clients that each wait for the answer before they ask again
///
/// Prints the rate of acknowledged messages and the percentiles of their latency (HDR histogram).
/// The messages stay in the room's log.
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
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    if args.clients == 0 || args.seconds == 0 {
        return Err(Failure::new(Status::Usage, "at least one client and one second"));
    }
    let tally = super::runtime()?.block_on(async {
        match args.local {
            Some(nodes) => measure_here(nodes, args).await,
            None => measure(&args.cluster.cluster_of(Service::Chat)?, args).await,
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
    let mut rig = Rig::format(local::Options {
        nodes,
        data: args.data.clone(),
        keep: false,
        program: std::env::current_exe().map_err(|error| Failure::system(&error))?,
        allow_faults: false,
        log: "warn".to_owned(),
    })?;
    rig.start_all()?;
    rig.ready(READY).await?;
    measure(rig.cluster(), args).await
}

async fn measure(cluster: &Cluster, args: &BenchArgs) -> Result<Tally, Failure> {
    let measure = Duration::from_secs(args.seconds);
    let amount = Amount::Time { warm_up: measure / 10, measure };
    let name = Bytes::from_static(b"bench");
    let load = Load { clients: args.clients, name, size: args.size, amount };
    let loss = args.lossy.loss();
    let id = || ClientId(uuid::Uuid::new_v4().as_u128());
    let open = || Client::open_lossy(cluster, id(), loss);
    let tally = load::run(&load, &ProgressBar::hidden(), open).await?;
    if tally.acknowledged == 0 {
        return Err(Failure::new(Status::Unavailable, "no quorum: nothing was acknowledged"));
    }
    Ok(tally)
}

fn report(args: &BenchArgs, tally: &Tally) -> String {
    let count = tally.acknowledged;
    let rate = count as f64 / args.seconds as f64;
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
    format!("{count} acknowledged, {rate:.0}/s with {clients} clients of {size} bytes; {latency}")
}
