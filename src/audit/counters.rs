//! What the guard has done since it started, in numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::record::Outcome;
use crate::model::{Access, Failure};

const ACCESSES: [Access; 8] = [
    Access::Read,
    Access::Write,
    Access::Rename,
    Access::Link,
    Access::Symlink,
    Access::Special,
    Access::Delete,
    Access::List,
];

const OUTCOMES: [Outcome; 3] = [Outcome::Allow, Outcome::Deny, Outcome::WouldDeny];

/// Counters that every thread adds to. Each is exact; read together they are not a snapshot of one moment.
#[derive(Debug, Default)]
pub struct Counters {
    outcomes: [[AtomicU64; ACCESSES.len()]; OUTCOMES.len()],
    failures: [AtomicU64; Failure::ALL.len()],
    records_dropped: AtomicU64,
    records_lost: AtomicU64,
    log_rotations: AtomicU64,
    killed: AtomicU64,
}

impl Counters {
    /// All at nought.
    #[must_use]
    pub fn new() -> Self {
        Counters::default()
    }

    /// Counts an answer.
    pub fn answered(&self, access: Access, outcome: Outcome) {
        if let Some(counter) = self.outcome(access, outcome) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a failure.
    pub fn failed(&self, failure: Failure) {
        if let Some(counter) = self.failure(failure) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Takes over how many records the audit trail has dropped so far, see [`super::Audit::dropped`].
    pub fn records_dropped(&self, total: u64) {
        self.records_dropped.store(total, Relaxed);
    }

    /// Takes over how many records a sink did not take, see [`super::Audit::lost`].
    pub fn records_lost(&self, total: u64) {
        self.records_lost.store(total, Relaxed);
    }

    /// Takes over how often a log file was rotated, see [`super::Audit::rotations`].
    pub fn log_rotations(&self, total: u64) {
        self.log_rotations.store(total, Relaxed);
    }

    /// Counts an offender that was ended.
    pub fn killed(&self) {
        self.killed.fetch_add(1, Relaxed);
    }

    /// How many offenders were ended.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.killed.load(Relaxed)
    }

    /// How often `access` ended in `outcome`.
    #[must_use]
    pub fn answers(&self, access: Access, outcome: Outcome) -> u64 {
        self.outcome(access, outcome).map_or(0, |counter| counter.load(Relaxed))
    }

    /// How often `failure` happened.
    #[must_use]
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failure(failure).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Every access and outcome with its count, noughts included.
    pub fn all_answers(&self) -> impl Iterator<Item = (Access, Outcome, u64)> + '_ {
        OUTCOMES.into_iter().flat_map(move |outcome| {
            ACCESSES.into_iter().map(move |access| (access, outcome, self.answers(access, outcome)))
        })
    }

    /// Every failure with its count, noughts included.
    pub fn all_failures(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        Failure::ALL.into_iter().map(|failure| (failure, self.failures(failure)))
    }

    fn outcome(&self, access: Access, outcome: Outcome) -> Option<&AtomicU64> {
        let row = OUTCOMES.iter().position(|known| *known == outcome)?;
        let column = ACCESSES.iter().position(|known| *known == access)?;
        Some(&self.outcomes[row][column])
    }

    fn failure(&self, failure: Failure) -> Option<&AtomicU64> {
        Some(&self.failures[Failure::ALL.iter().position(|known| *known == failure)?])
    }
}

/// `allow: read=812 write=3` and so on, one line for each outcome that occurred, one for failures, one for processes that were
/// ended, if there were any, one for drops, and if there were any for records that sinks did not take, and rotated files.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in OUTCOMES {
            let counts = ACCESSES.map(|access| (access.as_str(), self.answers(access, outcome)));
            write_line(f, outcome.as_str(), &counts)?;
        }
        write_line(f, "failures", &Failure::ALL.map(|failure| (failure.as_str(), self.failures(failure))))?;
        if self.kills() > 0 {
            writeln!(f, "processes killed: {}", self.kills())?;
        }
        write!(f, "records dropped: {}", self.records_dropped.load(Relaxed))?;
        for (title, count) in [("records lost", &self.records_lost), ("log rotations", &self.log_rotations)] {
            match count.load(Relaxed) {
                0 => {}
                count => write!(f, "\n{title}: {count}")?,
            }
        }
        Ok(())
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, title: &str, counts: &[(&str, u64)]) -> fmt::Result {
    if counts.iter().all(|(_, count)| *count == 0) {
        return writeln!(f, "{title}: none");
    }
    write!(f, "{title}:")?;
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        write!(f, " {name}={count}")?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_counts_itself_alone() {
        let counters = Counters::new();
        for (n, (access, outcome, _)) in (1..).zip(counters.all_answers()) {
            (0..n).for_each(|_| counters.answered(access, outcome));
        }
        assert!((1..).zip(counters.all_answers()).all(|(n, (_, _, count))| count == n));
        assert_eq!(counters.all_answers().count(), ACCESSES.len() * OUTCOMES.len());
        for (n, failure) in (1..).zip(Failure::ALL) {
            (0..n).for_each(|_| counters.failed(failure));
        }
        assert!((1..).zip(counters.all_failures()).all(|(n, (_, count))| count == n));
    }

    #[test]
    fn the_summary_names_what_occurred() {
        let counters = Counters::new();
        counters.answered(Access::Read, Outcome::Allow);
        counters.answered(Access::Write, Outcome::Deny);
        counters.answered(Access::Write, Outcome::Deny);
        counters.failed(Failure::Timeout);
        counters.records_dropped(5);
        counters.killed();
        assert_eq!(
            counters.to_string(),
            "allow: read=1\ndeny: write=2\nwould-deny: none\nfailures: timeout=1\nprocesses killed: 1\nrecords dropped: 5"
        );
        counters.records_lost(2);
        counters.log_rotations(1);
        assert!(counters.to_string().ends_with("dropped: 5\nrecords lost: 2\nlog rotations: 1"));
    }
}
