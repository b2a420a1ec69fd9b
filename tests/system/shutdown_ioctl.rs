//! The one system call that cuts the power of a file system: its cache and its unwritten journal
//! are gone, as if the machine had lost power.
#![allow(unsafe_code, reason = "an ioctl is unsafe by its nature")]

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Setter, ioctl};

/// `_IOR('X', 125, __u32)`.
const FS_IOC_SHUTDOWN: u32 = 0x8004_587d;

/// Nothing is written any more, not even the journal.
const NO_LOG_FLUSH: u32 = 2;

/// Cuts the power of the file system that holds `folder`.
pub(crate) fn cut(folder: &Path) -> io::Result<()> {
    let file = File::open(folder)?;
    // SAFETY: the operation takes a pointer to a `__u32`, and that is what the setter passes.
    unsafe {
        let setter = Setter::<FS_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        Ok(ioctl(&file, setter)?)
    }
}
