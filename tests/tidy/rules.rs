//! The rules: each takes one file and says what is wrong with it, line by line.
//!
//! A rule that nothing can break protects nothing, so each has a planted violation below it in
//! `planted.rs`.

use crate::lexer::{Token, closing, tokens};
use crate::paths::paths;

/// A source file under `src`.
pub(crate) struct File {
    /// Its path from `src`, with slashes.
    pub(crate) name: String,
    /// All of it.
    pub(crate) source: String,
    tokens: Vec<Token>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The broken rule, in words.
    pub(crate) why: String,
}

/// A rule by its name.
pub(crate) type Rule = (&'static str, fn(&File) -> Vec<Violation>);

/// All rules.
pub(crate) const RULES: [Rule; 10] = [
    ("layers", layers),
    ("owners", owners),
    ("unsafe", unsafe_code),
    ("syncs", syncs),
    ("clocks", clocks),
    ("pure", pure),
    ("hash", hash_order),
    ("unfinished", unfinished),
    ("shape", shape),
    ("functions", functions),
];

/// Who may import whom: a module only from those of a lower number.
const LAYERS: [(&str, u8); 24] = [
    ("paxos", 0),
    ("rsm", 1),
    ("wire", 1),
    ("disk", 1),
    ("cluster", 1),
    ("services", 2),
    ("wal", 2),
    ("shelf", 2),
    ("node", 3),
    ("transport", 4),
    ("client", 4),
    ("audit", 3),
    ("sim", 4),
    ("server", 5),
    ("local", 5),
    ("locker", 5),
    ("poller", 5),
    ("steward", 6),
    ("master", 7),
    ("web", 7),
    ("cli", 7),
    ("demo", 7),
    ("main", 8),
    ("lib", 9),
];

const LINES_MAX: usize = 400;
const LINES_WITH_TESTS_MAX: usize = 500;
const MAIN_LINES_MAX: usize = 99;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

impl File {
    /// Reads the tokens of `source`.
    pub(crate) fn new(name: &str, source: &str) -> File {
        File { name: name.to_owned(), source: source.to_owned(), tokens: tokens(source) }
    }

    /// The module's path from the root: `paxos/leader.rs` is `paxos::leader`.
    fn module(&self) -> Vec<&str> {
        let path = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() }
    }

    /// The top-level module, which has the layer.
    fn top(&self) -> &str {
        self.name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_in(&self, modules: &[&str]) -> bool {
        modules.contains(&self.top())
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| t.text.as_str())
    }

    fn before(&self, at: usize, back: usize) -> &str {
        at.checked_sub(back).map_or("", |i| self.text(i))
    }

    /// A violation wherever a token is one of `words` and `is_wrong` with it.
    fn forbid(
        &self,
        words: &[&str],
        why: &str,
        is_wrong: impl Fn(usize) -> bool,
    ) -> Vec<Violation> {
        let hit = |i: usize| words.contains(&self.text(i)) && is_wrong(i);
        let at = (0..self.tokens.len()).filter(|&i| hit(i));
        at.map(|i| wrong(self.tokens[i].line, format!("`{}`: {why}", self.text(i)))).collect()
    }
}

fn wrong(line: usize, why: impl Into<String>) -> Violation {
    Violation { line, why: why.into() }
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Imports go downwards only. `lib.rs` and `main.rs` see everything.
fn layers(file: &File) -> Vec<Violation> {
    let top = file.top();
    let Some(own) = layer(top) else {
        return vec![wrong(1, format!("`{top}` has no layer"))];
    };
    if matches!(top, "lib" | "main") {
        return Vec::new();
    }
    let tricks = file.forbid(&["path"], "a module stands where its name says", |i| {
        file.before(i, 1) == "[" && file.before(i, 2) == "#"
    });
    let upward = paths(&file.module(), &file.tokens).into_iter().filter_map(|path| {
        let Some(target) = path.segments.first() else {
            return Some(wrong(path.line, "the crate's root under another name"));
        };
        let fine = target == top || layer(target).is_some_and(|below| below < own);
        let why = || format!("`{top}` may not import `{target}`");
        (!fine).then(|| wrong(path.line, why()))
    });
    upward.chain(tricks).collect()
}

/// Some crates have one home each.
fn owners(file: &File) -> Vec<Violation> {
    // `a::sled` and `a.sled` are names of our own; `sled` at the head of a path is the crate.
    let heads = |i: usize| !matches!(file.before(i, 1), "::" | "." | "mod" | "fn");
    let mut found = Vec::new();
    if !file.is_in(&["wal"]) {
        found.extend(file.forbid(&["sled"], "only `wal` names sled", heads));
    }
    if file.name != "wire/codec.rs" {
        found.extend(file.forbid(&["bincode"], "only `wire/codec.rs` names bincode", heads));
    }
    found
}

fn unsafe_code(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if file.name != "disk/hook.rs" {
        found.extend(file.forbid(&["unsafe"], "only in `disk/hook.rs`", |_| true));
    }
    if !file.is_in(&["disk"]) {
        found.extend(file.forbid(&["unsafe_code"], "may be allowed in `disk` only", |i| {
            matches!(file.before(i, 2), "allow" | "expect" | "warn")
        }));
    }
    found
}

/// Outside `disk` a sync is asked of `disk::`, by that name.
fn syncs(file: &File) -> Vec<Violation> {
    const CALLS: [&str; 7] = [
        "sync_all",
        "sync_data",
        "fdatasync",
        "fsync",
        "syncfs",
        "sync_file_range",
        "posix_fadvise",
    ];
    if file.is_in(&["disk"]) {
        return Vec::new();
    }
    file.forbid(&CALLS, "only `disk` syncs", |i| {
        file.before(i, 1) != "::" || !matches!(file.before(i, 2), "disk" | "sync")
    })
}

fn clocks(file: &File) -> Vec<Violation> {
    if !file.is_in(&["paxos", "rsm", "services", "node", "sim"]) {
        return Vec::new();
    }
    file.forbid(&["Instant", "SystemTime", "UNIX_EPOCH"], "time comes as an input here", |_| true)
}

/// The core and the services touch nothing outside; neither does the simulator.
fn pure(file: &File) -> Vec<Violation> {
    if !file.is_in(&["paxos", "services", "sim"]) {
        return Vec::new();
    }
    let why = "no IO, thread or async here";
    let from_std = file.forbid(&["fs", "net", "thread", "process", "io"], why, |i| {
        file.before(i, 1) == "::" && file.before(i, 2) == "std"
    });
    let grouped = file.forbid(&["{"], "name what is taken from std here", |i| {
        file.before(i, 1) == "::" && file.before(i, 2) == "std"
    });
    let others = ["tokio", "async", "await", "rustix", "socket2", "tempfile", "uuid"];
    let found = file.forbid(&others, why, |i| file.before(i, 1) != "::");
    from_std.into_iter().chain(grouped).chain(found).collect()
}

fn hash_order(file: &File) -> Vec<Violation> {
    if !file.is_in(&["paxos", "rsm", "services", "sim"]) {
        return Vec::new();
    }
    let words = ["HashMap", "HashSet", "RandomState", "DefaultHasher"];
    file.forbid(&words, "its order differs from run to run", |_| true)
}

fn unfinished(file: &File) -> Vec<Violation> {
    let macros = ["todo", "unimplemented", "dbg"];
    file.forbid(&macros, "left behind", |i| file.text(i + 1) == "!")
}

/// First line, width and length.
fn shape(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if !file.source.starts_with("//!") {
        found.push(wrong(1, "a file begins with `//!` and what it is"));
    }
    let wide = file.source.lines().enumerate().filter(|(_, l)| l.chars().count() > COLUMNS_MAX);
    found.extend(wide.map(|(at, _)| wrong(at + 1, format!("over {COLUMNS_MAX} columns"))));
    let all = file.source.lines().count();
    let main = (file.name == "main.rs").then_some(MAIN_LINES_MAX);
    let code_max = main.unwrap_or(LINES_MAX);
    let all_max = main.unwrap_or(LINES_WITH_TESTS_MAX);
    let code = all - test_lines(file);
    if code > code_max {
        found.push(wrong(all, format!("{code} lines without tests, at most {code_max}")));
    }
    if all > all_max {
        found.push(wrong(all, format!("{all} lines, at most {all_max}")));
    }
    found
}

/// Lines under `#[cfg(test)]`, and those of doctests.
fn test_lines(file: &File) -> usize {
    let mut marked = vec![false; file.source.lines().count() + 1];
    let tests = file.tokens.iter().filter(|t| t.test);
    let ranges = tests.fold(Vec::<(usize, usize)>::new(), |mut ranges, token| {
        match ranges.last_mut() {
            // Within an item, lines without a token (comments, blanks) belong to it.
            Some((_, last)) if token.line <= *last + 40 => *last = token.line,
            _ => ranges.push((token.line, token.line)),
        }
        ranges
    });
    for (first, last) in ranges {
        marked[first..=last].iter_mut().for_each(|m| *m = true);
    }
    let mut inside = false;
    for (at, line) in file.source.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
        let fence = doc.is_some_and(|d| d.trim_start().starts_with("```"));
        marked[at + 1] |= inside || fence;
        inside = doc.is_some() && (inside != fence);
    }
    marked.iter().filter(|m| **m).count()
}

fn functions(file: &File) -> Vec<Violation> {
    let named = |i: &usize| file.text(*i) == "fn" && file.text(i + 1) != "(";
    let long = (0..file.tokens.len()).filter(named).filter_map(|at| {
        let body = body(file, at)?;
        let (first, last) = (file.tokens[at].line, file.tokens[closing(&file.tokens, body)].line);
        let lines = last - first + 1;
        let why = || format!("`{}` has {lines} lines", file.text(at + 1));
        (lines > FUNCTION_LINES_MAX).then(|| wrong(first, why()))
    });
    long.collect()
}

/// The brace that opens the body of the function at `at`; none for a mere signature.
fn body(file: &File, mut at: usize) -> Option<usize> {
    loop {
        match file.text(at) {
            "{" => return Some(at),
            ";" | "" => return None,
            "(" | "[" => at = closing(&file.tokens, at),
            _ => {}
        }
        at += 1;
    }
}
