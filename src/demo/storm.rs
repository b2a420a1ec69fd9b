//! Clients that keep sending while servers are killed, and keep every acknowledgement.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, Standing};
use crate::cluster::Cluster;
use crate::paxos::ClientId;
use crate::services::chat::Message;
use crate::wire::drop::Loss;

/// A message that the cluster said is decided, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which client.
    pub client: usize,
    /// The message's number within that client, from 0.
    pub number: u64,
    /// Its slot.
    pub slot: u64,
}

impl Acknowledgement {
    /// The line that must stand in the ledgers.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}: message {}", self.slot, self.client, self.number)
    }
}

/// Clients at work. They live on the thread that started them.
#[derive(Debug)]
pub struct Storm {
    shared: Rc<RefCell<Shared>>,
    clients: Vec<JoinHandle<()>>,
    standings: Vec<watch::Receiver<Standing>>,
}

#[derive(Debug, Default)]
struct Shared {
    acknowledged: Vec<Acknowledgement>,
    sent: u64,
    last: Option<Instant>,
    /// When the youngest of the acknowledged messages was sent.
    youngest: Option<Instant>,
    is_over: bool,
}

impl Shared {
    fn acknowledge(&mut self, it: Acknowledgement, sent: Instant) {
        self.acknowledged.push(it);
        self.last = Some(Instant::now());
        self.youngest = self.youngest.max(Some(sent));
    }
}

/// The pause between two messages of a client: a demonstration, not a benchmark.
const PAUSE: Duration = Duration::from_millis(2);

impl Storm {
    /// Starts so many clients. Needs a `LocalSet` around it.
    #[must_use]
    pub fn start(cluster: &Cluster, clients: usize) -> Storm {
        Storm::lossy(cluster, clients, Loss::default())
    }

    /// As [`Storm::start`]; each client loses that share of what it says.
    #[must_use]
    pub fn lossy(cluster: &Cluster, clients: usize, loss: Loss) -> Storm {
        let shared = Rc::new(RefCell::new(Shared::default()));
        let start = |client| {
            let id = ClientId(uuid::Uuid::new_v4().as_u128());
            let session = Client::open_lossy(cluster, id, loss);
            let standing = session.standing();
            let sending = send_on(client, session, Rc::clone(&shared));
            (tokio::task::spawn_local(sending), standing)
        };
        let (clients, standings) = (0..clients).map(start).unzip();
        Storm { shared, clients, standings }
    }

    /// Messages acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.shared.borrow().acknowledged.len()
    }

    /// Messages sent and not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        let shared = self.shared.borrow();
        shared.sent - shared.acknowledged.len() as u64
    }

    /// When the last acknowledgement came.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.shared.borrow().last
    }

    /// Messages so far that were said more than once.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.standings.iter().map(|standing| standing.borrow().retried).sum()
    }

    /// Waits until a message that is sent after now is acknowledged; how long it took. `None`:
    /// `patience` was not enough. An answer that is already on its way says nothing of who lives.
    pub async fn next(&self, patience: Duration) -> Option<Duration> {
        let since = Instant::now();
        while since.elapsed() < patience {
            if self.shared.borrow().youngest.is_some_and(|youngest| youngest > since) {
                return Some(since.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    }

    /// Sends no more, waits until all is acknowledged or `patience` ends, and returns what was.
    ///
    /// # Errors
    ///
    /// How many messages were not acknowledged in time.
    pub async fn end(self, patience: Duration) -> Result<Vec<Acknowledgement>, u64> {
        self.shared.borrow_mut().is_over = true;
        let until = tokio::time::Instant::now() + patience;
        for mut client in self.clients {
            // A client that is not done in time is told by the count below.
            let _ = tokio::time::timeout_at(until, &mut client).await;
            client.abort();
        }
        let shared = self.shared.borrow();
        let open = shared.sent - shared.acknowledged.len() as u64;
        if open > 0 { Err(open) } else { Ok(shared.acknowledged.clone()) }
    }
}

async fn send_on(client: usize, session: Client, shared: Rc<RefCell<Shared>>) {
    let mut number = 0;
    while !shared.borrow().is_over {
        let sent = Instant::now();
        shared.borrow_mut().sent += 1;
        let text = format!("message {number}").into();
        let body = Message { sender: client.to_string().into(), text }.encode();
        let Ok(ticket) = session.submit(body).await else { return };
        let Ok(reply) = ticket.reply().await else { return };
        let it = Acknowledgement { client, number, slot: reply.slot.0 };
        shared.borrow_mut().acknowledge(it, sent);
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
}
