//! A bit flips in a node's memory: its state is no longer that of the others.
//!
//! At the next checkpoint the hashes tell. Whoever has no majority with it ends, with status 70
//! and the slots in its last words; the others go on and name it.
//!
//! One-line bugs that turn them red: hashes that are not compared; a state that is not in the hash;
//! a node that stops without a word; a snapshot that is believed at a restart.

use std::time::{Duration, Instant};

use indelible::demo::storm::Storm;
use indelible::local::{Options, Rig};
use indelible::paxos::NodeId;
use libtest_mimic::{Failed, Trial};
use tokio::task::LocalSet;

use crate::ending::{more, prove};
use crate::history::PACE;
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("one_of_three_ends_and_comes_back", || some(3, &[2])),
        trial("two_of_five_that_differ_from_each_other_end", || some(5, &[0, 4])),
        trial("where_all_differ_all_end", all_differ),
        trial("a_wrong_snapshot_ends_it_again", wrong_snapshot),
    ]
}

fn trial<F: Future<Output = Result<(), Failed>>>(
    name: &str,
    play: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(format!("corrupt::{name}"), move || {
        let _beside = scale::beside();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, play())
    })
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the bit flips, in the midst of the slots between two checkpoints.
const AT: u64 = 1_515;

/// Clients.
const CLIENTS: usize = 8;

/// `EX_SOFTWARE`.
const SOFTWARE: i32 = 70;

/// Some go astray, each in its own way, fewer than half; the one that leads may be among them.
async fn some(nodes: u16, corrupt: &[u16]) -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = format(nodes, &data, &[])?;
    let corrupt: Vec<NodeId> = corrupt.iter().copied().map(NodeId).collect();
    let storm = astray(&mut rig, &corrupt, &[]).await?;
    for node in &corrupt {
        ends(&mut rig, *node).await?;
    }
    more(&storm, 500, PATIENCE).await?;
    let others = rig.alive();
    assert_eq!(others.len(), usize::from(nodes) - corrupt.len(), "the others go on");
    for (other, NodeId(node)) in others.iter().flat_map(|it| corrupt.iter().map(move |of| (it, of)))
    {
        let named = format!("the state of node {node} is not that of this one and a majority");
        let lines = rig.log(*other).lines().filter(|line| line.contains(&named)).count();
        assert_eq!(lines, 1, "{other} names node {node}, once:\n{}", rig.log(*other));
    }
    // Its snapshot is older than the fault, and its log is right.
    rig.start_all()?;
    prove(storm, &mut rig, PATIENCE).await?;
    Ok(())
}

/// Three, each in its own way: nobody can know who is right.
async fn all_differ() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = format(3, &data, &[])?;
    let all = [NodeId(0), NodeId(1), NodeId(2)];
    let storm = astray(&mut rig, &all, &[]).await?;
    for node in all {
        ends(&mut rig, node).await?;
    }
    rig.start_all()?;
    prove(storm, &mut rig, PATIENCE).await?;
    Ok(())
}

/// The state was wrong already when a snapshot of it was taken: it ends as soon as it is back.
async fn wrong_snapshot() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = format(3, &data, &PACE)?;
    let storm = astray(&mut rig, &[NodeId(2)], &PACE).await?;
    ends(&mut rig, NodeId(2)).await?;
    rig.start(NodeId(2))?;
    ends(&mut rig, NodeId(2)).await?;
    more(&storm, 100, PATIENCE).await?;
    assert_eq!(rig.alive(), [NodeId(0), NodeId(1)]);
    Ok(())
}

fn format(nodes: u16, data: &tempfile::TempDir, flags: &[&str]) -> Result<Rig, Failed> {
    let mut rig = Rig::format(Options {
        nodes,
        data: data.path().to_owned(),
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        allow_faults: true,
        log: "info".to_owned(),
    })?;
    rig.set_flags(flags);
    Ok(rig)
}

/// A cluster under load in which these nodes are told to go astray.
async fn astray(rig: &mut Rig, corrupt: &[NodeId], flags: &[&str]) -> Result<Storm, Failed> {
    let flip = format!("--corrupt-at={AT}");
    rig.set_flags(&[flags, &[flip.as_str()]].concat());
    for node in corrupt {
        rig.start(*node)?;
    }
    rig.set_flags(flags);
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    Ok(Storm::start(rig.cluster(), CLIENTS))
}

/// The node ends, and says between which slots it went astray.
async fn ends(rig: &mut Rig, node: NodeId) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = rig.ended(node) {
            break status;
        }
        if Instant::now() > until {
            return Err(format!("{node} does not end:\n{}", rig.log(node)).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let log = rig.log(node);
    assert_eq!(status.code(), Some(SOFTWARE), "{node}:\n{log}");
    let last = log.lines().last().unwrap_or_default();
    let (from, to) = slots(last).ok_or_else(|| format!("{node} names no slots: {last}"))?;
    assert!((from..to).contains(&AT), "{node} names slots {from}..{to}, the fault was at {AT}");
    assert!(last.contains("replace the node"), "and what to do: {last}");
    Ok(())
}

/// What a line says of the slots in question: `(slots 1000..2000: ...`.
fn slots(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line.split_once("(slots ")?;
    let (from, rest) = rest.split_once("..")?;
    let (to, _) = rest.split_once(':')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}
