//! Exhaustive search of a small world: every interleaving of a few events, none left out.
//!
//! DRAFT HEAD

mod atlas;
mod laws;
mod moment;
mod search;
mod seen;
mod state;

use self::search::Search;
use crate::paxos::invariants::Broken;

/// No world has more nodes.
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
    /// Messages that are lost.
    pub losses: u8,
    /// Whether any message may arrive any number of times.
    pub duplicates: bool,
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
    assert!((2..=NODES_MAX as u16).contains(&world.members), "a world of 2 to 5 nodes");
    let mut search = Search::new(*world);
    match search.all(&mut tell) {
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

    const TINY: World = World {
        members: 3,
        campaigns: 1,
        commands: 1,
        crashes: 0,
        window: 2,
        losses: 0,
        duplicates: false,
    };

    #[test]
    #[ignore = "measure"]
    #[expect(clippy::print_stdout, reason = "the counts are what it is for")]
    fn measure() {
        let var = |name: &str, or: u8| {
            std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(or)
        };
        let world = World {
            members: var("N", 3).into(),
            campaigns: var("CA", 1),
            commands: var("CO", 1),
            crashes: var("CR", 0),
            window: var("WI", 16),
            losses: var("LO", 0),
            duplicates: var("DU", 0) > 0,
        };
        match run_telling(&world, |counts| println!("{counts:?}")) {
            Ok(counts) => println!("{world:?}: {counts:?}"),
            Err(found) => panic!("{found}"),
        }
    }

    #[test]
    fn tiny() {
        let counts = run(&TINY).unwrap_or_else(|found| panic!("{found}"));
        assert!(counts.decided > 0, "{counts:?}");
    }
}
