//! The driver: one task that holds the connection, and goes where the leader is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::link::{Link, LinkError};
use super::posts::Posts;
use super::questions::Asked;
use super::repeat::wait;
use super::route::Route;
use super::session::{Advice, Session, Unanswered};
use super::{Answer, Notice, Options, Page, Standing};
use crate::cluster::Cluster;
use crate::paxos::{ClientId, NodeId, RequestNumber, Slot};
use crate::wire::client::{FromNode, ToNode};
use crate::wire::drop::Dropper;

/// How long a node may take to answer a call, and again to greet.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);

/// A node that said nothing for so long is given up. Nodes pulse ten times as often.
const SILENCE: Duration = Duration::from_secs(1);

/// A node that has known no leader for so long is left for another by whoever waits for an answer,
/// or after an election timeout where that is longer: it may be cut off from those who know one.
pub(super) const LEADERLESS: Duration = Duration::from_secs(1);

/// How often a node hears from us, if there is nothing to say.
const PULSE: Duration = Duration::from_secs(1);

/// How long to wait before saying again what was not taken: the first time, and at most, if
/// nothing moves meanwhile.
const AGAIN: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(800));

/// The grain of all these. No request waits for it.
const GRAIN: Duration = Duration::from_millis(25);

/// Wishes taken at a time.
const WISHES_MAX: usize = 64;

/// What the handle asks of the driver.
#[derive(Debug)]
pub(super) enum Wish {
    Submit {
        number: RequestNumber,
        body: Bytes,
        on_queued: oneshot::Sender<()>,
        on_reply: oneshot::Sender<Answer>,
        place: OwnedSemaphorePermit,
    },
    Ask(Asked),
    End {
        on_ended: oneshot::Sender<()>,
    },
    Subscribe {
        from: Slot,
        feed: mpsc::Sender<Page>,
    },
    CopyTo(BTreeSet<NodeId>),
}

#[derive(Debug)]
pub(super) struct Driver {
    cluster: Cluster,
    /// Where members are, as nodes have told.
    found: BTreeMap<NodeId, String>,
    /// Those that did not answer there: they may be back where the cluster has them.
    missed: BTreeSet<NodeId>,
    id: ClientId,
    session: Session,
    posts: Posts,
    route: Route,
    wishes: mpsc::Receiver<Wish>,
    publish: watch::Sender<Standing>,
    dropper: Dropper,
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The handle is gone: so are we.
    Dropped,
    /// The node is not to be relied on just now.
    Failed(String),
    /// Another node leads.
    Moved,
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> End {
        End::Failed(error.to_string())
    }
}

impl Driver {
    pub(super) fn new(
        cluster: Cluster,
        id: ClientId,
        options: Options,
        wishes: mpsc::Receiver<Wish>,
        publish: watch::Sender<Standing>,
        notices: broadcast::Sender<Notice>,
    ) -> Driver {
        let dropper = options.loss.dropper((id.0 >> 64) as u64, id.0 as u64);
        let posts = Posts::new(options.way, id);
        let session = Session::new(id, options.ttl, posts.are_used(), notices);
        let route = Route::new(cluster.members(), fastrand::usize(..usize::from(u16::MAX)));
        let (found, missed) = (BTreeMap::new(), BTreeSet::new());
        Driver { cluster, found, missed, id, session, posts, route, wishes, publish, dropper }
    }

    /// Keeps the session up until the handle is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let (node, pause) = self.route.pick(Instant::now());
            sleep(pause).await;
            if self.wishes.is_closed() && self.wishes.is_empty() {
                return;
            }
            let end = match self.dial(node).await {
                Ok(link) => self.visit(link).await,
                Err(end) => end,
            };
            self.show(None, None);
            match end {
                End::Dropped => return,
                End::Moved => {}
                End::Failed(reason) => {
                    tracing::debug!(client = %self.id, %node, "{reason}");
                    self.route.failed(node, Instant::now());
                }
            }
        }
    }

    async fn dial(&mut self, node: NodeId) -> Result<Link, End> {
        let member = self.cluster.member(node);
        let listed = &member.ok_or_else(|| End::Failed("no such node".to_owned()))?.address;
        // In turn, for as long as nobody answers: what is told of a member may be old.
        let found = self.found.get(&node).filter(|_| !self.missed.remove(&node));
        let address = found.unwrap_or(listed).clone();
        if found.is_some() {
            self.missed.insert(node);
        }
        let link = Link::dial(&address, &self.cluster.identity(), self.id, DIAL_PATIENCE).await?;
        self.found.extend(link.found.iter().cloned());
        if link.node != node {
            return Err(End::Failed(format!("{} answers at {address}", link.node)));
        }
        self.missed.remove(&node);
        Ok(link)
    }

    async fn visit(&mut self, link: Link) -> End {
        let now = Instant::now();
        self.route.reached(link.node);
        let leader = link.leader;
        let mut visit = Visit::new(self, link, now);
        visit.note_leader(leader, now);
        if visit.moves(now) {
            return End::Moved;
        }
        let introduction = visit.driver.session.introduction(now);
        visit.say(introduction);
        visit.run().await
    }

    fn show(&self, connected: Option<NodeId>, leader: Option<NodeId>) {
        let (unanswered, retried) = (self.session.unanswered(), self.session.retried());
        let lease = self.session.lease();
        let standing = Standing { connected, leader, unanswered, retried, lease };
        self.publish.send_if_modified(|held| {
            let changed = *held != standing;
            *held = standing;
            changed
        });
    }
}

/// One connection, from the greeting to its end.
#[derive(Debug)]
struct Visit<'d> {
    driver: &'d mut Driver,
    link: Link,
    /// The leader that the node knows.
    leader: Option<NodeId>,
    /// Since when it knows none.
    leaderless_since: Option<Instant>,
    /// Another node is said to lead: it is called when the route allows.
    wanted: Option<NodeId>,
    heard_at: Instant,
    spoke_at: Instant,
    /// When to say everything again, as something was not taken.
    again_at: Option<Instant>,
    /// How often that was in vain, of late.
    again_in_vain: u32,
}

impl<'d> Visit<'d> {
    fn new(driver: &'d mut Driver, link: Link, now: Instant) -> Visit<'d> {
        Visit {
            driver,
            link,
            leader: None,
            leaderless_since: None,
            wanted: None,
            heard_at: now,
            spoke_at: now,
            again_at: None,
            again_in_vain: 0,
        }
    }

    async fn run(mut self) -> End {
        let mut grain = interval(GRAIN);
        grain.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wishes = Vec::with_capacity(WISHES_MAX);
        loop {
            self.driver.show(Some(self.link.node), self.leader);
            let is_written = self.link.writer.is_done();
            let end = tokio::select! {
                message = self.link.reader.next() => self.on_message(message),
                message = self.driver.posts.next() => {
                    self.driver.session.hear(message, Instant::now());
                    None
                }
                count = self.driver.wishes.recv_many(&mut wishes, WISHES_MAX) => {
                    self.on_wishes(count, &mut wishes)
                }
                written = self.link.writer.write(), if !is_written => written.err().map(End::from),
                _ = grain.tick() => self.on_tick(Instant::now()),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn on_message(&mut self, message: Result<FromNode, LinkError>) -> Option<End> {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Some(error.into()),
        };
        let now = Instant::now();
        self.heard_at = now;
        match self.driver.session.hear(message, now) {
            Advice::Stay => None,
            Advice::Onward => {
                self.again_in_vain = 0;
                None
            }
            Advice::Leader(leader) => self.on_leader(leader, now).then_some(End::Moved),
            Advice::Again => {
                if self.again_at.is_none() {
                    self.again_at = Some(now + wait(AGAIN.0, AGAIN.1, self.again_in_vain));
                    self.again_in_vain = self.again_in_vain.saturating_add(1);
                }
                None
            }
            Advice::Leave(reason) => Some(End::Failed(reason.to_owned())),
        }
    }

    /// The node says who leads. Whether to go there at once.
    fn on_leader(&mut self, leader: Option<NodeId>, now: Instant) -> bool {
        let is_news = self.leader != leader;
        self.note_leader(leader, now);
        if leader == Some(self.link.node) && is_news {
            // It may have heard us before it led, and not listened.
            self.driver.session.on_news();
            self.again_at = Some(now);
            self.repeat(now);
        }
        self.moves(now)
    }

    fn note_leader(&mut self, leader: Option<NodeId>, now: Instant) {
        let since = self.leaderless_since.unwrap_or(now);
        self.leaderless_since = leader.is_none().then_some(since);
        self.leader = leader;
        self.wanted = leader.filter(|leader| *leader != self.link.node);
    }

    /// Whether it is time to go where the leader is.
    fn moves(&mut self, now: Instant) -> bool {
        let Some(wanted) = self.wanted else { return false };
        let is_time = self.driver.route.move_at(wanted, now).is_some_and(|at| at <= now);
        if is_time {
            self.driver.route.move_to(wanted, now);
        }
        is_time
    }

    /// Whether somebody waits for an answer that another node might know sooner.
    fn is_stranded(&self, now: Instant) -> bool {
        let cluster = &self.driver.cluster;
        let patience = cluster.election.max(LEADERLESS);
        let is_over = self.leaderless_since.is_some_and(|since| now - since >= patience);
        is_over && self.driver.session.is_waiting() && cluster.members() > 1
    }

    /// Says everything again if that is due, and not on top of what is not even written yet.
    fn repeat(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) && self.link.writer.is_done() {
            self.again_at = None;
            let everything = self.driver.session.everything(now);
            self.say(everything);
        }
    }

    fn on_wishes(&mut self, count: usize, wishes: &mut Vec<Wish>) -> Option<End> {
        if count == 0 {
            return Some(End::Dropped);
        }
        let (here, now) = (self.link.node, Instant::now());
        let Driver { session, posts, cluster, found, .. } = &mut *self.driver;
        let mut said = Vec::new();
        for wish in wishes.drain(..) {
            if let Wish::CopyTo(nodes) = wish {
                posts.copy_to(nodes);
            } else if let Some(message) = grant(session, wish, now) {
                said.extend(posts.post(message, here, cluster, found));
            }
        }
        self.say(said);
        None
    }

    fn on_tick(&mut self, now: Instant) -> Option<End> {
        if now.duration_since(self.heard_at) >= SILENCE {
            return Some(End::Failed("it has fallen silent".to_owned()));
        }
        if self.moves(now) {
            return Some(End::Moved);
        }
        if self.is_stranded(now) {
            return Some(End::Failed("it knows no leader".to_owned()));
        }
        self.repeat(now);
        if self.link.writer.is_done() {
            let overdue = self.driver.session.overdue(now);
            self.say(overdue);
        }
        if now.duration_since(self.spoke_at) >= PULSE {
            self.say([ToNode::Pulse]);
        }
        None
    }

    fn say(&mut self, messages: impl IntoIterator<Item = ToNode>) {
        for message in messages {
            if !self.driver.dropper.drops() {
                self.link.writer.say(&message);
            }
            self.spoke_at = Instant::now();
        }
    }
}

fn grant(session: &mut Session, wish: Wish, now: Instant) -> Option<ToNode> {
    match wish {
        Wish::Submit { number, body, on_queued, on_reply, place } => {
            let on_queued = Some(on_queued);
            session.submit(number, Unanswered { body, on_queued, on_reply, place }, now)
        }
        Wish::Ask(asked) => Some(session.ask(asked, now)),
        Wish::End { on_ended } => session.end(on_ended, now),
        Wish::Subscribe { from, feed } => Some(session.subscribe(from, feed, now)),
        Wish::CopyTo(_) => None,
    }
}
