//! A log in memory, for tests: what it holds survives the node, not the process.

use std::convert::Infallible;

use crate::paxos::{AcceptorState, Record, Wal};

/// A log whose commits cannot fail. Clone it to see what a crash would leave.
#[derive(Clone, Debug, Default)]
pub struct MemoryWal {
    records: Vec<Record>,
}

impl MemoryWal {
    /// Everything committed, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl Wal for MemoryWal {
    type Error = Infallible;

    fn commit(&mut self, records: &[Record]) -> Result<(), Infallible> {
        self.records.extend_from_slice(records);
        Ok(())
    }

    fn load(&mut self) -> Result<AcceptorState, Infallible> {
        Ok(AcceptorState::replay(self.records.iter().cloned()))
    }
}
