//! The announcements that clients have printed: who was in office, and that all heard one story.

use std::collections::BTreeMap;
use std::path::Path;

use indelible::cluster::Cluster;
use indelible::local::Rig;
use libtest_mimic::Failed;

use super::WITNESS;

/// Who is in office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Office {
    pub(crate) view: u64,
    pub(crate) primary: u16,
    pub(crate) backups: Vec<u16>,
}

impl Office {
    pub(crate) fn new(view: u64, primary: u16, backups: &[u16]) -> Office {
        Office { view, primary, backups: backups.to_vec() }
    }
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    number: u64,
    pub(super) office: Office,
    /// In all words.
    line: String,
}

impl Announced {
    fn read(cluster: &Cluster, line: &str) -> Option<Announced> {
        let of = |address: &str| {
            let member = cluster.nodes.iter().find(|member| member.address == address)?;
            Some(member.id.0)
        };
        let (head, tail) = line.strip_prefix("announcement ")?.split_once(": primary ")?;
        let (number, view) = head.split_once(", view ")?;
        let mut parts = tail.split(", ");
        let primary = of(parts.next()?)?;
        let mut backups = Vec::new();
        for part in parts.filter(|part| *part != "no backup") {
            let (address, joined) = part.strip_prefix("backup ")?.split_once(' ')?;
            let joined = joined.strip_prefix("(joined at slot ")?.strip_suffix(')')?;
            joined.parse::<u64>().ok()?;
            backups.push(of(address)?);
        }
        let office = Office { view: view.parse().ok()?, primary, backups };
        Some(Announced { number: number.parse().ok()?, office, line: line.to_owned() })
    }
}

/// The announcements that a client has printed.
pub(super) fn announced(rig: &Rig, out: &Path) -> Result<Vec<Announced>, String> {
    let printed = std::fs::read_to_string(out).unwrap_or_default();
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    let lines = whole.lines().filter(|line| line.starts_with("announcement "));
    let read = |line| Announced::read(rig.cluster(), line).ok_or_else(|| format!("what is {line}"));
    lines.map(read).collect()
}

/// All clients that there ever were have heard the same: each number once and in order, each of one
/// office, each view of one primary. How many announcements were heard.
pub(crate) fn one_story(rig: &Rig) -> Result<usize, Failed> {
    let mut story = BTreeMap::<u64, Announced>::new();
    for entry in std::fs::read_dir(rig.folder())? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != "out") {
            continue;
        }
        let mut last = 0;
        for heard in announced(rig, &path)? {
            let is_next = heard.number > last;
            assert!(is_next, "{}: {} after {last}", path.display(), heard.number);
            last = heard.number;
            let known = story.entry(last).or_insert_with(|| heard.clone());
            assert_eq!(*known, heard, "two stories of one announcement");
        }
    }
    let story: Vec<Announced> = story.into_values().collect();
    for pair in story.windows(2) {
        let (one, next) = (&pair[0].office, &pair[1].office);
        let is_one = one.view == next.view && one.primary == next.primary;
        assert!(is_one || one.view < next.view, "{} -> {}", pair[0].line, pair[1].line);
    }
    for Announced { office, line, .. } in &story {
        assert!(!office.backups.contains(&office.primary), "{line}");
        assert!(office.primary != WITNESS.0 && !office.backups.contains(&WITNESS.0), "{line}");
    }
    Ok(story.len())
}
