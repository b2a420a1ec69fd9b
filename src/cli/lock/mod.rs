//! `indelible lock` and its companions: locks from the command line.
//!
//! `lock` gets locks, and runs a command while it holds them (`child`), reads a script (`script`),
//! or prints the tokens; `unlock`, `show`, `ls`, `break` and `check` stand in `others`; how all of
//! it reads, to people and to programs, in `tell`.

mod child;
mod others;
mod script;
mod tell;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::time::Instant;

use super::args::ClusterArgs;
use super::exit::{Failure, Status};
use super::lossy::LossArgs;
use crate::client::Way;
use crate::cluster::{Cluster, Service};
use crate::locker::{Error, Locker, Outcome, Terms, Want};
use crate::paxos::NodeId;

pub(super) use child::{TiedArgs, interrupted, run_tied};
pub(super) use others::{
    BreakArgs, CheckArgs, LsArgs, ShowArgs, UnlockArgs, run_break, run_check, run_ls, run_show,
    run_unlock,
};
use tell::Tell;
pub(super) use tell::{logged, text, time};

/// Hold locks while a command runs
///
/// Gets all the named locks, or none, and runs the command while it holds them, with the fencing
/// token in INDELIBLE_LOCK_TOKEN. Without a command it prints each lock with its token and its
/// session, and leaves: they stay locked until `unlock`, or for the time of --ttl.
///
/// While a lock is another's it asks again, after random pauses and when the lock falls free; with
/// --wait it stands in a queue, first come, first served, for so long at most; with --nowait it
/// does not wait. A request that could only wait for itself (a deadlock, through any number of
/// locks and holders) is refused at once.
///
/// The session is kept alive meanwhile. If that fails, because no quorum answers, the command gets
/// SIGTERM when four tenths of --ttl are left, and SIGKILL when one tenth is: before the servers
/// may give the lock to another. It is killed, too, if this process is. But if this process is
/// *stopped* (SIGSTOP, a frozen container, a machine asleep), the command runs on while the lock
/// may become another's: only the token protects then. Give it to whatever the lock guards, and
/// have that refuse lower tokens than the highest it has seen. A command's own children are its
/// affair: what it leaves behind in the background is not killed.
///
/// SIGTERM, SIGHUP and SIGINT are passed on to the command. Everything after `--` is its own.
///
/// Exit status: the command's own, 128 + N if signal N ended it, 126 or 127 if it cannot be run; 75
/// the lock is busy, the time of --wait was up, or a deadlock (or what -E says); 76 the lock was
/// lost while the command ran; 69 no quorum; 64 usage.
///
///   indelible lock backup -- rsync -a /home /mnt
///   indelible lock --nowait -E 0 nightly -- ./report
///   indelible lock a,b,c --wait 30s -- ./move
///   printf 'lock x\nlock y\nunlock x\n' | indelible lock --script -
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct LockArgs {
    #[command(flatten)]
    session: SessionArgs,
    /// Which locks, with commas between them; names are any bytes, up to 1024 each
    #[arg(required_unless_present = "script", value_name = "NAME[,NAME..]")]
    names: Option<OsString>,
    /// The name may hold commas: there is one
    #[arg(long, env = "INDELIBLE_ONE")]
    one: bool,
    /// Do not wait
    #[arg(long, short = 'n', env = "INDELIBLE_NOWAIT", conflicts_with = "wait")]
    nowait: bool,
    /// Wait in the queue, for so long at most
    #[arg(long, short = 'w', env = "INDELIBLE_LOCK_WAIT", value_name = "DUR")]
    wait: Option<humantime::Duration>,
    /// Exit with this status, not 75, if the locks cannot be had
    #[arg(long, short = 'E', env = "INDELIBLE_CONFLICT_EXIT_CODE", value_name = "N")]
    conflict_exit_code: Option<u8>,
    /// Read `lock NAME` and `unlock NAME` lines from this file (`-`: standard input), ask for all
    /// of them at once, without waiting for locks, and print each answer; then end the session
    #[arg(long, env = "INDELIBLE_SCRIPT", value_name = "FILE")]
    #[arg(conflicts_with_all = ["names", "command", "wait"])]
    script: Option<PathBuf>,
    /// What to run
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How one talks to the lock service.
#[derive(clap::Args)]
pub(super) struct SessionArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Silence for so long frees all that the session holds
    #[arg(long, env = "INDELIBLE_TTL", default_value = "10s", value_name = "DUR")]
    ttl: humantime::Duration,
    /// Give up when no quorum answers for so long: exit status 69
    #[arg(long, env = "INDELIBLE_CONNECT_TIMEOUT", default_value = "5s", value_name = "DUR")]
    connect_timeout: humantime::Duration,
    /// By which replica a request goes first: leader, random, hash (of the request, modulo their
    /// number), or an id
    #[arg(long, env = "INDELIBLE_ROUTE", default_value = "leader", value_parser = way)]
    route: Way,
    /// Who holds the lock, for others to read; `user@host pid N` if not given
    #[arg(long, env = "INDELIBLE_LABEL")]
    label: Option<String>,
    /// Print JSON, an object a line: on stdout, or on stderr where stdout is the command's
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
    #[command(flatten)]
    lossy: LossArgs,
}

impl SessionArgs {
    fn cluster(&self) -> Result<Cluster, Failure> {
        let cluster = self.cluster.cluster_of(Service::Lock)?;
        if let Way::Node(node) = self.route
            && cluster.member(node).is_none()
        {
            let line = format!("--route {}: the cluster has {} members", node.0, cluster.members());
            return Err(Failure::new(Status::Usage, line));
        }
        Ok(cluster)
    }

    /// A session on these terms. Needs a runtime around it.
    fn open(&self, cluster: &Cluster) -> Result<Locker, Failure> {
        let (ttl, patience) = (*self.ttl, *self.connect_timeout);
        if !(TTL_LEAST..=TTL_MOST).contains(&ttl) {
            let line = format!("--ttl {}: from 200ms to 30days", self.ttl);
            return Err(Failure::new(Status::Usage, line));
        }
        let label = Bytes::from(self.label.clone().unwrap_or_else(own_label));
        let terms = Terms { ttl, patience, way: self.route, loss: self.lossy.loss(), label };
        Ok(Locker::open(cluster, terms))
    }

    fn tell(&self) -> Tell {
        Tell { json: self.json }
    }
}

/// The shortest time to live: four keep-alives go into it.
const TTL_LEAST: std::time::Duration = std::time::Duration::from_millis(200);

/// The longest.
const TTL_MOST: std::time::Duration = std::time::Duration::from_hours(30 * 24);

pub(super) fn run(args: LockArgs) -> Result<(), Failure> {
    let cluster = args.session.cluster()?;
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        if let Some(script) = &args.script {
            return script::run(&args.session, &cluster, script).await;
        }
        hold(&args, &cluster).await
    });
    runtime.shutdown_background();
    done
}

async fn hold(args: &LockArgs, cluster: &Cluster) -> Result<(), Failure> {
    let names = names(args.names.as_deref().unwrap_or_default(), args.one);
    let mut locker = args.session.open(cluster)?;
    let (tell, has_command) = (args.session.tell(), !args.command.is_empty());
    let want = match (args.nowait, args.wait) {
        (true, _) => Want::Now,
        (false, Some(wait)) => Want::Queue(Instant::now().checked_add(*wait)),
        (false, None) => Want::Again(None),
    };
    let outcome = tokio::select! {
        outcome = locker.lock(&names, want) => outcome,
        failure = child::interrupted()? => {
            // What may have been granted meanwhile is not to wait for the end of its lease.
            let _ = locker.end().await;
            return Err(failure);
        }
    };
    match outcome {
        Ok(Outcome::Granted(tokens)) if has_command => {
            tell.granted_to_command(&tokens, locker.id());
            child::run(locker, &tokens, &args.command, tell).await
        }
        Ok(Outcome::Granted(tokens)) => tell.granted(&tokens, locker.id()),
        Ok(outcome) => {
            let failure = tell.refused(&locker, outcome, has_command).await;
            let _ = locker.end().await;
            Err(match args.conflict_exit_code {
                Some(code) if failure.is(Status::Busy) => failure.with_code(code),
                Some(_) | None => failure,
            })
        }
        Err(error) => Err(tell.failed(&error, has_command)),
    }
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Status {
        match error {
            Error::Silent(_) => Status::Unavailable,
            Error::Over => Status::LockLost,
            Error::Foreign => Status::Config,
            Error::Client(crate::client::Error::TooLong(_)) => Status::Usage,
            Error::Client(_) => Status::Internal,
        }
    }
}

/// The names in an argument.
fn names(argument: &std::ffi::OsStr, one: bool) -> Vec<Bytes> {
    if one {
        return vec![name(argument)];
    }
    argument.as_bytes().split(|byte| *byte == b',').map(Bytes::copy_from_slice).collect()
}

fn name(argument: &std::ffi::OsStr) -> Bytes {
    Bytes::from(argument.to_os_string().into_vec())
}

fn way(text: &str) -> Result<Way, String> {
    match text {
        "leader" => Ok(Way::Leader),
        "random" => Ok(Way::Random),
        "hash" => Ok(Way::Hash),
        id => id
            .parse()
            .map(|id| Way::Node(NodeId(id)))
            .map_err(|_| "expected leader, random, hash or the id of a replica".to_owned()),
    }
}

/// Who this is, for people.
fn own_label() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host} pid {}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// Bugs that turn it red: commas that are always, or never, between names; bytes that are no
    /// text, lost.
    #[test]
    fn names_are_any_bytes_with_commas_between() {
        let given = OsStr::from_bytes(b"a,b\xff,");
        assert_eq!(names(given, false), [&b"a"[..], &b"b\xff"[..], &b""[..]]);
        assert_eq!(names(given, true), [&b"a,b\xff,"[..]]);
        let ways = ["leader", "random", "hash", "4"].map(|text| way(text).ok());
        let expected = [Way::Leader, Way::Random, Way::Hash, Way::Node(NodeId(4))].map(Some);
        assert_eq!(ways, expected);
        way("-1").expect_err("no id");
    }
}
