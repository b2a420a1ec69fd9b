//! Power cuts: what was acknowledged before the cut is there after it.
//!
//! A process of its own writes to a file system on a loop device, and says on a pipe what is
//! acknowledged; then the power of that file system is cut, the process killed, the file system
//! mounted again, and the log read. **Counted is only what was acknowledged before the cut began**:
//! a process that runs on while a file system goes down can see its last sync succeed.
//!
//! Two controls show that the trial can fail, and that it does not accuse the innocent: a log that
//! writes without a sync must lose something, one that appends and does `fdatasync` must lose
//! nothing. One-line bug that turns it red: the hook of `disk` returns without a sync.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indelible::paxos::{
    AcceptorState, Ballot, ClientId, Command as Slotted, Incarnation, NodeId, Record, Request,
    RequestNumber, Run, Slot, Wal,
};
use indelible::wal::{Identity, Options, Store};
use libtest_mimic::{Failed, Trial};

use crate::need::{self, Need};
use crate::{scale, shutdown_ioctl};

/// What the trials need.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Loop,
    Need::Program("losetup"),
    Need::Program("mount"),
    Need::Program("mkfs.ext4"),
];

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        need::trial("power::nothing_acknowledged_is_lost_on_ext4", NEEDS, || {
            cut_often("ext4", "store-writer", scale::cuts())
        }),
        need::trial("power::the_control_that_syncs_loses_nothing", NEEDS, || {
            cut_often("ext4", "synced-writer", scale::cuts() / 4)
        }),
        need::trial("power::the_control_without_a_sync_loses_something", NEEDS, control),
    ];
    if scale::soak() {
        let needs: &[Need] = &[Need::Root, Need::Loop, Need::Program("mkfs.xfs")];
        trials.push(need::trial("power::nothing_acknowledged_is_lost_on_xfs", needs, || {
            cut_often("xfs", "store-writer", scale::cuts())
        }));
    }
    trials
}

/// The roles of the children.
pub(crate) const ROLES: &[(&str, crate::Role)] = &[
    ("store-writer", |args| write_to(args, |path| Box::new(StoreLog::open(path)))),
    ("synced-writer", |args| write_to(args, |path| Box::new(FileLog::open(path, true)))),
    ("unsynced-writer", |args| write_to(args, |path| Box::new(FileLog::open(path, false)))),
];

/// Something that keeps numbers, and says how many it holds.
trait Log {
    fn append(&mut self, number: u64);
    fn held(&mut self) -> u64;
}

/// A store, trimmed as it goes: so a fast disk does not fill, and cuts meet segments that are used
/// again.
struct StoreLog {
    store: Store,
    /// The slot from which the next trim keeps.
    keep: Option<u64>,
}

/// Acceptances between two trims: fewer than a life makes.
const KEPT: u64 = 100;

impl StoreLog {
    fn open(folder: &Path) -> StoreLog {
        let path = folder.join("store");
        if !path.exists() {
            let identity = Identity::new("power", NodeId(0), Incarnation(1));
            Store::format(&path, &identity, Options { ballast_bytes: 0 }).expect("formatted");
        }
        let store = Store::open(&path).expect("a store opens after a power cut");
        StoreLog { store, keep: None }
    }
}

impl Log for StoreLog {
    fn append(&mut self, number: u64) {
        let mut records = vec![accepted(number)];
        if self.keep.is_none_or(|slot| number >= slot + KEPT) {
            records.extend(self.keep.replace(number).map(trimmed).into_iter().flatten());
        }
        self.store.commit(&records).expect("committed");
    }

    fn held(&mut self) -> u64 {
        let state: AcceptorState = self.store.load().expect("loads");
        let slots: Vec<u64> = state.votes(Slot(0)).map(|(slot, _)| slot.0).collect();
        assert!(slots.iter().copied().eq(state.trimmed().0..state.end().0), "no gap");
        state.end().0
    }
}

fn trimmed(below: u64) -> Vec<Record> {
    AcceptorState::replay([Record::Promised(ballot())]).trim(Slot(below))
}

fn ballot() -> Ballot {
    Ballot { round: 1, node: NodeId(0), incarnation: Incarnation(1) }
}

/// An acceptance of so many bytes that files grow and segments fill.
fn accepted(number: u64) -> Record {
    let one = RequestNumber(1);
    let request = Request {
        client: ClientId(1),
        number: one,
        low_water: one,
        ttl_ms: 0,
        time_ms: number,
        body: vec![number as u8; 20_000].into(),
    };
    let (after, first) = (Slot(number), Slot(number));
    let ballot = ballot();
    let commands = vec![Slotted::Request(request)];
    Record::Accepted(Run { ballot, after, first, commands })
}

/// The controls: a plain file, appended to.
struct FileLog {
    file: File,
    path: PathBuf,
    syncs: bool,
}

impl FileLog {
    fn open(folder: &Path, syncs: bool) -> FileLog {
        let path = folder.join("plain");
        let fresh = !path.exists();
        let file = OpenOptions::new().create(true).append(true).open(&path).expect("opens");
        if fresh {
            file.sync_all().expect("synced");
            File::open(folder).and_then(|folder| folder.sync_all()).expect("synced");
        }
        FileLog { file, path, syncs }
    }
}

impl Log for FileLog {
    fn append(&mut self, number: u64) {
        let line = format!("{number:08}{}\n", "x".repeat(2000));
        self.file.write_all(line.as_bytes()).expect("written");
        if self.syncs {
            self.file.sync_data().expect("synced");
        }
    }

    fn held(&mut self) -> u64 {
        let text = fs::read(&self.path).expect("read");
        let numbers = text.split(|byte| *byte == b'\n').map(|line| {
            line.get(..8).filter(|_| line.len() == 2008).and_then(|n| str::from_utf8(n).ok())
        });
        let numbers = numbers.map_while(|number| number.and_then(|n| n.parse::<u64>().ok()));
        numbers.zip(0..).take_while(|(found, expected)| found == expected).count() as u64
    }
}

/// A child's life: says how much it found, then writes and acknowledges until it is killed.
fn write_to(args: &[String], open: impl FnOnce(&Path) -> Box<dyn Log>) -> ExitCode {
    let [folder] = args else { return ExitCode::FAILURE };
    let mut log = open(Path::new(folder));
    let mut next = log.held();
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "{next}").expect("somebody listens");
        log.append(next);
        next += 1;
    }
}

fn cut_often(kind: &str, role: &str, cuts: u32) -> Result<(), Failed> {
    let mut disk = LoopDisk::make(kind)?;
    let mut held = 0;
    for cut in 0..cuts.max(3) {
        let (found, acknowledged) = one_cut(&mut disk, role, cut)?;
        if found < held {
            return Err(format!("cut {cut}: {held} were acknowledged, {found} are held").into());
        }
        held = acknowledged;
    }
    let (found, _) = one_cut(&mut disk, role, 0)?;
    if found < held {
        return Err(format!("the last cut: {held} were acknowledged, {found} are held").into());
    }
    eprintln!("power: {role} on {kind}: {cuts} cuts, {held} acknowledged, none lost");
    Ok(())
}

fn control() -> Result<(), Failed> {
    let mut disk = LoopDisk::make("ext4")?;
    let (_, acknowledged) = one_cut(&mut disk, "unsynced-writer", 0)?;
    let (found, _) = one_cut(&mut disk, "unsynced-writer", 0)?;
    if found >= acknowledged {
        return Err("a log without a sync lost nothing: the cut cuts nothing".into());
    }
    eprintln!("power: the control without a sync: {acknowledged} acknowledged, {found} held");
    Ok(())
}

/// Starts a writer, cuts the power, kills it, and mounts again. How much the writer found at its
/// start, and how much it had acknowledged before the cut began.
fn one_cut(disk: &mut LoopDisk, role: &str, cut: u32) -> Result<(u64, u64), Failed> {
    let mut writer = Writer::start(role, &disk.mount)?;
    let found = writer.wait_for_first()?;
    std::thread::sleep(Duration::from_millis(40 + u64::from(cut * 37 % 160)));
    // The number said last is the one being written: those below it are acknowledged.
    let acknowledged = writer.said.load(Ordering::Acquire);
    shutdown_ioctl::cut(&disk.mount)?;
    writer.kill();
    disk.mount_again()?;
    Ok((found, acknowledged))
}

struct Writer {
    child: Child,
    said: Arc<AtomicU64>,
}

/// Nothing said yet.
const SILENT: u64 = u64::MAX;

impl Writer {
    fn start(role: &str, folder: &Path) -> Result<Writer, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--role", role])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = Arc::new(AtomicU64::new(SILENT));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for number in lines.map_while(Result::ok).filter_map(|line| line.parse().ok()) {
                heard.store(number, Ordering::Release);
            }
        });
        Ok(Writer { child, said })
    }

    fn wait_for_first(&mut self) -> Result<u64, Failed> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && self.child.try_wait()?.is_none() {
            match self.said.load(Ordering::Acquire) {
                SILENT => std::thread::sleep(Duration::from_millis(1)),
                first => return Ok(first),
            }
        }
        self.kill();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said)?;
        }
        Err(format!("the writer does not start: {said}").into())
    }

    fn kill(&mut self) {
        // It may have ended by itself when its disk went.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file system in a file; unmounted and gone when dropped.
struct LoopDisk {
    kind: String,
    device: String,
    mount: PathBuf,
    _folder: tempfile::TempDir,
}

impl LoopDisk {
    fn make(kind: &str) -> Result<LoopDisk, Failed> {
        let folder = tempfile::Builder::new().prefix("indelible-power-").tempdir()?;
        let image = folder.path().join("image");
        File::create(&image)?.set_len(320 << 20)?;
        let flags: &[&str] = if kind == "xfs" { &["-q"] } else { &["-q", "-F"] };
        let mkfs = format!("mkfs.{kind}");
        command(&mkfs, &[flags, &[path(&image)]].concat())?;
        let device = command("losetup", &["-f", "--show", path(&image)])?;
        let mount = folder.path().join("mount");
        fs::create_dir(&mount)?;
        let device = device.trim().to_owned();
        let disk = LoopDisk { kind: kind.to_owned(), device, mount, _folder: folder };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), Failed> {
        command("mount", &["-t", &self.kind, &self.device, path(&self.mount)]).map(drop)
    }

    fn mount_again(&mut self) -> Result<(), Failed> {
        // The killed writer may hold the mount for a moment longer.
        let until = Instant::now() + Duration::from_secs(5);
        while let Err(error) = command("umount", &[path(&self.mount)]) {
            if Instant::now() > until {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.mount()
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Whatever is not there any more need not be removed.
        let _ = command("umount", &["-l", path(&self.mount)]);
        let _ = command("losetup", &["-d", &self.device]);
    }
}

fn command(program: &str, args: &[&str]) -> Result<String, Failed> {
    let output = Command::new(program).args(args).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{program} {}: {said}", args.join(" ")).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}
