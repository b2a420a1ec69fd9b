//! `indelible bench`: clients that each wait for the answer before they ask again.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use serde_json::json;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::lossy::LossArgs;
use crate::client::Client;
use crate::cluster::{Cluster, MEMBERS_MAX};
use crate::local::{self, Rig};
use crate::paxos::ClientId;
use crate::services::chat::Message;

/// Measure a cluster: so many clients, each of which sends its next message when the last
/// one is acknowledged.
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

/// What one client, or all together, measured.
struct Measured {
    latency_us: Histogram<u64>,
}

/// How long a cluster that is started here may take to be ready.
const READY: Duration = Duration::from_secs(10);

/// Latencies are told to three digits, up to a minute.
const LATENCY_MAX_US: u64 = 60_000_000;

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    if args.clients == 0 || args.seconds == 0 {
        return Err(Failure::new(Status::Usage, "at least one client and one second"));
    }
    let measured = super::runtime()?.block_on(async {
        match args.local {
            Some(nodes) => measure_here(nodes, args).await,
            None => measure(&args.cluster.cluster()?, args).await,
        }
    })?;
    let line = report(args, &measured);
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::system(&error))
}

/// Measures a cluster of processes on this machine, which go when it is done.
async fn measure_here(nodes: u16, args: &BenchArgs) -> Result<Measured, Failure> {
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

async fn measure(cluster: &Cluster, args: &BenchArgs) -> Result<Measured, Failure> {
    let from = Instant::now() + Duration::from_millis(args.seconds * 100);
    let until = from + Duration::from_secs(args.seconds);
    let text = Bytes::from(vec![b'x'; args.size]);
    let body = Message { sender: Bytes::from_static(b"bench"), text }.encode();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..args.clients {
        let id = ClientId(uuid::Uuid::new_v4().as_u128());
        let client = Client::open_lossy(cluster, id, args.lossy.loss());
        clients.spawn(ask_and_wait(client, body.clone(), from, until));
    }
    let mut all = histogram();
    while let Some(one) = clients.join_next().await {
        let one = one.map_err(|error| Failure::new(Status::Internal, error))?;
        all.add(one).map_err(|error| Failure::new(Status::Internal, error))?;
    }
    if all.is_empty() {
        return Err(Failure::new(Status::Unavailable, "no quorum: nothing was acknowledged"));
    }
    Ok(Measured { latency_us: all })
}

async fn ask_and_wait(
    client: Client,
    body: Bytes,
    from: Instant,
    until: Instant,
) -> Histogram<u64> {
    let mut latency_us = histogram();
    while Instant::now() < until {
        let asked = Instant::now();
        let asking = async { client.submit(body.clone()).await?.reply().await };
        match tokio::time::timeout_at(until.into(), asking).await {
            Ok(Ok(_)) if asked >= from => {
                latency_us.saturating_record(asked.elapsed().as_micros() as u64);
            }
            Ok(Ok(_)) => (),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    latency_us
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX_US, 3).expect("these bounds are sound")
}

fn report(args: &BenchArgs, measured: &Measured) -> String {
    let latency = &measured.latency_us;
    let rate = latency.len() as f64 / args.seconds as f64;
    let at = |quantile| latency.value_at_quantile(quantile);
    let (p50, p90, p99, p999) = (at(0.5), at(0.9), at(0.99), at(0.999));
    let (count, max) = (latency.len(), latency.max());
    if args.json {
        return json!({
            "clients": args.clients, "size": args.size, "seconds": args.seconds,
            "acknowledged": count, "rate": rate, "p50_us": p50, "p90_us": p90, "p99_us": p99,
            "p99.9_us": p999, "max_us": max,
        })
        .to_string();
    }
    format!(
        "{count} acknowledged, {rate:.0}/s with {} clients of {} bytes; latency in microseconds: \
         p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}",
        args.clients, args.size
    )
}
