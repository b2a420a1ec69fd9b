//! How a run ends: the faults stop, and within a stated time everything must be well.

use super::history::History;
use super::linear::Verdict;
use super::machine::Running;
use super::report::Report;
use super::room::Seen;
use super::world::World;
use crate::paxos::{AcceptorState, Command, NodeId, Slot};
use crate::rsm::{Archive, Keep};

/// How many election timeouts the cluster has to recover in, once the faults stop.
const PATIENCE_ELECTIONS: u64 = 40;

/// Times to live in which what a holder waits for comes about.
const LIVES: u64 = 3;

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
        self.calm_holders();
        self.calm_voters();
        if !self.weather.load.skip_slots.is_empty() {
            // The first view leaves its holes until its primary ends.
            self.crash(NodeId(0), "the first view ends");
        }
        self.ghosts.clear();
        for node in self.members() {
            let is_gone = self.machines[usize::from(node.0)].gone.is_some();
            if (is_gone || self.disk(node).is_rolled_back()) && self.may_lose(node) {
                self.replace(node, false);
            }
            self.disk(node).spare();
            let machine = self.machine(node);
            machine.shelf.spare();
            machine.set_right();
            machine.busy_until = 0;
            self.restart(node);
            self.pause(node, 0);
        }
        if self.is_lost() {
            self.report.lost = true;
            return;
        }
        // What is lost with a reset is asked for again after a while: clients by their turns.
        let turns = self.weather.load.request_ticks * 2 * 64;
        // Who is dead is ended after its time to live, and then others can go on.
        let tenancy = &self.weather.tenancy;
        let lives = tenancy.ttl_ticks_max * LIVES * u64::from(tenancy.holders);
        let patience = self.weather.election_ticks * PATIENCE_ELECTIONS + turns + lives;
        let patience = patience + self.polls_take();
        let mut end = self.now + patience;
        // A transfer takes a round trip and a tick for each chunk, which may hold one entry only.
        let chunks = self.checks.decided() + SNAPSHOT_CHUNKS;
        let last = end + chunks * (2 + self.weather.election_ticks / 2);
        while !self.is_well() {
            self.next();
            // Those whose snapshots are wrong do not come back, either.
            if self.is_lost() {
                self.report.lost = true;
                return;
            }
            if self.is_transferring() {
                end = end.max(last.min(self.now + patience));
            }
            if self.now >= end && self.hangs_on_one_astray() {
                self.report.lost = true;
                return;
            }
            assert!(
                self.now < end,
                "not well {patience} ticks after the last fault:\n{}",
                self.standing()
            );
        }
    }

    /// Whether there is no quorum of nodes that can come back, or something that was decided is on
    /// no disk any more.
    fn is_lost(&self) -> bool {
        let votes = |node: &NodeId| {
            let disk = self.disk(*node);
            let is_gone = self.machines[usize::from(node.0)].gone.is_some();
            !is_gone && !disk.is_rolled_back() && disk.inspect(AcceptorState::is_fit)
        };
        self.members().filter(votes).count() < self.stores.quorum() || !self.all_is_held()
    }

    /// Whether everything that a disk knows to be decided is still on some disk: a value may have
    /// been damaged on one, and the others that had it lost.
    fn all_is_held(&self) -> bool {
        let inspect = |look: fn(&AcceptorState) -> Slot| {
            self.disks.iter().map(|disk| disk.inspect(look)).collect::<Vec<_>>()
        };
        let from = inspect(AcceptorState::known).into_iter().min().unwrap_or_default();
        let to = inspect(AcceptorState::mark).into_iter().max().unwrap_or_default();
        (from.0..to.0).map(Slot).all(|slot| {
            let holds = |it: &AcceptorState| {
                it.trimmed() > slot || (it.mark() > slot && it.vote(slot).is_some())
            };
            self.disks.iter().any(|disk| disk.inspect(holds))
        })
    }

    /// Whether a node gets a snapshot from another.
    fn is_transferring(&self) -> bool {
        let mut nodes = self.machines.iter().filter_map(|machine| machine.node.as_ref());
        nodes.any(|node| node.transfer().is_some())
    }

    /// Everything is answered, and every node that can be has the same and has applied it. Whoever
    /// has gone astray has stopped, unless there is no telling yet.
    fn is_well(&self) -> bool {
        let replicas = self.machines.iter().filter(|it| !self.weather.is_witness(it.id));
        let mut nodes = replicas.filter(|machine| machine.gone.is_none());
        let digest = self.right_nodes().next().map(|node| node.executor().digest());
        let Some(digest) = digest else { return false };
        self.clients.iter().all(super::client::Client::is_done)
            && self.is_vacant()
            && self.polls_are_well()
            && self.witnesses_are_well(digest.slot)
            && nodes.all(|machine| {
                machine.node.as_ref().is_some_and(|node| match self.astray.is_wrong(machine.id) {
                    true => node.replica().is_behind() || !self.astray.shows(node),
                    false if self.waits_for_one_astray(node) => true,
                    false => {
                        let decided = node.replica().decided();
                        node.executor().digest() == digest && decided == digest.slot
                    }
                })
            })
    }

    /// Every witness has learnt all that is decided, and holds no more of it in its log than others
    /// make it.
    fn witnesses_are_well(&self, decided: Slot) -> bool {
        let held = self.held();
        let witnesses = self.machines.iter().filter(|it| self.weather.is_witness(it.id));
        witnesses.filter(|machine| machine.gone.is_none()).all(|machine| {
            machine.node.as_ref().is_some_and(|node| {
                let trimmed = node.replica().state().trimmed();
                let is_short = trimmed.plus(self.weather.margin_slots) >= held.min(decided);
                node.replica().decided() == decided && is_short
            })
        })
    }

    /// What a quorum holds, as its shelves have it: all below this slot.
    fn held(&self) -> Slot {
        let running = self.machines.iter().filter(|machine| machine.node.is_some());
        let older = running.filter_map(|it| Some(it.shelf.kept().ok()?.get(1)?.0));
        let mut all: Vec<Slot> = older.collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.get(self.stores.quorum() - 1).copied().unwrap_or_default()
    }

    /// The nodes that have a state and run, have not gone astray, and do not wait for one that has.
    fn right_nodes(&self) -> impl Iterator<Item = &Running> {
        let nodes = self.machines.iter().filter(|machine| !self.astray.is_wrong(machine.id));
        let nodes = nodes.filter(|machine| !self.weather.is_witness(machine.id));
        let nodes = nodes.filter_map(|machine| machine.node.as_ref());
        nodes.filter(|node| !self.waits_for_one_astray(node))
    }

    /// Whether it is to get the snapshot of a node that has gone astray where nobody can tell yet:
    /// that is lost on the way.
    fn waits_for_one_astray(&self, node: &Running) -> bool {
        node.transfer().is_some_and(|transfer| self.astray.is_wrong(transfer.from))
    }

    /// Whether too few are left to decide anything without those who are to get the snapshot of a
    /// node that has gone astray.
    fn hangs_on_one_astray(&self) -> bool {
        let nodes = self.machines.iter().filter_map(|machine| machine.node.as_ref());
        let goes_on =
            |node: &&Running| node.replica().may_vote() && !self.waits_for_one_astray(node);
        nodes.filter(goes_on).count() < self.stores.quorum()
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
        lines.extend(self.tenants_standing());
        lines.extend(self.polls_standing());
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
            self.locks_are_as_told();
            self.polls_are_as_told();
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
        self.audit();
        self.report.ticks = self.now;
        self.report.decided = self.checks.decided();
        self.report.trims = self.checks.trims;
        self.report.installs = self.checks.installs;
        self.report.rejoined = self.checks.rejoined;
        self.report.answered = self.clients.iter().map(super::client::Client::heard).sum();
        self.report.grants = self.tenants.grants;
        self.report.ended = self.tenants.ends;
        self.report.deadlocks = self.tenants.deadlocks;
        self.report.polls = self.returns.closed();
        self.report.trace = self.trace.hash();
        self.report
    }

    fn archives_are_equal(&self) {
        let mut nodes = self.right_nodes();
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
