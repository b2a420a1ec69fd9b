//! The chat client: at a terminal, at the end of a pipe, and as a batch.
//!
//! The terminal is a pseudo-terminal with the client in a session of its own, as in a window.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use indelible::local::{Options, Rig};
use indelible::paxos::NodeId;
use libtest_mimic::{Failed, Trial};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use tokio::runtime::Runtime;

use crate::run;

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("chat::a_line_survives_others_that_arrive", line_survives),
        Trial::test("chat::a_person_sees_the_quorum_go_and_come", quorum_goes),
        Trial::test("chat::leaving_tells_what_is_undecided", leaving),
        Trial::test("chat::a_dumb_terminal_gets_no_escape_codes", dumb),
        Trial::test("chat::a_pipe_gives_up_while_its_input_is_open", open_pipe),
        Trial::test("chat::a_batch_outlives_its_leader", batch),
    ]
}

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(30);

/// The status for "no quorum".
const UNAVAILABLE: i32 = 69;

/// How a line is told apart that is not of the log, where colours are welcome.
const DIMMED: &str = "\u{1b}[2m";

/// What the editor says to a terminal that it puts back into the state it was in.
const GIVEN_BACK: &str = "\u{1b}[?2004l";

/// A cluster of three, and the clients that come to it.
struct Room {
    runtime: Runtime,
    rig: Rig,
    _data: tempfile::TempDir,
}

impl Room {
    /// One whose nodes do not run.
    fn closed() -> Result<Room, Failed> {
        let data = run::data()?;
        let rig = Rig::format(Options {
            nodes: 3,
            data: data.path().to_owned(),
            keep: false,
            program: PathBuf::from(env!("CARGO_BIN_EXE_indelible")),
            allow_faults: false,
            log: "info".to_owned(),
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Room { runtime, rig, _data: data })
    }

    /// One that is ready.
    fn open() -> Result<Room, Failed> {
        let mut room = Room::closed()?;
        room.rig.start_all()?;
        room.runtime.block_on(room.rig.ready(PATIENCE))?;
        Ok(room)
    }

    fn leader(&mut self) -> Result<NodeId, Failed> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(leader) = self.runtime.block_on(self.rig.leader()) {
                return Ok(leader);
            }
            sleep(Duration::from_millis(20));
        }
        Err("nobody leads".into())
    }

    /// How many slots a live node has applied.
    fn applied(&mut self) -> u64 {
        let statuses = self.runtime.block_on(self.rig.statuses());
        statuses.into_iter().flatten().map(|status| status.applied.0).max().unwrap_or(0)
    }

    fn chat(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
        command.arg("chat").arg("--cluster-file").arg(self.rig.cluster_file()).args(flags);
        command.env_remove("NO_COLOR").env("TERM", "xterm");
        command
    }

    /// A client at a terminal, under the name of ann.
    fn ann(&self, variables: &[(&str, &str)]) -> Result<PtySession, Failed> {
        let mut command = self.chat(&["--name", "ann", "--verbose"]);
        command.envs(variables.iter().copied());
        let patience = u64::try_from(PATIENCE.as_millis())?;
        let mut session = spawn_command(command, Some(patience))?;
        session.process_mut().set_kill_timeout(Some(5_000));
        Ok(session)
    }

    /// Somebody else says one line, which takes this slot, and goes.
    fn bob(&self, slot: u64, line: &str) -> Result<(), Failed> {
        let mut child =
            self.chat(&["--name", "bob", "--verbose"]).stdin(Stdio::piped()).spawn_quiet()?;
        writeln!(child.stdin.take().ok_or("no input")?, "{line}")?;
        let output = finished(child)?;
        let told = format!("indelible: #1 decided in slot {slot}\n");
        let is_well = output.status.success() && output.stderr == told.as_bytes();
        if is_well { Ok(()) } else { Err(format!("{output:?}").into()) }
    }

    /// The lines of the log.
    fn log(&self) -> Result<Vec<String>, Failed> {
        let output = finished(self.chat(&[]).stdin(Stdio::null()).spawn_quiet()?)?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }
}

trait Quietly {
    fn spawn_quiet(&mut self) -> std::io::Result<Child>;
}

impl Quietly for Command {
    /// Starts it with both outputs kept.
    fn spawn_quiet(&mut self) -> std::io::Result<Child> {
        self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

/// Waits for its end; kills it if that does not come.
fn finished(mut child: Child) -> Result<Output, Failed> {
    let until = Instant::now() + PATIENCE;
    // A pipe holds less than a long log: somebody must read while we wait.
    let id = child.id();
    let input = child.stdin.take();
    let waiting = std::thread::spawn(move || child.wait_with_output());
    while !waiting.is_finished() && Instant::now() < until {
        sleep(Duration::from_millis(10));
    }
    if !waiting.is_finished()
        && let Some(process) = crate::processes::Process::of(id)
    {
        process.signal(rustix::process::Signal::KILL);
    }
    // It stays open until here.
    drop(input);
    Ok(waiting.join().map_err(|_| "the waiting thread panicked")??)
}

fn exit_code(session: &PtySession) -> Result<i32, Failed> {
    let ended = session.process().wait()?;
    let WaitStatus::Exited(_, code) = ended else {
        return Err(format!("it ended with {ended:?}").into());
    };
    Ok(code)
}

/// That each of these texts stands once in the log, said by ann.
fn assert_once(log: &[String], texts: &[&str]) {
    for text in texts {
        let line = format!(" ann: {text}");
        let count = log.iter().filter(|it| it.ends_with(&line)).count();
        assert_eq!(count, 1, "{text:?} in {log:#?}");
    }
}

/// One-line bugs that turn it red: printing past the editor; echoing a line when it is sent.
fn line_survives() -> Result<(), Failed> {
    let room = Room::open()?;
    let mut ann = room.ann(&[])?;
    let (before, _) = ann.exp_regex("-- replica [012], primary [012], view [0-9]+")?;
    assert!(before.contains(DIMMED), "{before:?}");
    ann.send("half a ")?;
    ann.flush()?;
    ann.exp_string("half a ")?;
    room.bob(0, "one from bob")?;
    room.bob(1, "and \u{1b}[2J another")?;
    ann.exp_string("0 bob: one from bob")?;
    ann.exp_string("ann> half a ")?;
    ann.exp_string("1 bob: and \\u{1b}[2J another")?;
    ann.exp_string("ann> half a ")?;
    // Typed ahead, and with what ends the visit behind it.
    ann.send("line\rthe next\r")?;
    ann.send_control('d')?;
    ann.exp_string("-- #1 sent")?;
    let rest = ann.exp_eof()?;
    let log = room.log()?;
    for line in ["2 ann: half a line", "3 ann: the next"] {
        assert!(rest.contains(&format!("{line}\r\n")), "{line} is not in {rest:?}");
        assert!(log.contains(&line.to_owned()), "{line} is not in {log:#?}");
    }
    assert!(rest.contains("-- #2 decided in slot 3"), "{rest:?}");
    assert_eq!(exit_code(&ann)?, 0);
    assert_eq!(log.len(), 4, "{log:#?}");
    Ok(())
}

/// One-line bugs that turn it red: a second request before the answer to the first; a line sent
/// under a new number after a change of primary; a terminal that is not given back.
fn quorum_goes() -> Result<(), Failed> {
    let mut room = Room::open()?;
    let first = room.leader()?;
    let other = NodeId((first.0 + 1) % 3);
    let mut ann = room.ann(&[])?;
    ann.exp_regex("-- replica [012], primary [012], view [0-9]+")?;
    ann.send("typed while ")?;
    ann.flush()?;
    ann.exp_string("typed while ")?;
    room.rig.kill_all(&[first, other]);
    ann.send("it dies\r")?;
    ann.flush()?;
    ann.exp_regex("no quorum since [0-9:]{8}Z; 1 line not yet decided")?;
    ann.send("the second\r")?;
    ann.flush()?;
    ann.exp_string("-- waits for 1 line not yet decided: the second")?;
    room.rig.start(other)?;
    ann.exp_string("-- #1 decided in slot 0")?;
    let between = ann.exp_string("-- #2 decided in slot 1")?;
    assert!(between.contains("-- #2 sent"), "not before the first was answered: {between:?}");
    let is_told = between.contains(", view ");
    let status = if is_told { between } else { ann.exp_regex("primary [012], view [0-9]+")?.1 };
    let dead = format!("primary {},", first.0);
    assert!(!status.contains(&dead), "{status} tells a dead primary");
    ann.send_control('d')?;
    ann.exp_string("-- left the room")?;
    let rest = ann.exp_eof()?;
    assert!(rest.contains(GIVEN_BACK), "{rest:?}");
    assert_eq!(exit_code(&ann)?, 0);
    let log = room.log()?;
    assert_once(&log, &["typed while it dies", "the second"]);
    assert_eq!(log.len(), 2, "{log:#?}");
    Ok(())
}

/// One-line bugs that turn it red: leaving without a word; a status of success; a style in
/// spite of NO_COLOR.
fn leaving() -> Result<(), Failed> {
    let room = Room::closed()?;
    let mut ann = room.ann(&[("NO_COLOR", "1")])?;
    let (before, _) = ann.exp_regex("-- no replica answers; no quorum since [0-9:]{8}Z")?;
    assert!(!before.contains(DIMMED), "{before:?}");
    ann.send("one\rtwo\rthree\r")?;
    ann.flush()?;
    ann.exp_string("-- waits for 2 lines not yet decided: three")?;
    ann.send_control('d')?;
    ann.exp_string("-- 3 lines not yet decided: waiting; Ctrl-C leaves at once")?;
    ann.send_control('c')?;
    ann.exp_string("left with 3 lines not decided: 1 was sent and may yet be, 2 never sent\r\n")?;
    ann.exp_eof()?;
    assert_eq!(exit_code(&ann)?, UNAVAILABLE);
    Ok(())
}

/// One-line bug that turns it red: the style of status lines, whatever the terminal.
fn dumb() -> Result<(), Failed> {
    let room = Room::closed()?;
    let mut ann = room.ann(&[("TERM", "dumb")])?;
    let mut shown = ann.exp_string("no quorum since")?;
    ann.send("a line\n")?;
    ann.flush()?;
    shown += &ann.exp_string("-- #1 sent")?;
    ann.send_control('c')?;
    shown += &ann.exp_string("left with 1 line not decided")?;
    shown += &ann.exp_eof()?;
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(exit_code(&ann)?, UNAVAILABLE);
    Ok(())
}

/// One-line bugs that turn it red: a wait that begins when the input ends; no word before it is
/// over; a reader of standard input that holds up the end.
fn open_pipe() -> Result<(), Failed> {
    let room = Room::closed()?;
    // More than the client takes: it does not read on.
    let told = give_up(&room, 300, "3s")?;
    let [first, second] = told.lines().collect::<Vec<_>>()[..] else {
        return Err(format!("two lines are right: {told}").into());
    };
    assert!(first.starts_with("indelible: no quorum since "), "{told}");
    assert!(first.ends_with("Z: 256 of 256 undecided; reading has paused"), "{told}");
    assert_eq!(second, "indelible: no quorum: 256 of 256 messages undecided");
    // And less: it reads, and nothing comes.
    let told = give_up(&room, 1, "1s")?;
    assert_eq!(told, "indelible: no quorum: 1 of 1 messages undecided\n");
    Ok(())
}

/// What a pipe says that gets so many lines, and no end, when it has given up.
fn give_up(room: &Room, lines: u32, wait: &str) -> Result<String, Failed> {
    let mut command = room.chat(&["--wait", wait]);
    let mut child = command.stdin(Stdio::piped()).spawn_quiet()?;
    let mut input = child.stdin.take().ok_or("no input")?;
    for number in 0..lines {
        writeln!(input, "message {number}")?;
    }
    let output = finished(child)?;
    drop(input);
    let told = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{told}");
    Ok(told)
}

/// One-line bugs that turn it red: a client that never sends again what has no answer; a client that
/// sends it under another number; a resend that is not counted.
fn batch() -> Result<(), Failed> {
    const COUNT: u64 = 2000;
    let mut room = Room::open()?;
    let count = COUNT.to_string();
    let mut command = room.chat(&["--batch", &count, "--size", "40", "--clients", "4", "--json"]);
    let child = command.stdin(Stdio::null()).spawn_quiet()?;
    let until = Instant::now() + PATIENCE;
    while room.applied() < COUNT / 4 {
        if Instant::now() > until {
            return Err("the batch does not get on".into());
        }
        sleep(Duration::from_millis(5));
    }
    let leader = room.leader()?;
    room.rig.kill(leader);
    let is_in_the_middle = room.applied() < COUNT;
    let output = finished(child)?;
    assert!(is_in_the_middle, "the kill came too late to prove anything");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "a bar where nobody sees it: {output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((told["sent"].as_u64(), told["acknowledged"].as_u64()), (Some(COUNT), Some(COUNT)));
    assert!(told["retried"].as_u64() >= Some(1), "{told}");
    assert!(told["p50_us"].as_u64() <= told["max_us"].as_u64(), "{told}");
    let log = room.log()?;
    let texts = log.iter().filter_map(|line| line.split_once(": ").map(|(_, text)| text));
    let numbers: BTreeSet<&str> = texts.filter_map(|text| text.split(' ').next()).collect();
    assert_eq!(log.len() as u64, COUNT, "as many lines as messages");
    assert_eq!(numbers.len() as u64, COUNT, "each once");
    Ok(())
}
