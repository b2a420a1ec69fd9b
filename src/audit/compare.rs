//! All stores of a cluster, held against each other.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Invariant;
use super::archives::{self, Acknowledged};
use super::ledger::{Ledger, Read};
use super::refuted::Refuted;
use super::slots::{self, Slots};
use crate::paxos::{Digest, NodeId, Record, Slot};
use crate::rsm::{Rolling, Shelf, ShelfError};

/// What one store holds: its log, and what lies beside it.
#[derive(Clone, Debug)]
pub struct Book<'a> {
    /// Its log.
    pub ledger: Ledger<'a>,
    /// The archive, up to the slot that is applied.
    pub archive: &'a dyn Shelf,
    /// Whether each entry of the archive is the command of its slot, and each command has one.
    pub is_whole: bool,
    /// Every slot below is in the archive, as far as it left anything.
    pub applied: Slot,
    /// The state that applying it led to.
    pub digest: Digest,
    /// The snapshots that are whole, by their slots.
    pub snapshots: Vec<(Slot, Bytes)>,
}

/// How far the invariants hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Members of the cluster.
    pub members: u16,
    /// Stores that were given.
    pub stores: u64,
    /// What was read of all logs.
    pub read: Read,
    /// What all logs say together.
    pub slots: Slots,
    /// Slots that have an entry in an archive.
    pub entries: u64,
    /// Snapshots, and states of stores, that were compared with another's.
    pub states: u64,
    /// Acknowledgements that stand.
    pub acknowledged: u64,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Something is broken.
    #[error(transparent)]
    Refuted(#[from] Refuted),
    /// An archive cannot be read.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// A store is given that is not its node's any more.
    #[error("{store}: node {}, by what {by} says, has a newer store: give that one", node.0)]
    Replaced {
        /// The store.
        store: String,
        /// Whose it was.
        node: NodeId,
        /// The store that knows.
        by: String,
    },
}

/// Holds the stores of a cluster of so many members against each other, and against what clients
/// were told.
///
/// # Errors
///
/// At the first invariant that does not hold, or if an archive cannot be read.
///
/// # Panics
///
/// If two stores are of one node, or one is of no member.
pub fn compare(
    members: u16,
    books: &[Book<'_>],
    mut acknowledged: Vec<Acknowledged>,
) -> Result<Proof, Failed> {
    let mut nodes: Vec<_> = books.iter().map(|book| book.ledger.node()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let is_sound = nodes.len() == books.len() && nodes.iter().all(|node| node.0 < members);
    assert!(is_sound, "a store for a member, one at most: {nodes:?} of {members}");
    let ledgers: Vec<&Ledger<'_>> = books.iter().map(|book| &book.ledger).collect();
    are_newest(&ledgers)?;
    remember_no_more(&ledgers)?;
    let ends = books.iter().map(|book| book.applied.max(book.ledger.mark()));
    let decided = ends.max().unwrap_or_default();
    let slots = slots::sweep(&ledgers, members, decided)?;
    acknowledged.sort_by_key(|it| it.slot);
    let entries = archives::merge(books, members, &acknowledged)?;
    let states = states(books)?;
    let mut read = Read::default();
    ledgers.iter().for_each(|ledger| read.add(ledger.counts()));
    let (stores, acknowledged) = (books.len() as u64, acknowledged.len() as u64);
    Ok(Proof { members, stores, read, slots, entries, states, acknowledged })
}

/// What a replaced store says proves nothing: it may not have voted for what it holds.
fn are_newest(ledgers: &[&Ledger<'_>]) -> Result<(), Failed> {
    for ledger in ledgers {
        let knows =
            |it: &&&Ledger<'_>| it.state().incarnation(ledger.node()) > Some(ledger.incarnation());
        if let Some(by) = ledgers.iter().find(knows) {
            let (store, by) = (ledger.name().to_owned(), by.name().to_owned());
            return Err(Failed::Replaced { store, node: ledger.node(), by });
        }
    }
    Ok(())
}

/// Nobody remembers more pledges of a store than it has made.
fn remember_no_more(ledgers: &[&Ledger<'_>]) -> Result<(), Refuted> {
    for ledger in ledgers {
        let made = ledger.state().pledges();
        for other in ledgers {
            let heard = other.state().heard(ledger.node(), ledger.incarnation());
            if heard > made {
                let (store, by) = (ledger.name(), other.name());
                let why = format!("{store} holds {made} pledges, but {by} was told of {heard}");
                let told = |(_, record): &(u64, Record)| match record {
                    Record::Heard { pledges, .. } => *pledges == heard,
                    Record::Promised(_)
                    | Record::Accepted(_)
                    | Record::Learned { .. }
                    | Record::Decided(_)
                    | Record::Incarnation { .. }
                    | Record::Trimmed { .. }
                    | Record::Standing { .. }
                    | Record::Moved { .. }
                    | Record::Testified { .. }
                    | Record::Lost { .. }
                    | Record::Imported { .. } => false,
                };
                let told = other.records().iter().position(told);
                let mut exhibits = vec![ledger.note(format!("it has made {made} pledges"))];
                exhibits.extend(told.map(|at| other.exhibit(at, None)));
                return Err(Refuted { invariant: Invariant::Pledges, why, exhibits });
            }
        }
    }
    Ok(())
}

/// R3: equal snapshots at equal slots, and equal states where as much is applied. How many were
/// compared with another's.
fn states(books: &[Book<'_>]) -> Result<u64, Refuted> {
    let mut compared = 0;
    let mut snapshots: BTreeMap<Slot, (usize, &Bytes)> = BTreeMap::new();
    let mut states: BTreeMap<Slot, (usize, Digest)> = BTreeMap::new();
    for (at, book) in books.iter().enumerate() {
        for (slot, bytes) in &book.snapshots {
            let (one, first) = *snapshots.entry(*slot).or_insert((at, bytes));
            compared += u64::from(one != at);
            if first != bytes {
                let words = |bytes: &Bytes| {
                    let mut hash = Rolling::default();
                    hash.mix(bytes);
                    let hash = hash.value();
                    format!(
                        "its snapshot at slot {slot} has {} bytes, hash {hash:016x}",
                        bytes.len()
                    )
                };
                let exhibits =
                    vec![books[one].ledger.note(words(first)), book.ledger.note(words(bytes))];
                let why = format!("two snapshots differ at slot {slot}");
                return Err(Refuted { invariant: Invariant::R3, why, exhibits });
            }
        }
        let (one, first) = *states.entry(book.digest.slot).or_insert((at, book.digest));
        compared += u64::from(one != at);
        if first != book.digest {
            let words = |it: Digest| format!("its state at slot {} is {:016x}", it.slot, it.hash);
            let exhibits =
                vec![books[one].ledger.note(words(first)), book.ledger.note(words(book.digest))];
            let why = format!("two states differ at slot {}", first.slot);
            return Err(Refuted { invariant: Invariant::R3, why, exhibits });
        }
    }
    Ok(compared)
}
