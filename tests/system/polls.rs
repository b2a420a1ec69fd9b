//! The poll service over real processes: replicas, a witness, and clients that keep their results.
//!
//! One-line bugs that turn them red: a result that is confirmed, or followed by the next, before it
//! is synced; a torn line that stays; a client that believes what it is told, not what it asked; a
//! poll that a new leader does not close; an answer that counts after the close; a name that a
//! client keeps when another has joined under it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use indelible::cluster::Service;
use indelible::local::{Options, Rig};
use indelible::paxos::NodeId;
use indelible::poller::{Poller, Terms};
use indelible::services::poll::{Ask, PollId, Said};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::history::{PATIENCE, PROGRAM, trial};
use crate::locks::audit;
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("polls::nine_files_are_the_same_whatever_is_killed", storm),
        trial("polls::a_poll_closes_by_its_time_by_hand_and_by_its_last_answer", closes),
        trial("polls::one_client_keeps_a_file_and_a_name", one_of_each),
        trial("polls::a_client_that_slept_joins_again", sleeper),
    ]
}

const BUSY: i32 = 75;
const FAILED: i32 = 1;
const CLIENTS: usize = 9;

/// Two replicas that have the state, and a witness.
async fn rig(data: &Path) -> Result<Rig, Failed> {
    rig_with(data, &[]).await
}

async fn rig_with(data: &Path, flags: &[&str]) -> Result<Rig, Failed> {
    let options = Options {
        nodes: 3,
        data: data.to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "info".to_owned(),
    };
    let mut rig = Rig::format_as(options, |mut cluster| {
        cluster.nodes[2].witness = true;
        cluster.with_service(Service::Poll)
    })?;
    rig.set_flags(flags);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    Ok(rig)
}

fn poll(rig: &Rig, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    let (name, rest) = words.split_first().expect("a command");
    command.args(["poll", name, "-f"]).arg(rig.cluster_file()).args(rest);
    command.arg("--connect-timeout=60s").stdin(Stdio::null());
    command
}

/// Runs it to its end: status, stdout and stderr.
fn said(rig: &Rig, words: &[&str]) -> Result<(i32, String, String), Failed> {
    let output = poll(rig, words).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let status = output.status.code().ok_or("it ends by itself")?;
    Ok((status, text(&output.stdout), text(&output.stderr)))
}

fn expect(rig: &Rig, words: &[&str], status: i32, out: &str) -> Result<String, Failed> {
    let said = said(rig, words)?;
    if said.0 == status && said.1.contains(out) {
        return Ok(said.1);
    }
    Err(format!("{words:?}: expected {status}, \"{out}\"; got {said:?}").into())
}

/// A client, gone when this is.
struct Client {
    name: String,
    results: PathBuf,
    child: Child,
}

impl Client {
    fn start(rig: &Rig, name: &str, answer: &str) -> Result<Client, Failed> {
        Client::at(rig, name, answer, rig.folder().join(format!("{name}.results")))
    }

    /// One that answers by chance, with further flags.
    fn restless(rig: &Rig, name: &str, flags: &[&str]) -> Result<Client, Failed> {
        let results = rig.folder().join(format!("{name}.results"));
        let words = [&["--name", name, "--answer", "random"], flags].concat();
        Client::spawn(rig, &words, results)
    }

    fn at(rig: &Rig, name: &str, answer: &str, results: PathBuf) -> Result<Client, Failed> {
        Client::spawn(rig, &["--name", name, "--answer", answer], results)
    }

    fn spawn(rig: &Rig, words: &[&str], results: PathBuf) -> Result<Client, Failed> {
        let name = words[1];
        let log = rig.folder().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = poll(rig, &[&["client"], words].concat());
        command.arg("--results").arg(&results).stdin(Stdio::piped());
        let child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Client { name: name.to_owned(), results, child })
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn answer(&mut self, line: &str) -> Result<(), Failed> {
        let stdin = self.child.stdin.as_mut().ok_or("a pipe")?;
        Ok(writeln!(stdin, "{line}")?)
    }

    async fn ended(&mut self) -> Result<ExitStatus, Failed> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!("{} does not end", self.name).into())
    }

    fn content(&self) -> String {
        std::fs::read_to_string(&self.results).unwrap_or_default()
    }

    /// Waits until the file holds this, and nothing else.
    async fn keeps(&self, expected: &str) -> Result<(), Failed> {
        let until = Instant::now() + PATIENCE;
        while self.content() != expected {
            if Instant::now() >= until {
                let found = self.content();
                return Err(format!("{}: {found:?}, not {expected:?}", self.name).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.kill();
    }
}

fn poller(rig: &Rig) -> Poller {
    Poller::open(rig.cluster(), Terms { patience: PATIENCE, ..Terms::default() })
}

/// Waits until just these are joined.
async fn joined(poller: &Poller, names: &[&str]) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    loop {
        let joined = poller.joined().await?;
        let found: Vec<&[u8]> = joined.iter().map(|(name, _)| &name[..]).collect();
        if found == names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!("joined: {joined:?}, not {names:?}").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Opens polls until it is told to end; some close by their time, others by their last answer.
async fn open_many(poller: Poller, mut rng: Rng, over: Rc<Cell<bool>>) -> Result<u64, Failed> {
    let mut last = 0;
    while !over.get() {
        let for_ms = Some(rng.u64(100..2000));
        let question = Bytes::from(format!("question {}?", last + 1));
        let said = poller.ask(&Ask::Open { question, for_ms }).await?;
        let Said::Opened { poll, .. } = said else {
            return Err(format!("not opened: {said:?}").into());
        };
        assert_eq!(poll, PollId(last + 1), "ids are dense");
        last += 1;
        sleep(Duration::from_millis(rng.u64(0..200))).await;
    }
    Ok(last)
}

/// Replicas, witness and clients are killed at random while polls are opened, and five messages of a
/// hundred are lost: in the end each file holds each result of each poll that asked its client, and
/// nothing else.
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
        Client::restless(rig, name, &[&["--ttl", ttl], &loss[..]].concat())
    };
    let mut clients =
        names.iter().map(|name| start(&rig, name)).collect::<Result<Vec<_>, Failed>>()?;
    let over = Rc::new(Cell::new(false));
    let local = LocalSet::new();
    let opening = local.spawn_local(open_many(poller(&rig), rng.fork(), Rc::clone(&over)));
    let last = local
        .run_until(async {
            for _ in 0..scale::poll_kills() {
                sleep(Duration::from_millis(rng.u64(0..400))).await;
                if rng.bool() {
                    let node = NodeId(rng.u16(0..3));
                    rig.kill(node);
                    sleep(Duration::from_millis(rng.u64(0..300))).await;
                    rig.start(node)?;
                    rig.answers(node, PATIENCE).await?;
                } else {
                    let client = &mut clients[rng.usize(0..CLIENTS)];
                    client.kill();
                    if rng.bool() {
                        // As if the power had failed in the middle of a line.
                        let mut file = std::fs::File::options()
                            .create(true)
                            .append(true)
                            .open(&client.results)?;
                        file.write_all(b"99")?;
                    }
                    *client = start(&rig, &client.name.clone())?;
                }
            }
            over.set(true);
            opening.await?
        })
        .await?;
    assert!(last >= u64::from(scale::poll_kills()) / 4, "only {last} polls were opened");
    let (expected, asked) = expected_files(&rig, last).await?;
    for client in &clients {
        client.keeps(expected.get(&client.name).map_or("", String::as_str)).await?;
    }
    eprintln!("polls: {last} polls, {asked} answers were asked for");
    drop(clients);
    rig.ready(PATIENCE).await?;
    audit(&mut rig)
}

/// What each client's file is to hold, by what `poll show` tells of each poll; and how many times a
/// client was asked.
async fn expected_files(rig: &Rig, last: u64) -> Result<(BTreeMap<String, String>, u64), Failed> {
    let (poller, mut files, mut asked) = (poller(rig), BTreeMap::<String, String>::new(), 0);
    for id in 1..=last {
        tokio::time::timeout(PATIENCE, poller.closed(PollId(id))).await??;
        let object: Value = serde_json::from_str(&expect(
            rig,
            &["show", &id.to_string(), "--json"],
            0,
            "\"closed\"",
        )?)?;
        let count = |key: &str| object[key].as_u64().ok_or_else(|| format!("{key} in {object}"));
        let (yes, no) = (count("yes")?, count("no")?);
        let names = object["names"].as_object().ok_or("names")?;
        assert_eq!(yes + no + count("abstained")?, names.len() as u64, "{object}");
        assert_eq!(count("asked")?, names.len() as u64, "{object}");
        asked += names.len() as u64;
        for name in names.keys() {
            files.entry(name.clone()).or_default().push_str(&format!("{id} {yes} {no}\n"));
        }
    }
    expect(rig, &["show", &(last + 1).to_string()], FAILED, "")?;
    Ok((files, asked))
}

/// A deadline is kept over a change of leader; what is closed stays as it is.
async fn closes() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = rig(data.path()).await?;
    expect(&rig, &["open", "anybody?", "--wait"], 0, "poll 1: nobody was asked")?;
    let mut ann = Client::start(&rig, "ann", "ask")?;
    let bob = Client::start(&rig, "bob", "yes")?;
    let poller = poller(&rig);
    joined(&poller, &["ann", "bob"]).await?;
    let by_time = expect(&rig, &["open", "in time?", "--for=5s", "--wait"], 0, "poll 2: 2 are")?;
    assert!(by_time.ends_with("poll 2: 50 % voted yes (1 yes, 0 no, 1 abstained)"), "{by_time}");
    expect(&rig, &["open", "now?"], 0, "poll 3: 2 are asked")?;
    let by_hand = expect(&rig, &["close", "3"], 0, "poll 3: ")?;
    assert_eq!(expect(&rig, &["close", "3"], 0, "")?, by_hand, "it stays as it is");
    expect(&rig, &["close", "9"], FAILED, "")?;
    expect(&rig, &["open", "again?", "--for=3s"], 0, "poll 4")?;
    let leader = rig.leader().await.ok_or("somebody leads")?;
    rig.kill(leader);
    let closed = tokio::time::timeout(PATIENCE, poller.closed(PollId(4))).await??;
    assert!(closed.is_some_and(|tally| tally.abstained >= 1), "{closed:?}");
    rig.start(leader)?;
    rig.ready(PATIENCE).await?;
    let (expected, _) = expected_files(&rig, 4).await?;
    ann.keeps(&expected["ann"]).await?;
    ann.answer("n")?;
    let typed = expect(&rig, &["open", "typed?", "--wait"], 0, "poll 5: 2 are asked")?;
    assert!(typed.ends_with("50 % voted yes (1 yes, 1 no, 0 abstained)"), "{typed}");
    let shown = expect(&rig, &["show", "5"], 0, "poll 5: typed?")?;
    assert!(shown.contains("all have answered"), "{shown}");
    let series = ["open", "more?", "--for=1s", "--every=10ms", "--count=3", "--wait"];
    expect(&rig, &series, 0, "poll 8: 2 are asked")?;
    let listed = expect(&rig, &["ls", "--json"], 0, "\"question\":\"anybody?\"")?;
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
    let mut ann = Client::start(&rig, "ann", "yes")?;
    joined(&poller, &["ann"]).await?;
    let file = ann.results.clone();
    let mut second = Client::at(&rig, "bob", "yes", file.clone())?;
    assert_eq!(second.ended().await?.code(), Some(BUSY), "one process a file");
    expect(&rig, &["open", "first?", "--wait"], 0, "poll 1: 100 % voted yes")?;
    ann.keeps("1 1 0\n").await?;
    // It goes away with a poll open, and its last line is torn.
    ann.kill();
    std::fs::File::options().append(true).open(&file)?.write_all(b"2 1")?;
    expect(&rig, &["open", "second?", "--for=1s", "--wait"], 0, "poll 2: 0 % voted yes")?;
    let mut ann = Client::start(&rig, "ann", "yes")?;
    ann.keeps("1 1 0\n2 0 0\n").await?;
    let other = rig.folder().join("other.results");
    let taker = Client::at(&rig, "ann", "no", other.clone())?;
    assert_eq!(ann.ended().await?.code(), Some(BUSY), "one client a name");
    taker.keeps("1 1 0\n2 0 0\n").await?;
    expect(&rig, &["open", "third?", "--wait"], 0, "poll 3: 0 % voted yes (0 yes, 1 no")?;
    taker.keeps("1 1 0\n2 0 0\n3 0 1\n").await?;
    let until = Instant::now() + PATIENCE;
    while !expect(&rig, &["ls", "--names"], 0, "ann")?.ends_with("up to poll 3") {
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
    let ann = Client::restless(&rig, "ann", &["--ttl=2s"])?;
    joined(&poller, &["ann"]).await?;
    kill_process(Pid::from_child(&ann.child), Signal::STOP)?;
    joined(&poller, &[]).await?;
    expect(&rig, &["open", "anybody?", "--wait"], 0, "poll 1: nobody was asked")?;
    kill_process(Pid::from_child(&ann.child), Signal::CONT)?;
    joined(&poller, &["ann"]).await?;
    expect(&rig, &["open", "you?", "--wait"], 0, "poll 2: 1 are asked")?;
    let (expected, _) = expected_files(&rig, 2).await?;
    ann.keeps(&expected["ann"]).await?;
    drop((ann, poller));
    audit(&mut rig)
}
