//! The proof: what the disks hold, against what the clients were told.
//!
//! The ledgers are read by `indelible inspect`, a process of its own, when no server runs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::storm::Acknowledgement;
use super::{Error, program, refuted};

/// What one disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The lines it holds, decided or accepted.
    pub held: BTreeSet<String>,
    /// How many slots it knows to be decided.
    pub decided: u64,
    /// The hash of the state up to there.
    pub state: String,
}

/// Reads a store.
///
/// # Errors
///
/// If it cannot be read: then there is no proof.
pub fn read(program: &Path, store: &Path) -> Result<Ledger, Error> {
    let held = inspect(program, store, "--held")?;
    let summary: serde_json::Value =
        serde_json::from_str(&inspect(program, store, "--json")?).map_err(io::Error::from)?;
    Ok(Ledger {
        held: held.lines().map(str::to_owned).collect(),
        decided: summary["decided"].as_u64().unwrap_or(0),
        state: summary["state"].as_str().unwrap_or("?").to_owned(),
    })
}

/// Whether every acknowledged message stands at its slot on a majority of the disks, once, in each
/// client's order.
///
/// # Errors
///
/// The first thing that does not hold, in words.
pub fn check(ledgers: &[Ledger], acknowledged: &[Acknowledgement]) -> Result<(), String> {
    let majority = ledgers.len() / 2 + 1;
    let mut slots: BTreeMap<u64, &Acknowledgement> = BTreeMap::new();
    let mut last: BTreeMap<usize, &Acknowledgement> = BTreeMap::new();
    for it in acknowledged {
        let line = it.line();
        let disks = ledgers.iter().filter(|ledger| ledger.held.contains(&line)).count();
        if disks < majority {
            return Err(format!("\"{line}\" is on {disks} of {} disks", ledgers.len()));
        }
        if let Some(other) = slots.insert(it.slot, it) {
            return Err(format!("\"{line}\" and \"{}\" share a slot", other.line()));
        }
        if let Some(before) = last.insert(it.client, it)
            && before.slot >= it.slot
        {
            return Err(format!("\"{line}\" stands before \"{}\"", before.line()));
        }
    }
    for ledger in ledgers {
        let texts: BTreeSet<&str> =
            ledger.held.iter().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        if texts.len() != ledger.held.len() {
            return Err("a message stands in two slots of one ledger".to_owned());
        }
    }
    let mut states: BTreeMap<u64, &str> = BTreeMap::new();
    for ledger in ledgers {
        let known = states.entry(ledger.decided).or_insert(&ledger.state);
        if *known != ledger.state {
            return Err(format!("two ledgers differ below slot {}", ledger.decided));
        }
    }
    Ok(())
}

/// Reads all stores and checks them.
///
/// # Errors
///
/// If one cannot be read, or the check fails.
pub fn prove(
    program: &Path,
    stores: &[PathBuf],
    acknowledged: &[Acknowledgement],
) -> Result<Vec<Ledger>, Error> {
    let ledgers: Vec<Ledger> =
        stores.iter().map(|store| read(program, store)).collect::<Result<_, _>>()?;
    check(&ledgers, acknowledged).map_err(Error::Refuted)?;
    Ok(ledgers)
}

fn inspect(program: &Path, store: &Path, what: &str) -> Result<String, Error> {
    let args = ["inspect".as_ref(), store.as_os_str(), what.as_ref()];
    let said = program::run(program, Path::new("."), args)?;
    if said.ok {
        Ok(said.out)
    } else {
        Err(refuted(format!("a ledger cannot be read: {}", said.err)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &[&str]) -> Ledger {
        let held = lines.iter().map(|line| (*line).to_owned()).collect();
        Ledger { held, decided: 1, state: "same".to_owned() }
    }

    fn acknowledged(client: usize, number: u64, slot: u64) -> Acknowledgement {
        Acknowledgement { client, number, slot }
    }

    #[test]
    fn the_proof_can_fail_in_each_of_its_parts() {
        let whole = [ledger(&["0 0: message 0", "1 0: message 1"]), ledger(&["0 0: message 0"])];
        let two = [whole[0].clone(), whole[0].clone(), whole[1].clone()];
        let acks = [acknowledged(0, 0, 0), acknowledged(0, 1, 1)];
        assert_eq!(check(&two, &acks), Ok(()));
        let on_one = [whole[0].clone(), whole[1].clone(), whole[1].clone()];
        assert!(check(&on_one, &acks).is_err_and(|why| why.contains("1 of 3 disks")));
        let moved = [acknowledged(0, 0, 1)];
        assert!(check(&two, &moved).is_err_and(|why| why.contains("0 of 3 disks")));
        let swapped = [acks[1].clone(), acks[0].clone()];
        assert!(check(&two, &swapped).is_err_and(|why| why.contains("stands before")));
        let doubled = [ledger(&["0 0: message 0", "1 0: message 0"])];
        assert!(check(&doubled, &[]).is_err_and(|why| why.contains("two slots")));
        let mut other = whole[0].clone();
        other.state = "other".to_owned();
        let split = [whole[0].clone(), other];
        assert!(check(&split, &[]).is_err_and(|why| why.contains("differ")));
    }
}
