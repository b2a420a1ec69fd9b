//! What a log may forget, and how a replica goes on that has missed what others forgot.
//!
//! A slot may go from the log once it is decided here and a snapshot at or above it is durable: the
//! node around this replica sees to that, for it owns the snapshots, and says so ([`Input::Trim`]).
//! Around a witness, it waits until enough others have said so (`holding`).
//! Nothing else is ever forgotten: the record of the trim restates promise, mark, chain of runs and
//! incarnations, and is on disk before the first of the others goes.
//!
//! A replica whose next slot is gone from a peer's log is *stranded*: only a snapshot helps it. It
//! votes for nothing new meanwhile, as always when it lacks what lies below, and leaves office to
//! others, who need not wait for it.
//!
//! [`Input::Trim`]: super::Input::Trim

use super::ballot::Slot;
use super::durable::Effects;
use super::replica::Replica;

/// How many election timeouts a node that needs a snapshot leaves it to others to lead: after
/// that, what it heard of their logs may no longer be so.
const STRANDED_ELECTIONS: u64 = 4;

impl Replica {
    /// Whether what is missing here can only come as a snapshot.
    #[must_use]
    pub fn is_stranded(&self) -> bool {
        self.learner.is_stranded(self.now, self.config.timing.election_ticks * STRANDED_ELECTIONS)
    }

    /// What lies below goes from the log, as far as it is decided on this disk.
    pub(super) fn on_trim(&mut self, below: Slot, fx: &mut Effects) {
        let state = &mut self.acceptor.state;
        let below = below.min(state.mark()).min(self.learner.decided());
        if state.trimmed() < below {
            state.trim(below).into_iter().for_each(|record| fx.record(state, record));
        }
    }

    /// A peer's snapshot took the place of the log below this slot, here or with a quorum.
    pub(super) fn on_install(&mut self, below: Slot, fx: &mut Effects) {
        if self.learner.decided() >= below {
            return;
        }
        // A leader learns from others only what lies below its first slot.
        self.step_down(fx);
        let state = &mut self.acceptor.state;
        state.trim(below).into_iter().for_each(|record| fx.record(state, record));
        self.learner.on_installed(below);
        self.learner.pass_held(state, self.applied, fx);
    }
}
