//! A child process: started, signalled, and never left behind.
//!
//! A child gets a pipe as standard input, whose end tells it that we are gone (see
//! [`tied`](super::tied)); never our standard output, for whoever reads that waits until nobody
//! holds it any more; and a log file as standard error. Our own `INDELIBLE_` variables are not
//! passed on: what a child needs is on its command line.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A child process. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Held open for as long as the child may live.
    stdin: Option<ChildStdin>,
    ended: Option<ExitStatus>,
}

/// Where a child's standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    Nowhere,
    /// Into a pipe: see [`Process::take_pipes`].
    Pipe,
}

impl Process {
    /// Starts `program`, tied to us, with its standard error appended to the file `log`.
    ///
    /// To be called on the main thread: the kernel's death signal follows the thread that starts a
    /// child.
    ///
    /// # Errors
    ///
    /// If the program cannot be started, or the log file not be opened.
    pub fn spawn<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        output: Output,
        log: &Path,
    ) -> io::Result<Process> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(args).arg(format!("--tied={}", std::process::id()));
        command.stdin(Stdio::piped()).stderr(log);
        command.stdout(match output {
            Output::Nowhere => Stdio::null(),
            Output::Pipe => Stdio::piped(),
        });
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INDELIBLE_") {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        Ok(Process { child, stdin, ended: None })
    }

    /// The pipes to a child that was started with [`Output::Pipe`], once.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        let stdout = self.child.stdout.take()?;
        Some((self.stdin.take()?, stdout))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs (or is stopped, but not dead).
    pub fn is_alive(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.is_alive();
        self.ended
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.kill_without_waiting();
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    /// Kills it (SIGKILL), for when several are to die together.
    pub fn kill_without_waiting(&mut self) {
        if self.is_alive() {
            // It may have died in this very moment: that is as good.
            let _ = self.child.kill();
        }
    }

    /// Stops it (SIGSTOP): it keeps all it has, and does nothing.
    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    fn signal(&mut self, signal: Signal) {
        // Only to a child that was not reaped: its id cannot belong to anybody else.
        if self.is_alive() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str, output: Output, log: &Path) -> Process {
        // A shell takes `--tied=...` as its `$0`.
        Process::spawn(Path::new("sh"), ["-c", script], output, log).expect("a shell")
    }

    fn log() -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new().expect("a log file")
    }

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_child_that_is_dropped_is_gone() {
        let log = log();
        let child = shell("sleep 100", Output::Nowhere, log.path());
        let folder = format!("/proc/{}", child.id());
        assert!(Path::new(&folder).exists());
        drop(child);
        assert!(!Path::new(&folder).exists());
    }

    #[test]
    fn a_child_says_how_it_ended_and_where_it_wrote() {
        let log = log();
        let mut child = shell("echo out; echo err >&2; exit 7", Output::Pipe, log.path());
        let (_stdin, mut stdout) = child.take_pipes().expect("pipes");
        let mut said = String::new();
        stdout.read_to_string(&mut said).expect("what it said");
        until("the child's end", || !child.is_alive());
        assert_eq!(said, "out\n");
        assert_eq!(child.ended().and_then(|status| status.code()), Some(7));
        assert_eq!(std::fs::read_to_string(log.path()).expect("its log"), "err\n");
    }

    #[test]
    fn a_stopped_child_lives_and_goes_on() {
        let log = log();
        let mut child = shell("sleep 100", Output::Nowhere, log.path());
        let stat = format!("/proc/{}/stat", child.id());
        let state = || {
            let text = std::fs::read_to_string(&stat).expect("its state");
            text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
        };
        child.stop();
        until("the stop", || state() == Some('T'));
        assert!(child.is_alive());
        child.resume();
        until("the resumption", || state() == Some('S'));
        child.kill();
        assert!(!child.is_alive());
    }
}
