//! What a server puts up with: strangers, bad manners, slow readers, and its own dying disk.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::tests::{PATIENCE, Rig};
use crate::client::Client;
use crate::paxos::{AcceptorState, ClientId, NodeId, Record, Request, RequestNumber, Slot, Wal};
use crate::wal::MemoryWal;
use crate::wire::client::{FromNode, Order, Role, ToNode};
use crate::wire::frame;
use crate::wire::hello::{Caller, Greeting, Hello};

/// A caller that says what it likes.
struct Stranger(Framed<TcpStream, LengthDelimitedCodec>);

impl Stranger {
    async fn call(rig: &Rig) -> Stranger {
        let stream = TcpStream::connect(&rig.cluster.nodes[0].address).await.expect("listens");
        Stranger(Framed::new(stream, frame::codec(64 << 20)))
    }

    async fn greeted(rig: &Rig, client: ClientId) -> Stranger {
        let mut stranger = Stranger::call(rig).await;
        stranger.say(&Hello::new("room", Caller::Client { client })).await;
        let greeting = stranger.hear::<Greeting>().await;
        assert!(matches!(greeting, Some(Greeting::Welcome { .. })), "{greeting:?}");
        stranger
    }

    async fn say<T: Serialize>(&mut self, value: &T) {
        self.0.send(frame::seal(value)).await.expect("connected");
    }

    async fn raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.expect("connected");
    }

    /// `None`: the other end hung up.
    async fn hear<T: DeserializeOwned>(&mut self) -> Option<T> {
        let heard = timeout(PATIENCE, self.0.next()).await.expect("in time");
        heard?.ok().map(|bytes| frame::open(&bytes).expect("a whole frame"))
    }

    async fn is_hung_up_on(&mut self) {
        let hearing = async { while self.hear::<FromNode>().await.is_some() {} };
        timeout(PATIENCE, hearing).await.expect("in time");
    }
}

fn request(client: u128, number: u64, body: Bytes) -> ToNode {
    let (client, number) = (ClientId(client), RequestNumber(number));
    ToNode::Request(Request { client, number, low_water: number, ttl_ms: 0, time_ms: 0, body })
}

async fn is_well(rig: &Rig) {
    let client = Client::open(&rig.cluster, ClientId(u128::from(fastrand::u64(..))));
    let ticket = client.submit(Bytes::from_static(b"still there?")).await.expect("open");
    timeout(PATIENCE, ticket.reply()).await.expect("in time").expect("applied");
}

/// Bug that turns it red: a panic, or an end of more than that connection, on any of these.
#[tokio::test]
async fn bad_manners_end_a_connection_and_nothing_else() {
    let rig = Rig::start(1);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &u32::MAX.to_be_bytes(), &[0, 0, 0, 1, 9]] {
        let mut stranger = Stranger::call(&rig).await;
        stranger.raw(bytes).await;
        stranger.is_hung_up_on().await;
        let mut client = Stranger::greeted(&rig, ClientId(1)).await;
        client.raw(bytes).await;
        client.is_hung_up_on().await;
    }
    let mut early = Stranger::call(&rig).await;
    early.say(&request(1, 1, Bytes::new())).await;
    early.is_hung_up_on().await;
    let mut long = Stranger::greeted(&rig, ClientId(1)).await;
    long.raw(&((frame::REQUEST_BYTES_MAX as u32 + 1).to_be_bytes())).await;
    long.is_hung_up_on().await;
    // Half a frame, and then nothing.
    let mut half = Stranger::greeted(&rig, ClientId(1)).await;
    half.raw(&[0, 0, 1]).await;
    drop(half);
    is_well(&rig).await;
    rig.stop().await;
}

/// Bug that turns it red: taking a stranger's word for whose answers it may have.
#[tokio::test]
async fn a_client_speaks_for_itself_only() {
    let rig = Rig::start(1);
    let mut stranger = Stranger::greeted(&rig, ClientId(1)).await;
    stranger.say(&request(2, 1, Bytes::new())).await;
    stranger.is_hung_up_on().await;
    rig.stop().await;
}

/// Bug that turns it red: waiting for ever for a caller to say who it is.
#[tokio::test]
async fn a_caller_that_does_not_say_who_it_is_is_hung_up_on() {
    let rig = Rig::start(1);
    let mut silent = Stranger::call(&rig).await;
    silent.is_hung_up_on().await;
    rig.stop().await;
}

/// Bug that turns it red: obeying anybody.
#[tokio::test]
async fn orders_to_fail_are_refused_unless_they_were_allowed() {
    let rig = Rig::with(1, false, |_| MemoryWal::default());
    let mut probe = rig.probe(NodeId(0)).await;
    for order in [Order::Bomb(0), Order::Skip(1), Order::Heal] {
        let refused = probe.order(order).await.expect("answers").expect_err("refuses");
        assert!(refused.contains("--allow-faults"), "{refused}");
    }
    is_well(&rig).await;
    rig.stop().await;
}

/// Bug that turns it red: keeping whatever a client does not read.
#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_hung_up_on() {
    let rig = Rig::start(1);
    let mut deaf = Stranger::greeted(&rig, ClientId(1)).await;
    let body = Bytes::from(vec![7; 64 << 10]);
    let asking = async {
        // Answered from the session each time: far more than all buffers on the way hold.
        for _ in 0..4096 {
            if deaf.0.send(frame::seal(&request(1, 1, body.clone()))).await.is_err() {
                return;
            }
        }
        panic!("256 MiB of answers wait for somebody who does not read");
    };
    timeout(PATIENCE, asking).await.expect("in time");
    is_well(&rig).await;
    rig.stop().await;
}

/// A log whose commits wait while its gate is shut.
struct Stalling {
    log: MemoryWal,
    gate: Gate,
}

#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn shut(&self, is_shut: bool) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = is_shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(shut, |shut| *shut).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Wal for Stalling {
    type Error = std::convert::Infallible;

    fn commit(&mut self, records: &[Record]) -> Result<(), Self::Error> {
        self.gate.pass();
        self.log.commit(records)
    }

    fn load(&mut self) -> Result<AcceptorState, Self::Error> {
        self.log.load()
    }
}

/// Bug that turns it red: a pulse from a thread that does not wait for the disk.
#[tokio::test]
async fn clients_leave_a_leader_whose_disk_has_stalled() {
    let gates: [Gate; 3] = Default::default();
    let rig = Rig::with(3, true, |node| {
        let gate = gates[usize::from(node.0)].clone();
        Stalling { log: MemoryWal::default(), gate }
    });
    let client = Client::open(&rig.cluster, ClientId(7));
    let send = async |text: &'static str| {
        let ticket = client.submit(Bytes::from_static(text.as_bytes())).await.expect("open");
        timeout(PATIENCE, ticket.reply()).await.expect("in time").expect("applied").slot
    };
    assert_eq!(send("a").await, Slot(0));
    let mut standing = client.standing();
    let leads = standing.wait_for(|standing| standing.connected == standing.leader).await;
    let leader = leads.expect("lives").leader.expect("somebody leads");
    assert_eq!(rig.probe(leader).await.status().await.expect("answers").role, Role::Leader);
    gates[usize::from(leader.0)].shut(true);
    assert_eq!(send("b").await, Slot(1));
    assert_ne!(client.standing().borrow().leader, Some(leader));
    gates[usize::from(leader.0)].shut(false);
    rig.stop().await;
}

/// Bug that turns it red: a pulse, a reply or a page that waits for something to happen.
#[tokio::test]
async fn a_silent_server_pulses() {
    let rig = Rig::start(1);
    let mut client = Stranger::greeted(&rig, ClientId(1)).await;
    for _ in 0..3 {
        let heard = timeout(Duration::from_secs(2), client.hear::<FromNode>()).await;
        let heard = heard.expect("often").expect("connected");
        assert!(matches!(heard, FromNode::Pulse | FromNode::Leader(_)), "{heard:?}");
    }
    rig.stop().await;
}
