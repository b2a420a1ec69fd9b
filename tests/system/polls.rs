//! The poll service over real processes: replicas, a witness, and clients that keep their results.
//!
//! One-line bugs that turn them red: a result that is confirmed, or followed by the next, before it
//! is synced; a torn line that stays; a client that believes what it is told, not what it asked; a
//! poll that a new leader does not close; an answer that counts after the close; a name that a
//! client keeps when another has joined under it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use indelible::local::Rig;
use indelible::paxos::NodeId;
use indelible::services::poll::PollId;
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::history::{PATIENCE, trial};
use crate::locks::audit;
use crate::voters::{
    self, Stream, Voter, expect, expected_files, files_are_right, joined, one_story, poller,
};
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("polls::nine_files_are_the_same_whatever_is_killed", storm),
        trial("polls::a_poll_closes_by_its_time_by_hand_and_by_its_last_answer", closes),
        trial("polls::one_client_keeps_a_file_and_a_name", one_of_each),
        trial("polls::a_client_that_slept_joins_again", sleeper),
        trial("polls::the_demonstration_ends_with_its_proof", demonstration),
    ]
}

const BUSY: i32 = 75;
const FAILED: i32 = 1;
const CLIENTS: usize = 9;

/// A heartbeat each 200 ms: those who judge who has failed are judged on no less.
const ELECTION: Duration = Duration::from_millis(1600);

/// Two replicas that have the state, and a witness.
async fn rig(data: &Path) -> Result<Rig, Failed> {
    rig_with(data, &[]).await
}

async fn rig_with(data: &Path, flags: &[&str]) -> Result<Rig, Failed> {
    let mut rig = Rig::format_as(voters::options(data), voters::shape)?;
    rig.set_election(ELECTION)?;
    rig.set_flags(flags);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    Ok(rig)
}

/// Replicas, witness and clients are killed at random while polls are opened, some of them while
/// they start and join, and five messages of a hundred are lost: in the end each file holds each
/// result of each poll that asked its client, and nothing else.
async fn storm() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rng = Rng::with_seed(scale::seed());
    let drop_seed = format!("--drop-seed={}", scale::seed());
    let loss = ["--drop=0.05", &drop_seed];
    let mut rig = rig_with(data.path(), &loss).await?;
    let names: Vec<String> = (0..CLIENTS).map(|at| format!("client-{at}")).collect();
    // Some of them are away now and then, as far as the replicas know.
    let start = |rig: &Rig, name: &String| {
        let ttl = if name.ends_with(['1', '3', '5']) { "400ms" } else { "10s" };
        Voter::restless(rig, name, &[&["--ttl", ttl], &loss[..]].concat())
    };
    let mut clients =
        names.iter().map(|name| start(&rig, name)).collect::<Result<Vec<_>, Failed>>()?;
    let killing = async {
        let stream = Stream::start(&rig, rng.fork(), Duration::from_millis(200));
        for _ in 0..scale::poll_kills() {
            sleep(Duration::from_millis(rng.u64(0..400))).await;
            if rng.bool() {
                bring_down(&mut rig, &mut rng).await?;
                continue;
            }
            let client = &mut clients[rng.usize(0..CLIENTS)];
            client.kill();
            if rng.bool() {
                // As if the power had failed in the middle of a line.
                let mut options = std::fs::File::options();
                let mut file = options.create(true).append(true).open(&client.results)?;
                file.write_all(b"99")?;
            }
            *client = start(&rig, &client.name.clone())?;
        }
        stream.end().await
    };
    let (opened, last) = LocalSet::new().run_until(killing).await?;
    assert_eq!(opened, last, "ids are dense");
    assert!(last >= u64::from(scale::poll_kills()) / 4, "only {last} polls were opened");
    let asked = files_are_right(&rig, &clients, last).await?;
    let heard = one_story(&rig)?;
    eprintln!("polls: {last} polls, {asked} answers were asked for, {heard} announcements");
    drop(clients);
    rig.ready(PATIENCE).await?;
    audit(&mut rig)
}

/// A node dies, and is back soon; or dies again while it starts, or joins.
async fn bring_down(rig: &mut Rig, rng: &mut Rng) -> Result<(), Failed> {
    let node = NodeId(rng.u16(0..3));
    rig.kill(node);
    sleep(Duration::from_millis(rng.u64(0..300))).await;
    while rng.bool() {
        rig.start(node)?;
        sleep(Duration::from_millis(rng.u64(0..300))).await;
        rig.kill(node);
    }
    rig.start(node)?;
    Ok(rig.answers(node, PATIENCE).await?)
}

/// A deadline is kept over a change of leader; what is closed stays as it is.
async fn closes() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(data.path()).await?;
    expect(&rig, &["open", "anybody?", "--wait"], 0, "poll 1: nobody was asked").await?;
    let mut ann = Voter::start(&rig, "ann", "ask")?;
    let bob = Voter::start(&rig, "bob", "yes")?;
    let poller = poller(&rig);
    joined(&poller, &["ann", "bob"]).await?;
    let by_time =
        expect(&rig, &["open", "in time?", "--for=5s", "--wait"], 0, "poll 2: 2 are").await?;
    assert!(by_time.ends_with("poll 2: 50 % voted yes (1 yes, 0 no, 1 abstained)"), "{by_time}");
    expect(&rig, &["open", "now?"], 0, "poll 3: 2 are asked").await?;
    let by_hand = expect(&rig, &["close", "3"], 0, "poll 3: ").await?;
    assert_eq!(expect(&rig, &["close", "3"], 0, "").await?, by_hand, "it stays as it is");
    expect(&rig, &["close", "9"], FAILED, "").await?;
    expect(&rig, &["open", "again?", "--for=3s"], 0, "poll 4").await?;
    let leader = rig.leader().await.ok_or("somebody leads")?;
    rig.kill(leader);
    let closed = tokio::time::timeout(PATIENCE, poller.closed(PollId(4))).await??;
    assert!(closed.is_some_and(|tally| tally.abstained >= 1), "{closed:?}");
    rig.start(leader)?;
    rig.ready(PATIENCE).await?;
    let (expected, _) = expected_files(&rig, 4).await?;
    ann.keeps(&expected["ann"]).await?;
    ann.answer("n")?;
    let typed = expect(&rig, &["open", "typed?", "--wait"], 0, "poll 5: 2 are asked").await?;
    assert!(typed.ends_with("50 % voted yes (1 yes, 1 no, 0 abstained)"), "{typed}");
    let shown = expect(&rig, &["show", "5"], 0, "poll 5: typed?").await?;
    assert!(shown.contains("all have answered"), "{shown}");
    let series = ["open", "more?", "--for=1s", "--every=10ms", "--count=3", "--wait"];
    expect(&rig, &series, 0, "poll 8: 2 are asked").await?;
    let listed = expect(&rig, &["ls", "--json"], 0, "\"question\":\"anybody?\"").await?;
    assert_eq!(listed.lines().count(), 8, "{listed}");
    let (expected, _) = expected_files(&rig, 8).await?;
    ann.keeps(&expected["ann"]).await?;
    bob.keeps(&expected["bob"]).await?;
    assert!(expected["ann"].starts_with("2 1 0\n"), "{expected:?}");
    drop((ann, bob, poller));
    audit(&mut rig)
}

/// The second on a file is turned away; the second of a name takes over. A client that was away is
/// told what it was asked.
async fn one_of_each() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(data.path()).await?;
    let poller = poller(&rig);
    let mut ann = Voter::start(&rig, "ann", "yes")?;
    joined(&poller, &["ann"]).await?;
    let file = ann.results.clone();
    let mut second = Voter::at(&rig, "bob", "yes", file.clone())?;
    assert_eq!(second.ended().await?.code(), Some(BUSY), "one process a file");
    expect(&rig, &["open", "first?", "--wait"], 0, "poll 1: 100 % voted yes").await?;
    ann.keeps("1 1 0\n").await?;
    // It goes away with a poll open, and its last line is torn.
    ann.kill();
    std::fs::File::options().append(true).open(&file)?.write_all(b"2 1")?;
    expect(&rig, &["open", "second?", "--for=1s", "--wait"], 0, "poll 2: 0 % voted yes").await?;
    let mut ann = Voter::start(&rig, "ann", "yes")?;
    ann.keeps("1 1 0\n2 0 0\n").await?;
    let other = rig.folder().join("other.results");
    let taker = Voter::at(&rig, "ann", "no", other.clone())?;
    assert_eq!(ann.ended().await?.code(), Some(BUSY), "one client a name");
    taker.keeps("1 1 0\n2 0 0\n").await?;
    expect(&rig, &["open", "third?", "--wait"], 0, "poll 3: 0 % voted yes (0 yes, 1 no").await?;
    taker.keeps("1 1 0\n2 0 0\n3 0 1\n").await?;
    let until = Instant::now() + PATIENCE;
    while !expect(&rig, &["ls", "--names"], 0, "ann").await?.ends_with("up to poll 3") {
        assert!(Instant::now() < until, "it says what it has written");
        sleep(Duration::from_millis(20)).await;
    }
    drop((taker, poller));
    audit(&mut rig)
}

/// A client that was stopped for longer than its session lives is asked again when it goes on.
async fn sleeper() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(data.path()).await?;
    let poller = poller(&rig);
    let ann = Voter::restless(&rig, "ann", &["--ttl=2s"])?;
    joined(&poller, &["ann"]).await?;
    kill_process(Pid::from_child(&ann.child), Signal::STOP)?;
    joined(&poller, &[]).await?;
    expect(&rig, &["open", "anybody?", "--wait"], 0, "poll 1: nobody was asked").await?;
    kill_process(Pid::from_child(&ann.child), Signal::CONT)?;
    joined(&poller, &["ann"]).await?;
    expect(&rig, &["open", "you?", "--wait"], 0, "poll 2: 1 are asked").await?;
    let (expected, _) = expected_files(&rig, 2).await?;
    ann.keeps(&expected["ann"]).await?;
    drop((ann, poller));
    audit(&mut rig)
}

/// Bugs that turn it red: a poll that closes with its primary; a backup that does not come back; a
/// second process on the store of one that is stopped; half a line that stays.
async fn demonstration() -> Result<(), Failed> {
    let told = ["The poll is still open", "no second one is started", "proved: 3 stores"];
    run::demonstration("poll", &told)
}
