//! Five replicas on five hosts: each in a network namespace of its own, with an address of its own.
//!
//! A trial runs this binary again below `unshare --net`, in a role: that process has the switch,
//! the hosts, the nodes and the clients, and takes all of it with it. What it says on standard
//! error is passed on, and is the failure's text; it ends when its standard input does, so that it
//! does not outlive its trial.
//!
//! `network` makes the hosts, `isolation` cuts links, `lossy` loses packets, `steps` plays the
//! demonstration by views, `polls` cuts the links of the poll service. One-line bugs that turn the
//! trials of this file red: a host with a name (`ip netns`); a keeper that does not read
//! what we hold; a role that does not look at its input.

mod isolation;
mod lossy;
mod network;
mod polls;
mod steps;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use indelible::local::{Options, Rig, tied};
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::need::{self, Need};
use crate::processes::{Process, survivors};
use crate::{run, scale};
use network::Hosts;

/// What the trials need.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("unshare"),
    Need::Program("nsenter"),
    Need::Program("setpriv"),
    Need::Program("ip"),
    Need::Program("iptables"),
    Need::Network,
];

/// The role of the process that has the hosts.
pub(crate) const ROLES: &[(&str, crate::Role)] = &[("hosts", role)];

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let plays = isolation::names().chain(lossy::names()).chain(steps::names());
    let plays = plays.chain(polls::names());
    let trial = |name: String| {
        need::trial(&format!("hosts::{name}"), NEEDS, move || {
            let _beside = scale::beside();
            let data = run::data()?;
            Actor::start(&name, data.path())?.finish(PATIENCE)
        })
    };
    let own = [("a_killed_role", true), ("a_role_whose_trial_ends", false)];
    let own = own.map(|(who, by_kill)| {
        need::trial(&format!("hosts::{who}_leaves_nothing"), NEEDS, move || leaves_nothing(by_kill))
    });
    plays.map(trial).chain(own).collect()
}

/// How long a play may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long processes may take to go once nothing holds them.
const GOING: Duration = Duration::from_secs(20);

/// Replicas, and hosts.
const NODES: u16 = 5;

/// What is played in the role.
type Play = Pin<Box<dyn Future<Output = Result<(), Failed>>>>;

/// The role: the name of a play, and the folder for the stores.
fn role(words: &[String]) -> ExitCode {
    let played = tied::end_with_stdin().map_err(Failed::from).and_then(|()| act(words));
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or("failed"));
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[String]) -> Result<(), Failed> {
    let [name, data] = words else { return Err("a play and a folder, please".into()) };
    let data = PathBuf::from(data);
    let play = isolation::play(name, &data).or_else(|| lossy::play(name, &data));
    let play = play.or_else(|| steps::play(name, &data)).or_else(|| polls::play(name, &data));
    let play = play.or_else(|| (name == IDLE).then(|| Box::pin(idle(data)) as Play));
    let play = play.ok_or_else(|| format!("no play is called {name}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(play))
}

/// A node on each host, formatted and not started.
fn rig(hosts: &Hosts, data: &Path) -> Result<Rig, Failed> {
    let options = Options {
        nodes: NODES,
        data: data.to_owned(),
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        allow_faults: false,
        log: "info".to_owned(),
    };
    Ok(Rig::format_at(options, hosts.places(), |cluster| cluster)?)
}

/// A role that runs. Dropping it kills it, and waits until all that it started has gone.
struct Actor {
    child: Child,
    said: Receiver<String>,
}

impl Actor {
    fn start(play: &str, data: &Path) -> Result<Actor, Failed> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--"]).arg(std::env::current_exe()?);
        unshare.args(["--role", "hosts", play]).arg(data);
        let piped = unshare.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn()?;
        let stderr = child.stderr.take().ok_or("no pipe")?;
        let (lines, said) = channel();
        spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                // When the trial has ended, nobody needs it.
                let _ = lines.send(line);
            }
        });
        Ok(Actor { child, said })
    }

    fn process(&self) -> Result<Process, Failed> {
        Process::of(self.child.id()).ok_or_else(|| "the role is gone".into())
    }

    /// Waits until a line says this.
    fn says(&self, wanted: &str, limit: Duration) -> Result<(), Failed> {
        let until = Instant::now() + limit;
        while self.said.recv_timeout(until.saturating_duration_since(Instant::now()))? != wanted {}
        Ok(())
    }

    /// Waits until it has ended by itself, and well.
    fn finish(mut self, limit: Duration) -> Result<(), Failed> {
        let (until, mut lines) = (Instant::now() + limit, Vec::new());
        let why = loop {
            match self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => break format!("not at its end after {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => match self.child.wait()? {
                    status if status.success() => return Ok(()),
                    status => break status.to_string(),
                },
            }
        };
        Err(format!("{why}; it said:\n{}", lines.join("\n")).into())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let family = self.process().map(Process::descendants).unwrap_or_default();
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
        // Or they would write to the folder while it is removed.
        survivors(&family, GOING);
    }
}

/// The play that only waits.
const IDLE: &str = "idle";

async fn idle(data: PathBuf) -> Result<(), Failed> {
    let hosts = Hosts::make(NODES)?;
    let mut rig = rig(&hosts, &data)?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    eprintln!("{IDLE}");
    std::future::pending().await
}

/// Processes are all that holds the hosts: with them, the namespaces are gone.
fn leaves_nothing(by_kill: bool) -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut actor = Actor::start(IDLE, data.path())?;
    actor.says(IDLE, PATIENCE)?;
    let role = actor.process()?;
    let mut family = role.descendants();
    assert_eq!(family.len(), 2 * usize::from(NODES), "a keeper and a node for each host");
    family.push(role);
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for process in &family {
        let namespace = fs::read_link(format!("/proc/{}/ns/net", process.pid))?;
        let namespace = namespace.to_str().ok_or("a number")?;
        assert!(!mounts.contains(namespace), "{namespace} has a name: {mounts}");
    }
    match by_kill {
        true => role.signal(Signal::KILL),
        false => drop(actor.child.stdin.take()),
    }
    let left = survivors(&family, GOING);
    left.iter().for_each(|process| process.signal(Signal::KILL));
    assert_eq!(left, [], "these still ran");
    Ok(())
}
