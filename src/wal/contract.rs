//! What every log must do, as a suite that each runs.

use crate::paxos::{AcceptorState, Ballot, Command, Incarnation, NodeId, Record, Run, Slot, Wal};

/// Runs the suite on a log, which `open` makes or opens again.
///
/// # Panics
///
/// If the log breaks the contract.
pub fn run<W: Wal>(mut open: impl FnMut() -> W) {
    let records = example();
    let mut expected = AcceptorState::default();
    for (count, record) in records.iter().enumerate() {
        let mut wal = open();
        assert_eq!(load(&mut wal), expected, "what {count} commits said");
        commit(&mut wal, std::slice::from_ref(record));
        expected = expected.then([record.clone()]);
    }
    let mut wal = open();
    assert_eq!(load(&mut wal), expected, "one record a commit");
    commit(&mut wal, &records);
    wal.settle().expect("settled");
    drop(wal);
    expected = expected.then(records);
    assert_eq!(load(&mut open()), expected, "many records in one commit");
    let large = [accepted(9, 100, 4000, 200)];
    commit(&mut open(), &large);
    expected = expected.then(large);
    assert_eq!(load(&mut open()), expected, "a commit of most of a megabyte");
}

fn load<W: Wal>(wal: &mut W) -> AcceptorState {
    wal.load().expect("loads")
}

fn commit<W: Wal>(wal: &mut W, records: &[Record]) {
    wal.commit(records).expect("commits");
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, node: NodeId(2), incarnation: Incarnation(1) }
}

fn accepted(round: u64, first: u64, count: usize, bytes: usize) -> Record {
    let body = bytes::Bytes::from(vec![7; bytes]);
    let one = crate::paxos::RequestNumber(1);
    let request = crate::paxos::Request {
        client: crate::paxos::ClientId(5),
        number: one,
        low_water: one,
        ttl_ms: 0,
        time_ms: 0,
        body,
    };
    let (after, first) = (Slot(first), Slot(first));
    let commands = vec![Command::Request(request); count];
    Record::Accepted(Run { ballot: ballot(round), after, first, commands })
}

fn example() -> Vec<Record> {
    vec![
        Record::Promised(ballot(1)),
        accepted(1, 0, 3, 10),
        Record::Decided(Slot(2)),
        Record::Learned { first: Slot(2), commands: vec![Command::Noop; 4] },
        Record::Incarnation { node: NodeId(1), incarnation: Incarnation(77) },
        Record::Promised(ballot(3)),
        accepted(4, 6, 2, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{Identity, MemoryWal, Options, Store};

    /// A log in memory that is opened again.
    #[derive(Clone, Default)]
    struct Shared(std::rc::Rc<std::cell::RefCell<MemoryWal>>);

    impl Wal for Shared {
        type Error = std::convert::Infallible;

        fn commit(&mut self, records: &[Record]) -> Result<(), Self::Error> {
            self.0.borrow_mut().commit(records)
        }

        fn load(&mut self) -> Result<AcceptorState, Self::Error> {
            self.0.borrow_mut().load()
        }
    }

    #[test]
    fn memory_keeps_the_contract() {
        let shared = Shared::default();
        run(|| shared.clone());
    }

    #[test]
    fn the_store_keeps_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store");
        let identity = Identity::new("room", NodeId(2), Incarnation(1));
        Store::format(&path, &identity, Options { ballast_bytes: 0 }).expect("formatted");
        run(|| Store::open_as(&path, "room", NodeId(2)).expect("opens"));
    }
}
