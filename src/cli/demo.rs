//! `indelible demo`: the flags. The plays stand beside this module; the program's `main` brings the
//! two together.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::Failure;

/// Show what this is about, on a cluster of processes on this machine.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// Which play
    #[command(subcommand)]
    pub play: Play,
}

/// The plays.
#[derive(Subcommand, Clone, Debug)]
#[allow(missing_docs, reason = "a doc comment would hide the help that stands at the arguments")]
pub enum Play {
    #[command(about = "Durability: leaders, majorities and all are killed while messages flow; \
        nothing acknowledged is lost, as the disks prove")]
    Kill(KillArgs),
    #[command(about = "Locks: contention, a dead holder, a stopped one, a deadlock")]
    Lock(LockPlayArgs),
    #[command(
        about = "A lost disk: the leader's store is wiped and replaced, another is set back \
        and refused; nothing acknowledged is lost, as the disks prove"
    )]
    LostDisk(LostDiskArgs),
    #[command(
        about = "Polls: the primary dies with a poll open, comes back as backup, a client is \
        killed; all results files are the same"
    )]
    Poll(PollPlayArgs),
    #[command(about = "The chat by views: primaries die, a slot is left out, messages are lost, \
        all recover from disk; each step with a check")]
    Views(ViewsArgs),
}

/// Where a play has its folder.
#[derive(clap::Args, Clone, Debug)]
pub struct PlaceArgs {
    /// Where the folder of a run is made; a temporary one where that cannot be written
    #[arg(long, env = "INDELIBLE_DATA", default_value = "data", value_name = "DIR")]
    pub data: PathBuf,
    /// Keep the folder, with stores and logs
    #[arg(long, env = "INDELIBLE_KEEP")]
    pub keep: bool,
}

/// Durability: kill -9 on leaders, majorities and all, while messages flow.
///
/// Ends with a proof: every replica is killed, and the ledgers are read offline against the list of
/// acknowledgements that the clients kept. Exit status 70 if it fails.
#[derive(clap::Args, Clone, Debug)]
pub struct KillArgs {
    /// Where its folder is
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Which replicas the random part kills; drawn if not given
    #[arg(long, env = "INDELIBLE_SEED")]
    pub seed: Option<u64>,
    /// Random kills after the planned ones
    #[arg(long, env = "INDELIBLE_KILLS", default_value_t = 5)]
    pub kills: u32,
}

/// Locks: contention under a killed leader, a dead holder, a stopped one, and a deadlock.
///
/// Ten sessions count under one lock while the leader is killed; a holder is killed, and its lock
/// falls free with its session; another is stopped for longer than its lease, and its token is
/// refused; three want each other's locks, and the last to ask is told the cycle. Ends with the
/// audit of the disks. Exit status 70 if anything goes otherwise.
#[derive(clap::Args, Clone, Debug)]
pub struct LockPlayArgs {
    /// Where its folder is
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// A lost disk: a replica comes back on an empty store.
///
/// The leader of three loses its disk while messages flow, and is replaced at another port: it does
/// not vote before it knows what the others have promised and accepted, and then carries the quorum
/// when one of them is killed. Then a store is set back to a copy of earlier, and refused. Ends
/// with the proof from the disks. Exit status 70 if it fails.
#[derive(clap::Args, Clone, Debug)]
pub struct LostDiskArgs {
    /// Where its folder is
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Polls: a primary, a backup and a witness, and three clients that keep the results.
///
/// The primary is killed with a poll open; the backup takes over, closes it, and starts the old one
/// again, which joins as backup. Then that is stopped, and not started a second time; and a client
/// is killed in mid-poll, with half a line in its file. At the end the three files are the same,
/// and the disks pass the audit. Exit status 70 if anything goes otherwise. All takes less than a
/// minute.
#[derive(clap::Args, Clone, Debug)]
pub struct PollPlayArgs {
    /// Where its folder is
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// The replicated chat by views, a step at a time.
///
/// Each step has a fresh cluster of 2f+1 replicas on this machine, and clients that send:
///
///   normal        nobody dies: one order, one log
///   primary-dies  the primary is killed; the next begins a view
///   in-a-row      f primaries are killed, each as soon as the one before is replaced
///   at-once       f replicas are killed together, the primary among them
///   skipped-slot  the primary leaves a slot out; its successor fills it
///   loss          5, then 30 of 100 messages are lost
///   recovery      all are killed, and come back from their disks
///
/// A sentence says what a step shows, and a line at its end what was checked: views and primaries,
/// the executed logs (by `indelible verify`), and the disks, all against the acknowledgements that
/// the clients kept. Exit status 70 if a check fails. All takes less than a minute.
///
///   indelible demo views
///   indelible demo views --f 3 --step in-a-row --step at-once
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct ViewsArgs {
    /// Where its folder is
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How many replicas may be dead at the same time: there are 2f+1
    #[arg(long, env = "INDELIBLE_F", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=31))]
    pub f: u16,
    /// Only this step; may be given again. All of them without it
    #[arg(long, env = "INDELIBLE_STEP", value_name = "NAME", value_delimiter = ',')]
    pub step: Vec<String>,
    /// Which messages are lost; drawn if not given
    #[arg(long, env = "INDELIBLE_SEED")]
    pub seed: Option<u64>,
}

/// A demonstrator, told its flags and this program.
pub type Demo<'d> = &'d dyn Fn(DemoArgs, PathBuf) -> Result<(), Failure>;

pub(super) fn run(args: DemoArgs, demo: Demo<'_>) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::system(&error))?;
    demo(args, program)
}
