//! Flags of every process that can be told to lose messages.

use crate::wire::drop::Loss;

/// What is lost on purpose.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct LossArgs {
    /// Lose this share of the messages sent, between 0 and 1, with the connections kept: a fault to
    /// order. What is lost is said again
    #[arg(long, env = "INDELIBLE_DROP", default_value = "0", value_name = "SHARE",
        value_parser = share)]
    drop: f64,
    /// Which are lost is drawn from this seed and the process's own id
    #[arg(long, env = "INDELIBLE_DROP_SEED", default_value_t = 0, value_name = "SEED")]
    drop_seed: u64,
}

impl LossArgs {
    /// The same flags once more, for another process.
    pub(super) fn words(self) -> impl Iterator<Item = String> {
        let words = [format!("--drop={}", self.drop), format!("--drop-seed={}", self.drop_seed)];
        words.into_iter().filter(move |_| self.drop > 0.0)
    }

    /// What the flags say.
    pub(super) fn loss(self) -> Loss {
        Loss::new(self.drop, self.drop_seed).expect("the parser takes no other share")
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| Loss::new(*share, 0).is_some());
    share.ok_or_else(|| "a share lies between 0 and 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_lies_between_0_and_1() {
        assert_eq!(
            ["0", "1", "0.05", ".3"].map(|text| share(text).ok()),
            [0.0, 1.0, 0.05, 0.3].map(Some)
        );
        for bad in ["", "-0.1", "1.01", "NaN", "inf", "5%"] {
            share(bad).expect_err(bad);
        }
    }
}
