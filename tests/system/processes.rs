//! Processes as `/proc` shows them: whose children they are, what they hold, where they listen.
//!
//! A process is a number *and* its start time, because numbers are used again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

/// One process, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    started: u64,
}

/// The fields of `/proc/PID/stat` that matter here.
struct Stat {
    state: String,
    parent: u32,
    group: u32,
    threads: u32,
    started: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Process> {
        stat(pid).map(|stat| Process { pid, started: stat.started })
    }

    /// Whether it still runs; one that waits for its parent to notice its end does not. A killed
    /// one shows as ended as soon as its first thread is gone: it is dead when all of them are.
    pub(crate) fn is_alive(self) -> bool {
        let runs = |stat: Stat| stat.state != "Z" || stat.threads > 1;
        stat(self.pid).is_some_and(|stat| stat.started == self.started && runs(stat))
    }

    /// All processes that it started, and those that these started.
    pub(crate) fn descendants(self) -> Vec<Process> {
        let mut found = vec![self];
        let all = all();
        let mut next = 0;
        while next < found.len() {
            let parent = found[next].pid;
            let children = all.iter().filter(|(_, stat)| stat.parent == parent);
            found.extend(children.map(|(pid, s)| Process { pid: *pid, started: s.started }));
            next += 1;
        }
        found.split_off(1)
    }

    /// Whether it leads a process group of its own: what is sent to ours does not reach it.
    pub(crate) fn leads_its_group(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.group == self.pid)
    }

    /// All that live and were started with such an argument.
    pub(crate) fn who(is_so: impl Fn(&str) -> bool) -> Vec<Process> {
        let all = all().into_iter().map(|(pid, it)| Process { pid, started: it.started });
        let are_so = all.filter(|it| it.arguments().iter().any(|argument| is_so(argument)));
        are_so.filter(|it| it.is_alive()).collect()
    }

    /// Its arguments, the program first.
    pub(crate) fn arguments(self) -> Vec<String> {
        let line = fs::read(self.folder().join("cmdline")).unwrap_or_default();
        let words = line.split(|&b| b == 0).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Where its file descriptor `number` points.
    pub(crate) fn descriptor(self, number: u32) -> Option<PathBuf> {
        fs::read_link(self.folder().join("fd").join(number.to_string())).ok()
    }

    /// The TCP ports that it listens on.
    pub(crate) fn ports(self) -> BTreeSet<u16> {
        let open = fs::read_dir(self.folder().join("fd")).into_iter().flatten().flatten();
        let links: BTreeSet<PathBuf> =
            open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        let tables = ["tcp", "tcp6"].map(|name| self.folder().join("net").join(name));
        let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
        let listening = tables.iter().flat_map(|table| table.lines().filter_map(listener));
        listening.filter(|(_, link)| links.contains(link)).map(|(port, _)| port).collect()
    }

    /// Sends it a signal; one that has ended meanwhile is left alone.
    pub(crate) fn signal(self, signal: Signal) {
        let number = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let (true, Some(number)) = (self.is_alive(), number) {
            let _ended_meanwhile = kill_process(number, signal);
        }
    }

    fn folder(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid))
    }
}

/// Waits until none of them runs any more; those that still do after `limit`.
pub(crate) fn survivors(processes: &[Process], limit: Duration) -> Vec<Process> {
    let end = Instant::now() + limit;
    loop {
        let alive: Vec<_> = processes.iter().copied().filter(|p| p.is_alive()).collect();
        if alive.is_empty() || Instant::now() > end {
            return alive;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills what has to do with a folder once we are gone, however that comes: for processes that are
/// no children of ours.
pub(crate) struct Sweeper(Child);

impl Sweeper {
    /// In a process group of its own, so that what ends us does not reach it.
    pub(crate) fn over(folder: &Path) -> std::io::Result<Sweeper> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", "sweep"]).arg(folder).stdin(Stdio::piped()).process_group(0);
        command.spawn().map(Sweeper)
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _reaped_before = self.0.wait();
    }
}

/// The role `sweep`: waits for the end of its input; then, until nobody starts any more, kills all
/// processes that name this folder.
pub(crate) fn sweep_role(words: &[String]) -> ExitCode {
    let [folder] = words else { return ExitCode::FAILURE };
    let _ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let found = Process::who(|argument| argument.contains(folder));
        let others = found.into_iter().filter(|process| process.pid != std::process::id());
        others.for_each(|process| process.signal(Signal::KILL));
        std::thread::sleep(Duration::from_millis(100));
    }
    ExitCode::SUCCESS
}

/// The ports that the kernel hands out by itself.
pub(crate) fn ephemeral_ports() -> std::ops::RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a Linux /proc");
    let mut bounds = text.split_whitespace().map(|word| word.parse().expect("a port"));
    let first = bounds.next().expect("two bounds");
    first..=bounds.next().expect("two bounds")
}

fn all() -> Vec<(u32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, so read on behind the last bracket.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse().ok();
    let (parent, group, threads) = (number(1)?, number(2)?, number(17)?);
    let started = fields.get(19)?.parse().ok()?;
    Some(Stat { state: (*fields.first()?).to_owned(), parent, group, threads, started })
}

/// Port and socket of a line of `/proc/net/tcp`, if the socket listens.
fn listener(line: &str) -> Option<(u16, PathBuf)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    let socket = PathBuf::from(format!("socket:[{}]", fields.get(9)?));
    (*fields.get(3)? == LISTEN).then_some((port, socket))
}

/// The role `sleep`: waits for the end of its input.
pub(crate) fn sleep_role(_: &[String]) -> ExitCode {
    let _ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    ExitCode::SUCCESS
}

/// The trials of this module: what the others rest on.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("processes::a_child_is_found_and_its_end_is_seen", child_is_found),
        Trial::test("processes::a_listening_port_is_found", || {
            let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
            let me = Process::of(std::process::id()).ok_or("no /proc")?;
            assert!(me.ports().contains(&socket.local_addr()?.port()));
            Ok(())
        }),
    ]
}

fn child_is_found() -> Result<(), Failed> {
    let me = Process::of(std::process::id()).ok_or("no /proc")?;
    let program = std::env::current_exe()?;
    let mut child =
        Command::new(program).args(["--role", "sleep"]).stdin(Stdio::piped()).spawn()?;
    let process = Process::of(child.id()).ok_or("the child has no entry in /proc")?;
    let seen = me.descendants().contains(&process) && process.is_alive();
    let early = survivors(&[process], Duration::from_millis(50));
    process.signal(Signal::KILL);
    let late = survivors(&[process], Duration::from_secs(5));
    child.wait()?;
    assert!(seen, "a living child was not found");
    assert_eq!(early, [process], "a living child was taken for dead");
    assert_eq!(late, [], "a dead child was taken for living");
    Ok(())
}
