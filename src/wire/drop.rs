//! Loss on purpose: a process that is told so loses a share of the messages it sends.
//!
//! TCP loses nothing, so what the core and the clients say again would never be put to the test by
//! a network of the real world. Here a message is lost above it and the connection stays: neither
//! side is told. It is not part of a connection's bytes: the hello is never lost, and a frame is
//! lost whole or not at all.
//!
//! Seeded, and each process and link draws its own sequence, so that two never lose in step.

use fastrand::Rng;

/// What share of its messages a process loses, and from which seed. None, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    share: f64,
    seed: u64,
}

impl Loss {
    /// A loss of `share` of all messages. `None` if that is not between 0 and 1.
    #[must_use]
    pub fn new(share: f64, seed: u64) -> Option<Loss> {
        (0.0..=1.0).contains(&share).then_some(Loss { share, seed })
    }

    /// What decides for one link of one process, of the numbers they have.
    #[must_use]
    pub fn dropper(self, process: u64, link: u64) -> Dropper {
        // Close seeds give close first draws, so each number is stirred by itself.
        let stir = |seed: u64, number: u64| {
            let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            rng.u64(..) ^ rng.u64(..).rotate_left(32)
        };
        let seed = stir(stir(stir(0, self.seed), process), link);
        Dropper { rng: Rng::with_seed(seed), share: self.share }
    }
}

/// Decides, message by message, which are lost.
#[derive(Clone, Debug)]
pub struct Dropper {
    rng: Rng,
    share: f64,
}

impl Dropper {
    /// Whether the next message is lost.
    pub fn drops(&mut self) -> bool {
        self.share > 0.0 && self.rng.f64() < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(share: f64, seed: u64, process: u64, link: u64) -> Vec<bool> {
        let mut dropper = Loss::new(share, seed).expect("a share").dropper(process, link);
        (0..10_000).map(|_| dropper.drops()).collect()
    }

    #[test]
    fn a_share_is_lost() {
        let count = |share| lost(share, 0, 1, 2).into_iter().filter(|lost| *lost).count();
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        assert!((2_800..3_200).contains(&count(0.3)), "{}", count(0.3));
        assert!(!Loss::default().dropper(0, 0).drops());
    }

    #[test]
    fn nobody_loses_in_step() {
        let one = lost(0.3, 0, 1, 2);
        assert_eq!(one, lost(0.3, 0, 1, 2), "the same seed, the same losses");
        let others =
            [lost(0.3, 1, 1, 2), lost(0.3, 0, 2, 1), lost(0.3, 0, 2, 2), lost(0.3, 0, 1, 1)];
        for other in others {
            let both = one.iter().zip(&other).filter(|(one, other)| **one && **other).count();
            assert!((700..1_100).contains(&both), "{both} of 10,000, where 900 are expected");
        }
    }

    #[test]
    fn no_other_share_makes_sense() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Loss::new(share, 0), None);
        }
    }
}
