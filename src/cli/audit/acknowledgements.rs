//! The list of what clients were told: lines as executed logs have them.

use std::fs;
use std::io;
use std::path::Path;

use crate::audit::Acknowledged;
use crate::cli::exit::{Failure, Status};
use crate::paxos::Slot;

/// Reads a list.
pub(super) fn read(path: &Path) -> Result<Vec<Acknowledged>, Failure> {
    let bytes = fs::read(path).map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let status = if is_missing { Status::Missing } else { Status::Disk };
        Failure::new(status, format!("{}: {error}", path.display()))
    })?;
    parse(&bytes).map_err(|place| {
        let line =
            format!("{}: line {place} is no acknowledgement, `SLOT SENDER: text`", path.display());
        Failure::new(Status::Usage, line)
    })
}

/// The whole lines of a list; the place of the first that is none, from 1.
fn parse(bytes: &[u8]) -> Result<Vec<Acknowledged>, u64> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..end].split_inclusive(|byte| *byte == b'\n');
    let acknowledged = |(place, line): (u64, &[u8])| {
        let line = std::str::from_utf8(&line[..line.len() - 1]).ok()?;
        let slot = Slot(line.split_once(' ')?.0.parse().ok()?);
        Some(Acknowledged { slot, line: line.to_owned(), place })
    };
    (1..).zip(lines).map(|(place, line)| acknowledged((place, line)).ok_or(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red if a torn line counts, if an empty one is skipped, or if places count from 0.
    #[test]
    fn whole_lines_that_begin_with_a_slot() {
        let places = |bytes: &[u8]| {
            parse(bytes).map(|all| {
                all.into_iter().map(|it| (it.place, it.slot.0, it.line)).collect::<Vec<_>>()
            })
        };
        let two = vec![(1, 7, "7 ann: hi".to_owned()), (2, 0, "0 : ".to_owned())];
        assert_eq!(places(b"7 ann: hi\n0 : \n3 ann: to"), Ok(two));
        assert_eq!(places(b""), Ok(Vec::new()));
        for (bytes, place) in [(&b"1 a: b\n\n"[..], 2), (b"ann: hi\n", 1), (b"7\n", 1)] {
            assert_eq!(places(bytes), Err(place), "{}", bytes.escape_ascii());
        }
    }
}
