//! A disk is lost, set back, or damaged; and the member comes back on an empty store.
//!
//! What must hold meanwhile: the others serve; the new store does not vote before it may; the old
//! one is refused wherever it turns up; nothing acknowledged is lost, as the disks prove.
//!
//! One-line bugs that turn them red: `format_replacement` without its first commit (it votes at
//! once); the dialler keeps to the cluster file's address; a peer that greets a replaced
//! store; `recalls` off; `replace` that ends where `node` would go on.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use indelible::demo::storm::Storm;
use indelible::local::Rig;
use indelible::local::process::{Output, Process};
use indelible::paxos::{NodeId, Wal};
use indelible::wal::Store;
use libtest_mimic::{Failed, Trial};

use crate::history::{self, PATIENCE, PROGRAM, Teller};
use crate::{ending, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        history::trial("replace::a_replaced_member_carries_the_quorum", carries_the_quorum),
        history::trial("replace::killed_midway_it_goes_on_and_votes_no_sooner", killed_midway),
        history::trial("replace::it_waits_for_who_is_down_and_says_so", waits),
        history::trial("replace::the_lost_machine_is_refused", lost_machine),
        history::trial("replace::one_that_still_runs_is_told_and_stops", still_runs),
        history::trial("replace::a_store_that_was_set_back_is_refused", set_back),
        history::trial("replace::a_flipped_bit_is_harmless_or_refused", flipped),
        history::trial("replace::the_demonstration_ends_with_its_proof", demonstration),
        history::trial("replace::a_cluster_of_one_and_a_store_in_use_are_refused", refused),
    ]
}

/// `EX_IOERR`.
pub(crate) const DISK: i32 = 74;

/// `EX_CONFIG`.
const CONFIG: i32 = 78;

/// The member whose disk is lost.
const VICTIM: NodeId = NodeId(1);

/// Waits until a member votes.
pub(crate) async fn votes(rig: &mut Rig, node: NodeId) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && rig.is_alive(node) {
        if rig.status(node).await.is_some_and(|status| status.votes) {
            return Ok(());
        }
        pause(10).await;
    }
    Err(format!("node {node} does not vote:\n{}", tail(&rig.log(node))).into())
}

/// Waits until a member's process has ended: its exit status, and the line that it ended with.
pub(crate) async fn ended(rig: &mut Rig, node: NodeId) -> Result<(i32, String), Failed> {
    let until = Instant::now() + PATIENCE;
    while rig.is_alive(node) {
        if Instant::now() > until {
            return Err(format!("node {node} goes on:\n{}", tail(&rig.log(node))).into());
        }
        pause(10).await;
    }
    let status = rig.ended(node).and_then(|status| status.code());
    let line = rig.log(node).lines().last().unwrap_or_default().to_owned();
    Ok((status.ok_or("it was killed")?, line))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Waits until a member's log, from some place on, holds this.
async fn says(rig: &Rig, node: NodeId, from: usize, what: &str) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while !rig.log(node)[from..].contains(what) {
        if Instant::now() > until {
            return Err(format!("never \"{what}\":\n{}", tail(&rig.log(node))).into());
        }
        pause(20).await;
    }
    Ok(())
}

/// Runs a trial under a storm, inside what its clients need.
async fn under_load<F: Future<Output = Result<(), Failed>>>(
    nodes: u16,
    data: &Path,
    play: impl FnOnce(Rig, Storm) -> F,
) -> Result<(), Failed> {
    let rig = history::rig(nodes, data).await?;
    let local = tokio::task::LocalSet::new();
    let playing = async {
        let storm = Storm::start(rig.cluster(), 4);
        ending::more(&storm, 50, PATIENCE).await?;
        play(rig, storm).await
    };
    local.run_until(playing).await
}

/// The first primary's disk is lost, and it comes back at another port; then that of another, which
/// comes back where it was. Each time an old member is killed next, and two of three go on: one of
/// them is the replaced one.
async fn carries_the_quorum() -> Result<(), Failed> {
    let data = run::data()?;
    under_load(3, data.path(), async |mut rig, storm| {
        for (victim, other, moves) in [(0, 2, true), (1, 2, false)] {
            let (victim, other) = (NodeId(victim), NodeId(other));
            rig.wipe(victim)?;
            storm.next(PATIENCE).await.ok_or("two of three do not go on")?;
            if moves {
                rig.relocate(victim)?;
            }
            rig.replace(victim)?;
            while !rig.status(victim).await.is_some_and(|status| status.votes) {
                storm.next(PATIENCE).await.ok_or("nothing goes on beside a replacement")?;
            }
            says(&rig, victim, 0, "this store votes from now on").await?;
            rig.kill(other);
            ending::more(&storm, 50, PATIENCE).await?;
            rig.start(other)?;
            votes(&mut rig, other).await?;
        }
        ending::prove(storm, &mut rig, PATIENCE).await.map(drop)
    })
    .await
}

/// Killed at any moment, by `replace` or by the `node` that goes on after it: what is on the disk
/// then has promised and accepted nothing, unless it may vote.
async fn killed_midway() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rng = Rng::with_seed(scale::seed());
    under_load(3, data.path(), async |mut rig, storm| {
        let (mut unfinished, mut unfit, mut fit) = (0, 0, 0);
        for _ in 0..scale::lost_disks() / 5 {
            rig.wipe(VICTIM)?;
            rig.replace(VICTIM)?;
            for kill in 0..rng.u32(1..4) {
                if kill == 0 && rng.bool() {
                    is_being_made(&rig.store(VICTIM)).await;
                } else {
                    pause(rng.u64(0..400)).await;
                }
                rig.kill(VICTIM);
                match Store::open(&rig.store(VICTIM)) {
                    Ok(mut store) => {
                        let state = store.load()?;
                        let said = state.promised().is_some() || state.chain().is_some();
                        // What it takes over with its vote begins with a promise.
                        assert_eq!(state.is_fit(), said, "{:?}", state.promised());
                        unfit += u32::from(!state.is_fit());
                        fit += u32::from(state.is_fit());
                        drop(store);
                        rig.start(VICTIM)?;
                    }
                    Err(_) => {
                        unfinished += 1;
                        rig.replace(VICTIM)?;
                    }
                }
            }
            votes(&mut rig, VICTIM).await?;
            ending::more(&storm, 20, PATIENCE).await?;
        }
        eprintln!("replace: killed {unfinished} unfinished, {unfit} not voting, {fit} voting");
        ending::prove(storm, &mut rig, PATIENCE).await.map(drop)
    })
    .await
}

/// Waits until a store is being made.
async fn is_being_made(store: &Path) {
    let until = Instant::now() + PATIENCE;
    while !store.join("unfinished-replacement").exists() {
        if Instant::now() > until || store.join("identity").exists() {
            return;
        }
        // It is over within some milliseconds: no sleep is short enough.
        tokio::task::yield_now().await;
    }
}

/// In a cluster of three both others are needed. While one is down nothing can be decided either;
/// when it is back, all goes on.
async fn waits() -> Result<(), Failed> {
    let data = run::data()?;
    under_load(3, data.path(), async |mut rig, storm| {
        let down = NodeId(2);
        rig.kill(down);
        ending::more(&storm, 20, PATIENCE).await?;
        rig.wipe(VICTIM)?;
        let from = rig.log(VICTIM).len();
        rig.replace(VICTIM)?;
        says(&rig, VICTIM, from, "that of node 0 has come, it waits for node 2 at 127").await?;
        let before = storm.acknowledged();
        pause(2000).await;
        let status = rig.status(VICTIM).await.ok_or("it answers while it waits")?;
        assert!(!status.votes, "{status:?}");
        assert_eq!(storm.acknowledged(), before, "one of three decides nothing");
        rig.start(down)?;
        votes(&mut rig, VICTIM).await?;
        ending::more(&storm, 50, PATIENCE).await?;
        ending::prove(storm, &mut rig, PATIENCE).await.map(drop)
    })
    .await
}

/// The old machine comes back with the store that was replaced: while the others remember by
/// chance, and when they have been started again since.
async fn lost_machine() -> Result<(), Failed> {
    let data = run::data()?;
    under_load(3, data.path(), async |mut rig, storm| {
        let old = rig.keep_copy(VICTIM)?;
        rig.wipe(VICTIM)?;
        rig.relocate(VICTIM)?;
        rig.replace(VICTIM)?;
        votes(&mut rig, VICTIM).await?;
        for is_restarted in [false, true] {
            if is_restarted {
                rig.kill_all(&[NodeId(0), NodeId(2)]);
                rig.start_all()?;
                storm.next(PATIENCE).await.ok_or("a quorum does not go on")?;
            }
            let log = rig.folder().join(format!("old-{is_restarted}.log"));
            let (status, said) = run_old(&rig, &old, &log).await?;
            assert_eq!(status, CONFIG, "{said}");
            let named = "this store of node 1 was replaced by a newer one";
            assert!(said.contains(named), "{said}");
            storm.next(PATIENCE).await.ok_or("a quorum does not go on")?;
        }
        ending::prove(storm, &mut rig, PATIENCE).await.map(drop)
    })
    .await
}

/// A member is replaced that runs still: cut off, as it seemed to somebody. It leads, and its
/// connections to the others are up.
async fn still_runs() -> Result<(), Failed> {
    let data = run::data()?;
    under_load(3, data.path(), async |mut rig, storm| {
        let old = rig.leader().await.ok_or("nobody leads")?;
        let (store, log) = (data.path().join("new"), data.path().join("new.log"));
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let args = [
            "replace".to_owned(),
            old.0.to_string(),
            "--ballast=0".to_owned(),
            format!("--address=127.0.0.1:{port}"),
            format!("--cluster-file={}", rig.cluster_file().display()),
            format!("--store={}", store.display()),
        ];
        let mut new = Process::spawn(Path::new(PROGRAM), args, Output::Nowhere, &log)?;
        let (status, line) = ended(&mut rig, old).await?;
        assert_eq!(status, CONFIG, "{line}");
        assert!(line.contains("was replaced by a newer one"), "{line}");
        ending::more(&storm, 50, PATIENCE).await?;
        assert!(new.is_alive(), "{}", std::fs::read_to_string(&log)?);
        storm.end(PATIENCE).await.map_err(|open| format!("{open} messages had no answer"))?;
        Ok(())
    })
    .await
}

/// Runs the member on that store, at the cluster file's address, until it ends by itself.
async fn run_old(rig: &Rig, store: &Path, log: &Path) -> Result<(i32, String), Failed> {
    let args = [
        "node".to_owned(),
        format!("--id={}", VICTIM.0),
        format!("--cluster-file={}", rig.cluster_file().display()),
        format!("--store={}", store.display()),
    ];
    let mut process = Process::spawn(Path::new(PROGRAM), args, Output::Nowhere, log)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let said = std::fs::read_to_string(log)?;
        if let Some(status) = process.ended() {
            return Ok((status.code().ok_or("it was killed")?, said));
        }
        if Instant::now() > until {
            return Err(format!("the old store goes on: {said}").into());
        }
        pause(20).await;
    }
}

/// A copy of the store takes its place, a thousand messages later. What it forgot, the others
/// remember, also when they have been started again since. A replacement heals it.
async fn set_back() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = history::rig(3, data.path()).await?;
    let mut teller = Teller::new(&rig);
    teller.say(50, 100).await?;
    rig.keep_copy(VICTIM)?;
    rig.start(VICTIM)?;
    votes(&mut rig, VICTIM).await?;
    teller.say(1000, 100).await?;
    rig.ready(PATIENCE).await?;
    // It may have lagged, and said nothing: of these it votes for each, and all are told so.
    for _ in 0..20 {
        teller.say(1, 100).await?;
    }
    pause(1000).await;
    for is_restarted in [false, true] {
        rig.roll_back(VICTIM)?;
        if is_restarted {
            rig.kill_all(&[NodeId(0), NodeId(2)]);
            rig.start(NodeId(0))?;
            rig.start(NodeId(2))?;
        }
        rig.start(VICTIM)?;
        let (status, line) = ended(&mut rig, VICTIM).await?;
        assert_eq!(status, DISK, "{line}");
        let says = "it has lost what it said, and must not be voted from again";
        assert!(line.contains(says) && line.contains("indelible replace 1"), "{line}");
    }
    rig.wipe(VICTIM)?;
    rig.replace(VICTIM)?;
    votes(&mut rig, VICTIM).await?;
    rig.kill(NodeId(0));
    teller.say(50, 100).await?;
    rig.start(NodeId(0))?;
    rig.ready(PATIENCE).await?;
    ending::verify(&rig.cluster_file())
}

/// One bit of sled's file turns while the node is down: it refuses to open, or to vote, and a
/// replacement heals it; or it was a bit that nobody needs.
async fn flipped() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rng = Rng::with_seed(scale::seed());
    under_load(3, data.path(), async |mut rig, storm| {
        let (mut refused, mut harmless) = (0, 0);
        for _ in 0..scale::lost_disks() / 3 {
            ending::more(&storm, 20, PATIENCE).await?;
            rig.flip(VICTIM, "log/db", |below| rng.u64(..below))?;
            rig.start(VICTIM)?;
            if heals(&mut rig, VICTIM).await? {
                refused += 1;
            } else {
                harmless += 1;
            }
        }
        eprintln!("replace: of the flipped bits {refused} were refused, {harmless} harmless");
        ending::prove(storm, &mut rig, PATIENCE).await.map(drop)
    })
    .await
}

/// Waits until a member votes, or refuses its store: then it is replaced. Whether it was.
pub(crate) async fn heals(rig: &mut Rig, node: NodeId) -> Result<bool, Failed> {
    let until = Instant::now() + PATIENCE;
    while rig.is_alive(node) {
        if rig.status(node).await.is_some_and(|status| status.votes) {
            return Ok(false);
        }
        if Instant::now() > until {
            return Err(format!("it waits for ever:\n{}", tail(&rig.log(node))).into());
        }
        pause(10).await;
    }
    let (status, line) = ended(rig, node).await?;
    assert_eq!(status, DISK, "{line}");
    rig.wipe(node)?;
    rig.replace(node)?;
    votes(rig, node).await?;
    Ok(true)
}

/// What cannot be replaced is refused before anything is made.
async fn refused() -> Result<(), Failed> {
    let data = run::data()?;
    let store = data.path().join("store");
    let replace = |cluster: &str| {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(["replace", "0", "--ballast=0", "--replicas", cluster, "--store"]);
        command.arg(&store).output()
    };
    let one = replace("127.0.0.1:1")?;
    let said = String::from_utf8_lossy(&one.stderr).into_owned();
    assert!(one.status.code() == Some(64) && said.contains("cannot be replaced"), "{said}");
    assert!(!store.exists(), "nothing was made");
    let rig = history::format(3, data.path())?;
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["replace", "0", "--ballast=0", "--store"]).arg(rig.store(NodeId(0)));
    let there = command.arg("--cluster-file").arg(rig.cluster_file()).output()?;
    let said = String::from_utf8_lossy(&there.stderr).into_owned();
    assert!(there.status.code() == Some(73) && said.contains("exists already"), "{said}");
    Ok(())
}

/// Bugs that turn it red: a replica that never votes again; a proof that does not hold.
async fn demonstration() -> Result<(), Failed> {
    let told = ["the replaced one carries the quorum", "it has lost what it said", "The proof."];
    run::demonstration("lost-disk", &told)
}
