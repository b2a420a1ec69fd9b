//! The executed log as a text file, for people: a line a message, `SLOT SENDER: text`, appended.
//!
//! It is a copy. The store is the truth: the file is never read to know what was decided, and so
//! it is never synced. What a crash tears is mended at the next start: an end without an end of
//! line is cut, what stands in the file is compared line by line with the log from slot 0 on, and
//! only what follows is appended. So a line is neither missing nor there twice, and a file that
//! contradicts the log (it is another cluster's, somebody edited it, a power cut left a hole in it)
//! is refused rather than continued. A file that is ahead of a restarted node is right: the node
//! learns again what it had executed, and the comparison goes on as it does.
//!
//! Deliberately absent: rotation (copy and truncate would make the next start refuse the rest).

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::paxos::Slot;
use crate::services::printed::{is_harmful, print};
use crate::wire::client::Entry;

/// The line that an entry of the archive stands for, without an end of line; `None` for none.
pub type LineOf = fn(&Entry) -> Option<String>;

/// Why there is no log file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened or read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process writes it.
    #[error("{}: another node writes it", .0.display())]
    Busy(PathBuf),
    /// It is not what this node has executed.
    #[error(
        "log file {}: line {line} is \"{found}\", but this cluster has executed \"{executed}\"; \
         move the file away, and it is written anew",
        path.display()
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What stands there, or its beginning.
        found: String,
        /// What should, or its beginning.
        executed: String,
    },
}

/// A log file that is open.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    line_of: LineOf,
    /// What stood in the file at the start and is not yet compared.
    held: Option<Held>,
    /// Lines compared or taken so far.
    lines: u64,
    /// Where the next page of the archive begins.
    next: Slot,
    /// Lines that are not yet written.
    unwritten: Vec<u8>,
}

/// What a file held at the start, from `at` to `end`: whole lines.
#[derive(Debug)]
struct Held {
    reader: BufReader<File>,
    at: u64,
    end: u64,
}

/// Of lines that differ so many bytes are told.
const SHOWN_BYTES: usize = 160;

/// The end of a file is searched for an end of line in pieces of so many bytes.
const PIECE_BYTES: u64 = 64 << 10;

impl LogFile {
    /// Opens the file, or makes it, and cuts a torn end.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, is no plain file, or another process writes it.
    pub(super) fn open(path: &Path, line_of: LineOf) -> Result<LogFile, Error> {
        let failed = |error| Error::Io { path: path.to_owned(), error };
        let (file, end) = open_to_append(path)?;
        let mut reader = BufReader::new(file.try_clone().map_err(failed)?);
        reader.rewind().map_err(failed)?;
        let held = (end > 0).then_some(Held { reader, at: 0, end });
        let path = path.to_owned();
        Ok(LogFile { path, file, line_of, held, lines: 0, next: Slot(0), unwritten: Vec::new() })
    }

    /// Where the next page begins.
    pub(super) fn next(&self) -> Slot {
        self.next
    }

    /// Whether there is more in the file than was compared.
    pub(super) fn is_ahead(&self) -> bool {
        self.held.is_some()
    }

    /// Takes a page of the archive, all entries below `next`: compares what the file holds, and
    /// keeps the rest to be written.
    ///
    /// # Errors
    ///
    /// If the file holds something else, or cannot be read.
    pub(super) fn take(&mut self, next: Slot, entries: &[Entry]) -> Result<(), Error> {
        for mut line in entries.iter().filter_map(self.line_of) {
            line.push('\n');
            self.lines += 1;
            if !self.is_held(&line)? {
                self.unwritten.extend_from_slice(line.as_bytes());
            }
        }
        self.next = next;
        Ok(())
    }

    /// Writes what is unwritten. After an error it can be called again, and goes on where it was.
    ///
    /// # Errors
    ///
    /// If some of it could not be written.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.file.write(&self.unwritten) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.unwritten.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the file held this line at the start, at this place; `false` behind its end.
    fn is_held(&mut self, line: &str) -> Result<bool, Error> {
        let Some(held) = &mut self.held else { return Ok(false) };
        let failed = |error| Error::Io { path: self.path.clone(), error };
        // No more than the line takes: a foreign file may hold one line of any length.
        let bytes = (line.len() as u64).min(held.end - held.at);
        let mut found = vec![0; bytes as usize];
        held.reader.read_exact(&mut found).map_err(failed)?;
        if found != line.as_bytes() {
            let mut shown = [0; SHOWN_BYTES];
            let count = self.file.read_at(&mut shown, held.at).map_err(failed)?;
            return Err(Error::Differs {
                path: self.path.clone(),
                line: self.lines,
                found: first_line(&shown[..count]),
                executed: first_line(line.as_bytes()),
            });
        }
        held.at += bytes;
        if held.at == held.end {
            self.held = None;
        }
        Ok(true)
    }
}

/// Opens a file of lines, or makes it, and cuts a torn end; and how long it is then.
///
/// # Errors
///
/// If it cannot be opened, is no plain file, or another process writes it.
pub(super) fn open_to_append(path: &Path) -> Result<(File, u64), Error> {
    let failed = |error| Error::Io { path: path.to_owned(), error };
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(failed(io::Error::other("not a plain file")));
    }
    let file = File::options().read(true).append(true).create(true).open(path);
    let file = file.map_err(failed)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::Busy(path.to_owned()),
        TryLockError::Error(error) => failed(error),
    })?;
    let end = cut_torn_end(&file).map_err(failed)?;
    Ok((file, end))
}

/// Cuts what follows the last end of line: a write that was torn. How long the file is then.
fn cut_torn_end(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut piece = vec![0; PIECE_BYTES as usize];
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES);
        let bytes = &mut piece[..(end - start) as usize];
        file.read_exact_at(bytes, start)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

/// The first line of these bytes, or its beginning, to be read by a person.
fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut shown = String::new();
    print(&mut shown, &line[..line.len().min(SHOWN_BYTES)], is_harmful);
    shown
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn line_of(entry: &Entry) -> Option<String> {
        let text = String::from_utf8_lossy(&entry.body);
        (!text.is_empty()).then(|| format!("{} {text}", entry.slot))
    }

    /// Slots 0, 1, 3 and 4 hold a line, slot 2 none.
    fn entries() -> Vec<Entry> {
        let entry = |(slot, text): (u64, &'static str)| Entry {
            slot: Slot(slot),
            body: Bytes::from_static(text.as_bytes()),
        };
        [(0, "a"), (1, "b\u{ef}"), (2, ""), (3, "c"), (4, "d")].map(entry).to_vec()
    }

    const WHOLE: &str = "0 a\n1 b\u{ef}\n3 c\n4 d\n";

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn holding(bytes: &[u8]) -> Place {
            let place = Place { folder: tempfile::tempdir().expect("a folder") };
            fs::write(place.path(), bytes).expect("writes");
            place
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("a.log")
        }

        /// Runs a node over it that executes all, in two pages; what the file holds then.
        fn run(&self) -> Result<Vec<u8>, Error> {
            let mut log = LogFile::open(&self.path(), line_of)?;
            let entries = entries();
            log.take(Slot(2), &entries[..2])?;
            log.write().expect("writes");
            log.take(Slot(5), &entries[2..])?;
            log.write().expect("writes");
            assert_eq!((log.next(), log.is_ahead()), (Slot(5), false));
            Ok(fs::read(self.path()).expect("reads"))
        }
    }

    /// Bugs that turn it red: appending without comparing; a torn end that stays; a cut of the
    /// last whole line.
    #[test]
    fn whatever_a_crash_left_ends_as_the_whole_log() {
        let torn = (0..=WHOLE.len()).map(|end| WHOLE.as_bytes()[..end].to_vec());
        let zeros = [&b"0 a\n"[..], &[0; 100_000]].concat();
        for left in torn.chain([zeros, vec![0; 200_000]]) {
            let place = Place::holding(&left);
            let found = place.run().expect("continues");
            assert_eq!(found, WHOLE.as_bytes(), "from {}", left.escape_ascii());
        }
        let missing = Place::holding(b"");
        fs::remove_file(missing.path()).expect("removes");
        assert_eq!(missing.run().expect("begins"), WHOLE.as_bytes());
    }

    /// Bugs that turn it red: lines compared by their beginning only; a line read to its end
    /// before it is compared.
    #[test]
    fn a_file_that_contradicts_the_log_is_refused_and_stays() {
        let long = [&b"0 a\n1 "[..], &vec![b'x'; 1 << 20], b"\n"].concat();
        let cases: [(&[u8], &str); 6] = [
            (b"0 b\n", "line 1 is \"0 b\", but this cluster has executed \"0 a\""),
            (b"0 a\n3 c\n", "line 2 is \"3 c\", but this cluster has executed \"1 b\u{ef}\""),
            (b"0 a\n0 a\n", "line 2 is \"0 a\""),
            (b"0 a and more\n", "line 1 is \"0 a and more\""),
            (b"\n", "line 1 is \"\""),
            (&long, "line 2 is \"1 xxxxx"),
        ];
        for (held, expected) in cases {
            let place = Place::holding(held);
            let error = place.run().expect_err("contradicts").to_string();
            assert!(error.contains(expected) && error.len() < 600, "{error}");
            assert_eq!(fs::read(place.path()).expect("reads"), held, "it is left as it was");
        }
    }

    #[test]
    fn a_file_that_is_ahead_is_compared_as_the_node_learns() {
        let place = Place::holding(WHOLE.as_bytes());
        let mut log = LogFile::open(&place.path(), line_of).expect("opens");
        log.take(Slot(2), &entries()[..2]).expect("the same");
        assert!(log.is_ahead());
        log.take(Slot(4), &entries()[2..4]).expect("the same");
        let other = Entry { slot: Slot(4), body: Bytes::from_static(b"x") };
        assert!(matches!(log.take(Slot(5), &[other]), Err(Error::Differs { line: 4, .. })));
    }

    #[test]
    fn two_nodes_do_not_share_a_file_and_a_folder_is_none() {
        let place = Place::holding(b"");
        let held = LogFile::open(&place.path(), line_of).expect("opens");
        assert!(matches!(LogFile::open(&place.path(), line_of), Err(Error::Busy(_))));
        drop(held);
        assert!(LogFile::open(&place.path(), line_of).is_ok());
        let folder = LogFile::open(place.folder.path(), line_of).expect_err("a folder");
        assert!(folder.to_string().contains("not a plain file"), "{folder}");
    }
}
