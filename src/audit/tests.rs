//! Ledgers made by hand: such that nothing is wrong with, and others (`broken`) with one violation
//! each.

mod broken;

use bytes::Bytes;

use super::*;
use crate::paxos::testing::ballot;
use crate::paxos::{
    AcceptorState, Ballot, Chain, ClientId, Command, Digest, Incarnation, NodeId, PValue, Record,
    Request, RequestNumber, Run, Slot,
};
use crate::rsm::{MemoryShelf, Shelf};
use crate::services::chat::Message;

/// Of each node it is the store of this incarnation that is audited.
const STORE: u64 = 7;

/// Request `number` of one client, which says its number.
fn said(number: u64) -> Command {
    let message = Message { sender: "ann".into(), text: number.to_string().into() };
    Command::Request(Request {
        client: ClientId(1 << 96),
        number: RequestNumber(number),
        low_water: RequestNumber(1),
        ttl_ms: 0,
        time_ms: 0,
        body: message.encode(),
    })
}

fn promised(round: u64, node: u16) -> Record {
    Record::Promised(ballot(round, node))
}

/// A run from slot `first` on, of the requests of these numbers; 0 is a no-op.
fn run(round: u64, node: u16, after: u64, first: u64, numbers: &[u64]) -> Record {
    let value = |number: &u64| if *number == 0 { Command::Noop } else { said(*number) };
    let commands = numbers.iter().map(value).collect();
    let (ballot, after, first) = (ballot(round, node), Slot(after), Slot(first));
    Record::Accepted(Run { ballot, after, first, commands })
}

fn learned(first: u64, numbers: &[u64]) -> Record {
    let commands = numbers.iter().map(|number| said(*number)).collect();
    Record::Learned { first: Slot(first), commands }
}

fn decided(mark: u64) -> Record {
    Record::Decided(Slot(mark))
}

fn met(node: u16, incarnation: u64) -> Record {
    Record::Incarnation { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

fn heard(node: u16, incarnation: u64, pledges: u64) -> Record {
    Record::Heard { node: NodeId(node), incarnation: Incarnation(incarnation), pledges }
}

fn testified(node: u16, incarnation: u64) -> Record {
    Record::Testified { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

fn standing(pledges: u64, votes: bool) -> Record {
    Record::Standing { pledges, votes }
}

/// What others testified to: requests that were accepted in a round of node 0, at slots.
fn imported(promised: Option<Ballot>, accepted: &[(u64, u64, u64)]) -> Record {
    let pvalue = |(round, slot, number): &(u64, u64, u64)| PValue {
        ballot: ballot(*round, 0),
        slot: Slot(*slot),
        command: said(*number),
    };
    let accepted: Vec<PValue> = accepted.iter().map(pvalue).collect();
    let chain = accepted.last().map(|last| Chain {
        ballot: last.ballot,
        from: Slot(0),
        end: last.slot.next(),
    });
    Record::Imported { promised, chain, accepted }
}

/// The trim that an acceptor writes after these records.
fn trim(after: &[Record], below: u64) -> Vec<Record> {
    AcceptorState::replay(after.to_vec()).trim(Slot(below))
}

/// These records, and a trim of them.
fn trimmed(records: Vec<Record>, below: u64) -> Vec<Record> {
    let trim = trim(&records, below);
    [records, trim].concat()
}

/// A store: its records, the first of this number, each a commit of its own but for those of a
/// trim; and its archive.
#[derive(Clone, Debug)]
struct Store {
    records: Vec<(u64, Record)>,
    archive: MemoryShelf,
    applied: Slot,
    snapshots: Vec<(Slot, Bytes)>,
    hash: u64,
}

impl Store {
    /// A store whose archive is what its log led to.
    fn of(first: u64, records: &[Record]) -> Store {
        let state = AcceptorState::replay(records.to_vec());
        let mut archive = MemoryShelf::default();
        for (slot, vote) in state.votes(Slot(0)).take_while(|(slot, _)| *slot < state.mark()) {
            if let Command::Request(request) = &vote.command {
                archive.append(&[(slot, request.body.clone())]).expect("memory takes all");
            }
        }
        let (mut numbered, mut trim) = (Vec::new(), None);
        for (number, record) in (first..).zip(records.iter().cloned()) {
            if matches!(record, Record::Trimmed { .. }) {
                trim = Some(number);
            }
            let is_last = matches!(record, Record::Standing { .. });
            numbered.push((trim.unwrap_or(number), record));
            trim = trim.filter(|_| !is_last);
        }
        let records = numbered;
        let (applied, snapshots) = (state.mark(), Vec::new());
        Store { records, archive, applied, snapshots, hash: applied.0 }
    }

    /// The same, with an archive that says this of each slot below.
    fn archived(mut self, numbers: &[u64]) -> Store {
        self.archive = MemoryShelf::default();
        for (slot, number) in (0..).map(Slot).zip(numbers) {
            if let Command::Request(request) = said(*number) {
                self.archive.append(&[(slot, request.body)]).expect("memory takes all");
            }
        }
        self.applied = Slot(numbers.len() as u64);
        self.hash = self.applied.0;
        self
    }
}

/// Audits the stores of nodes 0, 1, .. of so many members, called a, b, ..
fn audit(members: u16, stores: &[Store], lines: &[&str]) -> Result<Proof, Refuted> {
    let mut books = Vec::new();
    for ((node, name), store) in (0..).zip('a'..).zip(stores) {
        let id = (NodeId(node), Incarnation(STORE));
        let ledger = Ledger::read(&name.to_string(), id, &store.records)?;
        books.push(Book {
            ledger,
            archive: &store.archive,
            is_whole: true,
            applied: store.applied,
            digest: Digest { slot: store.applied, hash: store.hash },
            snapshots: store.snapshots.clone(),
        });
    }
    let told = |(place, line): (u64, &&str)| Acknowledged {
        slot: Slot(line.split(' ').next().and_then(|slot| slot.parse().ok()).expect("a slot")),
        line: (*line).to_owned(),
        place,
    };
    compare(members, &books, (1..).zip(lines).map(told).collect()).map_err(|failed| match failed {
        Failed::Refuted(refuted) => refuted,
        Failed::Shelf(_) | Failed::Replaced { .. } => panic!("{failed}"),
    })
}

fn logs(logs: &[&[Record]]) -> Vec<Store> {
    logs.iter().map(|records| Store::of(0, records)).collect()
}

/// Three stores that agree: the first led, the third was away and learned.
fn clean() -> Vec<Store> {
    let led = [promised(0, 0), met(1, 7), run(0, 0, 0, 0, &[1, 2]), decided(1)];
    let more = [run(0, 0, 2, 2, &[0, 3]), decided(4)];
    let next = [promised(1, 1), decided(4), run(1, 1, 4, 4, &[4])];
    logs(&[
        &[&led[..], &more[..], &next[..]].concat(),
        &[&[run(0, 0, 0, 0, &[1, 2]), met(0, 7)][..], &more[..], &next[..], &[decided(5)]].concat(),
        &[learned(0, &[1, 2]), promised(1, 1)],
    ])
}

/// Red if an invariant refutes what is lawful, or counts what it did not look at.
#[test]
fn what_is_lawful_is_proved() {
    let lines = ["4 ann: 4", "0 ann: 1", "3 ann: 3"];
    let proof = audit(3, &clean(), &lines).expect("nothing is wrong");
    let slots = Slots { decided: 5, proved: 5, votes: 10, requests: 4, ..Slots::default() };
    assert_eq!((proof.slots, proof.entries, proof.acknowledged), (slots, 4, 3));
    let read = Read { records: 19, promises: 4, runs: 6, unfollowed: 0, trims: 0 };
    assert_eq!((proof.read, proof.stores, proof.states), (read, 3, 0));
}

/// Red if an absent or a trimmed store counts as one that has not accepted, or as one that has.
#[test]
fn what_cannot_be_known_is_counted() {
    let two = audit(3, &clean()[..1], &[]).expect("the others may have voted");
    let absent =
        Slots { decided: 4, undecided: 4, absent: 4, votes: 5, requests: 3, ..Slots::default() };
    assert_eq!(two.slots, absent);
    let records = [run(0, 0, 0, 0, &[1, 2]), decided(2), run(0, 0, 2, 2, &[3]), decided(3)];
    let whole = Store::of(0, &records);
    let cut = |records: &[Record]| Store::of(5, records).archived(&[1, 2, 3]);
    let cut = cut(&[&records[2..], &trim(&records, 2)].concat());
    let other = audit(3, &[whole.clone(), cut.clone(), Store::of(0, &[])], &["0 ann: 1"]);
    let trimmed = Slots {
        decided: 3,
        proved: 1,
        undecided: 2,
        trimmed: 2,
        votes: 4,
        requests: 3,
        ..Slots::default()
    };
    let other = other.expect("the log that was cut may have held the second vote");
    assert_eq!((other.slots, other.read.unfollowed), (trimmed, 1));
    let learned = Store::of(0, &[learned(0, &[1, 2, 3])]);
    let one_of_five = [whole, cut, learned.clone(), learned, Store::of(0, &[])];
    let refuted = audit(5, &one_of_five, &[]).expect_err("no third of five has accepted slot 0");
    assert_eq!(refuted.invariant, Invariant::Majority, "{refuted}");
}

/// Red if a lost store counts as one that has not voted, or the new one's word above what it took
/// over is not believed; or if what is taken over below the promise is a vote.
#[test]
fn a_lost_store_may_have_voted_below_what_the_new_one_took_over() {
    let led = [run(0, 0, 0, 0, &[1]), decided(1)];
    let born = || vec![standing(0, false), learned(0, &[1])];
    let with = |more: Record| [born(), vec![more]].concat();
    let took_over =
        |round: u64| vec![standing(0, false), imported(Some(ballot(round, 0)), &[(0, 0, 1)])];
    let known = Slots { decided: 1, votes: 1, requests: 1, ..Slots::default() };
    let open = Slots { undecided: 1, lost: 1, ..known };
    let proved = Slots { proved: 1, votes: 2, ..known };
    let cases = [
        ("it does not vote yet", born(), open),
        ("it took over the mark alone", with(imported(None, &[])), open),
        ("it took over a vote", took_over(0), proved),
        ("it has promised more since", took_over(1), open),
    ];
    for (what, new, slots) in cases {
        let proof = audit(3, &logs(&[&led, &new, &[]]), &[]).expect(what);
        assert_eq!(proof.slots, slots, "{what}");
    }
    let later = [run(0, 0, 0, 0, &[1]), run(0, 0, 1, 1, &[2]), decided(2)];
    let new = with(imported(Some(ballot(0, 0)), &[]));
    let refuted = audit(3, &logs(&[&later, &new, &[]]), &[]).expect_err("slot 1 came later");
    assert_eq!(refuted.invariant, Invariant::Majority, "{refuted}");
}

/// A log that was damaged, mended, and then trimmed up to the middle of what was lost.
///
/// Red if its hole is refuted, or its lost vote for slot 2 counts as none; if what it learns once
/// more tells that it has not voted; or if that is so of what it has accepted since.
#[test]
fn what_damage_has_taken_may_have_been_a_vote() {
    let led = [run(0, 0, 0, 0, &[1, 2, 3]), decided(3), run(0, 0, 3, 3, &[4]), decided(4)];
    let trimmed = trim(&led, 2);
    let again = [trimmed.clone(), vec![learned(2, &[3])]].concat();
    let since = [again.clone(), vec![run(0, 0, 4, 4, &[5]), decided(5)]].concat();
    let whole = Store::of(0, &[&led[..], &[run(0, 0, 4, 4, &[5]), decided(5)]].concat());
    let audited = |mended: &[Record]| {
        let mut store = Store::of(7, mended).archived(&[1, 2]);
        store.applied = Slot(2);
        audit(3, &[whole.clone(), store, Store::of(0, &[])], &["2 ann: 3"])
    };
    let slots = audited(&since).expect("nothing is wrong").slots;
    let counts = (slots.proved, slots.undecided, slots.trimmed, slots.lost);
    assert_eq!(counts, (1, 4, 2, 2), "{slots:?}");
    for hidden in [&trimmed, &again] {
        let refuted = audited(hidden).expect_err("slot 4 came after the damage");
        assert_eq!(refuted.invariant, Invariant::Majority, "{refuted}");
    }
}

/// Red if a trim is held to what only the damaged part of its log tells of.
#[test]
fn damage_before_a_trim_is_none_of_its_faults() {
    let (early, late) = (heard(1, 6, 5), heard(1, 6, 6));
    let vote = run(0, 0, 0, 0, &[1]);
    let records = [met(1, 6), early, vote, decided(1), late, run(0, 0, 1, 1, &[2])];
    let (ballot, pledges) = (Some(ballot(0, 0)), 1);
    let lost = Record::Lost { below: Slot(1), promised: None, accepted_in: ballot, pledges };
    let mut whole = trimmed(records.to_vec(), 1);
    whole.splice(2..5, [lost]);
    let store = Store::of(0, &whole).archived(&[1]);
    let proof = audit(3, &[store], &[]);
    let open = Slots { decided: 1, undecided: 1, votes: 1, ..Slots::default() };
    let slots = Slots { trimmed: 1, absent: 1, ..open };
    assert_eq!(proof.map(|proof| proof.slots), Ok(slots));
}

/// Red if a store counts whose node is known to have a newer one.
#[test]
fn a_store_that_was_replaced_is_not_audited() {
    let (older, newer) = ([], [(0, met(0, STORE + 1))]);
    let shelf = MemoryShelf::default();
    let book = |name: &str, node, records| Book {
        ledger: Ledger::read(name, (NodeId(node), Incarnation(STORE)), records).expect("lawful"),
        archive: &shelf,
        is_whole: true,
        applied: Slot(0),
        digest: Digest { slot: Slot(0), hash: 0 },
        snapshots: Vec::new(),
    };
    let failed = compare(3, &[book("old", 0, &older), book("b", 1, &newer)], Vec::new());
    let said = failed.expect_err("replaced").to_string();
    assert_eq!(said, "old: node 0, by what b says, has a newer store: give that one");
}
