//! Traces: what nodes did, in order, gone through again by the auditor.
//!
//! The simulator's nodes are traced under every weather, until a million replies (in `make test`
//! fewer) were held against what was synced before them; and a real cluster is, under load, while
//! its nodes are killed.
//!
//! One-line bugs that turn them red: a Persister that releases before it commits; a Prepare that
//! goes out by the early lane; a trace that begins anew at each start, or is not written before the
//! process ends; a sync that is told before the commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use indelible::audit::trace::{Line, Replay};
use indelible::demo::storm::Storm;
use indelible::local::{Options, Rig};
use indelible::paxos::{Incarnation, NodeId};
use indelible::sim::{self, Ears, Weather};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::history::{PATIENCE, PROGRAM};
use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("traces::replies_of_the_simulator_rest_on_their_disks", simulated),
        Trial::test("traces::killed_nodes_say_nothing_that_they_could_forget", killed),
    ]
}

/// Replicas.
const NODES: u16 = 3;

/// After so long a trace is in its file.
const WRITTEN: Duration = Duration::from_millis(300);

/// Kills, one after the other.
const KILLS: usize = 6;

/// The stores of one run, each gone through as it tells.
#[derive(Default)]
struct Replays {
    stores: BTreeMap<(NodeId, Incarnation), Replay>,
    broken: Option<String>,
    text: Vec<u8>,
}

impl Replays {
    /// A line, as it would be read from a file.
    fn take(&mut self, store: (NodeId, Incarnation), line: &Line) {
        self.text.clear();
        line.write(&mut self.text);
        let read = Line::read(&self.text[..self.text.len() - 1]).expect("what was written");
        let broken = self.stores.entry(store).or_default().take(read).err();
        self.broken = self.broken.take().or(broken.map(|broken| format!("{store:?}: {broken}")));
    }
}

fn simulated() -> Result<(), Failed> {
    let (began, wanted) = (Instant::now(), scale::traced_replies());
    let (mut replies, mut lines, mut runs) = (0, 0, 0);
    let mut rng = Rng::with_seed(scale::seed());
    while replies < wanted {
        let seed = rng.u64(..);
        let mut weather = Weather::draw(seed, None);
        // A store that is set back has lost what was synced: its trace would say so.
        weather.process.roll_back_ticks = 0;
        let replays = Arc::new(Mutex::new(Replays::default()));
        let of_run = Arc::clone(&replays);
        let tracer: sim::Tracer = Arc::new(Mutex::new(move |store, line: &Line| {
            of_run.lock().expect("nobody panicked").take(store, line);
        }));
        let report = sim::run_told(seed, weather, Ears { sink: None, tracer: Some(tracer) });
        let replays = replays.lock().expect("nobody panicked");
        if let Some(broken) = &replays.broken {
            return Err(format!("seed {seed}: {broken}").into());
        }
        assert!(report.events > 0);
        for replayed in replays.stores.values().map(Replay::replayed) {
            replies += replayed.claims;
            lines += replayed.lines;
        }
        runs += 1;
    }
    let took = began.elapsed();
    eprintln!("traces: {replies} replies in {lines} lines of {runs} runs, {took:.1?}");
    Ok(())
}

fn killed() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let rig = Rig::format(Options {
        nodes: NODES,
        data: data.path().to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let traces: Vec<PathBuf> =
        (0..NODES).map(|node| data.path().join(format!("{node}.trace"))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let play = play(rig, &traces);
    runtime.block_on(tokio::task::LocalSet::new().run_until(play))?;
    let (status, told) = audit(&traces)?;
    assert_eq!((status, told["verdict"].as_str()), (0, Some("proved")), "{told}");
    let sum = |name: &str| -> u64 {
        let all = told["traces"].as_array().into_iter().flatten();
        all.filter_map(|trace| trace[name].as_u64()).sum()
    };
    let starts = u64::from(NODES) + KILLS as u64;
    assert_eq!(sum("starts"), starts, "each start is told, in one file: {told}");
    assert!(sum("claims") > 200 && sum("decided") > 200, "{told}");
    eprintln!("traces: {} lines, {} sends, {} claims", sum("lines"), sum("sends"), sum("claims"));
    doctored(&traces)
}

/// A storm, and a node after the other killed and started again.
async fn play(mut rig: Rig, traces: &[PathBuf]) -> Result<(), Failed> {
    let start = |rig: &mut Rig, node: NodeId| {
        rig.set_flags(&[&format!("--trace={}", traces[usize::from(node.0)].display())]);
        rig.start(node)
    };
    for node in (0..NODES).map(NodeId) {
        start(&mut rig, node)?;
    }
    rig.ready(PATIENCE).await?;
    tokio::time::sleep(WRITTEN).await;
    let storm = Storm::start(rig.cluster(), 4);
    for kill in 0..KILLS {
        ending::more(&storm, 40, PATIENCE).await?;
        let leader = rig.leader().await;
        let victim = leader.filter(|_| kill % 2 == 0).unwrap_or(NodeId(kill as u16 % NODES));
        rig.kill(victim);
        ending::more(&storm, 10, PATIENCE).await?;
        start(&mut rig, victim)?;
        rig.answers(victim, PATIENCE).await?;
        // What was traced in the last moments before a kill need not be in the file.
        tokio::time::sleep(WRITTEN).await;
    }
    ending::prove(storm, &mut rig, PATIENCE).await?;
    Ok(())
}

/// A trace in which a vote is moved before its sync is refuted; a torn end is none of its lines,
/// and what is no trace is told.
fn doctored(traces: &[PathBuf]) -> Result<(), Failed> {
    let text = fs::read_to_string(&traces[0])?;
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let mut lines: Vec<&str> = whole.lines().collect();
    let is_vote = |at: &usize| {
        let (before, line) = (lines[at - 1], lines[*at]);
        before.starts_with("{\"synced\"") && line.contains("\"Accepted\"")
    };
    let vote = (1..lines.len()).find(is_vote).ok_or("no vote behind a sync")?;
    lines.swap(vote - 1, vote);
    let other = traces[0].with_extension("other");
    fs::write(&other, lines.join("\n") + "\n")?;
    let (status, told) = audit(std::slice::from_ref(&other))?;
    let refuted = &told["traces"][0]["refuted"];
    assert_eq!((status, refuted["rule"].as_str()), (65, Some("persist before send")), "{refuted}");
    assert_eq!(refuted["line"].as_u64(), Some(vote as u64), "{refuted}");
    fs::write(&other, &whole[..whole.len() - 3])?;
    let (status, told) = audit(std::slice::from_ref(&other))?;
    assert_eq!((status, told["traces"][0]["torn"].as_u64() > Some(0)), (0, true), "{told}");
    fs::write(&other, "hello\n")?;
    assert_eq!(audit(std::slice::from_ref(&other))?.0, 74);
    assert_eq!(audit(&[traces[0].with_extension("missing")])?.0, 66);
    Ok(())
}

fn audit(traces: &[PathBuf]) -> Result<(i32, Value), Failed> {
    let output =
        Command::new(PROGRAM).args(["audit", "--json", "--trace"]).args(traces).output()?;
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok((output.status.code().unwrap_or(-1), told))
}
