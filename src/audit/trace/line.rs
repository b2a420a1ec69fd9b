//! The lines of a trace, and how they come of what is heard.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::paxos::{Ballot, Chain, Claim, Ground, Heard, Incarnation, NodeId, Record, Slot};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A node starts.
    Started(Started),
    /// A record goes to the log; its number, counted from the start.
    Recorded(u64, Written),
    /// The log holds so many of these records.
    Synced(u64),
    /// A message leaves.
    Sent(Sent),
    /// A slot is decided.
    Decided(Slot),
    /// A slot is applied.
    Applied(Slot),
    /// A snapshot takes the place of everything below a slot.
    Installed(Slot),
}

/// What a node starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Who.
    pub node: NodeId,
    /// Its store.
    pub incarnation: Incarnation,
    /// What it has promised.
    pub promised: Option<Ballot>,
    /// The runs it accepted last.
    pub chain: Option<Chain>,
    /// Its decided mark.
    pub mark: Slot,
    /// How many pledges it has made.
    pub pledges: u64,
    /// The others' stores.
    pub incarnations: Vec<(NodeId, Incarnation)>,
    /// Every slot below is applied.
    pub applied: Slot,
}

/// A record, without the values of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// See [`Record::Promised`].
    Promised(Ballot),
    /// See [`Record::Accepted`].
    Accepted {
        /// Its ballot.
        ballot: Ballot,
        /// Where the run before ended.
        after: Slot,
        /// The first slot.
        first: Slot,
        /// The slot after the last.
        end: Slot,
    },
    /// See [`Record::Learned`].
    Learned {
        /// The first slot.
        first: Slot,
        /// The slot after the last.
        end: Slot,
    },
    /// See [`Record::Decided`].
    Decided(Slot),
    /// See [`Record::Incarnation`].
    Incarnation(NodeId, Incarnation),
    /// See [`Record::Trimmed`].
    Trimmed {
        /// The lowest slot that is still held.
        below: Slot,
        /// The decided mark.
        mark: Slot,
        /// The promise.
        promised: Option<Ballot>,
        /// The chain of runs.
        chain: Option<Chain>,
        /// The table of the others' stores.
        incarnations: Vec<(NodeId, Incarnation)>,
    },
    /// See [`Record::Standing`].
    Standing {
        /// How many pledges were made.
        pledges: u64,
        /// Whether the store may vote.
        votes: bool,
    },
    /// See [`Record::Heard`].
    Heard(NodeId, Incarnation, u64),
    /// See [`Record::Moved`].
    Moved(NodeId, Incarnation),
    /// See [`Record::Testified`].
    Testified(NodeId, Incarnation),
    /// See [`Record::Imported`].
    Imported {
        /// The promise.
        promised: Option<Ballot>,
        /// The chain of runs.
        chain: Option<Chain>,
        /// How many slots were taken over.
        slots: u64,
    },
}

/// A message that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// To whom; perhaps to the node itself.
    pub to: NodeId,
    /// What kind of message.
    pub kind: Cow<'static, str>,
    /// What it claims of this node's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// Makes lines of what is heard: counts the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Teller {
    /// The number of the next record.
    next: u64,
}

impl Teller {
    /// The line of what was heard.
    pub fn line(&mut self, heard: Heard<'_>) -> Line {
        match heard {
            Heard::Started(config, state, applied) => {
                self.next = 0;
                Line::Started(Started {
                    node: config.node,
                    incarnation: config.incarnation,
                    promised: state.promised(),
                    chain: state.chain(),
                    mark: state.mark(),
                    pledges: Ground::pledges(state),
                    incarnations: state.incarnations(),
                    applied,
                })
            }
            Heard::Recorded(record) => {
                self.next += 1;
                Line::Recorded(self.next - 1, Written::of(record))
            }
            Heard::Synced => Line::Synced(self.next),
            Heard::Sent(envelope) => Line::Sent(Sent {
                to: envelope.to,
                kind: Cow::Borrowed(envelope.message.kind()),
                claim: Claim::of(envelope),
            }),
            Heard::Decided(slot) => Line::Decided(slot),
            Heard::Applied(slot) => Line::Applied(slot),
            Heard::Installed(below) => Line::Installed(below),
        }
    }
}

impl Written {
    fn of(record: &Record) -> Written {
        match record {
            Record::Promised(ballot) => Written::Promised(*ballot),
            Record::Accepted(run) => {
                let (ballot, after, first, end) = (run.ballot, run.after, run.first, run.end());
                Written::Accepted { ballot, after, first, end }
            }
            Record::Learned { first, commands } => {
                Written::Learned { first: *first, end: first.plus(commands.len() as u64) }
            }
            Record::Decided(mark) => Written::Decided(*mark),
            Record::Incarnation { node, incarnation } => Written::Incarnation(*node, *incarnation),
            Record::Trimmed { below, mark, promised, chain, incarnations, first_record: _ } => {
                let (below, mark, promised, chain) = (*below, *mark, *promised, *chain);
                Written::Trimmed {
                    below,
                    mark,
                    promised,
                    chain,
                    incarnations: incarnations.clone(),
                }
            }
            Record::Standing { pledges, votes } => {
                Written::Standing { pledges: *pledges, votes: *votes }
            }
            Record::Heard { node, incarnation, pledges } => {
                Written::Heard(*node, *incarnation, *pledges)
            }
            Record::Moved { node, incarnation, .. } => Written::Moved(*node, *incarnation),
            Record::Testified { node, incarnation } => Written::Testified(*node, *incarnation),
            Record::Lost { .. } => unreachable!("it is never written"),
            Record::Imported { promised, chain, accepted } => {
                let (promised, chain, slots) = (*promised, *chain, accepted.len() as u64);
                Written::Imported { promised, chain, slots }
            }
        }
    }
}

impl Line {
    /// Appends it, with its end of line.
    ///
    /// # Panics
    ///
    /// Never: memory takes all, and every line has its JSON.
    pub fn write(&self, text: &mut Vec<u8>) {
        serde_json::to_writer(&mut *text, self).expect("a line has its JSON");
        text.push(b'\n');
    }

    /// Reads one, without its end of line.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(text: &[u8]) -> Result<Line, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }
}
