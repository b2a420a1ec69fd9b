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
pub enum Play {
    /// Durability: leaders, majorities and all are killed while messages flow; nothing acknowledged
    /// is lost, as the disks prove
    Kill(KillArgs),
}

/// Durability: kill -9 on leaders, majorities and all, while messages flow.
///
/// Ends with a proof: every server is killed, and the ledgers are read offline against the list of
/// acknowledgements that the clients kept. Exit status 70 if it fails.
#[derive(clap::Args, Clone, Debug)]
pub struct KillArgs {
    /// Where the folder of the run is made; a temporary one where that cannot be written
    #[arg(long, env = "INDELIBLE_DATA", default_value = "data", value_name = "DIR")]
    pub data: PathBuf,
    /// Keep the folder, with stores and logs
    #[arg(long, env = "INDELIBLE_KEEP")]
    pub keep: bool,
    /// Which servers the random part kills; drawn if not given
    #[arg(long, env = "INDELIBLE_SEED")]
    pub seed: Option<u64>,
    /// Random kills after the planned ones
    #[arg(long, env = "INDELIBLE_KILLS", default_value_t = 5)]
    pub kills: u32,
}

/// A demonstrator, told its flags and this program.
pub type Demo<'d> = &'d dyn Fn(DemoArgs, PathBuf) -> Result<(), Failure>;

pub(super) fn run(args: DemoArgs, demo: Demo<'_>) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::system(&error))?;
    demo(args, program)
}
