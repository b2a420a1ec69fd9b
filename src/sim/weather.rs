//! The weather of one run: which faults happen, and how often. Drawn from the seed.

use fastrand::Rng;

/// Sizes and intensities. Shares are out of 1.0; times are ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// Members of the cluster.
    pub members: u16,
    /// The election timeout.
    pub election_ticks: u64,
    /// The share of messages between nodes that are lost.
    pub loss: f64,
    /// The share that arrive twice, the second time much later.
    pub duplicates: f64,
    /// The longest a message takes.
    pub delay_ticks: u64,
    /// The mean time between crashes of nodes; 0 is never.
    pub crash_ticks: u64,
    /// The longest a crashed node stays away.
    pub restart_ticks: u64,
    /// The share of commits in which the node crashes: before, amid or after the write.
    pub crash_in_commit: f64,
    /// Clients.
    pub clients: u16,
    /// The mean time between a client's requests.
    pub request_ticks: u64,
    /// The mean time between orders to leave slots empty; 0 is never.
    pub skip_ticks: u64,
    /// How long the faults last.
    pub storm_ticks: u64,
}

impl Weather {
    /// Weather as this seed draws it.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Weather {
        let election_ticks = 16 << rng.u64(0..5);
        let rarely = |rng: &mut Rng, most: f64| if rng.bool() { 0.0 } else { rng.f64() * most };
        let mean = |rng: &mut Rng, scale: u64| match rng.u8(0..4) {
            0 => 0,
            _ => scale / 4 + rng.u64(0..=scale * 4),
        };
        Weather {
            members: *rng.choice(&[1, 2, 3, 3, 3, 4, 5, 5, 7]).unwrap_or(&3),
            election_ticks,
            loss: rarely(rng, 0.4),
            duplicates: rarely(rng, 0.3),
            delay_ticks: 1 + rng.u64(0..=election_ticks / 3),
            crash_ticks: mean(rng, election_ticks * 4),
            restart_ticks: 1 + rng.u64(0..=election_ticks * 4),
            crash_in_commit: rarely(rng, 0.05),
            clients: rng.u16(1..=4),
            request_ticks: 1 + rng.u64(0..=election_ticks / 2),
            skip_ticks: if rng.u8(0..4) == 0 { mean(rng, election_ticks * 4) } else { 0 },
            storm_ticks: election_ticks * 60,
        }
    }
}
