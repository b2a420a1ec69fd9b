//! A store and the system around it: a second process, a missing right, a full disk, a failing sync.
//!
//! One-line bugs that turn them red: the lock file is not locked; an error of the system is called
//! damage; `format` holds no ballast; the hook goes on after a failed sync; the store is read before
//! it is synced and its cached pages dropped.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use indelible::paxos::{Ballot, Incarnation, NodeId, Record, Slot, Wal};
use indelible::wal::{Error, Identity, Options, Store};
use libtest_mimic::{Failed, Trial};

use crate::need::{self, Need};
use crate::run;
use crate::small::Small;

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let strace = &[Need::Program("strace")];
    vec![
        Trial::test("store::another_process_is_refused", another_process),
        need::trial("store::a_missing_right_is_not_damage", &[Need::Root], missing_right),
        need::trial("store::the_ballast_opens_a_full_disk", &[Need::Root], full_disk),
        need::trial("store::a_failed_sync_ends_the_process", strace, failed_syncs),
        need::trial("store::it_is_synced_before_it_is_read", strace, synced_before_read),
    ]
}

/// The roles of the children.
pub(crate) const ROLES: &[(&str, crate::Role)] =
    &[("store-opener", open_once), ("store-committer", commit_some)];

/// Commits of one life of the committer.
const COMMITS: u64 = 48;

/// `EX_IOERR`.
const IO_ERROR: i32 = 74;

/// Opens a store, and says how that went: `open`, or the kind of the error and its words.
fn open_once(args: &[String]) -> ExitCode {
    let [path] = args else { return ExitCode::FAILURE };
    let said = match Store::open(Path::new(path)) {
        Ok(_) => "open".to_owned(),
        Err(error @ Error::Damaged { .. }) => format!("damaged: {error}"),
        Err(error @ Error::Full { .. }) => format!("full: {error}"),
        Err(error) => format!("refused: {error}"),
    };
    let told = writeln!(std::io::stdout(), "{said}");
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Opens a store and commits, and says after each commit how many slots are decided.
fn commit_some(args: &[String]) -> ExitCode {
    let [path] = args else { return ExitCode::FAILURE };
    let Ok(mut store) = Store::open(Path::new(path)) else { return ExitCode::from(66) };
    let Ok(state) = store.load() else { return ExitCode::from(66) };
    let from = state.mark().0;
    for mark in from + 1..=from + COMMITS {
        if store.commit(&[Record::Decided(Slot(mark))]).is_err() {
            return ExitCode::from(IO_ERROR as u8);
        }
        if writeln!(std::io::stdout(), "{mark}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn format(path: &Path, ballast_bytes: u64) -> Result<(), Failed> {
    let identity = Identity::new("trial", NodeId(0), Incarnation(1));
    Ok(Store::format(path, &identity, Options { ballast_bytes })?)
}

fn role(name: &str, store: &Path) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--role", name]).arg(store).stdin(Stdio::null());
    Ok(command)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn another_process() -> Result<(), Failed> {
    let data = run::data()?;
    let path = data.path().join("store");
    format(&path, 0)?;
    let held = Store::open(&path)?;
    let second = said(&role("store-opener", &path)?.output()?);
    let expected = format!("in use by process {}", std::process::id());
    assert!(second.starts_with("refused: ") && second.contains(&expected), "{second}");
    drop(held);
    assert_eq!(said(&role("store-opener", &path)?.output()?), "open\n");
    Ok(())
}

/// Whoever may not read the store is told so, not that it is damaged.
fn missing_right() -> Result<(), Failed> {
    const NOBODY: u32 = 65534;
    // Whoever has no rights must reach the folder, and the program; the build's folder may be
    // closed to him.
    let data = tempfile::tempdir()?;
    let program = data.path().join("trial");
    fs::copy(std::env::current_exe()?, &program)?;
    let path = data.path().join("store");
    format(&path, 0)?;
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(data.path(), open_to_all)?;
    let mut command = Command::new(&program);
    command.args(["--role", "store-opener"]).arg(&path).uid(NOBODY).gid(NOBODY);
    let said = said(&command.current_dir("/").output()?);
    assert!(said.starts_with("refused: ") && said.contains("ermission denied"), "{said:?}");
    assert_eq!(self::said(&role("store-opener", &path)?.output()?), "open\n", "root may");
    Ok(())
}

fn full_disk() -> Result<(), Failed> {
    let disk = Small::mount(64)?;
    let path = disk.path().join("store");
    format(&path, 24 << 20)?;
    let first = role("store-committer", &path)?.output()?;
    assert!(first.status.success(), "{first:?}");
    let filler = disk.fill()?;
    let refused = said(&role("store-opener", &path)?.output()?);
    assert!(refused.starts_with("full: "), "a full disk is called so: {refused}");
    let big = fs::metadata(path.join("ballast"))?.len();
    assert_eq!(big, 24 << 20, "the ballast is still there");
    fs::remove_file(path.join("ballast"))?;
    let after = role("store-committer", &path)?.output()?;
    let found = last_number(&after).ok_or_else(|| format!("it does not open: {after:?}"))?;
    assert_eq!(found, 2 * COMMITS, "nothing acknowledged is missing");
    Ok(fs::remove_file(filler)?)
}

fn last_number(output: &Output) -> Option<u64> {
    said(output).lines().last()?.parse().ok()
}

/// The n-th sync of some thread fails (strace counts for each by itself, and sled has several): the
/// process ends at once, says why, acknowledges nothing more; and what it acknowledged is there.
fn failed_syncs() -> Result<(), Failed> {
    let data = run::data()?;
    let path = data.path().join("store");
    format(&path, 0)?;
    let trace = data.path().join("trace");
    let mut held = 0;
    let mut failures = 0;
    for point in 1..=COMMITS {
        let inject = format!("inject=fdatasync:error=EIO:when={point}");
        let role = role("store-committer", &path)?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=fdatasync", "-e", &inject, "-o"]).arg(&trace);
        let output = strace.arg(role.get_program()).args(role.get_args()).output()?;
        let acknowledged = last_number(&output).unwrap_or(held);
        if output.status.success() {
            break;
        }
        failures += 1;
        let calls = fs::read_to_string(&trace)?;
        let later = calls.split("INJECTED").nth(1).unwrap_or_default();
        assert!(!later.contains("fdatasync("), "point {point}: it tried again:\n{calls}");
        let status = output.status.code();
        assert!(matches!(status, Some(66 | IO_ERROR)), "point {point}: {output:?}");
        let mut store = Store::open(&path)?;
        let mark = store.load()?.mark().0;
        assert!(mark >= acknowledged, "point {point}: {acknowledged} acknowledged, {mark} held");
        held = mark;
    }
    eprintln!("store: a failed sync at each of {failures} points, nothing lost");
    assert!(failures >= 3, "only {failures} points in {COMMITS} commits");
    Ok(())
}

/// After a failed sync the cache may show what the disk never got: so each file is synced and its
/// cached pages dropped before its first byte is read.
fn synced_before_read() -> Result<(), Failed> {
    let data = run::data()?;
    let path = data.path().join("store");
    format(&path, 0)?;
    let mut store = Store::open(&path)?;
    let ballot = Ballot { round: 1, node: NodeId(0), incarnation: Incarnation(1) };
    store.commit(&[Record::Promised(ballot)])?;
    drop(store);
    let trace = data.path().join("trace");
    let role = role("store-opener", &path)?;
    let mut strace = Command::new("strace");
    let calls = "trace=read,pread64,fsync,fdatasync,fadvise64";
    strace.args(["-f", "-qq", "-y", "-e", calls, "-o"]).arg(&trace);
    let output = strace.arg(role.get_program()).args(role.get_args()).output()?;
    assert_eq!(said(&output), "open\n");
    let trace = fs::read_to_string(&trace)?;
    for file in ["log/db", "log/conf", "high-water"] {
        let name = format!("{}>", path.join(file).display());
        let of = |call: &str| trace.lines().position(|l| l.contains(call) && l.contains(&name));
        let read = of("read(").into_iter().chain(of("pread64(")).min();
        let (synced, dropped) = (of("fsync("), of("fadvise64("));
        assert!(synced.is_some() && dropped.is_some(), "{file}: {synced:?}, {dropped:?}");
        assert!(synced < dropped, "{file}: dropped before it was synced");
        assert!(read.is_none_or(|read| dropped < Some(read)), "{file}: read before that");
    }
    for folder in ["", "/log", "/log/blobs"] {
        let end = format!("{}{folder}>) = 0", path.display());
        let synced = trace.lines().any(|line| line.contains("fsync(") && line.ends_with(&end));
        assert!(synced, "the folder {end:?} is not synced:\n{trace}");
    }
    Ok(())
}
