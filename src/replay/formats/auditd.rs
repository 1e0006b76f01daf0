//! The audit daemon's log, as it is on disk and as `ausearch --raw` prints it.
//!
//! An event is several lines with the same serial: the call (`SYSCALL`), where (`CWD`), each name that it used (`PATH`),
//! the command line (`PROCTITLE`, the first 128 bytes of it). Lines of different events mix, and `EOE` at the end of one
//! can be missing: an event that has not ended is taken for complete when [`MAX_GROUPS`] others have begun since, or the
//! file ends.
//!
//! What `aureport` prints is not read: its tables have a file, a call and an executable, but neither the arguments nor
//! what the call did to the name. `ausearch -i` spells names and numbers out in a way that cannot be taken back.
//!
//! A name that is relative to a directory other than the working directory (`openat` with a descriptor) has no known
//! path: the kernel does not log what the descriptor is. Such an event is malformed, not passed over.

mod calls;
mod fields;
mod group;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::fields::{Header, header};
use self::group::Group;
use super::super::event::Malformed;
use super::Parsed;

/// Most events that are in flight.
const MAX_GROUPS: usize = 64;

/// Events that are not complete, in the order in which they began.
#[derive(Debug)]
pub(super) struct AuditGroups {
    groups: VecDeque<Group>,
}

/// Whether a line looks like one of the log.
pub(super) fn is_line(line: &[u8]) -> bool {
    [&b"type="[..], b"node=", b"----", b"time->"].iter().any(|begin| line.starts_with(begin))
}

impl AuditGroups {
    pub(super) fn new() -> Self {
        AuditGroups { groups: VecDeque::new() }
    }

    /// Takes a line. What it says is nothing if it is part of an event that has not ended, or that event, or the oldest
    /// one, which is taken for complete now.
    pub(super) fn push(&mut self, number: u64, line: &[u8]) -> Option<Parsed<'static>> {
        let something_else = Some(Parsed { line: number, result: Ok(None) });
        // What ausearch puts between events where it was not told to leave it out.
        if line.starts_with(b"----") || line.starts_with(b"time->") {
            return something_else;
        }
        let Some(Header { kind, id, rest }) = header(line) else {
            return Some(Parsed { line: number, result: Err(Malformed::because("not a line of the audit log")) });
        };
        let known = self.groups.iter().rposition(|group| group.is(id));
        if kind == b"EOE" {
            let complete = known.and_then(|at| self.groups.remove(at));
            return complete.map(Group::complete).or(something_else);
        }
        if !Group::knows(kind) {
            return something_else;
        }
        if let Some(group) = known.and_then(|at| self.groups.get_mut(at)) {
            group.push(kind, rest);
            return None;
        }
        let oldest = if self.groups.len() < MAX_GROUPS { None } else { self.groups.pop_front() };
        let mut group = Group::new(number, id);
        group.push(kind, rest);
        self.groups.push_back(group);
        oldest.map(Group::complete)
    }

    /// The oldest event that has not ended, where nothing more comes.
    pub(super) fn finish(&mut self) -> Option<Parsed<'static>> {
        self.groups.pop_front().map(Group::complete)
    }
}
