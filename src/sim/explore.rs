//! Exhaustive search of a small world: every interleaving of a few events, none left out.
//!
//! A seed tries one schedule of a large world; this tries all schedules of a world so small that
//! they can be counted. The nodes are the real ones, on disks in memory. An **event** is: a message
//! in flight arrives (any of them, whatever was sent before it), a node campaigns, a client's
//! request reaches a node that leads, a node crashes and starts again. A crash also comes in the
//! midst of any other event: then what claims nothing has left, a prefix of the commit's records is
//! on disk, and the rest never was. Campaigns, requests, crashes and losses have a budget.
//!
//! A **state** is where each node is, what is in flight, what is left of the budgets, and what was
//! ever decided by anybody, dead or alive. The search is depth first and visits each state once.
//! After every event it asks A1 to A5, L1, L2, R1, R2 and R4 of
//! [`invariants`](crate::paxos::invariants), and laws of its own: whatever leaves and claims
//! something is on disk, a campaign's ballot is fresh, a decision is on a quorum's disks, no
//! request is decided twice.
//!
//! # How a hundred million states fit
//!
//! A node has few moments and says few things, so states are a handful of numbers: see `atlas`.
//! Time is no event: a tick comes only with a campaign, and outlasts every timer; so clocks and
//! timers are no part of a node's essence (`Replica::essence`). And some of what could happen need
//! not be tried, because the laws ask of nodes and of what they send, never of what lies in flight,
//! and because no message ever *has* to arrive:
//!
//! - **Losses.** What happens after a loss can also happen with the lost message in flight for
//!   ever. A search without losses meets the same nodes as one with any number of them. That a
//!   crash came after a commit, but before what rests on it left, is such a loss, too.
//! - **Events without effect.** A message that changes nothing where it arrives may as well wait.
//! - **Spent messages** (`Atlas::is_spent`) are those that can change nothing any more, now or
//!   later, and are dropped at once. A ballot is *over* when its owner has no office in it, since
//!   no node takes a ballot twice (a law, see above); a node *refuses* it when it has promised a
//!   higher one, on disk, for ever. Votes, refusals and requests to resend are for the office in
//!   their ballot; when it is over, nobody reads them. A Prepare or an Accept that is refused only
//!   draws a refusal, which nobody reads if the ballot is over. A watermark decides nothing where
//!   the durable mark is as high, nor where its ballot is refused and nothing above the mark was
//!   accepted in it.
//! - **Names.** Clients are numbered in the order of their first requests.
//!
//! Tests compare the first three with a search that does without, and that asks two nodes of one
//! essence wherever it has met two.
//!
//! # What this world is not
//!
//! In some ways it is worse than any real one: links keep no order, messages survive the crash of
//! their receiver, and a canvass is answered with yes whenever that helps (answers bind nobody, so
//! safety may not rest on them). In others it is smaller: one input a commit, no heartbeats, no
//! retransmission, no reads, no deliberate holes, no trimming, no replaced stores. The seeds are
//! for those.

mod atlas;
mod laws;
mod moment;
mod search;
mod seen;
mod state;

use std::fmt;

use self::search::Search;
use crate::paxos::invariants::Broken;

/// The most nodes a world can have.
const NODES_MAX: usize = 5;

/// What may happen in a world, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    /// Nodes, from 2 to 5.
    pub members: u16,
    /// Campaigns, of any node at any time.
    pub campaigns: u8,
    /// Requests, to any node that leads.
    pub commands: u8,
    /// Crashes, of any node at any time, also in the midst of a commit.
    pub crashes: u8,
    /// Runs that a leader has in flight at a time.
    pub window: u8,
    /// Messages that are lost. With 0 all that any number of losses could do is searched.
    pub losses: u8,
    /// Whether any message may arrive any number of times.
    pub duplicates: bool,
}

impl World {
    /// Two campaigns, a request and a crash: 170 thousand states, in seconds.
    pub const SMALL: World = World {
        members: 3,
        campaigns: 2,
        commands: 1,
        crashes: 1,
        window: 1,
        losses: 0,
        duplicates: false,
    };

    /// Three campaigns and two requests, one run in flight at a time: what is accepted in two
    /// ballots meets in a third. 170 million states, 8 minutes on one core, 6 GB of memory.
    pub const DUEL: World = World { campaigns: 3, commands: 2, crashes: 0, ..World::SMALL };

    /// Two campaigns, two requests and a crash: 131 million states, 7 minutes on one core, 6 GB of
    /// memory.
    pub const FULL: World = World { commands: 2, window: 16, ..World::SMALL };
}

/// What a search came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct states of the world.
    pub states: u64,
    /// Steps between them.
    pub transitions: u64,
    /// The most events in a row.
    pub depth: u64,
    /// Distinct states of single nodes.
    pub moments: u64,
    /// Distinct messages.
    pub letters: u64,
    /// Distinct states of all nodes together, whatever is in flight.
    pub constellations: u64,
    /// The most slots that were decided.
    pub decided: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { states, transitions, depth, moments, letters, constellations, decided } = self;
        write!(f, "{states} states, {transitions} transitions, {depth} deep; {moments} moments, ")?;
        write!(f, "{letters} letters, {constellations} constellations, {decided} slots decided")
    }
}

/// A schedule that breaks an invariant.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{broken}\nafter {} states, by this schedule:\n{}", counts.states, schedule.join("\n"))]
pub struct Counterexample {
    /// What broke.
    pub broken: Broken,
    /// The events that led there, one a line.
    pub schedule: Vec<String>,
    /// What had been searched by then.
    pub counts: Counts,
}

/// Searches all of a world.
///
/// # Errors
///
/// The first schedule that breaks an invariant.
///
/// # Panics
///
/// If the world has fewer than 2 or more than 5 nodes.
pub fn run(world: &World) -> Result<Counts, Box<Counterexample>> {
    run_telling(world, |_| ())
}

/// As [`run`], and tells the counts now and then.
///
/// # Errors
///
/// As [`run`].
///
/// # Panics
///
/// As [`run`].
pub fn run_telling(
    world: &World,
    mut tell: impl FnMut(&Counts),
) -> Result<Counts, Box<Counterexample>> {
    let trial = Trial { world: *world, keeps_all: false, is_lying: false };
    search(trial, &mut tell)
}

/// A world, and how it is searched: other than [`run`] does it in tests only.
#[derive(Clone, Copy, Debug)]
struct Trial {
    world: World,
    /// Whether to try what need not be tried, too.
    keeps_all: bool,
    /// Whether disks acknowledge what they do not hold.
    is_lying: bool,
}

fn search(trial: Trial, tell: &mut impl FnMut(&Counts)) -> Result<Counts, Box<Counterexample>> {
    let members = trial.world.members;
    assert!((2..=NODES_MAX as u16).contains(&members), "a world of 2 to 5 nodes");
    let mut search = Search::new(trial);
    match search.all(tell) {
        Ok(()) => Ok(search.counts()),
        Err(broken) => {
            let schedule = search.schedule();
            Err(Box::new(Counterexample { broken, schedule, counts: search.counts() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_CAMPAIGN: World = World { campaigns: 1, ..World::SMALL };

    fn searched(world: World) -> Counts {
        run(&world).unwrap_or_else(|found| panic!("{world:?}: {found}"))
    }

    fn thorough(world: World) -> Counts {
        let trial = Trial { world, keeps_all: true, is_lying: false };
        search(trial, &mut |_| ()).unwrap_or_else(|found| panic!("{world:?}: {found}"))
    }

    #[test]
    fn a_small_world_keeps_every_law() {
        let counts = searched(World::SMALL);
        assert!(counts.states > 100_000 && counts.decided == 1, "{counts:?}");
    }

    #[test]
    fn two_commands_of_one_leader_and_a_crash() {
        let counts = searched(World { commands: 2, ..ONE_CAMPAIGN });
        assert!(counts.states > 10_000 && counts.decided == 2, "{counts:?}");
    }

    #[test]
    fn messages_that_arrive_again_and_again() {
        let counts = searched(World { duplicates: true, ..ONE_CAMPAIGN });
        assert!(counts.states > 1000 && counts.decided == 1, "{counts:?}");
    }

    #[test]
    fn losses_lead_nowhere_else() {
        let calm = World { crashes: 0, ..World::SMALL };
        let losing = World { losses: 1, ..calm };
        let (counts, more) = (searched(calm), searched(losing));
        assert_eq!(counts.constellations, more.constellations);
        assert!(more.states > counts.states, "losses did happen: {more:?}");
    }

    #[test]
    fn what_is_not_tried_leads_nowhere_else() {
        let calm = World { crashes: 0, ..World::SMALL };
        let busy = World { commands: 2, campaigns: 1, ..calm };
        for world in [ONE_CAMPAIGN, calm, busy] {
            let (counts, more) = (searched(world), thorough(world));
            assert_eq!(counts.constellations, more.constellations);
            assert_eq!(counts.moments, more.moments);
            assert!(more.states > counts.states, "the thorough one tries more: {more:?}");
        }
    }

    #[test]
    fn a_disk_that_lies_is_caught() {
        let trial = Trial { world: ONE_CAMPAIGN, keeps_all: false, is_lying: true };
        let found = search(trial, &mut |_| ()).expect_err("promises without a record");
        assert_eq!(found.broken.invariant, "persist before send", "{found}");
        assert!(!found.schedule.is_empty());
    }

    #[test]
    #[ignore = "minutes, and gigabytes of memory: the world of two campaigns, commands, a crash"]
    fn the_full_world_keeps_every_law() {
        tell_all(World::FULL);
    }

    #[test]
    #[ignore = "minutes, and gigabytes of memory: three campaigns"]
    fn a_duel_of_three_campaigns_keeps_every_law() {
        tell_all(World::DUEL);
    }

    fn tell_all(world: World) {
        println!("{world:?}");
        let counts = run_telling(&world, |counts| println!("{counts}"));
        let counts = counts.unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(counts.decided, u64::from(world.commands));
    }
}
