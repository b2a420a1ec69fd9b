//! The trace of a node as a file: what its thread does, a JSON line each, for `indelible audit`.
//!
//! The node's thread only adds to a buffer in memory; a thread of its own writes that to the file
//! when there is much of it, ten times a second, and at a clean stop. So the file's disk holds up
//! no commit, and a kill may lose the last tenth of a second of it, a power cut more: no sync is
//! asked for. What is torn is cut at the next start, which continues the file with a line that says
//! so.
//!
//! A trace that cannot be written ends there, and the node goes on; it is told once. So does one
//! whose disk is too slow: a trace with a gap would prove nothing.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::log_file::{self, Error};
use crate::audit::trace::Teller;
use crate::paxos::{Heard, Tap};

/// So much waits at most before it is written.
const CHUNK_BYTES: usize = 256 << 10;

/// So long.
const PAUSE: Duration = Duration::from_millis(100);

/// More than this waits only where the file's disk stands still.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A trace file that is open, and the thread that writes it.
pub(super) struct TraceFile {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What the node's thread tells.
struct Tape {
    shared: Arc<Shared>,
    teller: Teller,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    is_time: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    state: State,
}

/// Whether more is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It is.
    #[default]
    Open,
    /// What waits is the last.
    Finished,
    /// It could not be written.
    Failed,
}

impl TraceFile {
    /// Opens the file, or makes it, and cuts a torn end.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, is no plain file, or another process writes it; or there is no
    /// thread for it.
    pub(super) fn open(path: &Path) -> Result<TraceFile, Error> {
        let (file, _) = log_file::open_to_append(path)?;
        let shared = Arc::new(Shared::default());
        let (of_writer, path) = (Arc::clone(&shared), path.to_owned());
        let thread = std::thread::Builder::new().name("trace".to_owned());
        let writer = thread.spawn({
            let path = path.clone();
            move || of_writer.write_all(file, &path)
        });
        let writer = Some(writer.map_err(|error| Error::Io { path, error })?);
        Ok(TraceFile { shared, writer })
    }

    /// For the node.
    pub(super) fn tap(&self) -> Box<dyn Tap + Send> {
        Box::new(Tape { shared: Arc::clone(&self.shared), teller: Teller::default() })
    }
}

/// The node says nothing more: what it said is written.
impl Drop for TraceFile {
    fn drop(&mut self) {
        self.shared.waiting().finish();
        self.shared.is_time.notify_one();
        if let Some(writer) = self.writer.take() {
            // A panic there has been told.
            let _ = writer.join();
        }
    }
}

impl Tap for Tape {
    fn hear(&mut self, heard: Heard<'_>) {
        let line = self.teller.line(heard);
        let mut waiting = self.shared.waiting();
        if waiting.state != State::Open {
            return;
        }
        line.write(&mut waiting.lines);
        let bytes = waiting.lines.len();
        if bytes > WAITING_BYTES_MAX {
            waiting.state = State::Failed;
            tracing::warn!("the trace ends: its disk is too slow; the node goes on");
        }
        drop(waiting);
        if bytes >= CHUNK_BYTES {
            self.shared.is_time.notify_one();
        }
    }
}

impl Waiting {
    fn finish(&mut self) {
        if self.state == State::Open {
            self.state = State::Finished;
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the last line, or an error.
    fn write_all(&self, mut file: File, path: &Path) {
        let mut chunk = Vec::new();
        loop {
            let state = {
                let is_early = |waiting: &mut Waiting| {
                    waiting.state == State::Open && waiting.lines.len() < CHUNK_BYTES
                };
                let waited = self.is_time.wait_timeout_while(self.waiting(), PAUSE, is_early);
                let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
                mem::swap(&mut chunk, &mut waiting.lines);
                waiting.state
            };
            if let Err(error) = file.write_all(&chunk) {
                self.waiting().state = State::Failed;
                let path = path.display();
                tracing::warn!("the trace {path} ends, the node goes on: {error}");
                return;
            }
            chunk.clear();
            if state != State::Open {
                return;
            }
        }
    }
}
