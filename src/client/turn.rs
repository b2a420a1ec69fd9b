//! The task behind a client: finds a node, keeps talking, and turns to another when it must.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::link::{Link, LinkError};
use super::session::{Next, Session};
use super::{Ask, Standing};
use crate::cluster::Cluster;
use crate::paxos::{ClientId, NodeId};

/// How long a node may be silent; it says something ten times as often.
const SILENCE: Duration = Duration::from_millis(1200);

/// How long a node may take to answer a call.
const DIAL_PATIENCE: Duration = Duration::from_millis(1000);

/// The wait before a round through all nodes begins again.
const ROUND: Duration = Duration::from_millis(30);

/// When what no leader has taken is sent again.
const AGAIN: Duration = Duration::from_millis(50);

/// When what a leader has taken and not answered is sent again.
const REMIND: Duration = Duration::from_millis(1000);

/// How long a call to a leader is not repeated that failed or was of no use.
const DOUBT: Duration = Duration::from_millis(100);

/// Runs a session until all its handles are gone.
pub(super) async fn run(
    cluster: Cluster,
    client: ClientId,
    mut asks: mpsc::Receiver<Ask>,
    publish: watch::Sender<Standing>,
) {
    let mut turn = Turn {
        next: fastrand::usize(..cluster.nodes.len()),
        cluster,
        client,
        session: Session::new(client),
        publish,
        leader: None,
        doubted: None,
    };
    // Ends when nobody asks any more.
    while turn.talk(&mut asks).await.is_some() {}
}

struct Turn {
    cluster: Cluster,
    client: ClientId,
    session: Session,
    publish: watch::Sender<Standing>,
    /// Whom to try first.
    leader: Option<NodeId>,
    /// A leader that was tried in vain, and when.
    doubted: Option<(NodeId, Instant)>,
    /// Whom to try otherwise.
    next: usize,
}

/// Why a conversation ended.
enum End {
    /// Somebody else leads, or this one does not answer: try again.
    Turn,
    /// Nobody asks any more.
    Closed,
}

impl Turn {
    /// Finds a node and talks to it until that ends. `None`: nobody asks any more.
    async fn talk(&mut self, asks: &mut mpsc::Receiver<Ask>) -> Option<()> {
        let target = self.target();
        let address = self.cluster.member(target)?.address.clone();
        let name = self.cluster.name.clone();
        let dialled = Link::dial(&address, &name, self.client, DIAL_PATIENCE).await;
        let ended = match dialled {
            Ok(link) => self.converse(link, asks).await,
            Err(error) => Err(error),
        };
        self.show(None);
        match ended {
            Ok(End::Closed) => return None,
            Ok(End::Turn) => (),
            Err(error) => {
                tracing::debug!("{error}");
                if self.leader == Some(target) {
                    self.doubt(target);
                }
                if self.next.is_multiple_of(self.cluster.nodes.len()) {
                    sleep(ROUND).await;
                }
                if asks.is_closed() && asks.is_empty() {
                    return None;
                }
            }
        }
        Some(())
    }

    fn target(&mut self) -> NodeId {
        if let Some(leader) = self.leader.filter(|leader| self.cluster.member(*leader).is_some()) {
            return leader;
        }
        self.next = (self.next + 1) % self.cluster.nodes.len();
        self.cluster.nodes[self.next].id
    }

    fn doubt(&mut self, leader: NodeId) {
        self.leader = None;
        self.doubted = Some((leader, Instant::now()));
    }

    /// Whether to turn from `here` to a leader that was named.
    fn turns_to(&mut self, here: NodeId, leader: Option<NodeId>) -> bool {
        let Some(leader) = leader.filter(|leader| *leader != here) else { return false };
        let doubted = self.doubted.is_some_and(|(it, at)| it == leader && at.elapsed() < DOUBT);
        if !doubted {
            self.leader = Some(leader);
        }
        !doubted
    }

    async fn converse(
        &mut self,
        mut link: Link,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Result<End, LinkError> {
        let here = link.node;
        let mut leader = link.leader;
        self.leader = None;
        if self.turns_to(here, leader) {
            return Ok(End::Turn);
        }
        for message in self.session.introduction() {
            link.feed(&message).await?;
        }
        link.flush().await?;
        let mut heard_at = Instant::now();
        let mut sent_at = Instant::now();
        loop {
            self.show(Some((here, leader)));
            let patience = if self.session.is_waiting() { AGAIN } else { REMIND };
            let remind_at = sent_at + patience;
            tokio::select! {
                ask = asks.recv(), if !self.session.is_full() => {
                    let Some(ask) = ask else { return Ok(End::Closed) };
                    link.feed(&self.session.take(ask)).await?;
                    while !self.session.is_full() && let Ok(ask) = asks.try_recv() {
                        link.feed(&self.session.take(ask)).await?;
                    }
                    link.flush().await?;
                    sent_at = Instant::now();
                }
                message = link.next() => {
                    heard_at = Instant::now();
                    match self.session.hear(message?) {
                        Next::Nothing | Next::Again => (),
                        Next::Page(page) => self.hand_on(page).await,
                        Next::Leader(named) => {
                            leader = named;
                            if self.turns_to(here, named) {
                                return Ok(End::Turn);
                            }
                            if named == Some(here) {
                                self.send_again(&mut link).await?;
                                sent_at = Instant::now();
                            }
                        }
                    }
                }
                () = sleep_until(remind_at), if self.session.unanswered() > 0
                    || self.session.is_waiting() =>
                {
                    self.send_again(&mut link).await?;
                    sent_at = Instant::now();
                    if self.turns_to(here, leader) {
                        return Ok(End::Turn);
                    }
                }
                () = sleep_until(heard_at + SILENCE) => {
                    self.doubt(here);
                    return Ok(End::Turn);
                }
            }
        }
    }

    async fn send_again(&mut self, link: &mut Link) -> Result<(), LinkError> {
        for message in self.session.again() {
            link.feed(&message).await?;
        }
        link.flush().await
    }

    async fn hand_on(&mut self, page: super::Page) {
        if let Some(subscriber) = self.session.subscriber() {
            // A subscriber that is gone does not want it.
            let _ = subscriber.send(page).await;
        }
    }

    fn show(&self, connected: Option<(NodeId, Option<NodeId>)>) {
        let standing = Standing {
            connected: connected.map(|(here, _)| here),
            leader: connected.and_then(|(_, leader)| leader),
            unanswered: self.session.unanswered(),
        };
        self.publish.send_if_modified(|held| {
            let changed = *held != standing;
            *held = standing;
            changed
        });
    }
}
