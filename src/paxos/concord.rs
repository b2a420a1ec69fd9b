//! Concord: whether this node's state is that of the others, as their hashes tell.
//!
//! Decided commands are the same everywhere, and applying them is deterministic; a bit that flips
//! in memory, or a bug, makes a node lie to its clients all the same, and nothing in the protocol
//! would notice. So the node around this replica hashes its state at *checkpoints*, and each echo
//! tells the leader the newest one. The leader compares, and each heartbeat tells its receiver what
//! is known of all, at the checkpoint that the receiver told: every node judges for itself, by one
//! rule. Two nodes that are the same at a checkpoint are taken to be so at all before it.
//!
//! The rule: whoever differs from so many that no majority can share its hash stops. While a
//! majority may yet prove to be with it, because some have not come so far or are not heard, it
//! waits, but not for long: then it stops, too. So does everybody where no hash has a majority. One
//! that has a majority with it goes on, and names those that differ.
//!
//! A fault is noticed at the next checkpoint, not before: until then the node may give wrong
//! answers, and a snapshot that it takes or hands on meanwhile holds the wrong state.
//!
//! A witness has no state, and is no part of a majority here: it is one of those who have. So where
//! two members of three have a state, and they differ, neither can be told right, and both stop.
//!
//! Deliberately absent: any doubt of what a leader says the others told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::ballot::{NodeId, Slot};
use super::config::Config;
use super::durable::Effects;
use super::message::Digest;
use super::notice::Notice;
use super::replica::Replica;

/// A checkpoint at which states differ, as one node tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who tells it.
    pub node: NodeId,
    /// Here they were still the same, as far as was compared since this node started; 0 if never.
    pub from: Slot,
    /// Here they are not.
    pub to: Slot,
    /// The hash of this node's state at `to`.
    pub own: u64,
    /// Whose state is known to be the same there.
    pub alike: Vec<NodeId>,
    /// Whose is not, and what each told.
    pub others: Vec<(NodeId, Digest)>,
}

/// What a node knows of its own state, and of that of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Concord {
    /// Its last checkpoints, ascending.
    own: VecDeque<Digest>,
    /// What each other node told last.
    told: BTreeMap<NodeId, Digest>,
    /// What each told of a checkpoint that this node has not come to.
    ahead: BTreeMap<NodeId, Digest>,
    /// The highest checkpoint at which each was the same.
    same: BTreeMap<NodeId, Slot>,
    /// Who was named as different since it was the same.
    named: BTreeSet<NodeId>,
    /// Whether anything was told, or passed, that was not judged yet.
    is_stirred: bool,
    /// While it is open whether a majority is with this node: for how many ticks.
    waited: Option<u64>,
    judged_at: u64,
    is_over: bool,
}

/// How a node stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody is known to differ.
    Alike,
    /// Some do, and a majority is with this node wherever they do.
    Right,
    /// Some do, and a majority may yet prove to be with this node.
    Open,
    /// So many do that no majority can be with this node.
    Wrong,
}

/// Checkpoints remembered: more than a follower lags behind, unless it fetches what it missed.
const CHECKPOINTS_KEPT: usize = 64;

/// How many election timeouts a node waits for a majority to be with it.
const PATIENCE_ELECTIONS: u64 = 4;

impl Concord {
    /// The state passed a checkpoint.
    pub(super) fn note(&mut self, own: Digest) {
        if self.own.back().is_none_or(|last| last.slot < own.slot) {
            self.own.push_back(own);
        }
        if self.own.len() > CHECKPOINTS_KEPT {
            self.own.pop_front();
        }
        let reached = self.ahead.extract_if(.., |_, told| told.slot <= own.slot);
        self.told.extend(reached.filter(|(_, told)| told.slot == own.slot));
        self.is_stirred = true;
    }

    /// Another state took the place of this one.
    pub(super) fn restart(&mut self) {
        let told = std::mem::take(&mut self.told);
        *self = Concord { told, ..Concord::default() };
    }

    /// The newest checkpoint, to tell the others.
    pub(super) fn newest(&self) -> Option<Digest> {
        self.own.back().copied()
    }

    /// A node told its newest checkpoint, or that it has none.
    pub(super) fn hear(&mut self, from: NodeId, told: Option<Digest>) {
        let before = match told {
            Some(told) => self.told.insert(from, told),
            None => self.told.remove(&from),
        };
        self.is_stirred |= before != told;
    }

    /// The leader told what it knows of all.
    pub(super) fn hear_all(&mut self, config: &Config, told: &[(NodeId, Digest)]) {
        let newest = self.own.back().map(|own| own.slot);
        let of_others = |node: NodeId| node.0 < config.members && node != config.node;
        let others = told.iter().copied().filter(|(node, _)| of_others(*node));
        let (ahead, told) = others.partition(|(_, told)| Some(told.slot) > newest);
        self.is_stirred |= self.told != told;
        (self.ahead, self.told) = (ahead, told);
    }

    /// What a leader knows of all but the receiver: at the checkpoint that the receiver told, if it
    /// has that itself, so that the receiver can compare whatever it lags behind. And its newest,
    /// for the receiver to compare when it comes there: the leader may have stopped by then.
    pub(super) fn all_for(&self, me: NodeId, receiver: NodeId) -> Vec<(NodeId, Digest)> {
        let told = self.told.get(&receiver).and_then(|told| self.at(told.slot));
        let Some(own) = told.or(self.newest()) else { return Vec::new() };
        let others = self.told.iter().filter(|(node, _)| **node != receiver);
        let others = others.map(|(node, told)| {
            let is_same = self.is_same(*told) == Some(true) && told.slot >= own.slot;
            (*node, if is_same { own } else { *told })
        });
        let newest = self.newest().filter(|newest| newest.slot > own.slot);
        let newest = newest.map(|newest| (me, newest));
        [(me, own)].into_iter().chain(others).chain(newest).collect()
    }

    fn at(&self, slot: Slot) -> Option<Digest> {
        let at = self.own.binary_search_by_key(&slot, |own| own.slot).ok()?;
        self.own.get(at).copied()
    }

    /// Whether this node had the same there; `None`: it does not know.
    fn is_same(&self, told: Digest) -> Option<bool> {
        self.at(told.slot).map(|own| own.hash == told.hash)
    }

    /// Who differs, and where that is known.
    fn differing(&self) -> impl Iterator<Item = (NodeId, Digest)> {
        let all = self.told.iter().map(|(node, told)| (*node, *told));
        all.filter(|(_, told)| self.is_same(*told) == Some(false))
    }

    /// Who is the same at that checkpoint or after it.
    fn alike(&self, from: Slot) -> impl Iterator<Item = NodeId> {
        let all = self.told.iter().filter(move |(_, told)| told.slot >= from);
        all.filter(|(_, told)| self.is_same(**told) == Some(true)).map(|(node, _)| *node)
    }

    /// The rule.
    fn standing(&self, config: &Config) -> Standing {
        let slots: Vec<Slot> = self.differing().map(|(_, told)| told.slot).collect();
        let Some(last) = slots.iter().max() else { return Standing::Alike };
        if config.replicas().saturating_sub(slots.len()) < config.majority_of_replicas() {
            Standing::Wrong
        } else if self.is_right(*last, config) {
            Standing::Right
        } else {
            Standing::Open
        }
    }

    /// Whether a majority is known to be with this node there.
    fn is_right(&self, at: Slot, config: &Config) -> bool {
        1 + self.alike(at).count() >= config.majority_of_replicas()
    }

    /// What there is to say now: of whom, or that this node must stop.
    fn judge(&mut self, config: &Config, now: u64) -> Vec<Notice> {
        // What passed at one go, while this node stood still, is no time in which it listened.
        let passed = (now - self.judged_at).min(config.timing.heartbeat_ticks);
        self.judged_at = now;
        let is_due = std::mem::take(&mut self.is_stirred) || self.waited.is_some();
        if !is_due || self.is_over {
            return Vec::new();
        }
        for node in self.alike(Slot(0)).collect::<Vec<_>>() {
            let slot = self.told[&node].slot;
            let same = self.same.entry(node).or_insert(slot);
            *same = slot.max(*same);
            self.named.remove(&node);
        }
        let standing = self.standing(config);
        let waited = self.waited.map_or(0, |waited| waited + passed);
        self.waited = (standing == Standing::Open).then_some(waited);
        match standing {
            Standing::Alike => Vec::new(),
            Standing::Open if waited <= config.timing.election_ticks * PATIENCE_ELECTIONS => {
                self.name(config)
            }
            Standing::Right => self.name(config),
            Standing::Open | Standing::Wrong => {
                self.is_over = true;
                let against = self.differing().filter(|(_, it)| !self.is_right(it.slot, config));
                vec![Notice::Stop(self.difference(config, against.collect()))]
            }
        }
    }

    /// Those who differ where a majority is with this node, each once.
    fn name(&mut self, config: &Config) -> Vec<Notice> {
        let is_new = |(node, told): &(NodeId, Digest)| {
            !self.named.contains(node) && self.is_right(told.slot, config)
        };
        let new: Vec<(NodeId, Digest)> = self.differing().filter(is_new).collect();
        self.named.extend(new.iter().map(|(node, _)| node));
        let each = new.into_iter().map(|one| Notice::Differs(self.difference(config, vec![one])));
        each.collect()
    }

    /// Where these, who differ, first did so.
    fn difference(&self, config: &Config, others: Vec<(NodeId, Digest)>) -> Difference {
        let to = others.iter().map(|(_, told)| told.slot).min().unwrap_or_default();
        let same = others.iter().filter_map(|(node, _)| self.same.get(node)).copied();
        Difference {
            node: config.node,
            from: same.filter(|slot| *slot < to).max().unwrap_or_default(),
            to,
            own: self.at(to).map_or(0, |own| own.hash),
            alike: self.alike(to).collect(),
            others,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { node, from, to, own, alike, others } = self;
        write!(f, "slots {from}..{to}: at slot {to} the hash of node {} is {own:016x}", node.0)?;
        for node in alike {
            write!(f, ", that of node {} the same", node.0)?;
        }
        for (node, Digest { slot, hash }) in others {
            write!(f, ", that of node {} is {hash:016x}", node.0)?;
            if slot != to {
                write!(f, " (at slot {slot})")?;
            }
        }
        Ok(())
    }
}

impl Replica {
    /// Compares what was told meanwhile. Whoever must stop leaves office at once.
    pub(super) fn judge(&mut self, fx: &mut Effects) {
        for notice in self.concord.judge(&self.config, self.now) {
            if matches!(notice, Notice::Stop(_)) {
                self.step_down(fx);
            }
            fx.notify(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Incarnation, Timing};
    use super::*;

    fn config(members: u16) -> Config {
        Config::new(NodeId(0), Incarnation(1), members, Timing::from_election(80))
    }

    fn digest((slot, hash): (u64, u64)) -> Digest {
        Digest { slot: Slot(slot), hash }
    }

    /// What node 0 knows, which has hash 1 at each of its checkpoints; the others, node 1 first,
    /// told `SLOT:HASH` or nothing.
    fn concord(own: &[u64], told: &str) -> Concord {
        let mut concord = Concord::default();
        own.iter().for_each(|slot| concord.note(digest((*slot, 1))));
        for (node, told) in (1..).map(NodeId).zip(told.split(' ')) {
            let told = told.split_once(':').map(|(slot, hash)| {
                digest((slot.parse().expect("a slot"), hash.parse().expect("a hash")))
            });
            concord.hear(node, told);
        }
        concord
    }

    /// Bugs that turn it red: a comparison of the rule that is off by one, or the other way round;
    /// a slot that is not looked at.
    #[test]
    fn who_is_right() {
        use Standing::{Alike, Open, Right, Wrong};
        let cases: [(&str, u16, &[u64], &str, Standing); 20] = [
            ("alone", 1, &[10], "-", Alike),
            ("nothing told", 3, &[10], "- -", Alike),
            ("all alike", 3, &[10, 20], "10:1 20:1", Alike),
            ("no checkpoint of its own", 3, &[], "10:2 10:2", Alike),
            ("they are ahead", 3, &[10], "20:2 20:2", Alike),
            ("before all that is remembered", 3, &[20], "10:2 10:2", Alike),
            ("one differs, one is alike", 3, &[10], "10:2 10:1", Right),
            ("one differs, one is alike later", 3, &[10, 20], "10:2 20:1", Right),
            ("one differs, one is behind", 3, &[10, 20], "20:2 10:1", Open),
            ("one differs, one is silent", 3, &[10], "10:2 -", Open),
            ("both differ", 3, &[10], "10:2 10:2", Wrong),
            ("each is by itself", 3, &[10], "10:2 10:3", Wrong),
            ("both differ, at two slots", 3, &[10, 20], "10:2 20:3", Wrong),
            ("two against each other", 2, &[10], "10:2", Wrong),
            ("half of four", 4, &[10], "10:2 10:2 10:1", Wrong),
            ("three of four", 4, &[10], "10:2 10:1 10:1", Right),
            ("two of five differ", 5, &[10], "10:2 10:3 10:1 10:1", Right),
            ("two of five differ, one is silent", 5, &[10], "10:2 10:3 10:1 -", Open),
            ("two of five are known", 5, &[10], "10:2 - - -", Open),
            ("three of five differ", 5, &[10], "10:2 10:2 10:3 -", Wrong),
        ];
        for (what, members, own, told, standing) in cases {
            assert_eq!(concord(own, told).standing(&config(members)), standing, "{what}");
        }
    }

    /// Bugs that turn it red: a witness that counts among those who may be alike; a majority of all
    /// members in the place of one of those who have a state.
    #[test]
    fn witnesses_are_neither_for_nor_against_anybody() {
        use Standing::{Open, Right, Wrong};
        let with = |members, witnesses: &[u16]| Config {
            witnesses: witnesses.iter().copied().map(NodeId).collect(),
            ..config(members)
        };
        let standing = |told, config| concord(&[10], told).standing(&config);
        assert_eq!(standing("10:2 -", with(3, &[2])), Wrong, "one against one");
        assert_eq!(standing("10:2 10:1 - -", with(5, &[3, 4])), Right, "two of three");
        assert_eq!(standing("10:2 - - -", with(5, &[3, 4])), Open, "one is silent");
        assert_eq!(standing("10:2 10:3 - -", with(5, &[3, 4])), Wrong, "each is by itself");
        assert_eq!(standing("10:2 10:1 -", with(4, &[3])), Right, "two of three");
    }

    /// What is said when so many ticks have passed, one heartbeat after the other.
    fn after(concord: &mut Concord, ticks: u64) -> Vec<Notice> {
        let (config, from) = (config(3), concord.judged_at);
        let times = (from..=from + ticks).step_by(10);
        times.flat_map(|now| concord.judge(&config, now)).collect()
    }

    fn has_stopped(notices: &[Notice]) -> bool {
        notices.iter().any(|notice| matches!(notice, Notice::Stop(_)))
    }

    /// Bugs that turn it red: a patience without an end; one that a majority does not end; one that
    /// counts what passed at one go.
    #[test]
    fn a_majority_is_waited_for_but_not_for_ever() {
        let mut silent = concord(&[10], "10:2 -");
        assert!(!has_stopped(&after(&mut silent, 320)));
        assert!(has_stopped(&after(&mut silent, 10)));
        assert_eq!(after(&mut silent, 10_000), [], "once");

        let mut comes = concord(&[10], "10:2 -");
        after(&mut comes, 320);
        comes.hear(NodeId(2), Some(digest((10, 1))));
        assert!(matches!(&after(&mut comes, 10_000)[..], [Notice::Differs(_)]));

        let mut asleep = concord(&[10], "10:2 -");
        assert_eq!(asleep.judge(&config(3), 100_000), [], "it heard nobody meanwhile");
    }

    /// Bugs that turn it red: a node that is named at each checkpoint; one that is never named
    /// again; an interval that begins where nothing was compared.
    #[test]
    fn who_differs_is_named_once_with_the_interval() {
        let mut concord = concord(&[10, 20, 30, 40, 50], "20:1 30:1");
        assert_eq!(after(&mut concord, 0), []);
        concord.hear(NodeId(1), Some(digest((40, 2))));
        concord.hear(NodeId(2), Some(digest((40, 1))));
        let (node, to, own, alike) = (NodeId(0), Slot(40), 1, vec![NodeId(2)]);
        let others = vec![(NodeId(1), digest((40, 2)))];
        let difference = Difference { node, from: Slot(20), to, own, alike, others };
        assert_eq!(after(&mut concord, 0), [Notice::Differs(difference.clone())]);
        assert_eq!(
            difference.to_string(),
            "slots 20..40: at slot 40 the hash of node 0 is 0000000000000001, that of node 2 the \
             same, that of node 1 is 0000000000000002"
        );
        concord.hear(NodeId(1), Some(digest((50, 2))));
        concord.hear(NodeId(2), Some(digest((50, 1))));
        assert_eq!(after(&mut concord, 100), [], "it was named");
        concord.hear(NodeId(1), Some(digest((40, 1))));
        assert_eq!(after(&mut concord, 0), [], "it started again, and is as it should be");
        concord.hear(NodeId(1), Some(digest((50, 2))));
        assert!(
            matches!(&after(&mut concord, 0)[..], [Notice::Differs(it)] if it.from == Slot(40))
        );
    }

    /// Bugs that turn it red: a follower that is told nothing of where it is; one that forgets what
    /// it has not come to, or compares it with something else.
    #[test]
    fn a_follower_is_told_what_holds_where_it_is() {
        let leader = concord(&[10, 20, 30], "10:1 30:1 20:2 -");
        let told = |node| leader.all_for(NodeId(0), NodeId(node));
        let all = |told: &[(u16, u64, u64)]| {
            let one =
                |(node, slot, hash): &(u16, u64, u64)| (NodeId(*node), digest((*slot, *hash)));
            told.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(told(1), all(&[(0, 10, 1), (2, 10, 1), (3, 20, 2), (0, 30, 1)]));
        assert_eq!(told(2), all(&[(0, 30, 1), (1, 10, 1), (3, 20, 2)]));
        assert_eq!(told(3), all(&[(0, 20, 1), (1, 10, 1), (2, 20, 1), (0, 30, 1)]));
        assert_eq!(told(4), all(&[(0, 30, 1), (1, 10, 1), (2, 30, 1), (3, 20, 2)]), "its newest");

        let config = Config { node: NodeId(1), ..config(4) };
        let mut follower = concord(&[10], "-");
        let stray = all(&[(1, 10, 2), (7, 10, 2)]);
        follower.hear_all(&config, &[told(1), stray].concat());
        let known = |it: &Concord| {
            let slots = it.told.iter().map(|(node, told)| (node.0, told.slot.0));
            slots.collect::<Vec<_>>()
        };
        assert_eq!(known(&follower), [(0, 10), (2, 10)], "members, not itself");
        follower.note(digest((20, 1)));
        assert_eq!(known(&follower), [(0, 10), (2, 10), (3, 20)]);
        assert_eq!(follower.differing().map(|(node, _)| node.0).collect::<Vec<_>>(), [3]);
        follower.note(digest((30, 1)));
        assert_eq!(known(&follower), [(0, 30), (2, 10), (3, 20)]);
    }

    /// Bugs that turn it red: a state that was replaced is still compared; no bound.
    #[test]
    fn only_this_state_and_only_lately() {
        let mut concord = concord(&[10], "10:2 10:2");
        concord.restart();
        assert_eq!((after(&mut concord, 10), concord.newest()), (vec![], None));
        (0..1000).for_each(|slot| concord.note(digest((slot, 1))));
        assert_eq!(concord.own.len(), CHECKPOINTS_KEPT);
        assert_eq!(concord.newest(), Some(digest((999, 1))));
    }
}
