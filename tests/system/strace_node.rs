//! Persist before send, seen from outside: a node under strace.
//!
//! One of three nodes runs under strace while messages are decided; then the leader is killed, so
//! that the traced node campaigns. What it sends to its peers is put together from the trace and
//! decoded. For each Promise, Accepted and Prepare, the record it rests on must have been written to
//! the log, and a sync of the log must have begun after that write and succeeded before the first
//! byte of the message went out.
//!
//! One-line bug that turns it red: the persister releases before it commits, or the hook does not
//! sync.
//!
//! And a store that a killed node left, with entries in its archive that nobody synced: whoever
//! opens it takes them back, but only after a sync, and from the disk, not from the page cache. Red
//! if a shelf regains a file without that.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use indelible::client::Client;
use indelible::local::{Options, Rig};
use indelible::paxos::{Ballot, ClientId, Envelope, Message, NodeId};
use indelible::services::chat;
use indelible::wire::codec;
use libtest_mimic::{Failed, Trial};

use crate::need::{self, Need};
use crate::strace::{self, Call};
use crate::{history, run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Need::Program("strace")];
    vec![
        Trial::test("strace::the_parser_can_tell", || {
            strace::self_test();
            Ok(())
        }),
        need::trial("strace::a_node_syncs_before_it_sends", needs, traced_node),
        need::trial("strace::what_is_taken_back_is_read_from_the_disk", needs, taken_back),
    ]
}

/// Messages that are decided under strace.
const MESSAGES: u64 = 20;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The node that is traced: the second in the ring.
const TRACED: NodeId = NodeId(1);

fn traced_node() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut rig = Rig::format(Options {
        nodes: 3,
        data: data.path().to_owned(),
        keep: false,
        program: PathBuf::from(env!("CARGO_BIN_EXE_indelible")),
        allow_faults: false,
        log: "info".to_owned(),
    })?;
    let trace = data.path().join("trace");
    rig.start(NodeId(0))?;
    let mut traced = Traced::start(&rig, &trace)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(decide(&mut rig))?;
    traced.stop()?;
    let calls = strace::parse(&fs::read_to_string(&trace)?);
    check(&calls)
}

/// The node dies between two snapshots, with a mebibyte of archive above the newer one.
fn taken_back() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let mut rig = history::format(1, data.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        rig.start_all()?;
        rig.ready(PATIENCE).await?;
        let mut teller = history::Teller::new(&rig);
        teller.say_long(50).await?;
        history::all_show(&mut rig, 1, |it| it.applied.0 == 50).await?;
        while history::snapshots(&rig.store(NodeId(0))) != [50] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        teller.say_long(40).await
    })?;
    rig.kill(NodeId(0));
    let trace = data.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-yy", "-xx", "-s", "1", "-e", "trace=fsync,fadvise64,read", "-o"])
        .arg(&trace)
        .arg(history::PROGRAM)
        .arg("inspect")
        .arg(rig.store(NodeId(0)))
        .output()?;
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let calls = strace::parse(&fs::read_to_string(&trace)?);
    let is_taken_back = |file: &str| {
        let of = |name| {
            let calls = calls.iter().filter(move |call| call.name == name);
            calls.filter(|call| call.file == file && call.result >= 0).collect::<Vec<_>>()
        };
        let dropped = of("fadvise64");
        let after_a_sync = |drop: &&&Call| of("fsync").iter().any(|it| it.ended < drop.began);
        dropped.iter().find(after_a_sync).is_some_and(|drop| {
            let (reads, ended) = (of("read"), drop.ended);
            reads.iter().any(|it| it.began > ended)
        })
    };
    let files: BTreeSet<&str> = calls.iter().map(|call| call.file.as_str()).collect();
    let segments = files.into_iter().filter(|file| file.ends_with(".seg"));
    let taken_back = segments.filter(|file| is_taken_back(file)).count();
    assert!(taken_back >= 2, "{taken_back} segments:\n{}", fs::read_to_string(&trace)?);
    Ok(())
}

/// Has messages decided, then the leader killed, then one more decided by the next.
async fn decide(rig: &mut Rig) -> Result<(), Failed> {
    let client = Client::open(rig.cluster(), ClientId(77));
    let say = async |number: u64| {
        let body = chat::Message { sender: "s".into(), text: text(number).into() }.encode();
        let asked = async { client.submit(body).await?.reply().await };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(reply) => Ok::<u64, Failed>(reply?.slot.0),
            Err(_) => Err(format!("message {number} is not decided").into()),
        }
    };
    for number in 0..MESSAGES {
        assert_eq!(say(number).await?, number, "one client, one message at a time");
    }
    // Only now is there anybody else whose vote could do.
    rig.start(NodeId(2))?;
    rig.answers(NodeId(2), PATIENCE).await?;
    rig.kill(NodeId(0));
    say(MESSAGES).await.map(drop)
}

fn text(number: u64) -> String {
    format!("traced message {number:04}.")
}

/// Every message that claims something was sent after the sync of what it claims.
fn check(calls: &[Call]) -> Result<(), Failed> {
    let (mut promises, mut votes, mut campaigns) = (0, 0, 0);
    for (began, envelope) in strace::sent::<Envelope>(calls) {
        let (pattern, count) = if let Message::Promise(promise) = &envelope.message {
            (bytes_of(promise.ballot), &mut promises)
        } else if let Message::Prepare(prepare) = &envelope.message {
            (bytes_of(prepare.ballot), &mut campaigns)
        } else if let Message::Accepted(accepted) = &envelope.message {
            (text(accepted.up_to.0.saturating_sub(1)).into_bytes(), &mut votes)
        } else {
            continue;
        };
        if !strace::is_synced_before(calls, "log/db", &pattern, began) {
            let kind = envelope.message.kind();
            return Err(format!("line {began}: {kind} left before its record was synced").into());
        }
        *count += 1;
    }
    eprintln!("strace: {promises} promises, {votes} votes, {campaigns} prepares after their syncs");
    assert!(promises + campaigns > 0, "the traced node promised nothing");
    assert!(votes >= MESSAGES / 2, "the traced node voted {votes} times");
    Ok(())
}

fn bytes_of(ballot: Ballot) -> Vec<u8> {
    codec::encode(&ballot)
}

/// A node under strace; both end with this.
struct Traced {
    strace: Child,
    node: u32,
}

impl Traced {
    fn start(rig: &Rig, trace: &PathBuf) -> Result<Traced, Failed> {
        let strace = Command::new("strace")
            .args(["-f", "-yy", "-xx", "-s", "1000000", "-o"])
            .arg(trace)
            .arg("-e")
            .arg("trace=fdatasync,fsync,sync_file_range,pwrite64,sendto,sendmsg,write,writev")
            .arg(env!("CARGO_BIN_EXE_indelible"))
            .args(["node", &format!("--id={}", TRACED.0)])
            .arg(format!("--store={}", rig.store(TRACED).display()))
            .arg(format!("--cluster-file={}", rig.cluster_file().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut traced = Traced { strace, node: 0 };
        let until = Instant::now() + PATIENCE;
        while traced.node == 0 {
            if Instant::now() > until {
                return Err("strace started nothing".into());
            }
            let children = format!("/proc/{0}/task/{0}/children", traced.strace.id());
            let children = fs::read_to_string(children)?;
            // At its start strace forks a child of its own, to see what the kernel can do.
            let is_node = |pid: &&str| {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
                comm.is_ok_and(|comm| comm.trim() == "indelible")
            };
            let node = children.split_whitespace().find(is_node);
            traced.node = node.map_or(Ok(0), str::parse)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(traced)
    }

    /// Ends the node; strace writes what it has, and follows.
    fn stop(&mut self) -> Result<(), Failed> {
        self.kill_node();
        self.strace.wait()?;
        Ok(())
    }

    fn kill_node(&mut self) {
        let pid = i32::try_from(self.node).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        self.node = 0;
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.kill_node();
        // Gone already, if all went well.
        std::thread::sleep(Duration::from_millis(50));
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
