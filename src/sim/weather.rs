//! The weather of one run: which faults happen, and how hard. Drawn from the seed.
//!
//! *Swarm testing* (Groce et al. 2012): each seed draws its own subset of the faults, and the
//! intensity of each over two orders of magnitude. Uniform faults find little: a run in which
//! everything happens at an even rate never gets far enough for anything rare to matter.
//!
//! Shares are out of 1.0; times are ticks, of which a node takes each for a millisecond; a time of
//! 0 between faults means never.

use fastrand::Rng;

use super::linear;
pub use super::polling::Polling;
pub use super::tenancy::Tenancy;
use crate::paxos::NodeId;

/// Sizes and intensities.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// Members of the cluster.
    pub members: u16,
    /// Those that are witnesses: ever fewer than half.
    pub witnesses: Vec<u16>,
    /// The election timeout.
    pub election_ticks: u64,
    /// How long the faults last.
    pub storm_ticks: u64,
    /// Who asks for what.
    pub load: Load,
    /// Who holds something, and for how long.
    pub tenancy: Tenancy,
    /// Who votes, and what clocks show.
    pub polling: Polling,
    /// What happens to messages.
    pub network: Network,
    /// What happens to processes and their clocks.
    pub process: Process,
    /// What happens to disks.
    pub disk: Disk,
    /// A snapshot is taken each time so many slots are applied; 0 is never.
    pub snapshot_slots: u64,
    /// So many slots stay in the log below the older snapshot, at most: each node has its own
    /// number each time it starts.
    pub margin_slots: u64,
    /// Bytes in a chunk of a transfer.
    pub chunk_bytes: u64,
    /// States are compared each time so many slots are applied.
    pub checkpoint_slots: u64,
    /// A witness whose log is longer gets a copy of a snapshot.
    pub witness_log_slots: u64,
}

/// Who asks for what.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Clients.
    pub clients: u16,
    /// The mean time between a client's turns.
    pub request_ticks: u64,
    /// Requests that a client has unanswered at most.
    pub in_flight: u64,
    /// The share of turns in which a client also reads.
    pub reads: f64,
    /// The mean time between a client's crashes.
    pub crash_ticks: u64,
    /// Runs that a leader has in flight at most.
    pub window_runs: usize,
    /// The mean time between orders to leave slots empty.
    pub skip_ticks: u64,
    /// Slots that the primary of the first view leaves out.
    pub skip_slots: Vec<u64>,
}

/// What happens to messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The longest that a message takes, when nothing is wrong.
    pub delay_ticks: u64,
    /// The share of messages that are lost.
    pub loss: f64,
    /// The share that arrive once more, much later.
    pub duplicates: f64,
    /// The share of Promises and votes that are held, and arrive once more very much later.
    pub held: f64,
    /// The mean time between cuts of links.
    pub cut_ticks: u64,
    /// How long a cut lasts at most.
    pub heal_ticks: u64,
    /// Whether cuts may go one way only.
    pub one_way: bool,
    /// The mean time between links that clog: nothing is lost, all of it comes at the end.
    pub clog_ticks: u64,
    /// The mean time between leaders that are cut off, and do not know it.
    pub depose_ticks: u64,
    /// The share of questions to which an answer comes again that was given in another ballot.
    pub kept: f64,
}

/// What happens to processes and their clocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// The mean time between crashes.
    pub crash_ticks: u64,
    /// How long a crashed node stays away at most.
    pub restart_ticks: u64,
    /// The share of crashes that hit every node at once.
    pub all: f64,
    /// The share of Prepares, of questions for what is decided, and of questions and answers of a
    /// transfer, right after which their sender crashes.
    pub crash_after_question: f64,
    /// The mean time between pauses of a node.
    pub pause_ticks: u64,
    /// How long a pause lasts at most.
    pub paused_ticks: u64,
    /// The mean time between nodes that stay away for long.
    pub away_ticks: u64,
    /// Whether clocks run fast and slow, up to fourfold.
    pub drift: bool,
    /// The mean time between jumps of a node's clock.
    pub jump_ticks: u64,
    /// The mean time between clocks that stand still.
    pub stop_ticks: u64,
    /// The mean time between stores that are lost.
    pub wipe_ticks: u64,
    /// The mean time between replicas that come back when another's store is lost.
    pub forsake_ticks: u64,
    /// The mean time between stores that are rolled back.
    pub roll_back_ticks: u64,
    /// The share of starts, of a minority, soon after which a bit flips in the state machine.
    pub flips: f64,
}

/// What happens to disks.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    /// The share of commits in which the power goes: before, amid or after the write.
    pub power: f64,
    /// The share of commits that fail, and leave some of what was to be written.
    pub failing: f64,
    /// The share of commits that stall.
    pub stalls: f64,
    /// How long a stalled commit takes at most.
    pub stalled_ticks: u64,
    /// How long every commit takes at most.
    pub commit_ticks: u64,
    /// Whether some disks are slower than others, up to tenfold.
    pub uneven: bool,
    /// The share of crashes after which something on the disk is not what was written.
    pub rot: f64,
    /// The share of pages of an archive of which a bit flips between the disk and the wire.
    pub flips: f64,
    /// The share of commits that do nothing, and say that all went well. No seed draws it: it is
    /// there to be caught.
    pub lies: f64,
}

/// How many election timeouts the faults last.
const STORM_ELECTIONS: u64 = 25;

/// One seed out of so many has a storm that lasts so many times as long: some 100,000 events.
const LONG_EVERY: u64 = 256;
const LONG_TIMES: u64 = 20;

/// Out of so many seeds, one draws a cluster of each of these sizes.
const SIZES: [u16; 16] = [1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7, 8, 9];

impl Weather {
    /// Weather as this seed draws it, for a cluster of `members` if that is given.
    #[must_use]
    pub fn draw(seed: u64, members: Option<u16>) -> Weather {
        let mut rng = Rng::with_seed(seed);
        let drawn = *rng.choice(&SIZES).expect("there are sizes");
        let election_ticks = 16 << rng.u64(0..8);
        let storms = if seed % LONG_EVERY == LONG_EVERY - 1 { LONG_TIMES } else { 1 };
        // Drawn apart, so that all else is as it would be without.
        let other = &mut Rng::with_seed(seed ^ 0xB175);
        let watch = &mut Rng::with_seed(seed ^ 0x0077_1725);
        let members = members.unwrap_or(drawn);
        let rng = &mut rng;
        let mut weather = Weather {
            members,
            witnesses: witnesses(watch, members),
            election_ticks,
            storm_ticks: election_ticks * STORM_ELECTIONS * storms,
            load: Load::draw(rng, election_ticks),
            tenancy: Tenancy::NONE,
            polling: Polling::NONE,
            network: Network::draw(rng, election_ticks),
            process: Process { flips: flips(other), ..Process::draw(rng, election_ticks) },
            disk: Disk::draw(rng, election_ticks),
            snapshot_slots: if rng.u8(0..4) == 0 { 0 } else { length(rng, 50) },
            margin_slots: length(rng, 50),
            chunk_bytes: length(rng, 4096),
            checkpoint_slots: length(other, 32),
            witness_log_slots: length(watch, 100),
        };
        if !weather.witnesses.is_empty() {
            weather.process.forsake_ticks = mean(watch, election_ticks * 8);
        }
        // Drawn last: seeds that found something keep the weather in which they did.
        weather.disk.flips = share(rng, 0.3);
        weather.tenancy = Tenancy::draw(seed, &weather);
        weather.polling = Polling::draw(seed, &weather);
        weather
    }

    /// Whether this member is a witness.
    #[must_use]
    pub fn is_witness(&self, node: NodeId) -> bool {
        self.witnesses.contains(&node.0)
    }

    /// How many are none.
    #[must_use]
    pub fn replicas(&self) -> u16 {
        self.members - self.witnesses.len() as u16
    }

    /// No faults at all: messages take a little while, and that is it.
    #[must_use]
    pub fn calm(members: u16, election_ticks: u64) -> Weather {
        Weather {
            members,
            witnesses: Vec::new(),
            election_ticks,
            storm_ticks: election_ticks * STORM_ELECTIONS,
            load: Load {
                clients: 3,
                request_ticks: 1 + election_ticks / 8,
                in_flight: 3,
                reads: 0.2,
                crash_ticks: 0,
                window_runs: 4,
                skip_ticks: 0,
                skip_slots: Vec::new(),
            },
            tenancy: Tenancy::NONE,
            polling: Polling::NONE,
            network: Network {
                delay_ticks: 1 + election_ticks / 16,
                loss: 0.0,
                duplicates: 0.0,
                held: 0.0,
                cut_ticks: 0,
                heal_ticks: 0,
                one_way: false,
                clog_ticks: 0,
                depose_ticks: 0,
                kept: 0.0,
            },
            process: Process {
                crash_ticks: 0,
                restart_ticks: 0,
                all: 0.0,
                crash_after_question: 0.0,
                pause_ticks: 0,
                paused_ticks: 0,
                away_ticks: 0,
                drift: false,
                jump_ticks: 0,
                stop_ticks: 0,
                wipe_ticks: 0,
                forsake_ticks: 0,
                roll_back_ticks: 0,
                flips: 0.0,
            },
            disk: Disk {
                power: 0.0,
                failing: 0.0,
                stalls: 0.0,
                stalled_ticks: 0,
                commit_ticks: 0,
                uneven: false,
                rot: 0.0,
                flips: 0.0,
                lies: 0.0,
            },
            snapshot_slots: 0,
            margin_slots: 0,
            chunk_bytes: 1,
            checkpoint_slots: 8,
            witness_log_slots: 0,
        }
    }
}

/// A share up to `most`, over two orders of magnitude, or none: one time in two.
pub(super) fn share(rng: &mut Rng, most: f64) -> f64 {
    if rng.bool() { 0.0 } else { most * 10f64.powf(-2.0 * rng.f64()) }
}

/// A mean time between faults, over two orders of magnitude around `scale`, or never: one time in
/// two.
fn mean(rng: &mut Rng, scale: u64) -> u64 {
    if rng.bool() { 0 } else { 1 + (scale as f64 * 10f64.powf(2.0 * rng.f64() - 1.0)) as u64 }
}

/// A length of up to so many ticks, over two orders of magnitude.
pub(super) fn length(rng: &mut Rng, most: u64) -> u64 {
    1 + (most as f64 * 10f64.powf(-2.0 * rng.f64())) as u64
}

/// Fewer than half of the members; none, three times in four.
fn witnesses(rng: &mut Rng, members: u16) -> Vec<u16> {
    let most = (members - 1) / 2;
    if most == 0 || rng.u8(0..4) > 0 {
        return Vec::new();
    }
    let count = rng.u16(1..=most);
    let mut chosen = rng.choose_multiple(0..members, count.into());
    chosen.sort_unstable();
    chosen
}

/// The share of starts after which a bit flips: none, fifteen times in sixteen.
fn flips(rng: &mut Rng) -> f64 {
    if rng.u8(0..16) == 0 { 0.3 + 0.7 * rng.f64() } else { 0.0 }
}

/// Up to three of the first slots; none, seven times in eight.
fn skip_slots(rng: &mut Rng) -> Vec<u64> {
    let count = if rng.u8(0..8) == 0 { rng.usize(1..=3) } else { 0 };
    (0..count).map(|_| rng.u64(0..12)).collect()
}

impl Load {
    fn draw(rng: &mut Rng, election_ticks: u64) -> Load {
        let clients = rng.u16(1..=4);
        Load {
            clients,
            // Down to a sixteenth: a client that asks more often asks the same again.
            request_ticks: election_ticks / 16 + length(rng, election_ticks),
            // With a read each, no more than a search for an order can judge.
            in_flight: rng.u64(1..(linear::WIDTH_MAX as u64 / u64::from(clients)).max(2)),
            reads: share(rng, 10.0).min(1.0),
            crash_ticks: mean(rng, election_ticks * 8),
            window_runs: rng.usize(1..=4),
            skip_ticks: if rng.u8(0..4) == 0 { mean(rng, election_ticks * 4) } else { 0 },
            skip_slots: skip_slots(rng),
        }
    }
}

impl Network {
    fn draw(rng: &mut Rng, election_ticks: u64) -> Network {
        Network {
            delay_ticks: length(rng, election_ticks / 2),
            loss: share(rng, 0.5),
            duplicates: share(rng, 0.3),
            held: share(rng, 0.3),
            cut_ticks: mean(rng, election_ticks * 4),
            heal_ticks: length(rng, election_ticks * 16),
            one_way: rng.bool(),
            clog_ticks: mean(rng, election_ticks * 4),
            depose_ticks: mean(rng, election_ticks * 8),
            kept: share(rng, 1.0),
        }
    }
}

impl Process {
    fn draw(rng: &mut Rng, election_ticks: u64) -> Process {
        Process {
            crash_ticks: mean(rng, election_ticks * 4),
            restart_ticks: length(rng, election_ticks * 8),
            all: share(rng, 0.5),
            crash_after_question: share(rng, 0.5),
            pause_ticks: mean(rng, election_ticks * 8),
            paused_ticks: length(rng, election_ticks * 8),
            away_ticks: if rng.u8(0..3) == 0 { mean(rng, election_ticks * 4) } else { 0 },
            drift: rng.u8(0..4) == 0,
            jump_ticks: if rng.u8(0..4) == 0 { mean(rng, election_ticks * 8) } else { 0 },
            stop_ticks: mean(rng, election_ticks * 8),
            wipe_ticks: if rng.u8(0..3) == 0 { mean(rng, election_ticks * 4) } else { 0 },
            roll_back_ticks: if rng.u8(0..3) == 0 { mean(rng, election_ticks * 4) } else { 0 },
            forsake_ticks: 0,
            flips: 0.0,
        }
    }
}

impl Disk {
    fn draw(rng: &mut Rng, election_ticks: u64) -> Disk {
        Disk {
            power: share(rng, 0.1),
            failing: share(rng, 0.02),
            stalls: share(rng, 0.05),
            stalled_ticks: length(rng, election_ticks * 4),
            commit_ticks: if rng.bool() { 0 } else { length(rng, election_ticks / 8) },
            uneven: rng.bool(),
            rot: if rng.u8(0..3) == 0 { share(rng, 0.5) } else { 0.0 },
            flips: 0.0,
            lies: 0.0,
        }
    }
}
