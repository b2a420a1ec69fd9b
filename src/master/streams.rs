//! What reaches the master from outside: commands on standard input, the fate of its standard
//! output, and signals.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Lines read ahead of the command that is being obeyed.
const LINES_MAX: usize = 64;

/// How often to look whether somebody still reads what we print.
const LOOK: Duration = Duration::from_millis(100);

/// The lines of standard input, each with its end if it has one, until it ends.
///
/// A thread of its own reads them: nothing else can wait for a terminal, a pipe and a file alike.
/// It is left to itself when the process ends.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn lines() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (hand_on, lines) = mpsc::channel(LINES_MAX);
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            // Input that fails has ended: what it said so far is obeyed.
            let is_over = input.read_until(b'\n', &mut line).map_or(true, |count| count == 0);
            if is_over || hand_on.blocking_send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
    Ok(lines)
}

/// Prints lines that have their ends; waits until they are taken.
///
/// # Errors
///
/// If nobody reads them.
pub(super) fn print(lines: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(lines)?;
    out.flush()
}

/// Resolves when nobody reads our standard output any more.
pub(super) async fn nobody_reads() {
    while !is_abandoned(io::stdout()) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Resolves when this process is asked to end.
///
/// # Errors
///
/// If signals cannot be listened to.
pub(super) fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hang_up.recv() => (),
        }
    })
}

/// Whether the other end of a pipe or socket is closed. Never so for a file.
fn is_abandoned(stream: impl AsFd) -> bool {
    let mut streams = [PollFd::new(&stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    // A poll that fails tells nothing; the next one may.
    poll(&mut streams, Some(&now)).is_ok() && streams[0].revents().intersects(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_abandoned_when_its_reader_goes() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        assert!(!is_abandoned(&writer));
        writer.write_all(&[0; 1000]).expect("room in the pipe");
        assert!(!is_abandoned(&writer), "unread is not abandoned");
        drop(reader);
        assert!(is_abandoned(&writer));
    }

    #[test]
    fn a_file_is_never_abandoned() {
        assert!(!is_abandoned(tempfile::tempfile().expect("a file")));
    }
}
