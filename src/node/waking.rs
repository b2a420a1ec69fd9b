//! Deadlines of the machine: when the leader's clock has passed one, a wake is proposed.
//!
//! No node acts on its clock. That something is due is a command in the log, and so it is due on
//! every node in the same slot; a clock only says when to propose it. Only a leader that is proved
//! in office does (as with leases): one that was cut off would fill its queue with what the next
//! one has long decided. A leader whose clock is behind proposes later; one whose clock is ahead,
//! sooner. The time in the log never goes back all the same.
//!
//! A wake that comes twice, from two leaders, is harmless: what was due then is due no more.

use super::Node;
use crate::paxos::{Ballot, Command, Input, Wal};
use crate::rsm::StateMachine;

/// What a node knows of the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Waking {
    /// What its clock showed last.
    clock_ms: u64,
    /// The leadership and the deadline for which a wake was proposed last.
    proposed: Option<(Ballot, u64)>,
}

impl Waking {
    pub(super) fn note_clock(&mut self, time_ms: u64) {
        self.clock_ms = time_ms;
    }
}

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// When the machine wants to be woken, in milliseconds since 1970: until then this node is to
    /// be told what the clock shows.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.executor.machine().deadline()
    }

    /// Proposes a wake if one is due: once a deadline and leadership.
    pub(super) fn tend_deadline(&mut self) -> Option<Input> {
        let deadline = self.deadline()?;
        if self.waking.clock_ms < deadline {
            return None;
        }
        let proposed = Some((self.proved_office()?, deadline));
        if self.waking.proposed == proposed {
            return None;
        }
        self.waking.proposed = proposed;
        Some(Input::Own(Command::Wake(self.waking.clock_ms)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::rc::Rc;

    use bytes::Bytes;

    use super::super::{Beside, Event};
    use super::*;
    use crate::paxos::{
        AcceptorState, ClientId, Config, Incarnation, Network, NodeId, Record, Released, Request,
        RequestNumber, Timing,
    };
    use crate::rsm::{Archive, Turn};
    use crate::wal::MemoryWal;

    /// Due when its last command said; no more once it was woken, unless it is stubborn.
    #[derive(Default)]
    struct Alarm {
        due: Option<u64>,
        woken: Vec<u64>,
        is_stubborn: bool,
    }

    impl StateMachine for Alarm {
        fn apply(&mut self, _turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
            self.due = command.try_into().ok().map(u64::from_le_bytes);
            Vec::new()
        }

        fn deadline(&self) -> Option<u64> {
            self.due
        }

        fn wake(&mut self, turn: &mut Turn<'_>) {
            self.woken.push(turn.time_ms);
            self.due = self.due.filter(|_| self.is_stubborn);
        }

        fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
            Vec::new()
        }

        fn snapshot(&self) -> Vec<u8> {
            Vec::new()
        }

        fn restore(&mut self, _snapshot: &[u8]) {}
    }

    /// A disk that outlives its node.
    #[derive(Clone, Default)]
    struct Disk(Rc<RefCell<MemoryWal>>);

    impl Wal for Disk {
        type Error = Infallible;

        fn commit(&mut self, records: &[Record]) -> Result<(), Infallible> {
            self.0.borrow_mut().commit(records)
        }

        fn load(&mut self) -> Result<AcceptorState, Infallible> {
            self.0.borrow_mut().load()
        }
    }

    struct Nobody;

    impl Network for Nobody {
        fn send(&mut self, _released: Released) {}
    }

    type Alone = Node<Disk, Alarm>;

    /// A cluster of one, that leads.
    fn leading(disk: &Disk, is_stubborn: bool) -> Alone {
        let timing = Timing::from_election(100);
        let config = Config::new(NodeId(0), Incarnation(1), 1, timing);
        let machine = Alarm { is_stubborn, ..Alarm::default() };
        let mut node = Node::open(config, disk.clone(), Beside::default(), machine).expect("opens");
        for _ in 0..1000 {
            if node.replica.tenure().is_some() {
                return node;
            }
            handle(&mut node, [Event::Tick { elapsed: 5 }]);
        }
        panic!("nobody else could lead");
    }

    fn handle(node: &mut Alone, events: impl IntoIterator<Item = Event>) {
        node.handle(events, &mut Nobody).expect("memory takes all");
    }

    /// A command that came at this time, after which something is due at that one.
    fn set(node: &mut Alone, number: u64, time_ms: u64, due: u64) {
        let request = Request {
            client: ClientId(1),
            number: RequestNumber(number),
            low_water: RequestNumber(1),
            ttl_ms: 0,
            time_ms,
            body: Bytes::copy_from_slice(&due.to_le_bytes()),
        };
        handle(node, [Event::Request(request)]);
    }

    fn clock(node: &mut Alone, times: &[u64]) -> Vec<u64> {
        for time_ms in times {
            handle(node, [Event::Tick { elapsed: 5 }, Event::Clock(*time_ms)]);
        }
        node.executor.machine().woken.clone()
    }

    /// Bugs that turn it red: a wake before the clock has passed the deadline, or never; one with
    /// another time than the clock's; one after another, for one deadline; none for the next one.
    #[test]
    fn a_deadline_is_told_once_when_the_clock_has_passed_it() {
        for is_stubborn in [false, true] {
            let mut node = leading(&Disk::default(), is_stubborn);
            set(&mut node, 1, 10, 1000);
            assert_eq!(clock(&mut node, &[900, 999]), [0; 0]);
            assert_eq!(clock(&mut node, &[1001, 1002, 5]), [1001]);
            set(&mut node, 2, 20, 2000);
            assert_eq!(clock(&mut node, &[1500, 2000, 2001]), [1001, 2000]);
        }
    }

    /// Bugs that turn it red: a time that is the clock's alone.
    #[test]
    fn time_in_the_log_does_not_go_back() {
        let mut node = leading(&Disk::default(), false);
        set(&mut node, 1, 5000, 1000);
        assert_eq!(clock(&mut node, &[1001]), [5000]);
    }

    /// Bugs that turn it red: an office that is proved only where there are leases; a deadline that
    /// is told once for all leaderships.
    #[test]
    fn a_new_leader_finds_what_is_due() {
        let disk = Disk::default();
        let mut node = leading(&disk, true);
        set(&mut node, 1, 10, 1000);
        assert_eq!(clock(&mut node, &[1001]), [1001]);
        drop(node);
        let mut node = leading(&disk, true);
        assert_eq!(clock(&mut node, &[1002, 1003, 1004]).last(), Some(&1002));
    }
}
