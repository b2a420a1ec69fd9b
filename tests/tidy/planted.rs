//! A planted violation for every rule, and beside it what is close and allowed.

use crate::patches::{misfits, misnumbered};
use crate::rules::{File, RULES, Violation};

fn complaints(rule: &str, name: &str, source: &str) -> Vec<Violation> {
    let (_, check) = RULES.iter().find(|(known, _)| *known == rule).expect("a known rule");
    check(&File::new(name, source))
}

#[track_caller]
fn breaks(rule: &str, name: &str, source: &str) {
    assert!(!complaints(rule, name, source).is_empty(), "{rule} lets this pass: {source}");
}

#[track_caller]
fn keeps(rule: &str, name: &str, source: &str) {
    assert_eq!(complaints(rule, name, source), [], "{rule} trips over this: {source}");
}

#[test]
fn imports_go_downwards() {
    breaks("layers", "paxos/leader.rs", "use crate::wal::Log;");
    breaks("layers", "paxos/leader.rs", "use super::super::wal;");
    breaks("layers", "wire/codec.rs", "use crate::{paxos::Slot, disk};");
    breaks("layers", "wire/codec.rs", "fn f() -> crate::disk::Lock { x }");
    breaks("layers", "node/mod.rs", "#[cfg(test)] mod tests { use super::super::server; }");
    breaks("layers", "rsm/mod.rs", "use crate as root;");
    breaks("layers", "rsm/mod.rs", "use crate::*;");
    breaks("layers", "rsm/mod.rs", "#[path = \"../wal/log.rs\"] mod log;");
    breaks("layers", "novel/mod.rs", "");
    breaks("layers", "sim/world.rs", "use crate::client::Client;");
    keeps("layers", "node/mod.rs", "use crate::{paxos::{Slot, Wal}, wal, services::chat};");
    keeps("layers", "paxos/leader.rs", "use super::ballot; // not crate::wal\n");
    keeps("layers", "paxos/mod.rs", "//! ```\n//! use crate::wal;\n//! ```\npub(crate) mod x;");
    keeps("layers", "main.rs", "use crate::x; fn main() { indelible::cli::main() }");
}

#[test]
fn crates_have_one_home() {
    breaks("owners", "node/mod.rs", "use sled::Db;");
    breaks("owners", "node/mod.rs", "fn f(db: ::std::x, y: sled::Db) {}");
    breaks("owners", "wire/frame.rs", "bincode::serialize(&x)");
    keeps("owners", "wal/log.rs", "use sled::Db;");
    keeps("owners", "wire/codec.rs", "use bincode::Options;");
    keeps("owners", "node/mod.rs", "/// As sled::Db does.\nuse crate::wal::sled::Log; x(\"sled\")");
}

#[test]
fn unsafe_has_one_home() {
    breaks("unsafe", "wal/log.rs", "unsafe { x() }");
    breaks("unsafe", "disk/sync.rs", "unsafe { x() }");
    breaks("unsafe", "wal/mod.rs", "#![allow(unsafe_code)]");
    keeps("unsafe", "disk/hook.rs", "unsafe { x() }");
    keeps("unsafe", "disk/mod.rs", "#[allow(unsafe_code)] mod hook;");
    keeps("unsafe", "lib.rs", "#![deny(unsafe_code)] // unsafe\n");
}

#[test]
fn only_disk_syncs() {
    breaks("syncs", "wal/log.rs", "file.sync_data()?;");
    breaks("syncs", "rsm/archive.rs", "File::sync_all(&file)");
    breaks("syncs", "wal/log.rs", "use rustix::fs::fdatasync;");
    keeps("syncs", "wal/log.rs", "disk::sync_data(&file)?; // not file.sync_data()\n");
    keeps("syncs", "disk/sync.rs", "file.sync_data()?;");
}

#[test]
fn no_clock_below_the_server() {
    breaks("clocks", "node/mod.rs", "use std::time::Instant;");
    breaks("clocks", "services/chat.rs", "std::time::SystemTime::now()");
    keeps("clocks", "node/mod.rs", "use std::time::Duration; // no Instant\n");
    keeps("clocks", "server/mod.rs", "use std::time::Instant;");
}

#[test]
fn the_core_touches_nothing() {
    breaks("pure", "paxos/leader.rs", "use std::fs;");
    breaks("pure", "paxos/leader.rs", "use std::{fs, net};");
    breaks("pure", "services/chat.rs", "async fn f() {}");
    breaks("pure", "sim/world.rs", "tokio::spawn(x)");
    keeps("pure", "paxos/leader.rs", "use std::collections::BTreeMap; // std::fs\n");
    keeps("pure", "server/mod.rs", "use std::fs;");
}

#[test]
fn no_order_by_chance() {
    breaks("hash", "rsm/sessions.rs", "use std::collections::HashMap;");
    breaks("hash", "paxos/learner.rs", "let x: HashSet<Slot>;");
    keeps("hash", "paxos/learner.rs", "//! No HashMap.\nlet x: BTreeSet<Slot>;");
    keeps("hash", "server/mod.rs", "use std::collections::HashMap;");
}

#[test]
fn nothing_is_left_unfinished() {
    breaks("unfinished", "node/mod.rs", "todo!()");
    breaks("unfinished", "node/mod.rs", "unimplemented!(\"later\")");
    breaks("unfinished", "node/mod.rs", "dbg!(x)");
    keeps("unfinished", "node/mod.rs", "let todo = 1; // todo!()\n");
}

#[test]
fn files_begin_with_what_they_are() {
    breaks("shape", "node/mod.rs", "use x;\n");
    keeps("shape", "node/mod.rs", "//! A node.\n");
}

#[test]
fn lines_are_not_wide() {
    breaks("shape", "node/mod.rs", &format!("//! {}\n", "x".repeat(97)));
    keeps("shape", "node/mod.rs", &format!("//! {}\n", "x".repeat(96)));
}

#[test]
fn files_are_not_long() {
    let code = |lines: usize| format!("//! A node.\n{}", "use x;\n".repeat(lines - 1));
    let tests = |lines: usize| {
        format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    x();\n".repeat(lines - 3))
    };
    let doctest = |lines: usize| format!("//! ```\n{}//! ```\n", "//! x\n".repeat(lines - 2));
    keeps("shape", "node/mod.rs", &code(400));
    breaks("shape", "node/mod.rs", &code(401));
    keeps("shape", "node/mod.rs", &(code(400) + &tests(100)));
    breaks("shape", "node/mod.rs", &(code(400) + &tests(101)));
    keeps("shape", "node/mod.rs", &(doctest(50) + &code(400)));
    breaks("shape", "node/mod.rs", &(doctest(50) + &code(401)));
    keeps("shape", "main.rs", &code(99));
    breaks("shape", "main.rs", &code(100));
}

#[test]
fn functions_are_not_long() {
    let function = |lines: usize| {
        let body = "    x();\n".repeat(lines - 2);
        format!("trait T {{ fn a(x: [u8; 4]); }}\nfn f(x: [u8; 4]) {{\n{body}}}\n")
    };
    breaks("functions", "node/mod.rs", &function(71));
    keeps("functions", "node/mod.rs", &function(70));
}

#[test]
fn patches_fit() {
    let read = |name: &str| {
        let source = "fn f() {\n    a();\n    b();\n    c();\n    a();\n}\n";
        (name == "src/x.rs").then(|| source.to_owned())
    };
    let found = |patch: &str| misfits(patch, read);
    let diff = "--- a/src/x.rs\n+++ b/src/x.rs\n@@ -2,3 +2,3 @@\n     a();\n-    b();\n+    d();\n\
                \x20    c();\n";
    let whole = format!("What it is.\nWhat finds it.\n\n{diff}");
    assert_eq!(found(&whole), [""; 0]);
    let broken = [
        ("has moved on", whole.replace("-    b", "-    x")),
        ("context has moved on", whole.replace(" c();", " x();")),
        (
            "two places",
            whole
                .replace("2,3 +2,3 @@\n     a();\n-    b", "2 +2 @@\n-    a")
                .replace("     c();\n", ""),
        ),
        ("no such file", whole.replace("x.rs", "y.rs")),
        ("miscounted", whole.replace("-2,3", "-2,4")),
        ("no prose", diff.to_owned()),
        ("no diff", "What it is.\nWhat finds it.\n\n".to_owned()),
        ("nothing changed", whole.replace("-    b();\n+    d();", "     b();")),
        ("the simulator itself", whole.replace("src/x.rs", "src/sim/x.rs")),
    ];
    for (what, patch) in broken {
        assert!(!found(&patch).is_empty(), "{what} passes:\n{patch}");
    }
}

#[test]
fn patches_are_numbered() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(misnumbered(&names(&["001-a.patch", "002-b.patch"])), [""; 0]);
    assert!(!misnumbered(&names(&["001-a.patch", "003-b.patch"])).is_empty(), "a gap");
    assert!(!misnumbered(&names(&["001-a.patch", "001-b.patch"])).is_empty(), "a number twice");
    assert!(!misnumbered(&names(&["001-.patch"])).is_empty(), "no name");
}
