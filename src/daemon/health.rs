//! Whether the gate's threads make progress. A gate that hangs freezes every opener, so it is better ended: with the
//! process the kernel ends the groups and lets everybody go.

use std::time::{Duration, Instant};

use crate::gate::Heartbeats;

/// How often the heartbeats are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Looks without progress after which the process ends itself. Counted in looks, not in time: a machine that was
/// asleep has not hung.
const GIVE_UP: u32 = 20;

#[derive(Debug)]
pub(super) struct Health {
    watchdog: Option<Duration>,
    last: [u64; 4],
    standing: u32,
    fed: Instant,
}

impl Health {
    /// `watchdog` is the service manager's limit, if it watches.
    pub(super) fn new(watchdog: Option<Duration>) -> Self {
        Health { watchdog, last: [0; 4], standing: 0, fed: Instant::now() }
    }

    pub(super) fn tick(&self) -> Duration {
        self.watchdog.map_or(TICK, |limit| (limit / 4).min(TICK))
    }

    /// Looks at the heartbeats; says whether the service manager's watchdog is to be fed.
    pub(super) fn check(&mut self, heartbeats: &Heartbeats) -> bool {
        let now = heartbeats.read();
        // Every thread must have advanced since the last progress of all of them.
        if now.iter().zip(self.last).all(|(now, last)| *now > last) {
            self.last = now;
            self.standing = 0;
            let due = self.watchdog.is_some_and(|limit| self.fed.elapsed() >= limit / 4);
            if due {
                self.fed = Instant::now();
            }
            return due;
        }
        self.standing += 1;
        if self.standing >= GIVE_UP {
            eprintln!("pthguard: a gate thread hangs (heartbeats {now:?}); ending to let everybody go");
            std::process::abort();
        }
        false
    }
}
