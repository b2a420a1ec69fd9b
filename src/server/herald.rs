//! What the log tells people of a node's fortunes: views, office, transfers; each once.

use crate::node::Node;
use crate::paxos::{Ballot, Difference, NodeId, Tenure, Wal};
use crate::rsm::StateMachine;

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Herald {
    /// The view, by its ballot.
    view: Option<Ballot>,
    /// The leadership.
    tenure: Option<Tenure>,
    /// The transfer: from whom.
    transfer: Option<NodeId>,
}

impl Herald {
    /// Tells what has changed.
    pub(super) fn tell<W: Wal, M: StateMachine>(&mut self, node: &Node<W, M>) {
        let members = node.replica().config().members;
        self.tell_view(node.replica().view(), members);
        self.tell_tenure(node.replica().tenure(), members);
        self.tell_transfer(node);
    }

    /// When this node enters a view: it promised its primary, or heard it lead.
    fn tell_view(&mut self, ballot: Option<Ballot>, members: u16) {
        if ballot == self.view {
            return;
        }
        self.view = ballot;
        if let Some(ballot) = ballot {
            let (view, primary) = (ballot.view(members), ballot.node.0);
            tracing::info!(view, primary, %ballot, "view {view}: its primary is node {primary}");
        }
    }

    /// When this node begins or ceases to lead.
    fn tell_tenure(&mut self, tenure: Option<Tenure>, members: u16) {
        if tenure == self.tenure {
            return;
        }
        match tenure {
            Some(Tenure { ballot, first, adopted, filled }) => {
                let (view, first) = (ballot.view(members), first.0);
                tracing::info!(
                    view, %ballot, first, adopted, filled,
                    "takes office in view {view}: adopted {adopted} slots, filled {filled} holes"
                );
            }
            None => tracing::info!("leads no more"),
        }
        self.tenure = tenure;
    }

    /// When this node begins to get a snapshot from another, and when that is over.
    fn tell_transfer<W: Wal, M: StateMachine>(&mut self, node: &Node<W, M>) {
        let source = node.transfer().map(|transfer| transfer.from);
        if source == self.transfer {
            return;
        }
        match source {
            Some(NodeId(from)) if node.is_pressed() => {
                let held = node.replica().decided().since(node.replica().state().trimmed());
                tracing::warn!(
                    from,
                    held,
                    "the log of this witness holds {held} slots, since too few replicas have \
                     snapshots of them: is one away? It gets a copy of the snapshot and archive of \
                     node {from}"
                );
            }
            Some(NodeId(from)) => tracing::info!(
                from,
                "what is missing here is gone from the log of node {from}: its snapshot comes"
            ),
            None => {
                let (below, applied) = (node.replica().state().trimmed(), node.applied());
                tracing::info!(%below, %applied, "no snapshot comes any more");
            }
        }
        self.transfer = source;
    }
}

/// Tells, loudly, that another node has gone astray.
pub(super) fn tell_difference(difference: &Difference) {
    for (NodeId(node), _) in &difference.others {
        tracing::warn!(
            node,
            from = difference.from.0,
            to = difference.to.0,
            "the state of node {node} is not that of this one and a majority ({difference}). What \
             it answers may be wrong; it is to stop by itself"
        );
    }
}
