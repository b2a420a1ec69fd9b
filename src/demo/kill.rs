//! The demonstration of durability: kill whatever you like, and nothing acknowledged is lost.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::stage::{CLIENTS, Stage, tell};
use super::{Error, proof, refuted};
use crate::local::{self, Rig};
use crate::paxos::NodeId;
use crate::wire::drop::Loss;

/// What a play is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the run's folder is made.
    pub data: PathBuf,
    /// Whether it stays.
    pub keep: bool,
    /// The binary of this crate.
    pub program: PathBuf,
    /// Which replicas are killed in the random part.
    pub seed: u64,
    /// Random kills after the planned ones.
    pub kills: u32,
}

/// Replicas.
const NODES: u16 = 5;
/// Answers that were under way when a majority died may still arrive.
const ECHO: Duration = Duration::from_millis(400);

/// Plays it, telling `out` what happens. On the main thread, inside a `LocalSet`.
///
/// # Errors
///
/// If the cluster cannot be made, does not come back, or the proof fails.
pub async fn play(options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let rig = Rig::format(local::Options {
        nodes: NODES,
        data: options.data.clone(),
        keep: options.keep,
        program: options.program.clone(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    writeln!(out, "{NODES} replicas start, each a process with a ledger of its own.")?;
    writeln!(out, "{CLIENTS} clients send messages; each waits for its answer.\n")?;
    let mut stage = Stage::open(rig, Vec::new(), Loss::default(), out).await?;
    sleep(Duration::from_millis(700)).await;
    kill_the_leader(&mut stage).await?;
    kill_a_majority(&mut stage).await?;
    kill_all(&mut stage).await?;
    let mut rng = fastrand::Rng::with_seed(options.seed);
    writeln!(stage.out, "\n{} more kills at random (seed {}).", options.kills, options.seed)?;
    for _ in 0..options.kills {
        kill_some(&mut stage, &mut rng).await?;
    }
    prove(stage, &options.program).await
}

async fn kill_the_leader(stage: &mut Stage<'_>) -> Result<(), Error> {
    let Some(leader) = stage.rig.leader().await else { return Err(refuted("nobody leads")) };
    stage.kill(&[leader], "It leads").await?;
    let took = stage.went_on().await?;
    writeln!(stage.out, "  The others elected another and went on after {took:.0?}.")?;
    stage.tell_leader().await?;
    stage.come_back(&[leader]).await
}

async fn kill_a_majority(stage: &mut Stage<'_>) -> Result<(), Error> {
    let leader = stage.rig.leader().await;
    let all = stage.rig.alive();
    let mut victims: Vec<NodeId> = leader.into_iter().collect();
    victims.extend(all.iter().filter(|node| Some(**node) != leader).take(2));
    stage.kill(&victims, "That is the leader, and a majority").await?;
    let silent_since = Instant::now();
    sleep(Duration::from_millis(1000)).await;
    let silent = stage.storm.last().is_none_or(|last| last < silent_since + ECHO);
    if !silent {
        return Err(refuted("something was decided without a majority"));
    }
    writeln!(stage.out, "  For a second nothing is decided: two of five cannot speak for all.")?;
    stage.come_back(&victims).await
}

async fn kill_all(stage: &mut Stage<'_>) -> Result<(), Error> {
    let all = stage.rig.alive();
    stage.kill(&all, "That is everyone, at once").await?;
    stage.come_back(&all).await
}

/// Kills some replicas and starts them again; a majority in half of the cases.
async fn kill_some(stage: &mut Stage<'_>, rng: &mut fastrand::Rng) -> Result<(), Error> {
    sleep(Duration::from_millis(rng.u64(20..200))).await;
    let mut nodes = stage.rig.alive();
    rng.shuffle(&mut nodes);
    nodes.truncate(rng.usize(1..=nodes.len()));
    stage.kill(&nodes, "At random").await?;
    stage.come_back(&nodes).await
}

/// Kills all, and compares what their disks hold with what the clients were told.
pub(super) async fn prove(stage: Stage<'_>, program: &Path) -> Result<(), Error> {
    let (mut rig, acknowledged, out) = stage.end().await?;
    let all = rig.alive();
    rig.kill_all(&all);
    writeln!(out, "\nThe proof. All replicas are killed; what do their disks hold?")?;
    let audited = proof::prove(program, &rig, &acknowledged)?;
    tell(out, &audited.command, &audited.said)?;
    let (count, of) = (acknowledged.len(), all.len());
    let majority = of / 2 + 1;
    writeln!(
        out,
        "Each of the {count} acknowledged messages stands at its slot on at least {majority} of \
         the {of} disks, once, in its client's order."
    )?;
    Ok(())
}
