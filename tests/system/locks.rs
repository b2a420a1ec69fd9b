//! The lock service over real processes, by many sessions of this process.
//!
//! What each session was told is held against a model of its own, in slot order: a lock has one
//! holder, a token is the slot of its grant, and who was refused was refused for a reason.
//!
//! One-line bugs that turn them red: `unlock` that does not look at the token; a grant where the
//! lock is held; a session that applies a request twice; `end` that frees nothing; a follower that
//! drops what it is to pass on, or a leader that takes it out of order; a leader that answers
//! without a quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use indelible::client::Way;
use indelible::cluster::Service;
use indelible::local::{Options, Rig};
use indelible::locker::{Error, Locker, Outcome, Terms, Want};
use indelible::paxos::{ClientId, NodeId, Slot};
use indelible::services::lock::{Ask, By, Mode, Said};
use indelible::wire::drop::Loss;
use libtest_mimic::{Failed, Trial};
use tokio::sync::Barrier;
use tokio::task::LocalSet;

use crate::history::{PATIENCE, PROGRAM, trial};
use crate::{run, scale};

mod model;

use model::{Op, Record};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("locks::contention_under_kills_and_loss", contention),
        trial("locks::one_of_twenty_gets_one_lock_and_each_its_own", twenty),
        trial("locks::without_a_quorum_nothing_is_granted", quorum),
        trial("locks::the_demonstration_ends_with_its_proof", demonstration),
        trial("locks::a_session_outlives_its_leader_and_ends_in_silence", silence),
    ]
}

/// A cluster that runs the lock service.
pub(crate) async fn rig(nodes: u16, data: &Path, flags: &[&str]) -> Result<Rig, Failed> {
    let options = Options {
        nodes,
        data: data.to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "info".to_owned(),
    };
    let mut rig = Rig::format_as(options, |cluster| cluster.with_service(Service::Lock))?;
    rig.set_flags(flags);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    Ok(rig)
}

fn terms(label: impl Into<String>) -> Terms {
    Terms { patience: PATIENCE, label: Bytes::from(label.into()), ..Terms::default() }
}

fn names(names: &[&str]) -> Vec<Bytes> {
    names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect()
}

/// All are killed, and the disks are audited.
pub(crate) fn audit(rig: &mut Rig) -> Result<(), Failed> {
    let nodes: Vec<NodeId> = rig.cluster().nodes.iter().map(|member| member.id).collect();
    rig.kill_all(&nodes);
    let mut command = std::process::Command::new(PROGRAM);
    command.arg("audit").arg("-f").arg(rig.cluster_file());
    let output = command.args(nodes.iter().map(|node| rig.store(*node))).output()?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("audit: {}\n{out}{err}", output.status).into())
}

/// Sixty-four sessions, eight locks, five replicas, five messages of a hundred lost, and the leader
/// killed every two seconds.
async fn contention() -> Result<(), Failed> {
    let data = run::data()?;
    let seed = scale::seed();
    let drop_seed = format!("--drop-seed={seed}");
    let mut rig = rig(5, data.path(), &["--drop=0.05", &drop_seed]).await?;
    let all: Vec<String> = (0..8).map(|lock| format!("lock {lock}")).collect();
    let shared = Rc::new(Shared::default());
    let local = LocalSet::new();
    let each = scale::lock_operations() / 64;
    let mut sessions = Vec::new();
    for at in 0..64 {
        let loss = Loss::new(0.05, seed).expect("a share");
        let way = [Way::Leader, Way::Random, Way::Hash][at % 3];
        let cluster = rig.cluster().clone();
        let (shared, all) = (Rc::clone(&shared), all.clone());
        let rng = Rng::with_seed(seed ^ at as u64);
        let ttl = Duration::from_secs(30);
        sessions.push(local.spawn_local(async move {
            let locker = Locker::open(&cluster, Terms { loss, way, ttl, ..terms(at.to_string()) });
            Player { locker, shared, all, rng }.play(each).await
        }));
    }
    local
        .run_until(async {
            while !sessions.iter().all(tokio::task::JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let Some(leader) = rig.leader().await else { continue };
                rig.kill(leader);
                tokio::time::sleep(Duration::from_millis(300)).await;
                rig.start(leader)?;
            }
            for session in sessions {
                session.await??;
            }
            Ok::<(), Failed>(())
        })
        .await?;
    let records = shared.records.take();
    model::check(&records)?;
    rig.ready(PATIENCE).await?;
    audit(&mut rig)
}

/// What all sessions of this process know.
#[derive(Default)]
struct Shared {
    records: std::cell::RefCell<Vec<Record>>,
    /// Who believes to hold which lock just now.
    believed: std::cell::RefCell<BTreeMap<Bytes, ClientId>>,
}

struct Player {
    locker: Locker,
    shared: Rc<Shared>,
    all: Vec<String>,
    rng: Rng,
}

impl Player {
    async fn play(mut self, operations: u64) -> Result<(), Failed> {
        let mut done = 0;
        while done < operations {
            let wanted = self.wanted();
            let (slot, said) = self.ask(Op::Lock(wanted.clone())).await?;
            done += 1;
            let Said::Granted { tokens } = said else {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..20))).await;
                continue;
            };
            self.believe(&wanted, slot)?;
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..3))).await;
            if self.rng.u8(0..4) == 0 {
                // Its own again: the same tokens.
                self.ask(Op::Lock(wanted.clone())).await?;
                done += 1;
            }
            self.shared.believed.borrow_mut().retain(|_, session| *session != self.locker.id());
            for (name, token) in tokens {
                self.ask(Op::Unlock(name.clone(), token)).await?;
                done += 1;
                if self.rng.u8(0..8) == 0 {
                    // Once more, and late: it frees nothing that was granted since.
                    self.ask(Op::Unlock(name, token)).await?;
                    done += 1;
                }
            }
        }
        self.locker.end().await?;
        Ok(())
    }

    /// One to three locks.
    fn wanted(&mut self) -> Vec<Bytes> {
        let count = self.rng.usize(1..4);
        let picked = self.rng.choose_multiple(self.all.iter(), count);
        picked.into_iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect()
    }

    async fn ask(&self, op: Op) -> Result<(Slot, Said), Failed> {
        let label = self.locker.terms().label.clone();
        let ask = match op.clone() {
            Op::Lock(names) => Ask::Lock { names, label, mode: Mode::Now },
            Op::Unlock(name, token) => Ask::Unlock { name, token: Some(token), session: None },
        };
        let (slot, said) = self.locker.ask(&ask).await?;
        let record = Record { slot, session: self.locker.id(), op, said: said.clone() };
        self.shared.records.borrow_mut().push(record);
        Ok((slot, said))
    }

    /// Nobody else in this process may believe the same.
    fn believe(&self, names: &[Bytes], slot: Slot) -> Result<(), Failed> {
        let mut believed = self.shared.believed.borrow_mut();
        for name in names {
            if let Some(other) = believed.insert(name.clone(), self.locker.id())
                && other != self.locker.id()
            {
                return Err(format!("{name:?} is held by {other}, and granted in {slot}").into());
            }
        }
        Ok(())
    }
}

/// Twenty sessions ask at the same moment, each by another replica than its neighbours.
async fn twenty() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(5, data.path(), &[]).await?;
    for round in 0..5 {
        let one = ask_at_once(&rig, |_| format!("the lock {round}")).await?;
        let granted = one.iter().filter(|outcome| matches!(outcome, Outcome::Granted(_))).count();
        assert_eq!(granted, 1, "of twenty one has it: {one:?}");
        let own = ask_at_once(&rig, |at| format!("lock {at} of {round}")).await?;
        assert!(own.iter().all(|outcome| matches!(outcome, Outcome::Granted(_))), "{own:?}");
        let tokens: BTreeSet<Slot> = own
            .iter()
            .flat_map(|outcome| match outcome {
                Outcome::Granted(tokens) => tokens.iter().map(|(_, token)| *token).collect(),
                Outcome::Busy { .. } | Outcome::Deadlock { .. } | Outcome::Refused(_) => Vec::new(),
            })
            .collect();
        assert_eq!(tokens.len(), 20, "each has a token of its own");
    }
    audit(&mut rig)
}

async fn ask_at_once(rig: &Rig, lock: impl Fn(u16) -> String) -> Result<Vec<Outcome>, Failed> {
    let barrier = std::sync::Arc::new(Barrier::new(20));
    let mut asking = tokio::task::JoinSet::new();
    for at in 0..20u16 {
        let way = Way::Node(NodeId(at % 5));
        let mut locker = Locker::open(rig.cluster(), Terms { way, ..terms(at.to_string()) });
        let (barrier, wanted) = (barrier.clone(), names(&[&lock(at)]));
        asking.spawn(async move {
            barrier.wait().await;
            let outcome = locker.lock(&wanted, Want::Now).await;
            // Held until all have an answer.
            barrier.wait().await;
            locker.end().await?;
            outcome
        });
    }
    let outcomes = asking.join_all().await;
    Ok(outcomes.into_iter().collect::<Result<_, Error>>()?)
}

/// Two of five may die. Of three dead nothing is granted, nor is anything said to be; and it goes
/// on where it was when one is back.
async fn quorum() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(5, data.path(), &[]).await?;
    let mut holder = Locker::open(rig.cluster(), terms("holder"));
    let kept = names(&["kept"]);
    let Outcome::Granted(held) = holder.lock(&kept, Want::Now).await? else {
        return Err("it is free".into());
    };
    let leader = rig.leader().await.ok_or("somebody leads")?;
    let others: Vec<NodeId> = (0..5).map(NodeId).filter(|node| *node != leader).collect();
    rig.kill_all(&[leader, others[0]]);
    assert_eq!(holder.lock(&kept, Want::Now).await?, Outcome::Granted(held.clone()));
    rig.kill(others[1]);
    let patience = Duration::from_secs(2);
    let mut asking = Locker::open(rig.cluster(), Terms { patience, ..terms("asker") });
    for wanted in ["kept", "free"] {
        let answer = asking.lock(&names(&[wanted]), Want::Now).await;
        assert_eq!(answer, Err(Error::Silent(patience)), "{wanted}");
    }
    rig.start(others[1])?;
    let since = Instant::now();
    assert_eq!(holder.lock(&kept, Want::Now).await?, Outcome::Granted(held.clone()));
    assert!(since.elapsed() < PATIENCE);
    let mut later = Locker::open(rig.cluster(), terms("later"));
    let refused = later.lock(&kept, Want::Now).await?;
    let is_held = |by: &By| matches!(by, By::Held(hold) if hold.token == held[0].1);
    assert!(matches!(&refused, Outcome::Busy { by, .. } if is_held(by)), "{refused:?}");
    for node in [leader, others[0]] {
        rig.start(node)?;
    }
    rig.ready(PATIENCE).await?;
    let statuses = rig.statuses().await;
    let digests: BTreeSet<_> = statuses
        .into_iter()
        .flatten()
        .map(|status| status.digest)
        .map(|it| (it.slot, it.hash))
        .collect();
    assert_eq!(digests.len(), 1, "all have applied the same");
    audit(&mut rig)
}

async fn demonstration() -> Result<(), Failed> {
    run::demonstration(
        "lock",
        &["They counted to 200", "exit status 76", "eve waits for pen, held by ann"],
    )
}

/// A session is kept over changes of leader; one that falls silent is ended after its time to live,
/// and no sooner; one that ends cleanly frees its locks at once.
async fn silence() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(3, data.path(), &[]).await?;
    let ttl = Duration::from_secs(4);
    let mut holder = Locker::open(rig.cluster(), Terms { ttl, ..terms("holder") });
    let wanted = names(&["it"]);
    let granted = holder.lock(&wanted, Want::Now).await?;
    for _ in 0..3 {
        let leader = rig.leader().await.ok_or("somebody leads")?;
        rig.kill(leader);
        tokio::time::sleep(ttl / 2).await;
        assert_eq!(holder.lock(&wanted, Want::Now).await?, granted, "the same token");
        rig.start(leader)?;
        rig.ready(PATIENCE).await?;
    }
    tokio::time::sleep(ttl + ttl / 2).await;
    let mut waiting = Locker::open(rig.cluster(), terms("waiting"));
    let refused = waiting.lock(&wanted, Want::Now).await?;
    assert!(matches!(refused, Outcome::Busy { .. }), "it was kept alive: {refused:?}");
    drop(holder);
    let (fell_silent, until) = (Instant::now(), tokio::time::Instant::now() + PATIENCE);
    let taken = waiting.lock(&wanted, Want::Queue(Some(until))).await?;
    let after = fell_silent.elapsed();
    assert!(matches!(taken, Outcome::Granted(_)), "{taken:?}");
    // Its last keep-alive is a quarter of that old at most, if all went well.
    assert!(after > ttl / 2, "freed {after:?} after it fell silent");
    let mut next = Locker::open(rig.cluster(), terms("next"));
    let (wanting, ending) = (next.lock(&wanted, Want::Again(Some(until))), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        waiting.end().await
    });
    let since = Instant::now();
    let (taken, ended) = tokio::join!(wanting, ending);
    ended?;
    assert!(matches!(taken?, Outcome::Granted(_)));
    assert!(since.elapsed() < ttl, "a clean end frees at once, not after the time to live");
    audit(&mut rig)
}
