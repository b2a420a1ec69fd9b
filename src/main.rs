//! Parse and dispatch; everything else lives in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use indelible::cli::{self, DemoArgs, Failure, MasterArgs, Play, Status};
use indelible::{demo, master};

fn main() -> ExitCode {
    cli::main(&run_master, &run_demo)
}

fn run_demo(args: DemoArgs, program: PathBuf) -> Result<(), Failure> {
    let Play::Kill(args) = args.play;
    let (data, keep, kills) = (args.data, args.keep, args.kills);
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let options = demo::kill::Options { data, keep, program, seed, kills };
    let mut out = std::io::stdout();
    let play = demo::kill::play(&options, &mut out);
    let played = cli::runtime()?.block_on(tokio::task::LocalSet::new().run_until(play));
    played.map_err(|error| match error {
        demo::Error::Rig(error) => Failure::from(error),
        demo::Error::System(error) => Failure::system(&error),
        demo::Error::Refuted(_) => Failure::new(Status::Internal, error),
    })
}

fn run_master(args: MasterArgs, program: PathBuf, log: String) -> Result<(), Failure> {
    let options = master::Options { data: args.data, keep: args.keep, program, log };
    let done = cli::runtime()?.block_on(master::run(&options));
    done.map_err(|error| match error {
        master::Error::Rig(error) => Failure::from(error),
        master::Error::System(error) => Failure::system(&error),
        master::Error::Client(_) | master::Error::Output(_) => {
            Failure::new(Status::Internal, error)
        }
    })
}
