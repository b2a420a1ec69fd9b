//! The room that a master keeps: nodes, clients, and what each command does to them.
//!
//! **Hand-over.** A message is handed over when it stands in the leader's queue; from then on no
//! later message overtakes it unless a node fails. Messages of one client keep their order anyway,
//! so the wait is put off until something else is to happen: another client's message, or a crash.
//! It lasts one failover at most, and there is none while no majority lives.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::parse::Command;
use super::{Options, streams};
use crate::cluster::MEMBERS_MAX;
use crate::local::driven::{self, Driven};
use crate::local::{self, Pause, Rig, Verdict};
use crate::paxos::NodeId;
use crate::wire::client::Order;

/// How long a message may take to the leader's queue, and how long a command that needs a leader
/// waits for one: a failover, with time to spare.
const FAILOVER: Duration = Duration::from_millis(1500);

/// How long a node may take to answer after its start.
const START: Duration = Duration::from_secs(10);

/// A leader is reminded to fill its holes so often.
const REMIND: Duration = Duration::from_millis(50);

/// How long a node may take to die of a bomb that goes off at once.
const DEATH: Duration = Duration::from_secs(1);

/// Nodes and clients.
#[derive(Debug)]
pub(super) struct Room {
    clients: Vec<Driven>,
    /// The client whose last message may not be handed over yet.
    handing_over: Option<usize>,
    rig: Rig,
}

/// Why a master gives up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster cannot be made or a node not be started.
    #[error(transparent)]
    Rig(#[from] local::Error),
    /// A client is gone.
    #[error("a client is lost: {0}")]
    Client(io::Error),
    /// What is printed does not get out.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// The operating system refused something.
    #[error("{0}")]
    System(io::Error),
}

impl Room {
    /// Starts nodes and clients, and waits until all are ready. `None` if there cannot be so many.
    pub(super) async fn start(
        options: &Options,
        nodes: u16,
        clients: usize,
    ) -> Result<Option<Room>, Error> {
        if usize::from(nodes) > MEMBERS_MAX {
            return Ok(None);
        }
        let mut rig = Rig::format(local::Options {
            nodes,
            data: options.data.clone(),
            keep: options.keep,
            program: options.program.clone(),
            allow_faults: true,
            log: options.log.clone(),
        })?;
        rig.start_all()?;
        let driven = (0..clients).map(|client| rig.start_client(&client.to_string()));
        let clients = driven.collect::<Result<Vec<_>, _>>()?;
        let mut room = Room { clients, handing_over: None, rig };
        room.rig.ready(START).await?;
        for client in &mut room.clients {
            client.sync().await.map_err(Error::Client)?;
        }
        Ok(Some(room))
    }

    /// Does what a command asks for; what makes no sense now is passed over.
    pub(super) async fn obey(&mut self, command: Command) -> Result<(), Error> {
        if !matches!(&command, Command::Send { client, .. } if Some(*client) == self.handing_over) {
            self.hand_over().await?;
        }
        match command {
            // A second start means nothing.
            Command::Start { .. } => Ok(()),
            Command::Send { client, text } => self.send(client, text).await,
            Command::Crash(node) => {
                self.rig.kill(NodeId(node));
                Ok(())
            }
            Command::Restart(node) => self.restart(NodeId(node)).await,
            Command::AllClear => self.all_clear().await,
            Command::Bomb(fuse) => self.bomb(fuse).await,
            Command::Skip(count) => self.skip(count).await,
            Command::Print(client) => self.print(client).await,
        }
    }

    async fn send(&mut self, client: usize, text: Vec<u8>) -> Result<(), Error> {
        let Some(driven) = self.clients.get_mut(client) else { return Ok(()) };
        match driven.send(Bytes::from(text)).await {
            Ok(()) => {
                self.handing_over = Some(client);
                Ok(())
            }
            // Longer than anything that fits a slot.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            Err(error) => Err(Error::Client(error)),
        }
    }

    /// Waits until what was sent last stands in the leader's queue; not without a majority.
    async fn hand_over(&mut self) -> Result<(), Error> {
        if let Some(client) = self.handing_over.take()
            && self.rig.has_majority()
        {
            self.clients[client].hand_over(FAILOVER).await.map_err(Error::Client)?;
        }
        Ok(())
    }

    async fn restart(&mut self, node: NodeId) -> Result<(), Error> {
        if self.rig.cluster().member(node).is_none() || self.rig.is_alive(node) {
            return Ok(());
        }
        self.rig.start(node)?;
        // One that does not come up is a dead server, and the script goes on; its log says why.
        let _ = self.rig.answers(node, START).await;
        Ok(())
    }

    async fn bomb(&mut self, fuse: u64) -> Result<(), Error> {
        let Some(leader) = self.rig.leader().await else { return Ok(()) };
        // A leader that dies of it, or that leads no more, does not say so.
        let _ = self.rig.order(leader, Order::Bomb(fuse)).await;
        if fuse == 0 {
            let until = Instant::now() + DEATH;
            let mut pause = Pause::default();
            while self.rig.is_alive(leader) && Instant::now() < until {
                pause.wait().await;
            }
        }
        Ok(())
    }

    /// Has the leader leave slots empty. Waits for a leader, as a message would.
    async fn skip(&mut self, count: u64) -> Result<(), Error> {
        let until = Instant::now() + FAILOVER;
        let mut pause = Pause::default();
        while self.rig.has_majority() && Instant::now() < until {
            if let Some(leader) = self.rig.leader().await
                && self.rig.order(leader, Order::Skip(count)).await.is_ok()
            {
                return Ok(());
            }
            pause.wait().await;
        }
        Ok(())
    }

    async fn print(&mut self, client: usize) -> Result<(), Error> {
        let Some(driven) = self.clients.get_mut(client) else { return Ok(()) };
        driven.ask_log().await.map_err(Error::Client)?;
        loop {
            let (lines, is_last) = driven.log_piece().await.map_err(Error::Client)?;
            streams::print(&lines).map_err(Error::Output)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Waits until the system is idle, and every client knows all that is decided.
    async fn all_clear(&mut self) -> Result<(), Error> {
        let mut pause = Pause::default();
        let mut reminded: Option<Instant> = None;
        loop {
            let states = self.client_states().await?;
            let has_majority = self.rig.has_majority();
            match self.rig.judge().await {
                Verdict::Idle(applied) => {
                    let is_clear = |client: &driven::State| {
                        client.seen >= applied && (client.pending == 0 || !has_majority)
                    };
                    // A node that died meanwhile may have been the majority, or the leader.
                    if states.iter().all(is_clear) && self.rig.has_majority() == has_majority {
                        return Ok(());
                    }
                }
                Verdict::Holes(leader) => {
                    if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
                        // If it leads no more, the next look shows it.
                        let _ = self.rig.order(leader, Order::Heal).await;
                        reminded = Some(Instant::now());
                    }
                }
                Verdict::Busy(_) => (),
            }
            pause.wait().await;
        }
    }

    async fn client_states(&mut self) -> Result<Vec<driven::State>, Error> {
        let mut states = Vec::with_capacity(self.clients.len());
        for client in &mut self.clients {
            states.push(client.sync().await.map_err(Error::Client)?);
        }
        Ok(states)
    }
}
