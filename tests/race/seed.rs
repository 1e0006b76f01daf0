//! The random choices of attackers: all of them follow from one number, which is printed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// `PTHGUARD_RACE_SEED`, or something new each time.
pub(crate) fn from_environment() -> u64 {
    std::env::var("PTHGUARD_RACE_SEED").map_or_else(
        |_| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().into()),
        |text| text.parse().expect("PTHGUARD_RACE_SEED is a number"),
    )
}

/// SplitMix64: reproducible, and nothing depends on its quality.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Another sequence for each attacker of a run.
    pub(crate) fn new(seed: u64, attacker: u64) -> Dice {
        Dice(seed ^ attacker.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// A number from 1 to `most`; its magnitude is what is chosen evenly.
    pub(crate) fn magnitude(&mut self, most: u64) -> u64 {
        let end = 1 << self.below(u64::from(most.max(1).ilog2()) + 1);
        end + self.below(end.min(most + 1 - end))
    }

    /// Keep the processor busy for up to `most`, half of the time not at all: which moment between two system calls of an
    /// interpreter an attack needs is not known.
    pub(crate) fn pause(&mut self, most: Duration) {
        if self.below(2) == 0 {
            return;
        }
        let until = Instant::now() + Duration::from_nanos(self.below(most.as_nanos().max(1) as u64));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}
