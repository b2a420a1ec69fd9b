//! The demonstration by views, each step a trial of its own, over processes on the loopback.
//!
//! The checks are the play's. It runs here as it does for people, with what it told shown if it
//! fails. One-line bugs that turn the steps red:
//!
//! - normal: a log file that leaves out the last line of a page; acceptances that are not recorded;
//! - primary-dies, in-a-row, at-once: succession against the ring (`ring_distance`);
//! - skipped-slot: a hole that is healed in the first view; a phase 1 that adopts nothing;
//! - loss: a leader that sends no run a second time;
//! - recovery: acceptances that are not recorded; a log file that is appended to anew.

use std::process::Command;

use indelible::demo::views::{Loopback, Options, Step, play};
use libtest_mimic::{Failed, Trial};

use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let step = |step: Step| {
        let name = step.name().replace('-', "_");
        Trial::test(format!("views::{name}"), move || played(step, 2))
    };
    let about = [
        Trial::test("views::with_f_of_1", || played(Step::InARow, 1)),
        Trial::test("views::help_names_the_steps", help),
        Trial::test("views::a_step_that_is_none_is_refused", refused),
    ];
    Step::ALL.into_iter().map(step).chain(about).collect()
}

/// Plays a step among 2f+1.
fn played(step: Step, f: u16) -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let options = Options {
        data: data.path().to_owned(),
        keep: false,
        program: env!("CARGO_BIN_EXE_indelible").into(),
        f,
        seed: scale::seed(),
    };
    let (steps, mut ground, mut out) = ([step], Loopback, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let play = play(&options, &steps, &mut ground, &mut out);
    let ended = runtime.block_on(tokio::task::LocalSet::new().run_until(play));
    let told = String::from_utf8(out)?;
    ended.map_err(|error| format!("{error}; it was told:\n{told}"))?;
    assert!(told.contains(step.sentence()) && told.contains("\nChecked: "), "{told}");
    assert!(run::entries(data.path())?.is_empty(), "its folders are gone");
    Ok(())
}

fn help() -> Result<(), Failed> {
    let output = command(&["--help"])?;
    let help = String::from_utf8(output.stdout)?;
    for step in Step::ALL {
        assert!(help.contains(&format!("\n  {} ", step.name())), "{} in {help}", step.name());
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let output = command(&["--step", "half"])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("no step is called half; there are normal, "), "{said}");
    Ok(())
}

fn command(args: &[&str]) -> std::io::Result<std::process::Output> {
    Command::new(env!("CARGO_BIN_EXE_indelible")).args(["demo", "views"]).args(args).output()
}
