//! `indelible grade`: runs cases like the handed-out grader, and says more about what fails.
//!
//! A case is a pair of files: `NAME.test`, the commands, and `NAME.sol`, the answer. The grader
//! cuts trailing blanks, sends no last newline, waits until nobody holds the answer's pipe any
//! more, and when the time is over kills the shell and nothing else. So does this.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{Judgement, diff, judge};
use super::exit::{Failure, Status};

/// Run the cases of a folder, pairs of NAME.test and NAME.sol, against the program of COMMAND.
///
/// A line a case: pass or fail and the time it took; for a failure a diff. `lines` means that the
/// answer has the same lines in another order, which the grader lets pass. Exit status 1 if a case
/// failed.
///
///   indelible grade tests/cases
///   indelible grade tests/cases --only bomb --times 10 --busy 1 --keep /tmp/answers
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct GradeArgs {
    /// The folder with the cases
    dir: PathBuf,
    /// Where COMMAND lies, and where it is run
    #[arg(long, env = "INDELIBLE_ROOT", default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Run only the cases whose names contain this
    #[arg(long, env = "INDELIBLE_ONLY", default_value = "", value_name = "TEXT")]
    only: String,
    /// How often to run each case
    #[arg(long, env = "INDELIBLE_TIMES", default_value_t = 1)]
    times: u32,
    /// How long a case may take, everything included
    #[arg(long, env = "INDELIBLE_LIMIT", default_value = "10s")]
    limit: humantime::Duration,
    /// Threads that keep the machine busy meanwhile
    #[arg(long, env = "INDELIBLE_BUSY", default_value_t = 0)]
    busy: usize,
    /// Keep the answers in this folder
    #[arg(long, env = "INDELIBLE_ANSWERS", value_name = "DIR")]
    keep: Option<PathBuf>,
}

struct Case {
    name: String,
    input: Vec<u8>,
    expected: Vec<u8>,
}

struct Outcome {
    answer: Vec<u8>,
    complaints: Vec<u8>,
    took: Duration,
    in_time: bool,
}

pub(super) fn run(args: &GradeArgs) -> Result<(), Failure> {
    let system = |error: io::Error| Failure::system(&error);
    let cases = cases(&args.dir, &args.only)?;
    let file = args.root.join("COMMAND");
    let command = fs::read_to_string(&file)
        .map_err(|error| Failure::new(Status::Missing, format!("{}: {error}", file.display())))?;
    if let Some(folder) = &args.keep {
        fs::create_dir_all(folder).map_err(system)?;
    }
    let is_over = AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        for _ in 0..args.busy {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let failed = run_all(args, command.trim(), &cases);
        is_over.store(true, Ordering::Relaxed);
        failed
    })
    .map_err(system)?;
    let passed = cases.len() * args.times as usize - failed;
    writeln!(io::stdout(), "{passed} passed, {failed} failed").map_err(system)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(Status::Failed, format!("{failed} cases failed"))),
    }
}

/// All cases of a folder whose names contain `only`, by name.
fn cases(dir: &Path, only: &str) -> Result<Vec<Case>, Failure> {
    let missing = |error| Failure::new(Status::Missing, format!("{}: {error}", dir.display()));
    let mut cases = Vec::new();
    for entry in fs::read_dir(dir).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|kind| kind != "test") || !name.contains(only) {
            continue;
        }
        let input = as_sent(&fs::read(&path).map_err(missing)?);
        let solution = path.with_extension("sol");
        let expected = fs::read(&solution).map_err(|error| {
            Failure::new(Status::Missing, format!("{}: {error}", solution.display()))
        })?;
        cases.push(Case { name, input, expected });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    if cases.is_empty() {
        let line = format!("{}: no case NAME.test whose name contains \"{only}\"", dir.display());
        return Err(Failure::new(Status::Missing, line));
    }
    Ok(cases)
}

/// The lines with trailing blanks cut, joined by newlines, without a last one.
fn as_sent(file: &[u8]) -> Vec<u8> {
    let body = file.strip_suffix(b"\n").unwrap_or(file);
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).collect();
    lines.join(&b'\n')
}

/// Runs and reports all cases. How many failed.
fn run_all(args: &GradeArgs, command: &str, cases: &[Case]) -> io::Result<usize> {
    let mut failed = 0;
    for time in 0..args.times {
        for case in cases {
            let outcome = run_case(&args.root, command, case, *args.limit)?;
            if let Some(folder) = &args.keep {
                fs::write(folder.join(format!("{}.{time}.out", case.name)), &outcome.answer)?;
            }
            let (passed, report) = report(case, &outcome);
            failed += usize::from(!passed);
            writeln!(io::stdout(), "{report}")?;
        }
    }
    Ok(failed)
}

/// What happened, in words, and whether the case passed.
fn report(case: &Case, outcome: &Outcome) -> (bool, String) {
    let judgement = judge(&outcome.answer, &case.expected);
    let is_quiet = outcome.complaints.is_empty();
    let passed = outcome.in_time && is_quiet && judgement != Judgement::Wrong;
    let word = match (passed, judgement) {
        (true, Judgement::Equal) => "pass",
        (true, _) => "lines",
        (false, _) => "FAIL",
    };
    let mut report = format!("{word:5} {:7.3} s  {}", outcome.took.as_secs_f64(), case.name);
    if !outcome.in_time {
        report.push_str("\n      the time is over, and somebody still holds its standard output");
    }
    if !is_quiet {
        let complaints = String::from_utf8_lossy(&outcome.complaints);
        // Writing to a string cannot fail.
        let _ = write!(report, "\n      standard error: {}", complaints.trim_end());
    }
    if judgement == Judgement::Wrong {
        report.push_str(&diff(&case.expected, &outcome.answer));
    }
    (passed, report)
}

fn run_case(root: &Path, command: &str, case: &Case, limit: Duration) -> io::Result<Outcome> {
    let mut complaints = tempfile::tempfile()?;
    let began = Instant::now();
    let mut shell = Command::new("sh")
        .args(["-c", command])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(complaints.try_clone()?)
        .spawn()?;
    let (stdin, stdout) = (shell.stdin.take(), shell.stdout.take());
    let input = case.input.clone();
    let writer = thread::spawn(move || {
        // A program that ends before it has read everything is judged by its answer.
        stdin.map(|mut stdin| stdin.write_all(&input))
    });
    let (answer, in_time) = read_until(stdout, began + limit);
    let took = began.elapsed();
    if !in_time {
        // It may have ended in this moment.
        let _ = shell.kill();
    }
    shell.wait()?;
    // Whoever is killed closes its end, and the writer with it.
    drop(writer.join());
    let complaints = read_back(&mut complaints)?;
    Ok(Outcome { answer, complaints, took, in_time })
}

/// All that comes from a pipe until its last writer closes it, or the time is over. Whether the
/// former happened first.
fn read_until(pipe: Option<impl Read + Send + 'static>, until: Instant) -> (Vec<u8>, bool) {
    let (hand_on, pieces) = mpsc::channel();
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut piece = [0; 64 << 10];
        while let Ok(count @ 1..) = pipe.read(&mut piece) {
            if hand_on.send(piece[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    loop {
        match pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(piece) => answer.extend(piece),
            Err(RecvTimeoutError::Disconnected) => return (answer, true),
            Err(RecvTimeoutError::Timeout) => return (answer, false),
        }
    }
}

fn read_back(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(command: &str, input: &[u8], limit: Duration) -> Outcome {
        let case = Case { name: "case".to_owned(), input: input.to_vec(), expected: Vec::new() };
        run_case(Path::new("."), command, &case, limit).expect("a shell")
    }

    const AMPLE: Duration = Duration::from_secs(10);

    #[test]
    fn input_goes_in_as_the_grader_sends_it() {
        assert_eq!(as_sent(b"start 3 2 \r\n\n x  \n"), b"start 3 2\n\n x");
        assert_eq!(as_sent(b"one"), b"one");
        assert_eq!(outcome("cat", b"a\nb", AMPLE).answer, b"a\nb");
    }

    #[test]
    fn a_program_that_reads_nothing_is_judged_by_its_answer() {
        let outcome = outcome("echo hello", &vec![b'x'; 1 << 20], AMPLE);
        assert_eq!((outcome.answer.as_slice(), outcome.in_time), (&b"hello\n"[..], true));
    }

    #[test]
    fn whoever_holds_the_output_is_waited_for() {
        let outcome = outcome("(sleep 1; echo late) &", b"", AMPLE);
        assert_eq!((outcome.answer.as_slice(), outcome.in_time), (&b"late\n"[..], true));
        assert!(outcome.took >= Duration::from_secs(1));
    }

    #[test]
    fn complaints_and_delays_fail_a_case() {
        let case = |expected: &[u8]| Case {
            name: "case".to_owned(),
            input: Vec::new(),
            expected: expected.to_vec(),
        };
        let loud = outcome("echo a; echo oh >&2", b"", AMPLE);
        let (passed, text) = report(&case(b"a\n"), &loud);
        assert!(!passed && text.contains("standard error: oh"), "{text}");
        let slow = outcome("echo a; exec sleep 60", b"", Duration::from_secs(1));
        let (passed, text) = report(&case(b"a\n"), &slow);
        assert!(!passed && text.contains("the time is over"), "{text}");
        assert!(slow.took < Duration::from_secs(30), "the shell was killed");
        let fine = outcome("echo a", b"", AMPLE);
        assert!(report(&case(b"a\n"), &fine).0);
    }
}
