//! The poll service: a question to all who are joined, yes or no, one poll after another.
//!
//! (A poll, not a ballot: that word has its meaning in the protocol below.)
//!
//! # What a poll promises
//!
//! Its id is given in the log: 1, 2, 3, ... Whom it asks is fixed when it opens: the names that are
//! joined then. Each of them counts once: the first answer that stands in the log before the close
//! is final. It closes when all have answered, when its time is up, or by hand; then
//! `yes + no + abstained` is how many were asked, and that never changes. Every replica can tell it
//! for ever, from its archive.
//!
//! # Names and sessions
//!
//! A client votes under its name, and the name outlives its sessions: a client that was killed
//! comes back in another session, joins under its name again, and is the same. So a name that is
//! joined again is taken over, and the session that had it is told. What it had answered stands.
//!
//! # Time
//!
//! Nothing here looks at a clock. A poll with a deadline is closed by the command in the log that
//! says how late it is ([`StateMachine::wake`]), and an answer that stands before that counts. When
//! it opens is when its client's command came to a node, by that node's clock: where clocks differ,
//! a poll is longer or shorter by as much.
//!
//! # The results, and who has them
//!
//! ```text
//! client                       replicas
//!   Join ann            ---->  ann is session 7 now
//!                       <----  Told: poll 3 asks ann
//!   Vote 3 yes          ---->  ann's answer, unless there is one
//!                       <----  Said: recorded yes    Told, to all asked: 5 of 9 voted
//!                              .. all answered, Wake or Close: poll 3 is closed, 5 4 0
//!                       <----  Told, to all joined: result of poll 3
//!   Results of ann > 2? ---->
//!                       <----  3: 5 yes, 4 no
//!   (written, synced)
//!   Confirm ann up to 3 ---->
//! ```
//!
//! What is told may be lost or doubled, so a client that keeps results asks for those after its
//! last one ([`Question::Results`]). They come in the order of their ids, and none before an
//! earlier one that asks the same name is closed: whoever has written down some knows by the last
//! where to go on. For the same reason the archive takes them in that order.
//!
//! Deliberately absent: secrecy. Who asks is shown who answered what.
//!
//! # Primary, backup, witness
//!
//! Two replicas have the polls, and each could give every answer: the *primary* leads, the *backup*
//! has all that it needs to go on. Two machines alone cannot be both single-minded and available
//! when the link between them is cut: either both go on, and there are two truths, or the one that
//! is left waits for the other, and each failure stops all. So there is a *witness*, a third, small
//! member that votes and logs, and has no state and no client: whoever reaches it goes on, the
//! other waits (Cheap Paxos, DSN 2004). An operator who leaves it out has a service that stops when
//! either machine does.
//!
//! Who is in office is in the log as well, and clients are told of each change: see [`office`], and
//! [`steward`](crate::steward) for how a backup joins and is missed. A client sends each answer to
//! all in office, so that the link to one of them may fail; it counts once, by its name. When a new
//! primary takes over, it tells all joined of the polls that are open and of those that wait for an
//! earlier one; for others, that no client confirmed, the notice of its office is the sign to ask.
//!
//! ```text
//! client            primary             backup              witness
//!   Vote 3 yes ---->  Accept  -------->  -------------------->
//!   Vote 3 yes ---------------------->  (passes it on)
//!                     <-- Accepted ----  <-- Accepted --------
//!   <-- recorded ---  Decide  -------->  ------------------->
//!   <------------------- recorded -----
//!                     Heartbeat ------->  ------------------->    the engine's own, at each T/8
//! (the primary dies: nothing is heard for T)
//!                                        Canvass ------------>
//!                                        Prepare ------------>
//!                                        <----------- Promise
//!                                        Accept: Preside B -->
//!   <---- Office: view 2, primary B ---
//!   <------- Asked, of what is open ---
//! ```
//!
//! [`office`]: self::office::Office

mod answers;
pub mod office;
mod record;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use self::office::{Backup, Office, Server};
pub use self::record::{Closed, Member, Poll, PollId, Row, Settled, Tally, Why};
pub use self::words::{Answer, Ask, Question, Refusal, Said, Told, Word};
use self::words::{
    ENTRY_BYTES_MAX, FOR_MS_MAX, NAME_BYTES_MAX, NAMES_MAX, QUESTION_BYTES_MAX, UNSETTLED_MAX,
};
use crate::paxos::ClientId;
use crate::rsm::{Archive, StateMachine, Turn};
use crate::wire::codec;

/// The polls: who is joined, what is open, and what waits for an earlier one to close.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    joined: BTreeMap<Bytes, Member>,
    /// The same, by session.
    names: BTreeMap<ClientId, Bytes>,
    /// All that are not in the archive: the ids up to `last`, without a gap.
    polls: BTreeMap<PollId, Poll>,
    /// The last poll that was opened.
    last: PollId,
    /// Who is in office.
    office: Office,
}

impl StateMachine for Polls {
    /// Takes an [`Ask`], replies with a [`Said`], and tells others what is [`Told`].
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        let said = match Ask::decode(command) {
            Some(Ask::Join { name }) => self.join(turn, name),
            Some(Ask::Leave) => self.leave(turn.session),
            Some(Ask::Open { question, for_ms }) => self.open(turn, question, for_ms),
            Some(Ask::Vote { poll, yes }) => self.vote(turn, poll, yes),
            Some(Ask::Close { poll }) => self.close_by_hand(turn, poll),
            Some(Ask::Confirm { name, up_to }) => self.confirm(turn.session, &name, up_to),
            Some(Ask::Preside { server, view }) => self.preside(turn, server, view),
            Some(Ask::Attend { server, view }) => {
                let is_news = self.office.attend(server, view, turn.at);
                self.announce(turn, is_news)
            }
            Some(Ask::Dismiss { id, view }) => {
                let is_news = self.office.dismiss(id, view);
                self.announce(turn, is_news)
            }
            None => Said::Unreadable,
        };
        self.settle(turn);
        codec::encode(&said)
    }

    /// A session that is over has no name.
    fn end(&mut self, turn: &mut Turn<'_>) {
        self.leave(turn.session);
    }

    /// When the next poll closes at the latest.
    fn deadline(&self) -> Option<u64> {
        let open = self.polls.values().filter(|poll| poll.closed.is_none());
        open.filter_map(|poll| poll.closes_ms).min()
    }

    /// Closes all polls whose time is up.
    fn wake(&mut self, turn: &mut Turn<'_>) {
        let is_due = |poll: &&Poll| poll.closes_ms.is_some_and(|closes| closes <= turn.time_ms);
        let open = self.polls.values().filter(|poll| poll.closed.is_none());
        let due: Vec<PollId> = open.filter(is_due).map(|poll| poll.id).collect();
        for poll in due {
            self.close(turn, poll, Why::Deadline);
        }
        self.settle(turn);
    }

    /// Answers a [`Question`] with an [`Answer`].
    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8> {
        let answer = match Question::decode(query) {
            Some(question) => self.answer(question, archive),
            None => Answer::Unreadable,
        };
        codec::encode(&answer)
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode(&(&self.joined, &self.polls, self.last, &self.office))
    }

    fn restore(&mut self, snapshot: &[u8]) {
        type Held = (BTreeMap<Bytes, Member>, BTreeMap<PollId, Poll>, PollId, Office);
        let (joined, polls, last, office): Held = codec::decode(snapshot).unwrap_or_default();
        let names = joined.iter().map(|(name, member)| (member.session, name.clone())).collect();
        *self = Polls { joined, names, polls, last, office };
    }
}

impl Polls {
    fn join(&mut self, turn: &mut Turn<'_>, name: Bytes) -> Said {
        let is_full = self.joined.len() >= NAMES_MAX && !self.names.contains_key(&turn.session);
        let cases = [
            (name.is_empty(), Refusal::EmptyName),
            (name.len() > NAME_BYTES_MAX, Refusal::LongName),
            (is_full && !self.joined.contains_key(&name), Refusal::TooManyNames),
        ];
        if let Some(refusal) = refusal(&cases) {
            return Said::Refused(refusal);
        }
        if self.names.get(&turn.session) == Some(&name) {
            return Said::Joined;
        }
        self.leave(turn.session);
        let former = self.joined.get(&name);
        let confirmed = former.map_or(PollId(0), |member| member.confirmed);
        if let Some(former) = former.map(|member| member.session) {
            self.names.remove(&former);
            turn.tell(former, codec::encode(&Told::TakenOver));
        }
        self.joined.insert(name.clone(), Member { session: turn.session, confirmed });
        self.names.insert(turn.session, name);
        Said::Joined
    }

    fn leave(&mut self, session: ClientId) -> Said {
        if let Some(name) = self.names.remove(&session) {
            self.joined.remove(&name);
        }
        Said::Left
    }

    fn open(&mut self, turn: &mut Turn<'_>, question: Bytes, for_ms: Option<u64>) -> Said {
        let cases = [
            (question.is_empty(), Refusal::EmptyQuestion),
            (question.len() > QUESTION_BYTES_MAX, Refusal::LongQuestion),
            (for_ms.is_some_and(|for_ms| for_ms > FOR_MS_MAX), Refusal::LongTime),
            (self.polls.len() >= UNSETTLED_MAX, Refusal::TooManyPolls),
        ];
        if let Some(refusal) = refusal(&cases) {
            return Said::Refused(refusal);
        }
        self.last = PollId(self.last.0 + 1);
        let (id, opened_ms, asked) = (self.last, turn.time_ms, self.joined.len() as u64);
        let closes_ms = for_ms.map(|for_ms| opened_ms.saturating_add(for_ms));
        let answers = self.joined.keys().map(|name| (name.clone(), None)).collect();
        let poll = Poll { id, question, opened_ms, closes_ms, answers, closed: None };
        let told = poll.asked_of_all();
        self.polls.insert(id, poll);
        self.tell_all(turn, &told);
        if asked == 0 {
            self.close(turn, id, Why::Answered);
        }
        Said::Opened { poll: id, asked, closes_ms }
    }

    fn vote(&mut self, turn: &mut Turn<'_>, id: PollId, yes: bool) -> Said {
        let Some(name) = self.names.get(&turn.session) else { return Said::NotJoined };
        let Some(poll) = self.polls.get_mut(&id) else { return self.gone(id) };
        if poll.closed.is_some() {
            return Said::Closed { poll: id, tally: poll.tally() };
        }
        let Some(answer) = poll.answers.get_mut(name) else { return Said::NotAsked };
        if let Some(yes) = *answer {
            return Said::Recorded { poll: id, yes };
        }
        *answer = Some(yes);
        let (voted, asked) = (poll.voted(), poll.asked());
        let told = Told::Voted { poll: id, voted, asked }.encode();
        for member in poll.answers.keys().filter_map(|name| self.joined.get(name)) {
            turn.tell(member.session, told.to_vec());
        }
        if voted == asked {
            self.close(turn, id, Why::Answered);
        }
        Said::Recorded { poll: id, yes }
    }

    fn close_by_hand(&mut self, turn: &mut Turn<'_>, id: PollId) -> Said {
        let Some(poll) = self.polls.get(&id) else { return self.gone(id) };
        if poll.closed.is_none() {
            self.close(turn, id, Why::ByHand);
        }
        Said::Closed { poll: id, tally: self.polls.get(&id).and_then(Poll::tally) }
    }

    fn confirm(&mut self, session: ClientId, name: &Bytes, up_to: PollId) -> Said {
        let member = self.joined.get_mut(name).filter(|member| member.session == session);
        let Some(member) = member else { return Said::NotJoined };
        member.confirmed = member.confirmed.max(up_to.min(self.last));
        Said::Confirmed
    }

    /// A new primary tells all that it would have told before, and may not have.
    fn preside(&mut self, turn: &mut Turn<'_>, server: Server, view: u64) -> Said {
        let is_news = self.office.preside(server, view);
        let said = self.announce(turn, is_news);
        for poll in self.polls.values().filter(|_| is_news) {
            self.tell_again(turn, poll);
        }
        said
    }

    fn announce(&self, turn: &mut Turn<'_>, is_news: bool) -> Said {
        if is_news {
            self.tell_all(turn, &Told::Office(self.office.clone()));
        }
        Said::Office(self.office.clone())
    }

    /// That it is open, to those asked; or how it came out, to those who have not confirmed that.
    fn tell_again(&self, turn: &mut Turn<'_>, poll: &Poll) {
        let told = poll.tally().map_or_else(|| poll.asked_of_all(), Told::Result).encode();
        for (name, member) in &self.joined {
            let concerns = match poll.closed {
                Some(_) => member.confirmed < poll.id,
                None => poll.answers.contains_key(name),
            };
            if concerns {
                turn.tell(member.session, told.to_vec());
            }
        }
    }

    /// What is to be said of a poll that is not in memory.
    fn gone(&self, id: PollId) -> Said {
        if id == PollId(0) || id > self.last {
            return Said::NoSuchPoll;
        }
        Said::Closed { poll: id, tally: None }
    }

    /// What the answers are now is how the poll came out.
    fn close(&mut self, turn: &mut Turn<'_>, id: PollId, why: Why) {
        let Some(poll) = self.polls.get_mut(&id) else { return };
        poll.closed = Some(Closed { at_ms: turn.time_ms, why });
        if let Some(tally) = poll.tally() {
            self.tell_all(turn, &Told::Result(tally));
        }
    }

    /// Puts into the archive what is closed and has nothing open before it. An entry a slot: what
    /// does not fit waits for the next one.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        let (mut settled, mut bytes) = (Vec::new(), 0);
        while let Some(first) = self.polls.first_entry().filter(|it| it.get().closed.is_some()) {
            let length = codec::encode(first.get()).len();
            if !settled.is_empty() && bytes + length > ENTRY_BYTES_MAX {
                break;
            }
            bytes += length;
            settled.push(first.remove());
        }
        if !settled.is_empty() {
            turn.archive.append(turn.at, Settled(settled).encode());
        }
    }

    /// All polls up to this one are in the archive.
    fn settled(&self) -> PollId {
        self.polls.keys().next().map_or(self.last, |first| PollId(first.0 - 1))
    }

    fn tell_all(&self, turn: &mut Turn<'_>, told: &Told) {
        let told = told.encode();
        self.joined.values().for_each(|member| turn.tell(member.session, told.to_vec()));
    }
}

/// The first of these that is so.
fn refusal(cases: &[(bool, Refusal)]) -> Option<Refusal> {
    cases.iter().find_map(|(is_so, refusal)| is_so.then_some(*refusal))
}
