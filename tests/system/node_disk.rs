//! A whole node on a disk that fills up, and on one whose syncs fail.
//!
//! A cluster of one: what it acknowledges rests on this disk alone. A client sends until the node
//! ends by itself; then the node is started again, and every acknowledged message must be read at
//! its slot, and one more be decided.
//!
//! One-line bugs that turn them red. Full disk: `SledLog::append` forgets the error of a flush;
//! `fatal_line` says `None`, and the node waits for a write that never comes; the line names no
//! folder. Failing syncs: the hook goes on after an error; `Slots::write` forgets that of its sync.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use indelible::client::Client;
use indelible::cluster::Cluster;
use indelible::local::ports::Ports;
use indelible::paxos::{ClientId, Slot};
use indelible::services::chat::Message;
use indelible::wire::client::FromNode;
use libtest_mimic::{Failed, Trial};
use tokio::time::timeout;

use crate::need::{self, Need};
use crate::small::Small;
use crate::{run, scale, strace};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let strace = &[Need::Program("strace")];
    vec![
        need::trial("node_disk::a_full_disk_ends_a_node_that_keeps_its_word", &[Need::Root], full),
        need::trial("node_disk::a_failed_sync_ends_a_node_at_once", strace, failed_syncs),
    ]
}

/// How long a life of a node may take, and anything that is asked of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// `EX_IOERR`.
const IO_ERROR: i32 = 74;

/// The disk at first, its ballast (the least that `format` takes), and later: in MiB.
const DISK: (u64, u64, u64) = (40, 16, 80);

/// Messages under way at a time on the disk that fills up, and the length of each.
const FILLING: Load = Load { under_way: 8, bytes: 60_000 };

/// One message at a time, so that none is answered when a sync fails.
const ONE_BY_ONE: Load = Load { under_way: 1, bytes: 20 };

/// The disk fills up; room is made by dropping the ballast; it fills again, and is made larger.
fn full() -> Result<(), Failed> {
    let _beside = scale::beside();
    let (first, ballast, later) = DISK;
    let disk = Small::mount(first)?;
    let site = Site::make(disk.path().join("store"), ballast << 20)?;
    let mut book = Book::default();
    for room in ["the ballast", "a larger disk"] {
        let mut node = site.start()?;
        let before = book.acknowledged.len();
        site.on_runtime(site.send_until_it_ends(&mut node, &mut book, FILLING))?;
        node.ended_for("the disk is full", &site.store)?;
        let count = book.acknowledged.len() - before;
        assert!(count > 0, "it acknowledged nothing before it was full");
        eprintln!("node_disk: full after {count} messages; room is made by {room}");
        match room {
            "the ballast" => fs::remove_file(site.store.join("ballast"))?,
            _ => disk.grow(later)?,
        }
        site.lives_and_keeps(&mut book)?;
    }
    Ok(())
}

/// Each of the first syncs of some thread fails, in turn, on the same store: strace counts for each
/// thread by itself.
fn failed_syncs() -> Result<(), Failed> {
    let _beside = scale::beside();
    let data = run::data()?;
    let site = Site::make(data.path().join("store"), 0)?;
    let mut book = Book::default();
    let points = scale::failing_syncs();
    let mut lives_with_answers = 0;
    for point in 1..=points {
        let trace = data.path().join(format!("trace-{point}"));
        let mut node = site.start_with_failing_sync(point, &trace)?;
        let before = book.acknowledged.len();
        site.on_runtime(site.send_until_it_ends(&mut node, &mut book, ONE_BY_ONE))?;
        node.ended_for("the disk failed", &site.store)?;
        let count = book.acknowledged.len() - before;
        lives_with_answers += u64::from(count > 0);
        check(&whole(&trace)?, count).map_err(|why| format!("sync {point}: {why}"))?;
        site.lives_and_keeps(&mut book)?;
    }
    let count = book.acknowledged.len();
    eprintln!("node_disk: {points} failed syncs, {count} messages acknowledged, none lost");
    assert!(lives_with_answers >= points / 2, "most syncs failed before the first answer");
    Ok(())
}

/// After the sync that failed there is no other, and no answer; before it are those that were heard.
fn check(trace: &str, heard: usize) -> Result<(), String> {
    let failed = trace.lines().position(|line| line.contains("INJECTED"));
    let failed = failed.ok_or("no sync failed")?;
    if let Some(line) = trace.lines().skip(failed + 1).find(|line| line.contains("fdatasync(")) {
        return Err(format!("it synced once more: {line}"));
    }
    let sent = strace::sent::<FromNode>(&strace::parse(trace));
    let answers = sent.iter().filter(|(_, message)| matches!(message, FromNode::Reply { .. }));
    let (before, after): (Vec<_>, Vec<_>) = answers.partition(|(began, _)| *began < failed);
    if before.len() < heard || !after.is_empty() {
        let (before, after) = (before.len(), after.len());
        return Err(format!("{before} answers before and {after} after it, {heard} heard"));
    }
    Ok(())
}

/// The trace when strace has written all of it: it ends after the node.
fn whole(trace: &Path) -> Result<String, Failed> {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(trace).unwrap_or_default();
        if text.trim_end().ends_with("+++") && text.contains("+++ exited with") {
            return Ok(text);
        }
        if Instant::now() > until {
            return Err("strace did not end".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a client sends.
#[derive(Clone, Copy)]
struct Load {
    under_way: usize,
    bytes: usize,
}

/// What was sent and acknowledged, over all lives of a node.
#[derive(Default)]
struct Book {
    sent: u64,
    /// The number of the message at each slot.
    acknowledged: BTreeMap<Slot, u64>,
}

impl Book {
    /// The next message, which begins with its number.
    fn next(&mut self, bytes: usize) -> (u64, bytes::Bytes) {
        let number = self.sent;
        self.sent += 1;
        let text = format!("{number:08} {}", "x".repeat(bytes));
        (number, Message { sender: "s".into(), text: text.into() }.encode())
    }

    fn acknowledge(&mut self, slot: Slot, number: u64) -> Result<(), Failed> {
        match self.acknowledged.insert(slot, number) {
            None => Ok(()),
            Some(other) => Err(format!("{slot:?} holds {other}, and {number} too").into()),
        }
    }

    /// That all of it stands in a log, and nothing stands there twice.
    fn check(&self, log: &BTreeMap<Slot, u64>) -> Result<(), Failed> {
        for (slot, number) in &self.acknowledged {
            let found = log.get(slot);
            if found != Some(number) {
                return Err(format!("{slot:?} holds {found:?}, acknowledged was {number}").into());
            }
        }
        let numbers: BTreeSet<&u64> = log.values().collect();
        if numbers.len() != log.len() {
            return Err("a message stands in two slots".into());
        }
        Ok(())
    }
}

/// A cluster of one and where its store lies.
struct Site {
    store: PathBuf,
    cluster: Cluster,
    peer: String,
    _ports: Ports,
}

impl Site {
    fn make(store: PathBuf, ballast_bytes: u64) -> Result<Site, Failed> {
        let ports = Ports::reserve(1)?;
        let peer = format!("0=127.0.0.1:{}", ports.port(0));
        let cluster = Cluster::from_flags("room", std::slice::from_ref(&peer))?;
        let site = Site { store, cluster, peer, _ports: ports };
        let ballast = format!("--ballast={ballast_bytes}");
        let mut program = Command::new(env!("CARGO_BIN_EXE_indelible"));
        let made = program.args(site.args("format")).arg(ballast).output()?;
        if made.status.success() { Ok(site) } else { Err(format!("{made:?}").into()) }
    }

    fn args(&self, command: &str) -> Vec<String> {
        let (store, peer) = (self.store.display(), &self.peer);
        let flags = ["--cluster=room", "--id=0"].map(str::to_owned);
        let of_this = [format!("--peer={peer}"), format!("--store={store}")];
        [command.to_owned()].into_iter().chain(flags).chain(of_this).collect()
    }

    fn start(&self) -> Result<Node, Failed> {
        Node::start(Command::new(env!("CARGO_BIN_EXE_indelible")), &self.args("node"))
    }

    /// Starts it under strace, which stands aside (`-D`): the child is the node itself.
    fn start_with_failing_sync(&self, point: u64, trace: &Path) -> Result<Node, Failed> {
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-q", "-yy", "-xx", "-s", "1000000", "-o"]).arg(trace);
        strace.args(["-e", "trace=fdatasync,write,writev,sendto,sendmsg"]);
        strace.args(["-e", &format!("inject=fdatasync:error=EIO:when={point}")]);
        strace.arg(env!("CARGO_BIN_EXE_indelible"));
        Node::start(strace, &self.args("node"))
    }

    fn on_runtime<T>(&self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            timeout(PATIENCE, work).await.unwrap_or_else(|_| Err("it takes too long".into()))
        })
    }

    fn client(&self) -> Client {
        Client::open(&self.cluster, ClientId(fastrand::u128(..)))
    }

    /// Sends without end, until the node ends; then takes what answers had come.
    async fn send_until_it_ends(
        &self,
        node: &mut Node,
        book: &mut Book,
        load: Load,
    ) -> Result<(), Failed> {
        let client = self.client();
        let mut open = VecDeque::new();
        loop {
            while open.len() < load.under_way {
                let (number, body) = book.next(load.bytes);
                open.push_back((number, Box::pin(client.submit(body).await?.reply())));
            }
            let (number, first) = open.front_mut().ok_or("a load without messages")?;
            // One more look after its end: an answer may lie in the socket.
            let has_ended = node.has_ended()?;
            match timeout(Duration::from_millis(100), first).await {
                Ok(reply) => book.acknowledge(reply?.slot, *number)?,
                Err(_) if has_ended => return Ok(()),
                Err(_) => continue,
            }
            open.pop_front();
        }
    }

    /// Starts the node as it is now: all that was acknowledged is read, one more message is
    /// decided, and it ends when asked to.
    fn lives_and_keeps(&self, book: &mut Book) -> Result<(), Failed> {
        let mut node = self.start()?;
        let read = self.on_runtime(async {
            let client = self.client();
            let (number, body) = book.next(0);
            let last = client.submit(body).await?.reply().await?.slot;
            book.acknowledge(last, number)?;
            let mut pages = client.subscribe(Slot(0)).await?;
            let mut log = BTreeMap::new();
            while !log.contains_key(&last) {
                let page = pages.recv().await.ok_or("the pages end")?;
                for entry in page.entries {
                    log.insert(entry.slot, number_in(&entry.body)?);
                }
            }
            Ok(log)
        });
        let log = read.map_err(|why| format!("{:?}; the node: {}", why, node.told()))?;
        book.check(&log)?;
        node.stop()
    }
}

fn number_in(body: &[u8]) -> Result<u64, Failed> {
    let message = Message::decode(body).ok_or("no message of ours")?;
    let text = String::from_utf8(message.text.to_vec())?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// A node, killed with this; and by the kernel, should this process be.
struct Node {
    child: Child,
}

impl Node {
    fn start(mut program: Command, args: &[String]) -> Result<Node, Failed> {
        let pipes = program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let tied = format!("--tied={}", std::process::id());
        Ok(Node { child: pipes.args(args).arg(tied).spawn()? })
    }

    fn has_ended(&mut self) -> Result<bool, Failed> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// That it has ended because of its disk, with one line that names its store, the trouble and
    /// what to do.
    fn ended_for(mut self, trouble: &str, store: &Path) -> Result<(), Failed> {
        let output = self.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let store = store.display().to_string();
        let is_clear = said.lines().count() == 1
            && [trouble, store.as_str(), "start again"].iter().all(|words| said.contains(words));
        if output.status.code() == Some(IO_ERROR) && is_clear {
            return Ok(());
        }
        Err(format!("{}: {said:?}, not {IO_ERROR} and \"{store}: {trouble}\"", output.status)
            .into())
    }

    fn stop(mut self) -> Result<(), Failed> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let output = self.output()?;
        if output.status.success() { Ok(()) } else { Err(format!("it ended {output:?}").into()) }
    }

    /// What it has said, after its death.
    fn told(&mut self) -> String {
        let _ended_before = self.child.kill();
        self.output().map_or_else(|why| format!("{why:?}"), |output| format!("{output:?}"))
    }

    /// Waits for its end. It says too little to fill a pipe.
    fn output(&mut self) -> Result<Output, Failed> {
        let until = Instant::now() + PATIENCE;
        while !self.has_ended()? {
            if Instant::now() > until {
                return Err("the node does not end".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut stderr = Vec::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_end(&mut stderr)?;
        }
        Ok(Output { status: self.child.wait()?, stdout: Vec::new(), stderr })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}
