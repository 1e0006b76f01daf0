//! No opener waits longer than the budget, whatever the threads are at.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Guard, Purpose, Waiting};
use crate::fanotify::Reply;
use crate::model::{Access, Failure};

const HEARTBEAT: Duration = Duration::from_millis(500);

impl Guard {
    /// Events are registered in the order in which they were read and all have the same budget, so they fall due in
    /// that order, too.
    pub(super) fn run_deadline(&self) {
        while !self.is_stopping() {
            self.heartbeats.deadline.fetch_add(1, Ordering::Relaxed);
            let Some(next) = self.stop.receive(&self.overdue, HEARTBEAT) else { continue };
            let Some(due) = next.upgrade().filter(|waiting| !waiting.event.is_answered()).map(|waiting| waiting.due)
            else {
                continue; // answered and gone
            };
            self.sleep_until(due);
            if let Some(waiting) = next.upgrade().filter(|waiting| !waiting.event.is_answered()) {
                self.expire(&waiting);
            }
        }
    }

    fn sleep_until(&self, due: Instant) {
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() || self.is_stopping() {
                return;
            }
            self.heartbeats.deadline.fetch_add(1, Ordering::Relaxed);
            self.stop.sleep(wait.min(HEARTBEAT));
        }
    }

    fn expire(&self, waiting: &std::sync::Arc<Waiting>) {
        if waiting.purpose == Purpose::Maker {
            self.answer(waiting, Reply::Allow);
            return;
        }
        let access = if waiting.purpose == Purpose::Listing { Access::List } else { Access::Read };
        if self.unpark(waiting) && access == Access::Read {
            self.not_final(waiting);
        } else {
            self.fail(waiting, access, Failure::Timeout);
        }
    }
}
