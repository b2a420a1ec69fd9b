//! How a run ends: the faults stop, and within a stated time everything must be well.

use super::history::History;
use super::linear::Verdict;
use super::room::Seen;
use super::world::{Report, World};
use crate::paxos::{Command, NodeId, Slot};
use crate::rsm::Archive;

/// How many election timeouts the cluster has to recover in, once the faults stop.
const PATIENCE_ELECTIONS: u64 = 40;

/// A snapshot has fewer chunks, however small they are.
const SNAPSHOT_CHUNKS: u64 = 256;

impl World {
    /// Faults happen.
    pub(super) fn storm(&mut self) {
        while self.now < self.weather.storm_ticks {
            self.next();
        }
    }

    /// The faults stop: within a bounded time all is decided, and all know it.
    ///
    /// # Panics
    ///
    /// If not: with who waits for whom.
    pub(super) fn calm(&mut self) {
        self.faults = false;
        self.net.heal(self.weather.election_ticks);
        self.kept.stop();
        if !self.weather.load.skip_slots.is_empty() {
            // The first view leaves its holes until its primary ends.
            self.crash(NodeId(0), "the first view ends");
        }
        for node in self.members() {
            self.disk(node).spare();
            let machine = self.machine(node);
            machine.shelf.spare();
            machine.set_right();
            machine.busy_until = 0;
            self.restart(node);
            self.pause(node, 0);
        }
        let quorum = self.machines.len() / 2 + 1;
        if self.machines.iter().filter(|machine| machine.gone.is_none()).count() < quorum {
            self.report.lost = true;
            return;
        }
        // What is lost with a reset is asked for again after a while: clients by their turns.
        let turns = self.weather.load.request_ticks * 2 * 64;
        let patience = self.weather.election_ticks * PATIENCE_ELECTIONS + turns;
        let mut end = self.now + patience;
        // A transfer takes a round trip and a tick for each chunk, which may hold one entry only.
        let chunks = self.checks.decided() + SNAPSHOT_CHUNKS;
        let last = end + chunks * (2 + self.weather.election_ticks / 2);
        while !self.is_well() {
            self.next();
            if self.is_transferring() {
                end = end.max(last.min(self.now + patience));
            }
            assert!(
                self.now < end,
                "not well {patience} ticks after the last fault:\n{}",
                self.standing()
            );
        }
    }

    /// Whether a node gets a snapshot from another.
    fn is_transferring(&self) -> bool {
        let mut nodes = self.machines.iter().filter_map(|machine| machine.node.as_ref());
        nodes.any(|node| node.transfer().is_some())
    }

    /// Everything is answered, and every node that can be has the same and has applied it.
    fn is_well(&self) -> bool {
        let mut nodes = self.machines.iter().filter(|machine| machine.gone.is_none());
        let digest = nodes.clone().find_map(|machine| machine.node.as_ref());
        let Some(digest) = digest.map(|node| node.executor().digest()) else { return false };
        self.clients.iter().all(super::client::Client::is_done)
            && nodes.all(|machine| {
                machine.node.as_ref().is_some_and(|node| {
                    node.executor().digest() == digest && node.replica().decided() == digest.slot
                })
            })
    }

    /// Who waits for whom, for a person.
    fn standing(&self) -> String {
        let mut lines = Vec::new();
        for client in self.clients.iter().filter(|client| !client.is_done()) {
            let first = client.unanswered().next().map(|request| request.number);
            let number = first.map_or(0, |number| number.0);
            lines.push(format!(
                "client {} waits for {} to answer request {number}",
                client.id, client.target
            ));
        }
        for machine in &self.machines {
            lines.push(match (&machine.node, &machine.gone) {
                (Some(node), _) => format!("{:?}", node.status()),
                (None, Some(why)) => format!("{} stays away: {why}", machine.id),
                (None, None) => format!("{} is not running", machine.id),
            });
        }
        lines.join("\n")
    }

    /// All archives are the same, and what the clients saw can be explained.
    ///
    /// # Panics
    ///
    /// If not.
    pub(super) fn judge(mut self) -> Report {
        if !self.report.lost {
            self.archives_are_equal();
        }
        self.tell_decided();
        if let Err(contradiction) = self.history.check_witness(Seen::default()) {
            panic!("the history contradicts its slots: {contradiction}");
        }
        match self.history.check_linear(Seen::default()) {
            Verdict::Linear { .. } => (),
            Verdict::Refused { why } => panic!("the history is not linearizable: {why}"),
            Verdict::TooWide { .. } | Verdict::TooLong => self.report.unjudged += 1,
        }
        self.report.ticks = self.now;
        self.report.decided = self.checks.decided();
        self.report.trims = self.checks.trims;
        self.report.installs = self.checks.installs;
        self.report.answered = self.clients.iter().map(super::client::Client::heard).sum();
        self.report.trace = self.trace.hash();
        self.report
    }

    fn archives_are_equal(&self) {
        let mut nodes = self.machines.iter().filter_map(|machine| machine.node.as_ref());
        let Some(first) = nodes.next() else { return };
        for node in nodes {
            let (one, other) = (first.executor().archive(), node.executor().archive());
            let whole = |archive: &Archive| archive.page(Slot(0), usize::MAX);
            assert!(one.extent() == other.extent(), "the archives differ");
            assert!(whole(one) == whole(other), "the archives differ");
        }
    }

    /// The history learns where the log holds what no client heard of.
    fn tell_decided(&mut self) {
        let World { checks, clients, history, .. } = self;
        tell(history, checks.log(), |request| {
            let client = clients.get(request.client.0 as usize)?;
            client.op(request.number)
        });
    }
}

fn tell<'a>(
    history: &mut History<Seen>,
    log: impl Iterator<Item = (Slot, &'a Command)>,
    op: impl Fn(&crate::paxos::Request) -> Option<super::history::OpId>,
) {
    for (slot, command) in log {
        if let Command::Request(request) = command
            && let Some(op) = op(request)
        {
            history.decided(op, slot);
        }
    }
}
