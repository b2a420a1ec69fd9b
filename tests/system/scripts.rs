//! Random scripts for the master, and what must hold of its answers.
//!
//! A fixed case says exactly what is printed. A random script cannot, where servers die while
//! messages are under way; but whatever happened, every client must print the same log, dense,
//! each message once, each client's in its order. `generate` draws a script together with what it
//! allows, `check` holds the output to it.

mod check;
mod generate;

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::{run, scale};
use generate::Script;

/// A script that takes longer hangs: these are not graded by time.
const LIMIT: Duration = Duration::from_secs(60);

/// One trial for each seed, and the proofs that generator and checker are awake.
pub(crate) fn trials() -> Vec<Trial> {
    let first = scale::seed();
    let seeds = (0..scale::scripts()).map(|i| first.wrapping_add(i));
    let runs = seeds
        .enumerate()
        .map(|(i, seed)| Trial::test(format!("scripts::random_{i:03}"), move || play(seed)));
    generate::trials().into_iter().chain(check::trials()).chain(runs).collect()
}

fn play(seed: u64) -> Result<(), Failed> {
    let _beside = scale::beside();
    let script = Script::draw(seed);
    let text = script.text();
    let outcome = run::script(&text, LIMIT).and_then(|finished| {
        check::check(&script, &finished.output).map_err(|why| {
            let answer = String::from_utf8_lossy(&finished.output).into_owned();
            format!("{why}\nIt answered:\n{answer}").into()
        })
    });
    outcome.map_err(|failed| {
        let why = failed.message().unwrap_or("no reason given");
        let script = String::from_utf8_lossy(&text);
        format!("INDELIBLE_SEED={seed} shows this script as random_000: {why}\nScript:\n{script}")
            .into()
    })
}
