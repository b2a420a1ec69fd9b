//! `indelible chat`: a person, or a pipe, in the room.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::harmless::harmless;
use super::lossy::LossArgs;
use crate::client::{Client, Page, Ticket};
use crate::local::{driver, tied};
use crate::paxos::{ClientId, Slot};
use crate::services::chat::Message;

/// Talk in the room.
///
/// Each line of standard input is one message; each decided message is one line of standard output,
/// `SLOT NAME: text`, in the order of the log, from the beginning or from --from. On a terminal
/// control characters are written out; elsewhere bytes stay as they are. When the input ends, waits
/// until all of it is decided (at most --wait), and ends; exit status 69 if it is not.
///
///   echo hello | indelible chat --cluster-file room.toml --name ann
///   indelible chat --cluster-file room.toml --name ann < /dev/null   # the log so far
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Under which name
    #[arg(long, env = "INDELIBLE_NAME", default_value = "anon")]
    name: String,
    /// Print from this slot on
    #[arg(long, env = "INDELIBLE_FROM", default_value_t = 0, value_name = "SLOT")]
    from: u64,
    /// How long to wait for decisions when the input has ended
    #[arg(long, env = "INDELIBLE_WAIT", default_value = "30s")]
    wait: humantime::Duration,
    /// Go on printing when the input has ended
    #[arg(long, env = "INDELIBLE_FOLLOW")]
    follow: bool,
    #[command(flatten)]
    lossy: LossArgs,
    /// Take orders from a harness on standard input
    #[arg(long, env = "INDELIBLE_DRIVEN", hide = true)]
    driven: bool,
    /// End at once when this process ends
    #[arg(long, env = "INDELIBLE_TIED", value_name = "PID", hide = true)]
    tied: Option<u32>,
}

/// Whoever reads the log from its end waits so long for a first answer from the cluster.
const FIRST_WORD: Duration = Duration::from_millis(1500);

pub(super) fn run(args: ChatArgs) -> Result<(), Failure> {
    if let Some(parent) = args.tied {
        tied::die_with(parent).map_err(|error| Failure::system(&error))?;
    }
    let cluster = args.cluster.cluster()?;
    let id = ClientId(uuid::Uuid::new_v4().as_u128());
    super::runtime()?.block_on(async {
        let client = Client::open_lossy(&cluster, id, args.lossy.loss());
        if args.driven {
            let driving = driver::drive(client, Bytes::from(args.name));
            let driven = tokio::task::LocalSet::new().run_until(driving).await;
            return driven.map_err(|error| Failure::system(&error));
        }
        let pages = client.subscribe(Slot(args.from)).await;
        let pages = pages.map_err(|error| Failure::new(Status::Internal, error))?;
        let (name, pending) = (Bytes::from(args.name), Vec::new());
        let mut room = Room { client, pages, name, pending, seen: Slot(0) };
        room.talk().await?;
        if args.follow { room.follow().await } else { room.finish(*args.wait).await }
    })
}

struct Room {
    client: Client,
    pages: mpsc::Receiver<Page>,
    name: Bytes,
    pending: Vec<Ticket>,
    /// Every line below is printed.
    seen: Slot,
}

impl Room {
    /// Sends what stands on standard input, and prints what is decided, until the input ends.
    async fn talk(&mut self) -> Result<(), Failure> {
        let is_person = io::stdin().is_terminal();
        let mut input = BufReader::new(tokio::io::stdin());
        let mut line = Vec::new();
        loop {
            tokio::select! {
                read = input.read_until(b'\n', &mut line) => {
                    if read.map_err(|error| Failure::system(&error))? == 0 {
                        return Ok(());
                    }
                    while matches!(line.last(), Some(b'\n' | b'\r')) {
                        line.pop();
                    }
                    if !(is_person && line.is_empty()) {
                        self.send(&line).await?;
                    }
                    line.clear();
                }
                page = self.pages.recv() => print(page, &mut self.seen)?,
            }
        }
    }

    async fn send(&mut self, text: &[u8]) -> Result<(), Failure> {
        let text = Bytes::copy_from_slice(text);
        let body = Message { sender: self.name.clone(), text }.encode();
        let submit = self.client.submit(body);
        tokio::pin!(submit);
        // While too many are unanswered, go on printing.
        loop {
            tokio::select! {
                ticket = &mut submit => {
                    self.pending.push(ticket.map_err(|error| Failure::new(Status::Usage, error))?);
                    return Ok(());
                }
                page = self.pages.recv() => print(page, &mut self.seen)?,
            }
        }
    }

    /// Waits until all is decided and printed.
    async fn finish(mut self, wait: Duration) -> Result<(), Failure> {
        let until = Instant::now() + wait;
        let count = self.pending.len();
        let mut last = None;
        for (number, ticket) in self.pending.into_iter().enumerate() {
            let reply = ticket.reply();
            tokio::pin!(reply);
            last = loop {
                tokio::select! {
                    reply = timeout_at(until, &mut reply) => match reply {
                        Ok(Ok(reply)) => break Some(reply.slot),
                        Ok(Err(error)) => return Err(Failure::new(Status::Unavailable, error)),
                        Err(_) => {
                            let open = count - number;
                            let line = format!("no quorum: {open} of {count} messages undecided");
                            return Err(Failure::new(Status::Unavailable, line));
                        }
                    },
                    page = self.pages.recv() => print(page, &mut self.seen)?,
                }
            };
        }
        let patience = if last.is_some() { until } else { Instant::now() + FIRST_WORD };
        // Own messages must show; without any, what is there comes in one go.
        while last.is_none_or(|last| self.seen <= last) {
            match timeout_at(patience, self.pages.recv()).await {
                Ok(page) => print(page, &mut self.seen)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    async fn follow(mut self) -> Result<(), Failure> {
        loop {
            tokio::select! {
                page = self.pages.recv() => print(page, &mut self.seen)?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

fn print(page: Option<Page>, seen: &mut Slot) -> Result<(), Failure> {
    let Some(page) = page else { return Ok(()) };
    *seen = page.next;
    let is_read_by_a_person = io::stdout().is_terminal();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let write = |out: &mut dyn Write| {
        for entry in &page.entries {
            if let Some(message) = Message::decode(&entry.body) {
                let line = message.line(entry.slot);
                if is_read_by_a_person {
                    out.write_all(harmless(&line).as_bytes())?;
                } else {
                    out.write_all(&line)?;
                }
                out.write_all(b"\n")?;
            }
        }
        out.flush()
    };
    write(&mut out).map_err(|error| Failure::system(&error))
}
