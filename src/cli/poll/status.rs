//! `indelible poll status`: who is in office, how each member is, what is open, and who is
//! connected where.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::super::exit::Failure;
use super::super::harmless::harmless;
use super::super::lock::text;
use super::super::write_line;
use super::TalkArgs;
use super::tell::{row_line, row_object};
use crate::client::{LinkError, Probe};
use crate::cluster::{Cluster, Member};
use crate::paxos::ClientId;
use crate::poller::{Error, Poller};
use crate::services::poll::{Office, Row};
use crate::steward::{MISSED, clock, heartbeat};
use crate::wire::client::{NodeStatus, Role};

/// Who is in office, how each member is, which polls are open, and who is connected where.
///
/// A member is the `primary`, a `backup` that has joined it, `joining` while it catches up, or the
/// `witness`; `suspended` if it has heard no primary for five heartbeats. Exit status 69, and no
/// more than what the members say of themselves, if no quorum answers.
#[derive(clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    talk: TalkArgs,
    /// Print JSON: one object
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A member, as it says itself.
struct Seen<'c> {
    member: &'c Member,
    status: Result<(NodeStatus, Vec<ClientId>), LinkError>,
}

/// What only a quorum can tell.
struct Told {
    office: Office,
    open: Vec<Row>,
    names: BTreeMap<ClientId, Bytes>,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let cluster = args.talk.cluster()?;
    args.talk.talk(async |poller| {
        let (told, seen) = tokio::join!(ask(poller), look(&cluster));
        let (told, failed) = match told {
            Ok(told) => (Some(told), None),
            Err(error) => (None, Some(error)),
        };
        let lines = if args.json {
            object(&cluster, told.as_ref(), &seen).to_string()
        } else {
            lines(&cluster, told.as_ref(), &seen)
        };
        write_line(&lines)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    })
}

async fn ask(poller: &Poller) -> Result<Told, Error> {
    let office = poller.office().await?;
    let open = poller.all_open().await?;
    let joined = poller.joined().await?;
    let names = joined.into_iter().map(|(name, member)| (member.session, name)).collect();
    Ok(Told { office, open, names })
}

async fn look(cluster: &Cluster) -> Vec<Seen<'_>> {
    let ask = async |member| {
        let asked = async {
            let mut probe = Probe::find(cluster, member, PATIENCE).await?;
            Ok((probe.status().await?, probe.guests().await?))
        };
        Seen { member, status: asked.await }
    };
    join_all(cluster.nodes.iter().map(ask)).await
}

/// Since when there is no quorum, as the members that answer say; `None` if none says so.
pub(super) async fn no_quorum(cluster: &Cluster) -> Option<String> {
    let seen = look(cluster).await;
    let silence = |seen: &Seen<'_>| seen.status.as_ref().ok().and_then(|(it, _)| it.leaderless);
    let longest = seen.iter().filter_map(|seen| Some((silence(seen)?, seen.member.id.0)));
    let (silence, node) = longest.max()?;
    let since = clock(Duration::from_millis(silence));
    Some(format!("no quorum since {since}, says node {node}"))
}

/// What a member does, and since when, if it is suspended.
fn role(
    cluster: &Cluster,
    told: Option<&Told>,
    status: &NodeStatus,
) -> (&'static str, Option<String>) {
    let silence = status.leaderless.map(Duration::from_millis);
    if let Some(silence) = silence.filter(|silence| *silence > heartbeat(cluster) * MISSED) {
        return ("suspended", Some(clock(silence)));
    }
    let office = told.map(|told| &told.office);
    let presides = |office: &Office| office.primary.as_ref().map(|it| it.id) == Some(status.node.0);
    let attends = |office: &Office| office.backups.contains_key(&status.node.0);
    let role = match status.role {
        Role::Witness => "witness",
        Role::Leader if office.is_some_and(presides) => "primary",
        Role::Leader => "taking over",
        Role::Follower | Role::Canvassing | Role::Campaigning if office.is_some_and(attends) => {
            "backup"
        }
        Role::Follower | Role::Canvassing | Role::Campaigning => "joining",
    };
    (role, None)
}

fn names(told: Option<&Told>, guests: &[ClientId]) -> Vec<Bytes> {
    let names = told.map(|told| &told.names);
    let name = |guest: &ClientId| names.and_then(|names| names.get(guest)).cloned();
    let mut names: Vec<Bytes> = guests.iter().filter_map(name).collect();
    names.sort();
    names
}

fn lines(cluster: &Cluster, told: Option<&Told>, seen: &[Seen<'_>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["NODE", "ADDRESS", "ROLE", "CLIENTS"]);
    for Seen { member, status } in seen {
        let (role, clients) = match status {
            Ok((status, guests)) => {
                let (role, since) = role(cluster, told, status);
                let since = since.map_or_else(String::new, |since| format!(" since {since}"));
                let names = names(told, guests).into_iter().map(|name| harmless(&name).to_string());
                (format!("{role}{since}"), names.collect::<Vec<_>>().join(" "))
            }
            Err(error) => ("no answer".to_owned(), format!("({error})")),
        };
        let clients = if clients.is_empty() { "-".to_owned() } else { clients };
        table.add_row([member.id.0.to_string(), member.address.clone(), role, clients]);
    }
    let Some(told) = told else { return table.trim_fmt() };
    let mut lines = format!("{}\n{}", told.office, table.trim_fmt());
    for row in &told.open {
        lines.push_str(&format!("\nopen: {}", row_line(row)));
    }
    lines
}

fn object(cluster: &Cluster, told: Option<&Told>, seen: &[Seen<'_>]) -> Value {
    let one = |Seen { member, status }: &Seen<'_>| {
        let (id, address) = (member.id.0, &member.address);
        match status {
            Ok((status, guests)) => {
                let (role, since) = role(cluster, told, status);
                let clients: Vec<String> =
                    names(told, guests).iter().map(|name| text(name)).collect();
                json!({ "node": id, "address": address, "role": role, "since": since,
                    "clients": clients })
            }
            Err(error) => json!({ "node": id, "address": address, "error": error.to_string() }),
        }
    };
    let nodes: Vec<Value> = seen.iter().map(one).collect();
    let Some(Told { office, open, .. }) = told else { return json!({ "nodes": nodes }) };
    let backups = office
        .backups
        .iter()
        .map(|(id, it)| json!({ "node": id, "address": text(&it.address), "joined": it.joined.0 }));
    json!({
        "announcement": office.announcement,
        "view": office.view,
        "primary": office.primary.as_ref()
            .map(|it| json!({ "node": it.id, "address": text(&it.address) })),
        "backups": backups.collect::<Vec<_>>(),
        "nodes": nodes,
        "open": open.iter().map(row_object).collect::<Vec<_>>(),
    })
}
