//! The poll service and its model side by side through random lives.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::words::Word;
use super::super::{Ask, PollId, Polls, Question, Said, Tally, Told};
use super::{Came, Room, bytes, join, open, session, vote};
use crate::paxos::ClientId;
use crate::rsm::StateMachine;

#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize),
    End(usize),
    Open(Option<u64>),
    /// Of the last polls the one so far back; 0 is one that is not there yet.
    Vote(usize, u64, bool),
    Close(u64),
    /// So many milliseconds later, with a wake or without.
    Time(u64, bool),
    Restart,
}

const SESSIONS: usize = 4;
const NAMES: [&str; 3] = ["ann", "bob", "cy"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, back) = (0..SESSIONS, 0..5u64);
    let step = prop_oneof![
        4 => (who.clone(), 0..NAMES.len()).prop_map(|(who, name)| Step::Join(who, name)),
        1 => who.clone().prop_map(Step::Leave),
        1 => who.clone().prop_map(Step::End),
        4 => prop::option::of(1..50u64).prop_map(Step::Open),
        12 => (who, back.clone(), any::<bool>())
            .prop_map(|(who, back, yes)| Step::Vote(who, back, yes)),
        1 => back.prop_map(Step::Close),
        3 => (0..30u64, any::<bool>()).prop_map(|(later, wakes)| Step::Time(later, wakes)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// All polls that ever were, in a list.
#[derive(Default)]
struct Model {
    joined: BTreeMap<Bytes, ClientId>,
    polls: Vec<Held>,
}

struct Held {
    answers: BTreeMap<Bytes, Option<bool>>,
    closes: Option<u64>,
    is_open: bool,
}

impl Model {
    fn name(&self, session: ClientId) -> Option<&Bytes> {
        self.joined.iter().find(|(_, other)| **other == session).map(|(name, _)| name)
    }

    fn leave(&mut self, session: ClientId) {
        self.joined.retain(|_, other| *other != session);
    }

    /// Where a poll is in the list.
    fn at(&self, poll: u64) -> Option<usize> {
        (poll as usize).checked_sub(1).filter(|at| *at < self.polls.len())
    }

    fn tally(&self, at: usize) -> Tally {
        let count = |wanted| {
            let answers = self.polls[at].answers.values();
            answers.filter(|answer| **answer == wanted).count() as u64
        };
        let (yes, no) = (count(Some(true)), count(Some(false)));
        Tally { poll: PollId(at as u64 + 1), yes, no, abstained: count(None) }
    }

    /// A poll closes: who is told what.
    fn close(&mut self, at: usize) -> Vec<(ClientId, Told)> {
        self.polls[at].is_open = false;
        let told = Told::Result(self.tally(at));
        self.joined.values().map(|session| (*session, told.clone())).collect()
    }

    /// What is due for an answer.
    fn vote(&mut self, who: ClientId, poll: u64, yes: bool) -> Came {
        let id = PollId(poll);
        let Some(name) = self.name(who).cloned() else { return (Said::NotJoined, Vec::new()) };
        let Some(at) = self.at(poll) else { return (Said::NoSuchPoll, Vec::new()) };
        if !self.polls[at].is_open {
            return (Said::Closed { poll: id, tally: Some(self.tally(at)) }, Vec::new());
        }
        match self.polls[at].answers.get(&name).copied() {
            None => (Said::NotAsked, Vec::new()),
            Some(Some(yes)) => (Said::Recorded { poll: id, yes }, Vec::new()),
            Some(None) => {
                let answers = &mut self.polls[at].answers;
                answers.insert(name, Some(yes));
                let voted = answers.values().flatten().count() as u64;
                let asked = answers.len() as u64;
                let told = Told::Voted { poll: id, voted, asked };
                let whom = answers.keys().filter_map(|name| self.joined.get(name));
                let mut all: Vec<_> = whom.map(|whom| (*whom, told.clone())).collect();
                if voted == asked {
                    all.extend(self.close(at));
                }
                (Said::Recorded { poll: id, yes }, all)
            }
        }
    }

    fn close_by_hand(&mut self, poll: u64) -> Came {
        let Some(at) = self.at(poll) else { return (Said::NoSuchPoll, Vec::new()) };
        let told = if self.polls[at].is_open { self.close(at) } else { Vec::new() };
        (Said::Closed { poll: PollId(poll), tally: Some(self.tally(at)) }, told)
    }

    /// The results that a name may have written down.
    fn results(&self, name: &Bytes) -> Vec<Tally> {
        let asking = (0..self.polls.len()).filter(|at| self.polls[*at].answers.contains_key(name));
        asking.take_while(|at| !self.polls[*at].is_open).map(|at| self.tally(at)).collect()
    }

    /// How many polls are closed before the first that is open.
    fn settled(&self) -> usize {
        self.polls.iter().take_while(|poll| !poll.is_open).count()
    }
}

#[derive(Default)]
struct Pair {
    room: Room,
    model: Model,
    /// How often each session was ended: the next one has another id.
    ended: [u128; SESSIONS],
}

impl Pair {
    fn id(&self, who: usize) -> ClientId {
        ClientId(1 + who as u128 + 10 * self.ended[who])
    }

    fn step(&mut self, step: &Step) {
        let next = self.model.polls.len() as u64 + 1;
        match *step {
            Step::Join(who, name) => self.join(self.id(who), NAMES[name]),
            Step::Leave(who) => {
                let session = self.id(who);
                assert_eq!(self.room.ask(session, &Ask::Leave), (Said::Left, Vec::new()));
                self.model.leave(session);
            }
            Step::End(who) => {
                assert_eq!(self.room.end(self.id(who)), []);
                self.model.leave(self.id(who));
                self.ended[who] += 1;
            }
            Step::Open(for_ms) => self.open(for_ms),
            Step::Vote(who, back, yes) => {
                let (who, poll) = (self.id(who), next.saturating_sub(back));
                let came = self.room.ask(who, &vote(poll, yes));
                let (settled, due) = (self.model.settled(), self.model.vote(who, poll, yes));
                compare(came, due, settled);
            }
            Step::Close(back) => {
                let poll = next.saturating_sub(back);
                let came = self.room.ask(session('x'), &Ask::Close { poll: PollId(poll) });
                let (settled, due) = (self.model.settled(), self.model.close_by_hand(poll));
                compare(came, due, settled);
            }
            Step::Time(later, false) => self.room.time_ms += later,
            Step::Time(later, true) => self.wake(later),
            Step::Restart => {
                let mut polls = Polls::default();
                polls.restore(&self.room.polls.snapshot());
                assert_eq!(polls, self.room.polls);
                self.room.polls = polls;
            }
        }
    }

    fn join(&mut self, session: ClientId, name: &str) {
        let (said, told) = self.room.ask(session, &join(name));
        assert_eq!(said, Said::Joined);
        let former = self.model.joined.get(&bytes(name)).copied();
        let former = former.filter(|former| *former != session);
        let due: Vec<_> = former.into_iter().map(|former| (former, Told::TakenOver)).collect();
        assert_eq!(told, due);
        self.model.leave(session);
        self.model.joined.insert(bytes(name), session);
    }

    fn open(&mut self, for_ms: Option<u64>) {
        let (said, told) = self.room.ask(session('x'), &open(for_ms));
        let names = self.model.joined.keys();
        let answers: BTreeMap<Bytes, _> = names.map(|name| (name.clone(), None)).collect();
        let closes_ms = for_ms.map(|for_ms| self.room.time_ms + for_ms);
        let (is_open, asked) = (!answers.is_empty(), answers.len() as u64);
        self.model.polls.push(Held { answers, closes: closes_ms, is_open });
        let poll = PollId(self.model.polls.len() as u64);
        assert_eq!(said, Said::Opened { poll, asked, closes_ms });
        let due = Told::Asked { poll, question: bytes("why?"), asked, closes_ms };
        let due = self.model.joined.values().map(|session| (*session, due.clone()));
        assert_eq!(told, due.collect::<Vec<_>>());
    }

    fn wake(&mut self, later: u64) {
        let told = self.room.wake(later);
        let (now, mut due) = (self.room.time_ms, Vec::new());
        for at in 0..self.model.polls.len() {
            let Held { closes, is_open, .. } = self.model.polls[at];
            if is_open && closes.is_some_and(|closes| closes <= now) {
                due.extend(self.model.close(at));
            }
        }
        assert_eq!(told, due);
        assert!(self.room.polls.deadline().is_none_or(|deadline| deadline > now));
    }

    fn check(&self) {
        let count = self.model.polls.len() as u64;
        for name in NAMES.map(bytes) {
            let due = self.model.results(&name);
            for after in 0..=count {
                let rows = self.room.results(&name, PollId(after));
                let came: Vec<Tally> = rows.into_iter().filter_map(|row| row.tally).collect();
                let due = due.iter().filter(|tally| tally.poll.0 > after);
                assert_eq!(came, due.copied().collect::<Vec<_>>(), "{name:?} after {after}");
            }
        }
        for (at, held) in self.model.polls.iter().enumerate() {
            let shown = self.room.show(PollId(at as u64 + 1)).expect("it is there");
            let tally = self.model.tally(at);
            assert_eq!((&shown.answers, tally.asked()), (&held.answers, shown.asked()));
            assert_eq!(shown.tally(), (!held.is_open).then_some(tally));
        }
        let (rows, _) = self.room.pages(|after| Question::List { after }, PollId(0));
        assert!(rows.iter().map(|row| row.poll.0).eq(1..=count));
        let settled = self.model.settled() as u64;
        let entries = self.room.entries();
        assert!(entries.iter().flatten().map(|poll| poll.id.0).eq(1..=settled));
        assert_eq!(self.room.polls.settled(), PollId(settled));
    }
}

/// A command does not look at what was in the archive when it came.
fn compare(came: Came, mut due: Came, settled: usize) {
    if let Said::Closed { poll, tally } = &mut due.0
        && poll.0 <= settled as u64
    {
        *tally = None;
    }
    assert_eq!(came, due);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Bugs that turn it red: anything in which the service and its model differ; a result that
    /// changes; a gap or a doubled poll in the archive; something that a snapshot leaves out.
    #[test]
    fn the_service_does_what_its_model_does(steps in steps()) {
        let mut pair = Pair::default();
        for step in &steps {
            pair.step(step);
            pair.check();
        }
    }

    /// Bugs that turn it red: a panic on any bytes, or bytes that are no word and change something.
    #[test]
    fn any_bytes_do_as_command_query_and_snapshot(bytes: Vec<u8>) {
        let mut room = Room::default();
        room.ask(ClientId(1), &join("ann"));
        room.ask(ClientId(1), &open(None));
        let before = room.polls.clone();
        room.turn(ClientId(1), |polls, turn| drop(polls.apply(turn, &bytes)));
        prop_assert!(Ask::decode(&bytes).is_some() || room.polls == before);
        room.polls.query(&bytes, &room.archive);
        room.polls.restore(&bytes);
    }
}
