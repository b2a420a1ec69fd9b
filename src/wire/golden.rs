//! Golden bytes: what every kind of message and record looks like on sockets and disks, so that no
//! change of a format passes unseen.
//!
//! `golden.txt` holds one example of each, framed, in hex. A difference is a new format: nodes of
//! before and after could not talk, nor open each other's stores. Where that is meant, raise the
//! version and write the file anew with `UPDATE_GOLDENFILES=1 cargo test --lib golden`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{Entry, FromNode, NodeStatus, Order, Outcome, Refusal, Role, ToNode};
use super::frame;
use super::hello::{Caller, Greeting, Hello};
use crate::paxos::*;

const GOLDEN: &str = include_str!("golden.txt");

/// Examples by name: their frames in hex.
#[derive(Default)]
struct Album(BTreeMap<String, String>);

impl Album {
    fn add<T>(&mut self, name: &str, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let sealed = frame::seal(value);
        assert_eq!(&frame::open::<T>(&sealed).expect(name), value, "{name} comes back");
        let hex = sealed.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes all");
            hex
        });
        assert!(self.0.insert(name.to_owned(), hex).is_none(), "{name} twice");
    }
}

#[test]
fn no_format_has_changed() {
    let mut album = Album::default();
    messages(&mut album);
    records(&mut album);
    hellos(&mut album);
    to_node(&mut album);
    from_node(&mut album);
    let found: String = album.0.iter().map(|(name, hex)| format!("{name} {hex}\n")).collect();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/golden.txt");
        std::fs::write(path, &found).expect("writable");
        return;
    }
    for (line, golden) in found.lines().zip(GOLDEN.lines()) {
        assert_eq!(line, golden, "a format has changed: see the head of this file");
    }
    assert_eq!(found.lines().count(), GOLDEN.lines().count(), "every kind has its golden bytes");
}

const NODE: NodeId = NodeId(2);
const STORE: Incarnation = Incarnation(0x0102_0304);
const BALLOT: Ballot = Ballot { round: 7, node: NODE, incarnation: STORE };
const DIGEST: Digest = Digest { slot: Slot(1000), hash: 0xfeed_f00d };

fn request() -> Request {
    Request {
        client: ClientId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
        number: RequestNumber(5),
        low_water: RequestNumber(3),
        ttl_ms: 60_000,
        time_ms: 1_700_000_000_000,
        body: Bytes::from_static(b"hello"),
    }
}

fn run() -> Run {
    let commands = vec![Command::Noop, Command::Request(request())];
    Run { ballot: BALLOT, after: Slot(8), first: Slot(9), commands }
}

fn seal() -> Seal {
    Seal { incarnation: STORE, known: vec![(NodeId(0), Incarnation(1))] }
}

fn messages(album: &mut Album) {
    let (ballot, round) = (BALLOT, 11);
    let accepted = vec![PValue { ballot, slot: Slot(9), command: Command::Noop }];
    let (mark, watermark, decided) = (Slot(8), Slot(10), Slot(12));
    let commands = vec![Command::Noop, Command::Request(request())];
    let pledges = 33;
    let chain = Some(Chain { ballot, from: Slot(2), end: Slot(10) });
    let testimony = Testimony {
        to: STORE,
        promised: Some(ballot),
        mark,
        chain,
        accepted: accepted.clone(),
        remembered: 3,
        pledges,
        seal: seal(),
    };
    let accepted_in = Some(BALLOT);
    let promise = Promise { ballot, mark, accepted_in, accepted, pledges, seal: seal() };
    let all: [Message; 20] = [
        Prepare { ballot, pledges }.into(),
        promise.into(),
        Preempted { refused: ballot, promised: ballot }.into(),
        Accept { run: run(), watermark }.into(),
        Accepted { ballot, from: Slot(9), up_to: Slot(11), pledges, seal: seal() }.into(),
        Resend { ballot }.into(),
        Decide { ballot, watermark }.into(),
        Heartbeat { ballot, round, watermark, decided, digests: vec![(NODE, DIGEST)] }.into(),
        Echo { ballot, round, decided, seal: seal(), digest: Some(DIGEST) }.into(),
        Canvass { round, decided }.into(),
        CanvassAnswer { round, yes: true, promised: None, decided, seal: seal() }.into(),
        CatchUpAsk { from: Slot(9) }.into(),
        CatchUp { first: Slot(9), commands, decided, trimmed: Slot(2) }.into(),
        Transfer { body: Bytes::from_static(b"of nodes") }.into(),
        Pledged { incarnation: STORE, pledges, others: vec![(NODE, STORE, 32)] }.into(),
        Recall { incarnation: STORE, life: 13, address: None }.into(),
        Recollection { of: STORE, life: 13, pledges, seal: seal() }.into(),
        Rejoin { incarnation: STORE, address: Some(Bytes::from_static(b"there:1")) }.into(),
        testimony.into(),
        Holds { below: Slot(9), seal: seal() }.into(),
    ];
    for message in all {
        let name = format!("message {}", name_of_message(&message));
        album.add(&name, &Envelope { from: NodeId(1), to: NODE, message });
    }
}

/// Here, and in the matches below, a kind without an example does not compile.
fn name_of_message(message: &Message) -> &'static str {
    match message {
        Message::Prepare(_)
        | Message::Promise(_)
        | Message::Preempted(_)
        | Message::Accept(_)
        | Message::Accepted(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::Echo(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::CatchUpAsk(_)
        | Message::CatchUp(_)
        | Message::Transfer(_)
        | Message::Pledged(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Rejoin(_)
        | Message::Testimony(_)
        | Message::Holds(_) => message.kind(),
    }
}

fn records(album: &mut Album) {
    let trimmed = Record::Trimmed {
        below: Slot(4),
        mark: Slot(5),
        promised: Some(BALLOT),
        chain: Some(Chain { ballot: BALLOT, from: Slot(2), end: Slot(9) }),
        incarnations: vec![(NodeId(0), STORE)],
        first_record: 17,
    };
    let all = [
        Record::Promised(BALLOT),
        Record::Accepted(run()),
        Record::Learned {
            first: Slot(3),
            commands: vec![
                Command::Noop,
                Command::End(request().client),
                Command::Wake(1_700_000_000_001),
            ],
        },
        Record::Decided(Slot(6)),
        Record::Incarnation { node: NODE, incarnation: STORE },
        trimmed,
        Record::Standing { pledges: 33, votes: false },
        Record::Heard { node: NODE, incarnation: STORE, pledges: 32 },
        Record::Moved { node: NODE, incarnation: STORE, address: Bytes::from_static(b"there:1") },
        Record::Imported { promised: Some(BALLOT), chain: None, accepted: Vec::new() },
        Record::Testified { node: NODE, incarnation: STORE },
        Record::Lost { below: Slot(3), promised: None, accepted_in: Some(BALLOT), pledges: 2 },
    ];
    for record in all {
        let name = match &record {
            Record::Promised(_) => "promised",
            Record::Accepted(_) => "accepted",
            Record::Learned { .. } => "learned",
            Record::Decided(_) => "decided",
            Record::Incarnation { .. } => "incarnation",
            Record::Trimmed { .. } => "trimmed",
            Record::Standing { .. } => "standing",
            Record::Heard { .. } => "heard",
            Record::Moved { .. } => "moved",
            Record::Imported { .. } => "imported",
            Record::Testified { .. } => "testified",
            Record::Lost { .. } => "lost",
        };
        album.add(&format!("record {name}"), &record);
    }
}

fn hellos(album: &mut Album) {
    for caller in [
        Caller::Peer {
            from: NodeId(1),
            to: NODE,
            incarnation: STORE,
            address: "host:7000".to_owned(),
        },
        Caller::Client { client: request().client },
    ] {
        let name = match &caller {
            Caller::Peer { .. } => "hello peer",
            Caller::Client { .. } => "hello client",
        };
        album.add(name, &Hello::new("room", caller));
    }
    for greeting in [
        Greeting::Welcome {
            node: NODE,
            leader: Some(NodeId(1)),
            found: vec![(NodeId(0), "host:7000".to_owned())],
        },
        Greeting::Refused("no".to_owned()),
        Greeting::Replaced(STORE),
    ] {
        let name = match &greeting {
            Greeting::Welcome { .. } => "greeting welcome",
            Greeting::Refused(_) => "greeting refused",
            Greeting::Replaced(_) => "greeting replaced",
        };
        album.add(name, &greeting);
    }
}

fn to_node(album: &mut Album) {
    let orders = [Order::Bomb(3), Order::Skip(2), Order::Heal];
    let orders = orders.into_iter().map(|order| ToNode::Order { id: 6, order });
    let others = [
        ToNode::Request(request()),
        ToNode::Subscribe { from: Slot(9) },
        ToNode::Query { id: 4, body: Bytes::from_static(b"who?") },
        ToNode::Status { id: 5 },
        ToNode::Pulse,
        ToNode::Post(request()),
        ToNode::KeepAlive { id: 7 },
        ToNode::Lease { id: 8, session: request().client },
        ToNode::End,
        ToNode::Guests { id: 9 },
    ];
    for message in others.into_iter().chain(orders) {
        let name = match &message {
            ToNode::Request(_) => "request",
            ToNode::Subscribe { .. } => "subscribe",
            ToNode::Query { .. } => "query",
            ToNode::Status { .. } => "status",
            ToNode::Order { order: Order::Bomb(_), .. } => "order bomb",
            ToNode::Order { order: Order::Skip(_), .. } => "order skip",
            ToNode::Order { order: Order::Heal, .. } => "order heal",
            ToNode::Pulse => "pulse",
            ToNode::Post(_) => "post",
            ToNode::KeepAlive { .. } => "keep-alive",
            ToNode::Lease { .. } => "lease",
            ToNode::End => "end",
            ToNode::Guests { .. } => "guests",
        };
        album.add(&format!("to node {name}"), &message);
    }
}

fn from_node(album: &mut Album) {
    let number = RequestNumber(5);
    let reply = |outcome| FromNode::Reply { number, slot: Slot(9), outcome };
    let rejected = |why| FromNode::Rejected { number, why };
    let entries = vec![Entry { slot: Slot(9), body: Bytes::from_static(b"entry") }];
    let all = [
        FromNode::Leader(Some(NODE)),
        FromNode::Queued(number),
        reply(Outcome::Applied(Bytes::from_static(b"done"))),
        reply(Outcome::Forgotten),
        reply(Outcome::UnknownSession),
        rejected(Refusal::NotLeader(Some(NODE))),
        rejected(Refusal::Busy),
        rejected(Refusal::Gap(RequestNumber(4))),
        rejected(Refusal::UnknownSession),
        FromNode::Entries { first: Slot(8), next: Slot(10), entries },
        FromNode::Answer { id: 4, result: Ok(Bytes::from_static(b"answer")) },
        FromNode::Status { id: 5, status: status(Role::Follower) },
        FromNode::Status { id: 5, status: status(Role::Canvassing) },
        FromNode::Status { id: 5, status: status(Role::Campaigning) },
        FromNode::Status { id: 5, status: status(Role::Leader) },
        FromNode::Status { id: 5, status: status(Role::Witness) },
        FromNode::Done { id: 6, result: Err("no".to_owned()) },
        FromNode::Pulse,
        FromNode::Alive { id: 7 },
        FromNode::Ended,
        FromNode::Notice { slot: Slot(9), body: Bytes::from_static(b"notice") },
        FromNode::Left { id: 8, result: Ok(Some(900)) },
        FromNode::Guests { id: 9, sessions: vec![request().client] },
    ];
    for message in all {
        album.add(&format!("from node {}", name_from_node(&message)), &message);
    }
}

fn name_from_node(message: &FromNode) -> &'static str {
    match message {
        FromNode::Leader(_) => "leader",
        FromNode::Queued(_) => "queued",
        FromNode::Reply { outcome, .. } => match outcome {
            Outcome::Applied(_) => "reply applied",
            Outcome::Forgotten => "reply forgotten",
            Outcome::UnknownSession => "reply unknown session",
        },
        FromNode::Rejected { why, .. } => match why {
            Refusal::NotLeader(_) => "rejected not leader",
            Refusal::Busy => "rejected busy",
            Refusal::Gap(_) => "rejected gap",
            Refusal::UnknownSession => "rejected unknown session",
        },
        FromNode::Entries { .. } => "entries",
        FromNode::Answer { .. } => "answer",
        FromNode::Status { status, .. } => match status.role {
            Role::Follower => "status follower",
            Role::Canvassing => "status canvassing",
            Role::Campaigning => "status campaigning",
            Role::Leader => "status leader",
            Role::Witness => "status witness",
        },
        FromNode::Done { .. } => "done",
        FromNode::Pulse => "pulse",
        FromNode::Alive { .. } => "alive",
        FromNode::Ended => "ended",
        FromNode::Notice { .. } => "notice",
        FromNode::Left { .. } => "left",
        FromNode::Guests { .. } => "guests",
    }
}

fn status(role: Role) -> NodeStatus {
    NodeStatus {
        node: NODE,
        incarnation: STORE,
        members: 3,
        role,
        ballot: Some(BALLOT),
        leader: Some(NODE),
        decided: Slot(9),
        applied: Slot(8),
        end: Slot(12),
        holes: vec![(Slot(10), Slot(11))],
        catching_up: true,
        outstanding: 4,
        digest: DIGEST,
        trimmed: Slot(3),
        transfer: Some(super::client::Transfer {
            from: NODE,
            done: 5,
            regained: 2,
            to_come: 7,
            millis: 9,
        }),
        votes: true,
        stores: vec![(NodeId(0), STORE)],
        silences: vec![(NodeId(0), 20)],
        leaderless: Some(30),
    }
}
