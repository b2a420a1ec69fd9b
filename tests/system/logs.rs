//! Executed logs: what nodes append to their files, what `verify` says of them, and the views that
//! `status` tells meanwhile. Clusters by flags alone, a process at a time, as a person starts them.
//!
//! One-line bugs that turn them red: a file that is appended to without being compared; a status
//! that tells the view of the promise, not of the leader that is heard; a verdict that ends with
//! exit status 0 whatever it is.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indelible::local::ports::Ports;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::need::{Need, trial};
use crate::small::Small;
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("logs::files_are_compared", files),
        Trial::test("logs::views_pass_on_and_a_late_or_returning_node_tells_the_same", views),
        Trial::test("logs::killed_nodes_continue_their_files", killed),
        Trial::test("logs::a_file_that_is_not_its_own_ends_a_node", foreign),
        trial("logs::a_full_disk_under_the_file_stops_no_node", &[Need::Root], full),
    ]
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a command did.
#[derive(Debug)]
struct Done {
    status: i32,
    out: String,
    err: String,
}

fn indelible(args: &[&str]) -> Result<Done, Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_indelible")).args(args).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let status = output.status.code().unwrap_or(-1);
    Ok(Done { status, out: text(output.stdout), err: text(output.stderr) })
}

/// Asks again until it holds.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > end {
            return Err(format!("not in {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    Ok(())
}

/// Three nodes, each with a store, a log file and, while it runs, a process.
struct Three {
    running: [Option<Ending>; 3],
    ports: Ports,
    // The last field: removed when nobody writes there any more.
    folder: tempfile::TempDir,
}

impl Three {
    fn format() -> Result<Three, Failed> {
        let (folder, ports) = (run::data()?, Ports::reserve(3)?);
        let three = Three { running: [None, None, None], ports, folder };
        for node in 0..3 {
            let (id, store) = (format!("--id={node}"), three.store(node));
            let done = indelible(&["format", &three.replicas(), &id, &store, "--ballast=0"])?;
            assert_eq!(done.status, 0, "{done:?}");
        }
        Ok(three)
    }

    fn replicas(&self) -> String {
        let address = |node| format!("127.0.0.1:{}", self.ports.port(node));
        format!("--replicas={},{},{}", address(0), address(1), address(2))
    }

    fn store(&self, node: usize) -> String {
        format!("--store={}", self.folder.path().join(format!("store-{node}")).display())
    }

    fn log(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("{node}.log"))
    }

    fn said(&self, node: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("{node}.err"))).unwrap_or_default()
    }

    fn start(&mut self, node: usize) -> Result<(), Failed> {
        let log = self.log(node);
        self.start_over(node, &log)
    }

    /// Starts a node that appends to this file.
    fn start_over(&mut self, node: usize, log: &Path) -> Result<(), Failed> {
        let err = self.folder.path().join(format!("{node}.err"));
        let err = fs::File::options().create(true).append(true).open(err)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
        command.args(["node", "--f=1", "--log=info", &self.replicas(), &self.store(node)]);
        command.arg(format!("--id={node}")).arg(format!("--log-file={}", log.display()));
        // Tied to us, so that none outlives a test that is killed.
        command.arg(format!("--tied={}", std::process::id()));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(err);
        self.running[node] = Some(Ending(command.spawn()?));
        Ok(())
    }

    fn kill(&mut self, node: usize) -> Result<(), Failed> {
        let mut running = self.running[node].take().ok_or("it does not run")?;
        Ok(running.0.kill()?)
    }

    /// What each node that answers says of itself.
    fn statuses(&self) -> Result<Vec<Value>, Failed> {
        let done = indelible(&["status", &self.replicas(), "--json"])?;
        let all: Vec<Value> = serde_json::from_str(&done.out)?;
        Ok(all.into_iter().filter(|node| node.get("error").is_none()).collect())
    }

    /// Waits until so many nodes are in one view, led by its primary; the primary.
    fn agreed(&self, nodes: usize) -> Result<usize, Failed> {
        let mut primary = 0;
        until("all in one view, and led", || {
            let told = self.statuses()?;
            let view = |node: &Value| (node["view"].as_u64(), node["leader"].as_u64());
            let Some((Some(first), Some(leader))) = told.first().map(view) else {
                return Ok(false);
            };
            primary = leader as usize;
            let same = told
                .iter()
                .all(|node| view(node) == (Some(first), Some(leader)) && node["primary"] == leader);
            Ok(told.len() == nodes && same && first % 3 == leader)
        })?;
        Ok(primary)
    }

    /// `verify` over the files of some nodes.
    fn verify(&self, nodes: &[usize], flags: &[&str]) -> Result<Done, Failed> {
        let logs: Vec<String> =
            nodes.iter().map(|node| self.log(*node).display().to_string()).collect();
        let logs = logs.iter().map(String::as_str);
        indelible(
            &["verify"].into_iter().chain(logs).chain(flags.iter().copied()).collect::<Vec<_>>(),
        )
    }

    fn say(&self, text: &str) -> Result<(), Failed> {
        let lines = Lines::start(&self.replicas())?;
        lines.finish(&[text]).map(drop)
    }
}

/// A process that ends with this.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _reaped_before = self.0.wait();
    }
}

/// A chat client that is fed lines.
struct Lines {
    chat: Ending,
    input: ChildStdin,
    /// Reads what it prints all the time, or it would stop for want of a reader.
    printed: JoinHandle<std::io::Result<String>>,
}

impl Lines {
    fn start(replicas: &str) -> Result<Lines, Failed> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
        command.args(["chat", "--name=ann", "--wait=20s", replicas]);
        let mut chat = Ending(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let input = chat.0.stdin.take().ok_or("a pipe was asked for")?;
        let mut output = chat.0.stdout.take().ok_or("a pipe was asked for")?;
        let printed = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        Ok(Lines { chat, input, printed })
    }

    /// Says these last, and returns all that is decided once they are.
    fn finish(mut self, last: &[&str]) -> Result<String, Failed> {
        for line in last {
            writeln!(self.input, "{line}")?;
        }
        drop(self.input);
        let text = self.printed.join().map_err(|_| "the reader panicked")??;
        let status = self.chat.0.wait()?;
        assert!(status.success(), "chat: {status}");
        Ok(text)
    }
}

/// Says a line each millisecond, until it is told to end or dropped.
struct Chatter {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(usize, String), String>>>,
}

impl Chatter {
    fn start(mut lines: Lines) -> Chatter {
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut said = 0;
            while !ends.load(Ordering::Relaxed) {
                writeln!(lines.input, "line {said}").map_err(|error| error.to_string())?;
                said += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            let decided = lines.finish(&[]).map_err(|failed| format!("{failed:?}"))?;
            Ok((said, decided))
        });
        Chatter { end, thread: Some(thread) }
    }

    /// How many lines it said, and all that is decided.
    fn end(mut self) -> Result<(usize, String), Failed> {
        self.end.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("it was started")?;
        Ok(thread.join().map_err(|_| "the chatter panicked")??)
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // Its client gives up by itself where nobody is left to answer.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn files() -> Result<(), Failed> {
    let folder = run::data()?;
    let write = |name: &str, text: &str| -> Result<String, Failed> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let whole = write("whole", "0 a: x\n1 b: y\n3 a: z\n")?;
    let same = write("same", "0 a: x\n1 b: y\n3 a: z\n")?;
    let short = write("short", "0 a: x\n1 b: y\n")?;
    let torn = write("torn", "0 a: x\n1 b: y\n3 a")?;
    let other = write("other", "0 a: x\n2 b: y\n3 a: z\n")?;
    let double = write("double", "0 a: x\n1 b: y\n1 b: y\n3 a: z\n")?;
    let twice = write("twice", "0 a: x\n1 b: y\n1 b: y\n")?;
    let missing = folder.path().join("missing").display().to_string();
    let cases: [(&[&str], i32, &str); 10] = [
        (&[&whole, &same], 0, "identical: 3 lines"),
        (&[&whole, &short, &same], 0, "short is 1 line behind (2 lines in common, hash "),
        (&[&whole, &torn], 0, "unfinished line of 3 bytes at the end not counted"),
        (&[&whole, &other], 1, "differ: the first line that is not the same is line 2"),
        (&[&short, &other, &whole], 1, "other: 2 b: y"),
        (&[&whole, &double], 1, "is line 3"),
        (&[&twice, &twice], 1, "no executed log: "),
        (&[&whole, &missing], 66, "missing: No such file"),
        (&[&whole, "/"], 74, "Is a directory"),
        (&[&whole], 64, "compare what?"),
    ];
    for (logs, status, words) in cases {
        let done = indelible(&[&["verify"], logs].concat())?;
        let told = format!("{}{}", done.out, done.err);
        assert!(done.status == status && told.contains(words), "{logs:?}: {done:?}");
    }
    let json = indelible(&["verify", "--json", &whole, &other])?;
    let told: Value = serde_json::from_str(&json.out)?;
    assert_eq!((&told["verdict"], json.status), (&Value::from("differ"), 1));
    assert_eq!(told["difference"]["line"], 2);
    assert_eq!(told["difference"]["sides"][1]["text"], "2 b: y");
    assert_eq!(told["logs"][0]["lines"], 3);
    Ok(())
}

fn views() -> Result<(), Failed> {
    let _beside = scale::beside();
    let mut three = Three::format()?;
    three.start(2)?;
    until("one node answers", || Ok(three.statuses()?.len() == 1))?;
    let alone = indelible(&["verify", &three.replicas()])?;
    assert!(alone.status == 69 && alone.out.contains("does not answer"), "{alone:?}");
    three.start(1)?;
    three.agreed(2)?;
    three.say("two are enough")?;
    three.start(0)?;
    let primary = three.agreed(3)?;
    three.kill(primary)?;
    let next = three.agreed(2)?;
    assert_ne!(next, primary);
    let words = format!("its primary is node {next}");
    let told = |node: usize| three.said(node).contains(&words);
    assert!((0..3).filter(|node| *node != primary).all(told), "in the logs of both");
    assert!(three.said(next).contains("takes office in view"));
    // Nothing is said meanwhile: it hears the new primary, and promises it nothing.
    three.start(primary)?;
    three.agreed(3)?;
    Ok(())
}

fn killed() -> Result<(), Failed> {
    let _beside = scale::beside();
    let mut three = Three::format()?;
    (0..3).try_for_each(|node| three.start(node))?;
    three.agreed(3)?;
    let chatter = Chatter::start(Lines::start(&three.replicas())?);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(300));
        let primary = three.agreed(3)?;
        for victim in [primary, (primary + 1) % 3] {
            three.kill(victim)?;
            three.start(victim)?;
        }
        three.agreed(3)?;
    }
    let (said, decided) = chatter.end()?;
    assert!(said > 1000, "too few to be hit: {said}");
    let replicas = three.replicas();
    until("files and replicas are one log", || {
        let done = three.verify(&[0, 1, 2], &[&replicas])?;
        assert_eq!(done.status, 0, "{done:?}");
        Ok(done.out.contains(&format!("identical: {said} lines")))
    })?;
    for node in 0..3 {
        assert_eq!(fs::read_to_string(three.log(node))?, decided, "the log of node {node}");
    }
    three.kill(1)?;
    three.say("only two hear this")?;
    let done = three.verify(&[1], &[&replicas])?;
    assert!(done.status == 0 && done.out.contains("1.log is 1 line behind"), "{done:?}");
    let silent: Vec<&str> =
        done.out.lines().filter(|line| line.contains("does not answer")).collect();
    assert!(silent.len() == 1 && silent[0].contains("node 1 at"), "{done:?}");
    Ok(())
}

fn foreign() -> Result<(), Failed> {
    let _beside = scale::beside();
    let mut three = Three::format()?;
    // Nothing is executed yet, so the file can only be refused once something is.
    let other = three.folder.path().join("other.log");
    fs::write(&other, "0 bob: I was here\n")?;
    three.start(0)?;
    three.start(1)?;
    three.start_over(2, &other)?;
    three.agreed(3)?;
    three.say("hello")?;
    let words = "line 1 is \"0 bob: I was here\", but this cluster has executed \"0 ann: hello\"";
    let ended = |three: &mut Three| -> Result<(), Failed> {
        let mut child = three.running[2].take().ok_or("it was started")?;
        until("the node ends", || Ok(child.0.try_wait()?.is_some()))?;
        assert_eq!(child.0.wait()?.code(), Some(78));
        assert!(three.said(2).contains(words), "{}", three.said(2));
        Ok(())
    };
    ended(&mut three)?;
    // Now it knows at the start.
    three.start_over(2, &other)?;
    ended(&mut three)?;
    assert_eq!(fs::read_to_string(&other)?, "0 bob: I was here\n", "left as it was");
    three.start(2)?;
    until("it is in", || Ok(three.verify(&[0, 1, 2], &[])?.out.contains("identical: 1 lines")))
}

fn full() -> Result<(), Failed> {
    let _beside = scale::beside();
    let small = Small::mount(1)?;
    let log = small.path().join("0.log");
    let mut three = Three::format()?;
    three.start_over(0, &log)?;
    (1..3).try_for_each(|node| three.start(node))?;
    three.agreed(3)?;
    let long = "x".repeat(100_000);
    let lines = Lines::start(&three.replicas())?;
    lines.finish(&[long.as_str(); 15])?;
    until("it is told", || Ok(three.said(0).contains("the log file cannot be written")))?;
    until("the others have it all", || {
        Ok(three.verify(&[1, 2], &[])?.out.contains("identical: 15 lines"))
    })?;
    assert_eq!(three.statuses()?.len(), 3, "the node goes on");
    assert!(fs::metadata(&log)?.len() <= 1 << 20);
    let part = log.display().to_string();
    let short = three.verify(&[1], &[&part])?;
    assert!(short.status == 0 && short.out.contains("0.log is "), "{short:?}");
    small.grow(4)?;
    until("the rest is written", || {
        Ok(three.verify(&[1], &[&part])?.out.contains("identical: 15 lines"))
    })?;
    assert!(three.said(0).contains("is written again"));
    assert_eq!(three.said(0).matches("cannot be written").count(), 1, "one warning");
    Ok(())
}
