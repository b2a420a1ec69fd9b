//! Clients of the poll service as processes, and what trials demand of them: the results that each
//! keeps, and the announcements that each prints.
//!
//! Whatever was killed or cut: the ids are dense, each file holds what the cluster tells of each
//! poll that asked its client, and all clients heard the same of who is in office.
//!
//! One-line bugs that turn the trials with voters red: an announcement that is printed twice, or
//! has the number of the one before; a primary that takes over in the view of the last.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use indelible::cluster::{Cluster, Service};
use indelible::local::{Options, Rig};
use indelible::paxos::NodeId;
use indelible::poller::{Poller, Terms};
use indelible::services::poll::{Ask, PollId, Said};
use libtest_mimic::Failed;
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::sleep;

use crate::history::{PATIENCE, PROGRAM};

mod story;

pub(crate) use story::{Office, one_story};

use story::announced;

/// There is no such poll.
const FAILED: i32 = 1;

/// Between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(20);

/// The witness of [`shape`].
pub(crate) const WITNESS: NodeId = NodeId(2);

/// Two replicas that have the polls, and a witness.
pub(crate) fn shape(mut cluster: Cluster) -> Cluster {
    cluster.nodes[usize::from(WITNESS.0)].witness = true;
    cluster.with_service(Service::Poll)
}

/// For [`shape`].
pub(crate) fn options(data: &Path) -> Options {
    Options {
        nodes: 3,
        data: data.to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: false,
        log: "info".to_owned(),
    }
}

/// What somebody types, and where.
pub(crate) struct Desk<'r> {
    rig: &'r Rig,
    /// The words behind which a command line runs there.
    enter: &'r [String],
    /// How long an answer may take.
    patience: &'r str,
}

impl<'r> Desk<'r> {
    /// On this host, and patient.
    pub(crate) fn here(rig: &'r Rig) -> Desk<'r> {
        Desk { rig, enter: &[], patience: "60s" }
    }

    /// Behind these words, and with this patience.
    pub(crate) fn at(rig: &'r Rig, enter: &'r [String], patience: &'r str) -> Desk<'r> {
        Desk { rig, enter, patience }
    }

    fn command(&self, words: &[&str]) -> Command {
        let (name, rest) = words.split_first().expect("a command");
        let mut line = self.enter.iter().map(String::as_str).chain([PROGRAM]);
        let mut command = Command::new(line.next().expect("a program"));
        command.args(line).args(["poll", name, "-f"]).arg(self.rig.cluster_file()).args(rest);
        command.arg(format!("--connect-timeout={}", self.patience)).stdin(Stdio::null());
        command
    }

    /// Runs it to its end: status, stdout and stderr.
    pub(crate) async fn said(&self, words: &[&str]) -> Result<(i32, String, String), Failed> {
        let mut command = self.command(words);
        let output = spawn_blocking(move || command.output()).await??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let status = output.status.code().ok_or("it ends by itself")?;
        Ok((status, text(&output.stdout), text(&output.stderr)))
    }
}

/// Runs it to its end, which must be so: stdout.
pub(crate) async fn expect(
    rig: &Rig,
    words: &[&str],
    status: i32,
    out: &str,
) -> Result<String, Failed> {
    let said = Desk::here(rig).said(words).await?;
    if said.0 == status && said.1.contains(out) {
        return Ok(said.1);
    }
    Err(format!("{words:?}: expected {status}, \"{out}\"; got {said:?}").into())
}

/// A client, gone when this is.
pub(crate) struct Voter {
    pub(crate) name: String,
    pub(crate) results: PathBuf,
    pub(crate) child: Child,
    /// What it prints.
    out: PathBuf,
}

impl Voter {
    /// One that answers so.
    pub(crate) fn start(rig: &Rig, name: &str, answer: &str) -> Result<Voter, Failed> {
        Voter::at(rig, name, answer, rig.folder().join(format!("{name}.results")))
    }

    /// One that answers by chance, with further flags.
    pub(crate) fn restless(rig: &Rig, name: &str, flags: &[&str]) -> Result<Voter, Failed> {
        let results = rig.folder().join(format!("{name}.results"));
        let words = [&["--name", name, "--answer", "random"], flags].concat();
        Voter::spawn(&Desk::here(rig), &words, results)
    }

    /// One that keeps its results elsewhere.
    pub(crate) fn at(
        rig: &Rig,
        name: &str,
        answer: &str,
        results: PathBuf,
    ) -> Result<Voter, Failed> {
        Voter::spawn(&Desk::here(rig), &["--name", name, "--answer", answer], results)
    }

    /// One with these flags, the first of which are its name.
    pub(crate) fn spawn(
        desk: &Desk<'_>,
        words: &[&str],
        results: PathBuf,
    ) -> Result<Voter, Failed> {
        let (name, folder) = (words[1], desk.rig.folder());
        let append = |path: &Path| std::fs::File::options().create(true).append(true).open(path);
        // Another for each start, for each begins with the announcement of that moment.
        let outs = (1..).map(|number| folder.join(format!("{name}.{number}.out")));
        let out = outs.into_iter().find(|out| !out.exists()).ok_or("numbers have no end")?;
        let mut command = desk.command(&[&["client"], words].concat());
        command.arg("--results").arg(&results).stdin(Stdio::piped());
        command.stdout(append(&out)?).stderr(append(&folder.join(format!("{name}.log")))?);
        Ok(Voter { name: name.to_owned(), results, child: command.spawn()?, out })
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Types a line.
    pub(crate) fn answer(&mut self, line: &str) -> Result<(), Failed> {
        let stdin = self.child.stdin.as_mut().ok_or("a pipe")?;
        Ok(writeln!(stdin, "{line}")?)
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failed> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK).await;
        }
        Err(format!("{} does not end", self.name).into())
    }

    fn content(&self) -> String {
        std::fs::read_to_string(&self.results).unwrap_or_default()
    }

    /// Waits until the file holds this, and nothing else.
    pub(crate) async fn keeps(&self, expected: &str) -> Result<(), Failed> {
        until(|| {
            let found = self.content();
            if found == expected {
                return Ok(());
            }
            Err(format!("{}: {found:?}, not {expected:?}", self.name))
        })
        .await
    }

    /// Waits until it has printed this.
    pub(crate) async fn prints(&self, text: &str) -> Result<(), Failed> {
        until(|| {
            let printed = std::fs::read_to_string(&self.out).unwrap_or_default();
            if printed.contains(text) {
                return Ok(());
            }
            Err(format!("{} has not printed \"{text}\":\n{printed}", self.name))
        })
        .await
    }

    /// Waits until its last announcement is of this office.
    pub(crate) async fn announces(&self, rig: &Rig, office: &Office) -> Result<(), Failed> {
        until(|| {
            let heard = announced(rig, &self.out)?;
            if heard.last().is_some_and(|it| it.office == *office) {
                return Ok(());
            }
            Err(format!("{} has heard {heard:?}, and nothing of {office:?}", self.name))
        })
        .await
    }

    /// All offices that were announced to it, in order.
    pub(crate) fn course(&self, rig: &Rig) -> Result<Vec<Office>, Failed> {
        Ok(announced(rig, &self.out)?.into_iter().map(|it| it.office).collect())
    }
}

impl Drop for Voter {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until there is nothing to complain about.
pub(crate) async fn until(mut complaint: impl FnMut() -> Result<(), String>) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while let Err(why) = complaint() {
        if Instant::now() >= until {
            return Err(why.into());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// A session that asks.
pub(crate) fn poller(rig: &Rig) -> Poller {
    Poller::open(rig.cluster(), Terms { patience: PATIENCE, ..Terms::default() })
}

/// Waits until just these are joined.
pub(crate) async fn joined(poller: &Poller, names: &[&str]) -> Result<(), Failed> {
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
        sleep(LOOK).await;
    }
}

/// Waits until there is a primary, and a backup that has joined it.
pub(crate) async fn both_in_office(poller: &Poller) -> Result<Office, Failed> {
    let until = Instant::now() + PATIENCE;
    loop {
        let office = poller.office().await?;
        if let Some(primary) = office.primary.as_ref().filter(|_| !office.backups.is_empty()) {
            let backups: Vec<u16> = office.backups.keys().copied().collect();
            return Ok(Office::new(office.view, primary.id, &backups));
        }
        if Instant::now() >= until {
            return Err(format!("in office: {office}").into());
        }
        sleep(LOOK).await;
    }
}

/// Somebody who opens one poll after another; some close by their time, others by their last
/// answer. To be started within a `LocalSet`.
pub(crate) struct Stream {
    over: Rc<Cell<bool>>,
    opened: Rc<Cell<u64>>,
    task: JoinHandle<Result<u64, Failed>>,
}

impl Stream {
    /// From now on, with pauses up to this between two.
    pub(crate) fn start(rig: &Rig, rng: Rng, pause: Duration) -> Stream {
        let (over, opened) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let opening = open_many(poller(rig), (rng, pause), Rc::clone(&over), Rc::clone(&opened));
        Stream { over, opened, task: spawn_local(opening) }
    }

    /// Waits until so many more are opened.
    pub(crate) async fn more(&self, count: u64) -> Result<(), Failed> {
        let from = self.opened.get();
        until(|| {
            let came = self.opened.get() - from;
            if came >= count { Ok(()) } else { Err(format!("{came} of {count} polls")) }
        })
        .await
    }

    /// Until now. How many it has opened, and which was the last.
    pub(crate) async fn end(self) -> Result<(u64, u64), Failed> {
        self.over.set(true);
        let last = self.task.await??;
        Ok((self.opened.get(), last))
    }
}

async fn open_many(
    poller: Poller,
    (mut rng, pause): (Rng, Duration),
    over: Rc<Cell<bool>>,
    opened: Rc<Cell<u64>>,
) -> Result<u64, Failed> {
    let mut last = 0;
    while !over.get() {
        let for_ms = Some(rng.u64(100..2000));
        let question = Bytes::from(format!("question {}?", last + 1));
        let said = poller.ask(&Ask::Open { question, for_ms }).await?;
        let Said::Opened { poll: PollId(poll), .. } = said else {
            return Err(format!("not opened: {said:?}").into());
        };
        assert!(poll > last, "{poll} after {last}");
        last = poll;
        opened.set(opened.get() + 1);
        sleep(pause.mul_f64(rng.f64())).await;
    }
    Ok(last)
}

/// What each client's file is to hold, by what `poll show` tells of each poll, the last of which
/// is this; and how many times a client was asked.
pub(crate) async fn expected_files(
    rig: &Rig,
    last: u64,
) -> Result<(BTreeMap<String, String>, u64), Failed> {
    let (poller, mut files, mut asked) = (poller(rig), BTreeMap::<String, String>::new(), 0);
    for id in 1..=last {
        tokio::time::timeout(PATIENCE, poller.closed(PollId(id))).await??;
        let shown = expect(rig, &["show", &id.to_string(), "--json"], 0, "\"closed\"").await?;
        let object: Value = serde_json::from_str(&shown)?;
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
    expect(rig, &["show", &(last + 1).to_string()], FAILED, "").await?;
    Ok((files, asked))
}

/// Each of them keeps what it is to keep of the polls up to this one, and nothing else. How many
/// times one of them was asked.
pub(crate) async fn files_are_right(rig: &Rig, voters: &[Voter], last: u64) -> Result<u64, Failed> {
    let (expected, asked) = expected_files(rig, last).await?;
    for voter in voters {
        voter.keeps(expected.get(&voter.name).map_or("", String::as_str)).await?;
    }
    Ok(asked)
}
