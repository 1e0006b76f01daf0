//! When processes became the programs that rules name.
//!
//! The author of a rename is looked at after the fact. It may have renamed a file and then executed a program that may
//! do such things: what /proc shows is that program. So the programs' files carry a mark that tells of their execution
//! (`FAN_OPEN_EXEC`) in the same queue as renames: an author that has not executed one since was what it is when it
//! renamed. Only root's programs matter; a user's own are his to be.

use std::collections::HashMap;
use std::time::Instant;

/// Executions kept in mind; more within the life of a notice are a storm.
const EXECUTIONS: usize = 16_384;
/// Programs watched.
const PROGRAMS: usize = 4096;

/// A program's file: device and inode, which is pinned by its mark.
pub type ProgramId = (u64, u64);

/// Which programs are watched, and who executed one.
#[derive(Debug)]
pub(super) struct Programs {
    watched: HashMap<ProgramId, Instant>,
    /// When the last execution by a process was read.
    executed: HashMap<u32, Instant>,
    /// Executions that were read before then may have been forgotten.
    forgotten: Instant,
}

impl Programs {
    pub(super) fn new(now: Instant) -> Self {
        Programs { watched: HashMap::new(), executed: HashMap::new(), forgotten: now }
    }

    /// Whether there is room for a program that is not watched yet.
    pub(super) fn wants(&self, program: ProgramId) -> bool {
        self.watched.len() < PROGRAMS && !self.watched.contains_key(&program)
    }

    pub(super) fn watch(&mut self, program: ProgramId, now: Instant) {
        self.watched.entry(program).or_insert(now);
    }

    /// A process executes a watched program.
    pub(super) fn execute(&mut self, pid: u32, now: Instant) {
        if self.executed.len() >= EXECUTIONS {
            self.executed.clear();
            self.forgotten = now;
        }
        self.executed.insert(pid, now);
    }

    /// Whether a process that is this program now was it already when it did something, `after` being a time before
    /// that. What is read later was queued later: an execution of the same program by the same process that was still
    /// unread at `after` may have been merged with a later one.
    pub(super) fn is_unchanged(&self, pid: u32, program: ProgramId, after: Instant) -> bool {
        self.watched.get(&program).is_some_and(|since| *since <= after)
            && self.forgotten <= after
            && self.executed.get(&pid).is_none_or(|at| *at <= after)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_author_is_what_it_was_unless_it_executed_something_since() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (tool, other, pid) = ((1, 2), (1, 3), 7);
        let mut programs = Programs::new(at(0));
        programs.watch(tool, at(10));
        programs.watch(tool, at(30));
        assert!(programs.is_unchanged(pid, tool, at(20)));
        assert!(!programs.is_unchanged(pid, tool, at(5)), "not watched yet");
        assert!(!programs.is_unchanged(pid, other, at(20)));
        programs.execute(pid, at(40));
        assert!(!programs.is_unchanged(pid, tool, at(20)));
        assert!(programs.is_unchanged(pid, tool, at(50)));
        assert!(programs.is_unchanged(pid + 1, tool, at(20)));
    }

    #[test]
    fn a_storm_of_executions_makes_doubtful_and_not_trustful() {
        let start = Instant::now();
        let later = start + Duration::from_millis(1);
        let mut programs = Programs::new(start);
        programs.watch((1, 2), start);
        for pid in 0..=u32::try_from(EXECUTIONS).unwrap() {
            programs.execute(pid, later);
        }
        assert!(programs.executed.len() <= EXECUTIONS);
        assert!(!programs.is_unchanged(u32::MAX, (1, 2), start));
        assert!(programs.is_unchanged(u32::MAX, (1, 2), later));
    }
}
