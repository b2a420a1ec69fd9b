//! Every scenario in `tests/cases`, as a grader would run it: its input fed, its output compared
//! byte by byte, ten seconds with everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::{run, scale};

/// What a grader gives each case.
const LIMIT: Duration = Duration::from_secs(10);

/// Fewer would mean that the folder was not found.
const CASES_MIN: usize = 45;

/// One trial a case, and one that counts them.
pub(crate) fn trials() -> Vec<Trial> {
    let cases = cases();
    let count = cases.len();
    let counted = Trial::test("cases::are_there", move || {
        assert!(count >= CASES_MIN, "only {count} cases");
        Ok(())
    });
    let each = cases.into_iter().map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(format!("cases::{name}"), move || check(&path))
    });
    std::iter::once(counted).chain(each).collect()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut found = run::entries(&folder).unwrap_or_default();
    found.retain(|path| path.extension().is_some_and(|e| e == "test"));
    found.sort();
    found
}

fn check(path: &Path) -> Result<(), Failed> {
    let _beside = scale::beside();
    let input = std::fs::read(path)?;
    let wanted = std::fs::read(path.with_extension("sol"))?;
    // The last line of input may lack its newline, and here it does.
    let input = input.strip_suffix(b"\n").unwrap_or(&input);
    let answer = run::script(input, LIMIT)?.output;
    if answer == wanted { Ok(()) } else { Err(difference(&wanted, &answer).into()) }
}

/// The first line that differs.
fn difference(wanted: &[u8], answer: &[u8]) -> String {
    let lines = |text: &[u8]| -> Vec<String> {
        text.split_inclusive(|&b| b == b'\n').map(|l| l.escape_ascii().to_string()).collect()
    };
    let (wanted, answer) = (lines(wanted), lines(answer));
    let at = wanted.iter().zip(&answer).take_while(|(w, a)| w == a).count();
    let nothing = "nothing more".to_owned();
    let line = |lines: &[String]| lines.get(at).unwrap_or(&nothing).chars().take(200).collect();
    let (want, got): (String, String) = (line(&wanted), line(&answer));
    let (want_lines, got_lines) = (wanted.len(), answer.len());
    format!("line {}: wanted {want}, got {got} ({want_lines} lines, got {got_lines})", at + 1)
}
