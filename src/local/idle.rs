//! Whether a cluster is idle, judged by what its nodes say of themselves.
//!
//! With a majority alive a cluster is idle when one node leads, all live ones follow it, all have
//! decided and applied the same, and nobody has anything under way. Without a majority nothing new
//! can be decided, so it is idle when the live nodes have told each other what already is.
//!
//! The nodes are not asked in one instant. That is enough: while nobody sends anything, what is
//! asked here only grows until it is equal everywhere.

use crate::paxos::{NodeId, Slot};
use crate::wire::client::{NodeStatus, Role};

/// What a cluster is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is under way: everything below this slot is applied everywhere.
    Idle(Slot),
    /// This leader left slots empty on purpose, and must be asked to fill them.
    Holes(NodeId),
    /// Something is under way, in words.
    Busy(&'static str),
}

/// Judges a cluster of `members` nodes by the answers of its live ones; `None` is no answer.
#[must_use]
pub fn judge(members: u16, live: &[Option<NodeStatus>]) -> Verdict {
    let Some(answers) = live.iter().cloned().collect::<Option<Vec<NodeStatus>>>() else {
        return Verdict::Busy("a node does not answer");
    };
    let has_majority = answers.len() > usize::from(members) / 2;
    if has_majority { judge_led(&answers) } else { judge_applied(&answers) }
}

/// The node that leads: where two say so, the one in the higher ballot.
#[must_use]
pub fn leader(answers: &[NodeStatus]) -> Option<&NodeStatus> {
    let leading = answers.iter().filter(|answer| answer.role == Role::Leader);
    leading.max_by_key(|answer| answer.ballot)
}

fn judge_led(answers: &[NodeStatus]) -> Verdict {
    let Some(leader) = leader(answers) else { return Verdict::Busy("nobody leads") };
    let follows = |answer: &NodeStatus| {
        let is_elsewhere = match answer.role {
            Role::Follower | Role::Witness => false,
            Role::Leader => answer.node != leader.node,
            Role::Canvassing | Role::Campaigning => true,
        };
        answer.leader == Some(leader.node) && answer.ballot <= leader.ballot && !is_elsewhere
    };
    if !answers.iter().all(follows) {
        return Verdict::Busy("an election is under way");
    }
    if answers.iter().any(|answer| !answer.votes) {
        return Verdict::Busy("a node does not vote yet");
    }
    if !leader.holes.is_empty() {
        return Verdict::Holes(leader.node);
    }
    if leader.outstanding > 0 || leader.end > leader.decided {
        return Verdict::Busy("the leader has something undecided");
    }
    if answers.iter().any(|answer| answer.catching_up || !answer.holes.is_empty()) {
        return Verdict::Busy("a node is catching up");
    }
    judge_applied(answers)
}

fn judge_applied(answers: &[NodeStatus]) -> Verdict {
    let decided = answers.first().map_or(Slot(0), |answer| answer.decided);
    // A witness applies nothing.
    let applies = |answer: &NodeStatus| answer.role != Role::Witness;
    let is_settled = |answer: &NodeStatus| {
        answer.decided == decided && (answer.applied == decided || !applies(answer))
    };
    if answers.iter().all(is_settled) {
        Verdict::Idle(decided)
    } else {
        Verdict::Busy("what is decided is not applied everywhere")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{Ballot, Digest, Incarnation};

    fn status(node: u16) -> NodeStatus {
        let ballot = Ballot { round: 4, node: NodeId(0), incarnation: Incarnation(1) };
        NodeStatus {
            node: NodeId(node),
            incarnation: Incarnation(1),
            members: 5,
            role: if node == 0 { Role::Leader } else { Role::Follower },
            ballot: Some(ballot),
            leader: Some(NodeId(0)),
            decided: Slot(7),
            applied: Slot(7),
            end: Slot(7),
            holes: Vec::new(),
            catching_up: false,
            outstanding: 0,
            digest: Digest { slot: Slot(7), hash: 0 },
            trimmed: Slot(0),
            transfer: None,
            votes: true,
            stores: Vec::new(),
            silences: Vec::new(),
            leaderless: None,
        }
    }

    fn judged(change: impl FnOnce(&mut Vec<NodeStatus>)) -> Verdict {
        let mut answers = vec![status(0), status(1), status(2)];
        change(&mut answers);
        judge(5, &answers.into_iter().map(Some).collect::<Vec<_>>())
    }

    type Change = fn(&mut Vec<NodeStatus>);

    #[test]
    fn a_quiet_cluster_is_idle() {
        assert_eq!(judged(|_| ()), Verdict::Idle(Slot(7)));
        // Hearing a leader raises no promise, so a follower may have promised less, or nothing.
        assert_eq!(judged(|nodes| nodes[1].ballot = None), Verdict::Idle(Slot(7)));
        // What one follower accepted from a dead leader may stand above the end for ever.
        assert_eq!(judged(|nodes| nodes[2].end = Slot(9)), Verdict::Idle(Slot(7)));
    }

    #[test]
    fn whatever_is_under_way_is_seen() {
        let cases: [(&str, Change); 14] = [
            ("no leader", |nodes| nodes[0].role = Role::Follower),
            ("a leader not known yet", |nodes| nodes[2].leader = None),
            ("a dead leader still followed", |nodes| nodes[2].leader = Some(NodeId(4))),
            ("a higher promise", |nodes| nodes[1].ballot.as_mut().expect("one").round = 5),
            ("a canvass", |nodes| nodes[1].role = Role::Canvassing),
            ("a campaign", |nodes| nodes[1].role = Role::Campaigning),
            ("two leaders", |nodes| nodes[1].role = Role::Leader),
            ("a store in the place of a lost one", |nodes| nodes[2].votes = false),
            ("a request in the queue", |nodes| nodes[0].outstanding = 1),
            ("an undecided slot", |nodes| nodes[0].end = Slot(8)),
            ("catch-up", |nodes| nodes[2].catching_up = true),
            ("a follower's hole", |nodes| nodes[2].holes.push((Slot(7), Slot(8)))),
            ("a decision not heard of", |nodes| nodes[2].decided = Slot(6)),
            ("a decision not applied", |nodes| nodes[0].applied = Slot(6)),
        ];
        for (what, change) in cases {
            assert!(matches!(judged(change), Verdict::Busy(_)), "{what}");
        }
        let holes = judged(|nodes| nodes[0].holes.push((Slot(7), Slot(8))));
        assert_eq!(holes, Verdict::Holes(NodeId(0)));
        let silent = [Some(status(0)), Some(status(1)), None];
        assert!(matches!(judge(5, &silent), Verdict::Busy(_)));
    }

    #[test]
    fn without_a_majority_only_what_is_decided_counts() {
        let two = |change: Change| {
            judged(|nodes| {
                nodes.truncate(2);
                change(nodes);
            })
        };
        assert_eq!(two(|nodes| nodes[0].role = Role::Canvassing), Verdict::Idle(Slot(7)));
        assert_eq!(two(|nodes| nodes[0].outstanding = 3), Verdict::Idle(Slot(7)));
        assert_eq!(two(|nodes| nodes[1].catching_up = true), Verdict::Idle(Slot(7)));
        assert!(matches!(two(|nodes| nodes[1].decided = Slot(8)), Verdict::Busy(_)));
        assert_eq!(judge(5, &[]), Verdict::Idle(Slot(0)), "nobody is left to ask");
    }

    #[test]
    fn of_two_leaders_the_higher_ballot_leads() {
        let mut newer = status(1);
        newer.role = Role::Leader;
        newer.ballot.as_mut().expect("one").round = 5;
        assert_eq!(leader(&[newer.clone(), status(0)]), Some(&newer));
    }
}
