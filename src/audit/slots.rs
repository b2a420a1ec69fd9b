//! All logs, slot by slot: who accepted what in which ballot, and what counts as decided.
//!
//! Every vote counts that a record still tells of, not only the one that stands: a majority decides
//! whatever is accepted later. What nobody tells of may have been a vote where a log was trimmed,
//! or where a store is not given.

use std::collections::HashMap;

use super::Invariant;
use super::ledger::Ledger;
use super::refuted::{Exhibit, Refuted, value};
use crate::paxos::{Ballot, ClientId, Command, PValue, Record, RequestNumber, Slot};

/// What is known of the slots below the highest decided mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// How many there are.
    pub decided: u64,
    /// How many a majority accepted in one ballot, as the records tell.
    pub proved: u64,
    /// How many may lack a majority or not: votes could lie where nothing is known.
    pub undecided: u64,
    /// Of these, how many are trimmed from a log.
    pub trimmed: u64,
    /// Of these, how many lack a vote that may be lost: with a store, or by damage.
    pub lost: u64,
    /// Of these, how many lack a store that is not given.
    pub absent: u64,
    /// Acceptances that were compared: one for a slot and a record.
    pub votes: u64,
    /// Requests that were decided in slots that a log holds.
    pub requests: u64,
}

/// Holds all logs against each other. `decided`: every slot below counts as decided somewhere.
pub(super) fn sweep(
    ledgers: &[&Ledger<'_>],
    members: u16,
    decided: Slot,
) -> Result<Slots, Refuted> {
    let mut pieces = pieces(ledgers);
    pieces.sort_by_key(|piece| piece.first);
    let found = Slots { decided: decided.0, ..Slots::default() };
    let (members, requests) = (u32::from(members), HashMap::new());
    let mut sweep = Sweep { ledgers, members, decided, found, requests };
    let (mut slot, mut ahead, mut here) = (Slot(0), pieces.iter().peekable(), Vec::new());
    loop {
        while let Some(piece) = ahead.next_if(|piece| piece.first <= slot) {
            here.push(piece);
        }
        here.retain(|piece: &&Piece<'_>| slot < piece.end());
        if !here.is_empty() {
            sweep.slot(slot, &here)?;
            slot = slot.next();
            continue;
        }
        let first = ahead.peek().map(|piece| piece.first);
        let next = first.unwrap_or(decided.max(slot));
        sweep.silent(slot, next)?;
        if first.is_none() {
            return Ok(sweep.found);
        }
        slot = next;
    }
}

/// Contiguous slots in one record.
struct Piece<'a> {
    /// Which ledger, and which of its records.
    ledger: usize,
    at: usize,
    /// In which ballot they were accepted; `None` if they were learned.
    ballot: Option<Ballot>,
    /// Whether it is a vote: what a new store takes over below its promise is none.
    is_vote: bool,
    first: Slot,
    commands: &'a [Command],
}

impl Piece<'_> {
    fn end(&self) -> Slot {
        self.first.plus(self.commands.len() as u64)
    }

    fn command(&self, slot: Slot) -> &Command {
        &self.commands[slot.since(self.first) as usize]
    }
}

fn pieces<'a>(ledgers: &[&Ledger<'a>]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for (ledger, its) in ledgers.iter().enumerate() {
        for (at, (_, record)) in its.records().iter().enumerate() {
            match record {
                Record::Accepted(run) => {
                    let (ballot, commands) = (Some(run.ballot), run.commands.as_slice());
                    let (is_vote, first) = (true, run.first);
                    pieces.push(Piece { ledger, at, ballot, is_vote, first, commands });
                }
                Record::Learned { first, commands } => {
                    let (ballot, is_vote, first) = (None, false, *first);
                    pieces.push(Piece { ledger, at, ballot, is_vote, first, commands });
                }
                Record::Imported { promised, accepted, .. } => {
                    pieces.extend(accepted.iter().map(|PValue { ballot, slot, command }| {
                        let (ballot, first) = (Some(*ballot), *slot);
                        let commands = std::slice::from_ref(command);
                        Piece { ledger, at, ballot, is_vote: ballot >= *promised, first, commands }
                    }));
                }
                Record::Promised(_)
                | Record::Decided(_)
                | Record::Incarnation { .. }
                | Record::Trimmed { .. }
                | Record::Standing { .. }
                | Record::Heard { .. }
                | Record::Moved { .. }
                | Record::Testified { .. }
                | Record::Lost { .. } => (),
            }
        }
    }
    pieces
}

/// What one ballot has in a slot, and who accepted it.
struct Tally<'p> {
    ballot: Ballot,
    command: &'p Command,
    /// A bit for each ledger.
    voters: u64,
    first: &'p Piece<'p>,
}

struct Sweep<'l, 'a> {
    ledgers: &'l [&'l Ledger<'a>],
    members: u32,
    decided: Slot,
    found: Slots,
    /// Where each request was decided.
    requests: HashMap<(ClientId, RequestNumber), Slot>,
}

impl<'l> Sweep<'l, '_> {
    /// A slot of which some record tells.
    fn slot(&mut self, slot: Slot, here: &[&Piece<'_>]) -> Result<(), Refuted> {
        let tallies = self.tally(slot, here)?;
        let decided = self.value(slot)?;
        self.binds(slot, here, &tallies, decided)?;
        if slot < self.decided {
            let command = decided.map(|(_, command)| command);
            let votes =
                tallies.iter().filter(|it| command.is_none_or(|command| command == it.command));
            let masks: Vec<u64> = votes.map(|tally| tally.voters).collect();
            self.majority(slot, &masks, here, 1)?;
            if let Some((ledger, Command::Request(request))) = decided {
                self.once(slot, ledger, (request.client, request.number))?;
            }
        }
        Ok(())
    }

    /// Slots of which no record tells.
    fn silent(&mut self, from: Slot, to: Slot) -> Result<(), Refuted> {
        let mut slot = from;
        let to = to.min(self.decided);
        while slot < to {
            let ends = self.ledgers.iter().flat_map(|it| [it.trimmed(), it.unknown_below()]);
            let next = ends.filter(|end| *end > slot).chain([to]).min().unwrap_or(to);
            self.majority(slot, &[], &[], next.since(slot))?;
            slot = next;
        }
        Ok(())
    }

    /// What each ballot has: one value (A4).
    fn tally<'p>(&mut self, slot: Slot, here: &[&'p Piece<'p>]) -> Result<Vec<Tally<'p>>, Refuted> {
        let mut tallies: Vec<Tally<'p>> = Vec::new();
        for piece in here {
            let Some(ballot) = piece.ballot else { continue };
            let (command, voter) = (piece.command(slot), u64::from(piece.is_vote) << piece.ledger);
            self.found.votes += u64::from(piece.is_vote);
            match tallies.iter_mut().find(|tally| tally.ballot == ballot) {
                None => tallies.push(Tally { ballot, command, voters: voter, first: piece }),
                Some(tally) if tally.command == command => tally.voters |= voter,
                Some(tally) => {
                    let why = format!("ballot {ballot} has two values in slot {slot}");
                    let exhibits = vec![self.exhibit(tally.first, slot), self.exhibit(piece, slot)];
                    return Err(Refuted { invariant: Invariant::A4, why, exhibits });
                }
            }
        }
        tallies.sort_by_key(|tally| tally.ballot);
        Ok(tallies)
    }

    /// What counts as decided, and in which ledger first (R1: the same in all).
    fn value(&self, slot: Slot) -> Result<Option<(usize, &'l Command)>, Refuted> {
        let mut first: Option<(usize, &Command)> = None;
        for (at, ledger) in self.ledgers.iter().enumerate() {
            if slot < ledger.trimmed() || ledger.mark() <= slot {
                continue;
            }
            let Some(vote) = ledger.state().vote(slot) else { continue };
            let Some((one, command)) = first else {
                first = Some((at, &vote.command));
                continue;
            };
            if *command != vote.command {
                let why = format!(
                    "slot {slot} is decided twice: {} and {}",
                    value(slot, command),
                    value(slot, &vote.command)
                );
                let exhibits = [one, at].map(|at| self.ledgers[at].decision(slot)).concat();
                return Err(Refuted { invariant: Invariant::R1, why, exhibits });
            }
        }
        Ok(first)
    }

    /// What a majority accepted is what is decided, and what every later ballot has (A5).
    fn binds(
        &self,
        slot: Slot,
        here: &[&Piece<'_>],
        tallies: &[Tally<'_>],
        decided: Option<(usize, &Command)>,
    ) -> Result<(), Refuted> {
        let Some(bound) = tallies.iter().position(|tally| self.is_majority(tally.voters)) else {
            return Ok(());
        };
        let Tally { ballot, command, .. } = &tallies[bound];
        let what = value(slot, command);
        let votes = |ballot: Ballot| here.iter().filter(move |it| it.ballot == Some(ballot));
        let mut exhibits: Vec<Exhibit> =
            votes(*ballot).map(|piece| self.exhibit(piece, slot)).collect();
        if let Some(later) = tallies[bound..].iter().find(|later| later.command != *command) {
            let (other, has) = (later.ballot, value(slot, later.command));
            let why = format!(
                "a majority accepted {what} in slot {slot} in ballot {ballot}, but ballot {other} \
                 has {has}"
            );
            exhibits.push(self.exhibit(later.first, slot));
            return Err(Refuted { invariant: Invariant::A5, why, exhibits });
        }
        match decided {
            Some((ledger, other)) if other != *command => {
                let why = format!(
                    "a majority accepted {what} in slot {slot} in ballot {ballot}, but {} is \
                     decided there",
                    value(slot, other)
                );
                exhibits.extend(self.ledgers[ledger].decision(slot));
                Err(Refuted { invariant: Invariant::R1, why, exhibits })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a majority accepted these slots, `votes` being those of each ballot that may have
    /// decided them.
    fn majority(
        &mut self,
        slot: Slot,
        votes: &[u64],
        here: &[&Piece<'_>],
        slots: u64,
    ) -> Result<(), Refuted> {
        let (mut trimmed, mut unknown) = (0_u64, 0_u64);
        for (at, ledger) in self.ledgers.iter().enumerate() {
            trimmed |= u64::from(slot < ledger.trimmed()) << at;
            unknown |= u64::from(slot < ledger.unknown_below()) << at;
        }
        let absent = self.members - self.ledgers.len() as u32;
        if votes.iter().any(|voters| self.is_majority(*voters)) {
            self.found.proved += slots;
            return Ok(());
        }
        let possible = votes.iter().map(|voters| voters | unknown).chain([unknown]);
        let most = possible.map(|voters| voters.count_ones() + absent).max().unwrap_or(absent);
        if most * 2 > self.members {
            self.found.undecided += slots;
            self.found.trimmed += if trimmed == 0 { 0 } else { slots };
            self.found.lost += if unknown == trimmed { 0 } else { slots };
            self.found.absent += if absent == 0 { 0 } else { slots };
            return Ok(());
        }
        let best = votes.iter().map(|voters| voters.count_ones()).max().unwrap_or(0);
        let why = format!(
            "slot {slot} is decided, but {best} of {} members accepted its value in one ballot, \
             and no others can have",
            self.members
        );
        let claims = self.ledgers.iter().find(|it| it.mark() > slot).map(|it| it.decision(slot));
        let told = here.iter().filter(|piece| piece.ballot.is_some());
        let mut exhibits: Vec<Exhibit> = told.map(|piece| self.exhibit(piece, slot)).collect();
        for claim in claims.unwrap_or_default() {
            if !exhibits.contains(&claim) {
                exhibits.push(claim);
            }
        }
        Err(Refuted { invariant: Invariant::Majority, why, exhibits })
    }

    fn once(
        &mut self,
        slot: Slot,
        ledger: usize,
        request: (ClientId, RequestNumber),
    ) -> Result<(), Refuted> {
        self.found.requests += 1;
        let Some(first) = self.requests.insert(request, slot) else { return Ok(()) };
        let (client, number) = request;
        let why = format!("request {number} of {client} is decided in slots {first} and {slot}");
        let holds = |it: &&&Ledger<'_>| it.trimmed() <= first && first < it.mark();
        let one = self.ledgers.iter().find(holds).map(|it| it.decision(first));
        let exhibits = [one.unwrap_or_default(), self.ledgers[ledger].decision(slot)].concat();
        Err(Refuted { invariant: Invariant::Once, why, exhibits })
    }

    fn is_majority(&self, voters: u64) -> bool {
        voters.count_ones() * 2 > self.members
    }

    fn exhibit(&self, piece: &Piece<'_>, slot: Slot) -> Exhibit {
        self.ledgers[piece.ledger].exhibit(piece.at, Some(slot))
    }
}
