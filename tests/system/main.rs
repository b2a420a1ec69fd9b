//! Trials over real processes, real disks and real sockets.
//!
//! One binary for all of them, so that they are linked once. Each module lists its trials; a trial
//! whose tools are missing is skipped at run time and says so (`need`), how much is done is in
//! `scale`, and two trials run at a time, for most of them are a whole cluster.
//!
//! A trial that needs a process of its own making runs this very binary again: with
//! `--role NAME ARGS..` as its arguments it is not a test runner but the role of that name.

#![allow(clippy::print_stderr, reason = "a test runner talks on stderr")]

mod audits;
mod bad_input;
mod cases;
mod chat;
mod corrupt;
mod disks;
mod ending;
mod growth;
mod history;
mod hosts;
mod kills;
mod ledgers;
mod local;
mod lock_command;
mod locks;
mod logs;
mod loss;
mod master;
mod need;
mod node_disk;
mod polls;
mod power;
mod processes;
mod replace;
mod rounds;
mod run;
mod scale;
mod scripts;
mod shelves;
mod shutdown_ioctl;
mod skip_slot;
mod small;
mod stewards;
mod store;
mod strace;
mod strace_node;
mod traces;
mod transfers;
mod views;
mod voters;
mod witness;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// What this binary does as a child process.
type Role = fn(&[String]) -> ExitCode;

/// The roles by name.
const ROLES: &[(&str, Role)] =
    &[("sleep", processes::sleep_role), ("sweep", processes::sweep_role)];

/// Trials that run at the same time unless `--test-threads` says otherwise.
const TRIALS_AT_ONCE: usize = 2;

/// `EX_USAGE`.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, rest @ ..] = words.as_slice()
        && flag == "--role"
    {
        return play(name, rest);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(TRIALS_AT_ONCE));
    scale::announce();
    libtest_mimic::run(&arguments, trials()).exit_code()
}

fn play(name: &str, rest: &[String]) -> ExitCode {
    let mut roles = ROLES
        .iter()
        .chain(hosts::ROLES)
        .chain(lock_command::ROLES)
        .chain(power::ROLES)
        .chain(store::ROLES);
    let Some((_, role)) = roles.find(|(known, _)| *known == name) else {
        eprintln!("no role is called {name}");
        return ExitCode::from(USAGE);
    };
    role(rest)
}

fn trials() -> Vec<Trial> {
    let parts = [
        need::trials(),
        processes::trials(),
        audits::trials(),
        bad_input::trials(),
        cases::trials(),
        chat::trials(),
        corrupt::trials(),
        disks::trials(),
        growth::trials(),
        hosts::trials(),
        kills::trials(),
        ledgers::trials(),
        local::trials(),
        lock_command::trials(),
        locks::trials(),
        logs::trials(),
        loss::trials(),
        master::trials(),
        node_disk::trials(),
        polls::trials(),
        power::trials(),
        replace::trials(),
        rounds::trials(),
        scripts::trials(),
        shelves::trials(),
        skip_slot::trials(),
        stewards::trials(),
        store::trials(),
        strace_node::trials(),
        traces::trials(),
        transfers::trials(),
        views::trials(),
        witness::trials(),
    ];
    parts.into_iter().flatten().collect()
}
