//! Packets that are lost on purpose, below TCP, everywhere and in both directions.
//!
//! What TCP repeats arrives late, and connections that stand still are given up: everything is
//! acknowledged all the same, and nothing is decided twice.
//!
//! One-line bug that turns them red: a leader that takes a request which comes again, and is under
//! way already, for a new one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indelible::demo::storm::Storm;
use libtest_mimic::Failed;

use super::network::Hosts;
use super::{Play, rig};
use crate::{ending, scale};

/// Shares that are lost, in percent, and how many messages are to come through at least.
const CASES: [(u16, usize); 2] = [(5, 200), (30, 10)];

/// Long, so that a few losses in a row are no silence.
const ELECTION: Duration = Duration::from_secs(2);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The trials, one for each share.
pub(super) fn names() -> impl Iterator<Item = String> {
    CASES.iter().map(|(percent, _)| name(*percent))
}

fn name(percent: u16) -> String {
    format!("{percent}_percent_of_all_packets_are_lost")
}

/// The play of this name.
pub(super) fn play(wanted: &str, data: &Path) -> Option<Play> {
    let (percent, messages) = *CASES.iter().find(|(percent, _)| name(*percent) == wanted)?;
    Some(Box::pin(lose(percent, messages * scale::lossy_times(), data.to_owned())))
}

async fn lose(percent: u16, messages: usize, data: PathBuf) -> Result<(), Failed> {
    let hosts = Hosts::make(super::NODES)?;
    let mut rig = rig(&hosts, &data)?;
    rig.set_election(ELECTION)?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    hosts.lose(f64::from(percent) / 100.0)?;
    let (start, storm) = (Instant::now(), Storm::start(rig.cluster(), 4));
    ending::more(&storm, messages, PATIENCE).await?;
    let took = start.elapsed();
    let acknowledged = storm.end(PATIENCE).await;
    let acknowledged = acknowledged.map_err(|open| format!("{open} messages had no answer"))?;
    let dropped = hosts.heal()?;
    assert!(dropped > 0, "nothing was lost");
    eprintln!(
        "hosts: {percent} % lost: {} acknowledged, {messages} of them within {took:.1?}; {dropped} \
         packets dropped",
        acknowledged.len()
    );
    rig.ready(PATIENCE).await?;
    ending::verify(&rig.cluster_file())?;
    ending::disks(&mut rig, &acknowledged)
}
