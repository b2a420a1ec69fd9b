//! What the values of a log say: the discipline that makes every loss noticeable, without a disk.
//!
//! Values come from wherever they lie: from sled ([`Store`](super::Store)), or from the simulator's
//! disks, so that both keep and read a log by the same rules:
//!
//! - numbers have no gap, and nothing lies between two commits;
//! - a commit is whole, or it is the last, was never acknowledged, and is cut;
//! - a log that ends below its high-water mark, or has lost a promise, is damaged;
//! - one that is damaged in the middle is mended, if that can be done (`mending`);
//! - what a trim has named may be missing below it, and only that.
//!
//! Deliberately absent: any guess. Whatever else is found is damage, and nobody votes from it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::group::{self, Flaw};
use super::mending::{self, Before, Gap};
use crate::paxos::{AcceptorState, Ballot, Record, Slot};

/// What a log holds at least; told beside it, so that a loss is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The number of its next value.
    pub(crate) next: u64,
    /// Its promise.
    pub(crate) promised: Option<Ballot>,
}

impl Mark {
    /// Whether a commit that leads here must be covered by the high-water mark before anything that
    /// rests on it leaves: a promise forgotten is a vote cast twice.
    pub(crate) fn is_due_after(&self, written: Mark) -> bool {
        self.promised > written.promised
    }
}

/// How a log goes on: where it stands, and what its values are sealed with.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    fingerprint: u32,
    /// The number of the first value that is still held.
    first: u64,
    mark: Mark,
    /// What the next commit says of all before it.
    before: Before,
    /// The commits that are held: the number of the first value of each, and the slot above all
    /// that it speaks of.
    commits: VecDeque<(u64, Slot)>,
}

/// What one commit writes.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    /// The number of the first value.
    pub(crate) first: u64,
    /// The values, to be written in order.
    pub(crate) values: Vec<Vec<u8>>,
    /// Values that a trim lets go, to be removed upward once the others are on disk.
    pub(crate) trimmed: Range<u64>,
}

/// What was found when a log was read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The records, each with the number of the value in which its commit began.
    pub(crate) records: Vec<(u64, Record)>,
    /// Where the log goes on.
    pub(crate) ledger: Ledger,
    /// Values of a commit that was never acknowledged, to be removed.
    pub(crate) torn: Range<u64>,
    /// Values whose removal a crash interrupted.
    pub(crate) left: Range<u64>,
    /// Values that are damaged or missing, and done without.
    pub(crate) lost: Vec<Range<u64>>,
}

/// A commit that was read.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The number of its first value.
    pub(super) number: u64,
    pub(super) before: Before,
    pub(super) records: Vec<Record>,
}

impl Group {
    /// What the next one says of all before it.
    pub(super) fn after(&self) -> Before {
        self.before.then(&self.records)
    }

    /// The slot above all that it speaks of itself.
    fn end(&self) -> Slot {
        Before::default().then(&self.records).end()
    }
}

/// Why a log must not be voted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something acknowledged is missing or damaged; what, in a person's words.
    Damaged(String),
    /// A value was written by a later version, which this is.
    Newer(u8),
}

impl Ledger {
    /// The ledger of a store in which nothing is written.
    pub(crate) fn fresh(fingerprint: u32) -> Ledger {
        let (mark, before, commits) = (Mark::default(), Before::default(), VecDeque::new());
        Ledger { fingerprint, first: 0, mark, before, commits }
    }

    /// Where the log stands when everything that [`write`](Ledger::write) gave is on disk.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Lays out a commit.
    pub(crate) fn write(&mut self, records: &[Record]) -> Writing {
        let (first, held) = (self.mark.next, self.first);
        self.commits.push_back((first, Before::default().then(records).end()));
        let records = self.trim(records);
        let values = group::lay_out(self.before, &records, first, self.fingerprint);
        self.before = self.before.then(&records);
        self.mark.next += values.len() as u64;
        let promised = records.iter().filter_map(promised_by).max();
        self.mark.promised = self.mark.promised.max(promised);
        Writing { first, values, trimmed: held..self.first }
    }

    /// Lets go of the oldest commits that speak of nothing but trimmed slots, and says in the
    /// record of the trim where the log begins now. A commit goes only with all before it, and the
    /// one that says so stays.
    fn trim<'r>(&mut self, records: &'r [Record]) -> Cow<'r, [Record]> {
        let Some(trimmed) = records.iter().filter_map(trimmed_below).max() else {
            return Cow::Borrowed(records);
        };
        while self.commits.len() > 1
            && self.commits.pop_front_if(|(_, end)| *end <= trimmed).is_some()
        {}
        self.first = self.commits.front().map_or(self.mark.next, |(number, _)| *number);
        let mut records = records.to_vec();
        for record in &mut records {
            if let Record::Trimmed { first_record, .. } = record {
                *first_record = self.first;
            }
        }
        Cow::Owned(records)
    }
}

fn trimmed_below(record: &Record) -> Option<Slot> {
    match record {
        Record::Trimmed { below, .. } => Some(*below),
        Record::Promised(_)
        | Record::Accepted(_)
        | Record::Learned { .. }
        | Record::Decided(_)
        | Record::Incarnation { .. }
        | Record::Standing { .. }
        | Record::Heard { .. }
        | Record::Moved { .. }
        | Record::Testified { .. }
        | Record::Lost { .. }
        | Record::Imported { .. } => None,
    }
}

/// The promise that a record brings with it.
fn promised_by(record: &Record) -> Option<Ballot> {
    match record {
        Record::Promised(ballot) => Some(*ballot),
        Record::Accepted(run) => Some(run.ballot),
        Record::Trimmed { promised, .. }
        | Record::Imported { promised, .. }
        | Record::Lost { promised, .. } => *promised,
        Record::Learned { .. }
        | Record::Decided(_)
        | Record::Incarnation { .. }
        | Record::Standing { .. }
        | Record::Heard { .. }
        | Record::Moved { .. }
        | Record::Testified { .. } => None,
    }
}

/// The first value that counts once this record does: 0 if it says nothing of that.
fn first_after(record: &Record) -> u64 {
    match record {
        Record::Trimmed { first_record, .. } => *first_record,
        Record::Promised(_)
        | Record::Accepted(_)
        | Record::Learned { .. }
        | Record::Decided(_)
        | Record::Incarnation { .. }
        | Record::Standing { .. }
        | Record::Heard { .. }
        | Record::Moved { .. }
        | Record::Testified { .. }
        | Record::Lost { .. }
        | Record::Imported { .. } => 0,
    }
}

/// Reads a log: its values ascending by number, and its high-water mark.
pub(crate) fn read<V: AsRef<[u8]>>(
    values: &[(u64, V)],
    fingerprint: u32,
    written: Mark,
) -> Result<Reading, Fault> {
    let lowest = values.first().map_or(0, |(number, _)| *number);
    let rest = group::behind_broken_head(values, fingerprint);
    let whole_from = rest.first().map_or(lowest, |(number, _)| *number);
    let Scan { mut groups, mut gaps, next } = scan(rest, whole_from, fingerprint)?;
    if next < written.next {
        let what = format!("it ends at value {next}, but {} were acknowledged", written.next);
        return Err(Fault::Damaged(what));
    }
    let torn = next..rest.last().map_or(next, |(number, _)| number + 1);
    let first = groups.iter().flat_map(|group| &group.records).map(first_after).max();
    let first = first.unwrap_or(0);
    if whole_from > first {
        return Err(Fault::Damaged(format!("values {first}..{whole_from} are missing")));
    }
    let gone = groups.partition_point(|group| group.number < first);
    groups.drain(..gone);
    gaps.retain(|gap| gap.values.end > first);
    gaps.iter_mut().for_each(|gap| gap.at = gap.at.saturating_sub(gone));
    let before = groups.last().map_or_else(Before::default, Group::after);
    mending::mend(&mut groups, &gaps, written)?;
    let commits = groups.iter().map(|group| (group.number, group.end())).collect();
    let numbered = |Group { number, records, .. }: Group| {
        records.into_iter().map(move |record| (number, record))
    };
    let records: Vec<(u64, Record)> = groups.into_iter().flat_map(numbered).collect();
    let promised = replay(&records).promised();
    if promised < written.promised {
        return Err(Fault::Damaged("it has lost a promise that left this node".to_owned()));
    }
    let ledger = Ledger { fingerprint, first, mark: Mark { next, promised }, before, commits };
    let lost = gaps.into_iter().map(|gap| gap.values).collect();
    Ok(Reading { records, ledger, torn, left: lowest..first, lost })
}

/// What was found from one end to the other.
struct Scan {
    groups: Vec<Group>,
    gaps: Vec<Gap>,
    /// The number behind the last whole group.
    next: u64,
}

fn scan<V: AsRef<[u8]>>(mut rest: &[(u64, V)], from: u64, fingerprint: u32) -> Result<Scan, Fault> {
    let mut scan = Scan { groups: Vec::new(), gaps: Vec::new(), next: from };
    loop {
        match read_group(rest, scan.next, fingerprint) {
            Ok(Some((group, length))) => {
                scan.groups.push(group);
                scan.next += length;
                rest = &rest[length as usize..];
            }
            Ok(None) => return Ok(scan),
            Err(fault @ Fault::Newer(_)) => return Err(fault),
            Err(fault) => {
                let Some(skipped) = next_whole(rest, scan.next, fingerprint) else {
                    return Err(fault);
                };
                rest = &rest[skipped..];
                let (next, at) = (rest[0].0, scan.groups.len());
                scan.gaps.push(Gap { values: scan.next..next, fault, at });
                scan.next = next;
            }
        }
    }
}

/// Where the next whole group begins behind one that is not.
fn next_whole<V: AsRef<[u8]>>(rest: &[(u64, V)], from: u64, fingerprint: u32) -> Option<usize> {
    (0..rest.len()).find(|at| {
        let (number, value) = &rest[*at];
        let begins =
            group::examine(value.as_ref(), *number, fingerprint).is_ok_and(|part| part.place == 0);
        let is_whole = || matches!(read_group(&rest[*at..], *number, fingerprint), Ok(Some(_)));
        *number > from && begins && is_whole()
    })
}

/// What an acceptor finds in these records.
pub(crate) fn replay(records: &[(u64, Record)]) -> AcceptorState {
    AcceptorState::replay(records.iter().map(|(_, record)| record.clone()))
}

/// The group that begins at value `next`, and how many values it has. `None`: there is none, or a
/// tail that was never acknowledged.
fn read_group<V: AsRef<[u8]>>(
    rest: &[(u64, V)],
    next: u64,
    fingerprint: u32,
) -> Result<Option<(Group, u64)>, Fault> {
    let mut encoded = Vec::new();
    let mut places = 1;
    let mut place = 0;
    while place < places {
        let Some((number, value)) = rest.get(place as usize) else { return Ok(None) };
        let expected = next + u64::from(place);
        if *number != expected {
            let what = format!("value {expected} is missing, {number} follows");
            return Err(Fault::Damaged(what));
        }
        match group::examine(value.as_ref(), expected, fingerprint) {
            Ok(part) if part.place == place => {
                places = part.places;
                encoded.extend_from_slice(part.body);
            }
            Ok(part) => {
                let what = format!("value {expected} is part {} of its commit", part.place);
                return Err(Fault::Damaged(what));
            }
            // A torn write at the very end was never acknowledged; the high-water mark will say if
            // it was.
            Err(Flaw::Checksum) if place as usize + 1 == rest.len() => return Ok(None),
            Err(flaw) => return Err(flawed(expected, &flaw)),
        }
        place += 1;
    }
    match group::decode(&encoded) {
        Ok((before, records)) => {
            Ok(Some((Group { number: next, before, records }, u64::from(places))))
        }
        Err(error) => Err(Fault::Damaged(format!("value {next}: {error}"))),
    }
}

fn flawed(number: u64, flaw: &Flaw) -> Fault {
    let what = match flaw {
        Flaw::Version(found) => return Fault::Newer(*found),
        Flaw::Checksum => "fails its checksum".to_owned(),
        Flaw::Foreign => "belongs to another store".to_owned(),
        Flaw::Misplaced(own) => format!("is really value {own}"),
    };
    Fault::Damaged(format!("value {number} {what}"))
}
