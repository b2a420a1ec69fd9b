//! A primary of the poll service that starts its failed backup again, over real processes.
//!
//! A process that was started so is no child of ours: it is known by the lock of its store, which
//! holds its number, and goes with the pair, however a trial ends; or with a sweeper, if we are
//! killed.
//!
//! One-line bugs that turn them red: a backup that is started again while somebody holds its lock,
//! or in the process group of its primary; one that is not when it dies once more; one that does
//! not know how to start its primary again.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use indelible::local::Rig;
use indelible::paxos::NodeId;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::history::{PATIENCE, trial};
use crate::locks::audit;
use crate::processes::{Process, Sweeper, survivors};
use crate::voters::{self, Office, Stream, Voter, WITNESS, both_in_office, one_story, poller};
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("stewards::a_killed_backup_is_started_again_and_outlives_its_primary", async || {
            LocalSet::new().run_until(outlives()).await
        }),
        trial("stewards::a_stopped_backup_is_left_alone_and_joins_again", async || {
            LocalSet::new().run_until(stopped()).await
        }),
        trial("stewards::what_dies_at_once_is_started_again_and_never_twice", async || {
            LocalSet::new().run_until(dies_at_once()).await
        }),
        trial("stewards::files_are_right_whoever_is_started_again", async || {
            LocalSet::new().run_until(in_turn()).await
        }),
    ]
}

/// Long, so that a busy machine is no silence: five heartbeats are more than a second.
const ELECTION: Duration = Duration::from_secs(2);

/// The replicas.
const FIRST: NodeId = NodeId(0);
const SECOND: NodeId = NodeId(1);

/// How long a killed process may take to go.
const GOING: Duration = Duration::from_secs(20);

/// How long it may take until a process that another starts is no copy of that any more.
const FORKING: Duration = Duration::from_millis(200);

/// Between two looks at how many there are.
const LOOK: Duration = Duration::from_millis(10);

/// Two replicas that start each other again, a witness, and two clients. Dropping it kills all that
/// runs on its stores.
struct Pair {
    voters: Vec<Voter>,
    rig: Rig,
    _sweeper: Sweeper,
}

impl Pair {
    /// At work: the first presides, the second has joined it, polls are opened.
    async fn start(data: &Path) -> Result<(Pair, Stream), Failed> {
        let mut rig = Rig::format_as(voters::options(data), voters::shape)?;
        rig.set_election(ELECTION)?;
        for (node, other) in [(FIRST, SECOND), (SECOND, FIRST)] {
            let revive = format!("--revive={}={}", other.0, rig.store(other).display());
            rig.set_flags_of(node, &[&revive, "--restart-delay=1s"]);
        }
        let sweeper = Sweeper::over(rig.folder())?;
        let mut pair = Pair { voters: Vec::new(), rig, _sweeper: sweeper };
        pair.rig.start_all()?;
        pair.rig.ready(PATIENCE).await?;
        let office = both_in_office(&poller(&pair.rig)).await?;
        assert_eq!(office, Office::new(1, FIRST.0, &[SECOND.0]));
        for (name, answer) in [("ann", "yes"), ("bob", "random")] {
            pair.voters.push(Voter::start(&pair.rig, name, answer)?);
        }
        voters::joined(&poller(&pair.rig), &["ann", "bob"]).await?;
        pair.announced(&office).await?;
        let rng = Rng::with_seed(scale::seed());
        let stream = Stream::start(&pair.rig, rng, Duration::from_secs(1));
        Ok((pair, stream))
    }

    /// Waits until all clients have heard of this last.
    async fn announced(&self, office: &Office) -> Result<(), Failed> {
        for voter in &self.voters {
            voter.announces(&self.rig, office).await?;
        }
        Ok(())
    }

    /// Waits until a node, or what was started in its place, has logged this.
    async fn logged(&self, node: NodeId, text: &str) -> Result<(), Failed> {
        let why = || format!("node {} has not logged \"{text}\":\n{}", node.0, self.rig.log(node));
        voters::until(|| if self.rig.log(node).contains(text) { Ok(()) } else { Err(why()) }).await
    }

    /// The process on a node's store: there is one at most, whenever this is asked.
    fn running(&self, node: NodeId) -> Option<Process> {
        let on_it = || on_store(&self.rig, node);
        let mut found = on_it();
        if found.len() > 1 {
            // One that is just starting another looks like two, until that is another program.
            std::thread::sleep(FORKING);
            found = on_it();
        }
        assert!(found.len() < 2, "two on one store: {found:?}");
        found.first().copied()
    }

    /// Who holds the lock of a node's store.
    fn holder(&self, node: NodeId) -> Option<Process> {
        let lock = std::fs::read_to_string(self.rig.store(node).join("lock")).unwrap_or_default();
        self.running(node).filter(|it| lock.trim() == it.pid.to_string())
    }

    /// Waits until another process than this one runs on a node's store.
    async fn another(&self, node: NodeId, last: Process) -> Result<Process, Failed> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(found) = self.running(node).filter(|found| *found != last) {
                return Ok(found);
            }
            sleep(LOOK).await;
        }
        let log = self.rig.log(NodeId(1 - node.0));
        Err(format!("node {} is not started again:\n{log}", node.0).into())
    }

    /// Kills a replica, whoever started it.
    fn kill(&mut self, node: NodeId) -> Result<Process, Failed> {
        let process = self.running(node).ok_or("it does not run")?;
        process.signal(Signal::KILL);
        self.rig.kill(node);
        assert_eq!(survivors(&[process], GOING), []);
        Ok(process)
    }

    /// The end: the clients have heard of this office last, the files are right, the disks pass.
    async fn finish(mut self, stream: Stream, office: &Office) -> Result<usize, Failed> {
        self.announced(office).await?;
        stream.more(3).await?;
        let (opened, last) = stream.end().await?;
        assert_eq!(opened, last, "ids are dense");
        voters::files_are_right(&self.rig, &self.voters, last).await?;
        let heard = one_story(&self.rig)?;
        self.voters.clear();
        self.kill_all();
        audit(&mut self.rig)?;
        Ok(heard)
    }

    /// Kills all that runs on its stores, and what that starts meanwhile.
    fn kill_all(&mut self) {
        self.rig.kill_all(&[FIRST, SECOND, WITNESS]);
        let until = Instant::now() + GOING;
        while Instant::now() < until {
            let found = [on_store(&self.rig, FIRST), on_store(&self.rig, SECOND)].concat();
            if found.is_empty() {
                return;
            }
            found.iter().for_each(|process| process.signal(Signal::KILL));
            survivors(&found, GOING);
        }
    }
}

/// The processes that run on a node's store.
fn on_store(rig: &Rig, node: NodeId) -> Vec<Process> {
    let store = format!("--store={}", rig.store(node).display());
    Process::who(|argument| argument == store)
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// The backup dies, is started again, and joins; then the primary does, and the one that it has
/// started takes over, and starts it again.
async fn outlives() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut pair, stream) = Pair::start(data.path()).await?;
    let first = pair.kill(SECOND)?;
    pair.announced(&Office::new(1, FIRST.0, &[])).await?;
    let started = pair.another(SECOND, first).await?;
    pair.announced(&Office::new(1, FIRST.0, &[SECOND.0])).await?;
    assert_eq!(pair.holder(SECOND), Some(started), "who holds the store is who was started");
    assert!(started.leads_its_group());
    let line = format!("the backup, node 1, is started again, as process {}", started.pid);
    pair.logged(FIRST, &line).await?;
    let primary = pair.kill(FIRST)?;
    pair.announced(&Office::new(2, SECOND.0, &[])).await?;
    assert_eq!(pair.holder(SECOND), Some(started), "it outlives who started it");
    let back = pair.another(FIRST, primary).await?;
    let office = Office::new(2, SECOND.0, &[FIRST.0]);
    pair.announced(&office).await?;
    assert_eq!(pair.holder(FIRST), Some(back));
    let course = [
        Office::new(1, FIRST.0, &[SECOND.0]),
        Office::new(1, FIRST.0, &[]),
        Office::new(1, FIRST.0, &[SECOND.0]),
        Office::new(2, SECOND.0, &[]),
        office.clone(),
    ];
    for voter in &pair.voters {
        assert_eq!(voter.course(&pair.rig)?, course, "{}", voter.name);
    }
    pair.finish(stream, &office).await.map(drop)
}

/// A backup that is stopped misses heartbeats as a dead one does, but holds its store.
async fn stopped() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut pair, stream) = Pair::start(data.path()).await?;
    let process = pair.running(SECOND).ok_or("it runs")?;
    pair.rig.stop(SECOND);
    pair.announced(&Office::new(1, FIRST.0, &[])).await?;
    let store = pair.rig.store(SECOND);
    pair.logged(FIRST, &format!("its store {} is in use", store.display())).await?;
    stream.more(3).await?;
    sleep(ELECTION * 2).await;
    assert_eq!(pair.holder(SECOND), Some(process), "it is the one that was stopped");
    pair.rig.resume(SECOND);
    let office = Office::new(1, FIRST.0, &[SECOND.0]);
    pair.announced(&office).await?;
    pair.logged(FIRST, "the backup, node 1, is heard again").await?;
    assert!(!pair.rig.log(FIRST).contains("is started again"), "{}", pair.rig.log(FIRST));
    pair.finish(stream, &office).await.map(drop)
}

/// Who was started is killed as soon as it is seen, or while it starts, or joins.
async fn dies_at_once() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut pair, stream) = Pair::start(data.path()).await?;
    let mut rng = Rng::with_seed(scale::seed());
    let mut last = pair.kill(SECOND)?;
    for _ in 0..scale::revivals() {
        last = pair.another(SECOND, last).await?;
        sleep(Duration::from_millis(rng.u64(0..300))).await;
        assert_eq!(pair.kill(SECOND)?, last);
    }
    let stays = pair.another(SECOND, last).await?;
    let office = Office::new(1, FIRST.0, &[SECOND.0]);
    pair.announced(&office).await?;
    assert_eq!(pair.holder(SECOND), Some(stays));
    let log = pair.rig.log(FIRST);
    let ends = log.matches("node 1, which was started from here, ended: signal: 9").count();
    assert_eq!(ends, scale::revivals() as usize, "{log}");
    pair.finish(stream, &office).await.map(drop)
}

/// Replicas are killed at random, and start each other again; nobody else does.
async fn in_turn() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut pair, stream) = Pair::start(data.path()).await?;
    let mut rng = Rng::with_seed(scale::seed());
    let asking = poller(&pair.rig);
    for _ in 0..scale::revivals() {
        let node = NodeId(rng.u16(0..2));
        let mut last = pair.kill(node)?;
        while rng.u8(0..3) == 0 {
            last = pair.another(node, last).await?;
            sleep(Duration::from_millis(rng.u64(0..300))).await;
            pair.kill(node)?;
        }
        pair.another(node, last).await?;
        both_in_office(&asking).await?;
        stream.more(2).await?;
    }
    let office = both_in_office(&asking).await?;
    let heard = pair.finish(stream, &office).await?;
    eprintln!("stewards: {} killed, {heard} announcements", scale::revivals());
    Ok(())
}
