//! `indelible poll` and what belongs to it: polls from the command line.
//!
//! `open`, `close`, `show` and `ls` stand in `others`; `status` in its own; the client, which votes
//! and keeps the results, in `client`, what that shows in `screen`, and what is typed in `keys`;
//! how all of it reads in `tell`.

mod client;
mod keys;
mod others;
mod screen;
mod status;
mod tell;

use std::time::Duration;

use clap::Subcommand;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::lossy::LossArgs;
use crate::cluster::{Cluster, Service};
use crate::poller::{Error, Poller, Terms};

pub(super) use tell::logged;

/// Ask all who are joined a question, yes or no; or be one of them
///
/// `open` begins a poll, which asks all clients that are joined at that moment. It closes when all
/// have answered, when the time of --for is up, or by `close`. `client` joins under a name,
/// answers, and keeps the results of all polls that asked that name in a file. `show` and `ls` tell
/// how polls stand and came out, `status` who is primary and who backup.
///
///   indelible poll client --name ann --results ann.results --answer ask
///   indelible poll open "Adopt the budget?" --for 30s --wait
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct PollArgs {
    #[command(subcommand)]
    command: PollCommand,
}

#[derive(Subcommand)]
enum PollCommand {
    #[command(about = "Ask all who are joined")]
    Open(others::OpenArgs),
    #[command(about = "Close a poll now")]
    Close(others::CloseArgs),
    #[command(about = "How a poll stands, or came out")]
    Show(others::ShowArgs),
    #[command(about = "Which polls there are")]
    Ls(others::LsArgs),
    #[command(about = "Who is primary, how each member is, and who is connected where")]
    Status(status::StatusArgs),
    #[command(about = "Join, answer, and keep the results in a file")]
    Client(client::ClientArgs),
}

/// How one talks to the poll service.
#[derive(clap::Args)]
struct TalkArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Silence for so long ends the session, and its name is joined no more
    #[arg(long, env = "INDELIBLE_TTL", default_value = "10s", value_name = "DUR")]
    ttl: humantime::Duration,
    /// How long to wait for an answer of a quorum
    #[arg(long, env = "INDELIBLE_CONNECT_TIMEOUT", default_value = "15s", value_name = "DUR")]
    connect_timeout: humantime::Duration,
    #[command(flatten)]
    lossy: LossArgs,
}

/// The shortest time to live: four keep-alives go into it.
const TTL_LEAST: Duration = Duration::from_millis(200);

/// The longest.
const TTL_MOST: Duration = Duration::from_hours(30 * 24);

impl TalkArgs {
    fn cluster(&self) -> Result<Cluster, Failure> {
        self.cluster.cluster_of(Service::Poll)
    }

    fn terms(&self) -> Result<Terms, Failure> {
        let (ttl, patience) = (*self.ttl, *self.connect_timeout);
        if !(TTL_LEAST..=TTL_MOST).contains(&ttl) {
            let line = format!("--ttl {}: from 200ms to 30days", self.ttl);
            return Err(Failure::new(Status::Usage, line));
        }
        Ok(Terms { ttl, patience, loss: self.lossy.loss() })
    }

    /// Talks to the service on a session that ends with this.
    fn talk(&self, talk: impl AsyncFnOnce(&Poller) -> Result<(), Failure>) -> Result<(), Failure> {
        let (cluster, terms) = (self.cluster()?, self.terms()?);
        let runtime = super::runtime()?;
        let done = runtime.block_on(async {
            let poller = Poller::open(&cluster, terms);
            let done = talk(&poller).await;
            match done {
                Err(failure) if failure.is(Status::Unavailable) => {
                    let since = status::no_quorum(&cluster).await;
                    Err(since.map_or(failure, |since| Failure::new(Status::Unavailable, since)))
                }
                done => done,
            }
        });
        runtime.shutdown_background();
        done
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match &error {
            Error::Silent(_) => Status::Unavailable,
            Error::Foreign => Status::Config,
            Error::Client(crate::client::Error::TooLong(_)) => Status::Usage,
            Error::Over | Error::Client(_) => Status::Internal,
        };
        Failure::new(status, error)
    }
}

pub(super) fn run(args: PollArgs) -> Result<(), Failure> {
    match args.command {
        PollCommand::Open(args) => others::open(&args),
        PollCommand::Close(args) => others::close(&args),
        PollCommand::Show(args) => others::show(&args),
        PollCommand::Ls(args) => others::list(&args),
        PollCommand::Status(args) => status::run(&args),
        PollCommand::Client(args) => client::run(&args),
    }
}
