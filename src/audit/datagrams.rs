//! One record, one datagram, to whoever keeps the system's log.
//!
//! A socket of the system's log may be full, gone or new at any time. Nothing here waits for it: what finds it full is dropped
//! and counted, and one that was started anew is found again.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Instant;

use super::health::{Backoff, Health, Sink};
use super::record::{Action, Outcome, Record};

/// Makes the datagram of a record.
pub(super) type Encode = Box<dyn Fn(&Record) -> Vec<u8> + Send>;

/// A sink of datagrams.
pub(super) struct DatagramSink {
    socket: Datagrams,
    encode: Encode,
    health: Health,
}

impl DatagramSink {
    /// Does not connect yet: whoever listens there may start later than the guard.
    pub(super) fn new(name: String, path: PathBuf, encode: Encode) -> Self {
        DatagramSink {
            socket: Datagrams { path, socket: None, backoff: Backoff::new() },
            encode,
            health: Health::new(name),
        }
    }

    fn send(&mut self, record: &Record, now: Instant) -> io::Result<()> {
        self.socket.send(&(self.encode)(record), now)
    }
}

impl Sink for DatagramSink {
    fn write(&mut self, records: &[Record], now: Instant) {
        if let Some(owed) = self.health.owed()
            && (!self.socket.may_try(now) || self.send(&owed, now).is_err())
        {
            return self.health.lose(records.len());
        }
        self.health.settle();
        for (sent, record) in records.iter().enumerate() {
            if let Err(error) = self.send(record, now) {
                self.health.fail(&error, now);
                // The next ones would find the same: what is left of this batch counts as lost with this one.
                return self.health.lose(records.len() - sent);
            }
        }
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }
}

/// How much a record matters, in the numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

impl Severity {
    pub(super) fn of(record: &Record) -> Self {
        match (record.outcome, record.action) {
            (Some(Outcome::Deny), _) => Severity::Warning,
            (Some(Outcome::WouldDeny), _) => Severity::Notice,
            (_, Action::Failure) => Severity::Error,
            (_, Action::Refused | Action::Kill) => Severity::Warning,
            (Some(Outcome::Allow) | None, _) => Severity::Info,
        }
    }
}

/// A datagram socket that never blocks and finds its way back.
struct Datagrams {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    backoff: Backoff,
}

impl Datagrams {
    fn may_try(&self, now: Instant) -> bool {
        self.socket.is_some() || self.backoff.is_over(now)
    }

    fn send(&mut self, message: &[u8], now: Instant) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(message) {
                Err(error) if is_lost(&error) => self.socket = None,
                done => return done.map(drop),
            }
        }
        // The daemon was restarted, most likely, and a new socket takes this very message.
        let connected = self.connect(now)?;
        let done = connected.send(message);
        match &done {
            Err(error) if is_lost(error) => self.backoff.failed(now),
            _ => {
                self.backoff.succeeded();
                self.socket = Some(connected);
            }
        }
        done.map(drop)
    }

    fn connect(&mut self, now: Instant) -> io::Result<UnixDatagram> {
        if !self.backoff.is_over(now) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "not connected; waiting before the next attempt"));
        }
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(&self.path)?;
            Ok(socket)
        };
        connect().inspect_err(|_| self.backoff.failed(now))
    }
}

/// Whether the socket is of no use any more. All else concerns one message: the queue is full (`EAGAIN`, `ENOBUFS`),
/// or it is too long.
fn is_lost(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EMSGSIZE | libc::EINTR))
}
