//! Signals, read by the main thread instead of interrupting the others.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: log files were moved away.
    Reopen,
}

#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals for this thread and those that it starts. SIGIO is blocked for good: it would end the
    /// process when a writer comes while the lease probe of its file is under way.
    pub(super) fn block() -> io::Result<Self> {
        let mut read = SigSet::empty();
        for signal in [signal::SIGTERM, signal::SIGINT, signal::SIGHUP, signal::SIGUSR1] {
            read.add(signal);
        }
        let mut blocked = read;
        blocked.add(signal::SIGIO);
        blocked.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&read, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for a signal, at most for `limit`.
    pub(super) fn wait(&self, limit: Duration) -> Option<Signal> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO));
        let info = self.0.read_signal().ok().flatten()?;
        Some(match info.ssi_signo.cast_signed() {
            libc::SIGHUP => Signal::Reload,
            libc::SIGUSR1 => Signal::Reopen,
            _ => Signal::Stop,
        })
    }
}
