//! The master program where a case cannot reach: signals, side by side, killed, nobody reading.
//!
//! Its servers are found as a stranger would find them, among its descendants in `/proc`: those
//! whose first argument is `node`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::need::{self, Need};
use crate::processes::{Process, ephemeral_ports, survivors};
use crate::run::{self, Master};
use crate::scale;

/// Far above what anything here should take: a wait that reaches it has failed.
const LONG: Duration = Duration::from_secs(20);

type Body = fn() -> Result<(), Failed>;

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, Body); 14] = [
        ("a_stopped_server_does_not_stop_the_room", stopped_servers),
        ("a_server_killed_from_outside_comes_back", killed_from_outside),
        ("a_killed_master_leaves_no_process_and_its_folder_goes", killed_master),
        ("a_master_that_nobody_reads_ends", nobody_reads),
        ("two_masters_live_side_by_side", side_by_side),
        ("children_hold_no_output", children_hold_no_output),
        ("ports_are_kept_and_not_ephemeral", ports),
        ("the_end_of_input_waits_for_nothing", end_waits_for_nothing),
        ("a_data_folder_that_cannot_be_written_is_no_hindrance", unwritable_data),
        ("kept_folders_are_kept", kept),
        ("a_bomb_of_zero_has_gone_off_when_the_next_command_comes", bomb_of_zero),
        ("idle_all_clears_are_quick", idle_clears),
        ("all_clears_without_a_majority_are_quick", dark_clears),
        ("the_command_is_plain_words", plain_words),
    ];
    let shell = need::trial("master::runs_through_a_shell", &[Need::Program("sh")], shell);
    let all = all.into_iter().map(|(name, f)| Trial::test(format!("master::{name}"), f));
    all.chain([shell]).collect()
}

/// Starts a master with `servers` and `clients`, and waits until it has printed a first message.
fn started(data: &Path, servers: usize, clients: usize) -> Result<Master, Failed> {
    let mut master = Master::start(data)?;
    master.say(&format!("start {servers} {clients}"))?;
    master.say("sendMessage 0 first")?;
    master.say("allClear")?;
    master.say("printChatLog 0")?;
    assert_eq!(master.line(LONG)?, "0 0: first");
    Ok(master)
}

/// The server processes of a master.
fn servers(master: &Master) -> Result<Vec<Process>, Failed> {
    let mut found = master.process()?.descendants();
    found.retain(|process| process.arguments().get(1).is_some_and(|word| word == "node"));
    found.sort();
    Ok(found)
}

/// Stops each server in turn, and so the leader once at least: leadership stays where it is until
/// its holder is stopped. Meanwhile messages are decided; afterwards everyone knows all.
fn stopped_servers() -> Result<(), Failed> {
    const STOPPED: Duration = Duration::from_secs(2);
    let _beside = scale::beside();
    let data = run::data()?;
    let mut master = started(data.path(), 3, 2)?;
    let servers = servers(&master)?;
    assert_eq!(servers.len(), 3, "three servers among the master's processes");
    let mut log = vec!["0 0: first".to_owned()];
    for (at, server) in servers.into_iter().enumerate() {
        server.signal(Signal::STOP);
        let since = Instant::now();
        master.say(&format!("sendMessage 1 number {at} is stopped"))?;
        log.push(format!("{} 1: number {at} is stopped", log.len()));
        let shown = shows(&mut master, &log);
        std::thread::sleep(STOPPED.saturating_sub(since.elapsed()));
        server.signal(Signal::CONT);
        shown?;
        // The next one is stopped only when the system has come to rest: what is sent after the
        // allClear can be seen only when that is over.
        master.say(&format!("allClear\nsendMessage 1 number {at} goes on"))?;
        log.push(format!("{} 1: number {at} goes on", log.len()));
        shows(&mut master, &log)?;
    }
    let wanted: String = log.iter().chain(&log).map(|line| format!("{line}\n")).collect();
    let finished = master.finish(b"printChatLog 0\nprintChatLog 1\n", LONG)?.cleanly()?;
    assert_eq!(String::from_utf8_lossy(&finished.output), wanted);
    Ok(())
}

/// Asks for client 1's log until the last line of `log` is in it: all the others are there. Asks
/// again only when an answer is complete, so that none is left over.
fn shows(master: &mut Master, log: &[String]) -> Result<(), Failed> {
    const PAUSE: Duration = Duration::from_secs(1);
    let (last, known) = log.split_last().ok_or("nothing was sent")?;
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        master.say("printChatLog 1")?;
        for line in known {
            assert_eq!(master.line(LONG)?, *line);
        }
        if let Ok(line) = master.line(PAUSE) {
            assert_eq!(line, *last);
            return Ok(());
        }
    }
    Err("nothing was decided while one of three servers stood still".into())
}

/// Not by command: the master must notice that it is dead, and restart it when told.
fn killed_from_outside() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let master = started(data.path(), 1, 1)?;
    let servers = servers(&master)?;
    servers.iter().for_each(|server| server.signal(Signal::KILL));
    assert_eq!(survivors(&servers, LONG), []);
    let script = b"restartServer 0\nsendMessage 0 second\nallClear\nprintChatLog 0\n";
    let finished = master.finish(script, LONG)?.cleanly()?;
    assert_eq!(String::from_utf8_lossy(&finished.output), "0 0: first\n1 0: second\n");
    Ok(())
}

fn killed_master() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let master = started(data.path(), 3, 2)?;
    let family = master.process()?.descendants();
    assert!(family.len() >= 5, "five processes or more: {family:?}");
    assert!(!run::entries(data.path())?.is_empty(), "the run keeps its stores in its data folder");
    master.process()?.signal(Signal::KILL);
    assert_eq!(survivors(&family, LONG), [], "orphans of a killed master");
    drop(master);
    let next = started(data.path(), 1, 1)?;
    next.finish(b"", LONG)?.cleanly()?;
    assert_eq!(run::entries(data.path())?.len(), 0, "the next run removes what was left");
    Ok(())
}

fn nobody_reads() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut master = Master::unread(data.path())?;
    master.say("start 3 1")?;
    let end = Instant::now() + LONG;
    // Three servers, and the client that comes after them.
    let mut family = Vec::new();
    while family.len() < 4 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        family = master.process()?.descendants();
    }
    assert!(family.len() >= 4, "four processes or more: {family:?}");
    master.close_unread();
    master.await_end(LONG)?;
    assert_eq!(survivors(&family, LONG), [], "orphans of a master that nobody read");
    Ok(())
}

/// The second comes and goes while the first runs, and leaves its folder alone.
fn side_by_side() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let first = started(data.path(), 3, 1)?;
    let second = started(data.path(), 3, 1)?;
    second.finish(b"crashServer 0\n", LONG)?.cleanly()?;
    let script = b"crashServer 0\ncrashServer 1\ncrashServer 2\nrestartServer 0\n\
        restartServer 1\nrestartServer 2\nsendMessage 0 x\nallClear\nprintChatLog 0\n";
    let finished = first.finish(script, LONG)?.cleanly()?;
    assert_eq!(String::from_utf8_lossy(&finished.output), "0 0: first\n1 0: x\n");
    assert_eq!(run::entries(data.path())?.len(), 0, "both have removed their folders");
    Ok(())
}

fn children_hold_no_output() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let master = started(data.path(), 2, 2)?;
    let process = master.process()?;
    let (output, errors) = (process.descriptor(1), process.descriptor(2));
    assert!(output.is_some() && errors.is_some(), "the master's own output");
    for child in process.descendants() {
        for number in 0..64 {
            let held = child.descriptor(number);
            let shared = held.is_some() && (held == output || held == errors);
            assert!(!shared, "{:?} holds {held:?}", child.arguments());
        }
    }
    Ok(())
}

/// A server's ports lie where the kernel hands out none, and are its own after a restart too.
fn ports() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut master = started(data.path(), 3, 1)?;
    let all = |servers: Vec<Process>| servers.iter().flat_map(|s| s.ports()).collect();
    let before: std::collections::BTreeSet<u16> = all(servers(&master)?);
    assert!(before.len() >= 3, "each server listens: {before:?}");
    let ephemeral = ephemeral_ports();
    assert!(!before.iter().any(|port| ephemeral.contains(port)), "{before:?} in {ephemeral:?}");
    for command in ["crashServer 1", "restartServer 1", "sendMessage 0 second", "allClear"] {
        master.say(command)?;
    }
    master.say("printChatLog 0")?;
    assert_eq!(master.line(LONG)?, "0 0: first");
    assert_eq!(master.line(LONG)?, "1 0: second");
    assert_eq!(before, all(servers(&master)?));
    Ok(())
}

fn end_waits_for_nothing() -> Result<(), Failed> {
    let script = b"start 3 1\ncrashServer 0\ncrashServer 1\nsendMessage 0 never decided";
    let _beside = scale::beside();
    let finished = run::script(script, Duration::from_secs(10))?;
    assert_eq!(finished.output, b"");
    Ok(())
}

/// `/proc` takes no folders, not even from root: the run goes where temporary files go.
fn unwritable_data() -> Result<(), Failed> {
    let _beside = scale::beside();
    let temporary = run::data()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
    command.args(["master", "--data", "/proc/no-such-folder"]).env("TMPDIR", temporary.path());
    let script = b"start 1 1\nsendMessage 0 first\nallClear\nprintChatLog 0\n";
    let finished = Master::of(command)?.finish(script, LONG)?.cleanly()?;
    assert_eq!(String::from_utf8_lossy(&finished.output), "0 0: first\n");
    assert_eq!(run::entries(&temporary.path().join("indelible"))?.len(), 0, "the run's folder");
    Ok(())
}

fn kept() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let master = Master::start_with(data.path(), &["--keep"])?;
    master.finish(b"start 1 1\nsendMessage 0 x\nallClear\n", LONG)?.cleanly()?;
    assert!(!run::entries(data.path())?.is_empty(), "--keep keeps the run's folder");
    Ok(())
}

/// Otherwise a restart that follows at once would be ignored, as that of a living server.
fn bomb_of_zero() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut script = b"timeBombLeader 0\nrestartServer 0\nrestartServer 1\n".repeat(5);
    script.extend(b"sendMessage 0 x\nallClear\nprintChatLog 0\n");
    let master = started(data.path(), 2, 1)?;
    let finished = master.finish(&script, LONG)?.cleanly()?;
    assert_eq!(String::from_utf8_lossy(&finished.output), "0 0: first\n1 0: x\n");
    Ok(())
}

/// What is promised is two seconds for forty; the bound leaves room for a slower machine.
fn idle_clears() -> Result<(), Failed> {
    let _alone = scale::alone();
    timed_clears("", 40)
}

/// What is promised is two seconds for ten.
fn dark_clears() -> Result<(), Failed> {
    let _alone = scale::alone();
    timed_clears("crashServer 0\ncrashServer 1\nsendMessage 0 second\n", 10)
}

fn timed_clears(before: &str, count: usize) -> Result<(), Failed> {
    let limit = Duration::from_secs(4);
    let data = run::data()?;
    let master = started(data.path(), 3, 1)?;
    let since = Instant::now();
    let script = format!("{before}{}printChatLog 0\n", "allClear\n".repeat(count));
    let finished = master.finish(script.as_bytes(), LONG)?.cleanly()?;
    let time = since.elapsed();
    assert_eq!(String::from_utf8_lossy(&finished.output), "0 0: first\n");
    assert!(time < limit, "{count} took {time:?}");
    Ok(())
}

/// As a grader does: the shell ends when the master does, and so does its output.
fn shell() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let program = Path::new(env!("CARGO_BIN_EXE_indelible"));
    let line = format!("'{}' master --data '{}'", program.display(), data.path().display());
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    let script = b"start 3 1\nsendMessage 0 x\nallClear\nprintChatLog 0";
    let finished = Master::of(command)?.finish(script, LONG)?.cleanly()?;
    assert_eq!(String::from_utf8_lossy(&finished.output), "0 0: x\n");
    Ok(())
}

/// So `$(cat COMMAND)` works as well as a shell.
fn plain_words() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("COMMAND");
    let text = std::fs::read_to_string(path)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ./_-".contains(c);
    assert_eq!(text.lines().count(), 1, "one line");
    assert!(text.trim_end().chars().all(is_plain), "plain words: {text:?}");
    assert_eq!(text.split_whitespace().next(), Some("target/release/indelible"));
    Ok(())
}
