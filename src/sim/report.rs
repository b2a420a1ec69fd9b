//! What a run came to, in numbers.

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that happened.
    pub events: u64,
    /// Ticks that passed.
    pub ticks: u64,
    /// Slots decided.
    pub decided: u64,
    /// Requests answered.
    pub answered: u64,
    /// Reads answered.
    pub reads: u64,
    /// Locks granted.
    pub grants: u64,
    /// Requests for locks refused as they would have waited for themselves.
    pub deadlocks: u64,
    /// Polls closed.
    pub polls: u64,
    /// Results of polls that voters wrote down.
    pub results: u64,
    /// Sessions ended.
    pub ended: u64,
    /// Crashes.
    pub crashes: u64,
    /// Nodes that found their disk damaged, and stayed away.
    pub refused: u64,
    /// Logs that were cut off below a snapshot.
    pub trims: u64,
    /// Snapshots of others that took the place of a log.
    pub installs: u64,
    /// Copies of snapshots that witnesses kept.
    pub copies: u64,
    /// Entries of archives that came from others.
    pub fetched: u64,
    /// Those that a restarted node found on its shelf, and did not ask for once more.
    pub regained: u64,
    /// Nodes that stopped because their state was not that of the others.
    pub stopped: u64,
    /// Logs that were damaged in the middle, and mended.
    pub mended: u64,
    /// Stores that took the place of lost ones.
    pub replaced: u64,
    /// How many of these came to vote.
    pub rejoined: u64,
    /// Stores that were rolled back, and found out.
    pub found_out: u64,
    /// Whether more disks were lost than the cluster can bear: then nothing need be decided.
    pub lost: bool,
    /// Histories that were not searched for an order: too much of them was concurrent.
    pub unjudged: u64,
    /// A hash over all that happened: equal for equal seeds.
    pub trace: u64,
}
