//! Parse and dispatch; everything else lives in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use indelible::cli::{self, Failure, MasterArgs, Status};
use indelible::master;

fn main() -> ExitCode {
    cli::main(&run_master)
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
