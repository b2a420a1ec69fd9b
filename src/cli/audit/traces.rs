//! `indelible audit --trace`: traces are gone through again, a line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use crate::audit::trace::{Broken, Line, Replay, Replayed, Rule};
use crate::cli::exit::{Failure, Status};
use crate::cli::harmless::harmless;

/// A trace that was gone through, to its end or to the first line that breaks a rule.
struct Gone {
    name: String,
    replayed: Replayed,
    /// Bytes of a last line that has no end.
    torn: usize,
    /// What is broken, and the line that shows it.
    broken: Option<(Broken, String)>,
}

/// Goes through all of them.
pub(super) fn run(paths: &[PathBuf], is_json: bool) -> Result<(), Failure> {
    let gone: Vec<Gone> = paths.iter().map(|path| through(path)).collect::<Result<_, _>>()?;
    let told = if is_json { json(&gone) } else { text(&gone) };
    writeln!(io::stdout(), "{told}").map_err(|error| Failure::system(&error))?;
    let broken = gone.iter().find_map(|it| Some((&it.name, it.broken.as_ref()?)));
    match broken {
        None => Ok(()),
        Some((name, (broken, _))) => {
            Err(Failure::new(Status::Refuted, format!("refuted: {name}: {broken}")))
        }
    }
}

fn through(path: &Path) -> Result<Gone, Failure> {
    let name = path.display().to_string();
    let failed = |error: io::Error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let status = if is_missing { Status::Missing } else { Status::Disk };
        Failure::new(status, format!("{}: {error}", path.display()))
    };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let (mut replay, mut line) = (Replay::default(), Vec::new());
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(failed)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            let (replayed, torn) = (replay.replayed(), line.len());
            return Ok(Gone { name, replayed, torn, broken: None });
        }
        let read = Line::read(&line).map_err(|why| {
            let place = replay.replayed().lines + 1;
            Failure::new(Status::Disk, format!("{name}: line {place} is none of a trace: {why}"))
        })?;
        if let Err(broken) = replay.take(read) {
            let broken = Some((broken, harmless(&line)));
            return Ok(Gone { name, replayed: replay.replayed(), torn: 0, broken });
        }
    }
}

/// A row a trace, a row a rule, and the verdict.
fn text(gone: &[Gone]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "TRACE", "STARTS", "LINES", "RECORDS", "SENDS", "CLAIMS", "DECIDED", "APPLIED", "",
    ]);
    for Gone { name, replayed, torn, .. } in gone {
        let Replayed { lines, starts, records, sends, claims, decided, applied } = replayed;
        let numbers = [starts, lines, records, sends, claims, decided, applied];
        let note = match torn {
            0 => String::new(),
            bytes => format!("torn last line of {bytes} bytes not counted"),
        };
        let cells = numbers.map(ToString::to_string);
        table.add_row([harmless(name.as_bytes())].into_iter().chain(cells).chain([note]));
    }
    let broken = gone.iter().find_map(|it| Some((&it.name, it.broken.as_ref()?)));
    let traces = table.trim_fmt();
    match broken {
        Some((name, (broken, line))) => {
            format!("{traces}\nrefuted: {}: {broken}\n  {line}", harmless(name.as_bytes()))
        }
        None => format!("{traces}\n{}\nproved: {} traces", rules(gone), gone.len()),
    }
}

fn rules(gone: &[Gone]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let sum = |number: fn(&Replayed) -> u64| -> u64 {
        gone.iter().map(|gone| number(&gone.replayed)).sum()
    };
    for rule in Rule::ALL {
        let extent = match rule {
            Rule::PersistBeforeSend => {
                let (sends, claims) = (sum(|it| it.sends), sum(|it| it.claims));
                format!("{sends} messages, {claims} with a claim")
            }
            Rule::Numbers => format!("{} records", sum(|it| it.records)),
            Rule::Decisions => format!("{} slots", sum(|it| it.decided)),
            Rule::Applications => format!("{} slots", sum(|it| it.applied)),
            Rule::Restarts => format!("{} starts", sum(|it| it.starts)),
        };
        table.add_row([rule.name(), rule.sentence(), &extent]);
    }
    table.trim_fmt()
}

/// One object.
fn json(gone: &[Gone]) -> String {
    let trace = |gone: &Gone| -> Value {
        let Replayed { lines, starts, records, sends, claims, decided, applied } = gone.replayed;
        json!({
            "trace": gone.name, "starts": starts, "lines": lines, "records": records,
            "sends": sends, "claims": claims, "decided": decided, "applied": applied,
            "torn": gone.torn,
            "refuted": gone.broken.as_ref().map(|(broken, text)| json!({
                "rule": broken.rule.name(), "line": broken.line, "why": broken.why, "text": text,
            })),
        })
    };
    let is_proved = gone.iter().all(|gone| gone.broken.is_none());
    json!({
        "verdict": if is_proved { "proved" } else { "refuted" },
        "traces": gone.iter().map(trace).collect::<Vec<_>>(),
    })
    .to_string()
}
