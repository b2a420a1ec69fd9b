//! The archive's segments: appended to at the end, read anywhere, cut back.
//!
//! A cut only moves the end. The files above it are removed when something is appended, so that
//! whoever opens a shelf and finds it wanting has changed nothing.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::file::SEGMENT;
use super::segment::{self, Segment};
use crate::disk::sync;
use crate::paxos::Slot;
use crate::rsm::{Extent, ShelfError};

/// The segments of one archive.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    fingerprint: u32,
    /// A segment that would grow beyond this is followed by another.
    segment_bytes: u64,
    /// Where each begins, ascending; the first at slot 0.
    starts: Vec<Slot>,
    extent: Extent,
    /// So many bytes of the last segment count.
    offset: u64,
    /// The last segment, once it is written to.
    writer: Option<Arc<File>>,
    unsynced: Vec<Written>,
}

/// A segment that was written to since the last sync, by the descriptor that wrote: the kernel
/// reports an error of its own writing back there.
#[derive(Clone, Debug)]
struct Written {
    start: Slot,
    file: Arc<File>,
}

/// What has to be synced for the archive to be durable, to be done without holding it.
#[derive(Debug)]
pub(super) struct Unsynced {
    folder: PathBuf,
    written: Vec<Written>,
}

impl Segments {
    /// Those of a folder, cut back to nothing.
    pub(super) fn new(folder: &Path, fingerprint: u32, segment_bytes: u64) -> Segments {
        Segments {
            folder: folder.to_owned(),
            fingerprint,
            segment_bytes,
            starts: Vec::new(),
            extent: Extent::default(),
            offset: 0,
            writer: None,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    pub(super) fn append(&mut self, entries: &[(Slot, Bytes)]) -> Result<(), ShelfError> {
        if self.writer.is_none() && !entries.is_empty() {
            self.settle()?;
        }
        let mut batch = Vec::new();
        for (slot, body) in entries {
            if !self.fits(batch.len(), segment::entry_bytes(body)) {
                self.write(&mut batch)?;
                self.begin()?;
            }
            self.extent = self.extent.then(*slot, body);
            segment::encode(self.fingerprint, *slot, body, &mut batch);
        }
        self.write(&mut batch)
    }

    /// Makes the files end where the archive does. The last go first: no gap is left whenever it is
    /// interrupted.
    fn settle(&mut self) -> Result<(), ShelfError> {
        let mut above = self.list()?;
        above.drain(..above.partition_point(|start| *start < self.extent.end));
        for start in above.into_iter().rev() {
            let path = SEGMENT.path(&self.folder, start);
            fs::remove_file(&path).map_err(|error| ShelfError::io(&path, error))?;
        }
        if self.starts.is_empty() {
            return Ok(());
        }
        let file = self.open_last(false)?;
        file.set_len(self.offset).map_err(|error| self.error(error))
    }

    /// Whether an entry fits the last segment behind what is about to be written. The first does.
    fn fits(&self, batch: usize, entry: usize) -> bool {
        let end = self.offset + batch as u64;
        let is_first = end == segment::HEADER_BYTES as u64;
        !self.starts.is_empty() && (is_first || end + entry as u64 <= self.segment_bytes)
    }

    /// Begins another segment.
    fn begin(&mut self) -> Result<(), ShelfError> {
        self.starts.push(self.extent.end);
        self.open_last(true)?;
        self.offset = 0;
        self.write(&mut segment::header(self.fingerprint, self.extent))
    }

    fn open_last(&mut self, is_new: bool) -> Result<Arc<File>, ShelfError> {
        let opened = OpenOptions::new().write(true).create_new(is_new).open(self.path());
        let file = Arc::new(opened.map_err(|error| self.error(error))?);
        self.writer = Some(Arc::clone(&file));
        self.unsynced.push(Written { start: self.last(), file: Arc::clone(&file) });
        Ok(file)
    }

    fn write(&mut self, batch: &mut Vec<u8>) -> Result<(), ShelfError> {
        if let Some(file) = &self.writer {
            file.write_all_at(batch, self.offset).map_err(|error| self.error(error))?;
        }
        self.offset += batch.len() as u64;
        batch.clear();
        Ok(())
    }

    pub(super) fn page(&self, from: Slot, max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        if self.extent.end <= from {
            return Ok(page);
        }
        let first = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        for index in first..self.starts.len() {
            let segment = self.segment(index)?;
            let mut entries = segment.entries();
            for entry in &mut entries {
                let (slot, body) = entry?;
                if slot < from {
                    continue;
                }
                bytes += body.len();
                if bytes > max && !page.is_empty() {
                    return Ok(page);
                }
                page.push((slot, Bytes::copy_from_slice(body)));
            }
            let next = self.starts.get(index + 1).copied();
            segment.ends_at(entries.end(), next.unwrap_or(self.extent.end))?;
        }
        Ok(page)
    }

    fn segment(&self, index: usize) -> Result<Segment, ShelfError> {
        let is_last = index + 1 == self.starts.len();
        let limit = if is_last { self.offset } else { u64::MAX };
        Segment::read(&self.folder, self.starts[index], self.fingerprint, limit)
    }

    pub(super) fn cut(&mut self, to: Extent) -> Result<(), ShelfError> {
        if to.entries > self.extent.entries {
            let what = format!("it goes to {}, but {to} is asked for", self.extent);
            return Err(ShelfError::damaged(&self.folder, what));
        }
        self.find(to)
    }

    /// Makes an extent the end, wherever the end was. Reads the one segment in which it lies.
    pub(super) fn find(&mut self, to: Extent) -> Result<(), ShelfError> {
        let mut starts = self.list()?;
        starts.truncate(starts.partition_point(|start| *start < to.end));
        let offset = match starts.last() {
            _ if starts.first().is_some_and(|first| *first != Slot(0)) => {
                return Err(ShelfError::damaged(&self.folder, "its first segment is gone"));
            }
            Some(last) => {
                Segment::read(&self.folder, *last, self.fingerprint, u64::MAX)?.reach(to)?
            }
            None if to == Extent::default() => 0,
            None => {
                let what = format!("there is nothing, but the snapshot names {to}");
                return Err(ShelfError::damaged(&self.folder, what));
            }
        };
        (self.starts, self.extent, self.offset, self.writer) = (starts, to, offset, None);
        let last = self.starts.last();
        self.unsynced.retain(|written| Some(&written.start) <= last);
        Ok(())
    }

    /// Takes back what the last segment holds above the end, or the segment behind it: up to the
    /// first entry that is not whole. Whether there was anything.
    ///
    /// Whoever wrote it may have died before any sync; and if a sync failed, the page cache shows
    /// what the disk never got. So the file is synced, and read anew from the disk: what is found
    /// there is durable, and no descriptor of it need be kept for a later sync. (That of the folder
    /// is part of each.)
    pub(super) fn regain(&mut self) -> Result<bool, ShelfError> {
        if self.writer.is_some() {
            return Ok(false);
        }
        let start = if self.last_goes_on()? { self.last() } else { self.extent.end };
        let path = SEGMENT.path(&self.folder, start);
        if !path.exists() {
            return Ok(false);
        }
        sync::drop_cache(&path).map_err(|error| ShelfError::io(&path, error))?;
        let read = Segment::read(&self.folder, start, self.fingerprint, u64::MAX);
        let beyond = read.and_then(|segment| segment.beyond(self.extent));
        // Nobody was promised it: damage is no error here.
        let Some((extent, offset)) = beyond.ok().filter(|(to, _)| *to != self.extent) else {
            return Ok(false);
        };
        if self.starts.last() != Some(&start) {
            self.starts.push(start);
        }
        (self.extent, self.offset) = (extent, offset);
        Ok(true)
    }

    /// Whether the last segment is longer than what counts of it.
    fn last_goes_on(&self) -> Result<bool, ShelfError> {
        if self.starts.is_empty() {
            return Ok(false);
        }
        let length = fs::metadata(self.path()).map_err(|error| self.error(error))?.len();
        Ok(length > self.offset)
    }

    /// What a sync of the archive up to an extent takes.
    pub(super) fn unsynced(&mut self, up_to: Extent) -> Unsynced {
        let is_held = up_to.entries <= self.extent.entries;
        assert!(is_held, "what a snapshot names is appended before");
        let written = std::mem::take(&mut self.unsynced);
        if let Some(file) = &self.writer {
            self.unsynced.push(Written { start: self.last(), file: Arc::clone(file) });
        }
        Unsynced { folder: self.folder.clone(), written }
    }

    fn list(&self) -> Result<Vec<Slot>, ShelfError> {
        SEGMENT.list(&self.folder).map_err(|error| ShelfError::io(&self.folder, error))
    }

    fn last(&self) -> Slot {
        *self.starts.last().expect("an archive that is written to has a segment")
    }

    fn path(&self) -> PathBuf {
        SEGMENT.path(&self.folder, self.last())
    }

    fn error(&self, error: std::io::Error) -> ShelfError {
        ShelfError::io(&self.path(), error)
    }
}

impl Unsynced {
    /// Syncs it.
    pub(super) fn sync(&self) -> Result<(), ShelfError> {
        for Written { start, file } in &self.written {
            let path = SEGMENT.path(&self.folder, *start);
            sync::data(file).map_err(|error| ShelfError::io(&path, error))?;
        }
        sync::folder(&self.folder).map_err(|error| ShelfError::io(&self.folder, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red if a segment that was left for the next is forgotten, or the last one that may grow: it
    /// would be said to be durable, and nobody would have synced it.
    #[test]
    fn all_that_was_written_is_to_be_synced() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut segments = Segments::new(folder.path(), 7, 100);
        let mut take = |slots: std::ops::Range<u64>| {
            let entry = |slot| (Slot(slot), Bytes::from(vec![0; 60]));
            segments.append(&slots.map(entry).collect::<Vec<_>>()).expect("appended");
            let unsynced = segments.unsynced(segments.extent());
            unsynced.sync().expect("synced");
            unsynced.written.iter().map(|written| written.start.0).collect::<Vec<_>>()
        };
        assert_eq!(take(0..3), [0, 1, 2]);
        assert_eq!(take(3..5), [2, 3, 4]);
        assert_eq!(take(5..5), [4]);
        let extent = Extent::default().then(Slot(0), &[0; 60]);
        segments.cut(extent).expect("cut");
        let unsynced = segments.unsynced(extent).written;
        assert!(unsynced.is_empty(), "what was cut is not: {unsynced:?}");
    }
}
