//! Which view it is: asked of the replica that the client talks to.
//!
//! A client knows the leader and no ballots, and needs none. A person wants to see the view change,
//! so whoever serves this client is asked for it over a connection of its own: when the standing
//! changes, and now and then.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::{Probe, Standing};
use crate::cluster::Cluster;
use crate::paxos::NodeId;

/// The view, and its primary.
pub(super) type View = Option<(u64, NodeId)>;

/// How often to ask when nothing seems to change, and how long an answer may take.
const PERIOD: Duration = Duration::from_secs(1);

/// After a change the replica may not know better yet.
const SOON: Duration = Duration::from_millis(100);

/// Asks for ever, or until nobody wants to know.
pub(super) async fn watch(
    cluster: Cluster,
    mut standing: watch::Receiver<Standing>,
    publish: watch::Sender<View>,
) {
    let mut probe = None;
    loop {
        let now = *standing.borrow_and_update();
        let view = match now.connected {
            Some(replica) => ask(&cluster, replica, &mut probe).await,
            None => None,
        };
        let is_settled = view.is_some_and(|(_, primary)| Some(primary) == now.leader);
        if publish.send(view).is_err() {
            return;
        }
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return },
            () = sleep(if is_settled { PERIOD } else { SOON }) => {}
        }
    }
}

/// The view in which this replica hears a leader; `None`, if in none, or if it does not say.
async fn ask(cluster: &Cluster, replica: NodeId, probe: &mut Option<(NodeId, Probe)>) -> View {
    let kept = probe.take().filter(|(node, _)| *node == replica);
    let mut asked = match kept {
        Some((_, asked)) => asked,
        None => {
            let member = cluster.member(replica)?;
            Probe::find(cluster, member, PERIOD).await.ok()?
        }
    };
    let status = asked.status().await.ok()?;
    *probe = Some((replica, asked));
    let view = status.ballot?.view(status.members);
    let primary = status.leader?;
    (view % u64::from(status.members) == u64::from(primary.0)).then_some((view, primary))
}
