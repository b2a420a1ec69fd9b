//! A scene: one cluster of the play, from its first start to the check at its end.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::succession::{self, View};
use super::{Ground, Options};
use crate::cluster::ELECTION_DEFAULT;
use crate::demo::stage::{self, PATIENCE, Stage, names, tell};
use crate::demo::storm::Acknowledgement;
use crate::demo::{Error, executed, program, proof, refuted};
use crate::local::{self, Pause, Rig};
use crate::paxos::NodeId;
use crate::wire::client::NodeStatus;
use crate::wire::drop::Loss;

/// What a scene is to be like.
pub(super) struct Setting {
    /// What each replica is told besides.
    pub(super) flags: Vec<String>,
    /// The election timeout.
    pub(super) election: Duration,
    /// What share of all messages is lost.
    pub(super) share: f64,
}

/// Long enough that only a death ends a view, however busy the machine. Deaths are noticed by the
/// connections that they break, so nobody waits for it.
const STEADY: Duration = Duration::from_secs(3);

impl Setting {
    /// Nothing special, and views that only a death ends.
    pub(super) fn steady() -> Setting {
        Setting { flags: Vec::new(), election: STEADY, share: 0.0 }
    }

    /// The timeout that a cluster has by itself, for scenes where views may end as they like.
    pub(super) fn lively() -> Setting {
        Setting { election: ELECTION_DEFAULT, ..Setting::steady() }
    }
}

/// Who makes the scenes of a play.
pub(super) struct Cast<'a> {
    pub(super) options: &'a Options,
    pub(super) ground: &'a mut dyn Ground,
    pub(super) out: &'a mut dyn Write,
}

impl Cast<'_> {
    /// A fresh cluster at work, with clients that send.
    pub(super) async fn enter(&mut self, setting: Setting) -> Result<Scene<'_>, Error> {
        let Options { data, keep, program, seed, .. } = self.options;
        let mut rig = self.ground.rig(local::Options {
            nodes: replicas(self.options),
            data: data.clone(),
            keep: *keep,
            program: program.clone(),
            allow_faults: false,
            log: "info".to_owned(),
        })?;
        rig.set_election(setting.election)?;
        let share = self.ground.lose(setting.share)?;
        let loss = Loss::new(share, *seed).ok_or_else(|| refuted("a share lies in 0..=1"))?;
        let mut flags = setting.flags;
        flags.extend([format!("--drop={share}"), format!("--drop-seed={seed}")]);
        let stage = Stage::open(rig, flags, loss, self.out).await?;
        Ok(Scene { stage, program, election: setting.election })
    }
}

/// How many there are.
pub(super) fn replicas(options: &Options) -> u16 {
    2 * options.f + 1
}

/// A cluster at work.
pub(super) struct Scene<'a> {
    pub(super) stage: Stage<'a>,
    program: &'a Path,
    election: Duration,
}

impl<'a> Scene<'a> {
    /// Lets the clients go on until so many more messages are acknowledged.
    pub(super) async fn flow(&mut self, more: usize) -> Result<(), Error> {
        let wanted = self.stage.storm.acknowledged() + more;
        let until = Instant::now() + PATIENCE;
        while self.stage.storm.acknowledged() < wanted {
            if Instant::now() > until {
                let came = wanted - self.stage.storm.acknowledged();
                return Err(refuted(format!("{came} of {more} answers did not come")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until all live replicas say what is `wanted` of them; what that is.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        wanted: impl Fn(&[Option<NodeStatus>]) -> Option<T>,
    ) -> Result<T, Error> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        loop {
            let answers = self.stage.rig.statuses().await;
            if let Some(found) = wanted(&answers) {
                return Ok(found);
            }
            if Instant::now() > until {
                return Err(refuted(format!("not after {PATIENCE:?}: {what}")));
            }
            pause.wait().await;
        }
    }

    /// The view that all live replicas are in.
    pub(super) async fn view(&mut self) -> Result<View, Error> {
        self.until("all in one view, and led", succession::agreed).await
    }

    /// Kills the primary of `view`, and others with it; the view that follows.
    pub(super) async fn succeed(&mut self, view: View, victims: &[NodeId]) -> Result<View, Error> {
        let (number, primary) = (view.number, view.primary.0);
        let rest = if victims.len() > 1 { "; the others would be next" } else { "" };
        let why = format!("Replica {primary} leads view {number}{rest}");
        let killed = self.stage.kill(victims, &why).await?;
        let other = |answers: &[Option<NodeStatus>]| {
            succession::agreed(answers).filter(|next| next.number != view.number)
        };
        let next = self.until("all in a view of another primary", other).await?;
        let led = killed.elapsed();
        self.stage.went_on().await?;
        let took = killed.elapsed().as_millis();
        let (number, primary) = (next.number, next.primary.0);
        if number < view.number || victims.contains(&next.primary) {
            return Err(refuted(format!("replica {primary} leads view {number}")));
        }
        let members = self.stage.rig.cluster().members();
        let turn = succession::turn(view.primary, next.primary, members, self.election);
        if led < turn {
            let line =
                format!("replica {primary} leads after {led:.0?}; its turn is at {turn:.0?}");
            return Err(refuted(line));
        }
        writeln!(
            self.stage.out,
            "  Replica {primary} leads view {number}; {took}ms after the kill, answers come."
        )?;
        Ok(next)
    }

    /// Shows what `indelible status` says.
    pub(super) fn tell_status(&mut self) -> Result<(), Error> {
        let folder = self.stage.rig.folder();
        let said = program::run(self.program, folder, ["status", "-f", "cluster.toml"])?;
        if !said.ok {
            return Err(refuted(format!("status says {}", said.err)));
        }
        tell(self.stage.out, "status -f cluster.toml", &said.out)
    }

    /// The whole lines of a replica's executed log, as they stand now.
    pub(super) fn executed(&self, node: NodeId) -> Result<String, Error> {
        let log = fs::read_to_string(self.stage.rig.folder().join(stage::executed(node)))?;
        Ok(executed::whole_lines(&log).to_owned())
    }

    /// Lets the clients come to an end.
    pub(super) async fn end(self) -> Result<Ending<'a>, Error> {
        let (rig, acknowledged, out) = self.stage.end().await?;
        Ok(Ending { rig, acknowledged, out, program: self.program })
    }
}

/// A cluster at whose end nothing is under way.
pub(super) struct Ending<'a> {
    rig: Rig,
    pub(super) acknowledged: Vec<Acknowledgement>,
    pub(super) out: &'a mut dyn Write,
    program: &'a Path,
}

impl Ending<'_> {
    /// Holds the executed logs, and then the disks, against what the clients were told; and says
    /// so, after what else was checked.
    pub(super) async fn prove(mut self, claim: &str) -> Result<(), Error> {
        let (folder, count) = (self.rig.folder().to_owned(), self.acknowledged.len());
        let (all, alive) = (stage::replicas(&self.rig), self.rig.alive());
        let logs = |nodes: &[NodeId]| -> Vec<String> {
            nodes.iter().map(|node| stage::executed(*node)).collect()
        };
        let (logs_of_all, logs_of_alive) = (logs(&all), logs(&alive));
        executed::settle(self.program, &folder, &logs_of_alive, count, PATIENCE).await?;
        let said = executed::verify(self.program, &folder, &logs_of_all)?;
        tell(self.out, &format!("verify {}", logs_of_all.join(" ")), &said)?;
        let longest = logs_of_alive.first().ok_or_else(|| refuted("nobody lives"))?;
        let log = fs::read_to_string(folder.join(longest))?;
        executed::check(&log, &self.acknowledged).map_err(Error::Refuted)?;
        self.rig.kill_all(&alive);
        let audited = proof::prove(self.program, &self.rig, &self.acknowledged)?;
        tell(self.out, &audited.command, audited.said.lines().last().unwrap_or_default())?;
        let (n, quorum, whose) = (all.len(), self.rig.cluster().quorum(), names(&alive));
        writeln!(self.out, "Checked: {claim}.")?;
        writeln!(
            self.out,
            "  {count} messages were acknowledged. The executed logs of {whose} hold each once,\n  \
             at its slot, and nothing else; each is on at least {quorum} of {n} disks."
        )?;
        Ok(())
    }
}
