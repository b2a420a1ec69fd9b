//! What transfers bring, counted: so that a report shows how much of it came twice.

use super::machine::Running;
use super::report::Report;
use crate::paxos::Slot;

/// A node in a transfer, before something happens to it; or one that is in none.
pub(super) struct Brought(Option<Now>);

struct Now {
    /// Entries of its archive, and those of them that an earlier life of the node got.
    entries: u64,
    regained: u64,
    applied: Slot,
}

impl Brought {
    pub(super) fn by(node: &Running) -> Brought {
        let entries = node.executor().archive().extent().entries;
        let now = |regained| Now { entries, regained, applied: node.applied() };
        Brought(node.transfer().map(|transfer| now(transfer.regained)))
    }

    /// Adds what has come since. What was applied meanwhile came of the log.
    pub(super) fn count(&self, node: &Running, report: &mut Report) {
        let Some(before) = self.0.as_ref().filter(|it| it.applied == node.applied()) else {
            return;
        };
        let came = node.executor().archive().extent().entries.saturating_sub(before.entries);
        let regained = node.transfer().map_or(before.regained, |transfer| transfer.regained);
        let again = regained.saturating_sub(before.regained).min(came);
        report.regained += again;
        report.fetched += came - again;
    }
}
