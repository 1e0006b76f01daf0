//! Whether the gate's threads make progress. A gate that hangs freezes every opener, so it is better ended: with the
//! process the kernel ends the groups and lets everybody go.

use std::time::{Duration, Instant};

use crate::gate::Heartbeats;

/// How often the heartbeats are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Looks without progress of a vital thread after which the process ends itself. Counted in looks, not in time: a
/// machine that was asleep has not hung.
const GIVE_UP: u32 = 20;

#[derive(Debug)]
pub(super) struct Health {
    watchdog: Option<Duration>,
    fed: Instant,
    vital: Progress,
    others: Progress,
}

/// Counters, and since how many looks one of them stands still.
#[derive(Debug, Default)]
struct Progress {
    last: Vec<u64>,
    standing: u32,
}

impl Progress {
    fn look(&mut self, now: Vec<u64>) {
        self.last.resize(now.len(), 0);
        // All must have advanced since all last did.
        if now.iter().zip(&self.last).all(|(now, last)| now > last) {
            self.last = now;
            self.standing = 0;
        } else {
            self.standing += 1;
        }
    }
}

impl Health {
    /// `watchdog` is the service manager's limit, if it watches.
    pub(super) fn new(watchdog: Option<Duration>) -> Self {
        Health { watchdog, fed: Instant::now(), vital: Progress::default(), others: Progress::default() }
    }

    pub(super) fn tick(&self) -> Duration {
        self.watchdog.map_or(TICK, |limit| (limit / 4).min(TICK))
    }

    /// So long a thread has stood still at the last look, one of the vital ones and one of the others.
    pub(super) fn standing(&self) -> [Duration; 2] {
        [&self.vital, &self.others].map(|progress| self.tick() * progress.standing)
    }

    /// Looks at the heartbeats; says whether the service manager's watchdog is to be fed.
    pub(super) fn check(&mut self, heartbeats: &Heartbeats) -> bool {
        self.vital.look(heartbeats.vital());
        self.others.look(heartbeats.others());
        if self.vital.standing >= GIVE_UP {
            eprintln!("pthguard: a gate thread hangs ({heartbeats:?}); ending to let everybody go");
            std::process::abort();
        }
        let all_well = self.vital.standing == 0 && self.others.standing == 0;
        let is_due = all_well && self.watchdog.is_some_and(|limit| self.fed.elapsed() >= limit / 4);
        if is_due {
            self.fed = Instant::now();
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_that_of_both() {
        let mut progress = Progress::default();
        progress.look(vec![1, 1]);
        assert_eq!(progress.standing, 0);
        progress.look(vec![2, 1]);
        progress.look(vec![3, 1]);
        assert_eq!(progress.standing, 2);
        progress.look(vec![3, 2]);
        assert_eq!(progress.standing, 0, "both have advanced since both last did");
    }
}
