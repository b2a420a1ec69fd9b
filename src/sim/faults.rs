//! What goes wrong, and when: each fault by itself, at its own pace.

use super::machine::Machine;
use super::queue::Happening;
use super::world::World;
use crate::node::Event;
use crate::paxos::NodeId;

/// A fault that comes by itself. Those of commits are the disks'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A node crashes, or all of them.
    Crash,
    /// A node crashes and stays away for so long that the others forget what it missed.
    Away,
    /// Links are cut.
    Cut,
    /// A link clogs.
    Clog,
    /// A node stands still for a while.
    Pause,
    /// A clock jumps.
    Jump,
    /// A clock stands still for a while.
    Stop,
    /// A leader is deposed, and does not know it.
    Depose,
    /// A client crashes.
    Client,
    /// The leader leaves slots empty.
    Skip,
    /// A store is lost, and the node comes back with a new one.
    Wipe,
    /// A replica is away for long, and when it is back another's store is lost.
    Forsake,
    /// A store is rolled back to what it once was.
    RollBack,
}

impl Fault {
    pub(super) const ALL: [Fault; 13] = [
        Fault::Crash,
        Fault::Away,
        Fault::Cut,
        Fault::Clog,
        Fault::Pause,
        Fault::Jump,
        Fault::Stop,
        Fault::Depose,
        Fault::Client,
        Fault::Skip,
        Fault::Wipe,
        Fault::Forsake,
        Fault::RollBack,
    ];
}

impl World {
    /// When this fault comes next, if it does.
    pub(super) fn plan_fault(&mut self, fault: Fault) {
        let weather = &self.weather;
        let mean = match fault {
            Fault::Crash => weather.process.crash_ticks,
            Fault::Away => weather.process.away_ticks,
            Fault::Cut => weather.network.cut_ticks,
            Fault::Clog => weather.network.clog_ticks,
            Fault::Pause => weather.process.pause_ticks,
            Fault::Jump => weather.process.jump_ticks,
            Fault::Stop => weather.process.stop_ticks,
            Fault::Depose => weather.network.depose_ticks,
            Fault::Client => weather.load.crash_ticks,
            Fault::Skip => weather.load.skip_ticks,
            Fault::Wipe => weather.process.wipe_ticks,
            Fault::Forsake => weather.process.forsake_ticks,
            Fault::RollBack => weather.process.roll_back_ticks,
        };
        if mean > 0 {
            let after = 1 + self.rng.u64(0..mean * 2);
            self.plan(after, Happening::Fault(fault));
        }
    }

    /// It comes.
    pub(super) fn strike(&mut self, fault: Fault) {
        let node = NodeId(self.rng.u16(0..self.weather.members));
        match fault {
            Fault::Crash if self.rng.f64() < self.weather.process.all => {
                self.members().for_each(|node| self.crash(node, "all crash"));
            }
            Fault::Crash => self.crash(node, "crashes"),
            Fault::Away => {
                let elections = self.rng.u64(2..16);
                self.crash_for(node, "stays away", elections * self.weather.election_ticks);
            }
            Fault::Cut => {
                let until = self.now + 1 + self.rng.u64(0..self.weather.network.heal_ticks);
                let what = self.net.cut(&mut self.rng, node, until);
                self.note(node, "cut", || format!("{what} until {until}"));
            }
            Fault::Clog => {
                let until = self.now + 1 + self.rng.u64(0..self.weather.network.heal_ticks);
                self.net.clog(&mut self.rng, until);
                self.note(node, "clog", || format!("until {until}"));
            }
            Fault::Pause => {
                let ticks = 1 + self.rng.u64(0..self.weather.process.paused_ticks);
                self.note(node, "pauses", || format!("for {ticks}"));
                self.pause(node, ticks);
            }
            Fault::Jump => {
                let ticks = self.rng.u64(0..self.weather.election_ticks * 10);
                self.note(node, "clock jumps", || format!("by {ticks}"));
                self.leapt += ticks;
                self.machine(node).jump(ticks);
            }
            Fault::Stop => {
                let (now, ticks) = (self.now, self.rng.u64(0..self.weather.election_ticks * 10));
                self.note(node, "clock stops", || format!("for {ticks}"));
                self.machine(node).stop_clock(now, now + ticks);
            }
            Fault::Depose => self.depose(),
            Fault::Client => {
                let client = self.rng.usize(0..self.clients.len());
                self.clients[client].crash(&mut self.rng);
            }
            Fault::Wipe => self.wipe(node),
            Fault::Forsake => self.forsake(),
            Fault::RollBack => self.roll_back(node),
            Fault::Skip => {
                let count = self.rng.u64(1..=3);
                self.members().for_each(|node| self.arrive(node, Event::Skip(count)));
            }
        }
    }

    /// A dangerous moment, helped along: a leader is cut off from all others but not from its
    /// clients, or hears them late; and its clock is slow to tell it so. Until all is healed
    /// somebody else leads, too.
    fn depose(&mut self) {
        let Some(leader) = self.leader() else { return };
        let elections = self.weather.election_ticks * (2 + self.rng.u64(0..8));
        let (now, until) = (self.now, self.now + elections);
        self.note(leader, "deposed", || format!("cut off until {until}"));
        if self.rng.bool() {
            self.net.isolate(leader, until);
        } else {
            self.net.clog_into(leader, until);
        }
        if self.rng.bool() {
            // With a hole of its own, which it is to fill when the cut ends, it may campaign again
            // before it hears of the other.
            self.arrive(leader, Event::Skip(1));
            let ends = elections + self.rng.u64(0..self.weather.election_ticks);
            self.plan(ends, Happening::Ask(leader, Box::new(Event::Heal)));
        }
        let stops = self.rng.u64(0..elections);
        self.machine(leader).stop_clock(now, now + stops);
        self.lure(leader);
        // Those of sessions that it has never heard of come later.
        let later = self.rng.u64(0..elections);
        self.plan(later, Happening::Lure(leader));
    }

    /// A dangerous moment, helped along: witnesses have to let go of what a replica that is away
    /// has missed, and when it is back the store of another, which knows, is lost.
    fn forsake(&mut self) {
        let mut replicas: Vec<NodeId> =
            self.members().filter(|node| !self.weather.is_witness(*node)).collect();
        self.rng.shuffle(&mut replicas);
        if let [away, lost, ..] = replicas[..] {
            let ticks = self.weather.election_ticks * self.rng.u64(4..16);
            self.plan(ticks, Happening::Lose(lost));
            self.crash_for(away, "is forsaken", ticks);
        }
    }

    /// Half of the clients turn to this node, and half of the holders and voters.
    pub(super) fn lure(&mut self, node: NodeId) {
        for voter in &mut self.voters {
            if self.rng.bool() {
                voter.turn_to(node);
            }
        }
        for holder in &mut self.holders {
            if self.rng.bool() {
                holder.turn_to(node);
            }
        }
        for client in &mut self.clients {
            if self.rng.bool() {
                client.turn_to(node);
            }
        }
    }

    /// Somebody who takes itself for the leader.
    fn leader(&mut self) -> Option<NodeId> {
        let leads = |machine: &&Machine| {
            machine.node.as_ref().is_some_and(|node| node.replica().is_leading())
        };
        let leaders: Vec<NodeId> =
            self.machines.iter().filter(leads).map(|machine| machine.id).collect();
        self.rng.choice(leaders)
    }

    /// A node ends in the middle of whatever it does.
    pub(super) fn crash(&mut self, node: NodeId, why: &'static str) {
        let away = 1 + self.rng.u64(0..self.weather.process.restart_ticks.max(1));
        self.crash_for(node, why, away);
    }

    /// A node ends, and starts again after so many ticks.
    pub(super) fn crash_for(&mut self, node: NodeId, why: &'static str, away: u64) {
        if !self.machines[usize::from(node.0)].stop(&mut self.rng) {
            return;
        }
        self.note(node, "ends", || why.to_owned());
        self.report.crashes += 1;
        if self.faults && self.rng.f64() < self.weather.disk.rot {
            let other = self.rng.usize(0..self.disks.len());
            let shelf = self.machine(node).shelf.clone();
            let rot = match self.rng.u8(0..4) {
                0 => shelf.rot(),
                _ => self.disk(node).rot(&self.disks[other].clone()),
            };
            if let Some(what) = rot {
                self.note(node, "rot", || what.to_owned());
            }
        }
        self.plan(away, Happening::Restart(node));
        // The sockets of a killed process are closed: most peers notice at once.
        for peer in self.members().filter(|peer| *peer != node) {
            if self.rng.u8(0..4) > 0 {
                self.plan(1, Happening::Ask(peer, Box::new(Event::Reset(node))));
            }
        }
    }

    /// A dangerous moment, helped along: a Prepare has left, or a question for what is decided or
    /// of a transfer, and its sender ends before the answer; or a snapshot is durable, and nothing
    /// of what follows.
    pub(super) fn after_question(&mut self, node: NodeId) {
        let share = self.weather.process.crash_after_question;
        if self.faults && share > 0.0 && self.rng.f64() < share {
            self.plan(0, Happening::End(node));
        }
    }
}
