//! The comparison: all logs at the same time, a line of each.

use crate::rsm::Rolling;

/// A log that gives its lines in order.
pub(super) trait Lines {
    /// What to call it.
    fn name(&self) -> String;

    /// Whether it is a replica's own word.
    fn is_live(&self) -> bool;

    /// The next line, without its end; `false` at the end of the log. Not asked again after that,
    /// nor after an error.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, String>;

    /// Bytes of an unfinished line that were found at the end.
    fn torn(&self) -> u64;
}

/// What was found.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Each log, in the order given.
    pub(super) logs: Vec<Log>,
    /// The lines that all logs that could be read have in common, from the first on.
    pub(super) common: Stretch,
    /// Where they differ first.
    pub(super) difference: Option<Difference>,
}

/// One log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) name: String,
    pub(super) is_live: bool,
    /// All its lines.
    pub(super) whole: Stretch,
    /// Bytes of an unfinished line that do not count.
    pub(super) torn: u64,
    /// Why it could not be read to its end.
    pub(super) error: Option<String>,
    /// The first line that is no line of an executed log: its slot is not above the one before.
    pub(super) disorder: Option<(u64, Vec<u8>)>,
    last_slot: Option<u64>,
}

/// So many lines from the first on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) lines: u64,
    /// Over the lines with their ends.
    pub(super) hash: Rolling,
}

/// A line that is not the same everywhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Which, from 1.
    pub(super) line: u64,
    /// What stands there, and in which logs.
    pub(super) sides: Vec<(Vec<u8>, Vec<usize>)>,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// None could be read.
    Unknown,
    /// All have the same lines.
    Identical,
    /// All are prefixes of the longest.
    Prefix,
    /// Two of them have different lines at the same place.
    Differ,
    /// One of them is no executed log: slots do not ascend.
    Disorder,
}

/// Reads all logs to their ends.
pub(super) fn compare(sources: &mut [impl Lines]) -> Comparison {
    let logs = sources.iter().map(Log::of).collect();
    let mut found = Comparison { logs, common: Stretch::default(), difference: None };
    let mut lines = vec![Vec::new(); sources.len()];
    let mut open: Vec<usize> = (0..sources.len()).collect();
    let mut has_ended = false;
    loop {
        open.retain(|at| match sources[*at].next(&mut lines[*at]) {
            Ok(true) => true,
            Ok(false) => {
                has_ended = true;
                false
            }
            Err(error) => {
                found.logs[*at].error = Some(error);
                false
            }
        });
        let Some(first) = open.first() else { break };
        for at in &open {
            found.logs[*at].take(&lines[*at]);
        }
        let is_same = open.iter().all(|at| lines[*at] == lines[*first]);
        if found.difference.is_none() && !is_same {
            found.difference = Some(difference(found.logs[*first].whole.lines, &open, &lines));
        }
        if found.difference.is_none() && !has_ended {
            found.common.take(&lines[*first]);
        }
    }
    for (log, source) in found.logs.iter_mut().zip(sources) {
        log.torn = source.torn();
    }
    found
}

impl Comparison {
    /// What it comes to; a log that could not be read counts as far as it could.
    pub(super) fn verdict(&self) -> Verdict {
        if self.difference.is_some() {
            Verdict::Differ
        } else if self.logs.iter().any(|log| log.disorder.is_some()) {
            Verdict::Disorder
        } else if self.read().next().is_none() {
            Verdict::Unknown
        } else if self.read().all(|log| self.behind(log) == 0) {
            Verdict::Identical
        } else {
            Verdict::Prefix
        }
    }

    /// How many lines a log is shorter than the longest.
    pub(super) fn behind(&self, log: &Log) -> u64 {
        let longest = self.read().map(|log| log.whole.lines).max();
        longest.unwrap_or(0).saturating_sub(log.whole.lines)
    }

    /// The logs that could be read to their ends.
    pub(super) fn read(&self) -> impl Iterator<Item = &Log> {
        self.logs.iter().filter(|log| log.error.is_none())
    }
}

impl Log {
    fn of(source: &impl Lines) -> Log {
        Log {
            name: source.name(),
            is_live: source.is_live(),
            whole: Stretch::default(),
            torn: 0,
            error: None,
            disorder: None,
            last_slot: None,
        }
    }

    fn take(&mut self, line: &[u8]) {
        self.whole.take(line);
        let slot = slot_of(line);
        let ascends = slot.is_some() && slot > self.last_slot;
        if !ascends && self.disorder.is_none() {
            self.disorder = Some((self.whole.lines, line.to_owned()));
        }
        self.last_slot = slot.max(self.last_slot);
    }
}

impl Stretch {
    fn take(&mut self, line: &[u8]) {
        self.lines += 1;
        self.hash.mix(line);
        self.hash.mix(b"\n");
    }
}

/// The slot that a line of an executed log begins with.
fn slot_of(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn difference(line: u64, open: &[usize], lines: &[Vec<u8>]) -> Difference {
    let mut sides: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for at in open {
        match sides.iter_mut().find(|(text, _)| *text == lines[*at]) {
            Some((_, logs)) => logs.push(*at),
            None => sides.push((lines[*at].clone(), vec![*at])),
        }
    }
    Difference { line, sides }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines from memory; `!` is an error.
    struct Text(&'static str, std::str::Lines<'static>);

    impl Lines for Text {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn is_live(&self) -> bool {
            false
        }

        fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, String> {
            let next = self.1.next();
            *line = next.unwrap_or_default().as_bytes().to_owned();
            if next == Some("!") { Err("broken".to_owned()) } else { Ok(next.is_some()) }
        }

        fn torn(&self) -> u64 {
            0
        }
    }

    fn of(logs: &[&'static str]) -> Comparison {
        let mut logs: Vec<Text> = logs.iter().map(|text| Text(text, text.lines())).collect();
        compare(&mut logs)
    }

    /// Bugs that turn it red: the last line, or the first, not compared; a log that ended compared
    /// as an empty line; comparing with the first log only where it is still open; slots compared
    /// as text; a log that failed counted as a short one.
    #[test]
    fn logs_are_identical_prefixes_different_or_none() {
        let cases: [(&[&str], Verdict, u64, Option<u64>); 15] = [
            (&["", ""], Verdict::Identical, 0, None),
            (&["0 a\n1 b\n", "0 a\n1 b\n"], Verdict::Identical, 2, None),
            (&["0 a\n1 b\n", "0 a\n1 b\n", "0 a\n1 b\n"], Verdict::Identical, 2, None),
            (&["9 a\n10 b\n", "9 a\n10 b\n"], Verdict::Identical, 2, None),
            (&["0 a\n1 b\n", "0 a\n"], Verdict::Prefix, 1, None),
            (&["", "0 a\n3 b\n", "0 a\n"], Verdict::Prefix, 0, None),
            (&["0 a\n1 b\n", "0 a\n1 c\n"], Verdict::Differ, 1, Some(2)),
            (&["0 x\n1 b\n", "0 a\n1 b\n"], Verdict::Differ, 0, Some(1)),
            (&["0 a\n", "0 a\n1 b\n2 c\n", "0 a\n1 b\n2 d\n"], Verdict::Differ, 1, Some(3)),
            (&["0 a\n1 b\n2 c\n", "0 a\n2 c\n"], Verdict::Differ, 1, Some(2)),
            (&["0 a\n0 a\n", "0 a\n0 a\n"], Verdict::Disorder, 2, None),
            (&["0 a\nhello\n", "0 a\n"], Verdict::Disorder, 1, None),
            (&["0 a\n1 b\n", "0 a\n!\n", "0 a\n1 b\n"], Verdict::Identical, 2, None),
            (&["!\n", "!\n"], Verdict::Unknown, 0, None),
            (&["0 a\n1 b\n", "0 b\n!\n"], Verdict::Differ, 0, Some(1)),
        ];
        for (logs, verdict, common, line) in cases {
            let found = of(logs);
            assert_eq!(found.verdict(), verdict, "{logs:?}");
            assert_eq!(found.common.lines, common, "{logs:?}");
            assert_eq!(found.difference.as_ref().map(|it| it.line), line, "{logs:?}");
        }
    }

    #[test]
    fn each_log_is_read_to_its_end_and_hashed_and_each_side_is_named() {
        let found = of(&["0 a\n1 b\n2 x\n", "0 a\n1 c\n", "0 a\n1 b\n"]);
        let lines: Vec<u64> = found.logs.iter().map(|log| log.whole.lines).collect();
        assert_eq!(lines, [3, 2, 2]);
        let whole = |bytes: &[u8]| {
            let mut hash = Rolling::default();
            hash.mix(bytes);
            hash
        };
        assert_eq!(found.logs[0].whole.hash, whole(b"0 a\n1 b\n2 x\n"));
        assert_eq!(found.common.hash, whole(b"0 a\n"));
        let sides = vec![(b"1 b".to_vec(), vec![0, 2]), (b"1 c".to_vec(), vec![1])];
        assert_eq!(found.difference, Some(Difference { line: 2, sides }));
        assert_eq!(found.behind(&found.logs[1]), 1);
    }
}
