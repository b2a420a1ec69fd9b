//! Goes through a trace: nothing is said before it is written, and nothing is done out of order.
//!
//! Holds what the disk was said to hold, and what waits for it: a trace of any length takes no more
//! memory than a short one.

use std::collections::{BTreeMap, VecDeque};

use super::line::{Line, Sent, Started, Written};
use crate::audit::refuted;
use crate::paxos::{Ballot, Chain, Claim, Ground, Incarnation, NodeId, Slot};

/// What a trace must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Whatever leaves claims nothing that was not synced before.
    PersistBeforeSend,
    /// Records are numbered without a gap, and none is synced that was not recorded.
    Numbers,
    /// Slots are decided in their order.
    Decisions,
    /// Slots are applied in their order, each once it is decided.
    Applications,
    /// A node that starts again finds all that was synced.
    Restarts,
}

impl Rule {
    /// All of them, in the order in which they are told.
    pub const ALL: [Rule; 5] = [
        Rule::PersistBeforeSend,
        Rule::Numbers,
        Rule::Decisions,
        Rule::Applications,
        Rule::Restarts,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::PersistBeforeSend => "persist before send",
            Rule::Numbers => "record numbers",
            Rule::Decisions => "decisions",
            Rule::Applications => "applications",
            Rule::Restarts => "restarts",
        }
    }

    /// What it says.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Rule::PersistBeforeSend => "nothing leaves that claims what was not synced",
            Rule::Numbers => "none is left out, or synced before it is written",
            Rule::Decisions => "slots are decided in their order",
            Rule::Applications => "slots are applied in their order, once decided",
            Rule::Restarts => "a node that starts again finds all that was synced",
        }
    }
}

/// A rule that a trace breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}: {why}", rule.name())]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// The line at which it shows, from 1.
    pub line: u64,
    /// How, in words.
    pub why: String,
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Lines.
    pub lines: u64,
    /// Starts of the node.
    pub starts: u64,
    /// Records.
    pub records: u64,
    /// Messages that left.
    pub sends: u64,
    /// Of these, how many claimed something of the disk.
    pub claims: u64,
    /// Slots that were decided.
    pub decided: u64,
    /// Slots that were applied.
    pub applied: u64,
}

/// A trace that is gone through.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    replayed: Replayed,
    /// Since the last start; nothing before the first.
    run: Option<Run>,
}

/// A node's life from a start on.
#[derive(Clone, Debug)]
struct Run {
    node: NodeId,
    incarnation: Incarnation,
    /// What its disk is said to hold.
    disk: Disk,
    /// What goes to it, and is not there yet.
    waiting: VecDeque<Written>,
    recorded: u64,
    synced: u64,
    decided: Slot,
    applied: Slot,
}

/// What a disk holds, as far as claims rest on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    promised: Option<Ballot>,
    chain: Option<Chain>,
    mark: Slot,
    pledges: u64,
    stores: BTreeMap<NodeId, Incarnation>,
}

type Verdict = Result<(), (Rule, String)>;

impl Replay {
    /// Goes on by one line.
    ///
    /// # Errors
    ///
    /// If it breaks a rule.
    pub fn take(&mut self, line: Line) -> Result<(), Broken> {
        self.replayed.lines += 1;
        let number = self.replayed.lines;
        self.step(line).map_err(|(rule, why)| Broken { rule, line: number, why })
    }

    /// What was gone through so far.
    #[must_use]
    pub fn replayed(&self) -> Replayed {
        self.replayed
    }

    fn step(&mut self, line: Line) -> Verdict {
        let Replay { replayed, run } = self;
        match (line, run) {
            (Line::Started(started), run) => {
                replayed.starts += 1;
                *run = Some(Run::after(run.as_ref(), started)?);
                Ok(())
            }
            (_, None) => Err((Rule::Restarts, "it does not begin with a start".to_owned())),
            (Line::Recorded(number, written), Some(run)) => {
                replayed.records += 1;
                run.record(number, written)
            }
            (Line::Synced(records), Some(run)) => run.sync(records),
            (Line::Sent(sent), Some(run)) => {
                replayed.sends += 1;
                replayed.claims += u64::from(sent.claim.is_some());
                run.send(&sent)
            }
            (Line::Decided(slot), Some(run)) => {
                replayed.decided += 1;
                run.decide(slot)
            }
            (Line::Applied(slot), Some(run)) => {
                replayed.applied += 1;
                run.apply(slot)
            }
            (Line::Installed(below), Some(run)) => {
                run.decided = run.decided.max(below);
                run.applied = run.applied.max(below);
                Ok(())
            }
        }
    }
}

impl Run {
    /// The node starts again: what was recorded and not synced may be there or not; what was synced
    /// is, unless this is another store.
    fn after(before: Option<&Run>, started: Started) -> Result<Run, (Rule, String)> {
        let run = Run::of(started);
        let Some(before) = before else { return Ok(run) };
        if before.node != run.node {
            let (one, other) = (before.node.0, run.node.0);
            return Err((Rule::Restarts, format!("node {other} starts, in that of node {one}")));
        }
        let is_same = before.incarnation == run.incarnation;
        match before.disk.lost(&run.disk).filter(|_| is_same) {
            Some(lost) => Err((Rule::Restarts, format!("it has lost {lost}"))),
            None => Ok(run),
        }
    }

    fn of(started: Started) -> Run {
        let Started { node, incarnation, promised, chain, mark, pledges, incarnations, applied } =
            started;
        let stores = incarnations.into_iter().collect();
        Run {
            node,
            incarnation,
            disk: Disk { promised, chain, mark, pledges, stores },
            waiting: VecDeque::new(),
            recorded: 0,
            synced: 0,
            // A snapshot may be ahead of the log: it takes its place.
            decided: applied,
            applied,
        }
    }

    fn record(&mut self, number: u64, written: Written) -> Verdict {
        if number != self.recorded {
            let why = format!("record {number} follows {} others", self.recorded);
            return Err((Rule::Numbers, why));
        }
        self.recorded += 1;
        self.waiting.push_back(written);
        Ok(())
    }

    fn sync(&mut self, records: u64) -> Verdict {
        if records < self.synced || records > self.recorded {
            let (recorded, synced) = (self.recorded, self.synced);
            let why = format!("{records} records are synced, of {recorded}; {synced} were already");
            return Err((Rule::Numbers, why));
        }
        let arrived = self.waiting.drain(..(records - self.synced) as usize);
        arrived.for_each(|written| self.disk.take(written));
        self.synced = records;
        Ok(())
    }

    fn send(&self, sent: &Sent) -> Verdict {
        match &sent.claim {
            Some(claim) if !claim.rests_on(&self.disk) => {
                let (to, kind, waiting) = (sent.to.0, &sent.kind, self.waiting.len());
                let (claimed, held) = (words(claim), self.disk.words());
                let why = format!(
                    "{kind} to node {to} claims {claimed}; the disk holds {held}, and {waiting} \
                     records are on their way"
                );
                Err((Rule::PersistBeforeSend, why))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn decide(&mut self, slot: Slot) -> Verdict {
        if slot != self.decided {
            let why = format!("slot {slot} is decided, but {} is the next", self.decided);
            return Err((Rule::Decisions, why));
        }
        self.decided = slot.next();
        Ok(())
    }

    fn apply(&mut self, slot: Slot) -> Verdict {
        let (next, decided) = (self.applied, self.decided);
        if slot != next || slot >= decided {
            let why = format!(
                "slot {slot} is applied, but {next} is the next, and {decided} are decided"
            );
            return Err((Rule::Applications, why));
        }
        self.applied = slot.next();
        Ok(())
    }
}

impl Disk {
    fn take(&mut self, written: Written) {
        match written {
            Written::Promised(ballot) => {
                self.pledges += 1;
                self.promised = self.promised.max(Some(ballot));
            }
            Written::Accepted { ballot, after, first: _, end } => {
                self.pledges += 1;
                self.promised = self.promised.max(Some(ballot));
                let earlier = self.chain.filter(|it| it.ballot == ballot && it.end == after);
                let from = earlier.map_or(after, |chain| chain.from);
                self.chain = Some(Chain { ballot, from, end });
            }
            Written::Learned { first: _, end: mark } | Written::Decided(mark) => {
                self.mark = self.mark.max(mark);
            }
            Written::Incarnation(node, store)
            | Written::Heard(node, store, _)
            | Written::Moved(node, store) => self.meet(node, store),
            Written::Testified(node, store) => {
                self.pledges += 1;
                self.meet(node, store);
            }
            Written::Trimmed { below: _, mark, promised, chain, incarnations } => {
                self.mark = self.mark.max(mark);
                self.promised = self.promised.max(promised);
                self.chain = chain;
                incarnations.into_iter().for_each(|(node, store)| self.meet(node, store));
            }
            Written::Standing { pledges, votes: _ } => self.pledges = pledges,
            Written::Imported { promised, chain, slots: _ } => {
                self.pledges += 1;
                self.promised = self.promised.max(promised);
                self.chain = chain;
            }
        }
    }

    fn meet(&mut self, node: NodeId, store: Incarnation) {
        let known = self.stores.entry(node).or_insert(store);
        *known = store.max(*known);
    }

    /// What another does not hold of this one. A decided mark may fall, and a chain be shorter,
    /// where a log was damaged and mended; the number of pledges tells of everything else.
    fn lost(&self, found: &Disk) -> Option<String> {
        let voted_in = |disk: &Disk| disk.chain.map(|chain| chain.ballot);
        let is_older =
            |(node, store): (&NodeId, &Incarnation)| found.stores.get(node) < Some(store);
        let is_less = found.promised < self.promised
            || found.pledges < self.pledges
            || voted_in(found) < voted_in(self)
            || self.stores.iter().any(is_older);
        is_less.then(|| format!("some of {}: it finds {}", self.words(), found.words()))
    }

    fn words(&self) -> String {
        words(&Claim {
            promised: self.promised,
            mark: self.mark,
            voted: self.chain,
            pledges: self.pledges,
            met: None,
        })
    }
}

impl Ground for Disk {
    fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    fn mark(&self) -> Slot {
        self.mark
    }

    fn chain(&self) -> Option<Chain> {
        self.chain
    }

    fn pledges(&self) -> u64 {
        self.pledges
    }

    fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.stores.get(&node).copied()
    }
}

fn words(claim: &Claim) -> String {
    let Claim { promised, mark, voted, pledges, met } = claim;
    let promised = promised.map_or("nothing".to_owned(), |ballot| ballot.to_string());
    let voted = voted.map_or("none".to_owned(), refuted::chain);
    let met = met
        .map_or(String::new(), |(node, store)| format!(", store {} of node {}", store.0, node.0));
    format!("promise {promised}, mark {mark}, runs {voted}, {pledges} pledges{met}")
}
