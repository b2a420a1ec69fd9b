//! Leased sessions at a node: keep-alives are answered, silence is noticed, ends are proposed.
//!
//! A session is ended by a command in the log, never by a clock's verdict: [`Leases`] only says
//! when to propose it. Two things make a lease worth something over a change of leader.
//!
//! A keep-alive is answered like a linearizable read: once a quorum has echoed a heartbeat that was
//! sent *after it arrived*. So nobody else had been elected when the client sent it, and whoever is
//! elected later counts the whole time to live from then on.
//!
//! And a leader counts and answers only when something that it proposed in its own ballot is
//! decided; where there is nothing, it proposes a no-op. Otherwise a deposed leader could still end
//! a session: a leader that was cut off proposes an end, one acceptor accepts it and falls silent;
//! the next leader renews the lease for hours and proposes nothing; the third finds that acceptance
//! in phase 1 and must adopt it, for nothing says that it is stale. With one slot decided in the
//! second leader's ballot the third ignores it (from the first slot of the highest ballot on,
//! acceptances of lower ones are ignored). Both rules are attacked in the simulator (etcd#15247 is
//! what comes of it otherwise).

use super::leases::Leases;
use super::{Asked, Node, Output};
use crate::paxos::{Ballot, ClientId, Command, Input, RequestNumber, Wal};
use crate::rsm::StateMachine;
use crate::wire::client::Refusal;

/// What a node knows of leases.
#[derive(Clone, Debug, Default)]
pub(super) struct Leasing {
    leases: Leases,
    /// The ballot in which it has proposed a no-op, to have something decided in it.
    proved: Option<Ballot>,
}

impl Leasing {
    pub(super) fn pass(&mut self, elapsed: u64) {
        self.leases.pass(elapsed);
    }

    /// A session's request was applied.
    pub(super) fn on_request(&mut self, client: ClientId, ttl_ms: u64) {
        self.leases.renew(client, ttl_ms);
    }

    pub(super) fn on_ended(&mut self, client: ClientId) {
        self.leases.remove(client);
    }
}

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// Counts leases if this node is proved to lead, and proposes what follows from that.
    ///
    /// A request that is under way here was heard of its client: it will be answered, and its
    /// session has all of its time from when it was sent. The end may not follow right behind it.
    pub(super) fn tend_leases(&mut self) -> Vec<Input> {
        let Some(tenure) = self.replica.tenure() else {
            self.leasing.leases.leave();
            return Vec::new();
        };
        let Leasing { leases, proved } = &mut self.leasing;
        if leases.office() != Some(tenure.ballot) {
            leases.leave();
            if self.executor.applied() < tenure.first.plus(tenure.adopted.max(1)) {
                return self.prove_office(tenure.ballot);
            }
            *proved = None;
            leases.enter(tenure.ballot, self.executor.sessions().leased());
        }
        let mut ends = Vec::new();
        while let Some((client, ttl_ms)) = leases.overdue() {
            if self.replica.has_request_of(client) {
                leases.renew(client, ttl_ms);
                continue;
            }
            leases.begin_end(client);
            ends.push(Input::Own(Command::End(client)));
        }
        ends
    }

    /// Has something decided in this ballot, if there is something to count, a lease or the time to
    /// a deadline, and nothing is under way.
    fn prove_office(&mut self, ballot: Ballot) -> Vec<Input> {
        let has_leases = self.executor.sessions().leased().next().is_some();
        let counts = has_leases || self.executor.machine().deadline().is_some();
        let is_idle = self.replica.is_ready() && self.replica.outstanding() == 0;
        if !counts || !is_idle || self.leasing.proved == Some(ballot) {
            return Vec::new();
        }
        self.leasing.proved = Some(ballot);
        vec![Input::Own(Command::Noop)]
    }

    /// A client says that its session is over. Answered once that is applied; or at once, if it
    /// was before.
    pub(super) fn admit_end(
        &mut self,
        client: ClientId,
        outputs: &mut Vec<Output>,
    ) -> Option<Input> {
        let sessions = self.executor.sessions();
        if sessions.has_ended(client) {
            outputs.push(Output::Ended(client));
            return None;
        }
        if sessions.last(client).is_none() || self.replica.tenure().is_none() {
            return Some(self.ask(Asked::Alive(client, 0)));
        }
        if !self.counts_leases() {
            outputs.push(Output::Rejected(client, RequestNumber(0), Refusal::Busy));
            return None;
        }
        let is_news = self.leasing.leases.begin_end(client);
        is_news.then_some(Input::Own(Command::End(client)))
    }

    /// A quorum has said that this node led when the keep-alive arrived.
    pub(super) fn answer_keep_alive(&mut self, client: ClientId, id: u64) -> Option<Output> {
        let Some(ttl_ms) = self.executor.sessions().ttl_ms(client) else {
            return Some(Output::Ended(client));
        };
        if !self.counts_leases() {
            return Some(Output::Rejected(client, RequestNumber(0), Refusal::Busy));
        }
        if self.leasing.leases.is_ending(client) {
            return None;
        }
        self.leasing.leases.renew(client, ttl_ms);
        Some(Output::Alive { client, id })
    }

    /// How many milliseconds a session has left, at a leader that counts.
    pub(super) fn lease_left(&self, session: ClientId) -> Result<Option<u64>, Refusal> {
        if self.counts_leases() {
            Ok(self.leasing.leases.left(session))
        } else {
            Err(Refusal::Busy)
        }
    }

    /// Whether leases are counted in the leadership that this node holds.
    fn counts_leases(&self) -> bool {
        self.proved_office().is_some()
    }

    /// The leadership that this node holds, if it is proved.
    pub(super) fn proved_office(&self) -> Option<Ballot> {
        let office = self.replica.tenure()?.ballot;
        (self.leasing.leases.office() == Some(office)).then_some(office)
    }
}
