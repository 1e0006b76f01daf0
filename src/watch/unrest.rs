//! Directories to which symbolic links or special files came that were not let stay.
//!
//! Opening one of these raises no event that could be answered, so nobody may get one of their names from a listing, nor
//! find one behind a name that he has got. A listing waits until those that came before are dealt with. That alone does
//! not end a loop that makes and unmakes them: another comes before the listing's reader opens the name. So whoever was
//! reading the entries when one was refused is told that they cannot be read, and if another one comes nobody can list the
//! directory for a while. An interpreter that cannot list a directory obeys no startup file in it. Each time it lasts
//! longer, so what an attacker gets is one attempt in a minute, not a hundred thousand in a second; whoever makes one by
//! mistake disturbs nobody who comes after.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long after one a listing may have begun before it. Who reads entries needs a fraction of a millisecond for a buffer
/// full, and asks again for the next one and for the news that there are no more.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How long the second one is felt.
const SECOND: Duration = Duration::from_millis(100);
/// How much longer each time after that, and at most.
const FACTOR: u32 = 4;
const LONGEST: Duration = Duration::from_secs(60);
/// After this time it is as if there had been none.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Who may not list a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Felt {
    /// Everybody may.
    ByNobody,
    /// Who has read some of its entries already.
    UnderWay,
    /// Nobody may.
    ByAll,
}

/// Threads remembered that have begun to list a directory; who is not is under way.
const LISTERS: usize = 1024;

/// The unrest in one directory.
#[derive(Clone, Debug)]
pub(super) struct Unrest {
    last: Instant,
    lasts: Duration,
    /// Who has begun to list the directory since the last one was refused.
    begun: HashSet<u32>,
}

impl Unrest {
    /// One was refused, the first.
    pub(super) fn new(now: Instant) -> Self {
        Unrest { last: now, lasts: Duration::ZERO, begun: HashSet::new() }
    }

    /// Another one was refused. A storm is one disturbance for as long as it lasts.
    pub(super) fn disturb(&mut self, now: Instant) {
        if self.is_forgiven(now) {
            self.lasts = Duration::ZERO;
        } else if !self.is_felt(now) {
            self.lasts = (self.lasts * FACTOR).clamp(SECOND, LONGEST);
        }
        self.last = now;
        self.begun.clear();
    }

    /// A thread begins to list the directory.
    pub(super) fn begin(&mut self, thread: u32) {
        if self.begun.len() < LISTERS {
            self.begun.insert(thread);
        }
    }

    /// Whether it has begun since the last one was refused.
    pub(super) fn has_begun(&self, thread: u32) -> bool {
        self.begun.contains(&thread)
    }

    /// Whether nobody may list the directory.
    pub(super) fn is_felt(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < self.lasts
    }

    /// Whether listings that are under way may have begun before it.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < UNDER_WAY
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
        assert!(!unrest.is_felt(now) && unrest.is_recent(now) && !unrest.is_recent(now + UNDER_WAY));
        now += MOMENT;
        unrest.disturb(now);
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
        assert!(!unrest.is_felt(end + SECOND));
    }

    #[test]
    fn who_has_begun_since_is_not_under_way() {
        let now = Instant::now();
        let mut unrest = Unrest::new(now);
        unrest.begin(7);
        assert!(unrest.has_begun(7) && !unrest.has_begun(8));
        unrest.disturb(now);
        assert!(!unrest.has_begun(7), "another one was refused");
        (0..5000).for_each(|thread| unrest.begin(thread));
        assert_eq!(unrest.begun.len(), LISTERS);
    }

    #[test]
    fn it_is_forgiven() {
        let start = Instant::now();
        let mut unrest = Unrest::new(start);
        unrest.disturb(start + MOMENT);
        assert!(unrest.is_felt(start + MOMENT) && !unrest.is_forgiven(start + MOMENT));
        let late = start + MOMENT + FORGIVEN;
        assert!(unrest.is_forgiven(late));
        unrest.disturb(late);
        assert!(!unrest.is_felt(late), "the first again");
    }
}
