//! Small traces: one in which nothing is wrong, and others with one violation each.

use super::*;
use crate::paxos::testing::{ballot, command};
use crate::paxos::{
    Accepted, AcceptorState, Config, Envelope, Heard, Heartbeat, Incarnation, Message, NodeId,
    Promise, Record, Run, Seal, Slot, Timing,
};

/// The trace of a node that has heard these things since it started, with what was on its disk.
fn told(disk: &[Record], heard: &[Heard<'_>]) -> Vec<Line> {
    let config = Config::new(NodeId(0), Incarnation(7), 3, Timing::from_election(80));
    let state = AcceptorState::replay(disk.to_vec());
    let mut teller = Teller::default();
    let start = Heard::Started(&config, &state, state.mark());
    [start].iter().chain(heard).map(|heard| teller.line(*heard)).collect()
}

fn replay(lines: impl IntoIterator<Item = Line>) -> Result<Replayed, Broken> {
    let mut replay = Replay::default();
    lines.into_iter().try_for_each(|line| replay.take(line))?;
    Ok(replay.replayed())
}

fn envelope(message: impl Into<Message>) -> Envelope {
    Envelope { from: NodeId(0), to: NodeId(1), message: message.into() }
}

fn promise(round: u64, mark: u64) -> Envelope {
    let (accepted_in, accepted, pledges) = (None, Vec::new(), 0);
    let (ballot, mark) = (ballot(round, 0), Slot(mark));
    envelope(Promise { ballot, mark, accepted_in, accepted, pledges, seal: seal() })
}

fn accepted(from: u64, up_to: u64) -> Envelope {
    let (from, up_to) = (Slot(from), Slot(up_to));
    envelope(Accepted { ballot: ballot(1, 0), from, up_to, pledges: 0, seal: seal() })
}

fn seal() -> Seal {
    Seal { incarnation: Incarnation(7), known: Vec::new() }
}

fn heartbeat() -> Envelope {
    let (watermark, decided) = (Slot(9), Slot(9));
    envelope(Heartbeat { ballot: ballot(9, 0), round: 1, watermark, decided, digests: Vec::new() })
}

fn promised(round: u64) -> Record {
    Record::Promised(ballot(round, 0))
}

fn run(after: u64, first: u64, count: usize) -> Record {
    let commands = vec![command(1); count];
    let (after, first) = (Slot(after), Slot(first));
    Record::Accepted(Run { ballot: ballot(1, 0), after, first, commands })
}

#[track_caller]
fn broken(what: &str, lines: Vec<Line>, rule: Rule, line: u64) {
    let broken = replay(lines).expect_err(what);
    assert_eq!((broken.rule, broken.line), (rule, line), "{what}: {broken}");
}

/// Red if a message that claims nothing is held to anything, or if something is not counted.
#[test]
fn what_is_in_order_passes() {
    use Heard::{Applied, Decided, Installed, Recorded, Sent, Synced};
    let (record, more, mark) = (run(0, 0, 2), run(2, 2, 1), Record::Decided(Slot(2)));
    let heard = [
        Sent(&heartbeat()),
        Recorded(&record),
        Synced,
        Sent(&accepted(0, 2)),
        Decided(Slot(0)),
        Applied(Slot(0)),
        Decided(Slot(1)),
        Recorded(&mark),
        Recorded(&more),
        Sent(&accepted(0, 2)),
        Synced,
        Sent(&accepted(0, 3)),
        Sent(&promise(1, 2)),
        Applied(Slot(1)),
        Installed(Slot(9)),
        Decided(Slot(9)),
        Applied(Slot(9)),
        Recorded(&promised(2)),
    ];
    let held = [record.clone(), mark.clone(), more.clone()];
    let again = told(&held, &[Sent(&promise(1, 2)), Decided(Slot(2))]);
    let replayed = replay(told(&[], &heard).into_iter().chain(again)).expect("in order");
    let counts =
        Replayed { lines: 22, starts: 2, records: 4, sends: 6, claims: 5, decided: 4, applied: 3 };
    assert_eq!(replayed, counts);
}

/// Red if the check of that name is left out.
#[test]
fn what_is_out_of_order_is_refuted() {
    use Heard::{Applied, Decided, Recorded, Sent, Synced};
    use Rule::{Applications, Decisions, Numbers, PersistBeforeSend, Restarts};
    let (record, promise_1, vote) = (run(0, 0, 2), promised(1), accepted(0, 2));
    let of = |heard: &[Heard<'_>]| told(&[], heard);
    let early = of(&[Recorded(&promise_1), Sent(&promise(1, 0)), Synced]);
    broken("a promise before its sync", early, PersistBeforeSend, 3);
    let never = of(&[Recorded(&promise_1), Synced, Sent(&vote)]);
    broken("an acceptance that was never recorded", never, PersistBeforeSend, 4);
    let more = of(&[Recorded(&record), Synced, Sent(&accepted(0, 3))]);
    broken("a vote for more than was accepted", more, PersistBeforeSend, 4);
    let other = of(&[Recorded(&run(3, 3, 2)), Synced, Sent(&accepted(2, 5))]);
    broken("a vote for what lies before the chain", other, PersistBeforeSend, 4);
    let mark = of(&[Recorded(&promise_1), Synced, Sent(&promise(1, 1))]);
    broken("a mark that is not on disk", mark, PersistBeforeSend, 4);
    let mut gap = of(&[Recorded(&promise_1), Recorded(&record), Synced]);
    gap.remove(1);
    broken("a gap in record numbers", gap, Numbers, 2);
    let mut ahead = of(&[Recorded(&promise_1), Synced]);
    ahead[2] = Line::Synced(2);
    broken("a sync of what was not recorded", ahead, Numbers, 3);
    let skips = of(&[Decided(Slot(0)), Decided(Slot(2))]);
    broken("a slot left out", skips, Decisions, 3);
    let twice = of(&[Decided(Slot(0)), Decided(Slot(0))]);
    broken("a slot decided twice", twice, Decisions, 3);
    let undecided = of(&[Decided(Slot(0)), Applied(Slot(0)), Applied(Slot(1))]);
    broken("applied before it is decided", undecided, Applications, 4);
    let again = of(&[Decided(Slot(0)), Applied(Slot(0)), Decided(Slot(1)), Applied(Slot(0))]);
    broken("applied twice", again, Applications, 5);
    let first = told(&[promised(2)], &[]);
    broken("a promise lost", [first, told(&[promise_1], &[])].concat(), Restarts, 2);
    let first = of(&[Recorded(&record), Synced]);
    broken("a vote lost", [first, told(&[promised(1)], &[])].concat(), Restarts, 4);
    broken("no start", vec![Line::Decided(Slot(0))], Restarts, 1);
}

/// What was recorded and not synced when a node died may be there or not. Red if it must be, or if
/// it is taken for there.
#[test]
fn what_was_not_synced_may_be_lost() {
    use Heard::{Recorded, Sent};
    let (promise_1, said) = (promised(1), promise(1, 0));
    let died = || told(&[], &[Recorded(&promise_1)]);
    let lost = [died(), told(&[], &[])].concat();
    assert_eq!(replay(lost).map(|it| it.starts), Ok(2));
    let there = [died(), told(&[promised(1)], &[Sent(&said)])].concat();
    assert_eq!(replay(there).map(|it| it.claims), Ok(1));
    broken("it was lost", [died(), told(&[], &[Sent(&said)])].concat(), Rule::PersistBeforeSend, 4);
}

/// Red if the format changes: traces outlive the program that wrote them.
#[test]
fn lines_are_json() {
    use Heard::{Applied, Decided, Recorded, Sent, Synced};
    let trim = AcceptorState::default().trim(Slot(0));
    let heard = [
        Recorded(&promised(1)),
        Recorded(&run(3, 4, 2)),
        Recorded(&trim[0]),
        Synced,
        Sent(&accepted(3, 6)),
        Sent(&heartbeat()),
        Decided(Slot(5)),
        Applied(Slot(5)),
    ];
    let mut text = Vec::new();
    let lines = told(&[], &heard);
    lines.iter().for_each(|line| line.write(&mut text));
    let text = String::from_utf8(text).expect("text");
    let one = r#"{"round":1,"node":0,"incarnation":1}"#;
    let nothing = r#""mark":0,"promised":null,"chain":null,"incarnations":[]"#;
    let start =
        r#""promised":null,"chain":null,"mark":0,"pledges":0,"incarnations":[],"applied":0"#;
    let voted = format!(r#""voted":{{"ballot":{one},"from":3,"end":6}}"#);
    let expected = [
        format!(r#"{{"started":{{"node":0,"incarnation":7,{start}}}}}"#),
        format!(r#"{{"recorded":[0,{{"promised":{one}}}]}}"#),
        format!(
            r#"{{"recorded":[1,{{"accepted":{{"ballot":{one},"after":3,"first":4,"end":6}}}}]}}"#
        ),
        format!(r#"{{"recorded":[2,{{"trimmed":{{"below":0,{nothing}}}}}]}}"#),
        r#"{"synced":3}"#.to_owned(),
        [
            r#"{"sent":{"to":1,"kind":"Accepted","claim":{"promised":"#,
            one,
            r#","mark":0,"#,
            &voted,
            r#","pledges":0}}}"#,
        ]
        .concat(),
        r#"{"sent":{"to":1,"kind":"Heartbeat"}}"#.to_owned(),
        r#"{"decided":5}"#.to_owned(),
        r#"{"applied":5}"#.to_owned(),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let read: Result<Vec<Line>, String> =
        text.lines().map(|line| Line::read(line.as_bytes())).collect();
    assert_eq!(read, Ok(lines));
    for wrong in ["", "{}", "{\"decided\":-1}", "{\"decided\":1} ", "{\"decided\":1", "[]"] {
        assert_eq!(Line::read(wrong.as_bytes()).is_ok(), wrong.ends_with(' '), "{wrong}");
    }
}
