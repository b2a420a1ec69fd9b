//! A state machine in whose memory a bit flips: a fault to order, for tests of what notices it.
//!
//! What is decided is right, and what is on the disk; only what this node makes of it is not.

use super::archive::Archive;
use super::machine::{StateMachine, Turn};
use crate::paxos::Slot;

/// The machine, and where the bit flips.
#[derive(Clone, Debug)]
pub struct Flipped<M> {
    machine: M,
    flip: Option<Flip>,
}

/// A bit that flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// When the command of this slot is applied.
    pub at: Slot,
    /// Which bit of the command's last byte, from 0 to 7.
    pub bit: u8,
}

impl<M> Flipped<M> {
    /// This machine, with this fault or none.
    pub fn new(machine: M, flip: Option<Flip>) -> Flipped<M> {
        Flipped { machine, flip }
    }
}

impl<M: StateMachine> StateMachine for Flipped<M> {
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        let Some(flip) = self.flip.filter(|flip| flip.at == turn.at) else {
            return self.machine.apply(turn, command);
        };
        let mut command = command.to_vec();
        if let Some(last) = command.last_mut() {
            *last ^= 1 << (flip.bit % 8);
        }
        self.machine.apply(turn, &command)
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        self.machine.end(turn);
    }

    fn deadline(&self) -> Option<u64> {
        self.machine.deadline()
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        self.machine.wake(turn);
    }

    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8> {
        self.machine.query(query, archive)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) {
        self.machine.restore(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    struct Keeper;

    impl StateMachine for Keeper {
        fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
            turn.archive.append(turn.at, Bytes::copy_from_slice(command));
            Vec::new()
        }

        fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
            Vec::new()
        }

        fn snapshot(&self) -> Vec<u8> {
            Vec::new()
        }

        fn restore(&mut self, _snapshot: &[u8]) {}
    }

    /// Bugs that turn it red: a flip at another slot, or at each.
    #[test]
    fn one_bit_of_one_command_flips() {
        let flip = Flip { at: Slot(1), bit: 3 };
        let (mut machine, mut archive) = (Flipped::new(Keeper, Some(flip)), Archive::default());
        for slot in (0..3).map(Slot) {
            machine.apply(&mut Turn::new(slot, &mut archive), b"aa");
        }
        let bodies: Vec<_> = archive.page(Slot(0), 1000).into_iter().map(|(_, it)| it).collect();
        assert_eq!(bodies, ["aa", "ai", "aa"]);
    }
}
