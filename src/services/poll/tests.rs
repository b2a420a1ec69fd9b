//! The poll service in small steps, and against a model through random lives.

mod formats;
mod random;
mod steps;

use bytes::Bytes;

use super::words::Word;
use super::{Answer, Ask, Poll, PollId, Polls, Question, Row, Said, Settled, Told};
use crate::paxos::{ClientId, Slot};
use crate::rsm::{Archive, StateMachine, Turn};

/// The polls with an archive of their own, a command a slot.
#[derive(Default)]
struct Room {
    polls: Polls,
    archive: Archive,
    next: Slot,
    time_ms: u64,
}

/// What a step brought about.
type Came = (Said, Vec<(ClientId, Told)>);

impl Room {
    fn ask(&mut self, session: ClientId, ask: &Ask) -> Came {
        let mut reply = Vec::new();
        let told = self.turn(session, |polls, turn| reply = polls.apply(turn, &ask.encode()));
        (Said::decode(&reply).expect("a reply"), told)
    }

    fn end(&mut self, session: ClientId) -> Vec<(ClientId, Told)> {
        self.turn(session, StateMachine::end)
    }

    /// So many milliseconds later.
    fn wake(&mut self, later_ms: u64) -> Vec<(ClientId, Told)> {
        self.time_ms += later_ms;
        self.turn(ClientId(0), StateMachine::wake)
    }

    fn turn(
        &mut self,
        session: ClientId,
        step: impl FnOnce(&mut Polls, &mut Turn<'_>),
    ) -> Vec<(ClientId, Told)> {
        let mut turn = Turn::new(self.next, &mut self.archive);
        (turn.session, turn.time_ms) = (session, self.time_ms);
        step(&mut self.polls, &mut turn);
        self.next = self.next.next();
        let notices = turn.into_notices().into_iter();
        notices
            .map(|notice| (notice.session, Told::decode(&notice.body).expect("a notice")))
            .collect()
    }

    fn question(&self, question: &Question) -> Answer {
        let answer = self.polls.query(&question.encode(), &self.archive);
        Answer::decode(&answer).expect("an answer")
    }

    fn show(&self, poll: PollId) -> Option<Poll> {
        let Answer::Show(poll) = self.question(&Question::Show { poll }) else { panic!("shown") };
        poll
    }

    /// All pages of a list, and how many there were.
    fn pages(&self, ask: impl Fn(PollId) -> Question, after: PollId) -> (Vec<Row>, usize) {
        let (mut all, mut after, mut pages) = (Vec::new(), Some(after), 0);
        while let Some(from) = after {
            let Answer::Page { rows, next } = self.question(&ask(from)) else { panic!("a page") };
            all.extend(rows);
            (after, pages) = (next, pages + 1);
        }
        (all, pages)
    }

    fn results(&self, name: &Bytes, after: PollId) -> Vec<Row> {
        self.pages(|after| Question::Results { name: name.clone(), after }, after).0
    }

    /// What lies in the archive, by entry.
    fn entries(&self) -> Vec<Vec<Poll>> {
        let page = self.archive.page(Slot(0), usize::MAX).into_iter();
        page.map(|(_, body)| Settled::decode(&body).expect("polls").0).collect()
    }
}

fn session(letter: char) -> ClientId {
    ClientId(letter as u128)
}

fn join(name: &str) -> Ask {
    Ask::Join { name: bytes(name) }
}

fn open(for_ms: Option<u64>) -> Ask {
    Ask::Open { question: bytes("why?"), for_ms }
}

fn vote(poll: u64, yes: bool) -> Ask {
    Ask::Vote { poll: PollId(poll), yes }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
