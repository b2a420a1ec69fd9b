//! Connections between nodes, over real sockets: order, ends, bounds, and strangers.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Frames;
use super::book::Book;
use super::incoming::{Ear, Identity, Incoming, Refused, Sink, greet, hear_peer};
use super::listener::listen;
use super::outgoing::{Answer, Outgoing, QUEUE_BYTES_MAX, dial};
use crate::cluster::Member;
use crate::node::Event;
use crate::paxos::{
    Accept, Ballot, Canvass, ClientId, Command, Envelope, Incarnation, Message, NodeId, Request,
    RequestNumber, Run, Slot,
};
use crate::wire::drop::Loss;
use crate::wire::frame;
use crate::wire::hello::{Caller, Hello};

fn identity(cluster: &str, node: u16) -> Identity {
    let (node, incarnation) = (NodeId(node), Incarnation(1));
    Identity {
        cluster: cluster.to_owned(),
        node,
        incarnation,
        members: 2,
        address: "a:1".to_owned(),
    }
}

fn canvass(round: u64) -> Envelope {
    let message = Canvass { round, decided: Slot(0) }.into();
    Envelope { from: NodeId(0), to: NodeId(1), message }
}

/// Collects what arrives.
struct Events(mpsc::UnboundedSender<Event>);

impl Sink for Events {
    async fn take(&self, event: Event, _bytes: usize) -> bool {
        self.0.send(event).is_ok()
    }
}

/// Far longer than anything here takes, unless it never comes.
async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("in time")
}

async fn port() -> (TcpListener, Member) {
    let listener = listen("127.0.0.1:0").expect("any port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, Member { id: NodeId(1), address, witness: false })
}

fn start(peer: Member) -> Outgoing {
    let book = book(&peer);
    Outgoing::start(peer, identity("room", 0), Loss::default().dropper(0, 1), book)
}

/// Where the peer is; nobody dials node 0.
fn book(peer: &Member) -> Arc<Book> {
    Arc::new(Book::new(&[Member { id: NodeId(0), ..peer.clone() }, peer.clone()]))
}

/// Takes a call of the peer and greets it.
async fn answer(listener: &TcpListener) -> Frames {
    let (stream, _) = within(listener.accept()).await.expect("a call");
    let incoming = greet(stream, &identity("room", 1), &Book::new(&[]), None, || Some(())).await;
    let Ok(Incoming::Peer(NodeId(0), _, frames)) = incoming else { panic!("peer: {incoming:?}") };
    frames
}

/// Sends until the dialler has read our greeting, before which it may lose what is queued.
async fn first_words(outgoing: &Outgoing, events: &mut mpsc::UnboundedReceiver<Event>) {
    within(async {
        while events.is_empty() {
            outgoing.send(canvass(0));
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    while outgoing.pending() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Bugs that turn it red: a hello that is lost; a loss that breaks the connection, or that never
/// leaves the queue.
#[tokio::test]
async fn a_share_is_lost_and_the_connection_stays() {
    let (listener, peer) = port().await;
    let loss = Loss::new(0.5, 7).expect("a share");
    let book = book(&peer);
    let outgoing = Outgoing::start(peer, identity("room", 0), loss.dropper(0, 1), book);
    let frames = answer(&listener).await;
    let (sink, mut events) = mpsc::unbounded_channel();
    let hearing = tokio::spawn(async move {
        let (me, ear) = (identity("room", 1), Ear::default());
        hear_peer(NodeId(0), &me, frames, &ear, &Events(sink), pending())
            .await
            .expect("well-formed");
    });
    first_words(&outgoing, &mut events).await;
    (1..1000).for_each(|round| outgoing.send(canvass(round)));
    within(async {
        while outgoing.pending() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    drop(outgoing);
    within(hearing).await.expect("ends");
    let mut heard = Vec::new();
    while let Ok(event) = events.try_recv() {
        if matches!(event, Event::Reset(_)) {
            assert!(events.is_empty(), "once, at the end");
        } else {
            heard.push(round(Some(event)));
        }
    }
    heard.retain(|round| *round > 0);
    assert!(heard.is_sorted() && (400..600).contains(&heard.len()), "{} of 999", heard.len());
}

fn round(event: Option<Event>) -> u64 {
    match event {
        Some(Event::Message(Envelope { message: Message::Canvass(canvass), .. })) => canvass.round,
        other => panic!("a canvass, not {other:?}"),
    }
}

/// Bugs that turn it red: sending out of order; losing what was queued while connected; not
/// telling the end.
#[tokio::test]
async fn messages_arrive_in_order_and_the_end_is_noticed() {
    let (listener, peer) = port().await;
    let outgoing = start(peer);
    let frames = answer(&listener).await;
    let (sink, mut events) = mpsc::unbounded_channel();
    let hearing = tokio::spawn(async move {
        let (me, ear) = (identity("room", 1), Ear::default());
        hear_peer(NodeId(0), &me, frames, &ear, &Events(sink), pending())
            .await
            .expect("well-formed");
    });
    first_words(&outgoing, &mut events).await;
    for round in 1..1000 {
        outgoing.send(canvass(round));
    }
    let mut next = 1;
    while next < 1000 {
        match round(within(events.recv()).await) {
            0 => assert_eq!(next, 1, "the first words come first"),
            heard => {
                assert_eq!(heard, next);
                next += 1;
            }
        }
    }
    drop(outgoing);
    assert_eq!(within(events.recv()).await, Some(Event::Reset(NodeId(0))));
    within(hearing).await.expect("ends");
}

/// Bugs that turn it red: counting messages but not bytes; waiting for the write to a peer that
/// does not read; sending what came after the gap on the same connection.
#[tokio::test]
async fn a_peer_that_does_not_read_costs_bounded_memory_and_then_its_connection() {
    let (listener, peer) = port().await;
    let outgoing = start(peer);
    let stopped = answer(&listener).await;
    let body = bytes::Bytes::from(vec![7; 128 << 10]);
    let accept = |number| {
        let request = Request {
            client: ClientId(1),
            number: RequestNumber(number),
            low_water: RequestNumber(1),
            ttl_ms: 0,
            time_ms: 0,
            body: body.clone(),
        };
        let ballot = Ballot { round: 1, node: NodeId(0), incarnation: Incarnation(1) };
        let (after, first, commands) = (Slot(0), Slot(0), vec![Command::Request(request)]);
        let run = Run { ballot, after, first, commands };
        let message = Accept { run, watermark: Slot(0) }.into();
        Envelope { from: NodeId(0), to: NodeId(1), message }
    };
    let most = QUEUE_BYTES_MAX / body.len();
    // It is called again while it still holds the old connection: that one was given up.
    let (sink, mut events) = mpsc::unbounded_channel();
    let hearing = async {
        let frames = answer(&listener).await;
        let (me, ear) = (identity("room", 1), Ear::default());
        hear_peer(NodeId(0), &me, frames, &ear, &Events(sink), pending()).await
    };
    let sending = async {
        for number in 1.. {
            outgoing.send(accept(number));
            assert!(outgoing.pending() <= most, "bounded by bytes");
            if !events.is_empty() {
                return events.recv().await;
            }
            sleep(Duration::from_millis(1)).await;
        }
        None
    };
    let heard = within(async {
        tokio::select! {
            ended = hearing => panic!("ended: {ended:?}"),
            heard = sending => heard,
        }
    });
    assert!(matches!(heard.await, Some(Event::Message(_))));
    drop(stopped);
}

/// Bugs that turn it red: hearing both connections at once; telling the end of the old one after
/// the words of the new one.
#[tokio::test]
async fn a_newer_connection_of_a_peer_ends_the_older_one_first() {
    let (listener, peer) = port().await;
    let (sink, mut events) = mpsc::unbounded_channel();
    let (ear, sink) = (Arc::new(Ear::default()), Arc::new(Events(sink)));
    let hear = |frames| {
        let (ear, sink) = (Arc::clone(&ear), Arc::clone(&sink));
        tokio::spawn(async move {
            let me = identity("room", 1);
            hear_peer(NodeId(0), &me, frames, &ear, &*sink, pending()).await.expect("well-formed");
        })
    };
    let old = start(peer.clone());
    let ending = hear(answer(&listener).await);
    first_words(&old, &mut events).await;
    while let Ok(event) = events.try_recv() {
        assert_eq!(round(Some(event)), 0);
    }
    // Its words come with its hello, so that they are there before anybody can look elsewhere.
    let (from, to, incarnation) = (NodeId(0), NodeId(1), Incarnation(1));
    let caller = Caller::Peer { from, to, incarnation, address: "a:1".to_owned() };
    let hello = frame::seal(&Hello::new("room", caller));
    let mut new = TcpStream::connect(&peer.address).await.expect("listens");
    new.write_all(&[framed(&hello), framed(&frame::seal(&canvass(7)))].concat())
        .await
        .expect("connected");
    let _hearing = hear(answer(&listener).await);
    assert_eq!(within(events.recv()).await, Some(Event::Reset(NodeId(0))));
    assert_eq!(round(within(events.recv()).await), 7);
    within(ending).await.expect("ends");
}

/// A frame as it stands on the wire.
fn framed(sealed: &[u8]) -> Vec<u8> {
    [&(sealed.len() as u32).to_be_bytes()[..], sealed].concat()
}

/// Bugs that turn them red: believing a length; believing a sender.
#[tokio::test]
async fn a_malformed_frame_ends_its_connection_with_a_reason() {
    let forged = Envelope { from: NodeId(2), ..canvass(1) };
    let mut flipped = frame::seal(&canvass(1)).to_vec();
    flipped[7] ^= 1;
    let cases: [(Vec<u8>, &str); 4] = [
        (u32::MAX.to_be_bytes().to_vec(), "frame size too big"),
        (framed(&flipped), "checksum"),
        (framed(&frame::seal(&forged)), "from n2 to n1 on the connection from n0"),
        (framed(b"abc"), "too short"),
    ];
    for (bytes, expected) in cases {
        let (listener, peer) = port().await;
        let calling = dial(peer, identity("room", 0));
        let (stream, frames) = within(async { tokio::join!(calling, answer(&listener)) }).await;
        let Ok(Answer::Welcome(mut stream, _)) = stream else { panic!("{stream:?}") };
        stream.write_all(&bytes).await.expect("connected");
        let (sink, mut events) = mpsc::unbounded_channel();
        let (me, ear, sink) = (identity("room", 1), Ear::default(), Events(sink));
        let hearing = hear_peer(NodeId(0), &me, frames, &ear, &sink, pending());
        let reason = within(hearing).await.expect_err(expected);
        assert!(reason.contains(expected), "{expected}: {reason}");
        assert_eq!(events.try_recv(), Ok(Event::Reset(NodeId(0))), "{expected}");
        assert!(events.try_recv().is_err(), "nothing of it was believed");
    }
}

#[tokio::test]
async fn a_peer_of_another_cluster_is_refused_by_name() {
    let (listener, peer) = port().await;
    let dialled = tokio::spawn(dial(peer, identity("hall", 0)));
    let (stream, _) = listener.accept().await.expect("a call");
    let book = Book::new(&[]);
    let greeted = greet(stream, &identity("room", 1), &book, None, || Some(())).await;
    assert!(matches!(greeted, Err(Refused::Unwelcome(_))), "{greeted:?}");
    let reason = dialled.await.expect("ends").expect_err("refused");
    assert_eq!(reason, "refused: this is cluster \"room\", not \"hall\"");
}

/// Bugs that turn it red: an address that is dialled once and for all; a change that waits for the
/// old connection to break, which it never does.
#[tokio::test]
async fn a_peer_that_has_moved_is_dialled_where_it_is() {
    let ((old, peer), (new, elsewhere)) = (port().await, port().await);
    let book = book(&peer);
    let dropper = Loss::default().dropper(0, 1);
    let _outgoing = Outgoing::start(peer, identity("room", 0), dropper, Arc::clone(&book));
    let mut before = answer(&old).await;
    book.hear_of(NodeId(1), &elsewhere.address);
    let _after = answer(&new).await;
    assert!(within(before.next()).await.is_none(), "the old connection is over");
}

/// Bugs that turn it red: a replaced store that is welcome; one that is not told why it is not; a
/// store refused because an older one is on record.
#[tokio::test]
async fn a_store_that_was_replaced_is_refused_and_told() {
    let (listener, peer) = port().await;
    let there = Book::new(&[peer.clone(), peer.clone()]);
    there.record(NodeId(0), Incarnation(2));
    let here = book(&peer);
    let dropper = Loss::default().dropper(0, 1);
    let _old = Outgoing::start(peer.clone(), identity("room", 0), dropper, Arc::clone(&here));
    let (stream, _) = within(listener.accept()).await.expect("a call");
    let greeted = greet(stream, &identity("room", 1), &there, None, || Some(())).await;
    assert!(matches!(greeted, Err(Refused::Replaced(NodeId(0)))), "{greeted:?}");
    within(here.is_replaced()).await;
    let (listener, peer) = port().await;
    let newer = Identity { incarnation: Incarnation(3), ..identity("room", 0) };
    let calling = tokio::spawn(dial(peer, newer));
    let (stream, _) = within(listener.accept()).await.expect("a call");
    let greeted = greet(stream, &identity("room", 1), &there, None, || Some(())).await;
    assert!(matches!(greeted, Ok(Incoming::Peer(NodeId(0), Incarnation(3), _))), "{greeted:?}");
    assert!(matches!(calling.await.expect("ends"), Ok(Answer::Welcome(..))));
}

/// Bug that turns it red: a store that is heard on and on while a newer one is on record: nobody
/// would tell it.
#[tokio::test]
async fn a_store_that_is_replaced_while_it_is_heard_is_hung_up_on() {
    let (listener, peer) = port().await;
    let outgoing = start(peer.clone());
    let frames = answer(&listener).await;
    let there = Book::new(&[peer.clone(), peer]);
    let (sink, mut events) = mpsc::unbounded_channel();
    let (me, ear, sink) = (identity("room", 1), Ear::default(), Events(sink));
    let over = there.replaces(NodeId(0), Incarnation(1));
    let hearing = hear_peer(NodeId(0), &me, frames, &ear, &sink, over);
    let replacing = async {
        first_words(&outgoing, &mut events).await;
        there.record(NodeId(0), Incarnation(1));
        there.record(NodeId(0), Incarnation(2));
    };
    let (ended, ()) = within(async { tokio::join!(hearing, replacing) }).await;
    assert_eq!(ended, Ok(()));
}

/// Bug that turns it red: to believe what is said of a peer for ever, and never look where it is
/// listed: it may have come back, or what was said is old.
#[tokio::test]
async fn a_peer_that_is_not_where_it_is_said_to_be_is_sought_where_it_is_listed() {
    let (listener, peer) = port().await;
    let (gone, elsewhere) = port().await;
    drop(gone);
    let book = book(&peer);
    book.hear_of(NodeId(1), &elsewhere.address);
    let dropper = Loss::default().dropper(0, 1);
    let _outgoing = Outgoing::start(peer, identity("room", 0), dropper, book);
    answer(&listener).await;
}
