//! The client against nodes that are played: real sockets, scripted words.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::driver::LEADERLESS;
use super::*;
use crate::cluster::{ELECTION_DEFAULT, Member, Service};
use crate::wire::client::{FromNode, Outcome, Refusal, ToNode};
use crate::wire::frame;
use crate::wire::hello::{Greeting, Hello};

/// Far longer than anything here takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node that is played.
struct Stage {
    id: NodeId,
    listener: TcpListener,
}

/// One connection of a client to it.
struct Scene(Framed<TcpStream, LengthDelimitedCodec>);

async fn stages(count: u16) -> (Cluster, Vec<Stage>) {
    let (mut nodes, mut stages) = (Vec::new(), Vec::new());
    for id in (0..count).map(NodeId) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
        let address = listener.local_addr().expect("bound").to_string();
        nodes.push(Member { id, address, witness: false });
        stages.push(Stage { id, listener });
    }
    let (name, service) = ("room".to_owned(), Service::Chat);
    (Cluster { name, service, election: ELECTION_DEFAULT, nodes }, stages)
}

impl Stage {
    /// Takes the next call and greets.
    async fn open(&self, leader: Option<u16>) -> Scene {
        let (stream, _) = within(self.listener.accept()).await.expect("a call");
        let mut scene = Scene(Framed::new(stream, frame::codec(64 << 20)));
        let hello: Hello = scene.next().await.expect("a hello");
        assert_eq!(hello.cluster, "room");
        let leader = leader.map(NodeId);
        scene.say(&Greeting::Welcome { node: self.id, leader, found: Vec::new() }).await;
        scene
    }
}

impl Scene {
    async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let bytes = within(self.0.next()).await?.ok()?;
        Some(frame::open(&bytes).expect("a whole frame"))
    }

    async fn say<T: serde::Serialize>(&mut self, value: &T) {
        // The client may have gone on to another node.
        let _ = self.0.send(frame::seal(value)).await;
    }

    /// The number of the next request, whatever is said in between.
    async fn request(&mut self) -> u64 {
        loop {
            match self.next::<ToNode>().await.expect("a request") {
                ToNode::Request(request) => return request.number.0,
                ToNode::Subscribe { .. } | ToNode::Query { .. } | ToNode::Pulse => {}
                ToNode::Post(_) | ToNode::KeepAlive { .. } | ToNode::Lease { .. } | ToNode::End => {
                    panic!("not from a session without a lease, that goes by the leader")
                }
                ToNode::Status { .. } | ToNode::Order { .. } | ToNode::Guests { .. } => {
                    panic!("not from a client")
                }
            }
        }
    }

    /// Says that it lives, and nothing else, until it is left.
    async fn live_on(mut self) {
        while self.0.send(frame::seal(&FromNode::Pulse)).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn apply(&mut self, number: u64, slot: u64) {
        let outcome = Outcome::Applied(Bytes::from_static(b"done"));
        let number = RequestNumber(number);
        self.say(&FromNode::Reply { number, slot: Slot(slot), outcome }).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Bug that turns it red: not saying the unanswered again, or in another order.
#[tokio::test]
async fn what_a_broken_connection_left_unanswered_is_said_again_in_order() {
    let (cluster, stages) = stages(1).await;
    let client = Client::open(&cluster, ClientId(1));
    let mut scene = stages[0].open(Some(0)).await;
    let first = client.submit(body("a")).await.expect("taken");
    let second = client.submit(body("b")).await.expect("taken");
    assert_eq!((scene.request().await, scene.request().await), (1, 2));
    drop(scene);
    let mut scene = stages[0].open(Some(0)).await;
    assert_eq!((scene.request().await, scene.request().await), (1, 2));
    scene.apply(1, 7).await;
    scene.apply(2, 8).await;
    assert_eq!(within(first.reply()).await.expect("applied").slot, Slot(7));
    assert_eq!(within(second.reply()).await.expect("applied").slot, Slot(8));
}

/// Bug that turns it red: not going where a greeting, a notice or a refusal points.
#[tokio::test]
async fn the_client_goes_to_the_leader_whoever_names_it() {
    let (cluster, stages) = stages(3).await;
    let client = Client::open(&cluster, ClientId(1));
    let mut standing = client.standing();
    let ticket = client.submit(body("a")).await.expect("taken");
    // Whichever node is called first names node 2 in its greeting.
    let (zero, one, two) = (&stages[0], &stages[1], &stages[2]);
    let mut scene = tokio::select! {
        _ = zero.open(Some(2)) => two.open(Some(2)).await,
        _ = one.open(Some(2)) => two.open(Some(2)).await,
        scene = two.open(Some(2)) => scene,
    };
    assert_eq!(scene.request().await, 1);
    within(standing.wait_for(|standing| standing.connected == Some(NodeId(2))))
        .await
        .expect("lives");
    scene.say(&FromNode::Leader(Some(NodeId(1)))).await;
    let mut scene = one.open(Some(1)).await;
    assert_eq!(scene.request().await, 1);
    let why = Refusal::NotLeader(Some(NodeId(0)));
    scene.say(&FromNode::Rejected { number: RequestNumber(1), why }).await;
    let mut scene = zero.open(Some(0)).await;
    assert_eq!(scene.request().await, 1);
    scene.apply(1, 0).await;
    within(ticket.reply()).await.expect("applied");
}

/// Bug that turns it red: leaving a live node because it knows no leader.
#[tokio::test]
async fn without_a_leader_the_archive_still_comes() {
    let (cluster, stages) = stages(1).await;
    let client = Client::open(&cluster, ClientId(1));
    let mut pages = client.subscribe(Slot(3)).await.expect("taken");
    let mut scene = stages[0].open(None).await;
    assert_eq!(scene.next::<ToNode>().await, Some(ToNode::Subscribe { from: Slot(3) }));
    let entry = Entry { slot: Slot(4), body: body("x") };
    let (first, next) = (Slot(3), Slot(5));
    scene.say(&FromNode::Entries { first, next, entries: vec![entry.clone()] }).await;
    let page = within(pages.recv()).await.expect("a page");
    assert_eq!(page, Page { first, next, entries: vec![entry] });
    // When it leads at last, it hears what it may have refused before.
    let mut ticket = client.submit(body("a")).await.expect("taken");
    assert_eq!(scene.request().await, 1);
    let why = Refusal::NotLeader(None);
    scene.say(&FromNode::Rejected { number: RequestNumber(1), why }).await;
    scene.say(&FromNode::Leader(Some(NodeId(0)))).await;
    assert_eq!(scene.request().await, 1);
    scene.say(&FromNode::Queued(RequestNumber(1))).await;
    within(ticket.queued()).await;
}

/// Bug that turns it red: staying with a node that lives and is cut off from all who know a leader;
/// or leaving it for no reason.
#[tokio::test]
async fn a_node_that_knows_no_leader_is_left_once_there_is_a_request() {
    let (cluster, stages) = stages(2).await;
    let client = Client::open(&cluster, ClientId(1));
    let _pages = client.subscribe(Slot(0)).await.expect("taken");
    let (zero, one) = (&stages[0], &stages[1]);
    let (scene, other) = tokio::select! {
        scene = zero.open(None) => (scene, one),
        scene = one.open(None) => (scene, zero),
    };
    let _living = tokio::spawn(scene.live_on());
    let left = timeout(LEADERLESS * 2, other.open(None)).await;
    assert!(left.is_err(), "who only reads the archive has no reason to leave");
    let ticket = client.submit(body("a")).await.expect("taken");
    let mut scene = other.open(Some(other.id.0)).await;
    assert_eq!(scene.request().await, 1);
    scene.apply(1, 0).await;
    within(ticket.reply()).await.expect("applied");
}

/// Bug that turns it red: waiting for a write to a node that does not read.
#[tokio::test]
async fn a_node_that_neither_speaks_nor_reads_is_left() {
    let (cluster, stages) = stages(2).await;
    let client = Client::open(&cluster, ClientId(1));
    let (zero, one) = (&stages[0], &stages[1]);
    // More than any socket's buffers hold.
    let jam = Bytes::from(vec![7; BODY_BYTES_MAX]);
    let mut tickets = Vec::new();
    for _ in 0..200 {
        tickets.push(client.submit(jam.clone()).await.expect("taken"));
    }
    let (_stopped, other) = tokio::select! {
        scene = zero.open(Some(0)) => (scene, one),
        scene = one.open(Some(1)) => (scene, zero),
    };
    let mut scene = other.open(Some(other.id.0)).await;
    for number in 1..=200 {
        assert_eq!(scene.request().await, number);
        scene.apply(number, number).await;
    }
    for ticket in tickets {
        within(ticket.reply()).await.expect("applied");
    }
}

/// Bug that turns it red: waiting for a subscriber while a reply is there to be read.
#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_up_no_reply_and_misses_nothing() {
    let (cluster, stages) = stages(1).await;
    let client = Client::open(&cluster, ClientId(1));
    let mut pages = client.subscribe(Slot(0)).await.expect("taken");
    let mut scene = stages[0].open(Some(0)).await;
    let ticket = client.submit(body("a")).await.expect("taken");
    let count = 3 * PAGES_MAX as u64;
    let page = |slot: u64| {
        let entries = vec![Entry { slot: Slot(slot), body: Bytes::new() }];
        FromNode::Entries { first: Slot(slot), next: Slot(slot + 1), entries }
    };
    assert_eq!(scene.next::<ToNode>().await, Some(ToNode::Subscribe { from: Slot(0) }));
    assert_eq!(scene.request().await, 1);
    for slot in 0..count {
        scene.say(&page(slot)).await;
    }
    scene.apply(1, 0).await;
    within(ticket.reply()).await.expect("applied, though nobody took a page");
    let playing = tokio::spawn(async move {
        while let Some(message) = scene.next::<ToNode>().await {
            if let ToNode::Subscribe { from } = message {
                for slot in from.0..count {
                    scene.say(&page(slot)).await;
                }
            }
        }
    });
    for slot in 0..count {
        let page = within(pages.recv()).await.expect("a page");
        assert_eq!((page.first, page.entries[0].slot), (Slot(slot), Slot(slot)));
    }
    drop(client);
    within(playing).await.expect("the client hangs up when its handle is dropped");
}

/// Bug that turns it red: forgetting what was refused because a queue was full.
#[tokio::test]
async fn what_was_refused_for_now_is_said_again() {
    let (cluster, stages) = stages(1).await;
    let client = Client::open(&cluster, ClientId(1));
    let mut scene = stages[0].open(Some(0)).await;
    let ticket = client.submit(body("a")).await.expect("taken");
    for why in [Refusal::Busy, Refusal::Gap(RequestNumber(1))] {
        assert_eq!(scene.request().await, 1);
        scene.say(&FromNode::Rejected { number: RequestNumber(1), why }).await;
    }
    assert_eq!(scene.request().await, 1);
    scene.apply(1, 0).await;
    within(ticket.reply()).await.expect("applied");
    let question = client.query(body("how many?"));
    let answering = async {
        loop {
            if let Some(ToNode::Query { id, body }) = scene.next::<ToNode>().await {
                scene.say(&FromNode::Answer { id, result: Ok(body) }).await;
                return;
            }
        }
    };
    let (answer, ()) = within(async { tokio::join!(question, answering) }).await;
    assert_eq!(answer, Ok(body("how many?")));
}

/// Bug that turns it red: obeying at once, again and again, two nodes that name each other.
#[tokio::test]
async fn two_nodes_that_name_each_other_are_not_called_without_end() {
    let (cluster, stages) = stages(2).await;
    let client = Client::open(&cluster, ClientId(1));
    let calls = async {
        let mut scenes = Vec::new();
        loop {
            scenes.push(tokio::select! {
                scene = stages[0].open(Some(1)) => scene,
                scene = stages[1].open(Some(0)) => scene,
            });
            if scenes.len() > 200 {
                return;
            }
        }
    };
    timeout(Duration::from_secs(1), calls).await.expect_err("some calls, not a storm of them");
    drop(client);
}

/// Bug that turns it red: taking a body that no frame can carry.
#[tokio::test]
async fn what_no_node_would_take_is_refused_here() {
    let (cluster, _stages) = stages(1).await;
    let client = Client::open(&cluster, ClientId(1));
    let long = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
    let refused = client.submit(long.clone()).await.map(|ticket| ticket.number);
    assert_eq!(refused, Err(Error::TooLong(BODY_BYTES_MAX + 1)));
    assert_eq!(client.query(long).await, Err(Error::TooLong(BODY_BYTES_MAX + 1)));
}

/// Bug that turns it red: not telling apart who is silent, who refuses, and who obeys.
#[tokio::test]
async fn a_probe_asks_one_node_and_says_what_went_wrong() {
    use crate::wire::client::Order;
    let (cluster, stages) = stages(1).await;
    let address = cluster.nodes[0].address.clone();
    let playing = async {
        let mut scene = stages[0].open(Some(0)).await;
        let Some(ToNode::Order { id, .. }) = scene.next::<ToNode>().await else { panic!("order") };
        scene.say(&FromNode::Pulse).await;
        scene.say(&FromNode::Done { id, result: Err("no".to_owned()) }).await;
    };
    let asking = async {
        let mut probe = Probe::dial(&address, "room", PATIENCE).await.expect("greeted");
        probe.order(Order::Heal).await.expect("answered")
    };
    let (obeyed, ()) = tokio::join!(asking, playing);
    assert_eq!(obeyed, Err("no".to_owned()));
    drop(stages);
    let error = Probe::dial(&address, "room", PATIENCE).await.expect_err("nobody there");
    assert!(matches!(error, LinkError::Unreachable(..)), "{error}");
}
