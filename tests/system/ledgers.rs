//! Kills in the middle of what keeps a log short: a snapshot being made durable, a trim, a transfer
//! to a node that the others' logs do not reach any more.
//!
//! Each kill (SIGKILL) has an aim. A snapshot's is a file that has no name yet, a trim's a new name
//! in `snapshots`; whether they hit is read from the disk. For a transfer one node, or two from
//! different moments on, are kept down until the others' logs begin above what they hold; then the
//! receiver, its source or both are killed while it runs. A cluster lives for some kills; at its
//! end all logs are one, and nothing acknowledged is missing.
//!
//! One-line bugs that turn it red: the log trimmed to a snapshot's slot when its draft is handed
//! in; `restore` without sessions.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use indelible::demo::storm::Storm;
use indelible::local::Rig;
use indelible::paxos::{NodeId, Slot};
use libtest_mimic::{Failed, Trial};

use crate::history::{self, PATIENCE, Teller};
use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("ledgers::nothing_is_lost_while_logs_are_kept_short", kills)]
}

/// What a kill is to hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// A node that gets a transfer.
    Receiver,
    /// A node that makes a snapshot durable.
    Snapshot,
    /// A node that gives a transfer.
    Source,
    /// A node whose snapshot is durable, and whose log is to be trimmed.
    Trim,
    /// Both ends of a transfer.
    Both,
    /// A node that has just started, and needs a transfer.
    Start,
}

/// In turn.
const AIMS: [Aim; 6] =
    [Aim::Receiver, Aim::Snapshot, Aim::Source, Aim::Trim, Aim::Both, Aim::Start];

/// Replicas: two may be behind while one that gives is killed.
const NODES: u16 = 5;

/// Then there is another, for its disks hold much by then.
const KILLS_OF_A_CLUSTER: u32 = 20;

/// Long messages that are said while a node is down.
const LONG: u64 = 64;

/// What the kills hit, as far as can be told.
#[derive(Debug, Default)]
struct Hits {
    kills: u32,
    receiver: u32,
    source: u32,
    both: u32,
    snapshot: u32,
    trim: u32,
}

fn kills() -> Result<(), Failed> {
    let _beside = scale::beside();
    let (started, mut rng) = (Instant::now(), Rng::with_seed(scale::seed()));
    let (mut hits, mut proven) = (Hits::default(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while hits.kills < scale::ledger_kills() {
        let until = scale::ledger_kills().min(hits.kills + KILLS_OF_A_CLUSTER);
        let data = run::data()?;
        let play = play(data.path(), until, &mut hits, &mut rng);
        proven += runtime.block_on(tokio::task::LocalSet::new().run_until(play))?;
    }
    eprintln!("ledgers: {hits:?}, {proven} acknowledged, {:.1?}", started.elapsed());
    let transfers = hits.receiver + hits.source + hits.both;
    assert!(transfers > 0, "no kill hit a transfer: {hits:?}");
    let each = [hits.receiver, hits.source, hits.both, hits.snapshot, hits.trim];
    assert!(!scale::soak() || !each.contains(&0), "a kind was never hit: {hits:?}");
    Ok(())
}

/// One cluster, up to so many kills in all. How many messages were acknowledged.
async fn play(data: &Path, until: u32, hits: &mut Hits, rng: &mut Rng) -> Result<usize, Failed> {
    let rig = history::rig(NODES, data).await?;
    let (storm, teller) = (Storm::start(rig.cluster(), 4), Teller::new(&rig));
    let mut play = Play { rig, storm, teller, rng, hits };
    while play.hits.kills < until {
        let aim = AIMS[play.hits.kills as usize % AIMS.len()];
        match aim {
            Aim::Snapshot => play.kill_in_a_snapshot().await?,
            Aim::Trim => play.kill_before_a_trim().await?,
            Aim::Receiver | Aim::Source | Aim::Both | Aim::Start => {
                play.kill_in_a_transfer(aim).await?;
            }
        }
        play.hits.kills += 1;
        play.come_back().await.map_err(|failed| format!("after a kill, {aim:?}: {failed:?}"))?;
    }
    ending::prove(play.storm, &mut play.rig, PATIENCE).await
}

struct Play<'p> {
    rig: Rig,
    storm: Storm,
    teller: Teller,
    rng: &'p mut Rng,
    hits: &'p mut Hits,
}

impl Play<'_> {
    async fn kill_in_a_snapshot(&mut self) -> Result<(), Failed> {
        let store = self.kill_when(|store, _| history::is_being_written(store)).await?;
        self.hits.snapshot += u32::from(history::is_being_written(&store));
        Ok(())
    }

    async fn kill_before_a_trim(&mut self) -> Result<(), Failed> {
        let has_another = |store: &Path, before| history::snapshots(store).pop() > before;
        let store = self.kill_when(has_another).await?;
        self.hits.trim += u32::from(history::owes_a_trim(&store)?);
        Ok(())
    }

    /// Kills some node as soon as its store, and the newest snapshot before, show what is waited
    /// for. Its store.
    async fn kill_when(
        &mut self,
        shows: impl Fn(&Path, Option<u64>) -> bool,
    ) -> Result<PathBuf, Failed> {
        let victim = self.one();
        let store = self.rig.store(victim);
        let (newest, until) = (history::snapshots(&store).pop(), Instant::now() + PATIENCE);
        while !shows(&store, newest) {
            if Instant::now() > until {
                return Err(format!("node {victim} takes no snapshots").into());
            }
            // It is over within a millisecond: no sleep is short enough.
            tokio::task::yield_now().await;
        }
        self.rig.kill(victim);
        Ok(store)
    }

    async fn kill_in_a_transfer(&mut self, aim: Aim) -> Result<(), Failed> {
        let (stranded, begin) = self.strand().await?;
        let receiver = stranded[0];
        let told = self.rig.log(receiver).len();
        for node in &stranded {
            self.rig.start(*node)?;
        }
        let source = if aim == Aim::Start {
            self.pause(0..400).await;
            None
        } else {
            self.await_transfer(receiver, begin).await?
        };
        let victims = match (aim, source) {
            (Aim::Source, Some(source)) => vec![source],
            (Aim::Both, Some(source)) => vec![receiver, source],
            (Aim::Receiver | Aim::Start | Aim::Snapshot | Aim::Trim, _) | (_, None) => {
                vec![receiver]
            }
        };
        self.rig.kill_all(&victims);
        let is_hit = history::ends_in_a_transfer(&self.rig.log(receiver)[told..]);
        let hit = match victims.as_slice() {
            [_, _] => &mut self.hits.both,
            [one] if *one == receiver => &mut self.hits.receiver,
            _ => &mut self.hits.source,
        };
        *hit += u32::from(is_hit);
        Ok(())
    }

    /// Keeps a node down, or two from different moments on, until the others' logs begin above what
    /// they hold: those nodes, and where the logs begin at least.
    async fn strand(&mut self) -> Result<(Vec<NodeId>, Slot), Failed> {
        let mut nodes = self.rig.alive();
        self.rng.shuffle(&mut nodes);
        nodes.truncate(self.rng.usize(1..=2));
        for node in &nodes {
            self.rig.kill(*node);
            // What the second holds above the first, it can give to the first.
            ending::more(&self.storm, self.rng.usize(10..50), PATIENCE).await?;
        }
        let end = history::end(&mut self.rig).await;
        self.teller.say_long(LONG).await?;
        let others = usize::from(NODES) - nodes.len();
        history::all_show(&mut self.rig, others, |status| status.trimmed > end).await?;
        Ok((nodes, end))
    }

    /// Waits for a transfer, and some while longer. Its source; none if it is over.
    async fn await_transfer(
        &mut self,
        receiver: NodeId,
        begin: Slot,
    ) -> Result<Option<NodeId>, Failed> {
        self.rig.answers(receiver, PATIENCE).await?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let Some(status) = self.rig.status(receiver).await else { continue };
            if status.transfer.is_some() {
                self.pause(0..50).await;
                return Ok(history::source(&mut self.rig, receiver).await);
            }
            if status.applied > begin {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(format!("no transfer to node {receiver} begins").into())
    }

    /// Starts all that are down, and waits for the next answer; by chance, until all are level.
    async fn come_back(&mut self) -> Result<(), Failed> {
        self.rig.start_all()?;
        for node in self.rig.alive() {
            self.rig.answers(node, PATIENCE).await?;
        }
        self.storm.next(PATIENCE).await.ok_or("no answer came any more")?;
        if self.rng.bool() {
            let end = history::end(&mut self.rig).await;
            let nodes = usize::from(NODES);
            history::all_show(&mut self.rig, nodes, |status| status.applied >= end).await?;
        }
        Ok(())
    }

    fn one(&mut self) -> NodeId {
        let alive = self.rig.alive();
        alive[self.rng.usize(..alive.len())]
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(millis))).await;
    }
}
