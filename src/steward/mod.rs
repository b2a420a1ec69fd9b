//! The steward of a replica of the poll service: keeps the office in the log what it is in fact.
//!
//! It runs beside the node, in its process, as a client of the cluster: it asks its own node how it
//! is, at each heartbeat, and says in the log what clients are to know of it.
//!
//! | its node | it says |
//! | --- | --- |
//! | leads | that it presides; which backups it has not heard for five heartbeats |
//! | follows, and has caught up | that it attends: the join entry |
//! | has heard no leader for five heartbeats | to the operator: suspended, no quorum since hh:mm |
//!
//! The heartbeats are the engine's: whoever leads is told by its ballot's round trips, and there is
//! no second opinion here on who lives. What the steward says counts in the view that it speaks of
//! and in no other, so it may be late, doubled or wrong about the moment, and no client ever hears
//! of two primaries at once.
//!
//! A backup comes back like this:
//!
//! ```text
//! backup                                primary              log
//!   opens its store: its own promises
//!   Recall: what do others know of it?
//!   CatchUpAsk, or a snapshot  ------->
//!   <----------------------- the tail
//!   Probe: what is decided?   -------->
//!   (applied all of that)
//!   Attend, in this view --------------------------------->  the join entry
//!                                                            -> clients: backup b:7000 (joined ..)
//! ```
//!
//! Where the two share a host, the primary starts a backup that failed again: see `revival`.

mod revival;

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::Probe;
use crate::cluster::Cluster;
use crate::paxos::{NodeId, Slot};
use crate::poller::{Error, Poller, Terms};
use crate::services::poll::{Ask, Office, Said, Server};
use crate::wire::client::{NodeStatus, Role};

pub use revival::{Launch, Revival};

/// Whose steward it is.
#[derive(Debug)]
pub struct Options {
    /// The member in whose process it runs.
    pub node: NodeId,
    /// Where that listens.
    pub address: String,
    /// Which others it starts again, if they fail.
    pub revival: Revival,
}

/// So many heartbeats missed mean failed.
pub const MISSED: u32 = 5;

/// The interval between heartbeats of this cluster.
#[must_use]
pub fn heartbeat(cluster: &Cluster) -> Duration {
    cluster.election / 8
}

/// At work until it is dropped. Needs a tokio runtime around it.
pub async fn run(cluster: &Cluster, options: Options) {
    let mut beat = interval(heartbeat(cluster));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut steward = Steward::new(cluster, options);
    loop {
        beat.tick().await;
        if let Err(error) = steward.look().await {
            // It looks again at the next beat.
            tracing::debug!("the steward: {error}");
        }
    }
}

struct Steward<'c> {
    cluster: &'c Cluster,
    options: Options,
    poller: Poller,
    /// The connection to its own node.
    own: Option<Probe>,
    /// Since when that leads.
    leads_since: Option<Instant>,
    /// All below is to be applied before it attends.
    goal: Option<Slot>,
    told: Told,
}

/// What the operator was told.
#[derive(Debug, Default)]
struct Told {
    suspended: bool,
    unheard: Vec<NodeId>,
}

impl<'c> Steward<'c> {
    fn new(cluster: &'c Cluster, options: Options) -> Steward<'c> {
        let poller = Poller::open(cluster, terms(cluster));
        let (own, leads_since, goal, told) = (None, None, None, Told::default());
        Steward { cluster, options, poller, own, leads_since, goal, told }
    }

    /// For how long nothing is heard of one that has failed.
    fn limit(&self) -> Duration {
        heartbeat(self.cluster) * MISSED
    }

    async fn look(&mut self) -> Result<(), Error> {
        self.options.revival.reap();
        if self.poller.is_over() {
            self.poller = Poller::open(self.cluster, terms(self.cluster));
        }
        let Some(status) = self.own_status().await else { return Ok(()) };
        self.tell_standing(&status);
        let leads = status.role == Role::Leader;
        let since = self.leads_since.unwrap_or_else(Instant::now);
        self.leads_since = leads.then_some(since);
        if leads {
            self.goal = None;
            self.preside(&status, since).await
        } else if status.role == Role::Follower && status.votes && status.leader.is_some() {
            self.attend(&status).await
        } else {
            Ok(())
        }
    }

    async fn own_status(&mut self) -> Option<NodeStatus> {
        let patience = heartbeat(self.cluster).max(Duration::from_secs(1));
        if self.own.is_none() {
            let name = self.cluster.identity();
            self.own = Probe::dial(&self.options.address, &name, patience).await.ok();
        }
        let status = self.own.as_mut()?.status().await.ok();
        if status.is_none() {
            self.own = None;
        }
        status
    }

    /// Its node leads: says so, and who is not there any more.
    async fn preside(&mut self, status: &NodeStatus, since: Instant) -> Result<(), Error> {
        let (id, address) = (self.options.node.0, self.options.address.clone());
        let server = Server { id, address: Bytes::from(address) };
        let mut office = self.poller.office().await?;
        if office.primary.as_ref() != Some(&server) {
            office = self.say(Ask::Preside { server, view: office.view }).await?;
        }
        let unheard = self.unheard(status, since.elapsed());
        for node in &unheard {
            if office.backups.contains_key(&node.0) {
                office = self.say(Ask::Dismiss { id: node.0, view: office.view }).await?;
            }
        }
        self.tell_unheard(status, &unheard);
        self.options.revival.tend(self.cluster, self.options.node, &unheard).await;
        Ok(())
    }

    /// Which members its node has not heard for so long that they have failed. What it did not
    /// listen for before it led does not count.
    fn unheard(&self, status: &NodeStatus, led: Duration) -> Vec<NodeId> {
        let silences = status.silences.iter();
        let failed = silences.filter(|(_, ms)| Duration::from_millis(*ms).min(led) > self.limit());
        failed.map(|(node, _)| *node).collect()
    }

    /// Its node follows: joins, once it has all that the primary had when it began to, and the
    /// primary hears it. (Where it hears the primary, but not the other way, it would be dismissed
    /// again, and join again, for ever.)
    async fn attend(&mut self, status: &NodeStatus) -> Result<(), Error> {
        let office = self.poller.office().await?;
        let (id, address) = (self.options.node.0, Bytes::from(self.options.address.clone()));
        let has_joined = office.backups.get(&id).is_some_and(|it| it.address == address);
        let Some(primary) = office.primary.as_ref().filter(|it| it.id != id && !has_joined) else {
            self.goal = None;
            return Ok(());
        };
        let Some(of_primary) = self.status_of(NodeId(primary.id)).await else { return Ok(()) };
        let goal = *self.goal.get_or_insert(of_primary.decided);
        let hears = |(node, ms): &(NodeId, u64)| {
            *node == self.options.node && Duration::from_millis(*ms) <= self.limit()
        };
        let is_heard = of_primary.silences.iter().any(hears);
        if is_heard && status.applied >= goal && !status.catching_up {
            self.say(Ask::Attend { server: Server { id, address }, view: office.view }).await?;
        }
        Ok(())
    }

    async fn status_of(&self, node: NodeId) -> Option<NodeStatus> {
        let member = self.cluster.member(node)?;
        let mut probe = Probe::find(self.cluster, member, Duration::from_secs(1)).await.ok()?;
        probe.status().await.ok()
    }

    async fn say(&self, ask: Ask) -> Result<Office, Error> {
        match self.poller.ask(&ask).await? {
            Said::Office(office) => {
                tracing::info!("{office}");
                Ok(office)
            }
            Said::Joined
            | Said::Left
            | Said::Opened { .. }
            | Said::Recorded { .. }
            | Said::Closed { .. }
            | Said::NotAsked
            | Said::NoSuchPoll
            | Said::NotJoined
            | Said::Confirmed
            | Said::Refused(_)
            | Said::Unreadable => Err(Error::Foreign),
        }
    }

    /// Tells the operator when its node is cut off, and when it is not any more.
    fn tell_standing(&mut self, status: &NodeStatus) {
        let silence = status.leaderless.map(Duration::from_millis);
        let suspended = silence.filter(|silence| *silence > self.limit());
        match (suspended, self.told.suspended) {
            (Some(silence), false) => {
                let since = clock(silence);
                tracing::warn!(
                    "suspended: no quorum since {since}. It hears no primary, and too few members \
                     to be one; it answers nothing until it reaches a majority"
                );
                self.told.suspended = true;
            }
            (None, true) if status.leaderless.is_none() => {
                tracing::warn!("no longer suspended: there is a quorum again");
                self.told.suspended = false;
            }
            (Some(_) | None, _) => (),
        }
    }

    /// Tells the operator of a primary when a member fails, and when it is back. (A new primary
    /// has missed nobody yet, but that is no sign of life.)
    fn tell_unheard(&mut self, status: &NodeStatus, unheard: &[NodeId]) {
        let kind = |node: &NodeId| match self.cluster.witnesses().contains(node) {
            true => "witness",
            false => "backup",
        };
        let is_told = |node: &&NodeId| self.told.unheard.contains(node);
        let news: Vec<NodeId> = unheard.iter().filter(|node| !is_told(node)).copied().collect();
        for node in &news {
            let (id, kind) = (node.0, kind(node));
            tracing::warn!(
                "the {kind}, node {id}, has missed {MISSED} heartbeats. The service goes on \
                 without it, and stops if another member fails"
            );
        }
        let silent = self.unheard(status, Duration::MAX);
        let back = self.told.unheard.extract_if(.., |node| !silent.contains(node));
        for node in back {
            tracing::warn!("the {}, node {}, is heard again", kind(&node), node.0);
        }
        self.told.unheard.extend(news);
    }
}

fn terms(cluster: &Cluster) -> Terms {
    let patience = cluster.election.max(Duration::from_secs(1));
    Terms { ttl: patience * 10, patience, ..Terms::default() }
}

/// What the clock showed so long ago: `22:07:04 UTC`.
#[must_use]
pub fn clock(ago: Duration) -> String {
    let at = std::time::SystemTime::now().checked_sub(ago).unwrap_or(std::time::UNIX_EPOCH);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time);
    format!("{} UTC", time.trim_end_matches('Z'))
}
