//! Voters in the world: their turns, what reaches them, and what they write down, held against what
//! is decided when it is written.
//!
//! - *Results*: line by line a file is what is in the log of the polls that asked its voter, in
//!   their order, and none is left out. Once the faults have stopped, all are there of those who
//!   live, up to the first that is still open; and the cluster has heard so.
//! - *Deadlines*: once the faults have stopped, no poll is open that has one.

use super::clocks::Clocks;
use super::locked::LATE_ELECTIONS;
use super::queue::Happening;
use super::voter::{Moment, Voter};
use super::world::World;
use crate::node::{Event, Output};
use crate::paxos::NodeId;
use crate::rsm::StateMachine;
use crate::services::poll::{Answer, Member, PollId, Question, Word};
use crate::wire::client::Outcome;

/// Turns in which a voter has done all that it has to do.
const TURNS: u64 = 64;

/// Of the polls of a run, so many are looked at one by one at the end.
const SHOWN: usize = 16;

impl World {
    /// The voters come.
    pub(super) fn let_voters_in(&mut self) {
        for index in 0..usize::from(self.weather.polling.voters) {
            self.voters.push(Voter::new(index, self.weather.polling));
            let late = 1 + self.rng.u64(0..self.weather.election_ticks * 4);
            self.plan(late, Happening::Turn(self.place_of_voter(index)));
        }
    }

    /// A voter's turn.
    pub(super) fn turn_voter(&mut self, index: usize) {
        if !self.is_hushed() {
            let moment = self.moment(index);
            let said = self.voters[index].turn(&moment, &mut self.rng);
            self.carry_all(said);
        }
        let wait = 1 + self.rng.u64(0..self.weather.polling.turn_ticks * 2);
        self.plan(wait, Happening::Turn(self.place_of_voter(index)));
    }

    fn moment(&self, index: usize) -> Moment {
        let place = self.place_of_voter(index);
        Moment {
            now: self.now,
            members: self.weather.members,
            faults: self.faults,
            read: self.report.events * self.parties() as u64 + place as u64,
        }
    }

    fn carry_all(&mut self, said: Vec<(NodeId, Event)>) {
        for (node, event) in said {
            self.carry(node, event);
        }
    }

    /// A node replies to a voter: what was replied first.
    pub(super) fn note_reply(&self, output: &Output) {
        if let Output::Reply { client, number, slot, outcome: Outcome::Applied(reply) } = output
            && super::room::voter(*client).is_some()
        {
            let first = self.returns.reply(*client, *number);
            let same = first.is_some_and(|(at, first)| at == slot && first == reply);
            assert!(
                same,
                "at most once: request {number} of {client} is answered {reply:?} in {slot}, and \
                 was applied with {first:?}"
            );
        }
    }

    /// Something reaches a voter, which goes on if it can.
    pub(super) fn answer_voter(&mut self, index: usize, output: Output) {
        if index >= self.voters.len() {
            return;
        }
        if let Output::Answer { result: Ok(body), .. } = &output {
            self.judge_answer(index, body);
        }
        let (moment, voter) = (self.moment(index), &mut self.voters[index]);
        let written = voter.file.len();
        voter.hear(&output, self.now, &mut self.rng);
        self.judge_file(index, written);
        if !self.is_hushed() {
            let said = self.voters[index].go_on(&moment, &mut self.rng);
            self.carry_all(said);
        }
    }

    fn judge_answer(&self, index: usize, body: &[u8]) {
        let name = &self.voters[index].name;
        match Answer::decode(body).expect("the polls' own words") {
            Answer::Page { rows, .. } => {
                rows.iter().for_each(|row| self.returns.judge_row(Some(name), row));
            }
            // To all, or to those that ask this name.
            Answer::Open(rows) => {
                for row in rows {
                    self.returns.judge_row(row.own.map(|_| name), &row);
                }
            }
            Answer::Show(_) | Answer::Joined(_) | Answer::Office(_) | Answer::Unreadable => {
                panic!("nobody asks that here")
            }
        }
    }

    /// What a voter has written down since then is what it is to write.
    fn judge_file(&mut self, index: usize, written: usize) {
        let voter = &self.voters[index];
        let lines = voter.file.iter().skip(written);
        let mut due = self.returns.results(&voter.name).skip(written);
        for line in lines {
            let due = due.next();
            assert_eq!(Some(*line), due, "results: what {:?} writes, and is to write", voter.name);
            self.report.results += 1;
        }
    }

    /// The faults have stopped: some voters are killed for good, the others do all that is left.
    pub(super) fn calm_voters(&mut self) {
        self.clocks.set_right();
        for voter in &mut self.voters {
            voter.come_back();
            voter.speak_up();
            if self.rng.f64() < self.weather.polling.left_behind {
                voter.die();
            }
        }
    }

    /// How long it takes until the last poll that has a deadline is closed, and all know it.
    pub(super) fn polls_take(&self) -> u64 {
        let polling = &self.weather.polling;
        if polling.voters == 0 {
            return 0;
        }
        let late = self.weather.election_ticks * LATE_ELECTIONS;
        let lasts = self.clocks.was_ahead(self.now) + polling.for_ticks;
        late + lasts + polling.ttl_ticks * 2 + polling.turn_ticks * 2 * TURNS
    }

    fn living_voters(&self) -> impl Iterator<Item = &Voter> {
        self.voters.iter().filter(|voter| !voter.is_dead)
    }

    /// Whether all polls that have a deadline are closed, and all voters who live are done. Who
    /// asks a leader that has gone astray will never hear of it.
    pub(super) fn polls_are_well(&self) -> bool {
        if self.voters.is_empty() || self.is_led_astray() {
            return true;
        }
        let is_left_open = !self.weather.polling.tidies || self.living_voters().next().is_none();
        (is_left_open || self.returns.are_complete())
            && !self.returns.waits_for_a_deadline()
            && self.living_voters().all(|voter| self.is_up_to_date(voter))
    }

    fn is_up_to_date(&self, voter: &Voter) -> bool {
        let has = Member { session: voter.session, confirmed: voter.last() };
        self.returns.joined().get(&voter.name) == Some(&has)
            && !self.returns.waits_for(&voter.name)
            && self.returns.results(&voter.name).count() == voter.file.len()
    }

    /// Who holds up the end, for a person.
    pub(super) fn polls_standing(&self) -> Vec<String> {
        if self.polls_are_well() {
            return Vec::new();
        }
        let late = self.living_voters().filter(|voter| !self.is_up_to_date(voter));
        let mut lines: Vec<String> = late.map(|voter| format!("results: {voter:?}")).collect();
        let hour = Clocks::right(self.now);
        lines.push(format!("deadlines: it is {hour}, and there are {:?}", self.returns));
        lines
    }

    /// At the end the poll service itself says how all polls came out, and who is joined.
    pub(super) fn polls_are_as_told(&self) {
        if self.voters.is_empty() {
            return;
        }
        let ask = |question: &Question| {
            let truth = self.astray.truth();
            let body = super::room::about_polls(question);
            Answer::decode(&truth.machine().query(&body, truth.archive()))
        };
        let ids: Vec<PollId> = self.returns.ids_and_next().collect();
        for id in ids.iter().rev().step_by(1 + ids.len() / SHOWN) {
            let Some(Answer::Show(shown)) = ask(&Question::Show { poll: *id }) else {
                panic!("the polls' own words");
            };
            self.returns.judge_poll(*id, shown.as_ref());
        }
        let Some(Answer::Page { rows, .. }) = ask(&Question::List { after: PollId(0) }) else {
            panic!("the polls' own words");
        };
        let listed = rows.iter().map(|row| row.poll);
        assert!(listed.eq(ids[1..ids.len() - 1].iter().copied()), "ids: {rows:?}");
        rows.iter().for_each(|row| self.returns.judge_row(None, row));
        let Some(Answer::Joined(joined)) = ask(&Question::Joined) else {
            panic!("the polls' own words");
        };
        assert_eq!(&joined, self.returns.joined(), "joined, and what each has confirmed");
    }
}
