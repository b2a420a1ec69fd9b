//! A node at one moment: the real node on a disk in memory, and what happens to it in one event.
//!
//! An event is what a server does between two waits: one input, with all that the node then says to
//! itself, in as many commits as that takes. The power can go in each of them: what left early has
//! left, any prefix of the commit's records is on disk, and the node starts again from there.
//! That the power goes *after* a commit, before what rests on it left, needs no event of its own: a
//! message may stay in flight for ever.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::Trial;
use super::atlas::Yes;
use super::laws;
use crate::node::{self, Beside, Event, Node};
use crate::paxos::claims::persist_before_send;
use crate::paxos::invariants::{self, Verdict};
use crate::paxos::{
    AcceptorState, Ballot, CanvassAnswer, ClientId, Config, Envelope, Incarnation, Network, NodeId,
    Record, Released, Request, RequestNumber, Seal, Slot, Timing, Wal,
};
use crate::rsm::{Archive, StateMachine, Turn};

/// Every node's store is its first.
const STORE: Incarnation = Incarnation(1);

/// One tick of this length outlasts every timer, so that clocks are no part of a state.
const LONG_TICKS: u64 = 1 << 10;

/// The shortest election timeout: all other timers follow from it and are far below a long tick.
const ELECTION_TICKS: u64 = 16;

/// What can happen to a node.
#[derive(Clone, Debug)]
pub(super) enum Cue {
    /// A message arrives.
    Deliver(Envelope),
    /// Its timers run out, it canvasses, and these peers say yes: it campaigns.
    Campaign(Vec<Yes>),
    /// A client's request arrives.
    Propose(Request),
    /// It crashes, between two events, and starts again.
    Restart,
}

/// What came of it, and what was sent meanwhile.
#[derive(Debug)]
pub(super) struct After {
    pub(super) moment: Moment,
    pub(super) sent: Vec<Envelope>,
    /// The power went: the node has started again.
    pub(super) is_crash: bool,
}

/// A node as it is between two events.
#[derive(Clone, Debug)]
pub(super) struct Moment(Node<Disk, Echo>);

impl Moment {
    /// A node that knows its peers' stores, and nothing else yet.
    pub(super) fn first(node: NodeId, trial: &Trial) -> Moment {
        let world = trial.world;
        let others = (0..world.members).map(NodeId).filter(|other| *other != node);
        let met = others.map(|node| Record::Incarnation { node, incarnation: STORE });
        let timing = Timing::from_election(ELECTION_TICKS);
        let mut config = Config::new(node, STORE, world.members, timing);
        config.limits.window_runs = usize::from(world.window);
        // No disk loses here what it acknowledged.
        config.recalls = false;
        Moment::start(config, Disk::holding(AcceptorState::replay(met), trial.is_lying))
    }

    fn start(config: Config, disk: Disk) -> Moment {
        let opened = Node::open(config, disk, Beside::default(), Echo);
        Moment(opened.expect("a disk whose power is on"))
    }

    pub(super) fn node(&self) -> &Node<Disk, Echo> {
        &self.0
    }

    /// What a crash now would leave, which is also what the replica works on.
    pub(super) fn state(&self) -> &AcceptorState {
        self.0.replica().state()
    }

    /// In which ballot it campaigns or leads: the one it has promised, or it would have stepped
    /// down.
    pub(super) fn office(&self) -> Option<Ballot> {
        let replica = self.0.replica();
        let is_in_office = replica.is_leading() || replica.is_campaigning();
        self.state().promised().filter(|_| is_in_office)
    }

    /// Everything that can come of a cue: what does if all goes well, and each crash in its midst.
    ///
    /// # Errors
    ///
    /// If what the node did breaks an invariant of its own, or it said what it could forget.
    pub(super) fn follow(&self, cue: &Cue) -> Result<Vec<After>, invariants::Broken> {
        if matches!(cue, Cue::Restart) {
            let moment = self.restarted();
            self.lawful(&moment, true)?;
            return Ok(vec![After { moment, sent: Vec::new(), is_crash: true }]);
        }
        let (whole, commits) = self.play(cue, None)?;
        let mut all = vec![whole];
        for (commit, records) in commits.into_iter().enumerate() {
            for written in 0..records {
                all.push(self.play(cue, Some(Doom { commit, written }))?.0);
            }
        }
        Ok(all)
    }

    /// Plays a cue, perhaps into a power cut. Also how many records each of its commits had.
    fn play(
        &self,
        cue: &Cue,
        doom: Option<Doom>,
    ) -> Result<(After, Vec<usize>), invariants::Broken> {
        let Moment(mut node) = self.clone();
        let disk = node.wal().same();
        disk.prepare(doom);
        let mut wire = Wire { disk: disk.same(), sent: Vec::new(), verdict: Ok(()) };
        let played = perform(&mut node, cue, &mut wire);
        wire.verdict?;
        let is_crash = played.is_err();
        let moment = match played {
            Ok(()) => Moment(node),
            Err(_) => Moment(node).restarted(),
        };
        self.lawful(&moment, is_crash)?;
        Ok((After { moment, sent: wire.sent, is_crash }, disk.commits()))
    }

    /// The node as its disk brings it back.
    fn restarted(&self) -> Moment {
        Moment::start(self.0.replica().config().clone(), self.0.wal().clone())
    }

    /// What a node may never do, whatever the others did.
    fn lawful(&self, after: &Moment, is_crash: bool) -> Verdict {
        let (before, now) = (self.state(), after.state());
        invariants::a1(before.promised(), now.promised())?;
        invariants::a2(now, Slot(0))?;
        invariants::a3(before, now)?;
        invariants::r2(after.0.replica(), Slot(0))?;
        let decided = after.0.replica().decided();
        let floor = if is_crash { before.mark() } else { self.0.replica().decided() };
        invariants::r4(floor, decided)?;
        laws::fresh_ballot(before.promised(), self.office(), after.office())?;
        laws::all_on_disk(now, &after.0.wal().image())
    }
}

/// The first request of a client; each client makes one.
pub(super) fn request(client: u64) -> Request {
    Request {
        client: ClientId(u128::from(client + 1) << 96),
        number: RequestNumber(1),
        low_water: RequestNumber(1),
        ttl_ms: 0,
        time_ms: 0,
        body: Bytes::from(vec![client as u8]),
    }
}

fn perform(
    node: &mut Node<Disk, Echo>,
    cue: &Cue,
    wire: &mut Wire,
) -> Result<(), node::Error<PowerCut>> {
    match cue {
        Cue::Deliver(envelope) => drop(node.handle([Event::Message(envelope.clone())], wire)?),
        Cue::Propose(request) => drop(node.handle([Event::Request(request.clone())], wire)?),
        Cue::Campaign(answers) => campaign(node, answers, wire)?,
        Cue::Restart => unreachable!("a restart is no event of a node that runs"),
    }
    Ok(())
}

/// Lets time pass until the node canvasses, and lets it have its answers.
fn campaign(
    node: &mut Node<Disk, Echo>,
    answers: &[Yes],
    wire: &mut Wire,
) -> Result<(), node::Error<PowerCut>> {
    let to = node.replica().config().node;
    // One that leads or campaigns gives that up in the first, and canvasses in the second.
    for _ in 0..2 {
        if !node.replica().is_canvassing() {
            node.handle([Event::Tick { elapsed: LONG_TICKS }], wire)?;
        }
    }
    let mut asked = wire.sent.iter().filter_map(laws::canvass_round);
    let Some(round) = asked.next_back() else { return Ok(()) };
    for (from, promised, decided) in answers.iter().copied() {
        let seal = Seal { incarnation: STORE, known: Vec::new() };
        let answer = CanvassAnswer { round, yes: true, promised, decided, seal };
        let envelope = Envelope { from, to, message: answer.into() };
        node.handle([Event::Message(envelope)], wire)?;
    }
    Ok(())
}

/// A machine whose reply to a command is the command.
#[derive(Clone, Debug)]
pub(super) struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, _turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        command.to_vec()
    }

    fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) {}
}

/// What leaves a node in one event, and whether the disk held all that it claims.
struct Wire {
    disk: Disk,
    sent: Vec<Envelope>,
    verdict: Verdict,
}

impl Network for Wire {
    fn send(&mut self, released: Released) {
        for envelope in released.into_messages() {
            let claims = persist_before_send(&self.disk.image(), &envelope);
            self.verdict = std::mem::replace(&mut self.verdict, Ok(())).and(claims);
            self.sent.push(envelope);
        }
    }
}

/// A disk in memory, which can lose power in the midst of a commit. A clone is another disk that
/// holds the same.
#[derive(Debug)]
pub(super) struct Disk(Rc<RefCell<Platter>>);

#[derive(Clone, Debug, Default)]
struct Platter {
    image: AcceptorState,
    /// How many records each commit of this event had.
    commits: Vec<usize>,
    doom: Option<Doom>,
    /// Acknowledges what it does not hold: what the search must notice.
    is_lying: bool,
}

/// In which commit of an event the power goes, and after how many of its records.
#[derive(Clone, Copy, Debug)]
struct Doom {
    commit: usize,
    written: usize,
}

/// The power went in the midst of a commit.
#[derive(Debug, thiserror::Error)]
#[error("power cut")]
pub(super) struct PowerCut;

impl Disk {
    fn holding(image: AcceptorState, is_lying: bool) -> Disk {
        Disk(Rc::new(RefCell::new(Platter { image, is_lying, ..Platter::default() })))
    }

    /// The same disk, to look at while a node holds it.
    fn same(&self) -> Disk {
        Disk(Rc::clone(&self.0))
    }

    fn prepare(&self, doom: Option<Doom>) {
        let mut platter = self.0.borrow_mut();
        platter.commits.clear();
        platter.doom = doom;
    }

    fn image(&self) -> AcceptorState {
        self.0.borrow().image.clone()
    }

    fn commits(&self) -> Vec<usize> {
        self.0.borrow().commits.clone()
    }
}

impl Clone for Disk {
    fn clone(&self) -> Disk {
        Disk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

impl Wal for Disk {
    type Error = PowerCut;

    fn commit(&mut self, records: &[Record]) -> Result<(), PowerCut> {
        let mut platter = self.0.borrow_mut();
        let commit = platter.commits.len();
        platter.commits.push(records.len());
        let doom = platter.doom.filter(|doom| doom.commit == commit);
        let kept = if platter.is_lying { 0 } else { records.len() };
        let written = doom.map_or(kept, |doom| doom.written);
        let image = std::mem::take(&mut platter.image);
        platter.image = image.then(records[..written].iter().cloned());
        if doom.is_some() { Err(PowerCut) } else { Ok(()) }
    }

    fn load(&mut self) -> Result<AcceptorState, PowerCut> {
        Ok(self.0.borrow().image.clone())
    }
}
