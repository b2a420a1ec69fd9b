//! Enough of Rust's lexis to read our own sources: what is code, and which words stand in it.
//!
//! Comments and the insides of literals are blanked before anything is looked for, so that prose
//! may say what code must not. There is no parser here: every rule is about words, paths, braces
//! and lines, and for those a stream of tokens is enough.

/// One token of code with the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// A word or number, `::`, or one character of punctuation.
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// How many inline modules it stands in.
    pub(crate) depth: usize,
    /// Whether it stands in an item under `#[cfg(test)]`.
    pub(crate) test: bool,
}

/// The source with comments and the insides of literals turned into blanks; lines stay lines.
pub(crate) fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The tokens of the code in `source`.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut found = words(&blank(source));
    mark_modules(&mut found);
    mark_tests(&mut found);
    found
}

/// Where the comment or literal that begins at `at` ends; `at` itself where none begins.
fn skipped(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let inside_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, &['\n']),
        '/' if next == Some('*') => block_comment(chars, at),
        '"' => quoted(chars, at + 1),
        'b' | 'c' if !inside_word && next == Some('"') => quoted(chars, at + 2),
        'r' if !inside_word => raw_string(chars, at, at + 1),
        'b' | 'c' if !inside_word && next == Some('r') => raw_string(chars, at, at + 2),
        '\'' => character(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], at: usize, wanted: &[char]) -> usize {
    (at..chars.len()).find(|&i| chars[i..].starts_with(wanted)).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        if chars[i..].starts_with(&['/', '*']) {
            (depth, i) = (depth + 1, i + 2);
        } else if chars[i..].starts_with(&['*', '/']) {
            (depth, i) = (depth - 1, i + 2);
        } else {
            i += 1;
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn quoted(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// `r"..."` or `r#"..."#`; a raw identifier is none.
fn raw_string(chars: &[char], at: usize, hashes_from: usize) -> usize {
    let hashes = chars[hashes_from..].iter().take_while(|&&c| c == '#').count();
    if chars.get(hashes_from + hashes) != Some(&'"') {
        return at;
    }
    let closing: Vec<char> = std::iter::once('"').chain((0..hashes).map(|_| '#')).collect();
    (find(chars, hashes_from + hashes + 1, &closing) + closing.len()).min(chars.len())
}

/// `'x'` or `'\n'`; a lifetime is none.
fn character(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return (find(chars, at + 3, &['\'']) + 1).min(chars.len());
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(code: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let text = rest[..length].to_owned();
            found.push(Token { text, line: line + 1, depth: 0, test: false });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The index of the bracket that closes the one at `open`; the last token where none does.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

fn mark_modules(tokens: &mut [Token]) {
    for i in 0..tokens.len() {
        let is = |at: usize, text: &str| tokens.get(at).is_some_and(|t| t.text == text);
        if is(i, "mod") && is(i + 2, "{") {
            let end = closing(tokens, i + 2);
            tokens[i + 2..=end].iter_mut().for_each(|t| t.depth += 1);
        }
    }
}

/// Marks each item that stands under `#[cfg(test)]`, up to its closing brace or semicolon.
fn mark_tests(tokens: &mut [Token]) {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    for i in 0..tokens.len() {
        let here = tokens[i..].iter().map(|t| t.text.as_str()).take(ATTRIBUTE.len());
        if !here.eq(ATTRIBUTE) {
            continue;
        }
        let body = (i + ATTRIBUTE.len()..tokens.len())
            .find(|&at| matches!(tokens[at].text.as_str(), "{" | ";"))
            .unwrap_or(tokens.len() - 1);
        let end = if tokens[body].text == "{" { closing(tokens, body) } else { body };
        tokens[i..=end].iter_mut().for_each(|t| t.test = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = "a /* b /* c */ d */ e // f\n\"g \\\" h\" r#\"i \" j\"# b\"k\" 'l' '\\'' m";
        assert_eq!(texts(source), ["a", "e", "m"]);
    }

    #[test]
    fn lifetimes_and_raw_words_are_code() {
        assert_eq!(texts("&'a r#type"), ["&", "'", "a", "r", "#", "type"]);
    }

    #[test]
    fn lines_are_kept() {
        let found = tokens("/* one\ntwo */ x\n\"a\nb\" y");
        let places: Vec<_> = found.iter().map(|t| (t.text.as_str(), t.line)).collect();
        assert_eq!(places, [("x", 2), ("y", 4)]);
    }

    #[test]
    fn inline_modules_and_tests_are_marked() {
        let found = tokens("fn a() {} #[cfg(test)] mod t { fn b() {} } fn c() {}");
        let of = |name: &str| found.iter().find(|t| t.text == name).map(|t| (t.depth, t.test));
        assert_eq!(of("a"), Some((0, false)));
        assert_eq!(of("b"), Some((1, true)));
        assert_eq!(of("c"), Some((0, false)));
    }
}
