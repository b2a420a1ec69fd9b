//! Reads every file under `src` and holds it to the rules of the house.
//!
//! Which module may import which, who alone may touch the disk, the clock or a crate, how long a
//! file may be: what a reviewer would have to look for each time, a test looks for. See `rules`
//! for what is forbidden, `planted` for the proof that each rule can fail. `patches` reads what is
//! planted for the simulator.

mod lexer;
mod patches;
mod paths;
mod planted;
mod rules;

use std::path::{Path, PathBuf};

use rules::{File, RULES};

#[test]
fn every_source_file_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 5, "the sources were not found under {}", root.display());
    let mut complaints = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).expect("a source file is UTF-8");
        let file = File::new(&name, &source);
        for (rule, check) in RULES {
            let found = check(&file).into_iter();
            complaints.extend(found.map(|v| format!("src/{name}:{}: {rule}: {}", v.line, v.why)));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// All `.rs` files below `folder`, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    let files = paths.into_iter().flat_map(below);
    files.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}
