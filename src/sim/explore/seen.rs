//! The states that were seen, as 128-bit fingerprints in a flat table.
//!
//! Hundreds of millions of them must fit in memory, so the table holds nothing else: 16 bytes each,
//! open addressing, never above 7/8 full. Two different states share a fingerprint with a chance
//! below n²/2^129 for n states: one in 10^22 for a hundred million. What is hashed are small dense
//! numbers that no enemy chooses, so two multiply-and-fold lanes (as in wyhash) are enough.
//!
//! Deliberately absent: iteration, whose order would mean nothing.

/// A set of fingerprints.
#[derive(Debug)]
pub(super) struct Seen {
    /// A power of two of places; 0 is an empty one.
    table: Vec<u128>,
    len: usize,
}

/// Places of an empty table.
const PLACES_FIRST: usize = 1 << 10;

impl Seen {
    pub(super) fn new() -> Seen {
        Seen { table: vec![0; PLACES_FIRST], len: 0 }
    }

    /// How many fingerprints it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a fingerprint. Whether it was new.
    pub(super) fn insert(&mut self, fingerprint: u128) -> bool {
        let fingerprint = fingerprint.max(1);
        if (self.len + 1) * 8 > self.table.len() * 7 {
            self.grow();
        }
        let place = self.place(fingerprint);
        let is_new = self.table[place] == 0;
        self.table[place] = fingerprint;
        self.len += usize::from(is_new);
        is_new
    }

    /// Where a fingerprint is, or would be.
    fn place(&self, fingerprint: u128) -> usize {
        let mask = self.table.len() - 1;
        let mut place = fingerprint as usize & mask;
        while self.table[place] != 0 && self.table[place] != fingerprint {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let larger = vec![0; self.table.len() * 2];
        for fingerprint in std::mem::replace(&mut self.table, larger) {
            if fingerprint != 0 {
                let place = self.place(fingerprint);
                self.table[place] = fingerprint;
            }
        }
    }
}

/// The fingerprint of a sequence of words.
pub(super) fn fingerprint(words: impl IntoIterator<Item = u64>) -> u128 {
    let (mut one, mut other) = (0x2D35_8DCC_AA6C_78A5, 0x8BB8_4B93_962E_ACC9);
    let mut length = 0;
    for word in words {
        one = fold(one ^ word, 0x4B33_A62E_D433_D4A3);
        other = fold(other ^ word, 0x4D5A_2DA5_1DE1_AA47);
        length += 1;
    }
    let ends =
        (fold(one ^ length, 0x9E37_79B9_7F4A_7C15), fold(other ^ length, 0xD1B5_4A32_D192_ED03));
    u128::from(ends.0) << 64 | u128::from(ends.1)
}

fn fold(word: u64, by: u64) -> u64 {
    let product = u128::from(word) * u128::from(by);
    (product >> 64) as u64 ^ product as u64 ^ word.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once_also_when_the_table_grows() {
        let mut seen = Seen::new();
        let words = |n: u64| [n % 7, n / 7];
        assert!((0..5000).all(|n| seen.insert(fingerprint(words(n)))), "all differ");
        assert!((0..5000).all(|n| !seen.insert(fingerprint(words(n)))), "and are remembered");
        assert_eq!(seen.len(), 5000);
    }

    #[test]
    fn order_and_length_count() {
        assert_ne!(fingerprint([1, 2]), fingerprint([2, 1]));
        assert_ne!(fingerprint([0]), fingerprint([0, 0]));
    }
}
