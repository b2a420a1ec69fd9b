//! What happens to the values on a disk, while nobody looks.

use std::collections::BTreeMap;

use fastrand::Rng;

/// Something that happened to what is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rot {
    /// The lowest value that it happened to.
    pub(super) lowest: u64,
    /// Whether it looks like a commit that broke off: the last value is damaged, or some are gone
    /// from there on.
    pub(super) is_like_a_torn_tail: bool,
}

/// Something happens to these values, of which so many were acknowledged for certain; says what.
/// `foreign` are another node's.
pub(super) fn strike(
    rng: &mut Rng,
    values: &mut BTreeMap<u64, Vec<u8>>,
    foreign: &BTreeMap<u64, Vec<u8>>,
    acknowledged: u64,
) -> Option<(&'static str, Rot)> {
    let numbers: Vec<u64> = values.keys().copied().collect();
    let victim = *rng.choice(&numbers)?;
    let other = *rng.choice(&numbers)?;
    let is_last = numbers.last() == Some(&victim);
    let (what, lowest, is_like_a_torn_tail) = match rng.u8(0..7) {
        0 => {
            let value = values.get_mut(&victim)?;
            let bit = rng.usize(0..value.len().max(1) * 8);
            *value.get_mut(bit / 8)? ^= 1 << (bit % 8);
            ("a bit flips", victim, is_last)
        }
        1 => {
            let moved = values.get(&other)?.clone();
            values.insert(victim, moved);
            ("a value lies where another was", victim, false)
        }
        2 => {
            let moved = foreign.get(&victim)?.clone();
            values.insert(victim, moved);
            ("a value of another node", victim, false)
        }
        3 => {
            values.remove(&victim);
            ("a value is gone", victim, is_last)
        }
        4 => {
            values.split_off(&victim);
            ("the tail is gone", victim, true)
        }
        5 => {
            // An older copy, though not much: what is missing had just been acknowledged.
            let from = acknowledged.saturating_sub(rng.u64(1..=4));
            values.split_off(&from);
            ("the last values are gone", from, true)
        }
        _ => {
            values.clear();
            ("the log is empty", 0, true)
        }
    };
    Some((what, Rot { lowest, is_like_a_torn_tail }))
}
