//! How a node starts again: on the disk and the shelf it had, whatever became of them; and whether
//! it may have what it found.

use super::queue::Happening;
use super::weather::Weather;
use super::world::World;
use crate::node::{Beside, Node, Pace};
use crate::paxos::{Config, NodeId, Slot, Timing};
use crate::rsm::{Keep, Shelf};

impl World {
    /// A node starts, unless it runs or is gone for good.
    pub(super) fn restart(&mut self, node: NodeId) {
        let index = usize::from(node.0);
        if self.machines[index].node.is_some() || self.machines[index].gone.is_some() {
            return;
        }
        let timing = Timing::from_election(self.weather.election_ticks);
        let (_, incarnation) = self.disks[index].store();
        let mut config = Config::new(node, incarnation, self.weather.members, timing);
        config.seed = self.rng.u64(..);
        config.limits.window_runs = self.weather.load.window_runs;
        config.witnesses = self.weather.witnesses.iter().copied().map(NodeId).collect();
        if self.faults {
            config.skip_slots = self.weather.load.skip_slots.iter().copied().map(Slot).collect();
        }
        let beside = self.beside(node);
        let room = self.astray.machine(node, self.checks.decided());
        let disk = &self.disks[index];
        let opened = Node::open(config, disk.clone(), beside, room);
        let verdict = match &opened {
            Ok(opened) => {
                let found = opened.replica().state();
                let lacks = disk.lacks(found);
                let is_mended = lacks.is_some() && disk.is_mended(found);
                self.report.mended += u64::from(is_mended);
                lacks.filter(|_| !is_mended)
            }
            Err(error) => Some(error.to_string()),
        };
        match (opened, verdict) {
            (Ok(mut opened), None) => {
                if let Some(tap) = self.trace.tap(disk.store()) {
                    opened.listen(tap);
                }
                self.note(node, "starts", String::new);
                self.checks.on_restart(node, &self.disks[index], opened.replica().state());
                self.checks.after(&opened);
                self.astray.on_restart(&opened, &self.checks);
                self.machines[index].start(opened, self.now);
                for late in self.kept.late(&mut self.rng, node) {
                    let delay = 1 + self.rng.u64(0..self.weather.election_ticks);
                    self.plan(delay, Happening::Deliver(Box::new(late)));
                }
            }
            (opened, verdict) => {
                let why = verdict.unwrap_or_default();
                let (refused, disk) = (opened.is_err(), &self.disks[index]);
                let is_rotten = disk.is_rotten() || self.machines[index].shelf.is_rotten();
                assert!(is_rotten, "{node} refuses a disk that only crashed: {why}");
                let noticed = refused || disk.is_beyond_notice();
                assert!(noticed, "{node} votes from a disk that has lost something: {why}");
                self.note(node, "stays away", || why.clone());
                self.report.refused += 1;
                self.machines[index].gone = Some(why);
            }
        }
    }

    /// What lies beside a node's log.
    fn beside(&mut self, node: NodeId) -> Beside {
        let pace = match self.weather.snapshot_slots {
            0 => Pace::NEVER,
            snapshot_slots => Pace {
                snapshot_slots,
                margin_slots: self.rng.u64(0..=self.weather.margin_slots),
                chunk_bytes: self.weather.chunk_bytes as usize,
                ..Pace::NEVER
            },
        };
        let Weather { checkpoint_slots, witness_log_slots, .. } = self.weather;
        let pace = Pace { checkpoint_slots, witness_log_slots, ..pace };
        let shelf = &self.machine(node).shelf;
        let snapshots = shelf.kept().expect("a simulated shelf can be read");
        Beside { shelf: shelf.clone_box(), snapshots, pace }
    }
}
