//! The file of results: one line `ID YES NO` for each poll, in order, none twice, none missing.
//!
//! It is all that a client remembers: its last line says which results are still to be fetched. A
//! line is one write and one sync; whoever writes the next one, or tells anybody, does so after
//! that. So a crash can tear the last line at most, and that has no end then: it is cut when the
//! file is opened, and fetched again. (A power cut may leave zeros where data were to be, also
//! before an end of line: a last line with a zero byte is cut as well.) Whatever else is not what
//! this module writes is not touched: the file may be somebody else's.
//!
//! One process a file: a lock on a file beside it, `NAME.lock`, which stays.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::disk::lock::{Lock, Refusal};
use crate::disk::{sync, verdict};
use crate::services::poll::{PollId, Tally};

/// The file, held.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    last: PollId,
    _lock: Lock,
}

/// What is wrong with a file of results.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Another process has it.
    #[error("{}: another client keeps its results there{}", path.display(), by(*.holder))]
    Held {
        /// The file.
        path: PathBuf,
        /// Whose it is, if that is known.
        holder: Option<u32>,
    },
    /// It holds something that no client wrote.
    #[error("{}: line {line} is no result, or not after the one before: what file is this?",
        path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The disk's.
    #[error("{}", verdict::line(path, error))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Results {
    /// Opens or creates the file, and cuts a torn last line.
    ///
    /// # Errors
    ///
    /// If another process has it, it is no file of results, or the disk fails.
    pub fn open(path: &Path) -> Result<Results, ResultError> {
        let failed = |error| ResultError::Io { path: path.to_owned(), error };
        let path = &real(path).map_err(failed)?;
        let lock = take_lock(path)?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = file.map_err(failed)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let whole = whole(&content);
        let last = last_of(&content[..whole]);
        let last = last.map_err(|line| ResultError::Foreign { path: path.clone(), line })?;
        if whole < content.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        // A line that an earlier process wrote may not have been synced.
        sync::data(&file).map_err(failed)?;
        sync::folder(folder(path)).map_err(failed)?;
        Ok(Results { path: path.clone(), file, last, _lock: lock })
    }

    /// The poll of the last line.
    #[must_use]
    pub fn last(&self) -> PollId {
        self.last
    }

    /// Adds a line, on the disk when this returns. One that is there already changes nothing.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    pub fn append(&mut self, tally: &Tally) -> Result<(), ResultError> {
        if tally.poll <= self.last {
            return Ok(());
        }
        let line = format!("{} {} {}\n", tally.poll, tally.yes, tally.no);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| sync::data(&self.file));
        written.map_err(|error| ResultError::Io { path: self.path.clone(), error })?;
        self.last = tally.poll;
        Ok(())
    }
}

/// The path of the file itself, if it is reached by links: it has one lock.
fn real(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(error)?;
            Ok(folder(path).canonicalize()?.join(name))
        }
        found => found,
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn take_lock(path: &Path) -> Result<Lock, ResultError> {
    let mut beside = OsString::from(path.as_os_str());
    beside.push(".lock");
    Lock::take(Path::new(&beside)).map_err(|refusal| match refusal {
        Refusal::Held(holder) => ResultError::Held { path: path.to_owned(), holder },
        Refusal::Io(error) => ResultError::Io { path: beside.into(), error },
    })
}

fn by(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |holder| format!(" (process {holder})"))
}

/// How many bytes from the start are whole lines.
fn whole(content: &[u8]) -> usize {
    let after_end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let end = after_end(content).unwrap_or(0);
    let start = after_end(&content[..end.saturating_sub(1)]).unwrap_or(0);
    if content[start..end].contains(&0) { start } else { end }
}

/// The poll of the last line; or the first line that is not as it should be, counted from 1.
fn last_of(content: &[u8]) -> Result<PollId, usize> {
    let mut last = PollId(0);
    for (at, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let poll = std::str::from_utf8(line).ok().and_then(parse);
        last = poll.filter(|poll| *poll > last).ok_or(at + 1)?;
    }
    Ok(last)
}

fn parse(line: &str) -> Option<PollId> {
    let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
    let [poll, yes, no] = words.as_slice() else { return None };
    let [poll, yes, no] = [poll, yes, no].map(|word| word.parse::<u64>().ok());
    yes.and(no).and(poll).map(PollId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(poll: u64) -> Tally {
        Tally { poll: PollId(poll), yes: 2, no: 10, abstained: 3 }
    }

    fn read(path: &Path) -> String {
        String::from_utf8(std::fs::read(path).expect("it is there")).expect("text")
    }

    /// Bugs that turn it red: a torn line that stays, or takes a whole one along; a line twice.
    #[test]
    fn a_torn_last_line_is_cut_and_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results");
        let mut results = Results::open(&path).expect("made");
        assert_eq!(results.last(), PollId(0));
        for poll in [1, 2, 2, 1, 5] {
            results.append(&tally(poll)).expect("written");
        }
        drop(results);
        let content = "1 2 10\n2 2 10\n5 2 10\n";
        assert_eq!(read(&path), content);
        for end in 14..content.len() {
            for zeros in ["", "\0", "\0\0\n"] {
                std::fs::write(&path, content[..end].to_owned() + zeros).expect("written");
                let mut results = Results::open(&path).expect("a torn line is no harm");
                assert_eq!((results.last(), read(&path).len()), (PollId(2), 14), "{end} {zeros:?}");
                results.append(&tally(5)).expect("written");
                assert_eq!(read(&path), content);
            }
        }
        assert_eq!(Results::open(&path).expect("whole").last(), PollId(5));
    }

    /// Bugs that turn it red: a file of somebody else's that is cut, or written to.
    #[test]
    fn what_is_no_file_of_results_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results");
        let cases = [
            ("hello\n", 1),
            ("1 2 3\n1 2 3\n", 2),
            ("1 2\n", 1),
            ("1 2 3\n\n4 5", 2),
            ("2 -1 3\n", 1),
        ];
        for (content, bad) in cases {
            std::fs::write(&path, content).expect("written");
            let error = Results::open(&path).expect_err(content);
            assert!(matches!(error, ResultError::Foreign { line, .. } if line == bad), "{error}");
            assert_eq!(read(&path), content);
        }
    }

    /// Bugs that turn it red: a lock by the name that was given, where two lead to one file.
    #[test]
    fn one_process_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("results"), folder.path().join("link"));
        let held = Results::open(&path).expect("made");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        for path in [&path, &link] {
            let error = Results::open(path).expect_err("it is held");
            assert!(matches!(&error, ResultError::Held { holder: Some(_), .. }), "{error}");
        }
        drop(held);
        Results::open(&link).expect("free again");
    }
}
