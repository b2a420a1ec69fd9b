//! A child's side of dying with its parent, however the parent ends.
//!
//! Two ways, because each has a gap. The kernel's death signal follows the *thread* that made the
//! child, and is not yet set when the parent dies before the child has asked for it; the end of
//! the child's standard input reaches it through the scheduler of its own process, and not at all
//! while that process is stopped. A parent that is killed with SIGKILL sets off both.

use std::io::{self, Read};
use std::thread;

use rustix::process::{self, Signal};

/// Asks the kernel to kill this process when the parent dies; ends it at once if the parent, known
/// by its process id, is dead already.
///
/// # Errors
///
/// If the kernel does not grant it.
pub fn die_with(parent: u32) -> io::Result<()> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now != Some(parent) {
        std::process::exit(0);
    }
    Ok(())
}

/// Ends this process as soon as its standard input ends. For children that read nothing there; the
/// thread that waits for it does nothing else.
///
/// # Errors
///
/// If no thread can be started.
pub fn end_with_stdin() -> io::Result<()> {
    let wait = || {
        let mut scrap = [0; 64];
        // An error is the end as well: there will be no other sign.
        while io::stdin().read(&mut scrap).is_ok_and(|count| count > 0) {}
        std::process::exit(0);
    };
    thread::Builder::new().name("tied".to_owned()).spawn(wait).map(drop)
}
