//! What reaches a voter, and what it makes of it.

use fastrand::Rng;

use super::super::room;
use super::{Look, Voter};
use crate::node::Output;
use crate::paxos::RequestNumber;
use crate::services::poll::{Answer, Ask, PollId, Row, Said, Told, Word};
use crate::wire::client::{Outcome, Refusal};

impl Voter {
    /// Something arrives.
    pub(in crate::sim) fn hear(&mut self, output: &Output, now: u64, rng: &mut Rng) {
        if self.is_dead || now < self.away_until {
            return;
        }
        match output {
            Output::Answer { id, result } => {
                if let Some((_, look)) = self.mind.reading.take_if(|(reading, _)| reading == id) {
                    match result {
                        Ok(body) => self.on_answer(look, body, now, rng),
                        Err(_) => self.mind.next = Some(look),
                    }
                }
            }
            output if room::whose(output) != Some(self.session) => (),
            Output::Reply { number, outcome, .. } => self.on_reply(*number, outcome, now),
            Output::Rejected(_, _, Refusal::NotLeader(Some(leader))) => self.target = *leader,
            Output::Ended(_) | Output::Rejected(_, _, Refusal::UnknownSession) => {
                self.on_over(now, rng);
            }
            Output::Notice { body, .. } => self.on_told(body, now, rng),
            Output::Rejected(..)
            | Output::Queued(..)
            | Output::Alive { .. }
            | Output::Left { .. }
            | Output::Draft(_)
            | Output::Moved(..)
            | Output::Rejoined
            | Output::Differs(_) => (),
        }
    }

    /// The session is over. If it said so itself, it is away for a while.
    fn on_over(&mut self, now: u64, rng: &mut Rng) {
        if self.mind.says_end {
            self.crash(now + rng.u64(0..self.polling.ttl_ticks));
        } else {
            self.mind.is_over = true;
        }
    }

    fn on_answer(&mut self, look: Look, body: &[u8], now: u64, rng: &mut Rng) {
        match (look, Answer::decode(body).expect("the polls' own words")) {
            (Look::Results, Answer::Page { rows, next }) => {
                self.mind.next = Some(if next.is_some() { Look::Results } else { Look::Open });
                self.write(&rows, next, now, rng);
            }
            (Look::Open, Answer::Open(rows)) => {
                self.mind.open.retain(|poll, _| rows.iter().any(|row| row.poll == *poll));
                rows.iter().for_each(|row| self.on_open(row.poll, row.own, rng));
            }
            (Look::All, Answer::Open(rows)) => {
                let for_ever = rows.iter().filter(|row| row.closes_ms.is_none());
                self.mind.to_close = for_ever.map(|row| row.poll).collect();
            }
            (_, answer) => panic!("{look:?} is answered with {answer:?}"),
        }
    }

    /// Writes down what there is. In the middle of it, it may be killed: then a line is torn, which
    /// will be cut.
    fn write(&mut self, rows: &[Row], next: Option<PollId>, now: u64, rng: &mut Rng) {
        let torn = self.polling.torn;
        for row in rows {
            let Some(tally) = row.tally else { break };
            if torn > 0.0 && rng.f64() < torn {
                self.crash(now);
                return;
            }
            if tally.poll > self.last() {
                self.file.push(tally);
            }
            self.mind.seen = row.poll;
            self.mind.open.remove(&row.poll);
        }
        self.mind.seen = next.unwrap_or(self.mind.seen);
    }

    /// A poll asks it, which has or has not its answer.
    fn on_open(&mut self, poll: PollId, own: Option<bool>, rng: &mut Rng) {
        self.mind.last = self.mind.last.max(poll);
        if own.is_some() {
            self.mind.open.insert(poll, None);
            return;
        }
        let is_silent = self.polling.silent > 0.0 && rng.f64() < self.polling.silent;
        let answer = (!is_silent).then(|| rng.bool());
        let given = self.mind.open.entry(poll).or_insert(answer);
        *given = given.or(answer);
    }

    fn on_reply(&mut self, number: RequestNumber, outcome: &Outcome, now: u64) {
        let Some((ask, is_answered)) = self.mind.asked.get_mut(number.0 as usize - 1) else {
            panic!("an answer to a request never sent: {number}");
        };
        let said = match outcome {
            Outcome::Applied(reply) => Said::decode(reply).expect("the polls' own words"),
            Outcome::Forgotten => {
                assert!(*is_answered, "request {number} is forgotten, and its reply never came");
                return;
            }
            Outcome::UnknownSession => {
                self.mind.is_over = true;
                return;
            }
        };
        *is_answered = true;
        let ask = ask.clone();
        if self.mind.call.take_if(|call| *call == number).is_some() {
            self.on_said(ask, &said, now);
        }
    }

    fn on_said(&mut self, ask: Ask, said: &Said, now: u64) {
        match (ask, said) {
            (Ask::Join { .. }, Said::Joined) => self.mind.is_joined = true,
            (Ask::Vote { poll, .. }, Said::Recorded { .. }) => {
                self.mind.open.insert(poll, None);
            }
            (Ask::Vote { poll, .. }, Said::Closed { .. }) => {
                self.mind.open.remove(&poll);
                self.mind.next = Some(Look::Results);
            }
            (Ask::Confirm { up_to, .. }, Said::Confirmed) => self.mind.confirmed = up_to,
            (_, Said::Opened { poll, .. }) => self.mind.last = self.mind.last.max(*poll),
            (Ask::Vote { .. } | Ask::Confirm { .. }, Said::NotJoined) if self.mind.is_joined => {
                self.crash(now);
            }
            (ask @ (Ask::Join { .. } | Ask::Confirm { .. }), said) => {
                panic!("{:?} asked {ask:?}, and is told {said:?}", self.name)
            }
            (
                Ask::Leave
                | Ask::Open { .. }
                | Ask::Close { .. }
                | Ask::Vote { .. }
                | Ask::Preside { .. }
                | Ask::Attend { .. }
                | Ask::Dismiss { .. },
                _,
            ) => (),
        }
    }

    /// (The name of somebody who lives is taken over by what an earlier session of the same voter
    /// had asked for, if that comes very late. Whoever watches over a real client starts it again.)
    fn on_told(&mut self, body: &[u8], now: u64, rng: &mut Rng) {
        match Told::decode(body).expect("the polls' own words") {
            Told::Asked { poll, .. } => {
                self.on_open(poll, None, rng);
                self.mind.next = Some(Look::Results);
            }
            Told::Result(_) => self.mind.next = Some(Look::Results),
            Told::Voted { .. } | Told::Office(_) => (),
            Told::TakenOver => self.crash(now),
        }
    }
}
