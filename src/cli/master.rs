//! `indelible master`: the flags. What it does is the master's own affair, which stands beside this
//! module; the program's `main` brings the two together.

use std::path::PathBuf;

use super::exit::Failure;

/// Drive a whole system on this machine from commands on standard input, until that ends.
///
///   start N C             N servers and C clients, indexed from 0; returns when they are ready
///   sendMessage I text..  client I sends the text
///   crashServer I         the server's process is killed (SIGKILL)
///   restartServer I       the server starts again, on its own store
///   allClear              returns when the system is idle
///   timeBombLeader N      the leader kills itself after its Nth Prepare or Accept from now on
///   skipSlots N           the leader leaves the next N slots empty
///   printChatLog I        prints what client I has read, `SLOT SENDER: text`
///
/// Standard output carries these lines alone. What is no command, or makes no sense, is ignored.
/// Servers and clients are processes of their own and die with this one; their logs, of the level
/// that --log says, and the stores lie in a fresh folder under --data.
///
///   printf 'start 3 1\nsendMessage 0 hello\nallClear\nprintChatLog 0\n' | indelible master
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct MasterArgs {
    /// Where the folder of the run is made; a temporary one where that cannot be written
    #[arg(long, env = "INDELIBLE_DATA", default_value = "data", value_name = "DIR")]
    pub data: PathBuf,
    /// Keep the folder, with stores and logs, when the run ends
    #[arg(long, env = "INDELIBLE_KEEP")]
    pub keep: bool,
}

/// A master, told what it needs: its flags, this program, and what the children log. Runs on the
/// main thread, with a runtime around it.
pub type Master<'m> = &'m dyn Fn(MasterArgs, PathBuf, String) -> Result<(), Failure>;

pub(super) fn run(args: MasterArgs, log: String, master: Master<'_>) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::system(&error))?;
    master(args, program, log)
}
