//! The lock service and its model side by side through random lives, and what must hold in each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::super::table::Table;
use super::super::waiting::{Entry, Waiting};
use super::super::{Ask, Edge, Line, Locks, Mode, Question, Said, Told, Word};
use super::model::{Due, Model};
use super::{Came, Room, lock};
use crate::paxos::{ClientId, Slot};
use crate::rsm::StateMachine;

/// What one of a few sessions does.
#[derive(Clone, Debug)]
enum Step {
    Lock(usize, Vec<usize>, Mode),
    /// The current token of that lock, or one that is late by so many grants; of the holder's
    /// session, or the asker's own.
    Unlock(usize, usize, usize, bool),
    Break(usize, usize, usize),
    Cancel(usize),
    End(usize),
}

const SESSIONS: usize = 5;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, name) = (0..SESSIONS, 0..NAMES.len());
    let mode = prop_oneof![2 => Just(Mode::Now), 2 => Just(Mode::Retry), 4 => Just(Mode::Queue)];
    let late = prop_oneof![5 => Just(0), 1 => 1..3usize];
    let names = prop::collection::vec(name.clone(), 1..4);
    let step = prop_oneof![
        10 => (who.clone(), names, mode)
            .prop_map(|(who, names, mode)| Step::Lock(who, names, mode)),
        5 => (who.clone(), name.clone(), late.clone(), any::<bool>())
            .prop_map(|(who, name, late, own)| Step::Unlock(who, name, late, own)),
        1 => (who.clone(), name, late).prop_map(|(who, name, late)| Step::Break(who, name, late)),
        1 => who.clone().prop_map(Step::Cancel),
        1 => who.prop_map(Step::End),
    ];
    prop::collection::vec(step, 1..70)
}

/// Both, and what is remembered to hold the invariants against.
#[derive(Default)]
struct Pair {
    room: Room,
    model: Model,
    /// How often each session was ended: the next one has another id.
    ended: [u128; SESSIONS],
    /// The tokens of each name, as they were granted.
    tokens: BTreeMap<Bytes, Vec<Slot>>,
}

impl Pair {
    fn id(&self, who: usize) -> ClientId {
        ClientId(who as u128 + 10 * self.ended[who])
    }

    fn step(&mut self, step: &Step) {
        let (at, before) = (self.room.next, self.model.clone());
        let (came, due): ((Option<Said>, Vec<_>), Due) = match self.command(step) {
            Ok((session, ask)) => {
                let (said, told): Came = self.room.ask(session, &ask);
                ((Some(said), told), self.model.ask(at, session, &ask))
            }
            Err(who) => {
                let session = self.id(who);
                self.ended[who] += 1;
                ((None, self.room.end(session)), self.model.end(at, session))
            }
        };
        self.compare(&before, &came.0, &came.1, &due);
        self.note_tokens();
        check_state(&self.room.locks, &self.model);
        check_nobody_is_stuck(&self.model);
    }

    /// The session and its command, or who is over.
    fn command(&self, step: &Step) -> Result<(ClientId, Ask), usize> {
        let token = |name: usize, late: usize| {
            let tokens = self.tokens.get(NAMES[name].as_bytes()).into_iter().flatten();
            tokens.rev().nth(late).copied().unwrap_or(Slot(7))
        };
        let bytes = |name: usize| Bytes::from_static(NAMES[name].as_bytes());
        Ok(match *step {
            Step::Lock(who, ref names, mode) => {
                let names: Vec<&str> = names.iter().map(|name| NAMES[*name]).collect();
                (self.id(who), lock(&names, mode))
            }
            Step::Unlock(who, name, late, own) => {
                let holder = self.model.hold(&bytes(name)).map(|hold| hold.session);
                let session = if own { None } else { holder };
                let (name, token) = (bytes(name), token(name, late));
                (self.id(who), Ask::Unlock { name, token: Some(token), session })
            }
            Step::Break(who, name, late) => {
                let (reason, label) = (Bytes::from_static(b"why"), Bytes::from_static(b"who"));
                let (name, token) = (bytes(name), token(name, late));
                (self.id(who), Ask::Break { name, token, reason, label })
            }
            Step::Cancel(who) => (self.id(who), Ask::Cancel),
            Step::End(who) => return Err(who),
        })
    }

    fn compare(&self, before: &Model, said: &Option<Said>, told: &[(ClientId, Told)], due: &Due) {
        match (said, &due.said) {
            (Some(Said::Deadlock { cycle, left_out: 0 }), Some(Err(edges))) => {
                assert_eq!(cycle.len(), *edges, "the shortest cycle: {cycle:?}");
                check_cycle(cycle, before);
            }
            (Some(said), Some(Ok(due))) => assert_eq!(said, due),
            (None, None) => {}
            (said, due) => panic!("{said:?}, but due is {due:?}"),
        }
        let is_free = |told: &&(ClientId, Told)| matches!(told.1, Told::Free { .. });
        let others: Vec<_> = told.iter().filter(|told| !is_free(told)).cloned().collect();
        assert_eq!(others, due.told);
        let whom: BTreeSet<ClientId> = told.iter().filter(is_free).map(|told| told.0).collect();
        for entry in self.model.entries.iter().filter(|entry| entry.line == Line::Trying) {
            let session = entry.wish.session;
            let is_new = self.room.next == entry.since.next();
            let was_free = before.entry(session).is_some_and(|entry| is_free_for(before, entry));
            let is_free = is_free_for(&self.model, entry);
            assert!(whom.contains(&session) || !is_free || was_free || is_new, "{session} is told");
        }
        for (session, told) in told {
            if let Told::Free { names } = told {
                let entry = self.model.entry(*session).expect("it tries");
                assert_eq!((names, entry.line), (&entry.wish.names, Line::Trying));
                assert!(is_free_for(&self.model, entry), "all is free for {session}");
            }
        }
    }

    /// Tokens of a name strictly grow.
    fn note_tokens(&mut self) {
        for (name, hold) in self.room.locks.table.holds() {
            let tokens = self.tokens.entry(name.clone()).or_default();
            match tokens.last() {
                Some(last) if *last == hold.token => {}
                last => {
                    assert!(last.is_none_or(|last| *last < hold.token), "tokens grow");
                    tokens.push(hold.token);
                }
            }
        }
    }
}

fn is_free_for(model: &Model, entry: &Entry) -> bool {
    model.hindrance(&entry.wish, Slot(u64::MAX), false).is_none()
}

/// Both hold the same, the indexes are those of what they index, and a snapshot brings all.
fn check_state(locks: &Locks, model: &Model) {
    let holds: BTreeMap<_, _> = model.holds.iter().cloned().collect();
    assert_eq!(holds.len(), model.holds.len(), "one holder a name");
    assert_eq!(locks.table, Table::of(holds));
    assert_eq!(locks.waiting, Waiting::of(model.entries.clone()));
    let mut restored = Locks::default();
    restored.restore(&locks.snapshot());
    assert_eq!(&restored, locks);
    assert_eq!(restored.snapshot(), locks.snapshot());
}

/// Each in the queue is kept back by something, and no set of them only by each other.
fn check_nobody_is_stuck(model: &Model) {
    let queued = model.entries.iter().filter(|entry| entry.line == Line::Queued);
    let kept_back_by: BTreeMap<ClientId, BTreeSet<ClientId>> = queued
        .map(|entry| {
            let mut by = model.edges(entry, true);
            let earlier = model.earlier(&entry.wish, entry.since).into_iter();
            let earlier = earlier.map(|other| other.wish.session);
            let own = entry.wish.session;
            by.extend(earlier.filter(|other| !model.reached(*other, false).contains(&own)));
            assert!(!by.is_empty(), "{own} waits for nothing");
            (own, by)
        })
        .collect();
    let mut stuck: BTreeSet<ClientId> = kept_back_by.keys().copied().collect();
    loop {
        let goes_on = |session: &ClientId| !kept_back_by[session].is_subset(&stuck);
        let Some(free) = stuck.iter().copied().find(goes_on) else { break };
        stuck.remove(&free);
    }
    assert!(stuck.is_empty(), "{stuck:?} wait for each other");
}

/// Each edge is true, they join, and the last leads to the first.
fn check_cycle(cycle: &[Edge], model: &Model) {
    let next = cycle.iter().cycle().skip(1);
    for (at, (edge, next)) in cycle.iter().zip(next).enumerate() {
        assert_eq!(edge.holder, next.session, "{cycle:?}");
        let hold = model.hold(&edge.name).expect("it is held");
        assert_eq!((hold.session, &hold.label), (edge.holder, &edge.holder_label));
        // The asker's request is not among those that wait.
        let waits = model.entry(edge.session).is_some_and(|entry| entry.wants(&edge.name));
        assert!(at == 0 || waits, "{cycle:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Bugs that turn it red: anything in which the service and its model differ; a queue that is
    /// not gone through where something may have changed; an index that is left behind; a token
    /// that was there before; one that waits without a reason, or for ever; a session that is over
    /// and still there; something that a snapshot leaves out.
    #[test]
    fn the_service_does_what_its_model_does(steps in steps()) {
        let mut pair = Pair::default();
        steps.iter().for_each(|step| pair.step(step));
        (0..SESSIONS).for_each(|who| pair.step(&Step::End(who)));
        prop_assert_eq!(&pair.room.locks, &Locks::default(), "ended sessions hold nothing");
    }

    /// Bugs that turn it red: a later request for the one lock that is granted first.
    #[test]
    fn one_lock_goes_from_hand_to_hand_in_order(
        steps in prop::collection::vec((0..6u128, 0..3), 1..60)
    ) {
        let (mut room, mut order) = (Room::default(), VecDeque::<ClientId>::new());
        for (session, step) in steps {
            let (session, head) = (ClientId(session), order.front().copied());
            let told = match step {
                0 | 1 if !order.contains(&session) => {
                    order.push_back(session);
                    room.ask(session, &lock(&["a"], Mode::Queue)).1
                }
                _ => {
                    order.retain(|other| *other != session);
                    room.end(session)
                }
            };
            let next = order.front().copied().filter(|next| head.is_some() && head != Some(*next));
            prop_assert_eq!(told.first().map(|told| told.0), next);
            let holder = room.locks.table.hold(b"a").map(|hold| hold.session);
            prop_assert_eq!(holder, order.front().copied());
        }
    }

    /// Bugs that turn it red: a panic on any bytes, or bytes that are no word and change something.
    #[test]
    fn any_bytes_do_as_command_query_and_snapshot(bytes: Vec<u8>) {
        let mut room = Room::default();
        room.ask(ClientId(1), &lock(&["a"], Mode::Now));
        let before = room.locks.clone();
        room.turn(ClientId(1), |locks, turn| Some(locks.apply(turn, &bytes)));
        prop_assert!(Ask::decode(&bytes).is_some() || room.locks == before);
        room.locks.query(&bytes, &room.archive);
        prop_assert!(Question::decode(&bytes).is_some() || room.locks == before);
        room.locks.restore(&bytes);
    }
}
