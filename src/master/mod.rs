//! The master program: a whole system on this machine, driven by commands on standard input.
//!
//! It is the harness of the chat assignment: it starts servers and clients as processes, sends,
//! crashes and restarts, and prints what clients read. It touches nodes only as a user could, by
//! signals and sockets. Standard output carries chat lines and nothing else; standard error nothing
//! at all, unless there is no going on. A *server* is the master's word for a node.
//!
//! **Architecture invariant:** the master decides nothing that the cluster should: it waits, asks
//! and prints.

pub mod parse;
mod room;
mod streams;

use std::io;
use std::path::PathBuf;

use tokio::sync::mpsc;

pub use room::Error;

use parse::Command;
use room::Room;

/// What a master is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the run's folder is made; a temporary one where that cannot be written.
    pub data: PathBuf,
    /// Whether the folder, with stores and logs, stays.
    pub keep: bool,
    /// The binary of this crate.
    pub program: PathBuf,
    /// What nodes and clients log, into the folder.
    pub log: String,
}

/// Obeys the commands on standard input until it ends, nobody reads standard output any more, or
/// the process is asked to end. All processes and, unless it is kept, the folder are gone when it
/// returns.
///
/// To be called on the main thread, inside a tokio runtime that runs there: children die with the
/// thread that started them.
///
/// # Errors
///
/// If the cluster cannot be started, or a client of it is lost.
pub async fn run(options: &Options) -> Result<(), Error> {
    let mut lines = streams::lines().map_err(Error::System)?;
    let asked = streams::asked_to_end().map_err(Error::System)?;
    tokio::select! {
        done = obey_all(options, &mut lines) => match done {
            // Found while printing what otherwise the next branch would have found.
            Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        },
        () = streams::nobody_reads() => Ok(()),
        () = asked => Ok(()),
    }
}

async fn obey_all(options: &Options, lines: &mut mpsc::Receiver<Vec<u8>>) -> Result<(), Error> {
    let mut room: Option<Room> = None;
    while let Some(line) = lines.recv().await {
        let Some(command) = Command::parse(&line) else { continue };
        match (&mut room, command) {
            (None, Command::Start { nodes, clients }) => {
                room = Room::start(options, nodes, clients).await?;
            }
            // There is nobody yet to do anything.
            (None, _) => (),
            (Some(room), command) => room.obey(command).await?,
        }
    }
    Ok(())
}
