//! Other people's bytes on a terminal, so that they can only be read there.
//!
//! A control character could move the cursor and rewrite what others said; a bidirectional override
//! could make a line read otherwise than it is. On a pipe bytes stay as they are: the reader there
//! is a program. A backslash stays one: this is to be read, not to be read back.

use crate::services::printed::{is_harmful, print};

/// The line with each such character written out.
pub(super) fn harmless(line: &[u8]) -> String {
    let mut shown = String::with_capacity(line.len());
    print(&mut shown, line, |char| is_harmful(char) && char != '\t');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bugs that turn it red: any character left out of `is_harmful`; invalid bytes passed on.
    #[test]
    fn what_could_act_on_a_terminal_is_written_out() {
        let cases: [(&[u8], &str); 11] = [
            (b"0 ann: hello\tthere", "0 ann: hello\tthere"),
            (
                "0 ann: na\u{ef}ve \u{1f600} \u{5d0}".as_bytes(),
                "0 ann: na\u{ef}ve \u{1f600} \u{5d0}",
            ),
            (b"a\x1b[2Jb", "a\\u{1b}[2Jb"),
            (b"a\rb\nc\x08\x07", "a\\u{d}b\\u{a}c\\u{8}\\u{7}"),
            (b"\x00\x1f\x7f", "\\u{0}\\u{1f}\\u{7f}"),
            ("\u{80}\u{9b}2J\u{9f}".as_bytes(), "\\u{80}\\u{9b}2J\\u{9f}"),
            ("a\u{202e}b\u{202a}".as_bytes(), "a\\u{202e}b\\u{202a}"),
            ("\u{2066}a\u{2069}".as_bytes(), "\\u{2066}a\\u{2069}"),
            ("\u{200e}\u{200f}\u{61c}".as_bytes(), "\\u{200e}\\u{200f}\\u{61c}"),
            (b"a\x9b2J\xff", "a\\x9b2J\\xff"),
            (b"", ""),
        ];
        for (line, shown) in cases {
            assert_eq!(harmless(line), shown, "{}", line.escape_ascii());
        }
    }
}
