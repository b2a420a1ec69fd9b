//! The scribe: a thread that keeps the log file up with what the node has executed.
//!
//! It pulls, as a client does: it waits until the node has applied more, asks for the next page of
//! the archive, and writes it. So the protocol's thread never waits for this file, nothing piles
//! up while its disk is slow, and nothing is lost when a write fails.
//!
//! A file that cannot be written (its disk is full, say) is told once, and tried again each second;
//! the node goes on. It is a copy for people: to stop a replica for it would trade the cluster's
//! availability for a convenience. A file that contradicts the log does end the node: it was given
//! the wrong file, or a store that is not its own, and somebody must look.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::jobs::Lane;
use super::log_file::{Error, LogFile};

/// The least time between two looks for more, so that a busy node is asked for whole stretches.
const PACE: Duration = Duration::from_millis(10);

/// How long it waits after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long a node that is asked to stop waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The way to the scribe; to nobody, where no log file is asked for.
pub(super) struct Scribe {
    last: CancellationToken,
    ended: Option<oneshot::Receiver<Result<(), Error>>>,
}

impl Scribe {
    /// Starts one, if there is a log file.
    ///
    /// # Errors
    ///
    /// If there is no thread for it.
    pub(super) fn start(
        log: Option<LogFile>,
        jobs: Lane,
        progress: watch::Receiver<Progress>,
    ) -> std::io::Result<Scribe> {
        let last = CancellationToken::new();
        let Some(log) = log else { return Ok(Scribe { last, ended: None }) };
        let (end, ended) = oneshot::channel();
        let desk = Desk { log, jobs, progress, last: last.clone(), is_failing: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("log-file".to_owned()).spawn(move || {
            // If nobody waits for the end any more, the process is ending anyway.
            let _ = end.send(runtime.block_on(desk.run()));
        })?;
        Ok(Scribe { last, ended: Some(ended) })
    }

    /// Returns when the file is found to contradict the log; else never.
    pub(super) async fn refuses(&mut self) -> Error {
        if let Some(ended) = self.ended.as_mut() {
            let outcome = ended.await;
            self.ended = None;
            if let Ok(Err(error)) = outcome {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Lets it write what is applied by now, for as long as that may take. The node must still run.
    pub(super) async fn finish(mut self) {
        self.last.cancel();
        if let Some(ended) = self.ended.take() {
            // What is not written now is at the next start.
            let _ = timeout(LAST_LINES, ended).await;
        }
    }
}

struct Desk {
    log: LogFile,
    jobs: Lane,
    progress: watch::Receiver<Progress>,
    /// Cancelled when the node is to stop: what is applied by then is the last.
    last: CancellationToken,
    /// Whether the last write failed.
    is_failing: bool,
}

impl Desk {
    /// Until the node stops, or the file is found to contradict the log.
    async fn run(mut self) -> Result<(), Error> {
        loop {
            let is_last = self.last.is_cancelled();
            let node_runs = self.catch_up().await?;
            if is_last || !node_runs {
                return Ok(());
            }
            tokio::select! {
                changed = self.progress.changed() => if changed.is_err() { return Ok(()) },
                () = self.last.cancelled() => continue,
            }
            sleep(PACE).await;
        }
    }

    /// Writes all that is applied by now. Whether the node still runs, and the file goes on.
    async fn catch_up(&mut self) -> Result<bool, Error> {
        let applied = self.progress.borrow_and_update().applied;
        while self.log.next() < applied {
            let Some((next, entries)) = self.jobs.page(self.log.next()).await else {
                return Ok(false);
            };
            self.log.take(next, &entries)?;
            while !self.write() {
                tokio::select! {
                    () = sleep(RETRY) => (),
                    () = self.last.cancelled() => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// Writes what is unwritten. Whether all of it was; the log tells when that changes.
    fn write(&mut self) -> bool {
        match self.log.write() {
            Ok(()) => {
                if self.is_failing {
                    tracing::warn!("the log file is written again; nothing is missing in it");
                }
                self.is_failing = false;
            }
            Err(error) => {
                if !self.is_failing {
                    tracing::warn!("the log file cannot be written, the node goes on: {error}");
                }
                self.is_failing = true;
            }
        }
        !self.is_failing
    }
}
