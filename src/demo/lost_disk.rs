//! The demonstration of a lost disk: a member comes back on an empty store, and no promise that it
//! gave is broken; a store that was set back is refused.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::kill::prove;
use super::stage::{CLIENTS, PATIENCE, Stage};
use super::{Error, Options, refuted};
use crate::local::Rig;
use crate::paxos::NodeId;
use crate::wire::drop::Loss;

/// Replicas: with three each of the two that are left is needed.
const NODES: u16 = 3;

/// How long the clients talk between two scenes.
const TALK: Duration = Duration::from_millis(1000);

/// Plays it, telling `out` what happens. On the main thread, inside a `LocalSet`.
///
/// # Errors
///
/// If the cluster cannot be made, does not come back, or the proof fails.
pub async fn play(options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let rig = Rig::format(options.rig(NODES))?;
    writeln!(out, "{NODES} replicas start, each a process with a ledger of its own.")?;
    writeln!(out, "{CLIENTS} clients send messages; each waits for its answer.\n")?;
    let mut stage = Stage::open(rig, Vec::new(), Loss::default(), out).await?;
    sleep(TALK).await;
    let lost = lose_the_leaders_disk(&mut stage).await?;
    carry_the_quorum(&mut stage, lost).await?;
    set_back(&mut stage, lost).await?;
    prove(stage, &options.program).await
}

/// The leader's disk is lost, and it comes back on an empty one at another port.
async fn lose_the_leaders_disk(stage: &mut Stage<'_>) -> Result<NodeId, Error> {
    let Some(leader) = stage.rig.leader().await else { return Err(refuted("nobody leads")) };
    stage.kill(&[leader], "It leads, and its disk is lost: the store is removed").await?;
    stage.rig.wipe(leader)?;
    let took = stage.went_on().await?;
    writeln!(stage.out, "  The others elected another and went on after {took:.0?}.")?;
    sleep(TALK).await;
    stage.rig.relocate(leader)?;
    let id = leader.0;
    writeln!(
        stage.out,
        "`indelible replace {id}` starts it again, on an empty store, at another port. It does not \
         vote:\n  it asks both others what they have promised and accepted, and fetches what is \
         decided."
    )?;
    replace(stage, leader).await?;
    Ok(leader)
}

/// Replaces a member, and tells when it votes.
async fn replace(stage: &mut Stage<'_>, node: NodeId) -> Result<(), Error> {
    let started = Instant::now();
    stage.replace(node)?;
    loop {
        if !stage.rig.is_alive(node) || started.elapsed() > PATIENCE {
            return Err(refuted(format!("replica {} does not vote again", node.0)));
        }
        // Messages flow meanwhile: a replacement that stopped the others would be noticed here.
        stage.went_on().await?;
        let status = stage.rig.status(node).await;
        if let Some(status) = status.filter(|status| status.votes) {
            let (id, decided, took) = (node.0, status.decided, started.elapsed());
            writeln!(
                stage.out,
                "  Replica {id} votes again after {took:.0?}: it knows what is decided in \
                 {decided} slots, and what the\n  others accepted above."
            )?;
            return Ok(());
        }
    }
}

/// One that was never lost is killed: the replaced one is needed for whatever is decided now.
async fn carry_the_quorum(stage: &mut Stage<'_>, lost: NodeId) -> Result<(), Error> {
    let old = (0..NODES).map(NodeId).find(|node| *node != lost).unwrap_or(lost);
    stage.kill(&[old], "Two are left, and one of them was replaced").await?;
    let took = stage.went_on().await?;
    writeln!(stage.out, "  They went on after {took:.0?}: the replaced one carries the quorum.")?;
    stage.tell_leader().await?;
    stage.come_back(&[old]).await
}

/// A store is set back to a copy of earlier: an operator who restores a backup means well.
async fn set_back(stage: &mut Stage<'_>, lost: NodeId) -> Result<(), Error> {
    let node = (0..NODES).map(NodeId).rfind(|node| *node != lost).unwrap_or(lost);
    let id = node.0;
    writeln!(stage.out, "\nReplica {id} is killed, its store copied, and it goes on.")?;
    stage.rig.keep_copy(node)?;
    stage.come_back(&[node]).await?;
    sleep(TALK * 2).await;
    stage.kill(&[node], "Its store is set back to the copy, and it is started").await?;
    stage.rig.roll_back(node)?;
    stage.start(node)?;
    let until = Instant::now() + PATIENCE;
    while stage.rig.is_alive(node) {
        if Instant::now() > until {
            return Err(refuted("a store that was set back was not refused"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let log = stage.rig.log(node);
    let said = log.lines().last().unwrap_or_default();
    if !said.contains("it has lost what it said") {
        return Err(refuted(format!("it should have told what it forgot, but said: {said}")));
    }
    writeln!(stage.out, "  {said}")?;
    writeln!(stage.out, "Its folder is removed, and it is replaced.")?;
    stage.rig.wipe(node)?;
    replace(stage, node).await
}
