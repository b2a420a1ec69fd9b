//! Whole servers in one process, over real sockets, with logs in memory.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Options, serve};
use crate::client::{Client, Probe};
use crate::cluster::{Cluster, Member, Service};
use crate::node::{Pace, Storage};
use crate::paxos::{ClientId, Incarnation, NodeId, Slot, Wal};
use crate::rsm::{Archive, MemoryShelf, StateMachine, Turn};
use crate::transport::listener::listen;
use crate::wal::MemoryWal;
use crate::wire::client::Order;

/// Far longer than anything here takes, unless it never comes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps every command, and answers with it.
struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        turn.archive.append(turn.at, Bytes::copy_from_slice(command));
        command.to_vec()
    }

    fn query(&self, _query: &[u8], archive: &Archive) -> Vec<u8> {
        archive.extent().entries.to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) {}
}

pub(super) struct Rig {
    pub(super) cluster: Cluster,
    stops: Vec<oneshot::Sender<()>>,
    servers: Vec<JoinHandle<()>>,
}

impl Rig {
    pub(super) fn start(members: u16) -> Rig {
        Rig::with(members, true, |_| MemoryWal::default())
    }

    /// A cluster on ports that it holds from the start.
    pub(super) fn with<W>(members: u16, allow_faults: bool, wal: impl Fn(NodeId) -> W) -> Rig
    where
        W: Wal<Error: Sync> + Send + 'static,
    {
        let listeners: Vec<_> =
            (0..members).map(|_| listen("127.0.0.1:0").expect("a port")).collect();
        let member = |(id, listener): (u16, &TcpListener)| Member {
            id: NodeId(id),
            address: listener.local_addr().expect("bound").to_string(),
            witness: false,
        };
        let nodes = (0..).zip(&listeners).map(member).collect();
        let election = Duration::from_millis(400);
        let (name, service) = ("room".to_owned(), Service::Chat);
        let cluster = Cluster { name, service, election, nodes };
        let mut rig = Rig { cluster, stops: Vec::new(), servers: Vec::new() };
        for (node, listener) in (0..).map(NodeId).zip(listeners) {
            let (stop, stopped) = oneshot::channel();
            let (cluster, wal) = (rig.cluster.clone(), wal(node));
            let options =
                Options { allow_faults, pace: Pace::NEVER, ..Options::new(node, Incarnation(1)) };
            rig.servers.push(tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                let storage = Storage { wal, shelf: MemoryShelf::default() };
                let run = serve(listener, &cluster, options, storage, Echo, stopped).await;
                run.expect("runs until it is stopped");
            }));
            rig.stops.push(stop);
        }
        rig
    }

    pub(super) async fn probe(&self, node: NodeId) -> Probe {
        let address = &self.cluster.member(node).expect("a member").address;
        Probe::dial(address, "room", PATIENCE).await.expect("greets")
    }

    pub(super) async fn stop(self) {
        for stop in self.stops {
            let _ = stop.send(());
        }
        for server in self.servers {
            server.await.expect("stops cleanly");
        }
    }
}

#[tokio::test]
async fn requests_are_applied_once_and_in_order_on_every_node() {
    let rig = Rig::start(3);
    let client = Client::open(&rig.cluster, ClientId(7));
    let mut pages = client.subscribe(Slot(0)).await.expect("open");
    let mut tickets = Vec::new();
    for number in 0..200 {
        let body = Bytes::from(format!("request {number}"));
        tickets.push(client.submit(body).await.expect("open"));
    }
    for (number, ticket) in tickets.into_iter().enumerate() {
        let reply = ticket.reply().await.expect("answered");
        assert_eq!(reply.slot, Slot(number as u64), "dense, in order");
    }
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let page = pages.recv().await.expect("goes on");
        seen.extend(page.entries.into_iter().map(|entry| (entry.slot.0, entry.body)));
    }
    for (number, (slot, body)) in seen.iter().enumerate() {
        assert_eq!(
            (*slot, body.clone()),
            (number as u64, Bytes::from(format!("request {number}")))
        );
    }
    let count = client.query(Bytes::new()).await.expect("answered");
    assert_eq!(count[..], 200u64.to_le_bytes());
    rig.stop().await;
}

#[tokio::test]
async fn a_hole_that_was_ordered_shows_and_is_healed_when_asked() {
    let rig = Rig::start(1);
    let client = Client::open(&rig.cluster, ClientId(7));
    let send = async |text: &'static str| {
        let ticket = client.submit(Bytes::from_static(text.as_bytes())).await.expect("open");
        ticket.reply().await.expect("answered").slot
    };
    assert_eq!(send("a").await, Slot(0));
    let mut probe = rig.probe(NodeId(0)).await;
    probe.order(Order::Skip(2)).await.expect("answers").expect("obeys");
    let status = probe.status().await.expect("answers");
    assert_eq!(status.holes, [(Slot(1), Slot(3))]);
    probe.order(Order::Heal).await.expect("answers").expect("obeys");
    assert_eq!(send("b").await, Slot(3));
    let status = probe.status().await.expect("answers");
    assert_eq!((status.holes, status.applied), (vec![], Slot(4)));
    rig.stop().await;
}
