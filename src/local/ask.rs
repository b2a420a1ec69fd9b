//! What a rig's nodes say of themselves, and how it waits for them.
//!
//! Connections are kept from one question to the next: a rig that waits asks often.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::idle::{self, Verdict};
use super::rig::{Error, Rig};
use crate::client::Probe;
use crate::paxos::NodeId;
use crate::wire::client::{NodeStatus, Order};

/// How long one node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much of a log an error shows.
const LOG_TAIL_LINES: usize = 3;

/// The first pause between two looks at something that is about to happen.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(20);

impl Rig {
    /// Asks all live nodes how they are, at the same time; `None` is no answer. Ascending by node.
    pub async fn statuses(&mut self) -> Vec<Option<NodeStatus>> {
        let mut asking = JoinSet::new();
        let alive = self.alive();
        for node in &alive {
            let (probe, ask) = (self.take_probe(*node), self.dialling(*node));
            let node = *node;
            asking.spawn(async move {
                let mut probe = match probe {
                    Some(probe) => probe,
                    None => ask.await?,
                };
                let status = probe.status().await.ok()?;
                Some((node, probe, status))
            });
        }
        let mut answers = vec![None; self.nodes.len()];
        while let Some(answer) = asking.join_next().await {
            if let Ok(Some((node, probe, status))) = answer {
                let at = usize::from(node.0);
                self.nodes[at].probe = Some(probe);
                answers[at] = Some(status);
            }
        }
        alive.iter().map(|node| answers[usize::from(node.0)].take()).collect()
    }

    /// Asks a node how it is.
    pub async fn status(&mut self, node: NodeId) -> Option<NodeStatus> {
        let mut probe = self.probe(node).await?;
        let status = probe.status().await.ok()?;
        self.nodes[usize::from(node.0)].probe = Some(probe);
        Some(status)
    }

    /// The node that leads now, by what the live nodes say.
    pub async fn leader(&mut self) -> Option<NodeId> {
        let answers: Vec<NodeStatus> = self.statuses().await.into_iter().flatten().collect();
        idle::leader(&answers).map(|leader| leader.node)
    }

    /// Gives a node an order. The reason, if it is not obeyed; a node that dies of it cannot say
    /// that it obeyed.
    ///
    /// # Errors
    ///
    /// If it refuses, or does not answer.
    pub async fn order(&mut self, node: NodeId, order: Order) -> Result<(), String> {
        let mut probe = self.probe(node).await.ok_or_else(|| "it does not answer".to_owned())?;
        let obeyed = probe.order(order).await.map_err(|error| error.to_string())?;
        self.nodes[usize::from(node.0)].probe = Some(probe);
        obeyed
    }

    /// What the cluster is found to be now.
    pub async fn judge(&mut self) -> Verdict {
        let answers = self.statuses().await;
        idle::judge(self.cluster().members(), &answers)
    }

    /// Waits until a started node answers.
    ///
    /// # Errors
    ///
    /// If it ends, or `patience` does.
    pub async fn answers(&mut self, node: NodeId, patience: Duration) -> Result<(), Error> {
        let until = Instant::now() + patience;
        let mut pause = Pause::default();
        while self.status(node).await.is_none() {
            if !self.is_alive(node) || Instant::now() > until {
                return Err(Error::NotReady(node, self.log_tail(node)));
            }
            pause.wait().await;
        }
        Ok(())
    }

    /// Waits until the cluster is idle: a leader that all live nodes follow, and nothing under way.
    ///
    /// # Errors
    ///
    /// If a node ends meanwhile, or `patience` does.
    pub async fn ready(&mut self, patience: Duration) -> Result<(), Error> {
        let until = Instant::now() + patience;
        let alive = self.alive();
        let mut pause = Pause::default();
        loop {
            let why = match self.judge().await {
                Verdict::Idle(_) => return Ok(()),
                Verdict::Holes(_) => "there are holes",
                Verdict::Busy(why) => why,
            };
            if let Some(dead) = alive.iter().find(|node| !self.is_alive(**node)) {
                return Err(Error::NotReady(*dead, self.log_tail(*dead)));
            }
            if Instant::now() > until {
                return Err(Error::NotIdle(patience, why));
            }
            pause.wait().await;
        }
    }

    /// The last lines that a node has logged, for errors.
    fn log_tail(&self, node: NodeId) -> String {
        let log = self.log(node);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join(" | ")
    }

    async fn probe(&mut self, node: NodeId) -> Option<Probe> {
        match self.take_probe(node) {
            Some(probe) => Some(probe),
            None => self.dialling(node).await,
        }
    }

    fn take_probe(&mut self, node: NodeId) -> Option<Probe> {
        self.nodes.get_mut(usize::from(node.0))?.probe.take()
    }

    fn dialling(&self, node: NodeId) -> impl Future<Output = Option<Probe>> + use<> {
        let address = self.places.get(usize::from(node.0)).map(|place| place.address.clone());
        let name = self.cluster().identity();
        async move { Probe::dial(&address?, &name, PATIENCE).await.ok() }
    }
}

/// Growing pauses between looks at something that is about to happen.
#[derive(Clone, Copy, Debug)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(PAUSE_MIN)
    }
}

impl Pause {
    /// Waits, the next time half as long again.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 3 / 2).min(PAUSE_MAX);
    }
}
