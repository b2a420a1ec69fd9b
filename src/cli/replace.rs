//! `indelible replace`: a member whose disk is lost comes back on an empty store.
//!
//! What is done here is little: a store that says of itself that it must not vote yet. All that
//! makes it safe is the core's (`paxos::rejoining`); what is told meanwhile is the server's.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::node::{BallastArgs, RunArgs, member, now, serve};
use super::revive::Own;
use crate::client::Probe;
use crate::cluster::Cluster;
use crate::paxos::{Incarnation, NodeId};
use crate::wal::{Identity, Store};

/// Bring a member back whose disk is lost, damaged or set back, on an empty store.
///
/// Run it on the machine that takes the place of the old one; it may have another address. It makes
/// a store that does not vote, and then runs as that member, like `node`: it asks the others what
/// they have promised and accepted, fetches what is decided, and votes when it holds enough that no
/// promise of the lost store can be broken. Until then it says on stderr for whom it waits.
///
/// It needs as many of the others, running and voting, as are a majority of all: 2 of 2 in a
/// cluster of three, 3 of 3 in one of four, 3 of 4 in one of five. With fewer it waits; others that
/// were replaced and do not vote yet do not count. So a cluster that has lost too many disks at
/// once cannot be brought back, and neither can a member of a cluster of one or two.
///
/// If it is stopped or killed, `indelible node` with the same flags goes on; or this again, where
/// that says that the store is not finished, or once the folder is removed. The old machine must
/// not come back: if it does, the others tell it so, and it stops with status 78. Never use
/// `format` for a member that has voted: an empty store that votes has forgotten what it promised.
///
/// The others, and clients, learn of a new address by themselves. Write it into the cluster files
/// all the same: whoever is started next must find some of the others where its file has them.
///
///   indelible replace 1 --cluster-file room.toml --store /var/lib/indelible/1 --address d:7000
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Which member
    #[arg(env = "INDELIBLE_ID")]
    id: u16,
    /// The folder to make
    #[arg(long, env = "INDELIBLE_STORE", value_name = "DIR")]
    store: PathBuf,
    #[command(flatten)]
    ballast: BallastArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// How long the others may take to say which stores of the member they know.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: ReplaceArgs) -> Result<(), Failure> {
    args.run.tie()?;
    let cluster = args.cluster.cluster()?;
    let node = member(&cluster, args.id)?;
    let (others, needed) = (cluster.nodes.len() - 1, cluster.quorum());
    if others < needed {
        let line = format!(
            "node {} cannot be replaced: {needed} others must tell what they know, and there are \
             {others} in cluster \"{}\"",
            node.0, cluster.name
        );
        return Err(Failure::new(Status::Usage, line));
    }
    let options = args.ballast.options()?;
    let known = super::runtime()?.block_on(newest(&cluster, node));
    // A clock that lags behind that of the lost machine must not make this store the older one.
    let incarnation = now().max(Incarnation(known.map_or(0, |store| store.0 + 1)));
    let identity = Identity::new(&cluster.identity(), node, incarnation);
    Store::format_replacement(&args.store, &identity, options)?;
    let own = Own { cluster: &cluster, named: &args.cluster, node, store: &args.store };
    serve(&own, args.run)
}

/// The newest store of a member that any of the others that answer has on record.
async fn newest(cluster: &Cluster, node: NodeId) -> Option<Incarnation> {
    let others = cluster.nodes.iter().filter(|other| other.id != node);
    let ask = async |other| Probe::find(cluster, other, PATIENCE).await?.status().await;
    let answers = join_all(others.map(ask)).await.into_iter().flatten();
    let stores = answers.flat_map(|status| status.stores);
    stores.filter(|(of, _)| *of == node).map(|(_, store)| store).max()
}
