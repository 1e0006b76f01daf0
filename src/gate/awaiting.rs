//! Files whose judgement waits for the end of an installation: for the end of the process that wrote them or, where only
//! the name of their package is still to be told, for RECORD.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Guard;
use crate::fanotify::{FileId, Pidfd};
use crate::watch::Permit;

/// How often it is looked whether RECORD has come. Whoever wants to read the file has it looked at at once.
const TICK: Duration = Duration::from_millis(500);

/// The files, with the processes whose end is waited for.
#[derive(Debug)]
pub(super) struct Awaiting {
    files: Mutex<HashMap<FileId, Vec<Arc<Pidfd>>>>,
    /// Readable when there is another one.
    added: EventFd,
}

impl Awaiting {
    pub(super) fn new() -> io::Result<Self> {
        let added = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Awaiting { files: Mutex::default(), added })
    }

    /// Waits for the end of those who were permitted to write this file.
    pub(super) fn add(&self, file: FileId, permit: &Permit) {
        self.add_for_later(file, permit);
        let _ = self.added.write(1); // can only fail when it has been written 2^64 - 2 times
    }

    /// Has the file looked at at the next tick: somebody still has it open for writing, be it the one who is closing it.
    /// Its close is told before the kernel counts one writer less (`__fput`, Linux 6.18).
    pub(super) fn add_for_later(&self, file: FileId, permit: &Permit) {
        let processes = permit.writers.iter().filter_map(|writer| writer.process.clone()).collect();
        self.files().insert(file, processes);
    }

    fn processes(&self) -> Vec<Arc<Pidfd>> {
        self.files().values().flatten().cloned().collect()
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FileId, Vec<Arc<Pidfd>>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Has the files looked at again: at each tick, and when a writer has ended.
    pub(super) fn run_awaiting(&self) {
        while !self.is_stopping() {
            let mut processes = self.awaiting.processes();
            processes.retain(|process| process.is_alive());
            let mut fds: Vec<_> =
                processes.iter().map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)).collect();
            fds.push(PollFd::new(self.stop.as_fd(), PollFlags::POLLIN));
            fds.push(PollFd::new(self.awaiting.added.as_fd(), PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::NONE));
            let _ = self.awaiting.added.read(); // empty after a tick
            self.look_again();
        }
    }

    fn look_again(&self) {
        self.awaiting.files().retain(|file, _| {
            let is_open = self.parts.watch.tracker().get(file).is_some_and(|entry| entry.permit.is_some());
            if is_open {
                self.parts.watch.ask_to_settle(file);
            }
            is_open
        });
    }
}
