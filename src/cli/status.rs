//! `indelible status`: how each member is.

use std::io::Write;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use crate::client::Probe;
use crate::cluster::{Cluster, Member};
use crate::paxos::Slot;
use crate::wire::client::{NodeStatus, Role};

/// Ask each member how it is.
///
/// A row a member: what it does, the view it is in with its ballot and its primary (view v has the
/// primary v mod n), the leader it hears now, how far it has decided and applied, and the slots it
/// lacks. While nobody is heard the view is the last one. A `learner` does not vote yet: it has
/// just started, or its store took the place of a lost one. A `witness` votes, and applies nothing.
/// A member that gets a snapshot from another is told below, with how far it has come. One that is
/// elsewhere than the cluster file has it is found through the others. Exit status 69 if no
/// majority answered.
///
///   indelible status --cluster-file room.toml
///   indelible status --replicas a:7000,b:7000,c:7000 --json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// For scripts: an array of objects
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
    /// Tell for each member the ranges of slots that it lacks of what the others have decided
    #[arg(long, env = "INDELIBLE_HOLES")]
    holes: bool,
    /// How long a member may take to answer
    #[arg(long, env = "INDELIBLE_TIMEOUT", default_value = "2s")]
    timeout: humantime::Duration,
}

/// A member, with the address where it answered, or should have, and how it is.
type Asked = (Member, Result<NodeStatus, String>);

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let cluster = args.cluster.cluster()?;
    let asked = super::runtime()?.block_on(ask_all(&cluster, *args.timeout));
    let answered = asked.iter().filter(|(_, status)| status.is_ok()).count();
    let text = match (args.json, args.holes) {
        (true, _) => to_json(&asked),
        (false, true) => to_lacks(&asked),
        (false, false) => to_table(&asked) + &transfers(&asked),
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::system(&error))?;
    if answered < cluster.quorum() {
        let line = format!("no quorum: {answered} of {} members answered", cluster.members());
        return Err(Failure::new(Status::Unavailable, line));
    }
    Ok(())
}

async fn ask_all(cluster: &Cluster, patience: Duration) -> Vec<Asked> {
    let ask = async |member: &Member| {
        let mut found = member.clone();
        let status = match Probe::find(cluster, member, patience).await {
            Ok(mut probe) => {
                probe.address().clone_into(&mut found.address);
                probe.status().await
            }
            Err(error) => Err(error),
        };
        (found, status.map_err(|error| error.to_string()))
    };
    join_all(cluster.nodes.iter().map(ask)).await
}

fn to_table(asked: &[Asked]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "NODE", "ADDRESS", "ROLE", "VIEW", "PRIMARY", "BALLOT", "LEADER", "DECIDED", "APPLIED",
        "HOLES", "STATE",
    ]);
    for (member, status) in asked {
        let id = member.id.0.to_string();
        match status {
            Ok(it) => table.add_row(row(id, member, it)),
            Err(error) => table.add_row(silent(id, member, error)),
        };
    }
    table.trim_fmt()
}

fn row(id: String, member: &Member, status: &NodeStatus) -> [String; 11] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let ranges = status.holes.iter().map(|(from, to)| format!("{from}..{to}"));
    let holes = ranges.collect::<Vec<_>>().join(" ");
    let applies = status.role != Role::Witness;
    [
        id,
        member.address.clone(),
        role(status).to_owned(),
        or_none(status.ballot.map(|ballot| ballot.view(status.members).to_string())),
        or_none(status.ballot.map(|ballot| ballot.node.0.to_string())),
        or_none(status.ballot.map(|ballot| ballot.to_string())),
        or_none(status.leader.map(|leader| leader.0.to_string())),
        status.decided.to_string(),
        or_none(applies.then(|| status.applied.to_string())),
        or_none(Some(holes).filter(|holes| !holes.is_empty())),
        or_none(applies.then(|| format!("{:016x}", status.digest.hash))),
    ]
}

/// What members get from others, a line each.
fn transfers(asked: &[Asked]) -> String {
    let lines = asked.iter().filter_map(|(member, status)| {
        let it = status.as_ref().ok()?.transfer?;
        let (done, all, rate) = (it.done, it.done + it.to_come, it.rate());
        let left = it.seconds_left().map_or("?".to_owned(), |left| format!("{left:.1}"));
        let (node, from) = (member.id.0, it.from.0);
        let came = format!("{done} of {all} entries of the archive, {rate:.0}/s, {left} s left");
        Some(format!("\nnode {node} gets a snapshot from node {from}: {came}"))
    });
    lines.collect()
}

/// What each member lacks, as ranges `from..to`.
fn to_lacks(asked: &[Asked]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["NODE", "DECIDED", "TRIMMED", "LACKS"]);
    for (member, status) in asked {
        let id = member.id.0.to_string();
        match status {
            Ok(it) => {
                let ranges = lacks(it, asked).into_iter().map(|(from, to)| format!("{from}..{to}"));
                let ranges = ranges.collect::<Vec<_>>().join(" ");
                let lacks = if ranges.is_empty() { "-".to_owned() } else { ranges };
                table.add_row([id, it.decided.to_string(), it.trimmed.to_string(), lacks]);
            }
            Err(error) => {
                table.add_row([id, "-".to_owned(), "-".to_owned(), format!("({error})")]);
            }
        }
    }
    table.trim_fmt()
}

/// The holes that a member knows, and all that others have decided above what it has.
fn lacks(status: &NodeStatus, asked: &[Asked]) -> Vec<(Slot, Slot)> {
    let answers = asked.iter().filter_map(|(_, status)| status.as_ref().ok());
    let decided = answers.map(|status| status.decided).max().unwrap_or_default();
    let mut lacks = status.holes.clone();
    if status.end < decided {
        lacks.push((status.end, decided));
    }
    lacks
}

/// A member that did not say how it is; the reason stands last, where it widens no column.
fn silent(id: String, member: &Member, error: &str) -> [String; 11] {
    let mut row: [String; 11] = std::array::from_fn(|_| "-".to_owned());
    row[0] = id;
    row[1].clone_from(&member.address);
    row[2] = "no answer".to_owned();
    row[10] = format!("({error})");
    row
}

fn role(status: &NodeStatus) -> &'static str {
    match status.role {
        // It listens, and has no voice yet.
        Role::Follower | Role::Witness if !status.votes => "learner",
        Role::Follower => "follower",
        Role::Canvassing => "canvassing",
        Role::Campaigning => "campaigning",
        Role::Leader => "leader",
        Role::Witness => "witness",
    }
}

fn pairs(ranges: &[(Slot, Slot)]) -> Vec<[u64; 2]> {
    ranges.iter().map(|(from, to)| [from.0, to.0]).collect()
}

fn to_json(asked: &[Asked]) -> String {
    let one = |(member, status): &Asked| -> Value {
        let (id, address) = (member.id.0, &member.address);
        match status {
            Err(error) => json!({ "node": id, "address": address, "error": error }),
            Ok(it) => json!({
                "node": id,
                "address": address,
                "incarnation": it.incarnation.0,
                "role": role(it),
                "votes": it.votes,
                "view": it.ballot.map(|ballot| ballot.view(it.members)),
                "primary": it.ballot.map(|ballot| ballot.node.0),
                "round": it.ballot.map(|ballot| ballot.round),
                "leader": it.leader.map(|leader| leader.0),
                "decided": it.decided.0,
                "applied": it.applied.0,
                "end": it.end.0,
                "holes": pairs(&it.holes),
                "catching_up": it.catching_up,
                "outstanding": it.outstanding,
                "state": format!("{:016x}", it.digest.hash),
                "trimmed": it.trimmed.0,
                "lacks": pairs(&lacks(it, asked)),
                "transfer": it.transfer.map(|it| json!({
                    "from": it.from.0,
                    "done": it.done,
                    "regained": it.regained,
                    "to_come": it.to_come,
                    "ms": it.millis,
                })),
            }),
        }
    };
    Value::from(asked.iter().map(one).collect::<Vec<_>>()).to_string()
}
