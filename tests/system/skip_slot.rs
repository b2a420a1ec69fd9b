//! The primary of the first view leaves slots out, and dies.
//!
//! Until then the slots are empty on every node, what lies behind is decided and not applied, and
//! everybody shows the holes. Its successor, which was told the same, fills them, and all is
//! applied and answered.
//!
//! One-line bugs that turn them red: a hole that is healed in the first view; slots left out in a
//! later view; slots left out when phase 1 finds nothing there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use indelible::client::{Client, Ticket};
use indelible::local::{Options, Rig};
use indelible::paxos::{ClientId, NodeId, Slot};
use indelible::services::chat::Message;
use indelible::wire::client::NodeStatus;
use indelible::wire::drop::Loss;
use libtest_mimic::{Failed, Trial};

use crate::history::all_show;
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_first_slot", || case(&[0], 3, &[(0, 1)], 0.0)),
        trial("holes_apart_and_side_by_side", || case(&[1, 3, 4], 4, &[(1, 2), (3, 5)], 0.0)),
        trial("the_last_slot_but_one", || case(&[2], 3, &[(2, 3)], 0.0)),
        trial("a_slot_that_is_never_reached", || case(&[9], 3, &[], 0.0)),
        trial("holes_and_loss", || case(&[1, 6], 12, &[(1, 2), (6, 7)], 0.1)),
        trial("the_primary_dies_once_the_next_is_decided", dies_at_once),
        trial("a_full_window_behind_a_hole", full_window),
    ]
}

fn trial<F: Future<Output = Result<(), Failed>>>(
    name: &str,
    play: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(format!("skip_slot::{name}"), move || {
        let _beside = scale::beside();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(play())
    })
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough that only a death ends the first view, however busy the machine: a death is noticed
/// by the connections that it breaks.
const ELECTION: Duration = Duration::from_secs(3);

/// A cluster of three whose nodes leave these slots out, in its first view.
async fn rig(skip: &[u64], share: f64) -> Result<(Rig, tempfile::TempDir), Failed> {
    let data = run::data()?;
    let mut rig = Rig::format(Options {
        nodes: 3,
        data: data.path().to_owned(),
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let mut flags: Vec<String> = skip.iter().map(|slot| format!("--skip-slot={slot}")).collect();
    flags.extend([format!("--drop={share}"), format!("--drop-seed={}", scale::seed())]);
    rig.set_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    rig.set_election(ELECTION)?;
    rig.start_all()?;
    rig.ready(PATIENCE).await?;
    let first = rig.leader().await;
    assert_eq!(first, Some(NodeId(0)), "node 0 is the first primary");
    Ok((rig, data))
}

/// So many messages are said; these holes are to show until the primary dies.
async fn case(skip: &[u64], messages: u64, holes: &[(u64, u64)], share: f64) -> Result<(), Failed> {
    let (mut rig, _data) = rig(skip, share).await?;
    let loss = Loss::new(share, scale::seed()).ok_or("a share")?;
    let client = Client::open_lossy(rig.cluster(), ClientId(fastrand::u128(..)), loss);
    let mut tickets = Vec::new();
    for number in 0..messages {
        tickets.push(say(&client, number).await?);
    }
    let slots: Vec<u64> = (0..).filter(|slot| !skip.contains(slot)).take(tickets.len()).collect();
    let end = slots.last().copied().ok_or("messages")? + 1;
    let holes: Vec<_> = holes.iter().map(|(from, to)| (Slot(*from), Slot(*to))).collect();
    let decided = holes.first().map_or(Slot(end), |(from, _)| *from);
    let shows = |status: &NodeStatus| {
        status.holes == holes && (status.decided, status.end) == (decided, Slot(end))
    };
    all_show(&mut rig, 3, shows).await?;
    // Nobody heals them by and by.
    tokio::time::sleep(Duration::from_secs(1)).await;
    all_show(&mut rig, 3, shows).await?;
    rig.kill(NodeId(0));
    for (ticket, slot) in tickets.into_iter().zip(&slots) {
        assert_eq!(reply(ticket).await?, Slot(*slot));
    }
    let whole = |end: u64| {
        move |status: &NodeStatus| {
            status.holes.is_empty() && (status.applied, status.end) == (Slot(end), Slot(end))
        }
    };
    all_show(&mut rig, 2, whole(end)).await?;
    // What a later view proposes is dense, whatever it was told.
    assert_eq!(reply(say(&client, messages).await?).await?, Slot(end));
    rig.start(NodeId(0))?;
    all_show(&mut rig, 3, whole(end + 1)).await
}

/// As soon as one follower holds what lies behind the hole, a majority does.
async fn dies_at_once() -> Result<(), Failed> {
    let (mut rig, _data) = rig(&[1], 0.0).await?;
    let client = Client::open(rig.cluster(), ClientId(fastrand::u128(..)));
    let (below, above) = (say(&client, 0).await?, say(&client, 1).await?);
    let until = Instant::now() + PATIENCE;
    while rig.status(NodeId(1)).await.is_none_or(|status| status.end < Slot(3)) {
        assert!(Instant::now() < until, "slot 2 does not come");
    }
    rig.kill(NodeId(0));
    assert_eq!((reply(below).await?, reply(above).await?), (Slot(0), Slot(2)));
    Ok(())
}

/// More requests than the window holds wait behind a hole: none is lost, none applied twice.
async fn full_window() -> Result<(), Failed> {
    const CLIENTS: u64 = 20;
    const EACH: u64 = 250;
    let (mut rig, _data) = rig(&[0], 0.0).await?;
    let open = |_| Client::open(rig.cluster(), ClientId(fastrand::u128(..)));
    let clients: Vec<Client> = (0..CLIENTS).map(open).collect();
    let mut tickets = Vec::new();
    for client in &clients {
        for number in 0..EACH {
            tickets.push(say(client, number).await?);
        }
    }
    for ticket in &mut tickets {
        tokio::time::timeout(PATIENCE, ticket.queued()).await?;
    }
    let primary = rig.status(NodeId(0)).await.ok_or("no answer")?;
    assert_eq!((primary.holes, primary.applied), (vec![(Slot(0), Slot(1))], Slot(0)));
    assert_eq!(primary.outstanding, CLIENTS * EACH, "decided or not, all wait");
    assert!(primary.end.0 < CLIENTS * EACH, "the window is bounded: {}", primary.end);
    rig.kill(NodeId(0));
    let mut slots = Vec::new();
    for ticket in tickets {
        slots.push(reply(ticket).await?);
    }
    for of_one in slots.chunks(EACH as usize) {
        assert!(of_one.is_sorted(), "a client's messages keep their order");
    }
    slots.sort();
    let dense: Vec<Slot> = (1..=CLIENTS * EACH).map(Slot).collect();
    assert_eq!(slots, dense, "each once");
    Ok(())
}

async fn say(client: &Client, number: u64) -> Result<Ticket, Failed> {
    let text = Bytes::from(format!("message {number}"));
    let body = Message { sender: Bytes::from_static(b"ann"), text }.encode();
    Ok(client.submit(body).await?)
}

async fn reply(ticket: Ticket) -> Result<Slot, Failed> {
    Ok(tokio::time::timeout(PATIENCE, ticket.reply()).await??.slot)
}
