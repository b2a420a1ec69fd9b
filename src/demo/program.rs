//! This program, run as a person would beside the play: a process of its own, told all it needs on
//! its command line, judged by its exit status and what it says.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Command;

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether it ended with exit status 0.
    pub(super) ok: bool,
    /// On its standard output.
    pub(super) out: String,
    /// On its standard error, in one line.
    pub(super) err: String,
}

/// Runs it in a folder, to its end. Our own `INDELIBLE_` variables are not passed on: they are for
/// the play.
///
/// # Errors
///
/// If it cannot be run, or says something that is no text.
pub(super) fn run<A: AsRef<OsStr>>(
    program: &Path,
    folder: &Path,
    args: impl IntoIterator<Item = A>,
) -> io::Result<Said> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("INDELIBLE_") {
            command.env_remove(name);
        }
    }
    let output = command.output()?;
    Ok(Said {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).map_err(io::Error::other)?,
        err: String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "),
    })
}
