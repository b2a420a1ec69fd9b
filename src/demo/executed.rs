//! The executed logs: that they are one log, and that it is what the clients were told.
//!
//! Whether they are one log is asked of `indelible verify`, a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::storm::Acknowledgement;
use super::{Error, program, refuted};

/// The pause between two looks at logs that still grow.
const PAUSE: Duration = Duration::from_millis(50);

/// Has `verify` compare these files of the folder: what it says.
///
/// # Errors
///
/// If they are not one log: one of them neither the same nor a prefix.
pub(super) fn verify(program: &Path, folder: &Path, logs: &[String]) -> Result<String, Error> {
    let args = ["verify"].into_iter().chain(logs.iter().map(String::as_str));
    let said = program::run(program, folder, args)?;
    if said.ok { Ok(said.out) } else { Err(refuted(format!("verify says {}", said.err))) }
}

/// Waits until these files are identical, and hold so many lines: they are written by and by.
///
/// # Errors
///
/// If they are not one log, or not so far within `patience`.
pub(super) async fn settle(
    program: &Path,
    folder: &Path,
    logs: &[String],
    lines: usize,
    patience: Duration,
) -> Result<(), Error> {
    let until = Instant::now() + patience;
    let verdict = format!("identical: {lines} lines");
    loop {
        let said = verify(program, folder, logs)?;
        let last = said.lines().last().unwrap_or_default();
        if last == verdict {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(refuted(format!("the executed logs should be {verdict}, but are {last}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether an executed log is what the clients were told, line by line: each acknowledged message
/// once, at its slot, and nothing else.
///
/// # Errors
///
/// The first thing that is not so, in words.
pub(super) fn check(log: &str, acknowledged: &[Acknowledgement]) -> Result<(), String> {
    let told: BTreeMap<u64, String> = acknowledged.iter().map(|it| (it.slot, it.line())).collect();
    if told.len() < acknowledged.len() {
        return Err("two acknowledged messages share a slot".to_owned());
    }
    let mut executed = log.lines();
    for line in told.values() {
        match executed.next() {
            Some(found) if found == line => (),
            Some(found) => {
                return Err(format!("\"{found}\" was executed where \"{line}\" was acknowledged"));
            }
            None => return Err(format!("\"{line}\" was acknowledged and is not executed")),
        }
    }
    match executed.next() {
        Some(found) => Err(format!("\"{found}\" was executed and not acknowledged")),
        None => Ok(()),
    }
}

/// The whole lines of a log whose end may be torn.
pub(super) fn whole_lines(log: &str) -> &str {
    &log[..log.rfind('\n').map_or(0, |at| at + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: a comparison that ends with the shorter side, either one; a map of
    /// slots that hides one of two messages.
    #[test]
    fn the_check_can_fail_in_each_of_its_parts() {
        let acknowledged = |client, number, slot| Acknowledgement { client, number, slot };
        // As the answers came, which need not be the order of the log.
        let two = [acknowledged(1, 0, 3), acknowledged(0, 0, 0)];
        let log = "0 0: message 0\n3 1: message 0\n";
        assert_eq!(check(log, &two), Ok(()));
        let cases = [
            ("0 0: message 0\n", "is not executed"),
            ("0 0: message 0\n2 1: message 0\n", "executed where"),
            ("0 0: message 0\n3 1: message 0\n4 1: message 0\n", "not acknowledged"),
            ("0 0: message 0\n1 0: message 0\n3 1: message 0\n", "executed where"),
        ];
        for (log, why) in cases {
            assert!(check(log, &two).is_err_and(|said| said.contains(why)), "{log}");
        }
        let shared = [acknowledged(0, 0, 0), acknowledged(1, 0, 0)];
        assert!(check("0 0: message 0\n", &shared).is_err_and(|said| said.contains("share")));
    }

    #[test]
    fn a_torn_line_does_not_count() {
        assert_eq!(["", "a", "a\nb", "a\nb\n"].map(whole_lines), ["", "", "a\n", "a\nb\n"]);
    }
}
