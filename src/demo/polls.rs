//! The demonstration of the polls: a primary, a backup and a witness; three clients that keep the
//! results; and what happens to each.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::sleep;

use super::stage::{PATIENCE, replicas, tell};
use super::{Error, Options, program, proof, refuted};
use crate::cluster::Service;
use crate::local::Rig;
use crate::paxos::NodeId;

/// Two replicas and a witness.
const NODES: u16 = 3;

/// A heartbeat each 200 ms.
const ELECTION: Duration = Duration::from_millis(1600);

/// Who votes, and how.
const CLIENTS: [(&str, &str); 3] = [("ann", "yes"), ("bob", "no"), ("eve", "ask")];

/// For how long a replica must be missed before its primary starts it again.
const RESTART_DELAY: &str = "3s";

/// Plays it, telling `out` what happens.
///
/// # Errors
///
/// If the cluster cannot be made, or something does not go as told.
pub async fn play(options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let mut rig = Rig::format_as(options.rig(NODES), |mut cluster| {
        cluster.nodes[2].witness = true;
        cluster.election = ELECTION;
        cluster.with_service(Service::Poll)
    })?;
    writeln!(out, "Replicas 0 and 1 start, and 2, a witness; each a process with a ledger.")?;
    for node in replicas(&rig) {
        start(&mut rig, node)?;
    }
    rig.ready(PATIENCE).await?;
    let program = options.program.clone();
    let mut play = Play { rig, program, out, clients: Vec::new(), revived: None };
    play.first().await?;
    play.primary_dies().await?;
    play.backup_stops().await?;
    play.client_dies().await?;
    play.prove()
}

struct Play<'o, W> {
    rig: Rig,
    program: PathBuf,
    out: &'o mut W,
    clients: Vec<Guest>,
    revived: Option<Revived>,
}

/// A client at work, until it is dropped.
struct Guest(Child);

/// A process that a primary started; killed when this is dropped.
struct Revived(Pid);

impl<W: Write> Play<'_, W> {
    /// All is well.
    async fn first(&mut self) -> Result<(), Error> {
        for (name, answer) in CLIENTS {
            let guest = self.client(name, answer)?;
            self.clients.push(guest);
        }
        writeln!(self.out, "\nann says yes, bob no, and eve nothing. Each keeps the results.")?;
        self.until("all three are joined", "ls --names", |said| said.lines().count() == 3).await?;
        self.until("a backup has joined", "status", |said| said.contains(", backup ")).await?;
        let status = self.show("status")?;
        if !status.contains("view 1") {
            return Err(refuted("the first primary is in view 1"));
        }
        self.show("open \"Adopt the budget?\" --for 1s --wait")?;
        Ok(())
    }

    /// The primary is killed with a poll open; the backup closes it, and starts it again.
    async fn primary_dies(&mut self) -> Result<(), Error> {
        writeln!(self.out, "\nThe primary dies. A poll is open for 5 seconds.")?;
        self.show("open \"Paint it black?\" --for 5s")?;
        let primary = self.primary()?;
        writeln!(self.out, "SIGKILL for replica {}, the primary.", primary.0)?;
        let killed = Instant::now();
        self.rig.kill(primary);
        self.until("the backup takes over", "status", |said| said.contains("view 2")).await?;
        let took = killed.elapsed();
        writeln!(self.out, "  {took:.1?} later the other one is. The poll is still open:")?;
        self.show("status")?;
        self.until("it closes", "show 2", |said| said.contains("voted yes")).await?;
        self.show("show 2")?;
        self.until("it joins", "status", |said| said.contains(", backup ")).await?;
        self.revived = Some(Revived::on(&self.rig, primary)?);
        writeln!(
            self.out,
            "They share a host, so the new primary has started the old one again, on its own \
             store. It\n  joined when it had caught up; the view stays as it is:"
        )?;
        self.show("status")?;
        Ok(())
    }

    /// The backup is stopped: it is missed, and not started a second time.
    async fn backup_stops(&mut self) -> Result<(), Error> {
        let Some(Revived(backup)) = self.revived.as_ref() else { return Ok(()) };
        let backup = *backup;
        writeln!(self.out, "\nThe backup is stopped (SIGSTOP). The primary goes on alone.")?;
        kill_process(backup, Signal::STOP).map_err(std::io::Error::from)?;
        self.until("it is missed", "status", |said| said.contains("no backup")).await?;
        self.show("open \"Go on alone?\" --for 1s --wait")?;
        let primary = self.primary()?;
        let until = Instant::now() + PATIENCE;
        while !self.rig.log(primary).contains("is not started again") {
            if Instant::now() > until {
                return Err(refuted("one that is stopped is left alone, and that is said"));
            }
            sleep(Duration::from_millis(100)).await;
        }
        writeln!(
            self.out,
            "It holds its store, so no second one is started. It goes on (SIGCONT), and joins:"
        )?;
        kill_process(backup, Signal::CONT).map_err(std::io::Error::from)?;
        self.until("it joins", "status", |said| said.contains(", backup ")).await?;
        self.show("status")?;
        Ok(())
    }

    /// A client is killed while it writes a result, and comes back.
    async fn client_dies(&mut self) -> Result<(), Error> {
        writeln!(self.out, "\nA client dies: SIGKILL for ann, with half a line in her file.")?;
        self.clients.remove(0);
        let mut file = File::options().append(true).open(self.results("ann"))?;
        file.write_all(b"4 1")?;
        self.show("open \"Where is ann?\" --for 1s --wait")?;
        let ann = self.client("ann", "yes")?;
        self.clients.insert(0, ann);
        self.show("open \"And now?\" --for 1s --wait")?;
        for (name, _) in CLIENTS {
            let until = Instant::now() + PATIENCE;
            while fs::read_to_string(self.results(name))?.lines().count() < 5 {
                if Instant::now() > until {
                    return Err(refuted(format!("{name} lacks a result")));
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// The files, and the disks.
    fn prove(&mut self) -> Result<(), Error> {
        self.clients.clear();
        writeln!(self.out, "\nThe proof. What ann heard, and what all three have in their files:")?;
        let heard = fs::read_to_string(self.rig.folder().join("ann.out"))?;
        let announced = heard.lines().filter(|line| line.starts_with("announcement"));
        let announced: Vec<&str> = announced.collect();
        for line in &announced {
            writeln!(self.out, "  {line}")?;
        }
        let files = CLIENTS.map(|(name, _)| fs::read_to_string(self.results(name)));
        let [ann, bob, eve] = files;
        let (ann, bob, eve) = (ann?, bob?, eve?);
        if ann != bob || ann != eve {
            return Err(refuted(format!("the files differ:\n{ann}\n{bob}\n{eve}")));
        }
        let ids: Vec<&str> = ann.lines().filter_map(|line| line.split(' ').next()).collect();
        if ids != ["1", "2", "3", "4", "5"] {
            return Err(refuted(format!("the file has the polls {ids:?}")));
        }
        ann.lines().try_for_each(|line| writeln!(self.out, "  {line}"))?;
        let all: Vec<NodeId> = replicas(&self.rig);
        self.rig.kill_all(&all);
        self.revived = None;
        writeln!(self.out, "All are killed; what do their disks hold?")?;
        let stores: Vec<String> = all.iter().map(|node| proof::store(&self.rig, *node)).collect();
        let flags = ["audit", "-f", "cluster.toml"].map(str::to_owned);
        let said = program::run(&self.program, self.rig.folder(), flags.iter().chain(&stores))?;
        if !said.ok {
            return Err(refuted(format!("audit says {}\n{}", said.err, said.out)));
        }
        tell(self.out, &format!("audit -f cluster.toml {}", stores.join(" ")), &said.out)
    }

    /// Starts a client; what it says goes to a file.
    fn client(&self, name: &str, answer: &str) -> Result<Guest, Error> {
        let out = self.rig.folder().join(format!("{name}.out"));
        let out = File::options().create(true).append(true).open(out)?;
        let mut command = Command::new(&self.program);
        command.args(["poll", "client", "-f"]).arg(self.rig.cluster_file());
        command.args(["--name", name, "--answer", answer, "--results"]).arg(self.results(name));
        command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
        Ok(Guest(command.spawn()?))
    }

    fn results(&self, name: &str) -> PathBuf {
        self.rig.folder().join(format!("{name}.results"))
    }

    /// Shows a command of `poll`, and what it said.
    fn show(&mut self, line: &str) -> Result<String, Error> {
        let said = self.run(line)?;
        if !said.ok {
            return Err(refuted(format!("poll {line}: {}", said.err)));
        }
        tell(self.out, &format!("poll {line}"), &said.out)?;
        Ok(said.out)
    }

    fn run(&self, line: &str) -> Result<program::Said, Error> {
        // A question stands in quotes, and nothing else does.
        let parts = line.split('"').enumerate();
        let mut words: Vec<String> = vec!["poll".to_owned()];
        for (at, part) in parts {
            if at % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words.extend(["-f".to_owned(), self.rig.cluster_file().display().to_string()]);
        words.push("--connect-timeout=20s".to_owned());
        Ok(program::run(&self.program, self.rig.folder(), words)?)
    }

    fn primary(&self) -> Result<NodeId, Error> {
        let said = self.run("status --json")?;
        let object: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let primary = object["primary"]["node"].as_u64();
        let primary = primary.and_then(|node| u16::try_from(node).ok());
        primary.map(NodeId).ok_or_else(|| refuted("nobody presides"))
    }

    /// Asks until the answer is so.
    async fn until(
        &self,
        what: &str,
        line: &str,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self.run(line)?;
            if said.ok && is_so(&said.out) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(refuted(format!("{what}: poll {line} says {}", said.out)));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _reaped_before = self.0.wait();
    }
}

impl Revived {
    /// The process that holds a replica's store.
    fn on(rig: &Rig, node: NodeId) -> Result<Revived, Error> {
        let holder = fs::read_to_string(rig.store(node).join("lock"))?;
        let pid = holder.trim().parse().ok().and_then(Pid::from_raw);
        pid.map(Revived).ok_or_else(|| refuted("a store says who holds it"))
    }
}

impl Drop for Revived {
    fn drop(&mut self) {
        let _ended_before = kill_process(self.0, Signal::KILL);
    }
}

/// Starts a member; the two replicas start each other again.
fn start(rig: &mut Rig, node: NodeId) -> Result<(), Error> {
    let mut flags = Vec::new();
    if node.0 < 2 {
        let other = NodeId(1 - node.0);
        flags.push(format!("--revive={}={}", other.0, rig.store(other).display()));
        flags.push(format!("--restart-delay={RESTART_DELAY}"));
    }
    rig.set_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(rig.start(node)?)
}
