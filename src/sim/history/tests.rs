//! Both checkers on the same histories: a table of those that must pass or be refused, random ones
//! of a real object that must pass, and the same with one thing exchanged.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::super::linear::{Verdict, WIDTH_MAX};
use super::super::witness::Contradiction;
use super::*;

/// Who says that a history cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caught {
    Nobody,
    Witness,
    Both,
}

fn append(number: u64, body: &str) -> Ask {
    Ask::Append { number: RequestNumber(number), body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn reply(body: &str) -> Told {
    Told::Reply(Bytes::copy_from_slice(body.as_bytes()))
}

fn seen(lines: &[&str]) -> Told {
    Told::Seen(lines.iter().fold(Seen::default(), |seen, line| seen.and(line.as_bytes())))
}

/// A history in the making; operations go by the line they append, reads by a name of their own.
#[derive(Default)]
struct Script {
    history: History<Ledger>,
    names: BTreeMap<&'static str, OpId>,
    now: u64,
}

impl Script {
    fn ask(mut self, client: u128, name: &'static str, ask: Ask) -> Script {
        self.now += 10;
        self.names.insert(name, self.history.invoke(ClientId(client), self.now, ask));
        self
    }

    fn write(self, client: u128, line: &'static str) -> Script {
        self.ask(client, line, append(1, line))
    }

    fn read(self, client: u128, name: &'static str) -> Script {
        self.ask(client, name, Ask::Read)
    }

    fn told(mut self, name: &str, at: u64, told: Told) -> Script {
        self.now += 10;
        self.history.answer(self.names[name], self.now, Slot(at), told);
        self
    }

    fn written(self, line: &str, slot: u64) -> Script {
        self.told(line, slot, reply(line))
    }

    fn saw(self, name: &str, lines: &[&str]) -> Script {
        self.told(name, lines.len() as u64, seen(lines))
    }

    fn decided(mut self, line: &str, slot: u64) -> Script {
        self.history.decided(self.names[line], Slot(slot));
        self
    }

    /// Begins and ends before anything else does.
    fn wrote(self, client: u128, line: &'static str, slot: u64) -> Script {
        self.write(client, line).written(line, slot)
    }

    fn looked(self, client: u128, name: &'static str, lines: &[&str]) -> Script {
        self.read(client, name).saw(name, lines)
    }
}

fn script() -> Script {
    Script::default()
}

fn is_linear(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Linear { .. })
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused { .. })
}

#[track_caller]
fn judged(case: &str, script: &Script, caught: Caught) {
    let witness = script.history.check_witness(Ledger::default());
    let search = script.history.check_linear(Ledger::default());
    assert_eq!(witness.is_err(), caught != Caught::Nobody, "{case}: {witness:?}");
    assert_eq!(is_refused(&search), caught == Caught::Both, "{case}: {search:?}");
    assert_eq!(is_linear(&search), caught != Caught::Both, "{case}: {search:?}");
}

#[test]
fn what_a_log_can_do_passes() {
    let cases = [
        ("nothing", script()),
        ("one after the other", script().wrote(1, "a", 0).looked(2, "r", &["a"]).wrote(2, "b", 1)),
        ("holes in the log", {
            script().wrote(1, "a", 3).read(2, "r").told("r", 7, seen(&["a"])).wrote(2, "b", 7)
        }),
        ("a read beside a write sees it", {
            script().write(1, "a").read(2, "r").saw("r", &["a"]).written("a", 0)
        }),
        ("or does not", script().write(1, "a").read(2, "r").saw("r", &[]).written("a", 0)),
        ("two at once, the later first", {
            let both = script().write(1, "a").write(2, "b").written("a", 1).written("b", 0);
            both.looked(3, "r", &["b", "a"])
        }),
        ("readers at once, the later sees less", {
            let both = script().write(1, "a").read(2, "r").read(3, "s");
            both.saw("r", &["a"]).saw("s", &[]).written("a", 0)
        }),
        ("an open write that nobody sees", script().write(1, "a").looked(2, "r", &[])),
        ("an open write that is seen late", {
            let early = script().write(1, "a").looked(2, "r", &[]).wrote(2, "b", 0);
            early.looked(2, "s", &["b", "a"]).decided("a", 1)
        }),
        ("an open write decided at the very end", {
            script().write(1, "a").wrote(2, "b", 0).looked(2, "r", &["b"]).decided("a", 1)
        }),
        ("an open read", script().read(1, "r").wrote(2, "a", 0)),
        ("the same answer twice", script().wrote(1, "a", 0).written("a", 0).decided("a", 0)),
        ("a read sent twice", {
            script().read(1, "r").saw("r", &[]).wrote(2, "a", 0).saw("r", &["a"])
        }),
        ("a session's writes in flight together", {
            let two = script().write(1, "a").write(1, "b").written("b", 1).written("a", 0);
            two.looked(1, "r", &["a", "b"])
        }),
    ];
    for (case, script) in &cases {
        judged(case, script, Caught::Nobody);
    }
}

#[test]
fn what_no_log_does_is_refused() {
    let cases = [
        ("a stale read", script().wrote(1, "a", 0).looked(2, "r", &[])),
        ("a read from the future", script().looked(2, "r", &["a"]).wrote(1, "a", 0)),
        ("going back between two reads", {
            let seen = script().write(1, "a").looked(2, "r", &["a"]).looked(3, "s", &[]);
            seen.written("a", 0)
        }),
        // Cassandra-12126, scylladb#6299.
        ("an unanswered write seen, then not", {
            script().write(1, "a").looked(2, "r", &["a"]).looked(3, "s", &[]).decided("a", 0)
        }),
        ("the same, though a later write buries it", {
            let seen = script().write(1, "a").looked(2, "r", &["a"]).wrote(2, "b", 0);
            seen.looked(3, "s", &["b"])
        }),
        ("an effect twice", script().wrote(1, "a", 0).looked(2, "r", &["a", "a"])),
        ("an acknowledged write lost", {
            script().wrote(1, "a", 0).wrote(1, "b", 1).looked(2, "r", &["b"])
        }),
        ("the reply of another session", {
            let two = script().write(1, "a").write(2, "b");
            two.told("a", 0, reply("b")).told("b", 1, reply("b"))
        }),
        ("an order that contradicts real time", {
            script().wrote(1, "a", 1).wrote(2, "b", 0).looked(3, "r", &["b", "a"])
        }),
        ("two readers, two orders", {
            let two = script().write(1, "a").write(2, "b").read(3, "r").read(4, "s");
            let told = two.saw("r", &["a", "b"]).saw("s", &["b", "a"]);
            told.written("a", 0).written("b", 1)
        }),
        ("seen by one of two readers at once, later by neither", {
            let two = script().write(1, "a").read(2, "r").read(3, "s");
            two.saw("r", &["a"]).saw("s", &[]).looked(2, "t", &[])
        }),
    ];
    for (case, script) in &cases {
        judged(case, script, Caught::Both);
    }
}

/// Nothing that users can tell is wrong here, and the log is broken all the same.
#[test]
fn the_witness_sees_more_than_the_search() {
    let cases = [
        (
            "the slots of two writes reversed",
            "RealTime",
            script().wrote(1, "a", 1).wrote(2, "b", 0),
        ),
        ("a read that says it saw less", "RealTime", {
            script().wrote(1, "a", 0).read(2, "r").told("r", 0, seen(&["a"]))
        }),
        ("a write in a slot that was read empty", "RealTime", {
            script().read(1, "r").told("r", 1, seen(&[])).wrote(1, "a", 0)
        }),
        ("reads that go back over an empty slot", "RealTime", {
            let read = script().read(1, "r").told("r", 2, seen(&[]));
            read.read(2, "s").told("s", 1, seen(&[]))
        }),
        ("a session's writes overtake each other", "Session", {
            script().write(1, "a").write(1, "b").written("b", 0).written("a", 1)
        }),
        (
            "one slot for two",
            "OneSlot",
            script().write(1, "a").write(2, "b").written("a", 0).written("b", 0),
        ),
        ("another slot in the log", "TwoSlots", script().wrote(1, "a", 0).decided("a", 1)),
        ("twice in the log", "TwoSlots", script().write(1, "a").decided("a", 0).decided("a", 1)),
        (
            "a second answer that differs",
            "AnsweredTwice",
            script().wrote(1, "a", 0).written("a", 1),
        ),
    ];
    for (case, kind, script) in &cases {
        judged(case, script, Caught::Witness);
        let why = script.history.check_witness(Ledger::default()).expect_err("judged");
        assert!(format!("{why:?}").starts_with(kind), "{case}: {why}");
    }
}

/// One value that is overwritten: unlike lines, it can come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Register(u64);

impl Model for Register {
    /// A value to write, or none to read.
    type Input = Option<u64>;
    type Output = u64;

    fn apply(&mut self, _at: Option<Slot>, input: &Option<u64>) -> u64 {
        self.0 = input.unwrap_or(self.0);
        self.0
    }

    fn is_read(input: &Option<u64>) -> bool {
        input.is_none()
    }
}

#[test]
fn a_stale_read_of_a_value_that_came_back_is_seen_by_the_witness_alone() {
    let mut history = History::<Register>::new();
    for (slot, value) in [1, 2, 1].into_iter().enumerate() {
        let slot = slot as u64;
        let write = history.invoke(ClientId(1), 2 * slot, Some(value));
        history.answer(write, 2 * slot + 1, Slot(slot), value);
    }
    let read = history.invoke(ClientId(2), 10, None);
    history.answer(read, 11, Slot(1), 1);
    assert!(is_linear(&history.check_linear(Register::default())));
    let why = history.check_witness(Register::default()).expect_err("it missed two writes");
    assert_eq!(
        why.to_string(),
        "Some(1) of client 1 (invoked at tick 4, answered at tick 5, slot 2) was answered before \
         None of client 2 (invoked at tick 10, answered at tick 11, having seen 1) was invoked, \
         but that stands earlier"
    );
}

#[test]
fn what_is_refused_is_told_with_both_operations() {
    let stale = script().wrote(1, "a", 0).read(2, "r").told("r", 1, seen(&[]));
    let why = stale.history.check_witness(Ledger::default()).expect_err("it says 1 and shows 0");
    let Contradiction::Replay { operation, after, .. } = &why else { panic!("{why}") };
    assert!(operation.starts_with("Read of client 2 (invoked at tick 30"), "{operation}");
    assert!(after.contains("b\"a\" } of client 1 (invoked at tick 10"), "{after}");
    let Verdict::Refused { why } = stale.history.check_linear(Ledger::default()) else {
        panic!("it is stale")
    };
    assert!(why.starts_with("1 of 2 operations fit; next can be none of: Read of client 2"));
}

/// Registers apart from each other, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Shelf(BTreeMap<String, u64>);

impl Model for Shelf {
    type Input = (String, Option<u64>);
    type Output = Option<u64>;

    fn apply(&mut self, _at: Option<Slot>, (name, value): &Self::Input) -> Option<u64> {
        match value {
            Some(value) => self.0.insert(name.clone(), *value).and(None),
            None => self.0.get(name).copied(),
        }
    }

    fn is_read((_, value): &Self::Input) -> bool {
        value.is_none()
    }

    fn object((name, _): &Self::Input) -> &[u8] {
        name.as_bytes()
    }
}

#[test]
fn each_object_is_searched_by_itself_and_none_is_passed_unjudged() {
    let judge = |writers: usize, wrong: bool| {
        let mut history = History::<Shelf>::new();
        for client in 0..3 * writers {
            let name = format!("lock {}", client % 3);
            history.invoke(ClientId(client as u128), 0, (name, Some(client as u64)));
        }
        let read = history.invoke(ClientId(99), 1, ("another".to_owned(), None));
        history.answer(read, 2, Slot(0), wrong.then_some(7));
        history.check_linear(Shelf::default())
    };
    assert!(is_linear(&judge(WIDTH_MAX, false)));
    assert_eq!(judge(WIDTH_MAX + 1, false), Verdict::TooWide { width: WIDTH_MAX + 1 });
    assert!(is_refused(&judge(WIDTH_MAX + 1, true)));
}

#[test]
fn width_counts_what_is_in_flight_and_not_what_was() {
    let crowd = (0..50).fold(script(), |script, slot| {
        script.write(1, "a").write(2, "b").written("a", 2 * slot).written("b", 2 * slot + 1)
    });
    let search = crowd.history.check_linear(Ledger::default());
    assert_eq!(search, Verdict::Linear { steps: 100 }, "the slots are the first guess, and right");
}

#[test]
fn the_order_of_reads_costs_no_search() {
    let readers = ["r", "s", "t", "u", "v", "w", "x"];
    let crowd = (0..300).fold(script(), |script, _| {
        let asked = readers.into_iter().zip(1..).fold(script, |s, (name, by)| s.read(by, name));
        readers.into_iter().fold(asked, |script, name| script.saw(name, &[]))
    });
    let future = crowd.looked(1, "r", &["a"]);
    judged("a read of what nobody wrote", &future, Caught::Both);
}

/// Orders that lead to the same value are one: without the memo there are 7! to the third.
#[test]
fn the_same_state_is_searched_once() {
    let mut history = History::<Register>::new();
    for now in 0..3 {
        let all = (1..8).map(|value| (history.invoke(ClientId(1), now, Some(value)), value));
        for (write, value) in all.collect::<Vec<_>>() {
            history.answer(write, now, Slot(7 * now + value), value);
        }
    }
    let read = history.invoke(ClientId(2), 4, None);
    history.answer(read, 5, Slot(99), 0);
    assert!(is_refused(&history.check_linear(Register::default())));
}

#[test]
fn a_search_without_end_says_so() {
    let crowd = (0..6).fold(script(), |script, turn| {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let script = names.into_iter().enumerate().fold(script, |script, (client, name)| {
            script.ask(client as u128, name, append(turn, &format!("{name}{turn}")))
        });
        names
            .into_iter()
            .fold(script, |script, name| script.told(name, 0, reply(&format!("{name}{turn}"))))
    });
    let lost = crowd.looked(9, "r", &["a0"]);
    assert_eq!(lost.history.check_linear(Ledger::default()), Verdict::TooLong);
}

mod random;
