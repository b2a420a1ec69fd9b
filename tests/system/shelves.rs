//! What lies beside a trimmed log, damaged or gone.
//!
//! A damaged snapshot is done without while another is whole. With nothing whole up to where the
//! log begins, a node does not start: it says so in one line, and changes nothing, so that it goes
//! on once what was lost is back. The others do not need it.
//!
//! One-line bugs that turn them red: a seal that is not checked; one bad snapshot is an error;
//! `recover` begins anew where there is no snapshot, or opening does where there is no archive.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use indelible::local::Rig;
use indelible::local::process::{Output, Process};
use indelible::paxos::{NodeId, Slot};
use libtest_mimic::{Failed, Trial};

use crate::history::{self, PATIENCE, Teller};
use crate::{ending, run};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        history::trial("shelves::a_damaged_snapshot_is_done_without", damaged_newest),
        history::trial("shelves::a_node_without_its_past_does_not_start", nothing_whole),
    ]
}

/// The node that suffers, in clusters of three.
const VICTIM: NodeId = NodeId(2);

/// `EX_IOERR`.
const IO_ERROR: i32 = 74;

async fn damaged_newest() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = with_trimmed_logs(data.path()).await?;
    rig.kill(VICTIM);
    let store = rig.store(VICTIM);
    let kept = history::snapshots(&store);
    let [.., _older, newest] = kept[..] else { return Err(format!("kept: {kept:?}").into()) };
    flip(&history::snapshot(&store, newest))?;
    rig.start(VICTIM)?;
    teller.say(10, 100).await?;
    rig.ready(PATIENCE).await?;
    let log = rig.log(VICTIM);
    let file = format!("{newest:020}.snap");
    let says = |line: &str| line.contains("it is left out") && line.contains(&file);
    assert!(log.lines().any(says), "nothing of {file}:\n{log}");
    ending::verify(&rig.cluster_file())?;
    ending::disks(&mut rig, &[])
}

async fn nothing_whole() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = with_trimmed_logs(data.path()).await?;
    rig.kill(VICTIM);
    let store = rig.store(VICTIM);
    flip_all(&store)?;
    refuses(&rig, "no snapshot up to there is whole").await?;
    flip_all(&store)?;
    let lost: [(&[&str], &str); 3] = [
        (&["snapshots"], "no snapshot up to there is whole"),
        (&["archive"], "damaged"),
        (&["archive", "snapshots"], "no snapshot up to there is whole"),
    ];
    for (folders, why) in lost {
        folders.iter().try_for_each(|folder| take_away(&store.join(folder)))?;
        refuses(&rig, why).await.map_err(|failed| format!("without {folders:?}: {failed:?}"))?;
        folders.iter().try_for_each(|folder| bring_back(&store.join(folder)))?;
        teller.say(10, 100).await?;
    }
    rig.start(VICTIM)?;
    rig.ready(PATIENCE).await?;
    ending::verify(&rig.cluster_file())?;
    ending::disks(&mut rig, &[])
}

/// Three nodes, idle, each with two snapshots and a log that does not go back to the beginning.
async fn with_trimmed_logs(data: &Path) -> Result<(Rig, Teller), Failed> {
    let mut rig = history::rig(3, data).await?;
    let mut teller = Teller::new(&rig);
    for _ in 0..20 {
        teller.say(25, 100).await?;
    }
    history::all_show(&mut rig, 3, |status| status.trimmed > Slot(0)).await?;
    rig.ready(PATIENCE).await?;
    Ok((rig, teller))
}

/// That the victim does not start, and says so in one line.
async fn refuses(rig: &Rig, why: &str) -> Result<(), Failed> {
    let log = rig.folder().join("refusal.log");
    let mut args = vec!["node".to_owned(), format!("--id={}", VICTIM.0), "--log=error".to_owned()];
    args.push(format!("--store={}", rig.store(VICTIM).display()));
    args.push(format!("--cluster-file={}", rig.cluster_file().display()));
    args.extend(history::PACE.map(str::to_owned));
    let program = Path::new(history::PROGRAM);
    let mut process = Process::spawn(program, args, Output::Nowhere, &log)?;
    let until = Instant::now() + PATIENCE;
    while process.is_alive() {
        if Instant::now() > until {
            return Err("it runs".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    let status = process.ended().and_then(|status| status.code());
    if status == Some(IO_ERROR) && said.lines().count() == 1 && said.contains(why) {
        return Ok(());
    }
    Err(format!("it ended with {status:?} and said:\n{said}").into())
}

/// Changes one bit in the middle of a file.
fn flip(path: &Path) -> Result<(), Failed> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(fs::write(path, bytes)?)
}

fn flip_all(store: &Path) -> Result<(), Failed> {
    let kept = history::snapshots(store);
    kept.into_iter().try_for_each(|slot| flip(&history::snapshot(store, slot)))
}

fn take_away(folder: &Path) -> Result<(), Failed> {
    Ok(fs::rename(folder, folder.with_extension("away"))?)
}

/// The node has made an empty one meanwhile; if it had put anything there, this would fail.
fn bring_back(folder: &Path) -> Result<(), Failed> {
    fs::remove_dir(folder)?;
    Ok(fs::rename(folder.with_extension("away"), folder)?)
}
