//! The replicated chat by views, as one would show it to a class: a step at a time, each on a
//! cluster of its own, with a sentence before it and a check after it.
//!
//! View v has the primary v mod n. While it lives and is heard, a view lasts; when it dies, the
//! next in the ring asks for a view of its own, and begins it with what the old one may have
//! decided. Each check ends with all logs and disks against what the clients were told, so a step
//! that loses, doubles or reorders anything fails, whatever else it shows.

mod ground;
mod scene;
mod steps;
mod succession;

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use super::Error;
pub use ground::{Ground, Loopback};
use scene::Cast;

/// What a play is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the runs' folders are made.
    pub data: PathBuf,
    /// Whether they stay.
    pub keep: bool,
    /// The binary of this crate.
    pub program: PathBuf,
    /// How many replicas may be dead at the same time: there are 2f+1.
    pub f: u16,
    /// Which messages are lost, where some are.
    pub seed: u64,
}

/// A step of the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody dies.
    Normal,
    /// The first primary does.
    PrimaryDies,
    /// f primaries do, each when the one before is replaced.
    InARow,
    /// The first primary dies together with the f-1 that would follow it.
    AtOnce,
    /// A slot stays empty for as long as the first primary lives.
    SkippedSlot,
    /// Messages are lost.
    Loss,
    /// All die, and come back from their disks.
    Recovery,
}

impl Step {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Step; 7] = [
        Step::Normal,
        Step::PrimaryDies,
        Step::InARow,
        Step::AtOnce,
        Step::SkippedSlot,
        Step::Loss,
        Step::Recovery,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Step::Normal => "normal",
            Step::PrimaryDies => "primary-dies",
            Step::InARow => "in-a-row",
            Step::AtOnce => "at-once",
            Step::SkippedSlot => "skipped-slot",
            Step::Loss => "loss",
            Step::Recovery => "recovery",
        }
    }

    /// What it shows.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Step::Normal => {
                "The primary of view 0 gives each message a slot; all replicas execute them in \
                 the order of the slots."
            }
            Step::PrimaryDies => {
                "The primary is killed while messages flow: the next in the ring begins a view, \
                 and nothing that was acknowledged is missing."
            }
            Step::InARow => "f primaries are killed, each as soon as the one before is replaced.",
            Step::AtOnce => {
                "The primary and the f-1 after it are killed together: the one behind them leads."
            }
            Step::SkippedSlot => {
                "The primary leaves a slot out. What comes after it is decided, but nobody \
                 executes it until a new primary fills the slot with a no-op."
            }
            Step::Loss => {
                "Replicas and clients lose a share of all they send, and say it again: nothing \
                 is lost, nothing is doubled."
            }
            Step::Recovery => "All are killed at once, and come back with what their disks hold.",
        }
    }
}

impl FromStr for Step {
    type Err = Error;

    fn from_str(name: &str) -> Result<Step, Error> {
        let step = Step::ALL.into_iter().find(|step| step.name() == name);
        step.ok_or_else(|| Error::NoStep(name.to_owned()))
    }
}

/// What they are called, for people.
pub(super) fn names_of_all() -> String {
    Step::ALL.map(Step::name).join(", ")
}

/// The steps of these names; all of them, if there are none.
///
/// # Errors
///
/// If a name is not a step's.
pub fn steps(names: &[String]) -> Result<Vec<Step>, Error> {
    if names.is_empty() {
        return Ok(Step::ALL.to_vec());
    }
    names.iter().map(|name| name.parse()).collect()
}

/// Plays these steps, telling `out` what happens. On the main thread, inside a `LocalSet`.
///
/// # Errors
///
/// If a cluster cannot be made, does not come to work, or a check fails.
pub async fn play(
    options: &Options,
    steps: &[Step],
    ground: &mut dyn Ground,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let (f, replicas) = (options.f, scene::replicas(options));
    writeln!(
        out,
        "Each step has a fresh cluster: {replicas} replicas, of which f = {f} may be dead, each a \
         process;\nand {} clients that send, and wait for each answer.",
        super::stage::CLIENTS
    )?;
    let mut cast = Cast { options, ground, out };
    for step in steps {
        writeln!(cast.out, "\n{}. {}", step.name(), step.sentence())?;
        steps::play(*step, &mut cast).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_its_name() {
        for step in Step::ALL {
            assert_eq!(step.name().parse::<Step>().ok(), Some(step));
        }
        let error = "half".parse::<Step>().expect_err("no step");
        assert!(error.to_string().contains("no step is called half; there are normal, primary-"));
    }
}
