//! No message from outside makes a replica panic: well-formed ones with absurd contents, in any
//! order, between ticks and requests.
//!
//! What such a peer says may be false, so nothing is asked of agreement here; only that a replica
//! goes on, and that its memory stays within bounds that it sets itself.

use fastrand::Rng;

use super::*;

const MEMBERS: u16 = 3;
const ME: NodeId = NodeId(0);

/// A log that keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Wal for Nowhere {
    type Error = std::convert::Infallible;

    fn commit(&mut self, _records: &[Record]) -> Result<(), Self::Error> {
        Ok(())
    }

    fn load(&mut self) -> Result<AcceptorState, Self::Error> {
        Ok(AcceptorState::default())
    }
}

/// Draws messages; numbers are near those that matter, or far beyond.
struct Mouth {
    rng: Rng,
    ballots: Vec<Ballot>,
    slots: Vec<u64>,
    /// Answers that are due, so that it comes to a campaign and to office.
    owed: Vec<Envelope>,
}

impl Mouth {
    fn number(&mut self) -> u64 {
        match self.rng.u8(0..16) {
            0 if self.rng.u8(0..4) == 0 => u64::MAX,
            1 if self.rng.u8(0..4) == 0 => u64::MAX - self.rng.u64(0..4),
            2 => 1 << self.rng.u32(0..64),
            _ => self.rng.u64(0..6),
        }
    }

    fn slot(&mut self) -> Slot {
        match self.rng.u8(0..3) {
            0 => Slot(self.number()),
            _ => Slot(self.rng.choice(&self.slots).copied().unwrap_or(0)),
        }
    }

    fn ballot(&mut self, from: NodeId) -> Ballot {
        let known = self.rng.choice(&self.ballots).copied();
        match (self.rng.u8(0..4), known) {
            (0, Some(ballot)) => ballot,
            (1, Some(ballot)) => Ballot { node: from, ..ballot },
            (2, Some(ballot)) => {
                Ballot { node: from, round: ballot.round.saturating_add(1), ..ballot }
            }
            (_, _) => Ballot { round: self.number(), node: from, incarnation: self.incarnation() },
        }
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(if self.rng.u16(0..4000) == 0 { self.number() } else { 1 })
    }

    fn seal(&mut self) -> Seal {
        Seal { incarnation: self.incarnation(), known: vec![(NodeId(9), Incarnation(u64::MAX))] }
    }

    fn digest(&mut self) -> Digest {
        Digest { slot: self.slot(), hash: self.rng.u64(0..3) / 2 }
    }

    fn request(&mut self) -> Request {
        Request {
            client: ClientId(u128::from(self.rng.u8(0..3))),
            number: RequestNumber(self.number()),
            low_water: RequestNumber(self.number()),
            ttl_ms: self.number(),
            time_ms: self.number(),
            body: bytes::Bytes::new(),
        }
    }

    fn commands(&mut self) -> Vec<Command> {
        let length = self.rng.usize(0..4);
        (0..length).map(|_| Command::Request(self.request())).collect()
    }

    fn pvalues(&mut self, from: NodeId) -> Vec<PValue> {
        let length = self.rng.usize(0..4);
        let one = |_| PValue {
            ballot: self.ballot(from),
            slot: self.slot(),
            command: Command::Request(self.request()),
        };
        (0..length).map(one).collect()
    }

    fn message(&mut self, from: NodeId) -> Message {
        let (ballot, slot) = (self.ballot(from), self.slot());
        let (round, promised) = (self.number(), Some(self.ballot(from)));
        let (decided, incarnation, yes) = (self.slot(), self.incarnation(), self.rng.bool());
        let (pledges, seal) = (self.number(), self.seal());
        match self.rng.u8(0..20) {
            0 => Prepare { ballot, pledges }.into(),
            1 => {
                let (mark, accepted_in, accepted) = (slot, promised, self.pvalues(from));
                Promise { ballot, mark, accepted_in, accepted, pledges, seal }.into()
            }
            2 => Preempted { refused: ballot, promised: self.ballot(from) }.into(),
            3 => {
                let run = Run { ballot, after: slot, first: decided, commands: self.commands() };
                Accept { run, watermark: self.slot() }.into()
            }
            4 => Accepted { ballot, from: slot, up_to: decided, pledges, seal }.into(),
            5 => Resend { ballot }.into(),
            6 => Decide { ballot, watermark: slot }.into(),
            7 => {
                let digests = (0..4).map(|node| (NodeId(node), self.digest())).collect();
                Heartbeat { ballot, round, watermark: slot, decided, digests }.into()
            }
            8 => Echo { ballot, round, decided, seal, digest: Some(self.digest()) }.into(),
            9 => Canvass { round, decided }.into(),
            10 => CanvassAnswer { round, yes, promised, decided, seal }.into(),
            11 => CatchUpAsk { from: slot }.into(),
            12 => {
                let (commands, trimmed) = (self.commands(), self.slot());
                CatchUp { first: slot, commands, decided, trimmed }.into()
            }
            13 => Pledged { incarnation, pledges, others: vec![(ME, incarnation, pledges)] }.into(),
            14 => Recall { incarnation, life: round, address: None }.into(),
            15 => {
                // More than this node holds would end it, rightly.
                let of = self.incarnation();
                let (life, pledges) = (u64::from(ME.0), self.rng.u64(0..2));
                Recollection { of, life, pledges, seal }.into()
            }
            16 => Rejoin { incarnation, address: Some(bytes::Bytes::from_static(b"there")) }.into(),
            17 => {
                let (accepted, chain, remembered) = (self.pvalues(from), None, self.rng.u64(0..2));
                let (to, mark) = (self.incarnation(), slot);
                Testimony { to, promised, mark, chain, accepted, remembered, pledges, seal }.into()
            }
            18 => Holds { below: slot, seal }.into(),
            _ => Transfer { body: bytes::Bytes::from_static(b"anything") }.into(),
        }
    }

    /// What an obliging peer would answer, with contents of its own.
    fn hear(&mut self, said: &Envelope) {
        let (from, pledges, seal) = (said.to, self.number(), self.seal());
        let answer: Option<Message> = match &said.message {
            Message::Canvass(m) => {
                let (round, decided) = (m.round, self.slot());
                Some(CanvassAnswer { round, yes: true, promised: None, decided, seal }.into())
            }
            Message::Prepare(m) => {
                let (mark, accepted, ballot) = (self.slot(), self.pvalues(from), m.ballot);
                let accepted_in = accepted.iter().map(|pvalue| pvalue.ballot).max();
                Some(Promise { ballot, mark, accepted_in, accepted, pledges, seal }.into())
            }
            Message::Accept(m) => {
                let (ballot, from, up_to) = (m.run.ballot, m.run.after, m.run.end());
                Some(Accepted { ballot, from, up_to, pledges, seal }.into())
            }
            Message::Heartbeat(m) => {
                let (ballot, round, decided) = (m.ballot, m.round, self.slot());
                Some(Echo { ballot, round, decided, seal, digest: None }.into())
            }
            Message::CatchUpAsk(m) => {
                let (first, commands, decided) = (m.from, self.commands(), self.slot());
                let trimmed = if self.rng.bool() { Slot(0) } else { self.slot() };
                Some(CatchUp { first, commands, decided, trimmed }.into())
            }
            Message::Recall(m) => {
                let (of, life, pledges) = (m.incarnation, m.life, self.rng.u64(0..2));
                Some(Recollection { of, life, pledges, seal }.into())
            }
            Message::Rejoin(m) => {
                let (to, mark, accepted) = (m.incarnation, self.slot(), self.pvalues(from));
                let (promised, chain, remembered) = (Some(self.ballot(from)), None, 0);
                Some(
                    Testimony { to, promised, mark, chain, accepted, remembered, pledges, seal }
                        .into(),
                )
            }
            Message::Promise(_)
            | Message::Pledged(_)
            | Message::Recollection(_)
            | Message::Testimony(_)
            | Message::Holds(_)
            | Message::Preempted(_)
            | Message::Accepted(_)
            | Message::Resend(_)
            | Message::Decide(_)
            | Message::Echo(_)
            | Message::CanvassAnswer(_)
            | Message::CatchUp(_)
            | Message::Transfer(_) => None,
        };
        self.owed.extend(answer.map(|message| Envelope { from, to: said.from, message }));
    }

    fn input(&mut self) -> Input {
        match self.rng.u8(0..16) {
            0 => Input::Tick { elapsed: self.rng.u64(0..200) },
            1 => Input::Read(ReadId(self.rng.u64(..))),
            2 => Input::Reset(NodeId(self.rng.u16(0..4))),
            3 => Input::Propose {
                request: self.request(),
                applied: RequestNumber(self.rng.u64(0..3)),
            },
            4 if self.rng.u8(0..8) == 0 => Input::Skip(self.number()),
            5 => Input::Heal,
            6..=11 if !self.owed.is_empty() => {
                Input::Message(self.owed.swap_remove(self.rng.usize(0..self.owed.len())))
            }
            _ => {
                let from = NodeId(self.rng.u16(1..=MEMBERS));
                Input::Message(Envelope { from, to: ME, message: self.message(from) })
            }
        }
    }
}

/// What a replica said that a peer could answer, and so must be guessable.
fn overhear(mouth: &mut Mouth, replica: &Replica) {
    mouth.ballots.extend(replica.state().promised());
    let decided = replica.decided().0;
    mouth.slots = vec![decided, decided.saturating_add(1), replica.end().0, 0];
    mouth.ballots = mouth.ballots.split_off(mouth.ballots.len().saturating_sub(4));
}

/// Whether the replica led at any time.
fn talk(seed: u64) -> bool {
    let timing = Timing::from_election(80);
    let config = Config::new(ME, Incarnation(1), MEMBERS, timing);
    // Every third store takes the place of a lost one.
    let lost = Record::Standing { pledges: 0, votes: !seed.is_multiple_of(3) };
    let mut replica = Replica::recover(config, AcceptorState::replay([lost]));
    let mut persister = Persister::new(Nowhere);
    let rng = Rng::with_seed(seed);
    let mut mouth = Mouth { rng, ballots: Vec::new(), slots: Vec::new(), owed: Vec::new() };
    let mut led = false;
    for _ in 0..400 {
        overhear(&mut mouth, &replica);
        let mut inputs = vec![mouth.input()];
        // What it says to itself comes at once, as in a node.
        while !inputs.is_empty() {
            let mut effects = replica.step(inputs.remove(0));
            for input in inputs.drain(..).chain([Input::Flush]) {
                effects = effects.then(replica.step(input));
            }
            let mut released = persister.persist(effects).expect("cannot fail");
            let own = released.take_loopback(ME);
            released.messages().iter().for_each(|said| mouth.hear(said));
            inputs = own.into_iter().map(Input::Message).collect();
            let decided = replica.decided();
            replica.note_applied(decided, Some(Digest { slot: decided, hash: 0 }));
            led |= replica.is_leading();
        }
    }
    let held = replica.state().votes(Slot(0)).count();
    assert!(held < 1 << 20, "bounded: {held} slots are held");
    led
}

#[test]
fn absurd_messages_do_no_harm() {
    let mut led = 0;
    for seed in 0..2_000 {
        let outcome = std::panic::catch_unwind(|| talk(seed));
        led += u32::from(outcome.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert!(led > 500, "a replica that never leads is not tried: {led} did");
}
