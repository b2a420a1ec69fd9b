//! What must hold of polls: judged by the log, slot by slot, and by what the service says.
//!
//! The log is applied once more by an executor that no fault touches (`astray`). What comes of each
//! slot is held here against a list of all polls that follows from the commands alone, and knows
//! no archive, no snapshot and no node.
//!
//! - *Ids* are dense: 1, 2, 3, ... in the order of the slots.
//! - *Asked* is who is joined when a poll opens, and nobody else ever.
//! - *First answer*: it is final.
//! - *Closed once*: when all have answered, by hand, or by a wake that is not before its deadline;
//!   and then in that very slot. All who are joined are told, and `yes + no + abstained` is how
//!   many were asked, for ever.
//! - *No wake without a cause*: some leader's clock had passed some deadline.
//! - *At most once*: each copy of a request has the first reply.
//! - *Results* that a voter writes down ascend, are what is in the log, and leave none out.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::room;
use super::tenants::News;
use crate::paxos::{ClientId, Command, Request, RequestNumber, Slot};
use crate::rsm::{Fate, Notice, Outcome};
use crate::services::poll::words::UNSETTLED_MAX;
use crate::services::poll::{
    Ask, Closed, Member, Poll, PollId, Refusal, Row, Said, Tally, Told, Why, Word,
};

/// All polls that there ever were, and who is joined.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// How late it is in the log.
    time_ms: u64,
    joined: BTreeMap<Bytes, Member>,
    polls: Vec<Held>,
    replies: BTreeMap<(ClientId, RequestNumber), (Slot, Bytes)>,
    /// The earliest deadline that there ever was.
    earliest: Option<u64>,
    /// What is to be told in this slot.
    told: Vec<(ClientId, Told)>,
}

/// A poll, in the place of its id.
#[derive(Debug)]
struct Held {
    answers: BTreeMap<Bytes, Option<bool>>,
    closes_ms: Option<u64>,
    closed: Option<Closed>,
}

impl Held {
    fn tally(&self, poll: PollId) -> Tally {
        let count = |what| self.answers.values().filter(|it| **it == what).count() as u64;
        Tally { poll, yes: count(Some(true)), no: count(Some(false)), abstained: count(None) }
    }

    fn is_complete(&self) -> bool {
        self.answers.values().all(Option::is_some)
    }
}

impl Returns {
    /// Judges what a slot led to. `is_sound`: nobody has ever gone astray.
    pub(super) fn learn(&mut self, news: &News, is_sound: bool) {
        let News { slot, command, applied } = news;
        self.told.clear();
        match (command, &applied.fate) {
            (Command::Request(request), fate) => {
                self.time_ms = self.time_ms.max(request.time_ms);
                if room::voter(request.client).is_some()
                    && let Fate::Request { outcome: Outcome::Applied(at, reply), .. } = fate
                    && at == slot
                {
                    self.on_request(*slot, request, reply);
                }
            }
            (Command::End(session), _) => self.leave(*session),
            (Command::Wake(at_ms), _) => self.on_wake(*slot, *at_ms, is_sound),
            (Command::Noop, _) => (),
        }
        self.judge_told(*slot, &applied.notices);
    }

    fn on_request(&mut self, slot: Slot, request: &Request, reply: &Bytes) {
        let (session, number) = (request.client, request.number);
        let first = self.replies.insert((session, number), (slot, reply.clone()));
        assert_eq!(first, None, "at most once: request {number} of {session} was applied before");
        let ask = room::as_of_polls(&request.body).expect("a voter's own words");
        let said = Said::decode(reply).expect("the polls' own words");
        let (law, due) = self.due(session, &ask);
        let is_due = match (&said, &due) {
            // Where it lies in the archive, a command does not look.
            (Said::Closed { poll, tally: None }, Said::Closed { poll: due, tally: Some(_) }) => {
                poll == due && *poll < self.first_open()
            }
            (said, due) => said == due,
        };
        assert!(is_due, "{law}: slot {slot}, {session}: {ask:?} is answered {said:?}, not {due:?}");
    }

    /// What is to be said, and by what law.
    fn due(&mut self, session: ClientId, ask: &Ask) -> (&'static str, Said) {
        match ask {
            Ask::Join { name } => ("joined", self.join(session, name)),
            Ask::Leave => {
                self.leave(session);
                ("joined", Said::Left)
            }
            Ask::Open { question, for_ms } => ("ids", self.open_one(question, *for_ms)),
            Ask::Vote { poll, yes } => ("first answer", self.vote(session, *poll, *yes)),
            Ask::Close { poll } => ("closed once", self.close_by_hand(*poll)),
            Ask::Confirm { name, up_to } => ("joined", self.confirm(session, name, *up_to)),
            Ask::Preside { .. } | Ask::Attend { .. } | Ask::Dismiss { .. } => {
                panic!("nobody is in office here")
            }
        }
    }

    fn join(&mut self, session: ClientId, name: &Bytes) -> Said {
        let former = self.joined.get(name).cloned();
        if former.as_ref().is_some_and(|former| former.session == session) {
            return Said::Joined;
        }
        self.leave(session);
        let confirmed = former.as_ref().map_or(PollId(0), |former| former.confirmed);
        self.told.extend(former.map(|former| (former.session, Told::TakenOver)));
        self.joined.insert(name.clone(), Member { session, confirmed });
        Said::Joined
    }

    fn leave(&mut self, session: ClientId) {
        self.joined.retain(|_, member| member.session != session);
    }

    fn open_one(&mut self, question: &Bytes, for_ms: Option<u64>) -> Said {
        let unsettled = self.polls.len() as u64 + 1 - self.first_open().0;
        if unsettled >= UNSETTLED_MAX as u64 {
            return Said::Refused(Refusal::TooManyPolls);
        }
        let closes_ms = for_ms.map(|for_ms| self.time_ms + for_ms);
        let answers = self.joined.keys().map(|name| (name.clone(), None)).collect();
        self.polls.push(Held { answers, closes_ms, closed: None });
        let (poll, asked) = (PollId(self.polls.len() as u64), self.joined.len() as u64);
        self.tell_all(&Told::Asked { poll, question: question.clone(), asked, closes_ms });
        self.earliest = self.earliest.into_iter().chain(closes_ms).min();
        self.close_if_complete(poll);
        Said::Opened { poll, asked, closes_ms }
    }

    fn vote(&mut self, session: ClientId, poll: PollId, yes: bool) -> Said {
        let name = self.joined.iter().find(|(_, member)| member.session == session);
        let Some((name, _)) = name else { return Said::NotJoined };
        let Some(held) = at(poll).and_then(|at| self.polls.get_mut(at)) else {
            return Said::NoSuchPoll;
        };
        if held.closed.is_some() {
            return Said::Closed { poll, tally: Some(held.tally(poll)) };
        }
        let Some(answer) = held.answers.get_mut(name) else { return Said::NotAsked };
        if let Some(yes) = *answer {
            return Said::Recorded { poll, yes };
        }
        *answer = Some(yes);
        let voted = held.answers.values().flatten().count() as u64;
        let told = Told::Voted { poll, voted, asked: held.answers.len() as u64 };
        let whom = held.answers.keys().filter_map(|name| self.joined.get(name));
        self.told.extend(whom.map(|member| (member.session, told.clone())));
        self.close_if_complete(poll);
        Said::Recorded { poll, yes }
    }

    fn close_by_hand(&mut self, poll: PollId) -> Said {
        let Some(held) = self.held(poll) else { return Said::NoSuchPoll };
        let tally = Some(held.tally(poll));
        if held.closed.is_none() {
            self.close(poll, Why::ByHand);
        }
        Said::Closed { poll, tally }
    }

    fn confirm(&mut self, session: ClientId, name: &Bytes, up_to: PollId) -> Said {
        match self.joined.get_mut(name).filter(|member| member.session == session) {
            Some(member) => {
                member.confirmed = member.confirmed.max(up_to);
                Said::Confirmed
            }
            None => Said::NotJoined,
        }
    }

    fn on_wake(&mut self, slot: Slot, at_ms: u64, is_sound: bool) {
        self.time_ms = self.time_ms.max(at_ms);
        let has_cause = self.earliest.is_some_and(|earliest| earliest <= at_ms);
        assert!(
            has_cause || !is_sound,
            "no wake without a cause: at {at_ms} in slot {slot}, and the first deadline is {:?}",
            self.earliest
        );
        let is_due = |held: &Held| {
            held.closed.is_none() && held.closes_ms.is_some_and(|closes| closes <= self.time_ms)
        };
        let due: Vec<PollId> =
            self.ids().filter(|poll| self.held(*poll).is_some_and(is_due)).collect();
        due.into_iter().for_each(|poll| self.close(poll, Why::Deadline));
    }

    fn close_if_complete(&mut self, poll: PollId) {
        if self.held(poll).is_some_and(Held::is_complete) {
            self.close(poll, Why::Answered);
        }
    }

    fn close(&mut self, poll: PollId, why: Why) {
        let at_ms = self.time_ms;
        let Some(held) = at(poll).and_then(|at| self.polls.get_mut(at)) else { return };
        held.closed = Some(Closed { at_ms, why });
        let told = Told::Result(held.tally(poll));
        self.tell_all(&told);
    }

    fn tell_all(&mut self, told: &Told) {
        self.told.extend(self.joined.values().map(|member| (member.session, told.clone())));
    }

    /// In whatever order, all are told what they are to be told, and nothing else.
    fn judge_told(&mut self, slot: Slot, notices: &[Notice]) {
        let to_voters = notices.iter().filter(|it| room::voter(it.session).is_some());
        let told = |notice: &Notice| {
            (notice.session, Told::decode(&notice.body).expect("the polls' own words"))
        };
        let mut told: Vec<(ClientId, Told)> = to_voters.map(told).collect();
        let of_polls = |told: &Told| {
            use Told::{Asked, Result, TakenOver, Voted};
            matches!(told, Asked { .. } | Voted { .. } | Result(_) | TakenOver)
        };
        told.retain(|(_, told)| of_polls(told));
        let in_order = |(session, told): &(ClientId, Told)| (*session, told.encode());
        told.sort_by_cached_key(in_order);
        self.told.sort_by_cached_key(in_order);
        assert!(
            told == self.told,
            "asked, and closed once: slot {slot} tells {told:?}, and is to tell {:?}",
            self.told
        );
    }

    fn held(&self, poll: PollId) -> Option<&Held> {
        self.polls.get(at(poll)?)
    }

    fn ids(&self) -> impl Iterator<Item = PollId> + use<> {
        (1..=self.polls.len() as u64).map(PollId)
    }

    /// The first poll that is open, or that there is not yet.
    fn first_open(&self) -> PollId {
        let closed = self.polls.iter().take_while(|held| held.closed.is_some()).count();
        PollId(closed as u64 + 1)
    }

    /// What was answered to a request, if it was applied.
    pub(super) fn reply(&self, session: ClientId, number: RequestNumber) -> Option<&(Slot, Bytes)> {
        self.replies.get(&(session, number))
    }

    /// How many polls are closed.
    pub(super) fn closed(&self) -> u64 {
        self.polls.iter().filter(|held| held.closed.is_some()).count() as u64
    }

    /// How the polls that asked this name came out, up to the first that is open.
    pub(super) fn results(&self, name: &Bytes) -> impl Iterator<Item = Tally> {
        let asking = self.polls.iter().zip(1..).filter(|(held, _)| held.answers.contains_key(name));
        let closed = asking.take_while(|(held, _)| held.closed.is_some());
        closed.map(|(held, id)| held.tally(PollId(id)))
    }

    /// Whether a poll is open that waits for the answer of this name.
    pub(super) fn waits_for(&self, name: &Bytes) -> bool {
        self.open().any(|held| held.answers.get(name).is_some_and(Option::is_none))
    }

    /// Whether a poll is open that will close by itself.
    pub(super) fn waits_for_a_deadline(&self) -> bool {
        self.open().any(|held| held.closes_ms.is_some())
    }

    /// Whether all polls are closed.
    pub(super) fn are_complete(&self) -> bool {
        self.open().next().is_none()
    }

    fn open(&self) -> impl Iterator<Item = &Held> {
        self.polls.iter().filter(|held| held.closed.is_none())
    }

    /// Who is joined.
    pub(super) fn joined(&self) -> &BTreeMap<Bytes, Member> {
        &self.joined
    }

    /// What somebody is told of a poll is so, or was: of one that is open only who is asked.
    pub(super) fn judge_row(&self, name: Option<&Bytes>, row: &Row) {
        let Some(held) = self.held(row.poll) else { panic!("ids: who has opened {row:?}?") };
        let is_asked = name.is_none_or(|name| held.answers.contains_key(name));
        let asked = held.answers.len() as u64;
        assert!(is_asked && row.asked == asked, "asked: {row:?} of {name:?} and {held:?}");
        assert_eq!(row.closes_ms, held.closes_ms, "the deadline of {}", row.poll);
        let own = name.and_then(|name| held.answers.get(name).copied().flatten());
        assert!(row.own.is_none() || row.own == own, "first answer: {row:?} of {name:?}: {own:?}");
        if let Some(tally) = row.tally {
            let due = held.closed.map(|_| held.tally(row.poll));
            assert_eq!(Some(tally), due, "closed once: {tally:?} is told");
            assert_eq!(tally.yes + tally.no + tally.abstained, asked, "closed once: {tally:?}");
            assert!(name.is_none() || row.own == own, "first answer: {row:?} of {name:?}");
        }
    }

    /// Who had opened so many polls knows all there is to each.
    pub(super) fn judge_poll(&self, id: PollId, shown: Option<&Poll>) {
        let (Some(held), Some(shown)) = (self.held(id), shown) else {
            assert_eq!(self.held(id).is_some(), shown.is_some(), "ids: poll {id}");
            return;
        };
        assert_eq!(shown.id, id, "ids");
        assert_eq!(shown.answers, held.answers, "asked, and first answer: poll {id}");
        assert_eq!(
            (shown.closes_ms, shown.closed),
            (held.closes_ms, held.closed),
            "closed once: poll {id}"
        );
    }

    /// All ids, and the next one.
    pub(super) fn ids_and_next(&self) -> impl Iterator<Item = PollId> + use<> {
        (0..=self.polls.len() as u64 + 1).map(PollId)
    }
}

/// Where a poll is in the list.
fn at(poll: PollId) -> Option<usize> {
    (poll.0 as usize).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::room::Room;
    use super::*;
    use crate::rsm::Executor;

    fn request(voter: usize, number: u64, time_ms: u64, ask: &Ask) -> Command {
        Command::Request(Request {
            client: room::attendance(voter, 0),
            number: RequestNumber(number),
            low_water: RequestNumber(1),
            ttl_ms: 5,
            time_ms,
            body: room::of_polls(ask),
        })
    }

    fn name(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn open(for_ms: Option<u64>) -> Ask {
        Ask::Open { question: name("?"), for_ms }
    }

    fn vote(poll: u64, yes: bool) -> Ask {
        Ask::Vote { poll: PollId(poll), yes }
    }

    /// A little of everything, as it is applied.
    fn lawful() -> Vec<News> {
        let join = |name| Ask::Join { name };
        let close = || Ask::Close { poll: PollId(3) };
        let commands = [
            request(0, 1, 0, &join(name("ann"))),
            request(1, 1, 0, &join(name("bob"))),
            request(0, 2, 50, &open(None)),
            request(0, 3, 60, &vote(1, true)),
            request(0, 4, 70, &vote(1, false)),
            request(1, 2, 100, &open(Some(10))),
            Command::Wake(110),
            request(1, 3, 0, &vote(1, false)),
            request(2, 1, 0, &join(name("ann"))),
            Command::End(room::attendance(1, 0)),
            request(2, 2, 0, &open(None)),
            request(2, 3, 0, &close()),
            request(2, 4, 0, &close()),
        ];
        let mut executor = Executor::new(Room::default());
        let apply = |(slot, command): (u64, Command)| {
            let (slot, applied) = (Slot(slot), executor.apply(Slot(slot), &command));
            News { slot, command, applied }
        };
        (0..).zip(commands).map(apply).collect()
    }

    fn judged(history: &[News]) -> Returns {
        let mut returns = Returns::default();
        history.iter().for_each(|news| returns.learn(news, true));
        returns
    }

    /// Says something else in that slot.
    fn say(news: &mut News, said: &Said) {
        let Fate::Request { outcome: Outcome::Applied(_, reply), .. } = &mut news.applied.fate
        else {
            panic!("a request");
        };
        *reply = said.encode();
    }

    #[test]
    fn what_is_lawful_is_not_blamed() {
        let returns = judged(&lawful());
        let results: Vec<_> = returns.results(&name("ann")).collect();
        let tally = |poll, yes, no, abstained| Tally { poll: PollId(poll), yes, no, abstained };
        assert_eq!(results, [tally(1, 1, 1, 0), tally(2, 0, 0, 2), tally(3, 0, 0, 1)]);
        assert_eq!(returns.joined().len(), 1);
    }

    /// Bugs that turn it red: a law that is not looked at.
    #[test]
    fn each_law_can_be_broken() {
        type Break = fn(&mut Vec<News>);
        let cases: [(&str, Break); 9] = [
            ("ids", |it| {
                say(&mut it[2], &Said::Opened { poll: PollId(2), asked: 2, closes_ms: None });
            }),
            ("ids", |it| {
                say(&mut it[10], &Said::Opened { poll: PollId(3), asked: 2, closes_ms: None });
            }),
            ("first answer", |it| {
                say(&mut it[4], &Said::Recorded { poll: PollId(1), yes: false });
            }),
            ("asked", |it| drop(it[2].applied.notices.pop())),
            ("closed once", |it| it[6].applied.notices.clear()),
            ("closed once", |it| {
                let again = it[7].applied.notices.clone();
                it[11].applied.notices.extend(again);
            }),
            ("no wake without a cause", |it| it[6].command = Command::Wake(109)),
            ("joined", |it| say(&mut it[8], &Said::NotJoined)),
            ("at most once", |it| {
                let mut again = lawful().swap_remove(3);
                again.slot = Slot(20);
                if let Fate::Request { outcome: Outcome::Applied(at, _), .. } =
                    &mut again.applied.fate
                {
                    *at = Slot(20);
                }
                it.push(again);
            }),
        ];
        for (law, break_it) in cases {
            let mut history = lawful();
            break_it(&mut history);
            let blamed = catch_unwind(AssertUnwindSafe(|| judged(&history))).expect_err(law);
            let why = blamed.downcast::<String>().expect("in words");
            assert!(why.contains(law), "{law}: {why}");
        }
    }
}
