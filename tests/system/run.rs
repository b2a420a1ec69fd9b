//! The master program under test: started, fed, read, and gone at the end whatever happens.
//!
//! It runs with a data folder of its own below the build's, on a real disk, so that what a run
//! leaves behind can be seen. Its output is read by threads all the time; no wait is without a
//! limit.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::processes::{Process, survivors};

/// How long processes may take to go once nothing holds them.
const GOING: Duration = Duration::from_secs(5);

/// A master program that runs.
pub(crate) struct Master {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<Receiver<Vec<u8>>>,
    unread: Option<ChildStdout>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

/// What one that ended has left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// All of its standard output that was not read before.
    pub(crate) output: Vec<u8>,
    errors: Vec<u8>,
    status: ExitStatus,
    orphans: Vec<Process>,
}

impl Master {
    /// Starts one that keeps its stores below `data`.
    pub(crate) fn start(data: &Path) -> Result<Master, Failed> {
        Master::start_with(data, &[])
    }

    /// The same, with further `flags`.
    pub(crate) fn start_with(data: &Path, flags: &[&str]) -> Result<Master, Failed> {
        Master::of(command(data, flags))
    }

    /// The same, but nobody reads what it says.
    pub(crate) fn unread(data: &Path) -> Result<Master, Failed> {
        Master::piped(command(data, &[]))
    }

    /// One that `command` starts, by whatever way.
    pub(crate) fn of(command: Command) -> Result<Master, Failed> {
        let mut master = Master::piped(command)?;
        master.output = master.unread.take().map(lines);
        Ok(master)
    }

    fn piped(mut command: Command) -> Result<Master, Failed> {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn()?;
        let (input, unread) = (child.stdin.take(), child.stdout.take());
        let errors = child.stderr.take().map(|mut stderr| spawn(move || all(&mut stderr)));
        Ok(Master { child, input, output: None, unread, errors })
    }

    /// The process itself.
    pub(crate) fn process(&self) -> Result<Process, Failed> {
        Process::of(self.child.id()).ok_or_else(|| "the master is gone".into())
    }

    /// Hands it one command.
    pub(crate) fn say(&mut self, command: &str) -> Result<(), Failed> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        writeln!(input, "{command}")?;
        Ok(input.flush()?)
    }

    /// Its next line of output, without the newline.
    pub(crate) fn line(&mut self, limit: Duration) -> Result<String, Failed> {
        let output = self.output.as_ref().ok_or("its output is closed")?;
        let line = output.recv_timeout(limit).map_err(|e| format!("no line came: {e}"))?;
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned())
    }

    /// Closes the unread end of its output, as when a reader ends.
    pub(crate) fn close_unread(&mut self) {
        self.unread = None;
    }

    /// Waits until it has ended by itself, with its input still open.
    pub(crate) fn await_end(&mut self, limit: Duration) -> Result<(), Failed> {
        let process = self.process()?;
        let alive = survivors(&[process], limit);
        if alive.is_empty() { Ok(()) } else { Err("the master still runs".into()) }
    }

    /// Feeds it `script` and the end of input, and waits until nobody holds its output any more.
    pub(crate) fn finish(mut self, script: &[u8], limit: Duration) -> Result<Finished, Failed> {
        let end = Instant::now() + limit;
        let family = self.process()?;
        let feeding = self.input.take().map(|mut input| {
            let script = script.to_vec();
            spawn(move || drop(input.write_all(&script)))
        });
        let mut output = Vec::new();
        let mut seen: BTreeSet<Process> = family.descendants().into_iter().collect();
        let lines = self.output.take().ok_or("its output is closed")?;
        loop {
            let wait = end.saturating_duration_since(Instant::now());
            match lines.recv_timeout(wait.min(Duration::from_millis(100))) {
                Ok(line) => output.extend(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if wait.is_zero() => {
                    return Err(late(limit, &output));
                }
                Err(RecvTimeoutError::Timeout) => seen.extend(family.descendants()),
            }
        }
        feeding.map(JoinHandle::join);
        let status = self.child.wait()?;
        let errors = self.errors.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let orphans = survivors(&seen.into_iter().collect::<Vec<_>>(), GOING);
        Ok(Finished { output, errors, status, orphans })
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}

impl Finished {
    /// That it said nothing but its output, ended well and left no process behind.
    pub(crate) fn cleanly(self) -> Result<Finished, Failed> {
        if !self.errors.is_empty() {
            let text = String::from_utf8_lossy(&self.errors);
            return Err(format!("on stderr, which must be empty:\n{text}").into());
        }
        if !self.status.success() {
            return Err(format!("the master ended with {}", self.status).into());
        }
        if !self.orphans.is_empty() {
            return Err(format!("these still run: {:?}", self.orphans).into());
        }
        Ok(self)
    }
}

fn command(data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
    command.arg("master").arg("--data").arg(data).args(flags);
    command
}

/// Plays a demonstration to its end, which must be a good one and have told all of this.
pub(crate) fn demonstration(play: &str, told: &[&str]) -> Result<(), Failed> {
    let data = data()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
    command.args(["demo", play, "--data"]).arg(data.path()).stdin(Stdio::null());
    let output = command.output()?;
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}\n{out}{err}", output.status).into());
    }
    match told.iter().find(|told| !out.contains(**told)) {
        Some(missing) => Err(format!("\"{missing}\" is not told in\n{out}").into()),
        None => Ok(()),
    }
}

/// A folder for stores that is removed with all that is in it.
pub(crate) fn data() -> Result<tempfile::TempDir, Failed> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// Runs `script` to its end in a data folder of its own, and demands that nothing is left.
pub(crate) fn script(script: &[u8], limit: Duration) -> Result<Finished, Failed> {
    let data = data()?;
    let finished = Master::start(data.path())?.finish(script, limit)?.cleanly()?;
    let left = entries(data.path())?;
    if left.is_empty() { Ok(finished) } else { Err(format!("left behind: {left:?}").into()) }
}

/// What lies in a folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn late(limit: Duration, output: &[u8]) -> Failed {
    let text = String::from_utf8_lossy(output);
    format!("not at its end after {limit:?}; so far it said:\n{text}").into()
}

/// Reads lines, with their newlines, until the end or until nobody wants them.
fn lines(source: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    spawn(move || {
        let mut reader = BufReader::new(source);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn all(source: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _until_the_end = source.read_to_end(&mut bytes);
    bytes
}
