//! Nodes and clients that lose a share of what they say, with their connections kept.
//!
//! What is lost is said again, by the core's ticks and the client's: every message is decided once,
//! in its client's order, and shown; also while the leader is killed.
//!
//! One-line bugs that turn them red: a leader that does not send a run again; a client that does
//! not say again what is late, or waits for the next page where one was lost; a session that
//! applies twice.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indelible::client::{Client, Probe};
use indelible::demo::proof;
use indelible::demo::storm::Storm;
use indelible::local::{Options, Rig};
use indelible::paxos::{ClientId, NodeId};
use indelible::wire::drop::Loss;
use libtest_mimic::{Failed, Trial};

use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |nodes: u16, share: f64| {
        Trial::test(format!("loss::of_{share}_among_{nodes}_nodes"), move || {
            let _beside = scale::beside();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(tokio::task::LocalSet::new().run_until(play(nodes, share)))
        })
    };
    vec![trial(3, 0.05), trial(3, 0.3), trial(5, 0.3)]
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many messages one client says as fast as it can.
const LINES: usize = 100;

/// Two clients that wait for each answer, and one that does not, while the leader dies.
async fn play(nodes: u16, share: f64) -> Result<(), Failed> {
    let data = run::data()?;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_indelible"));
    let mut rig = Rig::format(Options {
        nodes,
        data: data.path().to_owned(),
        keep: false,
        program: program.clone(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let seed = scale::seed();
    rig.set_flags(&[&format!("--drop={share}"), &format!("--drop-seed={seed}")]);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let started = Instant::now();
    let storm = Storm::lossy(rig.cluster(), 2, Loss::new(share, seed).ok_or("a share")?);
    let (file, path) = (rig.cluster_file(), program.clone());
    let room = tokio::task::spawn_blocking(move || chat(&path, &file, share, seed));
    acknowledged(&storm, 10).await?;
    let leader = leader(&mut rig).await?;
    rig.kill(leader);
    acknowledged(&storm, storm.acknowledged() + 10).await?;
    reads(&rig, share, seed).await?;
    rig.start(leader)?;
    let shown = room.await??;
    let took = started.elapsed();
    let wanted: Vec<String> = (0..LINES).map(|number| format!("line {number}")).collect();
    assert_eq!(shown, wanted, "each line once, in order");
    let acknowledged = storm.end(PATIENCE).await;
    let acknowledged = acknowledged.map_err(|open| format!("{open} messages had no answer"))?;
    let beside = acknowledged.len();
    eprintln!("loss: {nodes} nodes, {share}: {LINES} lines, {beside} beside, {took:.1?}");
    caught_up(&mut rig).await?;
    let all = rig.alive();
    assert_eq!(all.len(), usize::from(nodes));
    rig.kill_all(&all);
    proof::prove(&program, &rig, &acknowledged)?;
    Ok(())
}

async fn acknowledged(storm: &Storm, count: usize) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while storm.acknowledged() < count {
        if Instant::now() > until {
            return Err(format!("{} of {count} acknowledged", storm.acknowledged()).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn leader(rig: &mut Rig) -> Result<NodeId, Failed> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(leader) = rig.leader().await {
            return Ok(leader);
        }
    }
    Err("nobody leads".into())
}

/// A read, and a question to one node, are answered too.
async fn reads(rig: &Rig, share: f64, seed: u64) -> Result<(), Failed> {
    let loss = Loss::new(share, seed).ok_or("a share")?;
    let reader = Client::open_lossy(rig.cluster(), ClientId(fastrand::u128(..)), loss);
    for _ in 0..5 {
        tokio::time::timeout(PATIENCE, reader.query(Bytes::new())).await??;
    }
    let mut answers = 0;
    for member in &rig.cluster().nodes {
        let probe = Probe::dial(&member.address, &rig.cluster().identity(), PATIENCE / 10).await;
        if let Ok(mut probe) = probe {
            probe.status().await?;
            answers += 1;
        }
    }
    assert_eq!(answers, rig.cluster().nodes.len() - 1, "all but the dead leader");
    Ok(())
}

/// Waits until all have applied the same.
async fn caught_up(rig: &mut Rig) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let statuses: Vec<_> = rig.statuses().await.into_iter().flatten().collect();
        let digests = statuses.windows(2).all(|pair| pair[0].digest == pair[1].digest);
        if digests && statuses.len() == rig.cluster().nodes.len() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the nodes do not come to the same state".into())
}

/// Says all lines at once; the lines of its own that it was shown.
fn chat(program: &Path, file: &Path, share: f64, seed: u64) -> std::io::Result<Vec<String>> {
    let mut child = Command::new(program)
        .args(["chat", "--name=ann", "--wait=60s", &format!("--drop={share}")])
        .args([format!("--drop-seed={seed}"), format!("--cluster-file={}", file.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
    for number in 0..LINES {
        writeln!(input, "line {number}")?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(format!("chat ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = text.lines().filter_map(|line| line.split_once(" ann: "));
    Ok(own.map(|(_, said)| said.to_owned()).collect())
}
