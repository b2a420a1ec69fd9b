//! Parse and dispatch; everything else lives in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use indelible::cli::{self, DemoArgs, Failure, KillArgs, LockPlayArgs, LostDiskArgs, MasterArgs};
use indelible::cli::{PlaceArgs, Play, PollPlayArgs, Status, ViewsArgs};
use indelible::{demo, master};

fn main() -> ExitCode {
    cli::main(&run_master, &run_demo)
}

fn run_demo(args: DemoArgs, program: PathBuf) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match args.play {
        Play::Kill(args) => run_kill(args, program),
        Play::Lock(LockPlayArgs { place }) => {
            on_stage(demo::locks::play(&options(place, program), &mut out))
        }
        Play::LostDisk(LostDiskArgs { place }) => {
            on_stage(demo::lost_disk::play(&options(place, program), &mut out))
        }
        Play::Poll(PollPlayArgs { place }) => {
            on_stage(demo::polls::play(&options(place, program), &mut out))
        }
        Play::Views(args) => run_views(args, program),
    }
}

fn run_kill(args: KillArgs, program: PathBuf) -> Result<(), Failure> {
    let KillArgs { place: PlaceArgs { data, keep }, seed, kills } = args;
    let seed = seed.unwrap_or_else(any_seed);
    let options = demo::kill::Options { data, keep, program, seed, kills };
    let mut out = std::io::stdout();
    on_stage(demo::kill::play(&options, &mut out))
}

fn options(place: PlaceArgs, program: PathBuf) -> demo::Options {
    let PlaceArgs { data, keep } = place;
    demo::Options { data, keep, program }
}

fn run_views(args: ViewsArgs, program: PathBuf) -> Result<(), Failure> {
    let ViewsArgs { place: PlaceArgs { data, keep }, f, step, seed } = args;
    let steps = demo::views::steps(&step).map_err(failure)?;
    let seed = seed.unwrap_or_else(any_seed);
    let options = demo::views::Options { data, keep, program, f, seed };
    let (mut ground, mut out) = (demo::views::Loopback, std::io::stdout());
    on_stage(demo::views::play(&options, &steps, &mut ground, &mut out))
}

/// Short enough to be typed again.
fn any_seed() -> u64 {
    fastrand::u64(..1_000_000)
}

fn on_stage(play: impl Future<Output = Result<(), demo::Error>>) -> Result<(), Failure> {
    let played = cli::runtime()?.block_on(tokio::task::LocalSet::new().run_until(play));
    played.map_err(failure)
}

fn failure(error: demo::Error) -> Failure {
    match error {
        demo::Error::Rig(error) => Failure::from(error),
        demo::Error::System(error) => Failure::system(&error),
        demo::Error::Refuted(_) => Failure::new(Status::Internal, error),
        demo::Error::NoStep(_) => Failure::new(Status::Usage, error),
    }
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
