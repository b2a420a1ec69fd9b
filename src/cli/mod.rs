//! What people see: flags, tables, exit statuses, logs. No protocol and no disk logic here.

mod answer;
mod args;
mod audit;
mod bench;
mod chat;
mod demo;
mod exit;
mod grade;
mod harmless;
mod inspect;
mod load;
mod lock;
mod logging;
mod lossy;
mod master;
mod node;
mod poll;
mod replace;
mod revive;
mod sim;
mod status;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Subcommand};

pub use demo::{Demo, DemoArgs, KillArgs, LockPlayArgs, LostDiskArgs, PlaceArgs, Play};
pub use demo::{PollPlayArgs, ViewsArgs};
pub use exit::{Failure, Status};
pub use master::{Master, MasterArgs};

/// Persistent Multi-Paxos nodes on a write-ahead log, with a chat room, locks and polls on top.
///
/// A cluster is described by a file (or by flags: --replicas). Each member makes its store once
/// with `format`, and then runs as `node`; `replace` brings one back whose disk is lost. `chat`
/// talks in the room, `lock` holds locks while a command runs, `poll` asks and answers, `status`
/// tells how the nodes are, `inspect` reads a store offline and `audit` all of them, `verify`
/// compares what they executed.
/// `master` drives a whole cluster on this machine from commands on standard input.
#[derive(clap::Parser)]
#[command(name = "indelible", version, max_term_width = 100, after_help = exit::TABLE)]
struct Cli {
    /// What to log, to stderr: error, warn, info, debug, trace, or a filter such as
    /// `warn,indelible::transport=debug`
    #[arg(long, global = true, env = "INDELIBLE_LOG", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

// Here the line of the list only, as an attribute: a doc comment would hide the longer help that
// stands at the arguments.
#[derive(Subcommand)]
enum Command {
    #[command(about = "Make the store of a member")]
    Format(node::FormatArgs),
    #[command(about = "Run a member")]
    Node(node::NodeArgs),
    #[command(about = "Bring a member back whose disk is lost, on an empty store")]
    Replace(replace::ReplaceArgs),
    #[command(about = "Talk in the room: lines from stdin, decided lines to stdout")]
    Chat(chat::ChatArgs),
    #[command(about = "Hold locks while a command runs")]
    Lock(lock::LockArgs),
    #[command(about = "Give a lock back")]
    Unlock(lock::UnlockArgs),
    #[command(about = "Who holds a lock, and who waits for it")]
    Show(lock::ShowArgs),
    #[command(about = "Which locks are held")]
    Ls(lock::LsArgs),
    #[command(about = "Whether a token is the current one of a lock")]
    Check(lock::CheckArgs),
    #[command(about = "Take a lock away from its holder, on the record")]
    Break(lock::BreakArgs),
    #[command(about = "Ask all who are joined a question, or be one of them")]
    Poll(poll::PollArgs),
    #[command(hide = true)]
    Tied(lock::TiedArgs),
    #[command(about = "How each member is")]
    Status(status::StatusArgs),
    #[command(about = "Measure: clients that each wait for the answer before they ask again")]
    Bench(bench::BenchArgs),
    #[command(about = "Read a store offline: promise, accepted, decided, holes")]
    Inspect(inspect::InspectArgs),
    #[command(about = "Prove or refute offline what the stores of a cluster say together")]
    Audit(audit::AuditArgs),
    #[command(about = "Compare executed logs, of files or live replicas: whether they are one log")]
    Verify(verify::VerifyArgs),
    #[command(about = "Drive a whole system on this machine from commands on stdin")]
    Master(master::MasterArgs),
    #[command(about = "Show what this is about")]
    Demo(demo::DemoArgs),
    #[command(about = "Run the protocol under simulated weather, from a seed")]
    Sim(sim::SimArgs),
    #[command(about = "Run the cases of a folder like the grader")]
    Grade(grade::GradeArgs),
}

/// The program: parses the command line, runs what it asks for, and says how it went. The master
/// and the plays stand beside this module, not below, and so are handed in.
#[must_use]
pub fn main(master: Master<'_>, demo: Demo<'_>) -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return exit::usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    match run(cli, master, demo) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli, master: Master<'_>, demo: Demo<'_>) -> Result<(), Failure> {
    // A master's standard error stays empty: its children log, into files.
    if !matches!(cli.command, Command::Master(_)) {
        logging::init(&cli.log)?;
    }
    match cli.command {
        Command::Format(args) => node::format(&args),
        Command::Node(args) => node::run(args),
        Command::Replace(args) => replace::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Lock(args) => lock::run(args),
        Command::Unlock(args) => lock::run_unlock(&args),
        Command::Show(args) => lock::run_show(&args),
        Command::Ls(args) => lock::run_ls(&args),
        Command::Check(args) => lock::run_check(&args),
        Command::Break(args) => lock::run_break(&args),
        Command::Poll(args) => poll::run(args),
        Command::Tied(args) => lock::run_tied(args),
        Command::Status(args) => status::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Master(args) => master::run(args, cli.log, master),
        Command::Demo(args) => demo::run(args, demo),
        Command::Sim(args) => sim::run(&args),
        Command::Grade(args) => grade::run(&args),
    }
}

/// Writes a line to stdout, now.
fn write_line(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| Failure::system(&error))
}

/// A runtime on this very thread: no process needs more than one for its sockets.
///
/// # Errors
///
/// If the operating system has none to give.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_flag_has_a_twin() {
        let command = Cli::command();
        command.clone().debug_assert();
        for command in command.get_subcommands() {
            let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(
                matches!(name, "demo" | "tied") || help.lines().count() > 2,
                "{name} --help says too little"
            );
            for argument in command.get_arguments().filter(|it| it.get_long().is_some()) {
                let (name, flag) = (command.get_name(), argument.get_id());
                let twin = argument.get_env().map(|env| env.to_string_lossy().into_owned());
                let is_own = matches!(flag.as_str(), "help" | "version");
                let named = twin.is_some_and(|env| env.starts_with("INDELIBLE_"));
                assert!(is_own || named, "{name} --{flag} has no environment twin");
            }
        }
    }
}
