//! What a long history costs: a line for each number of messages.
//!
//! A cluster of three on this machine is told so many chat messages of 100 bytes by 64 clients. One
//! follower is down from the first thousand on until nine tenths are said, and then comes back on
//! an idle cluster: how many messages it gets a second. With all three up the last tenth follows:
//! how many are acknowledged a second. Then each process is asked for its resident memory, each
//! store for the blocks it holds, and a follower is killed (SIGKILL) and started: how long until it
//! has applied everything.
//!
//! `INDELIBLE_BENCH_DIR` names the folder whose disk is meant. Whatever else the machine does shows.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use indelible::local::{Options, Rig};
use indelible::paxos::{NodeId, Slot};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The program that is measured.
const PROGRAM: &str = env!("CARGO_BIN_EXE_indelible");

/// How many messages, unless the command line says otherwise.
const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Fewer have no tenth to speak of.
const SIZE_MIN: u64 = 10_000;

const CLIENTS: u32 = 64;

/// How often a node is started again.
const RESTARTS: usize = 5;

/// Messages before each.
const BETWEEN_RESTARTS: u64 = 1700;

const MESSAGE_BYTES: u32 = 100;

/// After so many messages one node misses the rest.
const HEARD: u64 = 1000;

/// How long anything but the load may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one size costs.
struct Costs {
    memory_bytes: u64,
    store_bytes: u64,
    rate: f64,
    restart: Duration,
    catch_up: f64,
}

fn main() -> Outcome<()> {
    let sizes = sizes()?;
    tell_where(&sizes)?;
    println!(
        "| messages | memory of a node | disk a message | acknowledged/s | restart | catch-up/s |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for size in sizes {
        let costs = runtime.block_on(measure(size))?;
        println!(
            "| {size} | {:.1} MB | {:.0} bytes | {:.0} | {:.2} s | {:.0} |",
            costs.memory_bytes as f64 / 1e6,
            costs.store_bytes as f64 / size as f64,
            costs.rate,
            costs.restart.as_secs_f64(),
            costs.catch_up,
        );
    }
    Ok(())
}

/// The numbers on the command line, where cargo adds a flag of its own.
fn sizes() -> Outcome<Vec<u64>> {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let given: Vec<u64> = words
        .map(|word| word.parse().map_err(|_| format!("{word} is no number")))
        .collect::<Result<_, _>>()?;
    if let Some(small) = given.iter().find(|size| **size < SIZE_MIN) {
        return Err(format!("{small} messages are too few: {SIZE_MIN} at least").into());
    }
    Ok(if given.is_empty() { SIZES.to_vec() } else { given })
}

/// Machine, date and command, for whoever reads the table later.
fn tell_where(sizes: &[u64]) -> Outcome<()> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let cores = std::thread::available_parallelism()?;
    let date = humantime::format_rfc3339_seconds(SystemTime::now());
    let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
    let (kernel, load) = (kernel.trim(), load.split(' ').next().unwrap_or("?"));
    println!("{date}, {cores} cores, Linux {kernel}, load {load} before");
    println!("make bench-growth SIZES=\"{}\"", sizes.join(" "));
    Ok(())
}

async fn measure(size: u64) -> Outcome<Costs> {
    let folder = folder()?;
    let mut rig = Rig::format(Options {
        nodes: 3,
        data: folder.path().to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "warn".to_owned(),
    })?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    say(&rig, HEARD)?;
    let late = follower(&mut rig).await?;
    rig.kill(late);
    let missed = size - size / 10 - HEARD;
    say(&rig, missed)?;
    let catch_up = missed as f64 / comes_back(&mut rig, late).await?.as_secs_f64();
    let rate = say(&rig, size / 10)?;
    rig.ready(PATIENCE).await?;
    let nodes = [NodeId(0), NodeId(1), NodeId(2)];
    let memory = nodes.iter().map(|node| resident_bytes(&rig, *node)).collect::<Result<_, _>>()?;
    let disk = nodes.iter().map(|node| disk_bytes(&rig.store(*node))).collect::<Result<_, _>>()?;
    let (memory, disk): (Vec<u64>, Vec<u64>) = (memory, disk);
    let restart = restart(&mut rig).await?;
    Ok(Costs {
        memory_bytes: memory.into_iter().max().unwrap_or_default(),
        store_bytes: disk.iter().sum::<u64>() / disk.len() as u64,
        rate,
        restart,
        catch_up,
    })
}

/// The median of some restarts, each at another distance from the last snapshot: what lies above
/// that is applied again.
async fn restart(rig: &mut Rig) -> Outcome<Duration> {
    let mut took = Vec::new();
    for _ in 0..RESTARTS {
        say(rig, BETWEEN_RESTARTS)?;
        rig.ready(PATIENCE).await?;
        let killed = follower(rig).await?;
        rig.kill(killed);
        took.push(comes_back(rig, killed).await?);
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

fn folder() -> Outcome<tempfile::TempDir> {
    let target = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let parent = std::env::var_os("INDELIBLE_BENCH_DIR").map_or_else(target, PathBuf::from);
    Ok(tempfile::Builder::new().prefix("bench-growth-").tempdir_in(parent)?)
}

/// Has so many messages said; how many were acknowledged a second.
fn say(rig: &Rig, count: u64) -> Outcome<f64> {
    let mut chat = Command::new(PROGRAM);
    chat.args(["chat", "--json", &format!("--batch={count}"), &format!("--clients={CLIENTS}")]);
    chat.arg(format!("--size={MESSAGE_BYTES}"));
    let output = chat.arg("--cluster-file").arg(rig.cluster_file()).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    told["rate"].as_f64().ok_or_else(|| "the batch tells no rate".into())
}

async fn follower(rig: &mut Rig) -> Outcome<NodeId> {
    let leader = rig.leader().await.ok_or("nobody leads")?;
    let alive = rig.alive();
    alive.into_iter().find(|node| *node != leader).ok_or_else(|| "no follower is alive".into())
}

/// Starts a node; how long until it has applied what the others have.
async fn comes_back(rig: &mut Rig, node: NodeId) -> Outcome<Duration> {
    let others = rig.statuses().await;
    let end = others.into_iter().flatten().map(|status| status.end).max().unwrap_or(Slot(0));
    let started = Instant::now();
    rig.start(node)?;
    while rig.status(node).await.is_none_or(|status| status.applied < end) {
        if !rig.is_alive(node) || started.elapsed() > PATIENCE {
            return Err(format!("node {node} does not come back:\n{}", rig.log(node)).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(started.elapsed())
}

/// As the kernel counts it.
fn resident_bytes(rig: &Rig, node: NodeId) -> Outcome<u64> {
    let id = rig.process_id(node).ok_or("it never ran")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

/// Blocks, not lengths: files may have holes.
fn disk_bytes(path: &Path) -> Outcome<u64> {
    let own = fs::metadata(path)?;
    if !own.is_dir() {
        return Ok(own.blocks() * 512);
    }
    fs::read_dir(path)?.map(|entry| disk_bytes(&entry?.path())).sum()
}
