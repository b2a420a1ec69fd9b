//! The rig over real processes: what is killed, stopped, restarted and dropped, and what is left.
//!
//! The kernel's death signal follows the thread that starts a child: each trial starts its own on
//! the one thread that runs it, and has buried them when it returns.
//!
//! One-line bugs that turn them red: a run's folder stays when it is dropped; a child does not ask
//! for the death signal, or does not look who its parent is.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indelible::local::{Driven, Options, Rig};
use indelible::paxos::NodeId;
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::LocalSet;

use crate::processes::Process;
use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_leader_that_dies_is_replaced_and_returns_to_its_port_and_store",
            a_leader_that_dies_is_replaced_and_returns_to_its_port_and_store,
        ),
        trial(
            "a_log_of_many_pieces_is_read_whole_and_in_order",
            a_log_of_many_pieces_is_read_whole_and_in_order,
        ),
        trial("a_stopped_node_lives_and_says_nothing", a_stopped_node_lives_and_says_nothing),
        trial("nothing_is_left_of_a_rig", nothing_is_left_of_a_rig),
        trial(
            "a_node_that_cannot_start_is_told_with_its_last_words",
            a_node_that_cannot_start_is_told_with_its_last_words,
        ),
        trial("a_node_ends_with_its_input", a_node_ends_with_its_input),
        Trial::test("local::a_child_dies_with_a_killed_parent_though_its_input_stays_open", || {
            a_child_dies_with_a_killed_parent_though_its_input_stays_open();
            Ok(())
        }),
        Trial::test("local::a_child_whose_parent_is_another_ends_at_once", || {
            a_child_whose_parent_is_another_ends_at_once();
            Ok(())
        }),
    ]
}

/// A trial that waits for sockets, all of it on the thread that runs it.
fn trial<F: Future<Output = ()>>(name: &str, play: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(format!("local::{name}"), move || {
        let _beside = scale::beside();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(LocalSet::new().run_until(play()));
        Ok(())
    })
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_indelible");

const AMPLE: Duration = Duration::from_secs(20);

/// A cluster that is ready, in a folder that goes with the test.
async fn rig(nodes: u16) -> (Rig, TempDir) {
    let base = run::data().expect("a folder");
    let mut rig = Rig::format(Options {
        nodes,
        data: base.path().to_owned(),
        keep: false,
        program: PROGRAM.into(),
        allow_faults: true,
        log: "info".to_owned(),
    })
    .expect("a cluster");
    rig.start_all().expect("nodes");
    rig.ready(AMPLE).await.expect("ready");
    (rig, base)
}

fn is_running(process: u32) -> bool {
    Process::of(process).is_some_and(Process::is_alive)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < AMPLE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn settled(client: &mut Driven) -> String {
    let start = Instant::now();
    while client.sync().await.expect("a client").pending > 0 {
        assert!(start.elapsed() < AMPLE, "messages stay undecided");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log(client).await
}

/// Waits until the client has read just this: lines may come later than the answers.
async fn reads(client: &mut Driven, expected: &str) {
    let start = Instant::now();
    while settled(client).await != expected {
        assert!(start.elapsed() < AMPLE, "the log is another");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn log(client: &mut Driven) -> String {
    client.ask_log().await.expect("a client");
    let mut all = Vec::new();
    loop {
        let (lines, is_last) = client.log_piece().await.expect("a client");
        all.extend_from_slice(&lines);
        if is_last {
            return String::from_utf8(all).expect("our own words");
        }
    }
}

async fn a_leader_that_dies_is_replaced_and_returns_to_its_port_and_store() {
    let (mut rig, _base) = rig(3).await;
    let mut client = rig.start_client("ann").expect("a client");
    client.send(Bytes::from_static(b"before")).await.expect("a client");
    assert!(client.hand_over(AMPLE).await.expect("a client"));
    reads(&mut client, "0 ann: before\n").await;
    let first = rig.leader().await.expect("a leader");
    let incarnation = rig.status(first).await.expect("a status").incarnation;

    rig.kill(first);
    assert!(!rig.is_alive(first) && rig.has_majority());
    rig.ready(AMPLE).await.expect("ready without it");
    assert_ne!(rig.leader().await.expect("another leader"), first);
    client.send(Bytes::from_static(b"after")).await.expect("a client");
    settled(&mut client).await;

    rig.start(first).expect("started again");
    rig.answers(first, AMPLE).await.expect("on its own port");
    rig.ready(AMPLE).await.expect("it has caught up");
    let status = rig.status(first).await.expect("a status");
    assert_eq!(status.incarnation, incarnation, "on its own store");
    assert_eq!(status.applied.0, 2);
}

async fn a_log_of_many_pieces_is_read_whole_and_in_order() {
    let (rig, _base) = rig(1).await;
    let mut writer = rig.start_client("w").expect("a client");
    let mut expected = String::new();
    for slot in 0..60 {
        let text = format!("{slot:03}").repeat(5_000);
        expected.push_str(&format!("{slot} w: {text}\n"));
        writer.send(Bytes::from(text)).await.expect("a client");
    }
    reads(&mut writer, &expected).await;
    let too_long = Bytes::from(vec![b'x'; 200 << 10]);
    writer.send(too_long).await.expect_err("no slot holds that");
    assert!(log(&mut writer).await == expected, "and nothing else is lost by it");
}

async fn a_stopped_node_lives_and_says_nothing() {
    let (mut rig, _base) = rig(3).await;
    let leader = rig.leader().await.expect("a leader");
    rig.stop(leader);
    assert!(rig.is_alive(leader));
    assert!(rig.status(leader).await.is_none());
    rig.resume(leader);
    rig.answers(leader, AMPLE).await.expect("it goes on");
    rig.ready(AMPLE).await.expect("and follows, or leads");
}

async fn nothing_is_left_of_a_rig() {
    let (mut rig, base) = rig(3).await;
    let mut client = rig.start_client("ann").expect("a client");
    let nodes = [0, 1, 2].map(NodeId);
    rig.stop(nodes[1]);
    let mut processes: Vec<u32> = nodes.iter().filter_map(|node| rig.process_id(*node)).collect();
    processes.push(client.process().id());
    assert!(processes.len() == 4 && processes.iter().all(|process| is_running(*process)));
    drop((client, rig));
    assert!(!processes.iter().any(|process| is_running(*process)));
    assert_eq!(std::fs::read_dir(base.path()).expect("the base").count(), 0);
}

async fn a_node_that_cannot_start_is_told_with_its_last_words() {
    let (mut rig, _base) = rig(1).await;
    let node = NodeId(0);
    rig.kill(node);
    std::fs::remove_dir_all(rig.store(node)).expect("its store");
    rig.start(node).expect("a process");
    let error = rig.answers(node, AMPLE).await.expect_err("no store");
    assert!(error.to_string().contains("no store"), "{error}");
}

/// A process between us and a child of its own, to be killed.
struct Middle {
    shell: Child,
    child: u32,
}

impl Middle {
    /// A shell that starts a client tied to `parent` (a word of the shell) and writes its id.
    fn start(folder: &Path, parent: &str) -> Middle {
        let script = format!(
            "{PROGRAM} chat --driven --tied={parent} --cluster=x --peer=0=127.0.0.1:9 \
             <> fifo > fifo & echo $! > child.new && mv child.new child; exec sleep 100"
        );
        let made = Command::new("mkfifo").arg(folder.join("fifo")).status().expect("mkfifo");
        assert!(made.success());
        let shell = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let mut middle = Middle { shell, child: 0 };
        until("the child's id", || folder.join("child").exists());
        let text = std::fs::read_to_string(folder.join("child")).expect("its id");
        middle.child = text.trim().parse().expect("a number");
        middle
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        // Killed already, where the test got so far; the child too, where it passed.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        if let Some(child) = Process::of(self.child) {
            child.signal(Signal::KILL);
        }
    }
}

fn a_child_dies_with_a_killed_parent_though_its_input_stays_open() {
    let folder = run::data().expect("a folder");
    let mut middle = Middle::start(folder.path(), "$$");
    // It runs once it has opened what only it opens: give it the time to come so far.
    let command = format!("/proc/{}/cmdline", middle.child);
    until("the client", || {
        std::fs::read(&command).is_ok_and(|line| line.starts_with(PROGRAM.as_bytes()))
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_running(middle.child), "a living parent");
    middle.shell.kill().expect("the parent");
    middle.shell.wait().expect("dead");
    until("the child's death", || !is_running(middle.child));
}

fn a_child_whose_parent_is_another_ends_at_once() {
    let folder = run::data().expect("a folder");
    let middle = Middle::start(folder.path(), "1");
    until("the child's end", || !is_running(middle.child));
}

async fn a_node_ends_with_its_input() {
    let (mut rig, _base) = rig(1).await;
    rig.kill(NodeId(0));
    let mut node = Command::new(PROGRAM)
        .args(["node", "--id=0"])
        .arg(format!("--store={}", rig.store(NodeId(0)).display()))
        .arg(format!("--cluster-file={}", rig.cluster_file().display()))
        .arg(format!("--tied={}", std::process::id()))
        .stdin(Stdio::piped())
        .spawn()
        .expect("a node");
    let start = Instant::now();
    while rig.status(NodeId(0)).await.is_none() {
        assert!(start.elapsed() < AMPLE, "it does not answer");
    }
    drop(node.stdin.take());
    until("the node's end", || node.try_wait().expect("a child").is_some());
}
