//! Every path in a file that names something of this crate, resolved to the module it reaches.
//!
//! `crate::a::b`, `super::super::a`, and both inside `use` groups, at any depth of inline modules.
//! What cannot be resolved by reading (an alias or a glob of the root) is reported as the root
//! itself, which no rule allows.

use crate::lexer::Token;

/// A path of this crate's own, from the root: empty where it names the root itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Its segments below the root.
    pub(crate) segments: Vec<String>,
    /// The line where it begins.
    pub(crate) line: usize,
}

/// All such paths in the tokens of the module `home` (`["paxos", "leader"]`).
pub(crate) fn paths(home: &[&str], tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if begins(tokens, at) {
            let inner = (0..tokens[at].depth).map(|_| "(inline)".to_owned());
            let base = home.iter().map(|s| (*s).to_owned()).chain(inner).collect();
            at = tree(tokens, at, base, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Whether a path of this crate's own begins here.
fn begins(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).map_or("", |i| text(tokens, i));
    let renamed = text(tokens, at + 1) == "as" && (before == "use" || text(tokens, at) == "crate");
    let goes_on = text(tokens, at + 1) == "::" || renamed;
    before != "::" && goes_on && matches!(text(tokens, at), "crate" | "super" | "self")
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |t| t.text.as_str())
}

/// Follows one path from the token `at` and from the module `base`, into groups; returns the index
/// after it.
fn tree(tokens: &[Token], mut at: usize, mut base: Vec<String>, found: &mut Vec<Path>) -> usize {
    let line = tokens.get(at).map_or(0, |t| t.line);
    loop {
        match text(tokens, at) {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" | "*" => {}
            "{" => return group(tokens, at + 1, &base, found),
            word => base.push(word.to_owned()),
        }
        at += 1;
        let generic = text(tokens, at + 1) == "<";
        if text(tokens, at) != "::" || generic {
            found.push(Path { segments: base, line });
            return at;
        }
        at += 1;
    }
}

fn group(tokens: &[Token], mut at: usize, base: &[String], found: &mut Vec<Path>) -> usize {
    while at < tokens.len() && text(tokens, at) != "}" {
        at = tree(tokens, at, base.to_vec(), found);
        while !matches!(text(tokens, at), "," | "}" | "") {
            at += 1;
        }
        at += usize::from(text(tokens, at) == ",");
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::tokens;

    fn found(source: &str) -> Vec<String> {
        let all = paths(&["paxos", "leader"], &tokens(source));
        all.into_iter().map(|p| p.segments.join("::")).collect()
    }

    #[test]
    fn paths_from_the_root() {
        assert_eq!(
            found("use crate::wire::Frame; fn f() -> crate::rsm::X<u8> {}"),
            ["wire::Frame", "rsm::X"]
        );
    }

    #[test]
    fn paths_upwards() {
        assert_eq!(found("use super::super::wal::Log;"), ["wal::Log"]);
        assert_eq!(found("use super::ballot;"), ["paxos::ballot"]);
        assert_eq!(found("mod t { use super::super::super::wal; }"), ["wal"]);
    }

    #[test]
    fn groups_are_opened() {
        assert_eq!(
            found("use crate::{wire::{A, B}, disk, self as root};"),
            ["wire::A", "wire::B", "disk", ""]
        );
        assert_eq!(found("use super::{super::wal, ballot};"), ["wal", "paxos::ballot"]);
    }

    #[test]
    fn the_root_under_another_name_is_seen() {
        assert_eq!(found("use crate as root;"), [""]);
        assert_eq!(found("use crate::*;"), [""]);
        assert_eq!(found("use super::super as root;"), [""]);
    }

    #[test]
    fn visibility_and_receivers_are_no_paths() {
        assert!(found("pub(crate) fn f(self) { self.x }").is_empty());
    }
}
