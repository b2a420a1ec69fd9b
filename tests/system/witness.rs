//! A cluster of two replicas and a witness, over real processes: it goes on with the witness and
//! one replica, whichever is killed; the witness keeps its log short, and says what it is.
//!
//! One-line bugs that turn them red: a witness that applies, and so takes snapshots; a log that is
//! never trimmed; one that is trimmed at what one replica holds alone; a copy that is not handed
//! on; an auditor, or an operator's tool, that takes a witness for a replica that has lost its
//! state.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use indelible::client::Client;
use indelible::local::Rig;
use indelible::paxos::{ClientId, NodeId, Slot};
use indelible::wire::client::{NodeStatus, Role};
use libtest_mimic::{Failed, Trial};

use crate::history::{self, PATIENCE, PROGRAM, Teller};
use crate::{ending, run};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        history::trial("witness::each_in_turn_is_killed_and_the_log_stays_short", each_in_turn),
        history::trial("witness::a_copy_outlives_the_last_replica", outlives),
    ]
}

/// The witness stands in the middle of the ring.
const WITNESS: NodeId = NodeId(1);

const REPLICAS: [NodeId; 2] = [NodeId(0), NodeId(2)];

/// As [`history::PACE`], with a witness' log that is soon too long.
const PRESSED: [&str; 3] = ["--snapshot-slots=50", "--margin-slots=20", "--witness-log-slots=300"];

/// More than the witness' log holds while all are well: two snapshots, the margin, and what comes
/// until one is durable.
const HELD_MAX: u64 = 1000;

/// More messages than it takes until a snapshot is durable, and told.
const SAID_MAX: u64 = 20_000;

/// Between two snapshots, when a witness is to get one: several of a transfer's questions.
const BREATH: Duration = Duration::from_millis(50);

/// Two replicas and a witness, at work.
async fn rig(data: &Path, flags: &[&str]) -> Result<(Rig, Teller), Failed> {
    let mut rig = history::format(3, data)?;
    rig.set_witness(WITNESS)?;
    rig.set_flags(flags);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let teller = Teller::new(&rig);
    Ok((rig, teller))
}

async fn each_in_turn() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = rig(data.path(), &history::PACE).await?;
    for node in [REPLICAS[0], WITNESS, REPLICAS[1], WITNESS, REPLICAS[0]] {
        teller.say(200, 20).await?;
        rig.kill(node);
        // A batch by itself each: snapshots are told of meanwhile.
        for _ in 0..4 {
            teller.say(100, 20).await?;
        }
        rig.start(node)?;
        rig.ready(PATIENCE).await?;
    }
    for _ in 0..10 {
        teller.say(100, 20).await?;
    }
    until(&mut rig, &mut teller, |it| it.decided.since(it.trimmed) < HELD_MAX).await?;
    rig.ready(PATIENCE).await?;
    let witness = rig.status(WITNESS).await.ok_or("the witness does not answer")?;
    assert_eq!((witness.role, witness.applied), (Role::Witness, Slot(0)));
    assert!(witness.decided > Slot(3500), "{witness:?}");
    said_of(&rig)?;
    reads_elsewhere(&rig).await?;
    ending::verify(&rig.cluster_file())?;
    ending::disks(&mut rig, &[])?;
    let store = rig.store(WITNESS);
    alone_is_not_known(&store)
}

/// More is said until the witness is as it should be: snapshots come with what is said, but not so
/// often that each is replaced before it is asked for. How much.
async fn until(
    rig: &mut Rig,
    teller: &mut Teller,
    is_so: impl Fn(&NodeStatus) -> bool,
) -> Result<u64, Failed> {
    let mut said = 0;
    while rig.status(WITNESS).await.is_none_or(|it| !is_so(&it)) {
        teller.say(50, 100).await?;
        tokio::time::sleep(BREATH).await;
        said += 50;
        assert!(said < SAID_MAX, "the log of the witness is as long as ever");
    }
    Ok(said)
}

/// What `indelible status` says of the witness.
fn said_of(rig: &Rig) -> Result<(), Failed> {
    let mut status = Command::new(PROGRAM);
    status.args(["status", "--cluster-file"]).arg(rig.cluster_file());
    let table = String::from_utf8(status.output()?.stdout)?;
    let row = table.lines().find(|line| line.contains("witness"));
    let row = row.ok_or_else(|| format!("no witness in\n{table}"))?;
    assert!(row.trim_start().starts_with(&WITNESS.0.to_string()), "{table}");
    Ok(())
}

/// A client that finds the witness first is answered all the same.
async fn reads_elsewhere(rig: &Rig) -> Result<(), Failed> {
    for id in 0..6 {
        let client = Client::open(rig.cluster(), ClientId(7000 + id));
        let answer = tokio::time::timeout(PATIENCE, client.query("".into())).await?;
        assert!(answer.is_ok(), "{answer:?}");
    }
    Ok(())
}

/// Which member is a witness the cluster file says: without it the auditor cannot tell its store
/// from one that lacks its snapshots, and asks for the file. `inspect` reads it either way.
fn alone_is_not_known(store: &Path) -> Result<(), Failed> {
    let audit = Command::new(PROGRAM).arg("audit").arg(store).output()?;
    let why = String::from_utf8_lossy(&audit.stderr).into_owned();
    assert!(audit.status.code() == Some(78) && why.contains("cluster file"), "{why}");
    let inspect = Command::new(PROGRAM).arg("inspect").arg(store).output()?;
    let said = String::from_utf8_lossy(&inspect.stdout).into_owned();
    assert!(inspect.status.success() && said.contains("state      none"), "{said}");
    Ok(())
}

/// One replica is away, and much is said; the witness lets go of its log. Then the other replica
/// dies, and the one that is back has all from the witness.
async fn outlives() -> Result<(), Failed> {
    let data = run::data()?;
    let (mut rig, mut teller) = rig(data.path(), &PRESSED).await?;
    teller.say(100, 100).await?;
    rig.ready(PATIENCE).await?;
    rig.kill(REPLICAS[1]);
    let end = history::end(&mut rig).await;
    let mut said = 1000;
    for _ in 0..20 {
        teller.say(50, 100).await?;
    }
    // The log goes once there is a second copy, which comes with the next snapshot.
    said += until(&mut rig, &mut teller, |it| it.trimmed > end).await?;
    let log = rig.log(WITNESS);
    assert!(log.contains("the log of this witness holds"), "it warned of nothing:\n{log}");
    // Nothing that is said from here on is on the other's disk, all is on the witness'.
    rig.ready(PATIENCE).await?;
    rig.kill(REPLICAS[0]);
    rig.start(REPLICAS[1])?;
    rig.ready(PATIENCE).await?;
    teller.say(20, 100).await?;
    let status = rig.status(REPLICAS[1]).await.ok_or("it does not answer")?;
    assert!(status.applied >= Slot(100 + said + 20), "{status:?}");
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    ending::verify(&rig.cluster_file())?;
    ending::disks(&mut rig, &[])
}
