//! `indelible lock` and its companions, as a shell sees them.
//!
//! One-line bugs that turn them red: the command's exit status that becomes ours; a flag behind
//! `--` that is taken for our own; a lease that is believed from when the answer came; SIGTERM that is
//! not passed on; a command without its death signal; a patience that is not kept; a resource that
//! does not look at the token.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indelible::local::Rig;
use indelible::paxos::NodeId;
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

use crate::history::{PATIENCE, PROGRAM, trial};
use crate::{Role, locks, run};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("lock_command::its_status_is_that_of_the_command", statuses),
        trial("lock_command::who_is_refused_hears_why", refusals),
        trial("lock_command::a_lost_lease_ends_the_command_in_time", lost_lease),
        trial("lock_command::signals_reach_the_command_and_death_too", signals),
        trial("lock_command::a_stopped_holder_is_fenced", fenced),
        trial("lock_command::a_deadlock_is_spelled_out", deadlock),
        trial("lock_command::a_lock_is_broken_on_the_record", broken),
        trial("lock_command::a_script_goes_over_one_session", script),
    ]
}

/// What this binary does as a command that runs under a lock.
pub(crate) const ROLES: &[(&str, Role)] = &[("guarded", guarded_role)];

const BUSY: i32 = 75;
const LOST: i32 = 76;
const NOT_OWNER: i32 = 77;
const UNAVAILABLE: i32 = 69;
const USAGE: i32 = 64;
const CONFIG: i32 = 78;

fn command(cluster: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    let (name, rest) = words.split_first().expect("a command");
    command.arg(name).arg("-f").arg(cluster).args(rest);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn said(cluster: &Path, words: &[&str]) -> Result<(i32, String, String), Failed> {
    let output = command(cluster, words).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let status = output.status.code().ok_or("it ends by itself")?;
    Ok((status, text(&output.stdout), text(&output.stderr)))
}

fn expect(
    cluster: &Path,
    words: &[&str],
    status: i32,
    out: &str,
    err: &str,
) -> Result<String, Failed> {
    let said = said(cluster, words)?;
    if said.0 == status && said.1.contains(out) && said.2.contains(err) {
        return Ok(said.1);
    }
    Err(format!("{words:?}: expected {status}, \"{out}\", \"{err}\"; got {said:?}").into())
}

/// A holder that keeps a lock until it is told to end, by the end of its standard input.
struct Holder {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Holder {
    /// Holds once this returns.
    fn start(cluster: &Path, options: &[&str]) -> Result<Holder, Failed> {
        let script = "echo holds $INDELIBLE_LOCK_TOKEN; read line; exit 0";
        let words = [&["lock"], options, &["--", "sh", "-c", script]].concat();
        Holder::spawn(command(cluster, &words), "holds")
    }

    fn spawn(mut command: Command, first: &str) -> Result<Holder, Failed> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("a pipe")?);
        let mut holder = Holder { child, out };
        let line = holder.line()?;
        if line.contains(first) { Ok(holder) } else { Err(format!("not \"{line}\"").into()) }
    }

    fn line(&mut self) -> Result<String, Failed> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The process that runs under the lock.
    fn command_pid(&self) -> Result<Pid, Failed> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(path)?;
        let first = children.split_whitespace().next().ok_or("a command runs")?;
        Ok(Pid::from_raw(first.parse()?).ok_or("a process id")?)
    }

    fn end(mut self) -> Result<Output, Failed> {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.out.read_to_end(&mut stdout)?;
        self.child.stderr.take().ok_or("a pipe")?.read_to_end(&mut stderr)?;
        Ok(Output { status: self.child.wait()?, stdout, stderr })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn statuses() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    expect(&file, &["lock", "a", "--", "sh", "-c", "exit 7"], 7, "", "")?;
    expect(&file, &["lock", "a", "--", "sh", "-c", "kill -9 $$"], 128 + 9, "", "")?;
    expect(&file, &["lock", "a", "--", "echo", "--version", "--ttl"], 0, "--version --ttl", "")?;
    expect(&file, &["lock", "a", "--", "/no/such/thing"], 127, "", "cannot run /no/such/thing")?;
    expect(&file, &["lock", "a", "--", "/etc"], 126, "", "cannot run /etc")?;
    let token = "echo $INDELIBLE_LOCK_TOKEN";
    let first: u64 = expect(&file, &["lock", "a", "--", "sh", "-c", token], 0, "", "")?.parse()?;
    let later: u64 =
        expect(&file, &["lock", "a,b", "--", "sh", "-c", token], 0, "", "")?.parse()?;
    assert!(first < later, "tokens grow: {first}, {later}");
    for wrong in [&["lock"][..], &["lock", "a", "--ttl", "1ms"], &["lock", "a", "-n", "-w", "1s"]] {
        expect(&file, wrong, USAGE, "", "")?;
    }
    expect(&file, &["lock", "a,,b", "--", "true"], USAGE, "", "nothing stands between commas")?;
    expect(&file, &["chat"], CONFIG, "", "runs the lock service")?;
    let nodes: Vec<NodeId> = (0..3).map(NodeId).collect();
    rig.kill_all(&nodes);
    let since = Instant::now();
    let words = ["lock", "a", "--connect-timeout", "1s", "--", "true"];
    expect(&file, &words, UNAVAILABLE, "", "no quorum answered within 1s")?;
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
    for words in [&["ls"][..], &["show", "a"], &["check", "a", "1"]] {
        let words = [words, &["--connect-timeout", "300ms"]].concat();
        expect(&file, &words, UNAVAILABLE, "", "no quorum")?;
    }
    locks::audit(&mut rig)
}

async fn refusals() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    expect(&file, &["show", "a"], 1, "\"a\" is free", "")?;
    let holder = Holder::start(&file, &["a", "--label", "ann"])?;
    let busy = "busy: \"a\" is held by ann (session ";
    expect(&file, &["lock", "-n", "a", "--", "true"], BUSY, "", busy)?;
    expect(&file, &["lock", "-n", "b,a", "--", "true"], BUSY, "", busy)?;
    expect(&file, &["lock", "-n", "-E", "3", "a", "--", "true"], 3, "", busy)?;
    expect(&file, &["lock", "a", "-w", "300ms", "--", "true"], BUSY, "", "timed out: \"a\"")?;
    let words = ["lock", "a", "-n", "--json"];
    let object: serde_json::Value = serde_json::from_str(&expect(&file, &words, BUSY, "", "")?)?;
    assert_eq!(
        (&object["result"], &object["by"]["held"]["label"]),
        (&"busy".into(), &"ann".into())
    );
    assert!(object["by"]["held"]["left_ms"].as_u64() > Some(0), "{object}");
    let shown = expect(&file, &["show", "a"], 0, "held by ann", "")?;
    assert!(shown.contains("s left"), "{shown}");
    let listed = expect(&file, &["ls", "--json"], 0, "", "")?;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let object: serde_json::Value = serde_json::from_str(&listed)?;
    let token = object["holder"]["token"].as_u64().ok_or("a token")?;
    expect(&file, &["check", "a", &token.to_string()], 0, "current", "")?;
    expect(&file, &["check", "a", &(token + 1).to_string()], NOT_OWNER, "", "not owner")?;
    let stranger = "0".repeat(32);
    let words = ["unlock", "a", &token.to_string(), "--session", &stranger];
    expect(&file, &words, NOT_OWNER, "", "not owner: \"a\" is held by ann")?;
    assert!(holder.end()?.status.success());
    expect(&file, &["lock", "-n", "a", "--", "true"], 0, "", "")?;
    // Without a command it stays, until it is given back.
    let granted = expect(&file, &["lock", "a", "--ttl", "10m"], 0, "a ", "")?;
    let words: Vec<&str> = granted.split(' ').collect();
    expect(&file, &["lock", "-n", "a", "--", "true"], BUSY, "", "busy")?;
    expect(&file, &["unlock", "a", words[1], "--session", words[2]], 0, "unlocked", "")?;
    expect(&file, &["unlock", "a", words[1], "--session", words[2]], NOT_OWNER, "", "is free")?;
    expect(&file, &["lock", "-n", "a", "--", "true"], 0, "", "")?;
    locks::audit(&mut rig)
}

/// Two of three are gone: the command is asked to end, and killed if it does not, before the lease
/// is over.
async fn lost_lease() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    let ttl = Duration::from_secs(10);
    let mut deaf = command(&file, &["lock", "deaf", "--ttl", "10s", "--", "sh", "-c"]);
    deaf.arg("trap 'echo asked' TERM; echo holds; while :; do sleep 0.1; done");
    let mut deaf = Holder::spawn(deaf, "holds")?;
    let since = Instant::now();
    rig.kill_all(&[NodeId(0), NodeId(1)]);
    assert_eq!(deaf.line()?, "asked");
    let asked = since.elapsed();
    let output = deaf.end()?;
    let ended = since.elapsed();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(LOST), "{err}");
    assert!(err.contains("lost while the command ran: no quorum has renewed"), "{err}");
    // The lease was renewed a moment before the two died, at most.
    assert!(asked < ended && ended < ttl, "asked after {asked:.1?}, killed after {ended:.1?}");
    rig.start(NodeId(0))?;
    rig.start(NodeId(1))?;
    rig.ready(PATIENCE).await?;
    expect(&file, &["lock", "deaf", "-w", "60s", "--", "true"], 0, "", "")?;
    locks::audit(&mut rig)
}

async fn signals() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    let mut trapping = command(&file, &["lock", "a", "--", "sh", "-c"]);
    trapping.arg("trap 'exit 9' TERM; echo holds; while :; do sleep 0.1; done");
    let holder = Holder::spawn(trapping, "holds")?;
    kill_process(holder.pid(), Signal::TERM)?;
    assert_eq!(holder.end()?.status.code(), Some(9), "it was passed on, and the status is its own");
    let holder = Holder::start(&file, &["a", "--ttl", "2s"])?;
    let under = holder.command_pid()?;
    kill_process(holder.pid(), Signal::KILL)?;
    gone(under)?;
    // Nobody has ended the session; it ends itself.
    expect(&file, &["lock", "a", "-w", "60s", "--", "true"], 0, "", "")?;
    // One that waits, and is asked to end, leaves nothing behind.
    let holder = Holder::start(&file, &["a"])?;
    let mut waiting = command(&file, &["lock", "a", "--label", "eve", "--", "true"]).spawn()?;
    let until = Instant::now() + PATIENCE;
    while !said(&file, &["show", "a"])?.1.contains("eve") {
        assert!(Instant::now() < until, "it waits");
    }
    kill_process(Pid::from_child(&waiting), Signal::TERM)?;
    assert_eq!(waiting.wait()?.code(), Some(128 + 15));
    let shown = expect(&file, &["show", "a"], 0, "", "")?;
    assert!(!shown.contains("eve"), "{shown}");
    holder.end()?;
    locks::audit(&mut rig)
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Waits until a process is no more.
fn gone(pid: Pid) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    // Of one that nobody has waited for yet the state is Z.
    while std::fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z ")) {
        if Instant::now() > until {
            return Err(format!("process {pid:?} runs on").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A resource that a lock guards: it keeps the highest token that it was shown, and refuses lower
/// ones.
struct Guarded {
    address: String,
    /// Each token that was taken, in order.
    taken: Arc<Mutex<Vec<u64>>>,
    /// Each that was refused.
    refused: Arc<Mutex<Vec<u64>>>,
}

impl Guarded {
    fn open() -> Result<Guarded, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (taken, refused) =
            (Arc::<Mutex<Vec<u64>>>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let (takes, refuses) = (taken.clone(), refused.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (takes, refuses) = (takes.clone(), refuses.clone());
                std::thread::spawn(move || serve(stream, &takes, &refuses));
            }
        });
        Ok(Guarded { address, taken, refused })
    }
}

/// One writer: a token a line; the answer is `ok` or `refused`.
fn serve(stream: TcpStream, taken: &Mutex<Vec<u64>>, refused: &Mutex<Vec<u64>>) {
    let Ok(mut answers) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Ok(token) = line.trim().parse::<u64>() else { return };
        let mut taken = taken.lock().expect("no writer panics");
        let answer = if taken.last().is_none_or(|highest| *highest <= token) {
            taken.push(token);
            "ok\n"
        } else {
            refused.lock().expect("no writer panics").push(token);
            "refused\n"
        };
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Writes to the resource, with its token, until it is refused.
fn guarded_role(words: &[String]) -> ExitCode {
    let write = || -> Result<bool, Box<dyn std::error::Error>> {
        let token = std::env::var("INDELIBLE_LOCK_TOKEN")?;
        let mut stream = TcpStream::connect(&words[0])?;
        let mut answers = BufReader::new(stream.try_clone()?);
        writeln!(std::io::stdout(), "holds {token}")?;
        loop {
            stream.write_all(format!("{token}\n").as_bytes())?;
            let mut answer = String::new();
            answers.read_line(&mut answer)?;
            if answer.trim() != "ok" {
                return Ok(answer.trim() == "refused");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    match write() {
        Ok(true) => ExitCode::from(3),
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// The holder, its watch and its command, is stopped for longer than its lease, and goes on: it
/// believes that it holds the lock, and writes. Only the token protects.
async fn fenced() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    let guarded = Guarded::open()?;
    let own = std::env::current_exe()?;
    let writer = |ttl: &str| {
        let mut writer = command(&file, &["lock", "file", "--ttl", ttl, "--"]);
        writer.arg(&own).args(["--role", "guarded", &guarded.address]);
        Holder::spawn(writer, "holds")
    };
    let until = Instant::now() + PATIENCE;
    let tokens = |of: &Mutex<Vec<u64>>| of.lock().expect("no writer panics").clone();
    let first = writer("2s")?;
    let under = first.command_pid()?;
    while tokens(&guarded.taken).is_empty() {
        assert!(Instant::now() < until, "the first writes");
        pause().await;
    }
    // The one that watches, and then the one that writes.
    kill_process(first.pid(), Signal::STOP)?;
    kill_process(under, Signal::STOP)?;
    let second = writer("60s")?;
    while tokens(&guarded.taken).windows(2).all(|pair| pair[0] == pair[1]) {
        assert!(Instant::now() < until, "the second writes");
        pause().await;
    }
    let (before, after) = (tokens(&guarded.taken)[0], *tokens(&guarded.taken).last().ok_or("one")?);
    assert!(before < after, "tokens grow");
    kill_process(under, Signal::CONT)?;
    while tokens(&guarded.refused).is_empty() {
        assert!(Instant::now() < until, "the late write is refused");
        pause().await;
    }
    assert_eq!(tokens(&guarded.refused), [before], "once, and then it gives up");
    kill_process(first.pid(), Signal::CONT)?;
    let output = first.end()?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(LOST), "{err}");
    drop(second);
    locks::audit(&mut rig)
}

/// Three that wait for each other in the queue, and two that ask again and again.
async fn deadlock() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    for how in [&["-w", "60s"][..], &[]] {
        let nested = |own: &str, other: &str| {
            let inner = format!(
                "echo holds; read line; {PROGRAM} lock -f {} --label {own} {other} -n -- true",
                file.display()
            );
            let words = [&["lock", own, "--label", own], how, &["--", "sh", "-c", &inner]].concat();
            Holder::spawn(command(&file, &words), "holds")
        };
        // Sessions of their own: to wait is no deadlock then, and is not taken for one.
        let (one, other) = (nested("x", "y")?, nested("y", "x")?);
        assert_eq!(one.end()?.status.code(), Some(BUSY));
        assert_eq!(other.end()?.status.code(), Some(0), "the first has ended");
    }
    cycle(&rig).await?;
    locks::audit(&mut rig)
}

/// In one process, where a session can hold one lock and want another.
async fn cycle(rig: &Rig) -> Result<(), Failed> {
    use bytes::Bytes;
    use indelible::locker::{Locker, Outcome, Terms, Want};

    let name = |name: &'static str| vec![Bytes::from_static(name.as_bytes())];
    for queued in [true, false] {
        let mut lockers = Vec::new();
        for label in ["a", "b", "c"] {
            let terms = Terms { label: label.into(), patience: PATIENCE, ..Terms::default() };
            let mut locker = Locker::open(rig.cluster(), terms);
            let granted = locker.lock(&name(label), Want::Now).await?;
            assert!(matches!(granted, Outcome::Granted(_)), "{granted:?}");
            lockers.push(locker);
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        let want = if queued { Want::Queue(Some(until)) } else { Want::Again(Some(until)) };
        let mut third = lockers.pop().ok_or("three")?;
        let mut waiting = tokio::task::JoinSet::new();
        for (mut locker, wanted) in lockers.into_iter().zip(["b", "c"]) {
            waiting.spawn(async move {
                let outcome = locker.lock(&name(wanted), want).await;
                locker.end().await?;
                outcome
            });
        }
        let shows = |lock, who| async move {
            said(&rig.cluster_file(), &["show", lock]).map(|it| it.1.contains(who))
        };
        while !(shows("b", "a (session").await? && shows("c", "b (session").await?) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused = third.lock(&name("a"), want).await?;
        let Outcome::Deadlock { cycle, left_out: 0 } = refused else {
            return Err(format!("a deadlock, not {refused:?}").into());
        };
        let waits: Vec<_> =
            cycle.iter().map(|edge| (edge.label.clone(), edge.name.clone())).collect();
        let expected = [("c", "a"), ("a", "b"), ("b", "c")];
        assert_eq!(waits, expected.map(|(who, what)| (Bytes::from(who), Bytes::from(what))));
        third.end().await?;
        for outcome in waiting.join_all().await {
            assert!(matches!(outcome?, Outcome::Granted(_)), "the others go on");
        }
    }
    Ok(())
}

async fn broken() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    let mut holder = command(&file, &["lock", "a", "--label", "ann", "--", "sh", "-c"]);
    holder.arg("echo holds $INDELIBLE_LOCK_TOKEN; exec sleep 100");
    let holder = Holder::spawn(holder, "holds")?;
    let listed: serde_json::Value =
        serde_json::from_str(&expect(&file, &["ls", "--json"], 0, "", "")?)?;
    let token = listed["holder"]["token"].to_string();
    let words = ["break", "a", "--token", "9999", "--reason", "typo", "--label", "bob"];
    expect(&file, &words, NOT_OWNER, "", "not held with token 9999")?;
    let words = ["break", "a", "--token", &token, "--reason", "host burned", "--label", "bob"];
    expect(&file, &words, 0, "broken", "")?;
    expect(&file, &["lock", "-n", "a", "--", "true"], 0, "", "")?;
    let output = holder.end()?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(LOST), "{err}");
    expect(&file, &["ls", "--breaks"], 0, "\"a\" was broken by bob: host burned", "")?;
    locks::audit(&mut rig)
}

async fn script() -> Result<(), Failed> {
    let data = run::data()?;
    let mut rig = locks::rig(3, data.path(), &[]).await?;
    let file = rig.cluster_file();
    let orders = data.path().join("orders");
    std::fs::write(&orders, "lock x\nlock y\nlock x\nunlock x\nunlock x\nlock x\n")?;
    for way in ["leader", "random", "hash", "1"] {
        let words = ["lock", "--json", "--route", way, "--script", orders.to_str().ok_or("text")?];
        let printed = expect(&file, &words, 0, "", "")?;
        let objects: Vec<serde_json::Value> =
            printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let results: Vec<_> =
            objects.iter().map(|it| it["result"].as_str().unwrap_or("")).collect();
        let expected = ["granted", "granted", "granted", "unlocked", "not owner", "granted"];
        assert_eq!(results, expected, "by {way}: {printed}");
        assert_eq!(objects[0]["token"], objects[2]["token"], "its own again");
        assert!(objects[5]["token"].as_u64() > objects[0]["token"].as_u64());
    }
    std::fs::write(
        &orders,
        (0..2000).map(|n| format!("lock {n}\nunlock {n}\n")).collect::<String>(),
    )?;
    let words = ["lock", "--route", "random", "--script", orders.to_str().ok_or("text")?];
    let printed = expect(&file, &words, 0, "", "")?;
    let granted = printed.lines().filter(|line| line.contains(": granted")).count();
    let unlocked = printed.lines().filter(|line| line.ends_with(": unlocked")).count();
    assert_eq!((granted, unlocked), (2000, 2000));
    std::fs::write(&orders, "lock x\nlok y\n")?;
    let words = ["lock", "--script", orders.to_str().ok_or("text")?];
    expect(&file, &words, USAGE, "", "line 2: \"lok y\"")?;
    locks::audit(&mut rig)
}
