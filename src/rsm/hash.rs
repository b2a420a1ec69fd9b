//! A rolling hash over whatever is fed to it: FNV-1a, 64 bits.
//!
//! It finds accidents, not enemies, and is the same on every machine and for ever: people compare
//! it across hosts by eye.

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of what was fed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolling(u64);

impl Default for Rolling {
    /// The hash of nothing.
    fn default() -> Rolling {
        Rolling(BASIS)
    }
}

impl Rolling {
    /// Goes on from a hash that was written down.
    #[must_use]
    pub fn from_value(value: u64) -> Rolling {
        Rolling(value)
    }

    /// Feeds it.
    pub fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The hash.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the published vectors of FNV-1a.
    #[test]
    fn it_is_fnv_1a() {
        let hash = |bytes: &[u8]| {
            let mut hash = Rolling::default();
            hash.mix(bytes);
            hash.value()
        };
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
        let mut rest = Rolling::from_value(hash(b"foo"));
        rest.mix(b"bar");
        assert_eq!(rest.value(), hash(b"foobar"));
    }
}
