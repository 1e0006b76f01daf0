//! A subject together with a hold on its process: who it is, and whether a number is still its own.

use std::fs;

use super::script::is_python;
use super::stat::Stat;
use super::status::Status;
use super::subject::{Resolver, Unresolved};
use crate::fanotify::Pidfd;
use crate::model::Subject;

impl Resolver {
    /// As [`Resolver::subject_of_thread`], with a descriptor of the subject's process where both are certain to be of
    /// one process.
    ///
    /// The descriptor is opened first and found alive last, so the number was that process's own all the while that
    /// /proc was read by it.
    ///
    /// # Errors
    /// As [`Resolver::subject_of_thread`].
    pub fn identify(&self, tid: u32) -> Result<(Subject, Option<Pidfd>), Unresolved> {
        let process = match Pidfd::open(tid) {
            Ok(process) => Some((tid, process)),
            Err(_) => process_of(tid).and_then(|pid| Some((pid, Pidfd::open(pid).ok()?))),
        };
        let subject = self.subject_of_thread(tid)?;
        let process = process.filter(|(pid, process)| *pid == subject.pid && process.is_alive());
        Ok((subject, process.map(|(_, process)| process)))
    }

    /// Takes hold of the process that was identified, if its number is still its own.
    #[must_use]
    pub fn hold(&self, subject: &Subject) -> Option<Pidfd> {
        let process = Pidfd::open(subject.pid).ok()?;
        let start_time = Stat::read(subject.pid).ok()?.start_time;
        // Opened first and found alive last: what was read in between belongs to it.
        (start_time == subject.start_time && process.is_alive()).then_some(process)
    }
}

/// Whether a thread runs a Python interpreter, or cannot be looked at.
#[must_use]
pub fn runs_python(tid: u32) -> bool {
    let exe = fs::read_link(format!("/proc/{tid}/exe"));
    exe.map_or(true, |exe| is_python(exe.file_name().unwrap_or_default()))
}

/// The process that a thread belongs to, which is not its first one.
fn process_of(tid: u32) -> Option<u32> {
    Some(Status::read(tid).ok()?.tgid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_a_thread_of_it() {
        let resolver = Resolver::new(Vec::new(), Box::new(|_| false)).unwrap();
        let tid = || nix::unistd::gettid().as_raw().cast_unsigned();
        for tid in [std::process::id(), tid(), std::thread::spawn(tid).join().unwrap_or_default()] {
            let Ok((subject, process)) = resolver.identify(tid) else { continue }; // the last one has ended
            assert_eq!(subject.pid, std::process::id());
            assert!(process.is_some_and(|process| process.is_alive()));
        }
        assert!(resolver.identify(0).is_err());
    }
}
