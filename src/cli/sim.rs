//! `indelible sim`: a cluster in one thread, from one seed; or many, on all cores; or a small one,
//! exhaustively.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::exit::{Failure, Status};
use crate::audit;
use crate::paxos::{Incarnation, NodeId};
use crate::sim::{self, Findings, Total, Weather, explore};

/// Run the protocol under simulated weather, from a seed.
///
/// The protocol, the log's layout and the chat room, in one thread: messages are lost and late,
/// links cut, nodes crash within commits, the power goes, disks stall and rot, clocks jump and
/// stand still. The same seed is the same run, for ever.
///
/// Without --count one run is shown, an event a line: time, node, what happened there, its ballot
/// and slot, and the durable mark of the node's disk. With --count so many seeds are run, and the
/// first that fails is told. With --explore nothing is left to chance: every interleaving of a
/// small world is searched.
#[derive(clap::Args)]
pub(super) struct SimArgs {
    /// The seed, or the first of many
    #[arg(long, env = "INDELIBLE_SIM_SEED", default_value_t = 0)]
    seed: u64,
    /// How many seeds to run
    #[arg(long, env = "INDELIBLE_SIM_COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The size of the cluster; drawn from the seed without it
    #[arg(long, env = "INDELIBLE_SIM_NODES", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Option<u16>,
    /// How many threads, each with runs of its own; all cores without it
    #[arg(long, env = "INDELIBLE_SIM_JOBS")]
    jobs: Option<NonZeroUsize>,
    /// Write what each node does into a file of this folder, as `audit --trace` reads it:
    /// `N.trace`, and `N-2.trace` on its second store if it has lost the first
    #[arg(long, env = "INDELIBLE_SIM_TRACE", value_name = "FOLDER")]
    #[arg(conflicts_with_all = ["count", "explore"])]
    trace: Option<PathBuf>,
    /// Search every interleaving of a small world: `small` takes seconds, the others minutes and
    /// some 6 GB of memory
    #[arg(long, env = "INDELIBLE_SIM_EXPLORE", value_name = "WORLD")]
    #[arg(conflicts_with_all = ["seed", "count", "nodes", "jobs"])]
    explore: Option<SmallWorld>,
    /// The sums as JSON
    #[arg(long, env = "INDELIBLE_JSON")]
    json: bool,
}

/// What `--explore` searches.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SmallWorld {
    /// Two campaigns, a request, a crash.
    Small,
    /// Two campaigns, two requests, a crash.
    Full,
    /// Three campaigns, two requests, no crash.
    Duel,
}

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 64;

/// Simulated milliseconds in an hour.
const HOUR_TICKS: f64 = 3_600_000.0;

pub(super) fn run(args: &SimArgs) -> Result<(), Failure> {
    match (args.explore, args.count) {
        (Some(small), _) => explore(args, small),
        (None, Some(count)) => many(args, count),
        (None, None) => one(args),
    }
}

fn explore(args: &SimArgs, small: SmallWorld) -> Result<(), Failure> {
    let world = match small {
        SmallWorld::Small => explore::World::SMALL,
        SmallWorld::Full => explore::World::FULL,
        SmallWorld::Duel => explore::World::DUEL,
    };
    let began = Instant::now();
    let counts = explore::run_telling(&world, |counts| show(&format!("{} states", counts.states)))
        .map_err(|found| Failure::new(Status::Internal, found.to_string()))?;
    let seconds = began.elapsed().as_secs_f64();
    let said = if args.json {
        serde_json::json!({
            "states": counts.states,
            "transitions": counts.transitions,
            "depth": counts.depth,
            "decided": counts.decided,
            "seconds": seconds,
        })
        .to_string()
    } else {
        format!("{world:?}\nevery law holds in {counts}; {seconds:.0} s")
    };
    writeln!(std::io::stdout(), "{said}").map_err(|error| Failure::system(&error))
}

/// A run is told as it happens; a failure is a panic, which has the last word.
fn one(args: &SimArgs) -> Result<(), Failure> {
    let weather = Weather::draw(args.seed, args.nodes);
    let mut out = std::io::stdout().lock();
    let told = writeln!(out, "seed {}: {weather:?}\n{}", args.seed, sim::HEADING);
    drop(out);
    told.map_err(|error| Failure::system(&error))?;
    let sink = Box::new(|line: &sim::Line| {
        // Whoever reads no more has seen enough: the run goes on to its verdict.
        let _ = writeln!(std::io::stdout(), "{line}");
    });
    let tracer = args.trace.as_deref().map(|folder| tracer(folder)).transpose()?;
    let ears = sim::Ears { sink: Some(sink), tracer };
    let run = std::panic::AssertUnwindSafe(|| sim::run_told(args.seed, weather, ears));
    let report = std::panic::catch_unwind(run);
    let report = report.map_err(|_| {
        Failure::new(Status::Internal, format!("seed {} fails, as told above", args.seed))
    })?;
    writeln!(std::io::stdout(), "{report:?}").map_err(|error| Failure::system(&error))
}

/// Files for the traces, one for each store. A buffer that is dropped writes what it holds.
fn tracer(folder: &Path) -> Result<sim::Tracer, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::system(&error))?;
    let (folder, mut files, mut text) = (folder.to_owned(), BTreeMap::new(), Vec::new());
    Ok(Arc::new(Mutex::new(move |store: (NodeId, Incarnation), line: &audit::trace::Line| {
        let file = files.entry(store).or_insert_with(|| {
            let name = match store {
                (NodeId(node), Incarnation(1)) => format!("{node}.trace"),
                (NodeId(node), Incarnation(other)) => format!("{node}-{other}.trace"),
            };
            File::create(folder.join(name)).map(BufWriter::new)
        });
        text.clear();
        line.write(&mut text);
        // A trace that is cut short is seen by whoever reads it; the run goes on to its verdict.
        if let Ok(file) = file {
            let _ = file.write_all(&text);
        }
    })))
}

fn many(args: &SimArgs, count: u64) -> Result<(), Failure> {
    std::panic::set_hook(Box::new(|_| ()));
    let began = Instant::now();
    let findings = search(args, count, &began);
    drop(std::panic::take_hook());
    let seconds = began.elapsed().as_secs_f64();
    let said = if args.json { as_json(&findings, seconds) } else { summary(&findings, seconds) };
    writeln!(std::io::stdout(), "{said}").map_err(|error| Failure::system(&error))?;
    match findings.failed {
        None => Ok(()),
        Some((seed, why)) => {
            let line =
                format!("seed {seed} fails: {why}\nsee it again: indelible sim --seed {seed}");
            Err(Failure::new(Status::Internal, line))
        }
    }
}

/// Each thread takes the next seeds until all are run, or one has failed.
fn search(args: &SimArgs, count: u64, began: &Instant) -> Findings {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok());
    let jobs = jobs.map_or(1, NonZeroUsize::get);
    let next = Mutex::new(0);
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Findings::default());
    let work = || {
        while !stop.load(Ordering::Acquire) {
            let from = {
                let mut next = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let from = *next;
                *next = (from + CHUNK).min(count);
                from
            };
            if from >= count {
                return;
            }
            let seeds = (from..(from + CHUNK).min(count)).map(|at| args.seed.wrapping_add(at));
            let go_on = |_: &Total| !stop.load(Ordering::Acquire);
            let found = sim::run_many(seeds, args.nodes, go_on);
            let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            all.total.join(&found.total);
            if let Some((seed, why)) = found.failed {
                stop.store(true, Ordering::Release);
                if all.failed.as_ref().is_none_or(|(first, _)| seed < *first) {
                    all.failed = Some((seed, why));
                }
            }
            progress(&all.total, count, began);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn progress(total: &Total, count: u64, began: &Instant) {
    let rate = total.runs as f64 / began.elapsed().as_secs_f64();
    let hours = total.sum.ticks as f64 / HOUR_TICKS;
    show(&format!("{} of {count} runs, {rate:.0}/s, {hours:.1} simulated hours ", total.runs));
}

#[allow(clippy::print_stderr, reason = "progress is for people at a terminal")]
fn show(progress: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{progress}");
    }
}

fn summary(findings: &Findings, seconds: f64) -> String {
    let (total, sum) = (findings.total, findings.total.sum);
    format!(
        "{} runs in {seconds:.1} s ({:.0}/s), {} events, {:.1} simulated hours; {} decided, {} \
         answered, {} reads; {} locks granted, {} deadlocks refused, {} polls closed, {} of their \
         results written, {} sessions ended; {} crashes, {} disks refused, {} mended, {} stores \
         replaced, {} came to vote, {} rolled back and found out, {} clusters lost for good, {} \
         trims, {} snapshots installed, {} copied by witnesses, {} entries fetched for them and {} \
         regained after a crash, {} gone astray and stopped, {} histories not searched; trace \
         {:016x}",
        total.runs,
        total.runs as f64 / seconds,
        sum.events,
        sum.ticks as f64 / HOUR_TICKS,
        sum.decided,
        sum.answered,
        sum.reads,
        sum.grants,
        sum.deadlocks,
        sum.polls,
        sum.results,
        sum.ended,
        sum.crashes,
        sum.refused,
        sum.mended,
        sum.replaced,
        sum.rejoined,
        sum.found_out,
        total.lost,
        sum.trims,
        sum.installs,
        sum.copies,
        sum.fetched,
        sum.regained,
        sum.stopped,
        sum.unjudged,
        sum.trace,
    )
}

fn as_json(findings: &Findings, seconds: f64) -> String {
    let (total, sum) = (findings.total, findings.total.sum);
    serde_json::json!({
        "runs": total.runs,
        "seconds": seconds,
        "events": sum.events,
        "ticks": sum.ticks,
        "decided": sum.decided,
        "answered": sum.answered,
        "reads": sum.reads,
        "grants": sum.grants,
        "deadlocks": sum.deadlocks,
        "polls": sum.polls,
        "results": sum.results,
        "ended": sum.ended,
        "crashes": sum.crashes,
        "refused": sum.refused,
        "mended": sum.mended,
        "replaced": sum.replaced,
        "rejoined": sum.rejoined,
        "found_out": sum.found_out,
        "trims": sum.trims,
        "installs": sum.installs,
        "copies": sum.copies,
        "stopped": sum.stopped,
        "fetched": sum.fetched,
        "regained": sum.regained,
        "lost": total.lost,
        "unjudged": sum.unjudged,
        "trace": format!("{:016x}", sum.trace),
        "failed": findings.failed.as_ref().map(|(seed, why)| {
            serde_json::json!({ "seed": seed, "why": why })
        }),
    })
    .to_string()
}
