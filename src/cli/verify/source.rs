//! Where a log comes from: a file, or a live replica.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::compare::Lines;
use crate::cli::exit::{Failure, Status};
use crate::client::{LinkError, Page, Probe};
use crate::cluster::{Cluster, Member};
use crate::paxos::Slot;
use crate::services::chat::{LOGGED_BYTES_MAX, logged};
use crate::wire::client::{Entry, Role};

/// One of the logs that are compared.
pub(super) enum Source<'a> {
    File(File),
    Live(Box<Live<'a>>),
}

/// A file, read a line at a time.
pub(super) struct File {
    path: PathBuf,
    reader: BufReader<fs::File>,
    torn: u64,
}

/// A replica that is asked for its archive, a page at a time.
pub(super) struct Live<'a> {
    runtime: &'a Runtime,
    member: &'a Member,
    cluster: &'a Cluster,
    patience: Duration,
    /// The connection, or why there is none.
    probe: Result<Probe, LinkError>,
    /// What it had applied when it was asked first: the log ends there.
    end: Slot,
    is_witness: bool,
    /// Where the next page begins.
    next: Slot,
    page: std::vec::IntoIter<Entry>,
}

/// How a file that cannot be opened ends the program.
pub(super) fn missing(path: &Path, error: &io::Error) -> Failure {
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let status = if is_missing { Status::Missing } else { Status::Disk };
    Failure::new(status, format!("{}: {error}", path.display()))
}

impl Lines for Source<'_> {
    fn name(&self) -> String {
        match self {
            Source::File(file) => file.path.display().to_string(),
            Source::Live(live) => format!("node {} at {}", live.member.id.0, live.address()),
        }
    }

    fn is_live(&self) -> bool {
        matches!(self, Source::Live(_))
    }

    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Source::File(file) => file.next(line).map_err(|error| error.to_string()),
            Source::Live(live) => live.next(line).map_err(|error| error.to_string()),
        }
    }

    fn torn(&self) -> u64 {
        match self {
            Source::File(file) => file.torn,
            Source::Live(_) => 0,
        }
    }
}

impl File {
    pub(super) fn open(path: &Path) -> io::Result<File> {
        let reader = BufReader::new(fs::File::open(path)?);
        Ok(File { path: path.to_owned(), reader, torn: 0 })
    }

    /// The next line; `false` at the end, or where only an unfinished line is left.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let limit = LOGGED_BYTES_MAX as u64 + 1;
        self.reader.by_ref().take(limit).read_until(b'\n', line)?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            return Ok(true);
        }
        if line.len() as u64 == limit {
            return Err(io::Error::other("no executed log: a line is longer than any message"));
        }
        self.torn = line.len() as u64;
        Ok(false)
    }
}

impl<'a> Live<'a> {
    /// Asks a replica how far it is.
    pub(super) async fn dial(
        runtime: &'a Runtime,
        member: &'a Member,
        cluster: &'a Cluster,
        patience: Duration,
    ) -> Live<'a> {
        let (mut end, next, mut is_witness) = (Slot(0), Slot(0), false);
        let dialling = async {
            let mut probe = Probe::find(cluster, member, patience).await?;
            let status = probe.status().await?;
            (end, is_witness) = (status.applied, status.role == Role::Witness);
            Ok(probe)
        };
        let probe = dialling.await;
        let page = Vec::new().into_iter();
        Live { runtime, member, cluster, patience, probe, end, is_witness, next, page }
    }

    /// Whether it said that it executes nothing.
    pub(super) fn is_witness(&self) -> bool {
        self.is_witness
    }

    /// Where it was reached, or where it should have been.
    fn address(&self) -> &str {
        self.probe.as_ref().map_or(&self.member.address, Probe::address)
    }

    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, LinkError> {
        loop {
            if let Err(error) = &self.probe {
                return Err(error.clone());
            }
            let entries = self.page.by_ref().take_while(|entry| entry.slot < self.end);
            if let Some(text) = entries.filter_map(|entry| logged(&entry)).next() {
                *line = text.into_bytes();
                return Ok(true);
            }
            if self.next >= self.end {
                return Ok(false);
            }
            let page = self.runtime.block_on(self.fetch())?;
            self.next = page.next;
            self.page = page.entries.into_iter();
        }
    }

    /// The next page; over another connection, if this one broke while the other logs were read.
    async fn fetch(&mut self) -> Result<Page, LinkError> {
        if let Ok(probe) = &mut self.probe
            && let Ok(page) = probe.page(self.next).await
        {
            return Ok(page);
        }
        let mut probe = Probe::find(self.cluster, self.member, self.patience).await?;
        let page = probe.page(self.next).await?;
        self.probe = Ok(probe);
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> (io::Result<Vec<Vec<u8>>>, u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, bytes).expect("writes");
        let mut file = File::open(&path).expect("opens");
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        let outcome = loop {
            match file.next(&mut line) {
                Ok(true) => lines.push(line.clone()),
                Ok(false) => break Ok(lines),
                Err(error) => break Err(error),
            }
        };
        (outcome, file.torn)
    }

    /// Bugs that turn it red: an unfinished line that counts; no limit for a line; a limit that
    /// the longest message goes beyond.
    #[test]
    fn whole_lines_count_and_no_line_takes_all_memory() {
        let of = |bytes: &[u8]| {
            let (lines, torn) = lines(bytes);
            (lines.expect("a log").len(), torn)
        };
        assert_eq!(of(b""), (0, 0));
        assert_eq!(of(b"0 a\n1 b\n"), (2, 0));
        assert_eq!(of(b"0 a\n1 b"), (1, 3));
        assert_eq!(of(b"\n\n"), (2, 0));
        let longest = [&vec![b'x'; LOGGED_BYTES_MAX][..], b"\n"].concat();
        assert_eq!(of(&longest), (1, 0));
        assert!(lines(&vec![b'x'; LOGGED_BYTES_MAX + 1]).0.is_err());
    }
}
