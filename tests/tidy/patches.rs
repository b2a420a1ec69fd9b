//! Reads the patches of `tests/sabotage`: each must still fit the sources, or it proves nothing.
//!
//! A patch is prose, then a unified diff. It fits if what it takes away, with the lines around,
//! stands in the file it names exactly once; no program is called to find out. That it compiles,
//! and that the simulator finds it, is for `tests/sabotage/run`.

use std::path::{Path, PathBuf};

/// Prose above the diff: what the bug is, who made it, what should catch it.
const PROSE_LINES: std::ops::RangeInclusive<usize> = 2..=4;

/// What a patch changes in one place of a file.
struct Hunk {
    /// The file, from the root of the repository.
    file: String,
    /// The lines as they are, and as the diff's head counts them.
    old: Vec<String>,
    old_told: usize,
    removed: usize,
    /// Lines after the change, counted and told.
    new: usize,
    new_told: usize,
    added: usize,
}

#[test]
fn every_sabotage_fits_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = names(&root.join("tests/sabotage"));
    assert!(names.len() > 35, "the patches were not found: {names:?}");
    let mut complaints = misnumbered(&names);
    for name in names {
        let path = root.join("tests/sabotage").join(&name);
        let patch = std::fs::read_to_string(path).expect("a patch is UTF-8");
        let found = misfits(&patch, |file| std::fs::read_to_string(root.join(file)).ok());
        complaints.extend(found.into_iter().map(|why| format!("tests/sabotage/{name}: {why}")));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The names of all patches, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder of patches");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_patch = |path: &PathBuf| path.extension().is_some_and(|e| e == "patch");
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = paths.filter(is_patch).filter_map(name).collect();
    names.sort();
    names
}

/// Patches are numbered from 01 without a gap, and have a name behind the number.
pub(crate) fn misnumbered(names: &[String]) -> Vec<String> {
    let wrong = |(at, name): (usize, &String)| {
        let begins = format!("{:03}-", at + 1);
        let fits = name.starts_with(&begins) && name.len() > begins.len() + ".patch".len();
        (!fits).then(|| format!("{name} stands where {begins}... belongs"))
    };
    names.iter().enumerate().filter_map(wrong).collect()
}

/// What is wrong with a patch, `read` giving the files that it names.
pub(crate) fn misfits(patch: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    let prose: Vec<&str> = patch.lines().take_while(|line| !line.starts_with("--- ")).collect();
    let said = prose.iter().filter(|line| !line.is_empty()).count();
    if !PROSE_LINES.contains(&said) || prose.last().is_some_and(|line| !line.is_empty()) {
        found.push("two to four lines above the diff say what it is".to_owned());
    }
    let hunks = hunks(patch);
    if hunks.is_empty() {
        found.push("it changes nothing".to_owned());
    }
    found.extend(hunks.iter().filter_map(|hunk| misfit(hunk, &read)));
    found
}

fn misfit(hunk: &Hunk, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let Hunk { file, old, old_told, removed, new, new_told, added } = hunk;
    if !file.starts_with("src/") || file.starts_with("src/sim/") {
        return Some(format!("`{file}` is not what the simulator runs"));
    }
    if old.len() != *old_told || new != new_told {
        return Some(format!("a hunk of `{file}` has other lines than its head counts"));
    }
    if *removed > 1 || *added > 1 || removed + added == 0 {
        return Some(format!("a hunk of `{file}` changes {removed} lines into {added}, not one"));
    }
    let Some(source) = read(file) else { return Some(format!("there is no `{file}`")) };
    let lines: Vec<&str> = source.lines().collect();
    let places = lines.windows(old.len()).filter(|lines| *lines == old.as_slice()).count();
    (places != 1).then(|| format!("`{file}` has {places} places for:\n{}", old.join("\n")))
}

fn hunks(patch: &str) -> Vec<Hunk> {
    let (mut file, mut hunks) = (String::new(), Vec::<Hunk>::new());
    for line in patch.lines().skip_while(|line| !line.starts_with("--- ")) {
        if let Some(name) = line.strip_prefix("--- a/") {
            name.clone_into(&mut file);
        } else if let Some(head) = line.strip_prefix("@@ -") {
            hunks.push(Hunk::new(&file, head));
        } else if !line.starts_with("+++ b/")
            && let Some(hunk) = hunks.last_mut()
        {
            hunk.take(line);
        }
    }
    hunks
}

impl Hunk {
    /// A hunk with this head: `12,3 +12,4 @@`.
    fn new(file: &str, head: &str) -> Hunk {
        let mut ranges = head.split(' ').map(|range| range.split_once(',').map_or("1", |(_, n)| n));
        let mut told = || ranges.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let (file, old) = (file.to_owned(), Vec::new());
        let (old_told, new_told) = (told(), told());
        Hunk { file, old, old_told, removed: 0, new: 0, new_told, added: 0 }
    }

    fn take(&mut self, line: &str) {
        let (sign, text) = line.split_at_checked(1).unwrap_or((" ", line));
        if sign != "+" {
            self.old.push(text.to_owned());
            self.removed += usize::from(sign == "-");
        }
        if sign != "-" {
            self.new += 1;
            self.added += usize::from(sign == "+");
        }
    }
}
