//! The one table of exit statuses, after sysexits, and the errors that lead to them.

use std::fmt;
use std::process::ExitCode;

use crate::cluster;
use crate::disk::verdict;
use crate::local;
use crate::node;
use crate::rsm::ShelfError;
use crate::server;
use crate::transport::listener;
use crate::wal;

/// The table, as `--help` shows it.
pub(super) const TABLE: &str = "\
Exit statuses:
   0  done
   1  done, and the answer is no: a case failed
  64  the command line is wrong
  65  an audit is refuted
  66  a store or file is missing
  69  no quorum, no answer, or the port is taken
  70  a node's state is not that of the others; or what should not happen
  73  a store exists already
  74  the disk failed, is full, or a store is damaged
  75  busy: a store, a file of results or a client's name is in use; a lock is another's, or to
      wait for it would be a deadlock
  76  a lock was lost while its command ran
  77  a lock is not its own, or not with this token
  78  a bad cluster file, a store or log of another node or cluster, or one that was replaced
Every flag can also be given by its environment variable; the flag wins.";

/// The statuses of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done, and the answer is no.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// What stores or traces say is refuted.
    Refuted = 65,
    /// A store or file is missing.
    Missing = 66,
    /// No quorum, no answer, or the port is taken.
    Unavailable = 69,
    /// Something that should not happen.
    Internal = 70,
    /// A store exists already.
    Exists = 73,
    /// The disk failed, is full, or a store is damaged.
    Disk = 74,
    /// A store is in use, or a lock.
    Busy = 75,
    /// A lock was lost while its command ran.
    LockLost = 76,
    /// A lock is another's, or was granted again since.
    NotOwner = 77,
    /// A bad cluster file, or a store of another node or cluster.
    Config = 78,
}

/// Why the program ends without having done what it was asked: one line, and a status.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    /// `None`: all was said already.
    line: Option<String>,
}

impl Failure {
    /// A status, and why.
    pub fn new(status: Status, line: impl fmt::Display) -> Failure {
        Failure { code: status as u8, line: Some(line.to_string().replace('\n', " ")) }
    }

    /// A status of somebody else's, who has said why.
    #[must_use]
    pub fn silent(code: u8) -> Failure {
        Failure { code, line: None }
    }

    /// The same line, with a status of the caller's choice.
    #[must_use]
    pub fn with_code(self, code: u8) -> Failure {
        Failure { code, ..self }
    }

    /// Whether it ends with that status.
    #[must_use]
    pub fn is(&self, status: Status) -> bool {
        self.code == status as u8
    }

    /// Something that the operating system refused and that has no status of its own.
    #[must_use]
    pub fn system(error: &std::io::Error) -> Failure {
        let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::FileTooLarge];
        if full.contains(&error.kind()) {
            return Failure::new(Status::Disk, error);
        }
        Failure::new(Status::Internal, error)
    }

    #[allow(clippy::print_stderr)]
    pub(super) fn report(&self) -> ExitCode {
        if self.line.is_some() {
            eprintln!("indelible: {self}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.line.as_deref().unwrap_or_default())
    }
}

/// What clap has to say: help goes to stdout and is no failure, the rest is usage.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // If the terminal is gone there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Status::Usage as u8) } else { ExitCode::SUCCESS }
}

impl From<cluster::Error> for Failure {
    fn from(error: cluster::Error) -> Failure {
        let status = match &error {
            cluster::Error::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                Status::Missing
            }
            cluster::Error::Io { .. } | cluster::Error::Bad { .. } => Status::Config,
            cluster::Error::Flags(_) => Status::Usage,
        };
        Failure::new(status, error)
    }
}

impl From<wal::Error> for Failure {
    fn from(error: wal::Error) -> Failure {
        let status = match &error {
            wal::Error::Missing(_)
            | wal::Error::Unfinished(_)
            | wal::Error::UnfinishedReplacement(_) => Status::Missing,
            wal::Error::Exists(_) => Status::Exists,
            wal::Error::Locked { .. } => Status::Busy,
            wal::Error::Foreign { .. } | wal::Error::Newer { .. } => Status::Config,
            wal::Error::Damaged { .. } | wal::Error::Full { .. } | wal::Error::Io { .. } => {
                Status::Disk
            }
        };
        Failure::new(status, error)
    }
}

impl From<local::Error> for Failure {
    fn from(error: local::Error) -> Failure {
        match error {
            local::Error::Store(error) => Failure::from(error),
            local::Error::Cluster(error) => Failure::from(error),
            local::Error::System(_, _) => Failure::new(Status::Internal, error),
            local::Error::NotReady(..) | local::Error::NotIdle(..) => {
                Failure::new(Status::Unavailable, error)
            }
        }
    }
}

impl From<server::Error<wal::Error>> for Failure {
    fn from(error: server::Error<wal::Error>) -> Failure {
        match error {
            server::Error::Node(error) => Failure::from(error),
            server::Error::Listen(listener::Error::Unknown(..)) => {
                Failure::new(Status::Config, error)
            }
            server::Error::Listen(_) => Failure::new(Status::Unavailable, error),
            server::Error::LogFile(error) => Failure::from(error),
            server::Error::Stranger(_) => Failure::new(Status::Config, error),
            server::Error::System(error) => Failure::system(&error),
        }
    }
}

impl From<node::Error<wal::Error>> for Failure {
    fn from(error: node::Error<wal::Error>) -> Failure {
        match error {
            node::Error::Log(error) => Failure::from(error),
            node::Error::Shelf(error) => match &*error {
                ShelfError::Io { path, source } => {
                    Failure::new(Status::Disk, verdict::line(path, source))
                }
                ShelfError::Damaged { .. } => Failure::new(Status::Disk, error),
            },
            node::Error::Replaced(_) => Failure::new(Status::Config, error),
            node::Error::NoSnapshot(_) | node::Error::Forgot { .. } => {
                Failure::new(Status::Disk, error)
            }
            node::Error::Differs(_) => Failure::new(Status::Internal, error),
        }
    }
}

impl From<server::LogFileError> for Failure {
    fn from(error: server::LogFileError) -> Failure {
        let status = match &error {
            server::LogFileError::Io { error, .. }
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                Status::Missing
            }
            server::LogFileError::Io { .. } => Status::Disk,
            server::LogFileError::Busy(_) => Status::Busy,
            server::LogFileError::Differs { .. } => Status::Config,
        };
        Failure::new(status, error)
    }
}
