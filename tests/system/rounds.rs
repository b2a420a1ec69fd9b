//! Any number of kills, as long as f+1 replicas are up at a time: who came back counts.
//!
//! Of 2f+1 replicas each is killed (SIGKILL) in its turn and started again, one at a time and f at
//! a time by turns, round after round; so in the end nobody is left who was up all the time, and
//! what is known is known from disks and from each other. The others go on meanwhile. Then all are
//! killed at once. At the end all logs are one, and nothing acknowledged is missing.
//!
//! One-line bugs that turn it red: an acceptance that is in memory alone; a replica that never asks
//! for what it missed; one that takes what it has accepted for decided at its restart.

use std::time::{Duration, Instant};

use indelible::demo::storm::Storm;
use indelible::local::{Options, Rig};
use indelible::paxos::NodeId;
use libtest_mimic::{Failed, Trial};

use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("rounds::no_number_of_kills_over_time_is_too_many", rounds)]
}

/// How many may be down at a time.
const F: u16 = 2;

/// Replicas.
const NODES: u16 = 2 * F + 1;

/// Rounds at least, however slow the machine is: one of each kind.
const ROUNDS_MIN: u32 = 2;

/// How long the cluster may take to come back to work.
const PATIENCE: Duration = Duration::from_secs(30);

fn rounds() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let rig = Rig::format(Options {
        nodes: NODES,
        data: data.path().to_owned(),
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(play(rig)))
}

async fn play(mut rig: Rig) -> Result<(), Failed> {
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let storm = Storm::start(rig.cluster(), 4);
    let (start, mut round, mut kills, mut longest) = (Instant::now(), 0, 0, Duration::ZERO);
    while round < ROUNDS_MIN || start.elapsed() < scale::rounds() {
        let together = if round % 2 == 0 { 1 } else { F };
        for first in 0..NODES {
            let victims: Vec<NodeId> =
                (first..first + together).map(|node| NodeId(node % NODES)).collect();
            rig.kill_all(&victims);
            let others = storm.next(PATIENCE).await.ok_or("f+1 replicas do not go on")?;
            longest = longest.max(others);
            kills += victims.len();
            come_back(&mut rig, &victims).await?;
        }
        round += 1;
    }
    let all = rig.alive();
    rig.kill_all(&all);
    kills += all.len();
    come_back(&mut rig, &all).await?;
    storm.next(PATIENCE).await.ok_or("they do not come back to work")?;
    let acknowledged = ending::prove(storm, &mut rig, PATIENCE).await?;
    eprintln!(
        "rounds: {kills} kills in {round} rounds, {:.1?}; the longest wait for the others' next \
         answer {longest:.0?}; {acknowledged} acknowledged",
        start.elapsed()
    );
    Ok(())
}

/// Starts replicas again, and waits until they answer.
async fn come_back(rig: &mut Rig, nodes: &[NodeId]) -> Result<(), Failed> {
    for node in nodes {
        rig.start(*node)?;
    }
    for node in nodes {
        rig.answers(*node, PATIENCE).await?;
    }
    Ok(())
}
