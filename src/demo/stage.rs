//! The stage that all plays share: replicas that die and come back, clients that send meanwhile,
//! and whoever watches is told.
//!
//! Beside its store each replica keeps the log of what it has executed, as a file for people, and
//! continues it when it comes back.

use std::io::Write;
use std::time::{Duration, Instant};

use super::storm::{Acknowledgement, Storm};
use super::{Error, refuted};
use crate::local::Rig;
use crate::paxos::NodeId;
use crate::wire::drop::Loss;

/// How long the cluster may take to come to work, or back to it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Clients.
pub(super) const CLIENTS: usize = 4;

/// A cluster at work.
pub(super) struct Stage<'o> {
    pub(super) rig: Rig,
    pub(super) storm: Storm,
    pub(super) out: &'o mut dyn Write,
    flags: Vec<String>,
}

impl<'o> Stage<'o> {
    /// Starts all replicas with these flags, and once they are ready the clients, each of which
    /// loses that share of what it says.
    pub(super) async fn open(
        mut rig: Rig,
        flags: Vec<String>,
        loss: Loss,
        out: &'o mut dyn Write,
    ) -> Result<Stage<'o>, Error> {
        for node in replicas(&rig) {
            start(&mut rig, node, &flags)?;
        }
        rig.ready(PATIENCE).await?;
        let storm = Storm::lossy(rig.cluster(), CLIENTS, loss);
        let mut stage = Stage { rig, storm, out, flags };
        stage.went_on().await?;
        Ok(stage)
    }

    /// Kills some replicas in one go, with messages on their way, and says `why` it is these. When
    /// they were killed.
    pub(super) async fn kill(&mut self, victims: &[NodeId], why: &str) -> Result<Instant, Error> {
        let open = self.unanswered().await?;
        let names = names(victims);
        writeln!(self.out, "SIGKILL for {names}, with {open} messages unanswered. {why}.")?;
        let killed = Instant::now();
        self.rig.kill_all(victims);
        Ok(killed)
    }

    /// Waits until messages have no answer yet; how many.
    async fn unanswered(&self) -> Result<u64, Error> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.storm.unacknowledged() {
                0 => tokio::time::sleep(Duration::from_micros(100)).await,
                open => return Ok(open),
            }
        }
        Err(refuted("the clients send nothing any more"))
    }

    /// Starts replicas again, and tells what they found.
    pub(super) async fn come_back(&mut self, victims: &[NodeId]) -> Result<(), Error> {
        let started = Instant::now();
        for victim in victims {
            start(&mut self.rig, *victim, &self.flags)?;
        }
        for victim in victims {
            self.rig.answers(*victim, PATIENCE).await?;
        }
        self.went_on().await?;
        let took = started.elapsed();
        for victim in victims {
            let log = self.rig.log(*victim);
            let read = last_value(&log, "records=");
            let ms = last_value(&log, "took_ms=");
            let node = victim.0;
            writeln!(self.out, "  Replica {node} is back: read {read} records in {ms} ms.")?;
        }
        writeln!(self.out, "  {took:.0?} after the start of the first, answers come.")?;
        self.tell_leader().await
    }

    /// Starts a replica as it was.
    pub(super) fn start(&mut self, node: NodeId) -> Result<(), Error> {
        start(&mut self.rig, node, &self.flags)
    }

    /// Replaces a replica whose store is gone; what it wrote for people is gone with it.
    pub(super) fn replace(&mut self, node: NodeId) -> Result<(), Error> {
        let file = self.rig.folder().join(executed(node));
        if file.exists() {
            std::fs::remove_file(file)?;
        }
        told(&mut self.rig, node, &self.flags);
        Ok(self.rig.replace(node)?)
    }

    /// Tells who leads, and what it found when it took office.
    pub(super) async fn tell_leader(&mut self) -> Result<(), Error> {
        if let Some(leader) = self.rig.leader().await {
            let log = self.rig.log(leader);
            let adopted = last_value(&log, "adopted=");
            let filled = last_value(&log, "filled=");
            let node = leader.0;
            writeln!(
                self.out,
                "  Replica {node} leads: it found {adopted} undecided slots and proposed them \
                 again, {filled} of them holes."
            )?;
        }
        Ok(())
    }

    /// Waits until something that is said from now on is answered; how long it took.
    pub(super) async fn went_on(&mut self) -> Result<Duration, Error> {
        self.storm.next(PATIENCE).await.ok_or_else(|| refuted("no answer came any more"))
    }

    /// Lets the clients come to an end: all that they sent is to be answered.
    pub(super) async fn end(self) -> Result<(Rig, Vec<Acknowledgement>, &'o mut dyn Write), Error> {
        let acknowledged = self.storm.end(PATIENCE).await;
        let acknowledged =
            acknowledged.map_err(|open| refuted(format!("{open} messages had no answer")))?;
        Ok((self.rig, acknowledged, self.out))
    }
}

/// All replicas, dead or alive.
pub(super) fn replicas(rig: &Rig) -> Vec<NodeId> {
    rig.cluster().nodes.iter().map(|member| member.id).collect()
}

/// The name of the file in the run's folder to which a replica appends what it has executed.
pub(super) fn executed(node: NodeId) -> String {
    format!("{}.log", node.0)
}

/// Replicas, as they are told.
pub(super) fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
    format!("replica{} {}", if nodes.len() == 1 { "" } else { "s" }, names.join(", "))
}

fn start(rig: &mut Rig, node: NodeId, flags: &[String]) -> Result<(), Error> {
    told(rig, node, flags);
    Ok(rig.start(node)?)
}

/// Sets what a replica that is started next is told.
fn told(rig: &mut Rig, node: NodeId, flags: &[String]) {
    let file = format!("--log-file={}", rig.folder().join(executed(node)).display());
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain([file.as_str()]).collect();
    rig.set_flags(&flags);
}

/// Shows a command, and what it said.
pub(super) fn tell(out: &mut dyn Write, command: &str, said: &str) -> Result<(), Error> {
    writeln!(out, "  $ indelible {command}")?;
    for line in said.lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// The last value that a log gives under this name.
fn last_value<'l>(log: &'l str, name: &str) -> &'l str {
    let from = log.rfind(name).map_or("", |at| &log[at + name.len()..]);
    from.split_whitespace().next().unwrap_or("?")
}
