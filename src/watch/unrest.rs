//! Directories to which symbolic links or special files came that were not let stay.
//!
//! Opening one of these raises no event that could be answered, so nobody may get one of their names from a listing, nor
//! find one behind a name that he has got. A listing waits until those that came before are dealt with. That alone does
//! not end a loop that makes and unmakes them: another comes before the listing's reader opens the name. So a directory
//! in which one was refused cannot be listed for a while, and an interpreter that cannot list a directory obeys no
//! startup file in it. Whoever makes them again after that has it last longer, so what an attacker gets is one attempt in
//! a minute, not a hundred thousand in a second; whoever makes one by mistake costs others a tenth of a second.

use std::time::{Duration, Instant};

/// How long the first one is felt. A listing that was under way has met its end by then: it asks again for each buffer
/// full, and for the news that there is no more.
const FIRST: Duration = Duration::from_millis(100);
/// How much longer each time, and at most.
const FACTOR: u32 = 4;
const LONGEST: Duration = Duration::from_secs(60);
/// After this time it is as if there had been none.
const FORGIVEN: Duration = Duration::from_secs(600);

/// The unrest in one directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unrest {
    last: Instant,
    lasts: Duration,
}

impl Unrest {
    /// One was refused, the first.
    pub(super) fn new(now: Instant) -> Self {
        Unrest { last: now, lasts: FIRST }
    }

    /// Another one was refused. A storm is one disturbance for as long as it lasts.
    pub(super) fn disturb(&mut self, now: Instant) {
        if self.is_forgiven(now) {
            self.lasts = FIRST;
        } else if !self.is_felt(now) {
            self.lasts = (self.lasts * FACTOR).min(LONGEST);
        }
        self.last = now;
    }

    /// Whether nobody may list the directory.
    pub(super) fn is_felt(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < self.lasts
    }

    /// Whether it need not be remembered any more.
    pub(super) fn is_forgiven(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGIVEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn each_time_is_felt_longer() {
        let mut now = Instant::now();
        let mut unrest = Unrest::new(now);
        for millis in [100, 400, 1_600, 6_400, 25_600, 60_000, 60_000] {
            let lasts = Duration::from_millis(millis);
            assert!(unrest.is_felt(now + lasts - MOMENT), "{millis}");
            now += lasts;
            assert!(!unrest.is_felt(now), "{millis}");
            unrest.disturb(now);
        }
    }

    #[test]
    fn a_storm_is_one_disturbance() {
        let start = Instant::now();
        let mut unrest = Unrest::new(start);
        let end = (0..100_000).fold(start, |now, _| {
            unrest.disturb(now);
            now + MOMENT
        });
        assert!(unrest.is_felt(end));
        assert!(!unrest.is_felt(end + FIRST));
    }

    #[test]
    fn it_is_forgiven() {
        let start = Instant::now();
        let mut unrest = Unrest::new(start);
        unrest.disturb(start + FIRST);
        assert!(!unrest.is_forgiven(start + FIRST));
        let late = start + FIRST + FORGIVEN;
        assert!(unrest.is_forgiven(late));
        unrest.disturb(late);
        assert!(!unrest.is_felt(late + FIRST), "the first again");
    }
}
