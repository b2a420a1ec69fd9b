//! The demonstration of the locks: contention, a dead holder, a stopped one, and a deadlock.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::stage::{PATIENCE, replicas, tell};
use super::{Error, Options, program, proof, refuted};
use crate::cluster::{Cluster, Service};
use crate::local::Rig;
use crate::locker::{self, Locker, Outcome, Terms, Want};
use crate::paxos::{NodeId, Slot};

/// Replicas.
const NODES: u16 = 3;

/// Sessions that want one lock, and how often each.
const CROWD: (u64, u64) = (10, 20);

/// The time to live of those that die or are stopped.
const TTL: Duration = Duration::from_secs(2);

/// Plays it, telling `out` what happens.
///
/// # Errors
///
/// If the cluster cannot be made, or something does not go as told.
pub async fn play(options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let mut rig =
        Rig::format_as(options.rig(NODES), |cluster| cluster.with_service(Service::Lock))?;
    writeln!(out, "{NODES} replicas start, each a process with a ledger of its own.")?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let mut play = Play { rig, program: options.program.clone(), out };
    play.contention().await?;
    play.dead_holder().await?;
    play.stopped_holder().await?;
    play.deadlock().await?;
    play.prove()
}

struct Play<'o, W> {
    rig: Rig,
    program: PathBuf,
    out: &'o mut W,
}

impl<W: Write> Play<'_, W> {
    /// Many sessions count in turn, reading and writing one number apart from each other.
    async fn contention(&mut self) -> Result<(), Error> {
        let (sessions, times) = CROWD;
        writeln!(
            self.out,
            "\nContention. {sessions} sessions count to {}: each reads a number, pauses, and \
             writes it back,\n{times} times, under one lock; and the leader is killed meanwhile.",
            sessions * times
        )?;
        let counter = std::sync::Arc::new(std::sync::Mutex::new((0, None)));
        let mut crowd = JoinSet::new();
        for at in 0..sessions {
            let locker =
                open(self.rig.cluster(), &format!("counter {at}"), Duration::from_secs(30));
            crowd.spawn(count(locker, times, counter.clone()));
        }
        sleep(Duration::from_millis(300)).await;
        let leader = self.rig.leader().await.ok_or_else(|| refuted("nobody leads"))?;
        self.rig.kill(leader);
        let started = Instant::now();
        for counted in crowd.join_all().await {
            counted?;
        }
        let (number, token) = *counter.lock().map_err(|_| refuted("a session panicked"))?;
        if number != sessions * times {
            return Err(refuted(format!("they counted to {number}: two were inside at once")));
        }
        writeln!(
            self.out,
            "  They counted to {number}, {:.1?} after SIGKILL for replica {}; the last token was \
             {}.",
            started.elapsed(),
            leader.0,
            token.unwrap_or_default()
        )?;
        self.rig.start(leader)?;
        self.rig.ready(PATIENCE).await?;
        Ok(())
    }

    /// A holder is killed: nobody ends its session but its silence.
    async fn dead_holder(&mut self) -> Result<(), Error> {
        let shown = "lock job --ttl 2s --label ann -- sleep 1000";
        writeln!(self.out, "\nA dead holder. ann holds a lock while a command runs.")?;
        let mut holder = self.hold(shown).await?;
        let mut waiting = open(self.rig.cluster(), "bob", TTL);
        holder.kill()?;
        holder.wait()?;
        let killed = Instant::now();
        writeln!(self.out, "SIGKILL for ann. bob waits in the queue.")?;
        let token = held(waiting.lock(&names(&["job"]), queue()).await.map_err(failed)?)?;
        writeln!(
            self.out,
            "  bob holds it {:.1?} later, with token {token}: ann's session had a time to live of \
             {TTL:?}.",
            killed.elapsed()
        )?;
        waiting.end().await.map_err(failed)
    }

    /// A holder is stopped for longer than its lease, and goes on.
    async fn stopped_holder(&mut self) -> Result<(), Error> {
        let shown = "lock file --ttl 2s --label ann -- sleep 1000";
        writeln!(
            self.out,
            "\nA stopped holder. ann holds another lock, and is stopped (SIGSTOP)."
        )?;
        let mut holder = self.hold(shown).await?;
        let old = self.token("file").await?;
        let pid = Pid::from_child(&holder);
        kill_process(pid, Signal::STOP).map_err(std::io::Error::from)?;
        let mut waiting = open(self.rig.cluster(), "bob", TTL);
        let new = held(waiting.lock(&names(&["file"]), queue()).await.map_err(failed)?)?;
        writeln!(
            self.out,
            "  bob holds it now, with token {new}. ann does not know yet, and her command runs on: \
             only her\n  token, {old}, gives her away. Whoever guards the file asks, or keeps the \
             highest token seen:"
        )?;
        let stale = format!("check file {old}");
        let said = self.run(&stale)?;
        if said.ok {
            return Err(refuted("an old token passed for the current one"));
        }
        tell(self.out, &stale, &said.err)?;
        kill_process(pid, Signal::CONT).map_err(std::io::Error::from)?;
        let status = ended(&mut holder).await?;
        writeln!(
            self.out,
            "ann goes on (SIGCONT), finds her lease over, and kills her command: exit status \
             {status}."
        )?;
        if status != 76 {
            return Err(refuted("76 says that a lock was lost"));
        }
        waiting.end().await.map_err(failed)
    }

    /// Three sessions want each other's locks.
    async fn deadlock(&mut self) -> Result<(), Error> {
        writeln!(
            self.out,
            "\nA deadlock. ann, bob and eve hold a lock each, and want the next one's."
        )?;
        let mut lockers = Vec::new();
        for (who, what) in [("ann", "pen"), ("bob", "ink"), ("eve", "paper")] {
            let mut locker = open(self.rig.cluster(), who, TTL * 5);
            held(locker.lock(&names(&[what]), Want::Now).await.map_err(failed)?)?;
            lockers.push(locker);
        }
        let mut eve = lockers.pop().ok_or_else(|| refuted("there are three"))?;
        let mut waiting = JoinSet::new();
        for (mut locker, wanted) in lockers.into_iter().zip(["ink", "paper"]) {
            waiting.spawn(async move {
                let outcome = locker.lock(&names(&[wanted]), queue()).await;
                locker.end().await?;
                outcome
            });
        }
        self.waits("ink").await?;
        self.waits("paper").await?;
        let refused = eve.lock(&names(&["pen"]), queue()).await.map_err(failed)?;
        let Outcome::Deadlock { cycle, .. } = refused else {
            return Err(refuted(format!("eve was told {refused:?}")));
        };
        writeln!(self.out, "  eve asks last, and is refused at once:")?;
        for edge in &cycle {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            let (who, what) = (text(&edge.label), text(&edge.name));
            writeln!(self.out, "    {who} waits for {what}, held by {}", text(&edge.holder_label))?;
        }
        eve.end().await.map_err(failed)?;
        for outcome in waiting.join_all().await {
            held(outcome.map_err(failed)?)?;
        }
        writeln!(self.out, "  eve gives up, and the other two get what they want.")?;
        Ok(())
    }

    /// All are killed: what do the disks say together?
    fn prove(&mut self) -> Result<(), Error> {
        let all: Vec<NodeId> = replicas(&self.rig);
        self.rig.kill_all(&all);
        writeln!(self.out, "\nThe proof. All replicas are killed; what do their disks hold?")?;
        let stores: Vec<String> = all.iter().map(|node| proof::store(&self.rig, *node)).collect();
        let flags = ["audit".to_owned(), "-f".to_owned(), "cluster.toml".to_owned()];
        let said = program::run(&self.program, self.rig.folder(), flags.iter().chain(&stores))?;
        if !said.ok {
            return Err(refuted(format!("audit says {}\n{}", said.err, said.out)));
        }
        tell(self.out, &format!("audit -f cluster.toml {}", stores.join(" ")), &said.out)
    }

    /// Starts a holder, and waits until it holds.
    async fn hold(&mut self, shown: &str) -> Result<Child, Error> {
        writeln!(self.out, "  $ indelible {shown}")?;
        let words: Vec<&str> = shown.split(' ').collect();
        let mut command = Command::new(&self.program);
        command.arg(words[0]).arg("-f").arg(self.rig.cluster_file()).args(&words[1..]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        let until = Instant::now() + PATIENCE;
        while !self.run(&format!("show {}", words[1]))?.ok {
            if Instant::now() > until {
                return Err(refuted("nobody got a lock that was free"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(child)
    }

    /// Waits until somebody waits for a lock.
    async fn waits(&self, name: &str) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        while !self.run(&format!("show {name}"))?.out.contains("waits in the queue") {
            if Instant::now() > until {
                return Err(refuted("nobody waits"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The token of a lock's holder.
    async fn token(&self, name: &str) -> Result<u64, Error> {
        let shown = self.run(&format!("show {name} --json"))?;
        let object: serde_json::Value = serde_json::from_str(&shown.out).unwrap_or_default();
        object["holder"]["token"].as_u64().ok_or_else(|| refuted("a held lock has a token"))
    }

    fn run(&self, line: &str) -> Result<program::Said, Error> {
        let file = self.rig.cluster_file();
        let mut words: Vec<&std::ffi::OsStr> = line.split(' ').map(AsRef::as_ref).collect();
        words.splice(1..1, ["-f".as_ref(), Path::new(&file).as_os_str()]);
        Ok(program::run(&self.program, self.rig.folder(), words)?)
    }
}

fn open(cluster: &Cluster, label: &str, ttl: Duration) -> Locker {
    let label = Bytes::copy_from_slice(label.as_bytes());
    Locker::open(cluster, Terms { ttl, label, patience: PATIENCE, ..Terms::default() })
}

fn names(names: &[&str]) -> Vec<Bytes> {
    names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect()
}

fn queue() -> Want {
    Want::Queue(Some(tokio::time::Instant::now() + PATIENCE))
}

/// Counts under the lock `count`; each token is above the one before.
async fn count(
    mut locker: Locker,
    times: u64,
    counter: std::sync::Arc<std::sync::Mutex<(u64, Option<Slot>)>>,
) -> Result<(), Error> {
    let panicked = || refuted("a session panicked");
    for _ in 0..times {
        let token = held(locker.lock(&names(&["count"]), queue()).await.map_err(failed)?)?;
        let (number, before) = *counter.lock().map_err(|_| panicked())?;
        if Some(token) <= before {
            return Err(refuted(format!("token {token} came after {before:?}")));
        }
        sleep(Duration::from_millis(1)).await;
        *counter.lock().map_err(|_| panicked())? = (number + 1, Some(token));
        let name = Bytes::from_static(b"count");
        let unlock = crate::services::lock::Ask::Unlock { name, token: Some(token), session: None };
        locker.ask(&unlock).await.map_err(failed)?;
    }
    locker.end().await.map_err(failed)
}

/// The token of a lock that was granted.
fn held(outcome: Outcome) -> Result<Slot, Error> {
    match outcome {
        Outcome::Granted(tokens) => {
            tokens.first().map(|(_, token)| *token).ok_or_else(|| refuted("a grant of nothing"))
        }
        Outcome::Busy { .. } | Outcome::Deadlock { .. } | Outcome::Refused(_) => {
            Err(refuted(format!("a lock should be had by now: {outcome:?}")))
        }
    }
}

#[allow(clippy::needless_pass_by_value)]
fn failed(error: locker::Error) -> Error {
    refuted(error.to_string())
}

/// Waits for the end of a process.
async fn ended(child: &mut Child) -> Result<i32, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return status.code().ok_or_else(|| refuted("a holder was killed"));
        }
        if Instant::now() > until {
            return Err(refuted("a holder without its lock goes on"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}
