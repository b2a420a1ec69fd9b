//! What a transfer costs the others: how many messages a cluster acknowledges before, while and
//! after one of its nodes gets snapshot and archive.
//!
//! Three nodes on this machine, and 64 clients that say chat messages of 100 bytes all the time,
//! each as soon as its last is acknowledged. Round after round a follower is killed (SIGKILL) and
//! stays away for so many messages that the others' logs begin far above what it holds; the last
//! ten seconds of that are *before*. Then it starts: *while* lasts as long as it says that it gets
//! a transfer. Once it has applied what the others have, ten seconds are *after*. Beside each rate
//! stands the processor time, in cores, of the leader, the other follower, the one that gets, and
//! the clients: where they have two cores together, what one takes the others lack.
//!
//! `INDELIBLE_BENCH_DIR` names the folder whose disk is meant. Whatever else the machine does shows.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use indelible::client::Client;
use indelible::local::{Options, Rig};
use indelible::paxos::{ClientId, NodeId};
use indelible::services::chat::Message;
use indelible::wire::client::NodeStatus;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The program that is measured.
const PROGRAM: &str = env!("CARGO_BIN_EXE_indelible");

/// Messages that a follower misses, and rounds, unless the command line says otherwise.
const MISSED: u64 = 1_000_000;
const ROUNDS: u64 = 4;

/// Fewer the others may still have in their logs.
const MISSED_MIN: u64 = 100_000;

const CLIENTS: usize = 64;

const MESSAGE_BYTES: usize = 100;

/// How long a window is whose end nothing else says.
const WINDOW: Duration = Duration::from_secs(10);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// The kernel's unit of processor time.
const CLOCK_TICKS: f64 = 100.0;

/// Whose processor time is told: leader, other follower, the one that gets, clients.
const PARTIES: usize = 4;

/// A stretch of time.
#[derive(Clone, Copy)]
struct Window {
    seconds: f64,
    /// Acknowledged a second.
    rate: f64,
    /// In cores.
    processors: [f64; PARTIES],
}

/// What was seen at one moment.
struct Look {
    at: Instant,
    acknowledged: u64,
    ticks: [f64; PARTIES],
}

/// One round.
struct Round {
    before: Window,
    during: Window,
    after: Window,
    /// Entries of the archive that came.
    entries: u64,
}

/// A cluster under load.
struct Scene {
    rig: Rig,
    acknowledged: Arc<AtomicU64>,
}

fn main() -> Outcome<()> {
    let (missed, rounds) = numbers()?;
    tell_where(missed, rounds)?;
    println!("| round | | seconds | acknowledged/s | leader | other | receiver | clients |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rounds = runtime.block_on(measure(missed, rounds))?;
    let ratios = |base: fn(&Round) -> f64| {
        let mut ratios: Vec<f64> = rounds.iter().map(|it| it.during.rate / base(it)).collect();
        ratios.sort_by(f64::total_cmp);
        (ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1])
    };
    let told =
        |(median, least, most): (f64, f64, f64)| format!("{median:.2} ({least:.2}-{most:.2})");
    println!("while / before (two nodes up): {}", told(ratios(|it| it.before.rate)));
    println!("while / after (three nodes up): {}", told(ratios(|it| it.after.rate)));
    let entries: u64 = rounds.iter().map(|it| it.entries).sum();
    let seconds: f64 = rounds.iter().map(|it| it.during.seconds).sum();
    println!("{:.0} entries a second came", entries as f64 / seconds);
    Ok(())
}

/// The numbers on the command line, where cargo adds a flag of its own.
fn numbers() -> Outcome<(u64, u64)> {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let given: Vec<u64> = words
        .map(|word| word.parse().map_err(|_| format!("{word} is no number")))
        .collect::<Result<_, _>>()?;
    let missed = given.first().copied().unwrap_or(MISSED);
    let rounds = given.get(1).copied().unwrap_or(ROUNDS);
    if missed < MISSED_MIN || rounds == 0 {
        return Err(format!("at least {MISSED_MIN} messages and one round").into());
    }
    Ok((missed, rounds))
}

/// Machine, date and command, for whoever reads the table later.
fn tell_where(missed: u64, rounds: u64) -> Outcome<()> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let cores = std::thread::available_parallelism()?;
    let date = humantime::format_rfc3339_seconds(SystemTime::now());
    let (kernel, load) = (kernel.trim(), load.split(' ').next().unwrap_or("?"));
    println!("{date}, {cores} cores, Linux {kernel}, load {load} before");
    println!("make bench-transfer MISSED={missed} ROUNDS={rounds}");
    Ok(())
}

async fn measure(missed: u64, rounds: u64) -> Outcome<Vec<Round>> {
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
    let acknowledged = Arc::new(AtomicU64::new(0));
    let talk = |_| {
        let client = Client::open(rig.cluster(), ClientId(uuid::Uuid::new_v4().as_u128()));
        tokio::spawn(talk(client, Arc::clone(&acknowledged)))
    };
    let talkers: Vec<_> = (0..CLIENTS).map(talk).collect();
    let mut scene = Scene { rig, acknowledged };
    let mut done = Vec::new();
    for number in 1..=rounds {
        let round = scene.round(missed).await?;
        round.tell(number);
        done.push(round);
    }
    talkers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(done)
}

fn folder() -> Outcome<tempfile::TempDir> {
    let target = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let parent = std::env::var_os("INDELIBLE_BENCH_DIR").map_or_else(target, PathBuf::from);
    Ok(tempfile::Builder::new().prefix("bench-transfer-").tempdir_in(parent)?)
}

/// Says one thing after another, until it is stopped.
async fn talk(client: Client, acknowledged: Arc<AtomicU64>) {
    let text = Bytes::from(vec![b'x'; MESSAGE_BYTES]);
    loop {
        let message = Message { sender: Bytes::from_static(b"bench"), text: text.clone() };
        let asking = async { client.submit(message.encode()).await?.reply().await };
        if asking.await.is_err() {
            return;
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

impl Scene {
    async fn round(&mut self, missed: u64) -> Outcome<Round> {
        let leader = self.rig.leader().await.ok_or("nobody leads")?;
        let followers = [0, 1, 2].map(NodeId).into_iter().filter(|node| *node != leader);
        let [other, receiver] = followers.collect::<Vec<_>>()[..] else { unreachable!() };
        let nodes = [leader, other, receiver];
        self.rig.kill(receiver);
        let until = self.acknowledged.load(Ordering::Relaxed) + missed;
        let mut looks = std::collections::VecDeque::new();
        self.wait("the load", async |scene: &mut Scene| {
            looks.push_back(scene.look(nodes)?);
            while looks.len() > 2 && looks[1].at.elapsed() >= WINDOW {
                looks.pop_front();
            }
            Ok(scene.acknowledged.load(Ordering::Relaxed) >= until)
        })
        .await?;
        let before = self.window(&looks[0], nodes)?;
        self.rig.start(receiver)?;
        self.wait("a transfer", async |scene: &mut Scene| {
            let status = scene.status(receiver).await?;
            Ok(status.is_some_and(|status| status.transfer.is_some()))
        })
        .await?;
        let (first, mut entries) = (self.look(nodes)?, 0);
        self.wait("its end", async |scene: &mut Scene| {
            let Some(status) = scene.status(receiver).await? else { return Ok(false) };
            entries = status.transfer.map_or(entries, |it| it.done + it.to_come);
            Ok(status.transfer.is_none())
        })
        .await?;
        let during = self.window(&first, nodes)?;
        self.wait("the rest", async |scene: &mut Scene| {
            let status = scene.status(receiver).await?;
            let ahead = scene.status(leader).await?.ok_or("the leader is silent")?;
            Ok(status.is_some_and(|status| status.applied.0 + 1000 > ahead.applied.0))
        })
        .await?;
        let first = self.look(nodes)?;
        tokio::time::sleep(WINDOW).await;
        let after = self.window(&first, nodes)?;
        Ok(Round { before, during, after, entries })
    }

    /// Waits until something is so.
    async fn wait(
        &mut self,
        what: &str,
        mut is_so: impl AsyncFnMut(&mut Scene) -> Outcome<bool>,
    ) -> Outcome<()> {
        let until = Instant::now() + PATIENCE;
        while !is_so(self).await? {
            if Instant::now() > until {
                return Err(format!("{what} takes longer than {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn status(&mut self, node: NodeId) -> Outcome<Option<NodeStatus>> {
        if !self.rig.is_alive(node) {
            return Err(format!("node {node} is dead:\n{}", self.rig.log(node)).into());
        }
        Ok(self.rig.status(node).await)
    }

    fn look(&mut self, nodes: [NodeId; 3]) -> Outcome<Look> {
        let mut ticks = [0.0; PARTIES];
        for (at, node) in nodes.into_iter().enumerate() {
            let id = self.rig.process_id(node).ok_or("it never ran")?;
            if self.rig.is_alive(node) {
                ticks[at] = processor_ticks(&id.to_string())?;
            }
        }
        ticks[PARTIES - 1] = processor_ticks("self")?;
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        Ok(Look { at: Instant::now(), acknowledged, ticks })
    }

    /// From a look until now.
    fn window(&mut self, first: &Look, nodes: [NodeId; 3]) -> Outcome<Window> {
        let last = self.look(nodes)?;
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let processors = std::array::from_fn(|at| {
            (last.ticks[at] - first.ticks[at]).max(0.0) / CLOCK_TICKS / seconds
        });
        let rate = (last.acknowledged - first.acknowledged) as f64 / seconds;
        Ok(Window { seconds, rate, processors })
    }
}

/// User and system time of a process.
fn processor_ticks(process: &str) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok()).ok_or("stat");
    Ok(field(11)? + field(12)?)
}

impl Round {
    fn tell(&self, number: u64) {
        let windows = [("before", self.before), ("while", self.during), ("after", self.after)];
        for (name, Window { seconds, rate, processors: [leader, other, receiver, clients] }) in
            windows
        {
            println!(
                "| {number} | {name} | {seconds:.1} | {rate:.0} | {leader:.2} | {other:.2} | \
                 {receiver:.2} | {clients:.2} |"
            );
        }
    }
}
