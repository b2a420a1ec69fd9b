//! What questions are answered.

use bytes::Bytes;

use super::super::words::PAGE_BYTES_MAX;
use super::super::{Answer, Ask, Broken, Hold, Line, Mode, Question, Wait, Waiter, Word};
use super::{Room, lock, session, time_ms};
use crate::paxos::{ClientId, Slot};
use crate::rsm::StateMachine;
use crate::wire::frame::ANSWER_BYTES_MAX;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn hold(letter: char, token: u64) -> Hold {
    let (session, token) = (session(letter), Slot(token));
    let since_ms = time_ms(token);
    Hold { session, label: bytes("label"), token, since_ms, ttl_ms: letter as u64 }
}

fn waiter(letter: char, line: Line, since: u64) -> Waiter {
    Waiter { session: session(letter), label: bytes("label"), line, since: Slot(since) }
}

/// Bugs that turn it red: those who wait in another order, or in half; a token that is not
/// compared; a hold with the time of the request, or with another's time to live.
#[test]
fn a_lock_is_shown_with_all_who_wait() {
    let mut room = Room::default();
    room.ask(session('A'), &lock(&["a", "b"], Mode::Now));
    room.ask(session('D'), &lock(&["a"], Mode::Retry));
    room.ask(session('C'), &lock(&["b", "a"], Mode::Queue));
    room.ask(session('B'), &lock(&["a"], Mode::Queue));
    let show = |room: &Room| room.question(&Question::Show { name: bytes("a") });
    let [b, c, d] =
        [waiter('B', Line::Queued, 3), waiter('C', Line::Queued, 2), waiter('D', Line::Trying, 1)];
    assert_eq!(
        show(&room),
        Answer::Show {
            holder: Some(hold('A', 0)),
            waiting: vec![c, b.clone(), d.clone()],
            left_out: 0
        }
    );
    let waits = Wait { names: vec![bytes("a")], line: Line::Queued, since: Slot(3), ahead: 1 };
    assert_eq!(
        room.question(&Question::Mine { session: session('B'), after: None }),
        Answer::Mine { held: vec![], next: None, waits: Some(waits) }
    );
    room.end(session('A'));
    let holder = Some(Hold { ttl_ms: 'C' as u64, ..hold('C', 4) });
    assert_eq!(
        show(&room),
        Answer::Show { holder: holder.clone(), waiting: vec![b, d], left_out: 0 }
    );
    for (token, current) in [(4, true), (0, false), (5, false)] {
        let check = Question::Check { name: bytes("a"), token: Slot(token) };
        assert_eq!(room.question(&check), Answer::Check { current, holder: holder.clone() });
    }
    let check = Question::Check { name: bytes("free"), token: Slot(4) };
    assert_eq!(room.question(&check), Answer::Check { current: false, holder: None });
}

/// Bugs that turn it red: a page that is too long for a frame, empty, repeats a name or leaves one
/// out; a prefix that lets others in; one that is not found since the page before ended earlier.
#[test]
fn lists_come_in_pages_without_gap_or_repeat() {
    let mut room = Room::default();
    let name = |at: usize| format!("{at:04}{}", "x".repeat(1020));
    for at in 0..600 {
        room.ask(session(if at % 3 == 0 { 'B' } else { 'A' }), &lock(&[&name(at)], Mode::Now));
    }
    room.ask(session('C'), &lock(&[&name(7)], Mode::Queue));
    let (mut after, mut names, mut waiting, mut pages) = (None, Vec::new(), 0, 0);
    loop {
        let list = Question::List { after, prefix: Bytes::new() };
        let Answer::List { locks, next } = room.question(&list) else { panic!("a list") };
        assert!(locks.len() < PAGE_BYTES_MAX / 1024);
        waiting += locks.iter().map(|(.., waiting)| waiting).sum::<u64>();
        names.extend(locks.into_iter().map(|(name, ..)| name));
        (after, pages) = (next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..600).map(|at| Bytes::from(name(at))).collect::<Vec<_>>());
    assert_eq!((waiting, pages), (1, 3));
    let mut mine = 0;
    loop {
        let ask = Question::Mine { session: session('A'), after };
        let Answer::Mine { held, next, waits: None } = room.question(&ask) else { panic!() };
        mine += held.len();
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(mine, 400);
    for (after, prefix, count) in
        [(None, "01", 100), (Some("0"), "01", 100), (Some("0198"), "01", 2), (Some("02"), "01", 0)]
    {
        let list = Question::List { after: after.map(bytes), prefix: bytes(prefix) };
        let Answer::List { locks, next: None } = room.question(&list) else { panic!() };
        assert_eq!(locks.len(), count, "{prefix} after {after:?}");
    }
}

/// Bugs that turn it red: those who wait for one lock in a single answer, however many they are.
#[test]
fn a_crowd_is_shown_in_part() {
    let mut room = Room::default();
    for at in 0..3000 {
        room.ask(ClientId(at), &lock(&["a"], Mode::Queue));
    }
    let answer = room.locks.query(&Question::Show { name: bytes("a") }.encode(), &room.archive);
    assert!(answer.len() < ANSWER_BYTES_MAX);
    let Some(Answer::Show { waiting, left_out, .. }) = Answer::decode(&answer) else { panic!() };
    assert!(left_out > 0);
    assert_eq!(waiting.len() as u64 + left_out, 2999);
}

/// Bugs that turn it red: a break that is not on record, or in another slot; a page that repeats.
#[test]
fn breaks_stay_on_record() {
    let mut room = Room::default();
    let reason = Bytes::from(vec![b'r'; 1024]);
    for round in 0..600 {
        room.ask(session('A'), &lock(&["a"], Mode::Now));
        let (name, token, label) = (bytes("a"), Slot(2 * round), bytes("op"));
        room.ask(session('O'), &Ask::Break { name, token, reason: reason.clone(), label });
    }
    let (mut from, mut slots, mut pages) = (Slot(0), Vec::new(), 0);
    loop {
        let breaks = Question::Breaks { from };
        let Answer::Breaks { records, next } = room.question(&breaks) else { panic!() };
        for (slot, record) in records {
            let expected = Broken {
                name: bytes("a"),
                holder: hold('A', slot.0 - 1),
                by: bytes("op"),
                by_session: session('O'),
                reason: reason.clone(),
                time_ms: time_ms(slot),
            };
            assert_eq!(record, expected);
            slots.push(slot.0);
        }
        pages += 1;
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(slots, (0..600).map(|round| 2 * round + 1).collect::<Vec<_>>());
    assert!(pages > 2, "{pages}");
}
