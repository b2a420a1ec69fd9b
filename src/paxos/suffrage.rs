//! Whether this node may vote, and what it waits for if not.
//!
//! A node that may not vote promises, accepts, echoes and canvasses nothing; it learns what is
//! decided, and serves it. Once it votes it goes on to, until it stops for good.

use std::collections::BTreeMap;

use super::ballot::{Incarnation, NodeId};
use super::config::Config;
use super::durable::{AcceptorState, Effects};
use super::message::{Message, Testimony};
use super::replica::Replica;

/// The right to vote.
#[derive(Clone, Debug)]
pub(super) enum Suffrage {
    /// It votes.
    Full,
    /// It has just started, and asks what others remember of its store.
    Recalling(Recalling),
    /// Its store takes the place of a lost one.
    Rejoining(Rejoining),
    /// Its store is not to be trusted, or replaced: it says nothing any more.
    Gone,
}

/// Who remembers no more than this store holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Recalling {
    pub(super) answers: BTreeMap<NodeId, Incarnation>,
    /// When those who have not answered are asked again.
    pub(super) due: u64,
}

/// What others testified to.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejoining {
    pub(super) testimonies: BTreeMap<NodeId, Testimony>,
    /// When those who have not answered are asked again.
    pub(super) due: u64,
}

impl Suffrage {
    /// That of a node which starts from this disk.
    pub(super) fn at_start(config: &Config, state: &AcceptorState) -> Suffrage {
        if !state.is_fit() {
            Suffrage::Rejoining(Rejoining::default())
        } else if config.recalls && config.members > 1 {
            Suffrage::Recalling(Recalling::default())
        } else {
            Suffrage::Full
        }
    }

    /// Drops what a store said that a newer one of the same node replaced.
    pub(super) fn forget(&mut self, node: NodeId, older_than: Incarnation) {
        match self {
            Suffrage::Full | Suffrage::Gone => (),
            Suffrage::Recalling(recalling) => {
                recalling.answers.retain(|from, store| *from != node || *store >= older_than);
            }
            Suffrage::Rejoining(rejoining) => {
                let holds = |from: &NodeId, testimony: &mut Testimony| {
                    *from != node || testimony.seal.incarnation >= older_than
                };
                rejoining.testimonies.retain(holds);
            }
        }
    }
}

impl Replica {
    /// Whether what this node says may count towards a quorum.
    #[must_use]
    pub fn may_vote(&self) -> bool {
        matches!(self.suffrage, Suffrage::Full)
    }

    /// Whether its store takes the place of a lost one, and lacks what it needs to vote.
    #[must_use]
    pub fn is_rejoining(&self) -> bool {
        matches!(self.suffrage, Suffrage::Rejoining(_))
    }

    /// Whether it says nothing any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.suffrage, Suffrage::Gone)
    }

    pub(super) fn tick_suffrage(&mut self, fx: &mut Effects) {
        match &mut self.suffrage {
            Suffrage::Full | Suffrage::Gone => (),
            Suffrage::Recalling(_) => self.ask_recollections(fx),
            Suffrage::Rejoining(_) => self.ask_testimonies(fx),
        }
    }
}

/// Whether only a node that votes takes notice of this.
pub(super) fn is_for_voters(message: &Message) -> bool {
    match message {
        Message::Prepare(_)
        | Message::Promise(_)
        | Message::Preempted(_)
        | Message::Accept(_)
        | Message::Accepted(_)
        | Message::Resend(_)
        | Message::Echo(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::Rejoin(_) => true,
        Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::CatchUpAsk(_)
        | Message::CatchUp(_)
        | Message::Transfer(_)
        | Message::Pledged(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Testimony(_)
        | Message::Holds(_) => false,
    }
}
