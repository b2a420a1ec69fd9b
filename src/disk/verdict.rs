//! What an error of the disk means to a person: one line with the file and what to do.

use std::io::{Error, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

/// What kind of trouble an error of the operating system tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no room.
    Full,
    /// The device, or the file system on it, does not work.
    Failed,
    /// Anything else; the system's word says it.
    Other,
}

impl Verdict {
    /// The kind of this error.
    #[must_use]
    pub fn of(error: &Error) -> Verdict {
        let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
        let failed = [Errno::IO, Errno::ROFS, Errno::NXIO, Errno::NODEV].map(Errno::raw_os_error);
        match error.raw_os_error() {
            _ if full.contains(&error.kind()) => Verdict::Full,
            Some(number) if failed.contains(&number) => Verdict::Failed,
            Some(_) | None => Verdict::Other,
        }
    }
}

/// One line: the file or folder, what happened to it, and what to do.
#[must_use]
pub fn line(path: &Path, error: &Error) -> String {
    let path = path.display();
    match Verdict::of(error) {
        Verdict::Full => format!(
            "{path}: the disk is full ({error}); make room, or remove `ballast` in the store, \
             and start again"
        ),
        Verdict::Failed => format!(
            "{path}: the disk failed ({error}); see to the disk (the system's log says more), \
             then start again"
        ),
        Verdict::Other => format!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_told_with_what_can_be_done_about_it() {
        let cases = [
            (Errno::NOSPC, "the disk is full"),
            (Errno::DQUOT, "the disk is full"),
            (Errno::FBIG, "the disk is full"),
            (Errno::IO, "the disk failed"),
            (Errno::ROFS, "the disk failed"),
            (Errno::ACCESS, "Permission denied"),
        ];
        for (errno, words) in cases {
            let said = line(Path::new("/s/log"), &errno.into());
            assert!(said.starts_with(&format!("/s/log: {words}")), "{said}");
        }
    }
}
