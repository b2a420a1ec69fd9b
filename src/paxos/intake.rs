//! The intake: requests that reached the leader, in order, until they are decided and applied.
//!
//! Invariants: a session's requests are taken in the order of their numbers; one that waits, is
//! proposed, or is applied is not taken again. So no request is ever decided in two slots by one
//! leader, and slot numbers are dense.
//!
//! Requests that came by several nodes may overtake each other. One that came too early is refused,
//! since what is missing may never come; but it is kept at hand for a while, so that it need not be
//! sent once more when the others arrive.

use std::collections::{BTreeMap, VecDeque};

use super::ballot::Slot;
use super::command::{ClientId, Command, Request, RequestNumber};
use super::config::Limits;
use super::notice::Rejection;

/// The requests a leader has taken and not yet seen applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Intake {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    waiting_requests: usize,
    /// The highest number taken of each client that has anything under way.
    last: BTreeMap<ClientId, RequestNumber>,
    /// What is proposed, by slot, until it is applied.
    proposed: VecDeque<(Slot, ClientId, RequestNumber)>,
    /// Requests that came before one of lower number.
    early: BTreeMap<(ClientId, RequestNumber), Request>,
    early_bytes: usize,
}

/// So many requests that came too early are kept at hand.
const EARLY_MAX: usize = 4096;

#[derive(Clone, Debug)]
enum Waiting {
    Request(Request),
    /// A command of no client's.
    Own(Command),
    Skip(u64),
}

/// What comes next out of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Propose these.
    Commands(Vec<Command>),
    /// Leave so many slots empty.
    Skip(u64),
}

impl Intake {
    /// Takes a request whose session has applied everything up to `applied`, unless it is under way
    /// already.
    pub(super) fn take(
        &mut self,
        request: Request,
        applied: RequestNumber,
        limits: &Limits,
    ) -> Result<(), Rejection> {
        let last = self.last.get(&request.client).copied().unwrap_or(applied).max(applied);
        if request.number <= last {
            return Ok(());
        }
        let next = RequestNumber(last.0.saturating_add(1));
        if request.number != next {
            self.keep_early(request, limits);
            return Err(Rejection::Gap(next));
        }
        self.enqueue(request, limits)
    }

    /// What came too early and follows now on what was taken of a client, in order.
    pub(super) fn follow(&mut self, client: ClientId, limits: &Limits) -> Vec<RequestNumber> {
        let mut taken = Vec::new();
        while let Some(last) = self.last.get(&client) {
            let next = RequestNumber(last.0.saturating_add(1));
            let Some(request) = self.early.remove(&(client, next)) else { break };
            self.early_bytes -= request.body.len();
            if self.enqueue(request, limits).is_err() {
                break;
            }
            taken.push(next);
        }
        taken
    }

    fn enqueue(&mut self, request: Request, limits: &Limits) -> Result<(), Rejection> {
        let bytes = self.waiting_bytes + request.body.len();
        if self.waiting_requests >= limits.queue_requests || bytes > limits.queue_bytes {
            return Err(Rejection::Busy);
        }
        self.last.insert(request.client, request.number);
        self.waiting_bytes = bytes;
        self.waiting_requests += 1;
        self.waiting.push_back(Waiting::Request(request));
        Ok(())
    }

    /// Where there is no room, something else goes: nothing rests on what is kept here.
    fn keep_early(&mut self, request: Request, limits: &Limits) {
        self.early_bytes += request.body.len();
        let key = (request.client, request.number);
        if let Some(before) = self.early.insert(key, request) {
            self.early_bytes -= before.body.len();
        }
        while self.early.len() > EARLY_MAX || self.early_bytes > limits.queue_bytes {
            let Some((_, dropped)) = self.early.pop_first() else { return };
            self.early_bytes -= dropped.body.len();
        }
    }

    /// Takes a command of no client's: it is proposed after what waits now.
    pub(super) fn take_own(&mut self, command: Command) {
        self.waiting.push_back(Waiting::Own(command));
    }

    /// Whether a client has anything waiting, proposed, or not yet applied.
    pub(super) fn has(&self, client: ClientId) -> bool {
        self.last.contains_key(&client)
    }

    /// Takes up what phase 1 adopted: these requests are under way, from `first` on.
    pub(super) fn adopt(&mut self, first: Slot, commands: &[Command]) {
        self.proposed.retain(|(slot, _, _)| *slot < first);
        self.note_proposed(first, commands);
        for (_, client, number) in &self.proposed {
            let last = self.last.entry(*client).or_insert(*number);
            *last = (*last).max(*number);
        }
    }

    /// Leaves slots empty after what waits now.
    pub(super) fn skip(&mut self, count: u64) {
        self.waiting.push_back(Waiting::Skip(count));
    }

    /// Whether a command comes next.
    pub(super) fn is_command_next(&self) -> bool {
        matches!(self.waiting.front(), Some(Waiting::Request(_) | Waiting::Own(_)))
    }

    /// What to do next, at most `room` bytes but at least one command; `None` if nothing waits.
    pub(super) fn next(&mut self, room: usize, slots: u64) -> Option<Next> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting {
                Waiting::Skip(count) if commands.is_empty() => return Some(Next::Skip(count)),
                Waiting::Skip(count) => {
                    self.waiting.push_front(Waiting::Skip(count));
                    break;
                }
                Waiting::Request(request) => {
                    let (length, command) = (request.body.len(), Command::Request(request));
                    bytes += command.weight();
                    self.waiting_bytes -= length;
                    self.waiting_requests -= 1;
                    commands.push(command);
                }
                Waiting::Own(command) => {
                    bytes += command.weight();
                    commands.push(command);
                }
            }
            if bytes >= room || commands.len() as u64 >= slots {
                break;
            }
        }
        (!commands.is_empty()).then_some(Next::Commands(commands))
    }

    /// Notes where commands were proposed.
    pub(super) fn note_proposed(&mut self, first: Slot, commands: &[Command]) {
        for (slot, command) in (first.0..).map(Slot).zip(commands) {
            if let Command::Request(request) = command {
                self.proposed.push_back((slot, request.client, request.number));
            }
        }
    }

    /// Every slot below is applied: what stood there is the sessions' business now.
    pub(super) fn note_applied(&mut self, applied: Slot) {
        while let Some((slot, client, number)) = self.proposed.front().copied() {
            if slot >= applied {
                break;
            }
            self.proposed.pop_front();
            if self.last.get(&client) == Some(&number) {
                self.last.remove(&client);
            }
        }
    }

    /// How many requests wait or are proposed and not yet applied.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting_requests + self.proposed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u128, number: u64) -> Request {
        Request {
            client: ClientId(client),
            number: RequestNumber(number),
            low_water: RequestNumber(1),
            ttl_ms: 0,
            time_ms: 0,
            body: bytes::Bytes::from_static(b"x"),
        }
    }

    fn take(intake: &mut Intake, client: u128, number: u64) -> Result<(), Rejection> {
        intake.take(request(client, number), RequestNumber(0), &Limits::default())
    }

    #[test]
    fn in_order_and_once() {
        let mut intake = Intake::default();
        assert_eq!(take(&mut intake, 1, 2), Err(Rejection::Gap(RequestNumber(1))));
        assert_eq!(take(&mut intake, 1, 1), Ok(()));
        assert_eq!(take(&mut intake, 1, 1), Ok(()), "a resent request is no error");
        assert_eq!(take(&mut intake, 1, 2), Ok(()));
        assert_eq!(intake.outstanding(), 2, "and is not queued again");
        let Some(Next::Commands(commands)) = intake.next(1 << 20, 10) else { panic!("commands") };
        intake.note_proposed(Slot(7), &commands);
        assert_eq!(take(&mut intake, 1, 2), Ok(()));
        assert_eq!(intake.outstanding(), 2, "nor proposed again");
        intake.note_applied(Slot(9));
        assert_eq!((intake.outstanding(), intake.has(ClientId(1))), (0, false));
    }

    /// Bugs that turn it red: what came too early is taken before its turn, or is not kept; room
    /// that is not given back.
    #[test]
    fn what_came_too_early_follows_at_its_turn() {
        let (mut intake, limits) = (Intake::default(), Limits::default());
        for number in [3, 2, 5] {
            assert_eq!(take(&mut intake, 1, number), Err(Rejection::Gap(RequestNumber(1))));
        }
        assert_eq!(intake.follow(ClientId(1), &limits), [], "nothing was taken yet");
        assert_eq!(take(&mut intake, 1, 1), Ok(()));
        let followed = intake.follow(ClientId(1), &limits);
        assert_eq!(followed, [RequestNumber(2), RequestNumber(3)]);
        assert_eq!((intake.outstanding(), intake.early_bytes), (3, 1));
        let Some(Next::Commands(commands)) = intake.next(1 << 20, 10) else { panic!("commands") };
        let numbers = commands.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(numbers, ["00000000#1", "00000000#2", "00000000#3"]);
    }

    #[test]
    fn a_full_queue_says_so() {
        let limits = Limits { queue_requests: 1, ..Limits::default() };
        let mut intake = Intake::default();
        assert_eq!(intake.take(request(1, 1), RequestNumber(0), &limits), Ok(()));
        let second = intake.take(request(2, 1), RequestNumber(0), &limits);
        assert_eq!(second, Err(Rejection::Busy));
    }

    #[test]
    fn a_skip_keeps_its_place_in_the_queue() {
        let mut intake = Intake::default();
        take(&mut intake, 1, 1).expect("room");
        intake.skip(3);
        take(&mut intake, 1, 2).expect("room");
        assert!(matches!(intake.next(1 << 20, 10), Some(Next::Commands(c)) if c.len() == 1));
        assert_eq!(intake.next(1 << 20, 10), Some(Next::Skip(3)));
        assert!(matches!(intake.next(1 << 20, 10), Some(Next::Commands(c)) if c.len() == 1));
        assert_eq!(intake.next(1 << 20, 10), None);
    }

    #[test]
    fn what_was_adopted_is_under_way() {
        let mut intake = Intake::default();
        intake.adopt(Slot(4), &[Command::Noop, Command::Request(request(1, 1))]);
        assert_eq!(take(&mut intake, 1, 1), Ok(()));
        assert_eq!(intake.outstanding(), 1);
        assert_eq!(take(&mut intake, 1, 2), Ok(()));
        assert_eq!(intake.outstanding(), 2);
    }
}
