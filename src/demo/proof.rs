//! The proof: what the disks hold, against what the clients were told.
//!
//! The ledgers are read by `indelible audit`, a process of its own, when no server runs any more.
//! What it cannot know, because only the clients of a play do, is asked here: that each message is
//! another one, and that a client's messages stand in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::storm::Acknowledgement;
use super::{Error, program, refuted, stage};
use crate::local::Rig;
use crate::paxos::NodeId;

/// The file in the run's folder in which the audit finds what was acknowledged.
const ACKNOWLEDGED: &str = "acknowledged.log";

/// A command that was run, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Its words, without the program.
    pub command: String,
    /// On its standard output.
    pub said: String,
}

/// Audits all stores of a cluster that does not run, and holds them against what was acknowledged.
///
/// # Errors
///
/// The first thing that does not hold, in words; or if a store cannot be read.
pub fn prove(
    program: &Path,
    rig: &Rig,
    acknowledged: &[Acknowledgement],
) -> Result<Audited, Error> {
    in_order(acknowledged).map_err(Error::Refuted)?;
    let lines: String = acknowledged.iter().map(|it| it.line() + "\n").collect();
    fs::write(rig.folder().join(ACKNOWLEDGED), lines)?;
    let nodes = stage::replicas(rig);
    let stores: Vec<String> = nodes.iter().map(|node| store(rig, *node)).collect();
    let flags = ["audit", "-f", "cluster.toml", "--acks", ACKNOWLEDGED];
    let args: Vec<&str> = flags.into_iter().chain(stores.iter().map(String::as_str)).collect();
    let said = program::run(program, rig.folder(), &args)?;
    if !said.ok {
        return Err(refuted(format!("audit says {}\n{}", said.err, said.out)));
    }
    for store in &stores {
        let entries = program::run(program, rig.folder(), ["inspect", store, "--entries"])?;
        if !entries.ok {
            return Err(refuted(format!("a ledger cannot be read: {}", entries.err)));
        }
        once(&entries.out).map_err(Error::Refuted)?;
    }
    Ok(Audited { command: args.join(" "), said: said.out })
}

/// What a store is called in the run's folder.
pub(super) fn store(rig: &Rig, node: NodeId) -> String {
    let path = rig.store(node);
    path.strip_prefix(rig.folder()).unwrap_or(&path).display().to_string()
}

/// Whether each slot was told once, and each client's messages stand in its order.
fn in_order(acknowledged: &[Acknowledgement]) -> Result<(), String> {
    let mut slots: BTreeMap<u64, &Acknowledgement> = BTreeMap::new();
    let mut last: BTreeMap<usize, &Acknowledgement> = BTreeMap::new();
    for it in acknowledged {
        let line = it.line();
        if let Some(other) = slots.insert(it.slot, it) {
            return Err(format!("\"{line}\" and \"{}\" share a slot", other.line()));
        }
        if let Some(before) = last.insert(it.client, it)
            && before.slot >= it.slot
        {
            return Err(format!("\"{line}\" stands before \"{}\"", before.line()));
        }
    }
    Ok(())
}

/// Whether no message stands in two slots: in a play each is another one.
fn once(entries: &str) -> Result<(), String> {
    let mut texts = BTreeSet::new();
    let said = entries.lines().filter_map(|line| line.split_once(' '));
    for (_, text) in said {
        if !texts.insert(text) {
            return Err(format!("\"{text}\" stands in two slots of one ledger"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(client: usize, number: u64, slot: u64) -> Acknowledgement {
        Acknowledgement { client, number, slot }
    }

    #[test]
    fn the_proof_can_fail_in_each_of_its_parts() {
        let acks = [acknowledged(0, 0, 0), acknowledged(0, 1, 1)];
        assert_eq!(in_order(&acks), Ok(()));
        let swapped = [acks[1].clone(), acks[0].clone()];
        assert!(in_order(&swapped).is_err_and(|why| why.contains("stands before")));
        let shared = [acks[0].clone(), acknowledged(1, 0, 0)];
        assert!(in_order(&shared).is_err_and(|why| why.contains("share a slot")));
        assert_eq!(once("0 0: message 0\n1 0: message 1\n"), Ok(()));
        let doubled = once("0 0: message 0\n1 0: message 0\n");
        assert!(doubled.is_err_and(|why| why.contains("two slots")));
    }
}
