//! Who holds something in a run, and for how long: a part of its weather.

use fastrand::Rng;

use super::weather::{Weather, length, share};

/// Who holds something, in a session that ends when it is silent for too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tenancy {
    /// Holders.
    pub holders: u16,
    /// The shortest time to live of a session.
    pub ttl_ticks_min: u64,
    /// The longest.
    pub ttl_ticks_max: u64,
    /// So many times too fast are clocks of nodes, at most.
    pub fastest: u64,
    /// The share of turns in which somebody asks for more.
    pub busy: f64,
    /// The share of turns in which requests go by any node.
    pub posts: f64,
    /// The share of a holder's turns in which it dies.
    pub dies: f64,
    /// In which it ends its session.
    pub ends: f64,
    /// In which it is stopped for a while.
    pub stops: f64,
    /// The share of holders that die when the faults stop.
    pub left_behind: f64,
    /// The share of ends that outlive the leaders which proposed them.
    pub orphans: f64,
}

impl Tenancy {
    /// Nobody holds anything.
    pub const NONE: Tenancy = Tenancy {
        holders: 0,
        ttl_ticks_min: 1,
        ttl_ticks_max: 1,
        fastest: 1,
        busy: 1.0,
        posts: 0.0,
        dies: 0.0,
        ends: 0.0,
        stops: 0.0,
        left_behind: 0.0,
        orphans: 0.0,
    };

    /// In one seed of two; drawn apart, so that all else is as it would be without.
    pub(super) fn draw(seed: u64, weather: &Weather) -> Tenancy {
        let rng = &mut Rng::with_seed(seed ^ 0x7E4A);
        if rng.bool() {
            return Tenancy::NONE;
        }
        let election_ticks = weather.election_ticks;
        let ttl_ticks_min = election_ticks * 2;
        Tenancy {
            holders: rng.u16(1..=4),
            ttl_ticks_min,
            ttl_ticks_max: ttl_ticks_min + length(rng, election_ticks * 28),
            fastest: if weather.process.drift { 4 } else { 1 },
            // Where nobody asks for anything, nothing is decided, unless a leader sees to it.
            busy: if rng.bool() { 1.0 } else { share(rng, 0.3) },
            posts: share(rng, 1.0),
            dies: share(rng, 0.1),
            ends: share(rng, 0.1),
            stops: share(rng, 0.2),
            left_behind: share(rng, 1.0),
            orphans: share(rng, 1.0),
        }
    }
}
