//! Who leads next: read from what the replicas say, and held against the order of the ring.
//!
//! The order is one of turns. A replica that stands d places behind the dead primary waits d-1
//! steps before it asks whether it may lead, so that the nearest that lives is asked for first. On
//! a machine that stands still for a while a turn may pass unused; that somebody leads *before* its
//! turn never happens. So that is what is held against it.

use std::time::Duration;

use crate::paxos::{NodeId, Timing};
use crate::wire::client::NodeStatus;

/// A view, and its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) number: u64,
    pub(super) primary: NodeId,
}

/// The view that all who were asked are in, if its primary leads and they hear it.
pub(super) fn agreed(answers: &[Option<NodeStatus>]) -> Option<View> {
    let mut views = answers.iter().map(|answer| {
        let answer = answer.as_ref()?;
        let ballot = answer.ballot.filter(|ballot| answer.leader == Some(ballot.node))?;
        Some(View { number: ballot.view(answer.members), primary: ballot.node })
    });
    let first = views.next()??;
    views.all(|view| view == Some(first)).then_some(first)
}

/// How long a replica that follows `primary` waits at least, once that is dead, before it may lead.
pub(super) fn turn(primary: NodeId, next: NodeId, members: u16, election: Duration) -> Duration {
    let places = u64::from((next.0 + members - primary.0 - 1) % members);
    Duration::from_millis(Timing::from_election(election.as_millis() as u64).step_ticks * places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{Ballot, Digest, Incarnation, Slot};
    use crate::wire::client::Role;

    fn status(node: u16, round: u64, primary: u16, leader: Option<u16>) -> Option<NodeStatus> {
        let ballot = Ballot { round, node: NodeId(primary), incarnation: Incarnation(1) };
        Some(NodeStatus {
            node: NodeId(node),
            incarnation: Incarnation(1),
            members: 5,
            role: if primary == node { Role::Leader } else { Role::Follower },
            ballot: Some(ballot),
            leader: leader.map(NodeId),
            decided: Slot(0),
            applied: Slot(0),
            end: Slot(0),
            holes: Vec::new(),
            catching_up: false,
            outstanding: 0,
            digest: Digest { slot: Slot(0), hash: 0 },
            trimmed: Slot(0),
            transfer: None,
            votes: true,
            stores: Vec::new(),
            silences: Vec::new(),
            leaderless: None,
        })
    }

    #[test]
    fn a_view_is_agreed_when_all_hear_its_primary() {
        let [first, second] = [status(1, 1, 2, Some(2)), status(2, 1, 2, Some(2))];
        let view = View { number: 7, primary: NodeId(2) };
        assert_eq!(agreed(&[first.clone(), second.clone()]), Some(view));
        for odd in [None, status(3, 1, 2, None), status(3, 2, 2, Some(2)), status(3, 0, 1, Some(1))]
        {
            assert_eq!(agreed(&[first.clone(), odd.clone(), second.clone()]), None, "{odd:?}");
        }
        assert_eq!(agreed(&[]), None);
    }

    #[test]
    fn turns_follow_the_ring() {
        let turns = |primary| -> Vec<u64> {
            let turn = |next| turn(NodeId(primary), NodeId(next), 5, Duration::from_secs(4));
            (0..5).map(|next| turn(next).as_secs()).collect()
        };
        assert_eq!(turns(0), [4, 0, 1, 2, 3]);
        assert_eq!(turns(3), [1, 2, 3, 4, 0]);
    }
}
