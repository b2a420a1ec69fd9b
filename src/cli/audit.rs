//! `indelible audit`: whether the stores of a cluster can be what they say, read offline.
//!
//! Here stores are opened and words are found; what is lawful is said in [`crate::audit`].

mod acknowledgements;
mod report;
mod traces;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use crate::audit::{self, Acknowledged, Book, Failed, Ledger, Proof, Refuted};
use crate::cluster::{Cluster, Service};
use crate::node::{self, Pace, Storage};
use crate::paxos::NodeId;
use crate::rsm::{Executor, Shelf};
use crate::services::hosted::Hosted;
use crate::shelf::DiskShelf;
use crate::wal::{self, Store};
use report::Row;

/// Audit the stores of a cluster, while their nodes do not run.
///
/// Reads the logs, archives and snapshots of any number of members, and proves or refutes that one
/// cluster can have written them: each record is lawful after those before it; one value is decided
/// for a slot, in all logs and archives; a majority of the members accepted it in one ballot. With
/// --acks also that each line that was acknowledged stands at its slot on a majority. Nothing is
/// changed but what a node would change when it starts: a torn end is cut, and the archive is
/// brought up to the log.
///
/// What a trimmed log or an absent store may have held is counted, with the reason, and not
/// refuted. How many members there are, and which of them are witnesses, is the cluster's to say;
/// without one, they are those that the stores have heard of.
///
/// Prints a table of the stores, and for each invariant (A1 to R4 are those of "Paxos Made
/// Moderately Complex") how far it was proved. Exit status 0 if all hold; 65 if one is refuted,
/// with the records that show it.
///
///   indelible audit store-0 store-1 store-2
///   indelible audit --cluster-file room.toml --acks told.log store-0 store-1
///   indelible audit --trace 0.trace 1.trace 2.trace
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct AuditArgs {
    /// The stores
    #[arg(value_name = "STORE", required_unless_present = "trace")]
    stores: Vec<PathBuf>,
    /// Instead of stores, traces that nodes wrote with their --trace: whether whatever left a node
    /// was on its disk before. A torn last line is no fault
    #[arg(long, env = "INDELIBLE_TRACES", value_name = "FILE", num_args = 1..)]
    #[arg(conflicts_with_all = ["stores", "acks"])]
    trace: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// What clients were told, in any order: lines `SLOT SENDER: text`, written as --log-file
    /// writes them. An unfinished last line does not count
    #[arg(long, env = "INDELIBLE_ACKS", value_name = "FILE")]
    acks: Option<PathBuf>,
    /// For scripts: one object
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// A store that is open, and what it is called.
struct Opened {
    name: String,
    storage: Storage<Store, DiskShelf>,
}

pub(super) fn run(args: &AuditArgs) -> Result<(), Failure> {
    if !args.trace.is_empty() {
        return traces::run(&args.trace, args.json);
    }
    let acknowledged = args.acks.as_deref().map(acknowledgements::read).transpose()?;
    let opened: Vec<Opened> =
        args.stores.iter().map(|path| Opened::open(path)).collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    let outcome = match audit(args, &opened, acknowledged.unwrap_or_default(), &mut rows) {
        Ok(proof) => Ok(proof),
        Err(Ended::Refuted(refuted)) => Err(refuted),
        Err(Ended::Failed(failure)) => return Err(failure),
    };
    let text = match args.json {
        true => report::json(&rows, &outcome),
        false => report::text(&rows, &outcome),
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::system(&error))?;
    match outcome {
        Ok(_) => Ok(()),
        Err(refuted) => Err(Failure::new(Status::Refuted, format!("refuted: {refuted}"))),
    }
}

/// Why an audit ended without a proof.
enum Ended {
    Refuted(Refuted),
    Failed(Failure),
}

impl From<Refuted> for Ended {
    fn from(refuted: Refuted) -> Ended {
        Ended::Refuted(refuted)
    }
}

impl<F: Into<Failure>> From<F> for Ended {
    fn from(failure: F) -> Ended {
        Ended::Failed(failure.into())
    }
}

fn audit(
    args: &AuditArgs,
    opened: &[Opened],
    acknowledged: Vec<Acknowledged>,
    rows: &mut Vec<Row>,
) -> Result<Proof, Ended> {
    let named = named(args, opened)?;
    let mut ledgers = Vec::new();
    for Opened { name, storage } in opened {
        let identity = storage.wal.identity();
        let store = (identity.node, identity.incarnation);
        let ledger = Ledger::read(name, store, storage.wal.records())?;
        rows.push(Row::of(&ledger));
        ledgers.push(ledger);
    }
    let heard = ledgers.iter().map(Ledger::members).max().unwrap_or_default();
    let mut books = Vec::new();
    for ((ledger, Opened { storage, .. }), row) in ledgers.into_iter().zip(opened).zip(rows) {
        let beside = storage.found::<wal::Error>(Pace::NEVER)?;
        let snapshots = beside.snapshots.clone();
        let machine = Hosted::of(Service::of_identity(&storage.wal.identity().cluster));
        let is_whole = machine.archives_commands();
        let is_witness = named.as_ref().is_some_and(|it| it.witnesses().contains(&ledger.node()));
        let digest = match is_witness {
            true => node::copied(ledger.state(), beside),
            false => node::replay(ledger.state(), beside, machine)
                .map(|executor: Executor<Hosted>| executor.digest()),
        };
        let digest = digest.map_err(|error| unreadable(error, named.as_ref(), ledger.name()))?;
        row.note(digest, storage.shelf.extent());
        let (archive, applied) = (&storage.shelf, digest.slot);
        books.push(Book { ledger, archive, is_whole, applied, digest, snapshots });
    }
    let members = named.map_or(heard, |cluster| cluster.members());
    match audit::compare(members, &books, acknowledged) {
        Ok(proof) => Ok(proof),
        Err(Failed::Refuted(refuted)) => Err(Ended::Refuted(refuted)),
        Err(Failed::Shelf(error)) => Err(node::Error::<wal::Error>::Shelf(Arc::new(error)).into()),
        Err(replaced @ Failed::Replaced { .. }) => {
            Err(Failure::new(Status::Config, replaced).into())
        }
    }
}

/// Why a store tells of no state. A witness has none; which members are witnesses the cluster file
/// alone knows.
fn unreadable(error: node::Error<wal::Error>, named: Option<&Cluster>, store: &str) -> Failure {
    if let node::Error::NoSnapshot(begin) = error
        && named.is_none()
    {
        let line = format!(
            "{store}: its log begins at slot {begin}, and no snapshot reaches up to there. If it \
             is a witness', give the cluster file as well; if not, the store is damaged"
        );
        return Failure::new(Status::Config, line);
    }
    error.into()
}

/// The cluster, if one is given. All stores must be of one cluster, and each of another member.
fn named(args: &AuditArgs, opened: &[Opened]) -> Result<Option<Cluster>, Failure> {
    let cluster = args.cluster.is_given().then(|| args.cluster.cluster()).transpose()?;
    let config = |line: String| Err(Failure::new(Status::Config, line));
    let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
    for Opened { name, storage } in opened {
        let identity = storage.wal.identity();
        let first = opened[0].storage.wal.identity();
        let named = cluster.as_ref().map(Cluster::identity);
        let expected = named.as_ref().unwrap_or(&first.cluster);
        if identity.cluster != *expected {
            let found = &identity.cluster;
            return config(format!("{name}: the store of cluster \"{found}\", not \"{expected}\""));
        }
        let node = identity.node;
        if cluster.as_ref().is_some_and(|cluster| cluster.member(node).is_none()) {
            return config(format!("{name}: node {} is not in the cluster", node.0));
        }
        if !nodes.insert(node) {
            return config(format!("{name}: another store of node {} is given as well", node.0));
        }
    }
    Ok(cluster)
}

impl Opened {
    fn open(path: &Path) -> Result<Opened, Failure> {
        let name = path.display().to_string();
        Ok(Opened { name, storage: Storage::open(path)? })
    }
}
