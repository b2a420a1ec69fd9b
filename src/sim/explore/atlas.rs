//! All moments and letters that were met, by number, and what leads from one moment to others.
//!
//! A small world has few moments of a node and few letters, and very many ways to put them
//! together. So a state of the world is a handful of numbers, and the real node is asked only once
//! what it does at a given moment upon a given cue: it is deterministic, so its answer is final.
//! Two nodes are at the same moment if their essence (`Replica::essence`) is the same.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::moment::{After, Cue, Moment, request};
use super::{Trial, laws};
use crate::paxos::invariants::Broken;
use crate::paxos::{AcceptorState, Ballot, Command, Envelope, Message, NodeId, Run, Slot};
use crate::wire::codec;

/// A moment by its number.
pub(super) type MomentId = u32;

/// A letter by its number.
pub(super) type LetterId = u32;

/// What a node at one moment would do upon a cue, by number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) to: MomentId,
    /// What is sent, ascending.
    pub(super) sends: Vec<LetterId>,
    pub(super) is_crash: bool,
}

/// Who would follow, what it has promised, and how far it has decided.
pub(super) type Yes = (NodeId, Option<Ballot>, Slot);

/// A cue, with letters by their number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// A letter arrives.
    Deliver(LetterId),
    /// A canvass is answered with yes, and the node campaigns.
    Campaign(Vec<Yes>),
    /// This client's request arrives.
    Propose(u8),
    /// A crash between two events, and a new start.
    Restart,
}

/// What a state's laws and its next events ask of a moment, at hand.
#[derive(Debug)]
pub(super) struct Facts {
    moment: Moment,
    /// The same moment, come to in another way, in a search that keeps all: it must go on alike.
    twin: Option<Moment>,
    promised: Option<Ballot>,
    /// In which ballot it campaigns or leads.
    office: Option<Ballot>,
    /// Whether it would take a request.
    pub(super) is_ready: bool,
    /// What it has decided, from slot 0 on.
    pub(super) decided: Vec<Command>,
    /// The ballots of what it holds above its durable mark, to which a crash would set it back.
    votes: Vec<Option<Ballot>>,
    known: BTreeMap<Call, Rc<[Outcome]>>,
}

/// A message that was sent.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) envelope: Envelope,
    /// To which node.
    pub(super) to: usize,
}

/// Everything that was met.
#[derive(Debug)]
pub(super) struct Atlas {
    trial: Trial,
    moments: Vec<Facts>,
    by_essence: BTreeMap<String, MomentId>,
    letters: Vec<Letter>,
    by_bytes: BTreeMap<Vec<u8>, LetterId>,
}

impl Atlas {
    pub(super) fn new(trial: Trial) -> Atlas {
        Atlas {
            trial,
            moments: Vec::new(),
            by_essence: BTreeMap::new(),
            letters: Vec::new(),
            by_bytes: BTreeMap::new(),
        }
    }

    /// The first moment of a node.
    pub(super) fn first(&mut self, node: NodeId) -> MomentId {
        self.note_moment(Moment::first(node, &self.trial))
    }

    pub(super) fn facts(&self, id: MomentId) -> &Facts {
        &self.moments[id as usize]
    }

    pub(super) fn letter(&self, id: LetterId) -> &Letter {
        &self.letters[id as usize]
    }

    /// The disk of a node at this moment.
    pub(super) fn disk(&self, id: MomentId) -> &AcceptorState {
        self.facts(id).moment.state()
    }

    /// What this node would tell a canvass at this moment, if it said yes.
    pub(super) fn yes(&self, node: NodeId, id: MomentId) -> Yes {
        let facts = self.facts(id);
        (node, facts.promised, Slot(facts.decided.len() as u64))
    }

    /// How many moments and letters there are.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.moments.len(), self.letters.len())
    }

    /// What a letter proposes.
    pub(super) fn proposal(&self, id: LetterId) -> Option<&Run> {
        if let Message::Accept(accept) = &self.letter(id).envelope.message {
            Some(&accept.run)
        } else {
            None
        }
    }

    /// What a node at this moment does upon this call: the real node is asked the first time.
    ///
    /// # Errors
    ///
    /// If it breaks an invariant of its own, or panics.
    pub(super) fn follow(&mut self, id: MomentId, call: &Call) -> Result<Rc<[Outcome]>, Broken> {
        if let Some(known) = self.facts(id).known.get(call) {
            return Ok(Rc::clone(known));
        }
        let cue = self.cue(call);
        let outcomes = self.ask(id, &self.facts(id).moment.clone(), &cue)?;
        if let Some(twin) = self.facts(id).twin.clone() {
            let same = self.ask(id, &twin, &cue)? == outcomes;
            laws::hold(same, "essence", || format!("twins differ after {cue:?}: {twin:?}"))?;
        }
        let outcomes: Rc<[Outcome]> = outcomes.into();
        self.moments[id as usize].known.insert(call.clone(), Rc::clone(&outcomes));
        Ok(outcomes)
    }

    /// Whether a letter can change nothing any more, neither now nor later, so that it may as well
    /// be gone: see the head of `explore`.
    pub(super) fn is_spent(&self, id: LetterId, nodes: &[MomentId]) -> bool {
        let Letter { envelope, to } = self.letter(id);
        let to = self.facts(nodes[*to]);
        let is_over =
            |ballot: Ballot| self.facts(nodes[usize::from(ballot.node.0)]).office != Some(ballot);
        match &envelope.message {
            Message::Preempted(preempted) => to.office != Some(preempted.refused),
            Message::Accepted(accepted) => to.office != Some(accepted.ballot),
            Message::Resend(resend) => to.office != Some(resend.ballot),
            Message::Prepare(it) => to.refuses(it.ballot) && is_over(it.ballot),
            Message::Accept(accept) => {
                let ballot = accept.run.ballot;
                to.refuses(ballot) && is_over(ballot) && to.has_no_use_of(ballot, accept.watermark)
            }
            Message::Decide(decide) => to.has_no_use_of(decide.ballot, decide.watermark),
            Message::Promise(_)
            | Message::CatchUpAsk(_)
            | Message::CatchUp(_)
            | Message::Transfer(_)
            | Message::Heartbeat(_)
            | Message::Echo(_)
            | Message::Canvass(_)
            | Message::CanvassAnswer(_)
            | Message::Pledged(_)
            | Message::Recall(_)
            | Message::Recollection(_)
            | Message::Rejoin(_)
            | Message::Testimony(_)
            | Message::Holds(_) => false,
        }
    }

    fn cue(&self, call: &Call) -> Cue {
        match call {
            Call::Deliver(letter) => Cue::Deliver(self.letter(*letter).envelope.clone()),
            Call::Campaign(answers) => Cue::Campaign(answers.clone()),
            Call::Propose(client) => Cue::Propose(request(u64::from(*client))),
            Call::Restart => Cue::Restart,
        }
    }

    fn ask(&mut self, id: MomentId, moment: &Moment, cue: &Cue) -> Result<Vec<Outcome>, Broken> {
        let all = catch_unwind(AssertUnwindSafe(|| moment.follow(cue)));
        let all = all.unwrap_or_else(|panic| {
            let detail = panic.downcast_ref::<String>().cloned();
            let detail = detail.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Broken { invariant: "an assertion", detail: detail.unwrap_or_default() })
        })?;
        let mut outcomes: Vec<_> = all.into_iter().map(|after| self.note(after)).collect();
        // What changes nothing is no event: to wait is always possible.
        let keeps_all = self.trial.keeps_all;
        outcomes.retain(|it| keeps_all || it.to != id || !it.sends.is_empty());
        outcomes.sort();
        outcomes.dedup();
        Ok(outcomes)
    }

    fn note(&mut self, after: After) -> Outcome {
        let heard = after.sent.into_iter().filter(|it| !laws::is_sign_of_life(&it.message));
        let mut sends: Vec<LetterId> = heard.map(|envelope| self.note_letter(envelope)).collect();
        sends.sort_unstable();
        let to = self.note_moment(after.moment);
        Outcome { to, sends, is_crash: after.is_crash }
    }

    fn note_moment(&mut self, moment: Moment) -> MomentId {
        let essence = moment.node().replica().essence();
        let next = self.moments.len() as MomentId;
        let id = *self.by_essence.entry(essence).or_insert(next);
        if id == next {
            self.moments.push(Facts::of(moment));
        } else if self.trial.keeps_all {
            self.moments[id as usize].twin = Some(moment);
        }
        id
    }

    fn note_letter(&mut self, envelope: Envelope) -> LetterId {
        let bytes = codec::encode(&envelope);
        let next = self.letters.len() as LetterId;
        let id = *self.by_bytes.entry(bytes).or_insert(next);
        if id == next {
            self.letters.push(Letter { to: usize::from(envelope.to.0), envelope });
        }
        id
    }
}

impl Facts {
    fn of(moment: Moment) -> Facts {
        let replica = moment.node().replica();
        let state = replica.state();
        let end = replica.decided();
        let below = state.votes(Slot(0)).take_while(|(slot, _)| *slot < end);
        Facts {
            promised: state.promised(),
            office: moment.office(),
            is_ready: replica.is_ready(),
            decided: below.map(|(_, vote)| vote.command.clone()).collect(),
            votes: state.votes(state.mark()).map(|(_, vote)| vote.ballot).collect(),
            known: BTreeMap::new(),
            twin: None,
            moment,
        }
    }

    fn refuses(&self, ballot: Ballot) -> bool {
        self.promised > Some(ballot)
    }

    /// Whether a watermark of this ballot decides nothing here, now or later.
    fn has_no_use_of(&self, ballot: Ballot, watermark: Slot) -> bool {
        let accepts_no_more = self.refuses(ballot) && !self.votes.contains(&Some(ballot));
        watermark <= self.moment.state().mark() || accepts_no_more
    }
}
