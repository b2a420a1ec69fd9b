//! Damage in the middle of a log: what can be told from the rest, and when it can be done without.
//!
//! Each commit says of all before it ([`Before`]): the slot above all that they spoke of, how many
//! pledges they made, the highest ballot they accepted in, and how many of their records nobody but
//! this log can know. So a commit that is missing or damaged, between two that are whole, is
//! bounded from both sides. It can be done without if
//!
//! - it held no record of that last kind: stores met, testimonies, trims, the standing of the log;
//! - every slot that it can have spoken of is known to be decided, by what is whole. Those slots
//!   are learnt again from others, as decided values (Alagappan et al., *Protocol-Aware Recovery*).
//!
//! The promise is the high-water file's, which no promise leaves without. Whatever else is lost may
//! have been a vote that counts: then nobody votes from this log any more.
//!
//! Deliberately absent: any use of a value that fails its checksum.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ledger::{Fault, Group, Mark};
use crate::paxos::{AcceptorState, Ballot, Record, Slot};

/// What a commit says of all commits before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// The slot above all that they speak of.
    end: Slot,
    /// How many records they had that only this log can know.
    vital: u32,
    /// How many pledges were made.
    pledges: u64,
    /// The highest ballot that anything was accepted in.
    accepted_in: Option<Ballot>,
}

/// Values that are missing or damaged, with whole groups behind them.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub(super) values: Range<u64>,
    /// What was found first.
    pub(super) fault: Fault,
    /// How many whole groups lie before it.
    pub(super) at: usize,
}

impl Before {
    /// What the commit after one with these records says.
    pub(super) fn then(mut self, records: &[Record]) -> Before {
        records.iter().for_each(|record| self.note(record));
        self
    }

    /// The slot above all that was spoken of.
    pub(super) fn end(self) -> Slot {
        self.end
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::Promised(_) => self.pledges += 1,
            Record::Accepted(run) => {
                self.pledges += 1;
                self.end = self.end.max(run.end());
                self.accepted_in = self.accepted_in.max(Some(run.ballot));
            }
            Record::Learned { first, commands } => {
                self.end = self.end.max(first.plus(commands.len() as u64));
            }
            Record::Incarnation { .. } => self.vital += 1,
            Record::Trimmed { chain, .. } => {
                self.vital += 1;
                self.accepted_in = self.accepted_in.max(chain.map(|chain| chain.ballot));
            }
            Record::Standing { pledges, .. } => {
                self.vital += 1;
                self.pledges = *pledges;
            }
            Record::Testified { .. } => {
                self.vital += 1;
                self.pledges += 1;
            }
            Record::Imported { chain, accepted, .. } => {
                self.vital += 1;
                self.pledges += 1;
                let end = accepted.last().map(|pvalue| pvalue.slot.next());
                self.end = self.end.max(end.unwrap_or_default());
                self.accepted_in = self.accepted_in.max(chain.map(|chain| chain.ballot));
            }
            // A mark is a hint once it is lost, and so is what others told.
            Record::Decided(_)
            | Record::Heard { .. }
            | Record::Moved { .. }
            | Record::Lost { .. } => (),
        }
    }
}

/// Puts in the place of each gap what bounds it, and behind all the promise of the high-water file.
///
/// # Errors
///
/// If something may be lost that cannot be done without.
pub(super) fn mend(groups: &mut Vec<Group>, gaps: &[Gap], written: Mark) -> Result<(), Fault> {
    let mut end = Slot(0);
    for gap in gaps.iter().rev() {
        let after = groups.get(gap.at).expect("whole groups lie behind a gap").before;
        let before = match gap.at.checked_sub(1) {
            Some(at) => groups[at].after(),
            None if gap.values.start == 0 => Before::default(),
            None => return Err(gap.fatal("nothing before it tells what it was")),
        };
        if before.vital != after.vital {
            return Err(gap.fatal("it held what only this node knew"));
        }
        let lost = Record::Lost {
            below: after.end,
            promised: None,
            accepted_in: after.accepted_in.filter(|_| before.pledges != after.pledges),
            pledges: after.pledges,
        };
        end = end.max(after.end);
        groups.insert(gap.at, Group { number: gap.values.start, before, records: vec![lost] });
    }
    let (Some(first), Some(last)) = (gaps.first(), groups.last()) else { return Ok(()) };
    let (number, before) = (last.number, last.after());
    let promised = Record::Lost {
        below: Slot(0),
        promised: written.promised,
        accepted_in: None,
        pledges: before.pledges,
    };
    groups.push(Group { number, before, records: vec![promised] });
    let state = AcceptorState::replay(groups.iter().flat_map(|group| group.records.clone()));
    let mark = state.mark();
    if end > mark {
        return Err(first.fatal(&format!("it may have voted on slots {mark}..{end}")));
    }
    Ok(())
}

impl Gap {
    fn fatal(&self, why: &str) -> Fault {
        match &self.fault {
            Fault::Damaged(what) => Fault::Damaged(format!("{what}; {why}")),
            Fault::Newer(version) => Fault::Newer(*version),
        }
    }
}
