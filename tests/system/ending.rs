//! How a trial with a storm ends: everything is acknowledged, all logs are one, and the disks hold
//! what the clients were told.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use indelible::demo::proof;
use indelible::demo::storm::{Acknowledgement, Storm};
use indelible::local::Rig;
use libtest_mimic::Failed;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_indelible");

/// Waits for so many more acknowledgements; how long that took.
pub(crate) async fn more(storm: &Storm, count: usize, limit: Duration) -> Result<Duration, Failed> {
    let (from, start) = (storm.acknowledged(), Instant::now());
    while storm.acknowledged() < from + count {
        if start.elapsed() > limit {
            let came = storm.acknowledged() - from;
            return Err(format!("{came} of {count} answers within {limit:.2?}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(start.elapsed())
}

/// Ends the storm, waits until the cluster is idle, compares what the replicas have executed
/// (`indelible verify`), kills them all and has their disks audited. How many were acknowledged.
pub(crate) async fn prove(
    storm: Storm,
    rig: &mut Rig,
    patience: Duration,
) -> Result<usize, Failed> {
    let acknowledged = settle(storm, rig, patience).await?;
    verify(&rig.cluster_file())?;
    disks(rig, &acknowledged)?;
    Ok(acknowledged.len())
}

/// Ends the storm, and waits until the cluster is idle.
pub(crate) async fn settle(
    storm: Storm,
    rig: &mut Rig,
    patience: Duration,
) -> Result<Vec<Acknowledgement>, Failed> {
    let acknowledged = storm.end(patience).await;
    let acknowledged = acknowledged.map_err(|open| format!("{open} messages had no answer"))?;
    assert!(!acknowledged.is_empty(), "a storm");
    assert_eq!(rig.alive().len(), rig.cluster().nodes.len(), "all came back");
    rig.ready(patience).await?;
    Ok(acknowledged)
}

/// All replicas answer, and have executed the same.
pub(crate) fn verify(cluster_file: &Path) -> Result<(), Failed> {
    let mut command = Command::new(PROGRAM);
    let output = command.args(["verify", "--json", "--cluster"]).arg(cluster_file).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let answered = |log: &serde_json::Value| log["error"].is_null();
    let all = found["logs"].as_array().is_some_and(|logs| logs.iter().all(answered));
    if output.status.success() && found["verdict"] == "identical" && all {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("verify: {}\n{text}{why}", output.status).into())
}

/// Kills all nodes; an audit of their disks proves that they hold what was acknowledged.
pub(crate) fn disks(rig: &mut Rig, acknowledged: &[Acknowledgement]) -> Result<(), Failed> {
    let all = rig.alive();
    rig.kill_all(&all);
    proof::prove(Path::new(PROGRAM), rig, acknowledged)?;
    Ok(())
}
