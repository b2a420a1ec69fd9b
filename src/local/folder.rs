//! The folder of a run: stores, logs and the cluster file, gone when the run ends.
//!
//! A run holds the lock on the file `lock` in its folder. What a killed run left behind is known by
//! a lock that nobody holds, and the next run on the same base removes it. `keep` leaves the folder
//! where it is, unlocked *and* without its lock file, so that nobody takes it for a leftover.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A run's folder. Dropping it removes it, unless it is to be kept.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    keep: bool,
    _lock: File,
}

const PREFIX: &str = "run-";
const LOCK: &str = "lock";

/// A folder without a lock file may belong to a run that is just beginning, until it is this old.
const UNLOCKED_AGE: Duration = Duration::from_secs(60);

/// How often a folder is made anew because somebody took it for a leftover in the very moment
/// between its creation and its lock.
const TRIES: usize = 16;

impl RunFolder {
    /// Makes a fresh folder under `base`, or under the system's folder for temporary files if that
    /// cannot be written; removes what dead runs left there.
    ///
    /// # Errors
    ///
    /// If neither can be written.
    pub fn create(base: &Path, keep: bool) -> io::Result<RunFolder> {
        RunFolder::create_or(base, &std::env::temp_dir().join("indelible"), keep)
    }

    /// Where it is: an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, which no other run on this machine has at this time.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn create_or(base: &Path, fallback: &Path, keep: bool) -> io::Result<RunFolder> {
        RunFolder::create_in(base, keep).or_else(|_| RunFolder::create_in(fallback, keep))
    }

    fn create_in(base: &Path, keep: bool) -> io::Result<RunFolder> {
        fs::create_dir_all(base)?;
        let base = base.canonicalize()?;
        remove_leftovers(&base);
        for _ in 0..TRIES {
            let prefix = format!("{PREFIX}{}-", std::process::id());
            let folder =
                tempfile::Builder::new().prefix(&prefix).rand_bytes(4).tempdir_in(&base)?;
            if let Some(lock) = take_lock(folder.path())? {
                return Ok(RunFolder { path: folder.keep(), keep, _lock: lock });
            }
        }
        Err(io::Error::other(format!("no run folder in {} stayed", base.display())))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // There is nobody left to tell; what cannot be removed now, the next run will find.
        let _ = if self.keep {
            fs::remove_file(self.path.join(LOCK))
        } else {
            fs::remove_dir_all(&self.path)
        };
    }
}

/// Locks a new folder; `None` if another run took it for a leftover meanwhile.
fn take_lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = match File::create(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let is_still_there = fs::metadata(&path)
        .is_ok_and(|found| lock.metadata().is_ok_and(|own| is_same(&found, &own)));
    Ok(is_still_there.then_some(lock))
}

fn is_same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Removes the folders of dead runs, as far as that works: the rest is no business of ours.
fn remove_leftovers(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = remove_if_dead(&entry.path());
        }
    }
}

fn remove_if_dead(folder: &Path) -> io::Result<()> {
    match File::open(folder.join(LOCK)) {
        Ok(lock) if lock.try_lock().is_ok() => fs::remove_dir_all(folder),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => remove_if_unfinished(folder),
        Err(error) => Err(error),
    }
}

/// A folder without a lock file was kept on purpose, unless it is empty: then its run was killed
/// before it began.
fn remove_if_unfinished(folder: &Path) -> io::Result<()> {
    let age = fs::metadata(folder)?.modified()?.elapsed().unwrap_or_default();
    if age < UNLOCKED_AGE { Ok(()) } else { fs::remove_dir(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &Path) -> Vec<String> {
        let entries = fs::read_dir(base).expect("the base").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_folder_goes_with_its_run() {
        let base = tempfile::tempdir().expect("a base");
        let folder = RunFolder::create(base.path(), false).expect("a folder");
        assert!(folder.path().is_absolute());
        assert_eq!(names(base.path()), [folder.name()]);
        fs::create_dir_all(folder.path().join("node-0/blobs")).expect("content");
        drop(folder);
        assert!(names(base.path()).is_empty());
    }

    #[test]
    fn what_a_dead_run_left_is_removed_and_what_lives_is_not() {
        let base = tempfile::tempdir().expect("a base");
        let dead = base.path().join("run-1-dead");
        fs::create_dir_all(dead.join("node-0")).expect("a leftover");
        fs::write(dead.join(LOCK), "").expect("its lock, which nobody holds");
        fs::create_dir(base.path().join("other")).expect("a folder that is no run's");
        let living = RunFolder::create(base.path(), false).expect("a folder");
        assert!(!dead.exists());
        let second = RunFolder::create(base.path(), false).expect("a second");
        assert!(living.path().exists() && second.path().exists());
        assert!(base.path().join("other").exists());
    }

    #[test]
    fn a_kept_folder_stays_and_is_not_taken_for_a_leftover() {
        let base = tempfile::tempdir().expect("a base");
        let folder = RunFolder::create(base.path(), true).expect("a folder");
        let path = folder.path().to_owned();
        fs::write(path.join("node-0.log"), "hello").expect("content");
        drop(folder);
        drop(RunFolder::create(base.path(), false).expect("the next run"));
        assert!(path.join("node-0.log").exists());
    }

    #[test]
    fn a_base_that_cannot_be_written_is_replaced() {
        let base = tempfile::tempdir().expect("a base");
        let file = base.path().join("file");
        fs::write(&file, "").expect("a file where a folder should be");
        let elsewhere = base.path().join("elsewhere");
        let folder = RunFolder::create_or(&file, &elsewhere, false).expect("a folder elsewhere");
        assert!(folder.path().starts_with(elsewhere.canonicalize().expect("made")));
    }

    #[test]
    fn a_folder_that_was_taken_away_before_its_lock_is_noticed() {
        let base = tempfile::tempdir().expect("a base");
        assert!(take_lock(&base.path().join("gone")).expect("no error").is_none());
        let held = File::create(base.path().join(LOCK)).expect("a lock file");
        held.try_lock().expect("free");
        assert!(take_lock(base.path()).expect("no error").is_none());
    }
}
