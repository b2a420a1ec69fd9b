//! A transfer of snapshot and archive that does not go as it began.
//!
//! Its source dies, and it goes on from whom is left, where it ended. Or the one that gets dies, and
//! goes on where it was once it is back. Or it is given up, because somebody is found whose log
//! still holds what is missing: then nothing of it stays.
//!
//! One-line bugs that turn them red: `is_silent` says no; a transfer that turns to another begins
//! anew; a flush appends what lies on the shelf already; `drop_transfer` does not cut the archive.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use indelible::local::Rig;
use indelible::paxos::NodeId;
use indelible::wire::client::Transfer;
use libtest_mimic::{Failed, Trial};

use crate::history::{self, PATIENCE, Teller};
use crate::{ending, run};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        history::trial("transfers::one_outlives_its_source", source_dies),
        history::trial("transfers::one_outlives_its_receiver", receiver_dies),
        history::trial("transfers::one_that_is_given_up_leaves_nothing", given_up),
    ]
}

/// The first primary, which is asked first.
const SOURCE: NodeId = NodeId(0);

/// The third one.
const OTHER: NodeId = NodeId(1);

/// The node that gets.
const RECEIVER: NodeId = NodeId(2);

/// More than a hundred chunks, of which one comes a tick: a second and more.
const LONG: u64 = 900;

/// Entries in three chunks: as many may wait to be written, as one comes.
const UNWRITTEN: u64 = 24;

/// As [`history::PACE`], but nothing ever goes from the log.
const KEEP: [&str; 2] = ["--snapshot-slots=50", "--margin-slots=1000000"];

/// Long enough that only a death ends the first view, however busy the machine: a death is noticed
/// by the connections that it breaks.
const ELECTION: Duration = Duration::from_secs(3);

/// The source dies for good as soon as something came; the third node, and it alone, is left.
async fn source_dies() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = with_a_stranded_node(data.path(), false).await?;
    rig.start(RECEIVER)?;
    let (source, done) = transfer(&mut rig, |_, done| done > 0).await?;
    let source = source.ok_or("entries of nobody")?;
    rig.kill(source);
    let (other, more) = transfer(&mut rig, |now, _| now != Some(source)).await?;
    assert!(other.is_some(), "over before it could turn: {done} entries came");
    assert!(more >= done, "what had come counts: {done} entries, then {more}");
    all_is_well(&mut rig, &mut teller).await
}

/// The receiver dies in the middle, twice, and goes on each time: what it had, but for what was not
/// written yet, does not come again.
async fn receiver_dies() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = with_a_stranded_node(data.path(), false).await?;
    rig.start(RECEIVER)?;
    let mut shown = 0;
    for wanted in [LONG / 6, LONG / 2] {
        let (_, had) = transfer(&mut rig, |_, done| done >= wanted).await?;
        rig.kill(RECEIVER);
        rig.start(RECEIVER)?;
        let it = transfer_told(&mut rig, |it| it.is_some_and(|it| it.done > it.regained)).await?;
        let it = it.ok_or("no transfer any more")?;
        let (done, regained) = (it.done, it.regained);
        assert!(regained + UNWRITTEN >= had, "{had} had come, but it took back {regained}");
        // On a busy machine it may be over by now.
        let told = told(&rig).await?;
        if !told.is_null() {
            assert!(told["regained"] == regained, "{told}, not {regained}");
            assert!(told["done"].as_u64() >= Some(done), "{told}, {done} before");
            shown += 1;
        }
    }
    assert!(shown > 0, "`status` told nothing of it");
    all_is_well(&mut rig, &mut teller).await
}

/// What `indelible status --json` tells of the transfer.
async fn told(rig: &Rig) -> Result<serde_json::Value, Failed> {
    let mut status = Command::new(history::PROGRAM);
    status.args(["status", "--json", "--cluster-file"]).arg(rig.cluster_file());
    let nodes: serde_json::Value = serde_json::from_slice(&status.output()?.stdout)?;
    Ok(nodes[usize::from(RECEIVER.0)]["transfer"].clone())
}

/// The third node has kept its log whole; it is asked when the one that gives is dead.
async fn given_up() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = with_a_stranded_node(data.path(), true).await?;
    rig.start(RECEIVER)?;
    transfer(&mut rig, |source, done| source == Some(SOURCE) && done > 0).await?;
    rig.kill(SOURCE);
    let (nobody, _) = transfer(&mut rig, |now, _| now != Some(SOURCE)).await?;
    assert_eq!(nobody, None, "its log was enough");
    all_is_well(&mut rig, &mut teller).await
}

/// Three nodes, of which the receiver is down, and the others' logs begin above what it holds; or
/// the first one's alone does, and the other keeps its log whole.
async fn with_a_stranded_node(data: &Path, other_keeps: bool) -> Result<(Rig, Teller), Failed> {
    let mut rig = history::format(3, data)?;
    if other_keeps {
        rig.set_election(ELECTION)?;
        rig.set_flags(&KEEP);
        rig.start(OTHER)?;
        rig.set_flags(&history::PACE);
    }
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let mut teller = Teller::new(&rig);
    rig.kill(RECEIVER);
    let end = history::end(&mut rig).await;
    teller.say_long(LONG).await?;
    let keeps = |node| other_keeps && node == OTHER;
    history::all_show(&mut rig, 2, |it| keeps(it.node) || it.trimmed > end).await?;
    rig.ready(PATIENCE).await?;
    Ok((rig, teller))
}

/// Waits for a transfer that is as wanted: its source, if there is one, and the entries that came.
async fn transfer(
    rig: &mut Rig,
    wanted: impl Fn(Option<NodeId>, u64) -> bool,
) -> Result<(Option<NodeId>, u64), Failed> {
    let parts = |it: Option<Transfer>| (it.map(|it| it.from), it.map_or(0, |it| it.done));
    let so = |it| {
        let (source, done) = parts(it);
        wanted(source, done)
    };
    transfer_told(rig, so).await.map(parts)
}

/// The same, with all that is told of it.
async fn transfer_told(
    rig: &mut Rig,
    wanted: impl Fn(Option<Transfer>) -> bool,
) -> Result<Option<Transfer>, Failed> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && rig.is_alive(RECEIVER) {
        if let Some(status) = rig.status(RECEIVER).await
            && wanted(status.transfer)
        {
            return Ok(status.transfer);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("no such transfer:\n{}", rig.log(RECEIVER)).into())
}

/// The two that live go on, the dead one comes back, and all have the same.
async fn all_is_well(rig: &mut Rig, teller: &mut Teller) -> Result<(), Failed> {
    teller.say(10, 100).await?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    ending::verify(&rig.cluster_file())?;
    ending::disks(rig, &[])
}
