//! What is refused, left out or cut, so that nothing grows beyond a frame.

use bytes::Bytes;

use super::super::{Ask, Locks, Mode, Refusal, Said, TOLD_MAX, Told, Word};
use super::{Room, lock, session};
use crate::paxos::{ClientId, Slot};
use crate::rsm::StateMachine;

/// Bugs that turn it red: a limit that is one off, or not checked.
#[test]
fn what_breaks_a_rule_changes_nothing() {
    let of = |count: usize, bytes: usize, label: usize| Ask::Lock {
        names: (0..count).map(|at| Bytes::from(vec![at as u8; bytes])).collect(),
        label: Bytes::from(vec![0; label]),
        mode: Mode::Queue,
    };
    let (reason, long) = (Bytes::from(vec![0; 1024]), Bytes::from(vec![0; 1025]));
    let break_off = |reason: &Bytes, label: usize| Ask::Break {
        name: Bytes::from_static(b"free"),
        token: Slot(0),
        reason: reason.clone(),
        label: Bytes::from(vec![0; label]),
    };
    let cases = [
        (of(0, 1, 0), Some(Refusal::NoNames)),
        (of(65, 1, 0), Some(Refusal::TooManyNames)),
        (of(1, 0, 0), Some(Refusal::EmptyName)),
        (of(2, 1025, 0), Some(Refusal::LongName)),
        (of(1, 1, 257), Some(Refusal::LongLabel)),
        (break_off(&long, 0), Some(Refusal::LongReason)),
        (break_off(&reason, 257), Some(Refusal::LongLabel)),
        (break_off(&reason, 256), None),
        (of(64, 1024, 256), None),
    ];
    let mut room = Room::default();
    for (ask, refusal) in cases {
        assert_eq!(room.locks, Locks::default(), "nothing has changed");
        let (said, _) = room.ask(session('A'), &ask);
        match refusal {
            Some(refusal) => assert_eq!(said, Said::Refused(refusal)),
            None => assert!(!matches!(said, Said::Refused(_)), "{said:?}"),
        }
    }
    assert_eq!(room.locks.table.holds().len(), 64);
    let before = room.locks.clone();
    let (reply, told) =
        room.turn(session('A'), |locks, turn| Some(locks.apply(turn, b"no command")));
    assert_eq!(reply.as_deref(), Some(&Said::Unreadable.encode()[..]));
    assert_eq!((told, room.locks), (Vec::new(), before));
}

/// Bugs that turn it red: a cycle of which no end is shown, or more than fits a reply.
#[test]
fn of_a_long_cycle_the_middle_is_left_out() {
    let mut room = Room::default();
    let name = |at: u128| format!("lock {at}");
    (0..40).for_each(|at| {
        room.ask(ClientId(at), &lock(&[&name(at)], Mode::Now));
    });
    (0..39).for_each(|at| {
        room.ask(ClientId(at), &lock(&[&name(at + 1)], Mode::Queue));
    });
    let (said, _) = room.ask(ClientId(39), &lock(&[&name(0)], Mode::Queue));
    let Said::Deadlock { cycle, left_out } = said else { panic!("{said:?}") };
    let waits: Vec<u128> = cycle.iter().map(|edge| edge.session.0).collect();
    let shown: Vec<u128> = std::iter::once(39).chain(0..30).chain([38]).collect();
    assert_eq!((waits, left_out), (shown, 8));
    assert_eq!(cycle.last().map(|edge| edge.holder), Some(ClientId(39)));
}

/// Bugs that turn it red: a crowd that is told at once of one free lock; one that asked just now
/// and is told before one that has not asked for long.
#[test]
fn of_a_crowd_that_tries_some_are_told() {
    let mut room = Room::default();
    let crowd = || (1000..1000 + TOLD_MAX as u128 + 9).map(ClientId);
    room.ask(session('A'), &lock(&["a"], Mode::Now));
    crowd().rev().for_each(|who| drop(room.ask(who, &lock(&["a"], Mode::Retry))));
    let (_, told) = room.ask(
        session('A'),
        &Ask::Unlock { name: Bytes::from_static(b"a"), token: Some(Slot(0)), session: None },
    );
    let names = vec![Bytes::from_static(b"a")];
    let free = |who| (who, Told::Free { names: names.clone() });
    assert!(told.into_iter().eq(crowd().rev().take(TOLD_MAX).map(free)));
}
