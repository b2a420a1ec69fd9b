//! What is told of a comparison.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use super::compare::{Comparison, Difference, Log, Verdict};
use crate::cli::harmless::harmless;

/// Of a line that differs so many bytes are shown, around the first that does.
const SHOWN_BYTES: usize = 160;

/// A row a log, and the verdict.
pub(super) fn text(found: &Comparison) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["LOG", "LINES", "HASH", ""]);
    for log in &found.logs {
        let (lines, hash) = (log.whole.lines.to_string(), hash(log));
        table.add_row([harmless(log.name.as_bytes()), lines, hash, notes(found, log)]);
    }
    let mut text = format!("{}\n{}", table.trim_fmt(), why(found));
    for (side, logs) in sides(found) {
        text.push_str(&format!("\n  {}: {side}", harmless(logs.join(", ").as_bytes())));
    }
    text
}

/// One object.
pub(super) fn json(found: &Comparison) -> String {
    let log = |log: &Log| -> Value {
        json!({
            "log": log.name,
            "live": log.is_live,
            "lines": log.whole.lines,
            "hash": hash(log),
            "behind": found.behind(log),
            "torn": log.torn,
            "error": log.error,
            "disorder": log.disorder.as_ref().map(|(line, _)| line),
        })
    };
    let side = |(text, logs): (String, Vec<&str>)| json!({ "logs": logs, "text": text });
    let difference = found.difference.as_ref().map(|difference| {
        let sides: Vec<Value> = sides(found).into_iter().map(side).collect();
        json!({ "line": difference.line, "sides": sides })
    });
    let common = found.common;
    json!({
        "verdict": word(found.verdict()),
        "logs": found.logs.iter().map(log).collect::<Vec<_>>(),
        "common": { "lines": common.lines, "hash": format!("{:016x}", common.hash.value()) },
        "difference": difference,
    })
    .to_string()
}

/// The verdict in one line.
pub(super) fn why(found: &Comparison) -> String {
    let verdict = word(found.verdict());
    match found.verdict() {
        Verdict::Unknown => format!("{verdict}: no log could be read"),
        Verdict::Identical => format!("{verdict}: {} lines{}", found.common.lines, limits(found)),
        Verdict::Prefix => {
            let behind = found.read().filter(|log| found.behind(log) > 0);
            let behind: Vec<String> = behind
                .map(|log| format!("{} is {}", harmless(log.name.as_bytes()), late(found, log)))
                .collect();
            let hash = found.common.hash.value();
            let common = format!("{} lines in common, hash {hash:016x}", found.common.lines);
            format!("{verdict}: {} ({common}){}", behind.join(", "), limits(found))
        }
        Verdict::Differ => {
            let line = found.difference.as_ref().map_or(0, |difference| difference.line);
            format!("{verdict}: the first line that is not the same is line {line}")
        }
        Verdict::Disorder => {
            let first = found.logs.iter().find_map(|log| Some((log, log.disorder.as_ref()?)));
            let told = first.map(|(log, (line, text))| {
                let text = harmless(&text[..text.len().min(SHOWN_BYTES)]);
                format!("{} line {line}: slots must ascend: {text}", harmless(log.name.as_bytes()))
            });
            format!("{verdict}: {}", told.unwrap_or_default())
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Identical => "identical",
        Verdict::Prefix => "prefix",
        Verdict::Differ => "differ",
        Verdict::Disorder => "no executed log",
    }
}

/// What a verdict does not cover.
fn limits(found: &Comparison) -> &'static str {
    let is_whole = found.logs.iter().all(|log| log.error.is_none());
    if is_whole { "" } else { ", of the logs that could be read" }
}

fn hash(log: &Log) -> String {
    format!("{:016x}", log.whole.hash.value())
}

fn late(found: &Comparison, log: &Log) -> String {
    let behind = found.behind(log);
    format!("{behind} line{} behind", if behind == 1 { "" } else { "s" })
}

fn notes(found: &Comparison, log: &Log) -> String {
    let mut notes = Vec::new();
    if let Some(error) = &log.error {
        notes.push(format!("({})", harmless(error.as_bytes())));
    } else if found.behind(log) > 0 {
        notes.push(late(found, log));
    }
    if log.torn > 0 {
        notes.push(format!("unfinished line of {} bytes at the end not counted", log.torn));
    }
    notes.join("; ")
}

/// What stands where they differ, to be read by a person, and the logs that have it there.
fn sides(found: &Comparison) -> Vec<(String, Vec<&str>)> {
    let Some(Difference { sides, .. }) = &found.difference else { return Vec::new() };
    let texts: Vec<&[u8]> = sides.iter().map(|(text, _)| text.as_slice()).collect();
    let from = first_difference(&texts).saturating_sub(SHOWN_BYTES / 2);
    let shown = |text: &[u8]| {
        let from = from.min(text.len());
        let to = (from + SHOWN_BYTES).min(text.len());
        let (before, after) =
            (if from > 0 { ".." } else { "" }, if to < text.len() { ".." } else { "" });
        format!("{before}{}{after}", harmless(&text[from..to]))
    };
    let names = |logs: &[usize]| logs.iter().map(|at| found.logs[*at].name.as_str()).collect();
    sides.iter().map(|(text, logs)| (shown(text), names(logs))).collect()
}

/// The first byte that is not the same in all.
fn first_difference(texts: &[&[u8]]) -> usize {
    let Some((first, others)) = texts.split_first() else { return 0 };
    let same = |other: &&[u8]| first.iter().zip(*other).take_while(|(a, b)| a == b).count();
    others.iter().map(same).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_differs_is_shown_of_long_lines() {
        let (a, b) = (b"abcdef".as_slice(), b"abxdef".as_slice());
        assert_eq!(first_difference(&[a, b]), 2);
        assert_eq!(first_difference(&[a, a, b]), 2);
        assert_eq!(first_difference(&[a, b"abcd".as_slice()]), 4);
    }
}
