//! The end, told to every thread at once, whatever it waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Whether it is over. Readable (poll(2)) from then on.
#[derive(Debug)]
pub(super) struct Stop {
    event: EventFd,
    /// Dropped when it is over, which ends every wait on `over`.
    not_yet: Mutex<Option<Sender<()>>>,
    over: Receiver<()>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (not_yet, over) = bounded(0);
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Stop { event, not_yet: Mutex::new(Some(not_yet)), over })
    }

    pub(super) fn now(&self) {
        self.not_yet.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.event.write(1); // can only fail when it has been written 2^64 - 2 times
    }

    pub(super) fn is_now(&self) -> bool {
        matches!(self.over.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }

    /// Waits for a message, at most for `limit`, and not beyond the end.
    pub(super) fn receive<T>(&self, from: &Receiver<T>, limit: Duration) -> Option<T> {
        select! {
            recv(from) -> message => message.ok(),
            recv(self.over) -> _ => None,
            default(limit) => None,
        }
    }

    /// Waits for `limit`, and not beyond the end.
    pub(super) fn sleep(&self, limit: Duration) {
        let _ = self.over.recv_timeout(limit);
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
