//! A trace of system calls, as `strace -f -y -xx` writes it.
//!
//! A call has two moments: when it began and when it ended, as numbers of lines. What another thread
//! does between the two splits it into an `<unfinished ...>` and a `resumed` line.

use std::collections::{BTreeMap, HashMap};

use indelible::wire::frame;
use serde::de::DeserializeOwned;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The line of its beginning, and of its end.
    pub(crate) began: usize,
    pub(crate) ended: usize,
    pub(crate) name: String,
    /// What its first descriptor leads to, as strace names it.
    pub(crate) file: String,
    /// The bytes of its first string, if it has one.
    pub(crate) bytes: Vec<u8>,
    /// What it returned; below 0 is an error.
    pub(crate) result: i64,
}

/// All calls of a trace, in the order in which they ended.
pub(crate) fn parse(trace: &str) -> Vec<Call> {
    let mut open: HashMap<(String, String), (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            let name = begun.split('(').next().unwrap_or_default();
            open.insert((pid.to_owned(), name.to_owned()), (number, begun.to_owned()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((name, tail)) = resumed.split_once(" resumed>") else { continue };
            let key = (pid.to_owned(), name.to_owned());
            if let Some((began, begun)) = open.remove(&key) {
                calls.extend(call(&format!("{begun}{tail}"), began, number));
            }
        } else {
            calls.extend(call(rest, number, number));
        }
    }
    calls
}

fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, args) = text.split_once('(')?;
    let (args, result) = args.rsplit_once(" = ")?;
    let result = result.split_whitespace().next()?.parse().ok()?;
    let file = plain(args.split_once('<').map_or("", |(_, rest)| file_name(rest)));
    let bytes = args.split_once('"').map_or("", |(_, rest)| rest);
    let bytes = hex(bytes.split('"').next().unwrap_or_default());
    Some(Call { began, ended, name: name.to_owned(), file, bytes, result })
}

/// Up to the bracket that closes the name; a connection's name has one of its own (`->`).
fn file_name(rest: &str) -> &str {
    let mut end = rest.len();
    for (at, _) in rest.match_indices('>') {
        if !rest[..at].ends_with('-') {
            end = at;
            break;
        }
    }
    &rest[..end]
}

/// Names of files are in hexadecimal, too; names of connections are not.
fn plain(name: &str) -> String {
    if name.starts_with("\\x") {
        return String::from_utf8_lossy(&hex(name)).into_owned();
    }
    name.to_owned()
}

fn hex(text: &str) -> Vec<u8> {
    let bytes = text.split("\\x").skip(1);
    bytes.filter_map(|byte| u8::from_str_radix(byte.get(..2)?, 16).ok()).collect()
}

/// Whether `pattern` stands in a successful write to a file whose name ends in `file`, and a sync of
/// that file began after that write had ended and succeeded before line `line`.
pub(crate) fn is_synced_before(calls: &[Call], file: &str, pattern: &[u8], line: usize) -> bool {
    let writes = calls.iter().filter(|call| {
        call.name == "pwrite64"
            && call.file.ends_with(file)
            && call.result > 0
            && call.bytes.windows(pattern.len()).any(|window| window == pattern)
    });
    let mut writes = writes.map(|write| write.ended);
    writes.any(|written| {
        calls.iter().any(|call| {
            call.name == "fdatasync"
                && call.file.ends_with(file)
                && call.result == 0
                && call.began > written
                && call.ended < line
        })
    })
}

/// All messages of one kind that were sent over TCP, each with the line where the call that carried
/// its first byte began. Frames that hold anything else are passed over.
pub(crate) fn sent<T: DeserializeOwned>(calls: &[Call]) -> Vec<(usize, T)> {
    let mut streams: BTreeMap<&str, Vec<(u8, usize)>> = BTreeMap::new();
    for call in calls {
        let is_send = matches!(call.name.as_str(), "sendto" | "sendmsg" | "write" | "writev");
        if is_send && call.file.starts_with("TCP:") && call.result > 0 {
            let bytes = call.bytes.iter().take(call.result as usize);
            let stream = streams.entry(&call.file).or_default();
            stream.extend(bytes.map(|byte| (*byte, call.began)));
        }
    }
    streams.into_values().flat_map(|stream| messages(&stream)).collect()
}

fn messages<T: DeserializeOwned>(stream: &[(u8, usize)]) -> Vec<(usize, T)> {
    let mut found = Vec::new();
    let mut rest = stream;
    while let Some((prefix, tail)) = rest.split_at_checked(4) {
        let length = prefix.iter().fold(0, |length, (byte, _)| length << 8 | usize::from(*byte));
        let Some((body, next)) = tail.split_at_checked(length) else { break };
        let bytes: Vec<u8> = body.iter().map(|(byte, _)| *byte).collect();
        if let Ok(message) = frame::open::<T>(&bytes) {
            found.push((prefix[0].1, message));
        }
        rest = next;
    }
    found
}

/// What each function makes of a small trace.
pub(crate) fn self_test() {
    let trace = "\
7 pwrite64(4<\\x2f\\x6c\\x6f\\x67\\x2f\\x64\\x62>, \"\\x61\\x62\", 2, 0) = 2
8 fdatasync(5</s/log/db> <unfinished ...>
7 sendto(6<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"\\x01\", 1, 0, NULL, 0) = 1
8 <... fdatasync resumed>) = 0
7 sendto(6<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"\\x02\", 1, 0, NULL, 0) = 1
9 fdatasync(5</s/log/db>) = -1 EIO (Input/output error)
";
    let calls = parse(trace);
    assert_eq!(calls.len(), 5);
    let sends: Vec<&Call> = calls.iter().filter(|call| call.name == "sendto").collect();
    assert_eq!(sends[0].file, "TCP:[127.0.0.1:1->127.0.0.1:2]");
    assert!(!is_synced_before(&calls, "log/db", b"ab", sends[0].began), "the sync was under way");
    assert!(is_synced_before(&calls, "log/db", b"ab", sends[1].began));
    assert!(!is_synced_before(&calls, "log/db", b"xy", sends[1].began), "never written");
    assert_eq!(calls[4].result, -1);
}
