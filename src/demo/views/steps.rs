//! The steps: what is done to the replicas, and what must come of it.

use std::ops::Range;
use std::time::Duration;

use super::Step;
use super::scene::{Cast, Scene, Setting, replicas};
use super::succession::View;
use crate::demo::stage::{CLIENTS, names};
use crate::demo::{Error, refuted};
use crate::paxos::{NodeId, Slot};
use crate::wire::client::NodeStatus;

/// Messages that flow before and after what a step does.
const MESSAGES: usize = 100;

/// The slot that is left out: there is something below it.
const SKIPPED: u64 = 10;

/// The slots in which all clients wait behind it.
const BEHIND: Range<u64> = SKIPPED + 1..SKIPPED + 1 + CLIENTS as u64;

/// How long a hole is watched: more than enough to fill it, if anybody would.
const WATCH: Duration = Duration::from_secs(1);

/// What is lost of all that is sent: a little, and so much that hardly a question is answered at
/// the first try.
const SHARES: [f64; 2] = [0.05, 0.3];

pub(super) async fn play(step: Step, cast: &mut Cast<'_>) -> Result<(), Error> {
    match step {
        Step::Normal => normal(cast).await,
        Step::PrimaryDies => primaries_die(cast, 1).await,
        Step::InARow => primaries_die(cast, cast.options.f).await,
        Step::AtOnce => at_once(cast).await,
        Step::SkippedSlot => skipped_slot(cast).await,
        Step::Loss => loss(cast).await,
        Step::Recovery => recovery(cast).await,
    }
}

async fn normal(cast: &mut Cast<'_>) -> Result<(), Error> {
    let mut scene = cast.enter(Setting::steady()).await?;
    scene.flow(2 * MESSAGES).await?;
    let view = scene.view().await?;
    if view != FIRST {
        return Err(refuted(format!("nobody died, but all are in {view:?}")));
    }
    scene.tell_status()?;
    scene.end().await?.prove("all are in view 0, and replica 0 leads").await
}

async fn primaries_die(cast: &mut Cast<'_>, deaths: u16) -> Result<(), Error> {
    let mut scene = cast.enter(Setting::steady()).await?;
    let mut view = scene.view().await?;
    for _ in 0..deaths {
        scene.flow(MESSAGES).await?;
        view = scene.succeed(view, &[view.primary]).await?;
    }
    scene.flow(MESSAGES).await?;
    scene.tell_status()?;
    scene.end().await?.prove(&claim(view)).await
}

async fn at_once(cast: &mut Cast<'_>) -> Result<(), Error> {
    let (f, members) = (cast.options.f, replicas(cast.options));
    let mut scene = cast.enter(Setting::steady()).await?;
    let view = scene.view().await?;
    let in_ring = |place| NodeId((view.primary.0 + place) % members);
    let victims: Vec<NodeId> = (0..f).map(in_ring).collect();
    scene.flow(MESSAGES).await?;
    let view = scene.succeed(view, &victims).await?;
    scene.flow(MESSAGES).await?;
    scene.tell_status()?;
    scene.end().await?.prove(&claim(view)).await
}

async fn skipped_slot(cast: &mut Cast<'_>) -> Result<(), Error> {
    let flags = vec![format!("--skip-slot={SKIPPED}")];
    let mut scene = cast.enter(Setting { flags, ..Setting::steady() }).await?;
    watch_hole(&mut scene).await?;
    scene.tell_status()?;
    let view = scene.view().await?;
    let view = scene.succeed(view, &[view.primary]).await?;
    scene.flow(MESSAGES).await?;
    scene.tell_status()?;
    let ending = scene.end().await?;
    let has = |slot| ending.acknowledged.iter().any(|it| it.slot == slot);
    if has(SKIPPED) || !BEHIND.into_iter().all(has) {
        return Err(refuted(format!("slot {SKIPPED} is no no-op, or what waited behind it moved")));
    }
    let hole = format!("slot {SKIPPED} has a no-op, and what waited behind it kept its slots");
    ending.prove(&format!("{hole}; {}", claim(view))).await
}

/// Waits until all replicas have the hole, and all clients wait for what stands behind it; and then
/// whether it stays.
async fn watch_hole(scene: &mut Scene<'_>) -> Result<(), Error> {
    let has_hole = |status: &NodeStatus| {
        status.holes == [(Slot(SKIPPED), Slot(SKIPPED + 1))]
            && (status.applied, status.end) == (Slot(SKIPPED), Slot(BEHIND.end))
    };
    let all_have = |answers: &[Option<NodeStatus>]| {
        answers.iter().all(|answer| answer.as_ref().is_some_and(has_hole)).then_some(())
    };
    scene.until("a hole on every replica", all_have).await?;
    tokio::time::sleep(WATCH).await;
    // Once filled it would not come back.
    scene.until("still a hole on every replica", all_have).await?;
    let answered = scene.stage.storm.acknowledged() as u64;
    if answered != SKIPPED {
        return Err(refuted(format!("{answered} messages were answered past the hole")));
    }
    writeln!(
        scene.stage.out,
        "  Slot {SKIPPED} is empty on all. The {CLIENTS} messages behind it wait, and after a \
         second still do."
    )?;
    Ok(())
}

async fn loss(cast: &mut Cast<'_>) -> Result<(), Error> {
    let seed = cast.options.seed;
    for share in SHARES {
        let mut scene = cast.enter(Setting { share, ..Setting::lively() }).await?;
        scene.flow(2 * MESSAGES).await?;
        let retried = scene.stage.storm.retried();
        let percent = share * 100.0;
        writeln!(
            scene.stage.out,
            "  With {percent:.0} of 100 lost (seed {seed}), {retried} messages were said again."
        )?;
        if retried == 0 {
            return Err(refuted("no message was lost"));
        }
        let claim = format!("{percent:.0} of 100 messages were lost, and said again where need be");
        scene.end().await?.prove(&claim).await?;
    }
    Ok(())
}

async fn recovery(cast: &mut Cast<'_>) -> Result<(), Error> {
    let mut scene = cast.enter(Setting::lively()).await?;
    scene.flow(2 * MESSAGES).await?;
    let all = scene.stage.rig.alive();
    scene.stage.kill(&all, "That is everyone, at once").await?;
    let before = all.iter().map(|node| scene.executed(*node)).collect::<Result<Vec<_>, _>>()?;
    scene.stage.come_back(&all).await?;
    for (node, before) in all.iter().zip(&before) {
        if !scene.executed(*node)?.starts_with(before) {
            let node = names(&[*node]);
            return Err(refuted(format!("{node} did not continue its executed log")));
        }
    }
    scene.flow(MESSAGES).await?;
    scene.tell_status()?;
    scene.end().await?.prove("all came back, and continued their executed logs").await
}

/// The view in which every cluster begins.
const FIRST: View = View { number: 0, primary: NodeId(0) };

fn claim(view: View) -> String {
    format!("all that live are in view {}, and replica {} leads", view.number, view.primary.0)
}
