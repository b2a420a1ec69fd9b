//! Whether an answer is the expected one, and how it differs.

use std::collections::BTreeSet;
use std::fmt::Write;

/// How an answer compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Byte for byte, but for the end of the last line.
    Equal,
    /// The same set of lines, blanks around them aside: the grader is content.
    SameLines,
    /// Anything else.
    Wrong,
}

/// Lines of a diff that are shown.
const DIFF_LINES_MAX: usize = 20;

/// Characters of a line that are shown.
const DIFF_COLUMNS_MAX: usize = 80;

/// Compares an answer with the expected one as the grader does.
pub(super) fn judge(answer: &[u8], expected: &[u8]) -> Judgement {
    if lines(answer) == lines(expected) {
        Judgement::Equal
    } else if stripped(answer) == stripped(expected) {
        Judgement::SameLines
    } else {
        Judgement::Wrong
    }
}

/// The first lines that differ, each on a line of its own that begins with a newline: `-` what was
/// expected, `+` what came.
pub(super) fn diff(expected: &[u8], answer: &[u8]) -> String {
    let (expected, answer) = (lines(expected), lines(answer));
    let mut diff = String::new();
    let mut shown = 0;
    for at in 0..expected.len().max(answer.len()) {
        let (old, new) = (expected.get(at), answer.get(at));
        if old == new {
            continue;
        }
        for (sign, line) in [('-', old), ('+', new)] {
            if let Some(line) = line {
                // Writing to a string cannot fail.
                let _ = write!(diff, "\n      {sign} {:>4}: {}", at + 1, visible(line));
            }
        }
        shown += 1;
        if shown == DIFF_LINES_MAX {
            diff.push_str("\n      ...");
            break;
        }
    }
    diff
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    if body.is_empty() && text.len() <= 1 {
        // Nothing, or one blank line: not the same.
        return vec![&b""[..]; text.len()];
    }
    body.split(|byte| *byte == b'\n').collect()
}

fn stripped(text: &[u8]) -> BTreeSet<&[u8]> {
    lines(text).into_iter().map(<[u8]>::trim_ascii).collect()
}

fn visible(line: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(line).escape_debug().collect();
    match text.char_indices().nth(DIFF_COLUMNS_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], line.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_as_the_grader_does() {
        let cases: [(&[u8], &[u8], Judgement); 9] = [
            (b"0 0: a\n1 1: b\n", b"0 0: a\n1 1: b\n", Judgement::Equal),
            (b"0 0: a\n1 1: b\n", b"0 0: a\n1 1: b", Judgement::Equal),
            (b"", b"", Judgement::Equal),
            (b"1 1: b\n0 0: a\n", b"0 0: a\n1 1: b\n", Judgement::SameLines),
            (b"0 0: a \n", b"0 0: a\n", Judgement::SameLines),
            (b"0 0: a\n\n", b"0 0: a\n", Judgement::Wrong),
            (b"\n", b"", Judgement::Wrong),
            (b"0 0: a\n", b"0 0: a\n1 1: b\n", Judgement::Wrong),
            (b"0 0: b\n", b"0 0: a\n", Judgement::Wrong),
        ];
        for (answer, expected, judgement) in cases {
            let names = (answer.escape_ascii(), expected.escape_ascii());
            assert_eq!(judge(answer, expected), judgement, "{} / {}", names.0, names.1);
        }
    }

    #[test]
    fn a_diff_shows_what_differs_and_ends() {
        let text = diff(b"a\nb\nc\n", b"a\nx\xff\nc\nd\n");
        assert_eq!(text, "\n      -    2: b\n      +    2: x\u{fffd}\n      +    4: d");
        let long = diff(&[b'a'; 5000], &b"b\n".repeat(100));
        assert!(long.contains("(5000 bytes)") && long.ends_with("..."), "{long}");
        assert!(long.lines().count() < 50);
    }
}
