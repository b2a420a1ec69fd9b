//! Who may ask to lead, and when: succession around the ring, by canvass.
//!
//! All of this is liveness: it may be wrong without harm, for safety rests on ballots alone. The
//! rules keep a live leader from being disturbed (nobody campaigns without a quorum's yes, as in
//! Ongaro 9.6) and let any node that reaches a quorum lead, also where links fail one by one (Ng et
//! al., *Omni-Paxos*): those who cannot reach a quorum never get so far as to outbid anybody.

use std::collections::BTreeMap;

use super::ballot::{Ballot, Incarnation, NodeId};
use super::config::Config;

/// What a node that does not lead knows about the leader, and its own turn.
#[derive(Clone, Debug)]
pub(super) struct Election {
    heard: Option<(NodeId, u64)>,
    /// The highest ballot heard, however long ago: for those who ask which view it is.
    view: Option<Ballot>,
    /// Until then this node, just started, hears "someone": it may have promised a live leader.
    grace_until: u64,
    /// When it will canvass, unless it hears a leader before.
    deadline: u64,
    canvass: Option<Tally>,
    rounds: u64,
    jitter: u64,
}

/// Answers to one canvass.
#[derive(Clone, Debug)]
struct Tally {
    round: u64,
    yes: BTreeMap<NodeId, Incarnation>,
    highest: Option<Ballot>,
}

impl Election {
    /// The state of a node that starts at time `now` with this promise on its disk.
    pub(super) fn new(config: &Config, promised: Option<Ballot>, now: u64) -> Election {
        let mut election = Election {
            heard: None,
            view: None,
            grace_until: now,
            deadline: now,
            canvass: None,
            rounds: 0,
            jitter: config.seed,
        };
        match promised {
            Some(ballot) => {
                election.grace_until = now + config.timing.reach_ticks;
                election.wait_in_ring(config, Some(ballot.node), now, config.timing.election_ticks);
            }
            // Nobody can have led yet whom this node promised anything: no silence to wait for.
            None => election.wait_in_ring(config, None, now, 0),
        }
        election
    }

    /// The leader heard within the last R, if any.
    pub(super) fn heard(&self, config: &Config, now: u64) -> Option<NodeId> {
        let (node, at) = self.heard?;
        (now <= at + config.timing.reach_ticks).then_some(node)
    }

    /// The highest ballot heard since the start, if any.
    pub(super) fn view(&self) -> Option<Ballot> {
        self.view
    }

    /// Whether this node would tell an asker that somebody leads.
    pub(super) fn hears_other_than(&self, asker: NodeId, config: &Config, now: u64) -> bool {
        now < self.grace_until || self.heard(config, now).is_some_and(|leader| leader != asker)
    }

    /// A sign of life from the leader of this ballot, or a promise given to its campaigner.
    pub(super) fn hear(&mut self, config: &Config, ballot: Ballot, now: u64) {
        self.heard = Some((ballot.node, now));
        self.view = self.view.max(Some(ballot));
        self.canvass = None;
        self.wait_in_ring(config, Some(ballot.node), now, config.timing.election_ticks);
    }

    /// The connection from a node broke. If it was the leader's, waiting for silence is pointless:
    /// only the order of the ring remains. Whether it was.
    pub(super) fn lose(&mut self, config: &Config, node: NodeId, now: u64) -> bool {
        let was_leader = self.heard.is_some_and(|(leader, _)| leader == node);
        if was_leader {
            self.heard = None;
            self.wait_in_ring(config, Some(node), now, 0);
        }
        was_leader
    }

    /// This node's turn is now, whatever it waited for.
    pub(super) fn hurry(&mut self, now: u64) {
        self.heard = None;
        self.deadline = now;
    }

    /// Puts the next canvass off by some heartbeats.
    pub(super) fn wait(&mut self, config: &Config, now: u64) {
        self.canvass = None;
        self.deadline = now + config.timing.heartbeat_ticks * 2 + self.draw(config);
    }

    /// Whether to canvass now.
    pub(super) fn is_due(&self, config: &Config, now: u64) -> bool {
        now >= self.deadline && !config.is_witness() && self.heard(config, now).is_none()
    }

    /// Begins a canvass, and says its number.
    pub(super) fn begin_canvass(&mut self, config: &Config, now: u64) -> u64 {
        self.wait(config, now);
        self.rounds += 1;
        let tally = Tally { round: self.rounds, yes: BTreeMap::new(), highest: None };
        self.canvass = Some(tally);
        self.rounds
    }

    /// Whether a canvass is under way.
    pub(super) fn is_canvassing(&self) -> bool {
        self.canvass.is_some()
    }

    /// A yes to the canvass of this number. With a quorum of them: the highest promise told.
    pub(super) fn on_yes(
        &mut self,
        config: &Config,
        from: NodeId,
        round: u64,
        promised: Option<Ballot>,
        incarnation: Incarnation,
    ) -> Option<Option<Ballot>> {
        let tally = self.canvass.as_mut().filter(|tally| tally.round == round)?;
        tally.yes.insert(from, incarnation);
        tally.highest = tally.highest.max(promised);
        let highest = tally.highest;
        if tally.yes.len() < config.quorum() {
            return None;
        }
        self.canvass = None;
        Some(highest)
    }

    /// Drops the answers of a store that a newer one of the same node replaced.
    pub(super) fn forget(&mut self, node: NodeId, older_than: Incarnation) {
        if let Some(tally) = &mut self.canvass {
            tally.yes.retain(|from, incarnation| *from != node || *incarnation >= older_than);
        }
    }

    fn wait_in_ring(&mut self, config: &Config, owner: Option<NodeId>, now: u64, silence: u64) {
        let places = config.ring_distance(owner) - u64::from(silence == 0);
        let turn = silence + config.timing.step_ticks * places;
        self.deadline = now + turn + self.draw(config);
    }

    /// A little at random, so that two nodes in the same place do not stay in step (splitmix64).
    fn draw(&mut self, config: &Config) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.jitter;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % (config.timing.jitter_ticks + 1)
    }
}
