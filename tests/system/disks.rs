//! A storm of lost disks: while messages flow, stores are wiped, set back to copies taken earlier,
//! and damaged by a bit, by a seed that is printed; each time the member is brought back.
//!
//! Five nodes, of which one or two lose their disks at a time; snapshots and trims go on all the
//! while, so that a replacement gets a transfer as often as chunks. At a cluster's end all logs are
//! one, and what was acknowledged is on the disks.
//!
//! One-line bugs that turn it red: a replacement that votes at once; one that takes over the lowest
//! ballot of the testimonies; `recalls` off.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use fastrand::Rng;
use indelible::demo::storm::Storm;
use indelible::local::Rig;
use indelible::paxos::{NodeId, Wal};
use indelible::wal::Store;
use libtest_mimic::{Failed, Trial};

use crate::history::{self, PATIENCE};
use crate::replace::{DISK, ended, heals, votes};
use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("disks::lost_disks_lose_nothing", storm)]
}

/// Replicas: two may be without a disk.
const NODES: u16 = 5;

/// Then there is another, for its disks hold much by then.
const LOSSES_OF_A_CLUSTER: u32 = 20;

/// So many nodes at most are where the cluster file does not know them: whoever comes to a new
/// place must find the others.
const MOVED_MAX: usize = 2;

/// Far more than what a cluster with a storm of four clients decides between two heartbeats.
const TOLD_SLOTS: u64 = 500;

/// More votes than can be on their way when a node is killed.
const TOLD_PLEDGES: u64 = 100;

/// Seldom enough that one which was down for a moment needs no transfer.
const PACE: [&str; 2] = ["--snapshot-slots=200", "--margin-slots=1000"];

/// What happens to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// All of it is gone; the member comes back where it was.
    Wiped,
    /// All of it is gone; the member comes back elsewhere.
    Moved,
    /// A copy from earlier is in its place.
    SetBack,
    /// A bit has turned.
    Damaged,
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    /// Members that were replaced.
    replaced: u32,
    /// Of those, such as were set back, and refused for what they had forgotten.
    forgot: u32,
}

/// In turn.
const LOSSES: [Loss; 5] = [Loss::Wiped, Loss::SetBack, Loss::Damaged, Loss::SetBack, Loss::Moved];

fn storm() -> Result<(), Failed> {
    let _beside = scale::beside();
    let (started, mut rng) = (Instant::now(), Rng::with_seed(scale::seed()));
    let (mut done, mut tally, mut proven) = (0, Tally::default(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while done < scale::lost_disks() {
        let count = LOSSES_OF_A_CLUSTER.min(scale::lost_disks() - done);
        let data = run::data()?;
        let play = play(data.path(), count, &mut tally, &mut rng);
        proven += runtime.block_on(tokio::task::LocalSet::new().run_until(play))?;
        done += count;
    }
    let took = started.elapsed();
    eprintln!("disks: {done} losses, {tally:?}, {proven} acknowledged, {took:.1?}");
    assert!(tally.forgot > 0 && tally.replaced > tally.forgot, "too little happened: {tally:?}");
    Ok(())
}

/// One cluster, so many losses. How many messages were acknowledged.
async fn play(data: &Path, count: u32, tally: &mut Tally, rng: &mut Rng) -> Result<usize, Failed> {
    let mut rig = history::format(NODES, data)?;
    rig.set_flags(&PACE);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let storm = Storm::start(rig.cluster(), 4);
    ending::more(&storm, 20, PATIENCE).await?;
    for number in 0..count {
        let loss = LOSSES[number as usize % LOSSES.len()];
        let mut nodes = rig.alive();
        rng.shuffle(&mut nodes);
        nodes.truncate(rng.usize(1..=2));
        let lost = lose(&mut rig, &storm, loss, &nodes, (tally, rng));
        if let Err(failed) = lost.await {
            let how = how_all_are(&mut rig).await;
            return Err(format!("{number}: {loss:?} of {nodes:?}: {failed:?}\n{how}").into());
        }
        storm.next(PATIENCE).await.ok_or("no answer came any more")?;
    }
    ending::prove(storm, &mut rig, PATIENCE).await
}

/// What each node says of itself, and has logged last.
async fn how_all_are(rig: &mut Rig) -> String {
    let mut how = String::new();
    for node in (0..NODES).map(NodeId) {
        let log = rig.log(node);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        how += &format!("{node}: {:?}\n{last}\n", rig.status(node).await);
    }
    how
}

/// Keeps a copy of a node's store, and waits until the node has gone on from there.
async fn keep_copy(rig: &mut Rig, node: NodeId) -> Result<(), Failed> {
    rig.keep_copy(node)?;
    let end = history::end(rig).await;
    rig.start(node)?;
    votes(rig, node).await?;
    history::all_show(rig, NODES.into(), |it| it.node != node || it.decided > end).await
}

/// Sets a node's store back to its copy. The node, if it has voted for so much since that everybody
/// was told: whoever leads tells all what it knows of the others' stores, with each heartbeat. One
/// that lags may have said nothing that rests on what it forgot.
fn set_back(rig: &mut Rig, node: NodeId) -> Result<Option<NodeId>, Failed> {
    let voted =
        |rig: &Rig| -> Result<u64, Failed> { Ok(Store::open(&rig.store(node))?.load()?.pledges()) };
    rig.kill(node);
    let lost = voted(rig)?;
    rig.roll_back(node)?;
    Ok((lost >= voted(rig)? + TOLD_PLEDGES).then_some(node))
}

/// The disks of these nodes are lost, and they come back.
async fn lose(
    rig: &mut Rig,
    storm: &Storm,
    loss: Loss,
    nodes: &[NodeId],
    (tally, rng): (&mut Tally, &mut Rng),
) -> Result<(), Failed> {
    if loss == Loss::SetBack {
        for node in nodes {
            keep_copy(rig, *node).await?;
        }
        ending::more(storm, 2 * TOLD_SLOTS as usize, PATIENCE).await?;
    }
    let mut must_refuse = BTreeSet::new();
    ending::more(storm, rng.usize(20..100), PATIENCE).await?;
    if loss == Loss::Moved && rig.unlisted() + nodes.len() > MOVED_MAX {
        rig.list_places()?;
    }
    for node in nodes {
        match loss {
            Loss::Wiped | Loss::Moved => rig.wipe(*node)?,
            Loss::SetBack => must_refuse.extend(set_back(rig, *node)?),
            Loss::Damaged => rig.flip(*node, "log/db", |below| rng.u64(..below))?,
        }
        if loss == Loss::Moved {
            rig.relocate(*node)?;
        }
    }
    storm.next(PATIENCE).await.ok_or("the others do not go on")?;
    for node in nodes {
        match loss {
            Loss::Wiped | Loss::Moved => rig.replace(*node)?,
            Loss::SetBack | Loss::Damaged => rig.start(*node)?,
        }
    }
    for node in nodes {
        match loss {
            Loss::Wiped | Loss::Moved => votes(rig, *node).await?,
            Loss::SetBack if must_refuse.contains(node) => {
                let (status, line) = ended(rig, *node).await?;
                assert_eq!(status, DISK, "{line}");
                assert!(heals(rig, *node).await?, "it is down");
                tally.forgot += 1;
            }
            Loss::SetBack | Loss::Damaged if !heals(rig, *node).await? => continue,
            Loss::SetBack | Loss::Damaged => (),
        }
        tally.replaced += 1;
    }
    Ok(())
}
