//! The demonstration by views on five hosts: each step a trial, with addresses of its own and, where
//! messages are lost, packets lost by the hosts' own rules.
//!
//! The checks are the play's: see `views`, where the same steps run on the loopback.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indelible::demo::views::{self, Ground, Step};
use indelible::local::{self, Rig};
use libtest_mimic::Failed;

use super::Play;
use super::network::Hosts;
use crate::scale;

/// So many replicas may be dead.
const F: u16 = 2;

/// Long, for those steps that want no other: TCP says a lost packet again after a while, and a few
/// losses in a row are no silence.
const ELECTION: Duration = Duration::from_secs(2);

/// Of all packets, the share that is lost at most: with more, TCP waits ever longer, and a cluster
/// takes minutes to come up. The rest is lost above TCP. (`lossy` takes its time.)
const PACKETS_LOST_MAX: f64 = 0.05;

/// The trials, one for each step.
pub(super) fn names() -> impl Iterator<Item = String> {
    Step::ALL.into_iter().map(name)
}

fn name(step: Step) -> String {
    format!("step_{}", step.name().replace('-', "_"))
}

/// The play of this name.
pub(super) fn play(wanted: &str, data: &Path) -> Option<Play> {
    let step = Step::ALL.into_iter().find(|step| name(*step) == wanted)?;
    Some(Box::pin(played(step, data.to_owned())))
}

/// Plays a step; what it told is the failure's text.
async fn played(step: Step, data: PathBuf) -> Result<(), Failed> {
    let options = views::Options {
        data,
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        f: F,
        seed: scale::seed(),
    };
    let (mut ground, mut out) = (OnHosts(None), Vec::new());
    let ended = views::play(&options, &[step], &mut ground, &mut out).await;
    let told = String::from_utf8(out)?;
    ended.map_err(|error| format!("{error}; it was told:\n{told}"))?;
    assert!(told.contains("\nChecked: "), "{told}");
    Ok(())
}

/// A host for each replica: the same for each cluster, with all faults healed.
struct OnHosts(Option<Hosts>);

impl Ground for OnHosts {
    fn rig(&mut self, options: local::Options) -> Result<Rig, local::Error> {
        let hosts = match self.0.take() {
            Some(hosts) => hosts.heal().map(|_| hosts),
            None => Hosts::make(options.nodes),
        };
        let hosts = hosts.map_err(|failed| local::Error::System("no hosts", said(&failed)))?;
        let mut rig = Rig::format_at(options, self.0.insert(hosts).places(), |cluster| cluster)?;
        rig.set_election(ELECTION)?;
        Ok(rig)
    }

    fn lose(&mut self, share: f64) -> io::Result<f64> {
        let hosts = self.0.as_ref().ok_or_else(|| io::Error::other("no hosts"))?;
        let packets = share.min(PACKETS_LOST_MAX);
        hosts.lose(packets).map_err(|failed| said(&failed))?;
        Ok(1.0 - (1.0 - share) / (1.0 - packets))
    }
}

fn said(failed: &Failed) -> io::Error {
    io::Error::other(failed.message().unwrap_or("failed").to_owned())
}
