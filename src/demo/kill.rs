//! The demonstration of durability: kill whatever you like, and nothing acknowledged is lost.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::storm::Storm;
use super::{Error, proof};
use crate::local::{self, Rig};
use crate::paxos::NodeId;

/// What a play is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the run's folder is made.
    pub data: PathBuf,
    /// Whether it stays.
    pub keep: bool,
    /// The binary of this crate.
    pub program: PathBuf,
    /// Which servers are killed in the random part.
    pub seed: u64,
    /// Random kills after the planned ones.
    pub kills: u32,
}

/// Servers.
const NODES: u16 = 5;
/// Clients.
const CLIENTS: usize = 4;
/// Answers that were under way when a majority died may still arrive.
const ECHO: Duration = Duration::from_millis(400);
/// How long the cluster may take to come back to work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays it, telling `out` what happens. On the main thread, inside a `LocalSet`.
///
/// # Errors
///
/// If the cluster cannot be made, does not come back, or the proof fails.
pub async fn play(options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let mut rig = Rig::format(local::Options {
        nodes: NODES,
        data: options.data.clone(),
        keep: options.keep,
        program: options.program.clone(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    writeln!(out, "{NODES} servers start, each a process with a ledger of its own.")?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    writeln!(out, "{CLIENTS} clients send messages; each waits for its answer.\n")?;
    let storm = Storm::start(rig.cluster(), CLIENTS);
    let mut play = Play { rig, storm, out };
    play.went_on().await?;
    sleep(Duration::from_millis(700)).await;
    play.kill_the_leader().await?;
    play.kill_a_majority().await?;
    play.kill_all().await?;
    let mut rng = fastrand::Rng::with_seed(options.seed);
    writeln!(play.out, "\n{} more kills at random (seed {}).", options.kills, options.seed)?;
    for _ in 0..options.kills {
        play.kill_some(&mut rng).await?;
    }
    play.prove(options).await
}

struct Play<'o, O> {
    rig: Rig,
    storm: Storm,
    out: &'o mut O,
}

impl<O: Write> Play<'_, O> {
    async fn kill_the_leader(&mut self) -> Result<(), Error> {
        let Some(leader) = self.rig.leader().await else { return Err(refuted("nobody leads")) };
        self.tell_kill(&[leader], "It leads")?;
        self.rig.kill(leader);
        let took = self.went_on().await?;
        writeln!(self.out, "  The others elected another and went on after {took:.0?}.")?;
        self.tell_new_leader().await?;
        self.come_back(&[leader]).await
    }

    async fn kill_a_majority(&mut self) -> Result<(), Error> {
        let leader = self.rig.leader().await;
        let all = self.rig.alive();
        let mut victims: Vec<NodeId> = leader.into_iter().collect();
        victims.extend(all.iter().filter(|node| Some(**node) != leader).take(2));
        self.tell_kill(&victims, "That is the leader, and a majority")?;
        self.rig.kill_all(&victims);
        let killed = Instant::now();
        sleep(Duration::from_millis(1000)).await;
        let silent = self.storm.last().is_none_or(|last| last < killed + ECHO);
        if !silent {
            return Err(refuted("something was decided without a majority"));
        }
        writeln!(self.out, "  For a second nothing is decided: two of five cannot speak for all.")?;
        self.come_back(&victims).await
    }

    async fn kill_all(&mut self) -> Result<(), Error> {
        let all = self.rig.alive();
        self.tell_kill(&all, "That is everyone, at once")?;
        self.rig.kill_all(&all);
        self.come_back(&all).await
    }

    /// Kills some servers and starts them again; a majority in half of the cases.
    async fn kill_some(&mut self, rng: &mut fastrand::Rng) -> Result<(), Error> {
        sleep(Duration::from_millis(rng.u64(20..200))).await;
        let mut nodes = self.rig.alive();
        rng.shuffle(&mut nodes);
        nodes.truncate(rng.usize(1..=nodes.len()));
        self.tell_kill(&nodes, "At random")?;
        self.rig.kill_all(&nodes);
        self.come_back(&nodes).await
    }

    fn tell_kill(&mut self, victims: &[NodeId], why: &str) -> Result<(), Error> {
        let open = self.storm.unacknowledged();
        let names = names(victims);
        writeln!(self.out, "SIGKILL for {names}, with {open} messages unanswered. {why}.")?;
        Ok(())
    }

    /// Starts servers again, and tells what they found.
    async fn come_back(&mut self, victims: &[NodeId]) -> Result<(), Error> {
        let started = Instant::now();
        for victim in victims {
            self.rig.start(*victim)?;
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
            writeln!(self.out, "  Server {node} is back: read {read} records in {ms} ms.")?;
        }
        writeln!(self.out, "  {took:.0?} after the start of the first, answers come.")?;
        self.tell_new_leader().await
    }

    async fn tell_new_leader(&mut self) -> Result<(), Error> {
        if let Some(leader) = self.rig.leader().await {
            let log = self.rig.log(leader);
            let adopted = last_value(&log, "adopted=");
            let filled = last_value(&log, "filled=");
            writeln!(
                self.out,
                "  Server {} leads: it found {adopted} undecided slots and proposed them again, \
                 {filled} of them holes.",
                leader.0
            )?;
        }
        Ok(())
    }

    async fn went_on(&mut self) -> Result<Duration, Error> {
        self.storm.next(PATIENCE).await.ok_or_else(|| refuted("no answer came any more"))
    }

    async fn prove(mut self, options: &Options) -> Result<(), Error> {
        let acknowledged = self.storm.end(PATIENCE).await;
        let acknowledged =
            acknowledged.map_err(|open| refuted(format!("{open} messages had no answer")))?;
        let all = self.rig.alive();
        self.rig.kill_all(&all);
        writeln!(self.out, "\nThe proof. All servers are killed; what do their disks hold?")?;
        let nodes = (0..NODES).map(NodeId);
        let stores: Vec<PathBuf> = nodes.map(|node| self.rig.store(node)).collect();
        let ledgers = proof::prove(&options.program, &stores, &acknowledged)?;
        for (node, ledger) in ledgers.iter().enumerate() {
            let (held, decided) = (ledger.held.len(), ledger.decided);
            let state = &ledger.state;
            writeln!(
                self.out,
                "  ledger {node}: {held} messages, {decided} known to be decided, hash {state}"
            )?;
        }
        let count = acknowledged.len();
        writeln!(
            self.out,
            "Each of the {count} acknowledged messages stands at its slot on at least 3 of the 5 \
             disks, once, in its client's order."
        )?;
        Ok(())
    }
}

fn refuted(why: impl Into<String>) -> Error {
    Error::Refuted(why.into())
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
    format!("server{} {}", if nodes.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// The last value that a log gives under this name.
fn last_value<'l>(log: &'l str, name: &str) -> &'l str {
    let from = log.rfind(name).map_or("", |at| &log[at + name.len()..]);
    from.split_whitespace().next().unwrap_or("?")
}
