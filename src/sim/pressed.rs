//! A witness whose log is to be let go of while a replica is away; and then the other replica is
//! lost. Nothing that was decided is.

use super::trace::Ears;
use super::weather::Weather;
use super::world::World;
use crate::paxos::{AcceptorState, NodeId, Slot};
use crate::rsm::Keep;

/// The replica that works with the witness, and is lost.
const LOST: NodeId = NodeId(0);

/// The one that is away meanwhile.
const AWAY: NodeId = NodeId(1);

const WITNESS: NodeId = NodeId(2);

/// Slots that are decided while it is away.
const MISSED: u64 = 300;

/// The witness' log may hold so many slots.
const LOG_SLOTS: u64 = 60;

/// More than it ever does: with two snapshots, the margin, and what comes until a copy is durable.
const HELD_MAX: u64 = 180;

/// Two replicas and a witness, and no faults; one replica is away until the other has decided much
/// with the witness alone.
fn pressed(seed: u64, log_slots: u64) -> World {
    let mut world = begun(seed, log_slots);
    world.crash_for(AWAY, "stays away", u64::MAX / 2);
    decided(world, MISSED)
}

/// The same, where nobody is away.
fn well(seed: u64) -> World {
    decided(begun(seed, MISSED), MISSED)
}

fn begun(seed: u64, log_slots: u64) -> World {
    let mut weather = Weather::calm(3, 64);
    weather.witnesses = vec![WITNESS.0];
    weather.load.request_ticks = 4;
    (weather.snapshot_slots, weather.margin_slots, weather.chunk_bytes) = (20, 10, 4096);
    weather.witness_log_slots = log_slots;
    decided(World::new(seed, weather, Ears::default()), 30)
}

/// Until so many slots are decided.
fn decided(mut world: World, slots: u64) -> World {
    while world.checks.decided() < slots {
        world.next();
    }
    world
}

/// What the witness' log holds.
fn held(world: &World) -> (Slot, Slot) {
    world.disk(WITNESS).inspect(|image: &AcceptorState| (image.trimmed(), image.mark()))
}

/// One of the replicas is back, the other's store is lost, and all goes on.
fn goes_on(mut world: World) {
    let decided = world.checks.decided();
    world.crash_for(LOST, "for good", u64::MAX / 2);
    world.restart(AWAY);
    while world.machine(AWAY).node.as_ref().is_none_or(|node| node.applied().0 < decided) {
        world.next();
    }
    world.replace(LOST, false);
    world.calm();
    let report = world.judge();
    assert!(report.replaced == 1 && !report.lost, "{report:?}");
    assert!(report.decided >= decided, "{report:?}");
}

/// Red if the witness lets go of what one replica holds alone, or takes no copy, or does not hand
/// it on.
#[test]
fn a_copy_takes_the_place_of_the_log_and_outlives_the_last_replica() {
    for seed in 0..10 {
        let world = pressed(seed, LOG_SLOTS);
        let (trimmed, mark) = held(&world);
        let copies = world.report.copies;
        assert!(copies >= 2, "seed {seed}: {copies} copies");
        assert!(mark.since(trimmed) < HELD_MAX, "seed {seed}: the log holds {trimmed}..{mark}");
        goes_on(world);
    }
}

/// Red if it lets go of anything that one replica holds alone.
#[test]
fn where_there_is_room_the_log_is_kept() {
    for seed in 0..10 {
        let world = pressed(seed, u64::MAX);
        let (trimmed, _) = held(&world);
        assert!(trimmed < Slot(30), "seed {seed}: it lost all below {trimmed}");
        assert_eq!(world.report.copies, 0, "seed {seed}");
        goes_on(world);
    }
}

/// Red if it keeps for ever what both replicas hold, applies anything, or takes snapshots.
#[test]
fn while_all_are_well_the_log_is_short_and_there_is_nothing_else() {
    for seed in 0..10 {
        let mut world = well(seed);
        world.calm();
        let (trimmed, mark) = held(&world);
        assert!(mark.since(trimmed) < HELD_MAX, "seed {seed}: the log holds {trimmed}..{mark}");
        let witness = world.machine(WITNESS);
        let kept = witness.shelf.kept().expect("a simulated shelf can be read");
        let applied = witness.node.as_ref().map(super::machine::Running::applied);
        assert_eq!((kept.len(), applied), (0, Some(Slot(0))), "seed {seed}");
        let report = world.judge();
        assert_eq!(report.copies, 0, "seed {seed}");
    }
}

/// Red if it fetches what it will never look at, or waits for what its peers' logs do not have.
#[test]
fn a_witness_on_a_new_store_begins_where_the_others_hold_what_was() {
    let mut copies = 0;
    for seed in 0..10 {
        let mut world = well(seed);
        world.replace(WITNESS, false);
        world.calm();
        let (trimmed, mark) = held(&world);
        assert!(trimmed > Slot(100), "seed {seed}: the log holds {trimmed}..{mark}");
        let report = world.judge();
        assert_eq!(report.replaced, 1, "seed {seed}");
        copies += report.copies;
    }
    // Whoever is asked first may have let go of more than the other.
    assert!(copies <= 2, "{copies} copies");
}
