//! Who votes in a run, and what clocks show: a part of its weather.

use fastrand::Rng;

use super::weather::{Weather, length, share};

/// Who votes, in polls that close by themselves or by hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polling {
    /// Voters.
    pub voters: u16,
    /// The mean time between a voter's turns.
    pub turn_ticks: u64,
    /// The time to live of a voter's session.
    pub ttl_ticks: u64,
    /// The share of turns in which a voter opens a poll.
    pub opens: f64,
    /// The share of polls that have a deadline.
    pub timed: f64,
    /// How long such a poll lasts at most.
    pub for_ticks: u64,
    /// The share of turns in which a voter closes a poll by hand.
    pub closes: f64,
    /// The share in which it answers a poll, whether that has its answer, asks it, or is closed.
    pub changes: f64,
    /// The share of looks at an open poll after which a voter does not answer, while there are
    /// faults.
    pub silent: f64,
    /// The share of a voter's turns in which it is killed.
    pub crashes: f64,
    /// The share of lines that are torn: it is killed while it writes.
    pub torn: f64,
    /// The share of a voter's turns in which it ends its session.
    pub ends: f64,
    /// The share of turns in which requests go by any node.
    pub posts: f64,
    /// The share of voters that are killed when the faults stop, and do not come back.
    pub left_behind: f64,
    /// Whether those that are left close all polls at the end.
    pub tidies: bool,
    /// So far from the truth is what the clock of a node shows, at most, before or behind.
    pub skew_ticks: u64,
    /// So many sixteenths too fast or too slow are these clocks, at most.
    pub drift: u64,
    /// The share of looks at the clock before which somebody sets it to another time.
    pub steps: f64,
}

/// Out of so many seeds, there are polls in one.
const EVERY: u8 = 4;

impl Polling {
    /// Nobody votes.
    pub const NONE: Polling = Polling {
        voters: 0,
        turn_ticks: 1,
        ttl_ticks: 1,
        opens: 0.0,
        timed: 0.0,
        for_ticks: 1,
        closes: 0.0,
        changes: 0.0,
        silent: 0.0,
        crashes: 0.0,
        torn: 0.0,
        ends: 0.0,
        posts: 0.0,
        left_behind: 0.0,
        tidies: true,
        skew_ticks: 0,
        drift: 0,
        steps: 0.0,
    };

    /// Polls as in any run, if nothing goes wrong.
    #[must_use]
    pub fn calm(voters: u16, election_ticks: u64) -> Polling {
        Polling {
            voters,
            turn_ticks: 1 + election_ticks / 4,
            ttl_ticks: election_ticks * 8,
            opens: 0.3,
            timed: 0.5,
            for_ticks: election_ticks * 4,
            closes: 0.05,
            changes: 0.1,
            silent: 0.3,
            ..Polling::NONE
        }
    }

    /// Drawn apart, so that all else is as it would be without.
    pub(super) fn draw(seed: u64, weather: &Weather) -> Polling {
        let rng = &mut Rng::with_seed(seed ^ 0x0B0A_2D5A);
        if rng.u8(0..EVERY) > 0 {
            return Polling::NONE;
        }
        let election_ticks = weather.election_ticks;
        let turn_ticks = election_ticks / 8 + length(rng, election_ticks);
        Polling {
            voters: rng.u16(1..=4),
            turn_ticks,
            // Who goes on for ever to lose its session keeps others from coming to an end.
            ttl_ticks: turn_ticks * 8 + length(rng, election_ticks * 28),
            opens: 0.1 + share(rng, 0.6),
            timed: rng.f64(),
            for_ticks: length(rng, election_ticks * 12),
            closes: share(rng, 0.2),
            changes: share(rng, 0.3),
            silent: share(rng, 0.8),
            crashes: share(rng, 0.1),
            torn: share(rng, 0.3),
            ends: share(rng, 0.05),
            posts: share(rng, 1.0),
            left_behind: share(rng, 1.0),
            tidies: rng.bool(),
            skew_ticks: if rng.bool() { 0 } else { length(rng, election_ticks * 8) },
            drift: if rng.bool() { 0 } else { 1 },
            steps: share(rng, 0.01),
        }
    }
}
