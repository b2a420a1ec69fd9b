//! `indelible chat`: a person, a pipe, or a batch, in the room.
//!
//! Three ways in, one for each who may stand there. A person at a terminal (`person`) edits a line
//! while others' lines arrive, and has one request on its way. A pipe (`piped`) is read as fast as
//! the cluster takes it. A batch (`batch`) makes its own lines and measures.

mod batch;
mod person;
mod piped;
mod standing;
mod terminal;
mod views;

use std::io::{self, IsTerminal, Write};

use bytes::Bytes;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::harmless::harmless;
use super::lossy::LossArgs;
use crate::client::{Client, Page};
use crate::cluster::{Cluster, Service};
use crate::local::{driver, tied};
use crate::paxos::{ClientId, Slot};
use crate::services::chat::Message;

/// Talk in the room: a line at a time, from a pipe, or in a batch
///
/// Each line of standard input is one message; each decided message is one line of standard output,
/// `SLOT NAME: text`, in the order of the log, from the beginning or from --from. When the input
/// ends, waits until all of it is decided, and ends; exit status 69 if nothing is acknowledged for
/// the time of --wait.
///
/// On a terminal one edits a line while decided lines arrive above it (control characters in them
/// are written out). One message is on its way at a time; lines typed meanwhile wait for its
/// answer. Lines that begin with `--` are not of the log: they tell who is asked, who leads, and
/// what is not decided. Ctrl-D leaves when all is decided, Ctrl-C at once.
///
/// With --batch nothing is read and nothing of the log is printed: so many messages are sent, each
/// client its next as soon as its reply is in, and counts, rate and latencies are printed.
///
///   indelible chat --cluster-file room.toml --name ann
///   echo hello | indelible chat --cluster-file room.toml --name ann
///   indelible chat --cluster-file room.toml --name ann < /dev/null   # the log so far
///   indelible chat --cluster-file room.toml --batch 1000 --clients 8
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
    /// How long to wait for the next acknowledgement before giving up what is undecided
    #[arg(long, env = "INDELIBLE_WAIT", default_value = "30s")]
    wait: humantime::Duration,
    /// Go on printing when the input has ended, and give nothing up
    #[arg(long, env = "INDELIBLE_FOLLOW")]
    follow: bool,
    /// Tell each request's number in this client's session, and the slot it was decided in
    #[arg(long, short = 'v', env = "INDELIBLE_VERBOSE")]
    verbose: bool,
    #[command(flatten)]
    batch: batch::BatchArgs,
    #[command(flatten)]
    lossy: LossArgs,
    /// Take orders from a harness on standard input
    #[arg(long, env = "INDELIBLE_DRIVEN", hide = true)]
    driven: bool,
    /// End at once when this process ends
    #[arg(long, env = "INDELIBLE_TIED", value_name = "PID", hide = true)]
    tied: Option<u32>,
}

impl ChatArgs {
    /// A client with a session of its own.
    fn client(&self, cluster: &Cluster) -> Client {
        let id = ClientId(uuid::Uuid::new_v4().as_u128());
        Client::open_lossy(cluster, id, self.lossy.loss())
    }
}

pub(super) fn run(args: ChatArgs) -> Result<(), Failure> {
    if let Some(parent) = args.tied {
        tied::die_with(parent).map_err(|error| Failure::system(&error))?;
    }
    let cluster = args.cluster.cluster_of(Service::Chat)?;
    let is_person = io::stdin().is_terminal() && io::stdout().is_terminal();
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        if let Some(count) = args.batch.count() {
            return batch::run(&args, count, &cluster).await;
        }
        let client = args.client(&cluster);
        if args.driven {
            let driving = driver::drive(client, Bytes::from(args.name));
            let driven = tokio::task::LocalSet::new().run_until(driving).await;
            return driven.map_err(|error| Failure::system(&error));
        }
        let pages = client.subscribe(Slot(args.from)).await;
        let pages = pages.map_err(|error| Failure::new(Status::Internal, error))?;
        if is_person {
            person::run(&args, cluster, client, pages).await
        } else {
            piped::run(&args, client, pages).await
        }
    });
    // Standard input may still be open, and somebody wait for it.
    runtime.shutdown_background();
    done
}

/// A line typed or read, as the command that it becomes.
fn message(name: &str, text: &[u8]) -> Bytes {
    let (sender, text) = (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(text));
    Message { sender, text }.encode()
}

/// The lines of a page, each with its end. For a terminal what could act on it is written out.
fn lines(page: &Page, for_terminal: bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in &page.entries {
        let Some(message) = Message::decode(&entry.body) else { continue };
        let line = message.line(entry.slot);
        if for_terminal {
            lines.extend_from_slice(harmless(&line).as_bytes());
        } else {
            lines.extend_from_slice(&line);
        }
        lines.push(b'\n');
    }
    lines
}

/// Writes all of it out now.
fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::system(&error))
}
