//! The pulse of a leader: heartbeats, who echoed them, and the reads that wait for an echo.
//!
//! A leader is *in touch* while a quorum has echoed heartbeats that were **sent** lately; when they
//! arrived says nothing about who led in between. A read is answered after a round of heartbeats
//! that *began after the read arrived* was echoed by a quorum (Ongaro 6.4): until then somebody
//! else may have led and decided. Rounds are shared by the reads that wait. No clock is trusted.

use std::collections::{BTreeMap, VecDeque};

use super::ballot::{Incarnation, NodeId, Slot};
use super::notice::ReadId;

/// Heartbeat rounds of one ballot, at its leader.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    me: NodeId,
    quorum: usize,
    round: u64,
    /// When the latest rounds began, ascending.
    began: VecDeque<(u64, u64)>,
    echoes: BTreeMap<NodeId, Echoed>,
    next_at: u64,
    /// Reads that arrived after the round in flight began.
    waiting: Vec<(ReadId, Slot)>,
    /// Reads that this round will confirm.
    in_round: Option<(u64, Vec<(ReadId, Slot)>)>,
    /// Reads that are confirmed and wait for their index.
    confirmed: Vec<(ReadId, Slot)>,
}

#[derive(Clone, Debug)]
struct Echoed {
    round: u64,
    sent_at: u64,
    incarnation: Incarnation,
}

/// More rounds than are ever echoed late: an echo of an older one proves nothing any more.
const ROUNDS_KEPT: usize = 32;

impl Pulse {
    /// The pulse of a leader whose phase 1 ended now: an echo from all who promised, so to speak.
    pub(super) fn new(
        me: NodeId,
        quorum: usize,
        promised: impl IntoIterator<Item = (NodeId, Incarnation)>,
        now: u64,
    ) -> Pulse {
        let echoed = |(node, incarnation)| (node, Echoed { round: 0, sent_at: now, incarnation });
        Pulse {
            me,
            quorum,
            round: 0,
            began: VecDeque::new(),
            echoes: promised.into_iter().map(echoed).collect(),
            next_at: now,
            waiting: Vec::new(),
            in_round: None,
            confirmed: Vec::new(),
        }
    }

    /// Whether a heartbeat is due, by the clock or because a read waits for a round.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.next_at || (self.in_round.is_none() && !self.waiting.is_empty())
    }

    /// Begins a round and returns its number.
    pub(super) fn begin(&mut self, now: u64, interval: u64) -> u64 {
        self.round += 1;
        self.began.push_back((self.round, now));
        if self.began.len() > ROUNDS_KEPT {
            self.began.pop_front();
        }
        self.next_at = now + interval;
        if self.in_round.is_none() && !self.waiting.is_empty() {
            self.in_round = Some((self.round, std::mem::take(&mut self.waiting)));
        }
        self.round
    }

    /// An echo of a round of this very ballot.
    pub(super) fn on_echo(&mut self, from: NodeId, round: u64, incarnation: Incarnation) {
        let began = self.began.iter().find(|(number, _)| *number == round);
        if let Some((_, sent_at)) = began
            && self.echoes.get(&from).is_none_or(|echoed| echoed.round < round)
        {
            self.echoes.insert(from, Echoed { round, sent_at: *sent_at, incarnation });
        }
    }

    /// Whether a quorum, this node included, echoed what was sent within the last `reach` ticks.
    pub(super) fn is_in_touch(&self, now: u64, reach: u64) -> bool {
        self.count(|echoed| echoed.sent_at + reach >= now) >= self.quorum
    }

    /// A read that may be answered once everything below `index` is applied here.
    pub(super) fn read(&mut self, id: ReadId, index: Slot) {
        self.waiting.push((id, index));
    }

    /// The reads that may be answered now that every slot below `decided` is decided.
    pub(super) fn ready(&mut self, decided: Slot) -> Vec<(ReadId, Slot)> {
        if let Some((round, reads)) = self.in_round.take() {
            if self.count(|echoed| echoed.round >= round) >= self.quorum {
                self.confirmed.extend(reads);
            } else {
                self.in_round = Some((round, reads));
            }
        }
        self.confirmed.extract_if(.., |(_, index)| *index <= decided).collect()
    }

    /// All reads that wait, for a leader that steps down.
    pub(super) fn into_reads(self) -> impl Iterator<Item = ReadId> {
        let in_round = self.in_round.into_iter().flat_map(|(_, reads)| reads);
        self.waiting.into_iter().chain(in_round).chain(self.confirmed).map(|(id, _)| id)
    }

    /// Drops the echoes of a store that a newer one of the same node replaced.
    pub(super) fn forget(&mut self, node: NodeId, older_than: Incarnation) {
        self.echoes.retain(|from, echoed| *from != node || echoed.incarnation >= older_than);
    }

    /// How many members satisfy this; the leader itself always does.
    fn count(&self, satisfies: impl Fn(&Echoed) -> bool) -> usize {
        let others = self.echoes.iter().filter(|(node, _)| **node != self.me);
        1 + others.filter(|(_, echoed)| satisfies(echoed)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Incarnation = Incarnation(1);

    fn pulse() -> Pulse {
        Pulse::new(NodeId(0), 2, [(NodeId(1), STORE)], 100)
    }

    #[test]
    fn in_touch_counts_from_when_the_heartbeat_was_sent() {
        let mut pulse = pulse();
        assert!(pulse.is_in_touch(150, 50), "a finished phase 1 counts");
        assert!(!pulse.is_in_touch(151, 50));
        assert_eq!(pulse.begin(110, 10), 1);
        pulse.on_echo(NodeId(2), 1, STORE);
        assert!(pulse.is_in_touch(160, 50), "sent at 110");
        assert!(!pulse.is_in_touch(161, 50), "whenever the echo came");
    }

    #[test]
    fn a_read_waits_for_a_round_that_began_after_it() {
        let mut pulse = pulse();
        pulse.begin(100, 10);
        pulse.read(ReadId(7), Slot(3));
        pulse.on_echo(NodeId(1), 1, STORE);
        assert_eq!(pulse.ready(Slot(9)), [], "round 1 began before the read");
        assert!(pulse.is_due(101), "so another is due at once");
        pulse.begin(101, 10);
        pulse.on_echo(NodeId(1), 1, STORE);
        assert_eq!(pulse.ready(Slot(9)), [], "an echo of the earlier round");
        pulse.on_echo(NodeId(1), 2, STORE);
        assert_eq!(pulse.ready(Slot(2)), [], "the index is not decided yet");
        assert_eq!(pulse.ready(Slot(3)), [(ReadId(7), Slot(3))]);
        assert_eq!(pulse.ready(Slot(3)), [], "once");
    }

    #[test]
    fn reads_that_arrive_meanwhile_share_the_next_round() {
        let mut pulse = pulse();
        pulse.read(ReadId(1), Slot(0));
        pulse.begin(100, 10);
        pulse.read(ReadId(2), Slot(0));
        pulse.read(ReadId(3), Slot(0));
        assert!(!pulse.is_due(101), "one round at a time");
        pulse.on_echo(NodeId(1), 1, STORE);
        assert_eq!(pulse.ready(Slot(0)), [(ReadId(1), Slot(0))]);
        pulse.begin(102, 10);
        pulse.on_echo(NodeId(2), 2, STORE);
        assert_eq!(pulse.ready(Slot(0)).len(), 2);
    }
}
