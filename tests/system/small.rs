//! A small file system in memory, to be filled up.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

use crate::run;

/// A mounted tmpfs of a given size; unmounted when dropped.
pub(crate) struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    /// Mounts one. Needs root.
    pub(crate) fn mount(mebibytes: u64) -> Result<Small, Failed> {
        let small = Small { folder: run::data()? };
        small.run_mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])?;
        Ok(small)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes it larger, with all that is in it.
    pub(crate) fn grow(&self, mebibytes: u64) -> Result<(), Failed> {
        self.run_mount(&["-o", &format!("remount,size={mebibytes}m")])
    }

    /// Writes until nothing more fits; the file that holds it.
    pub(crate) fn fill(&self) -> Result<PathBuf, Failed> {
        let path = self.path().join("filler");
        let mut file = File::create(&path)?;
        let mut chunk = 1 << 20;
        while chunk > 0 {
            if file.write_all(&vec![1; chunk]).is_err() {
                chunk /= 2;
            }
        }
        Ok(path)
    }

    fn run_mount(&self, args: &[&str]) -> Result<(), Failed> {
        let status = Command::new("mount").args(args).arg(self.path()).status()?;
        if status.success() { Ok(()) } else { Err(format!("mount {args:?}: {status}").into()) }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // If it is not mounted, there is nothing to do.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
