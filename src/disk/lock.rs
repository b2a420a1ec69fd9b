//! The lock file: one process a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock that is held until this is dropped, or the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Somebody holds it: this process, if it said so.
    Held(Option<u32>),
    /// The file cannot be used.
    Io(io::Error),
}

/// How long a holder that is just ending may take to let go.
const PATIENCE: Duration = Duration::from_secs(1);

impl Lock {
    /// Takes the lock, waiting a second for one who is just letting go.
    ///
    /// # Errors
    ///
    /// If somebody holds it, or the file cannot be used.
    pub fn take(path: &Path) -> Result<Lock, Refusal> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Refusal::Io)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(Refusal::Io(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    let mut holder = String::new();
                    // Only for the message: whoever holds it may not have said who it is.
                    let _ = file.read_to_string(&mut holder);
                    return Err(Refusal::Held(holder.trim().parse().ok()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let say = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        say(&mut file).map_err(Refusal::Io)?;
        Ok(Lock { _file: file })
    }

    /// Whether nobody holds the lock just now. Makes no file, and keeps nobody from taking it.
    ///
    /// # Errors
    ///
    /// If the file cannot be used.
    pub fn is_free(path: &Path) -> io::Result<bool> {
        let file = match OpenOptions::new().read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            file => file?,
        };
        // It is let go of at once: whoever takes it meanwhile waits for a moment.
        match file.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_holds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        assert!(Lock::is_free(&path).expect("it can be asked"));
        assert!(!path.exists());
        let first = Lock::take(&path).expect("free");
        let Err(Refusal::Held(holder)) = Lock::take(&path) else { panic!("it is held") };
        assert_eq!(holder, Some(std::process::id()));
        assert!(!Lock::is_free(&path).expect("it can be asked"));
        drop(first);
        assert!(Lock::is_free(&path).expect("it can be asked"));
        Lock::take(&path).expect("free again");
    }
}
