//! Any bytes as text of which each character stands for itself.
//!
//! What people say may hold control characters, which could move a terminal's cursor or break a
//! line in two, and bidirectional overrides, which make a line read otherwise than it is.

use std::fmt::Write;

/// Appends the bytes; characters of which `is_written_out` holds become `\u{..}`, and bytes that
/// are no UTF-8 `\x..`.
pub fn print(text: &mut String, bytes: &[u8], is_written_out: impl Fn(char) -> bool) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_written_out(char) {
                text.extend(char.escape_unicode());
            } else {
                text.push(char);
            }
        }
        for byte in chunk.invalid() {
            // Some terminals take a lone byte for a control character. A string takes all.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}

/// Whether a reader of a character might see something else: it controls the terminal, ends the
/// line, or changes the direction of what follows.
#[must_use]
pub fn is_harmful(char: char) -> bool {
    let is_direction = matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    char.is_control() || is_direction || matches!(char, '\u{2028}' | '\u{2029}')
}
