//! Random kills while messages flow, and the proof from the disks.
//!
//! Each kill (SIGKILL) hits at least one request that has no answer yet. At the end the replicas'
//! logs are compared, every server is killed, and the ledgers are read offline: every acknowledged
//! message at its slot on a majority of the disks, once, in its client's order, equal states at
//! equal marks.
//!
//! One-line bugs that turn it red: a Persister that does not commit; a session that applies twice;
//! an acceptor that forgets its promise at a restart.

use std::time::Duration;

use fastrand::Rng;
use indelible::demo::storm::Storm;
use indelible::local::{Options, Rig};
use indelible::paxos::NodeId;
use libtest_mimic::{Failed, Trial};

use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("kills::nothing_acknowledged_is_lost", kills)]
}

/// How long the cluster may take to come back to work.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the kills hit.
#[derive(Debug, Default)]
struct Hits {
    kills: u32,
    leader: u32,
    majority: u32,
}

fn kills() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut rng = Rng::with_seed(scale::seed());
    let rig = Rig::format(Options {
        nodes: 5,
        data: data.path().to_owned(),
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let play = play(rig, &mut rng);
    let hits = runtime.block_on(tokio::task::LocalSet::new().run_until(play))?;
    eprintln!("kills: {hits:?}");
    assert!(hits.leader * 4 >= hits.kills, "too few kills hit the leader: {hits:?}");
    assert!(hits.majority * 4 >= hits.kills, "too few kills took the majority: {hits:?}");
    Ok(())
}

async fn play(mut rig: Rig, rng: &mut Rng) -> Result<Hits, Failed> {
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let storm = Storm::start(rig.cluster(), 4);
    let mut hits = Hits::default();
    while hits.kills < scale::kills() {
        storm.next(PATIENCE).await.ok_or("no answer came any more")?;
        tokio::time::sleep(Duration::from_millis(rng.u64(0..150))).await;
        let leader = rig.leader().await;
        let victims = choose(&mut rig, leader, hits.kills, rng);
        while storm.unacknowledged() == 0 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        rig.kill_all(&victims);
        hits.kills += 1;
        hits.leader += u32::from(leader.is_some_and(|leader| victims.contains(&leader)));
        hits.majority += u32::from(victims.len() >= 3);
        if victims.len() < 3 && rng.bool() {
            storm.next(PATIENCE).await.ok_or("a majority did not go on")?;
        }
        for victim in &victims {
            rig.start(*victim)?;
        }
        for victim in &victims {
            rig.answers(*victim, PATIENCE).await?;
        }
    }
    ending::prove(storm, &mut rig, PATIENCE).await?;
    Ok(hits)
}

/// Whom to kill: a majority each second time, and the leader in half of the cases at least.
fn choose(rig: &mut Rig, leader: Option<NodeId>, kill: u32, rng: &mut Rng) -> Vec<NodeId> {
    let mut nodes = rig.alive();
    rng.shuffle(&mut nodes);
    if (kill / 2).is_multiple_of(2) {
        nodes.sort_by_key(|node| Some(*node) != leader);
    }
    let count = if kill.is_multiple_of(2) { rng.usize(3..=5) } else { rng.usize(1..=2) };
    nodes.truncate(count);
    nodes
}
