//! What the program says to what is wrong: one clear line, and the status of the table.
//!
//! One-line bug that turns each red: another status in `cli::exit`, or a second line on stderr.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use indelible::local::ports::Ports;
use libtest_mimic::{Failed, Trial};

use crate::{run, scale};

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("bad_input::statuses_are_those_of_the_table", statuses),
        Trial::test("bad_input::a_taken_port_and_a_store_in_use", taken),
        Trial::test("bad_input::foreign_bytes_end_their_connection_only", foreign_bytes),
    ]
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster of one, in a folder.
struct One {
    folder: tempfile::TempDir,
    ports: Ports,
}

impl One {
    fn make() -> Result<One, Failed> {
        let one = One { folder: run::data()?, ports: Ports::reserve(1)? };
        fs::write(one.file(), one.toml("room"))?;
        Ok(one)
    }

    fn toml(&self, name: &str) -> String {
        let port = self.ports.port(0);
        format!("cluster = \"{name}\"\n[[node]]\nid = 0\naddress = \"127.0.0.1:{port}\"\n")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("room.toml")
    }

    fn args(&self, command: &str, file: &Path, store: &Path) -> Vec<String> {
        let (file, store) = (file.display(), store.display());
        let mut args = vec![command.to_owned(), format!("--cluster-file={file}")];
        args.extend(["--id=0".to_owned(), format!("--store={store}")]);
        if command == "format" {
            args.push("--ballast=0".to_owned());
        }
        args
    }
}

fn program(args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_indelible"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end, and checks how it ended and that it said one line with these words.
fn fails(args: &[String], status: i32, words: &str) -> Result<(), Failed> {
    let output = program(args).output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.code() != Some(status) || !said.contains(words) {
        return Err(format!("{args:?}: {} and \"{said}\", not {status}", output.status).into());
    }
    if status != 64 && said.lines().count() != 1 {
        return Err(format!("{args:?}: more than one line: {said}").into());
    }
    Ok(())
}

fn statuses() -> Result<(), Failed> {
    let _beside = scale::beside();
    let one = One::make()?;
    let (file, store) = (one.file(), one.folder.path().join("store"));
    let missing = one.folder.path().join("none.toml");
    let bad = one.folder.path().join("bad.toml");
    fs::write(&bad, "cluster = \"room\"\nnodes = 3\n")?;
    let other = one.folder.path().join("other.toml");
    fs::write(&other, one.toml("hall"))?;
    fails(&["no-such-command".to_owned()], 64, "no-such-command")?;
    fails(&["status".to_owned()], 64, "which cluster?")?;
    fails(&one.args("node", &missing, &store), 66, "none.toml")?;
    fails(&one.args("node", &bad, &store), 78, "line 2")?;
    fails(&one.args("node", &file, &store), 66, "no store here")?;
    fails(&["inspect".to_owned(), store.display().to_string()], 66, "no store here")?;
    fails(&["status".to_owned(), format!("-f{}", file.display())], 69, "no quorum")?;
    let f = ["status".to_owned(), format!("--cluster={}", file.display()), "--f=1".to_owned()];
    fails(&f, 78, "a cluster that bears 1 failures has 3 members, but \"room\" has 1")?;
    let log = format!("--log-file={}", one.folder.path().join("none").join("a.log").display());
    let mut small = one.args("format", &file, &store);
    small.push("--ballast=4000000".to_owned());
    small.retain(|flag| flag != "--ballast=0");
    fails(&small, 64, "less than 16777216 opens no full disk")?;
    assert!(program(&one.args("format", &file, &store)).status()?.success());
    fails(&one.args("format", &file, &store), 73, "exists already")?;
    fails(&[one.args("node", &file, &store), vec![log]].concat(), 66, "a.log: No such file")?;
    fails(&one.args("node", &other, &store), 78, "of cluster \"room\", not of node 0 of")?;
    fs::write(store.join("high-water"), vec![7; 4608])?;
    fails(&one.args("node", &file, &store), 74, "damaged")
}

/// A node that ends with this.
struct Running(Child);

impl Running {
    fn start(one: &One, store: &Path) -> Result<Running, Failed> {
        let mut command = program(&one.args("node", &one.file(), store));
        let running = Running(command.stdout(Stdio::null()).spawn()?);
        let address = ("127.0.0.1", one.ports.port(0));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                return Err("the node does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    fn kill(&mut self) -> Result<String, Failed> {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait()?;
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        Ok(said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn taken() -> Result<(), Failed> {
    let _beside = scale::beside();
    let one = One::make()?;
    let (store, second) = (one.folder.path().join("store"), one.folder.path().join("second"));
    assert!(program(&one.args("format", &one.file(), &store)).status()?.success());
    assert!(program(&one.args("format", &one.file(), &second)).status()?.success());
    let running = Running::start(&one, &store)?;
    let pid = running.0.id();
    fails(&one.args("node", &one.file(), &store), 75, &format!("in use by process {pid}"))?;
    fails(&one.args("node", &one.file(), &second), 69, "is taken")
}

fn foreign_bytes() -> Result<(), Failed> {
    let _beside = scale::beside();
    let one = One::make()?;
    let store = one.folder.path().join("store");
    assert!(program(&one.args("format", &one.file(), &store)).status()?.success());
    let mut running = Running::start(&one, &store)?;
    let strangers: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0, 0, 0, 4, 1, 2, 3, 4],
        &[0, 0, 0, 0],
        &[0, 0, 0, 200, 1],
    ];
    for bytes in strangers {
        let mut stream = TcpStream::connect(("127.0.0.1", one.ports.port(0)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        // Hung up on, with or without a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let status = program(&["status".to_owned(), format!("-f{}", one.file().display())]).status()?;
    assert!(status.success(), "the node goes on");
    let said = running.kill()?;
    let lines = said.lines().filter(|line| line.contains("connection ended")).count();
    assert!(lines >= strangers.len(), "a line for each of them: {said}");
    Ok(())
}
