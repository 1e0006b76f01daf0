//! Lines for the local syslog daemon.
//!
//! The `syslog` crate formats; its own connection is not used: it blocks when the daemon's socket is full and never
//! connects again when the daemon was restarted. Here a message that finds the socket full is dropped and counted.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Instant;

use ::syslog::{Facility, Formatter3164, LogFormat, Logger, Severity};

use super::escape::escape_path;
use super::health::{Backoff, Health, Sink};
use super::record::{Action, Outcome, Record};
use super::text::text_line;

/// The syslog sink.
///
/// RFC 3164 rather than 5424, because journald and the local socket of rsyslog read nothing else. The formatter writes
/// the time in UTC; both take the time of arrival instead.
pub(super) struct SyslogSink {
    logger: Logger<Datagrams, Formatter3164>,
    health: Health,
}

impl SyslogSink {
    /// Does not connect yet: the syslog daemon may start later than the guard.
    pub(super) fn new(path: PathBuf, now: Instant) -> Self {
        let formatter = Formatter3164 {
            facility: Facility::LOG_AUTHPRIV,
            hostname: None,
            process: "pthguard".into(),
            pid: std::process::id(),
        };
        let health = Health::new(format!("syslog {}", escape_path(&path)));
        SyslogSink { logger: Logger::new(Datagrams::new(path, now), formatter), health }
    }

    fn send(&mut self, record: &Record) -> Result<(), ::syslog::Error> {
        let Logger { formatter, backend } = &mut self.logger;
        formatter.format(backend, severity(record), text_line(record))
    }
}

impl Sink for SyslogSink {
    fn write(&mut self, records: &[Record], now: Instant) {
        self.logger.backend.now = now;
        if let Some(owed) = self.health.owed()
            && (!self.logger.backend.may_try() || self.send(&owed).is_err())
        {
            return self.health.lose(records.len());
        }
        self.health.settle();
        for (sent, record) in records.iter().enumerate() {
            if let Err(error) = self.send(record) {
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

fn severity(record: &Record) -> Severity {
    match (record.outcome, record.action) {
        (Some(Outcome::Deny), _) => Severity::LOG_WARNING,
        (Some(Outcome::WouldDeny), _) => Severity::LOG_NOTICE,
        (_, Action::Failure) => Severity::LOG_ERR,
        (_, Action::Refused | Action::Kill) => Severity::LOG_WARNING,
        (Some(Outcome::Allow) | None, _) => Severity::LOG_INFO,
    }
}

/// A datagram socket that never blocks and finds its way back. One `write` or `write_fmt` is one message.
struct Datagrams {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    backoff: Backoff,
    /// The time, as the sink was told: `Write` has no place for it.
    now: Instant,
}

impl Datagrams {
    fn new(path: PathBuf, now: Instant) -> Self {
        Datagrams { path, socket: None, backoff: Backoff::new(), now }
    }

    fn may_try(&self) -> bool {
        self.socket.is_some() || self.backoff.is_over(self.now)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<usize> {
        if let Some(socket) = &self.socket {
            match socket.send(message) {
                Err(error) if is_lost(&error) => self.socket = None,
                done => return done,
            }
        }
        // The daemon was restarted, most likely, and a new socket takes this very message.
        let connected = self.connect()?;
        let done = connected.send(message);
        match &done {
            Err(error) if is_lost(error) => self.backoff.failed(self.now),
            _ => {
                self.backoff.succeeded();
                self.socket = Some(connected);
            }
        }
        done
    }

    fn connect(&mut self) -> io::Result<UnixDatagram> {
        if !self.backoff.is_over(self.now) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "not connected; waiting before the next attempt"));
        }
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(&self.path)?;
            Ok(socket)
        };
        connect().inspect_err(|_| self.backoff.failed(self.now))
    }
}

/// Whether the socket is of no use any more. All else concerns one message: the queue is full (`EAGAIN`, `ENOBUFS`),
/// or it is too long.
fn is_lost(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EMSGSIZE | libc::EINTR))
}

impl Write for Datagrams {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.send(message)
    }

    /// The default would send every piece of the format as a message of its own.
    fn write_fmt(&mut self, message: fmt::Arguments<'_>) -> io::Result<()> {
        self.send(message.to_string().as_bytes()).map(|_| ())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::fs;
    use std::time::Duration;

    use super::super::sample;
    use super::*;

    struct Daemon {
        socket: UnixDatagram,
    }

    impl Daemon {
        fn at(path: &PathBuf) -> Self {
            let socket = UnixDatagram::bind(path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Daemon { socket }
        }

        fn received(&self) -> Vec<String> {
            let mut buffer = [0; 8192];
            std::iter::from_fn(|| {
                self.socket.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into())
            })
            .collect()
        }
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        (dir, path)
    }

    #[test]
    fn one_record_is_one_message_of_the_right_priority() {
        let (_dir, path) = place();
        let (daemon, now) = (Daemon::at(&path), Instant::now());
        let mut sink = SyslogSink::new(path, now);
        let would_deny = Record { outcome: Some(Outcome::WouldDeny), ..sample::denied_write(0, 1) };
        let failure = Record::new(Action::Failure).saying("disk full");
        sink.write(&[sample::denied_write(0, 1), would_deny, Record::new(Action::Start), failure], now);
        let messages = daemon.received();
        assert_eq!(messages.len(), 4);
        let tag = format!("pthguard[{}]: ", std::process::id());
        // AUTHPRIV is 10: 80 and the severity.
        for (message, (priority, text)) in messages.iter().zip([
            ("<84>", "deny write /usr/lib/python3/dist-packages/x.pth pid=4242 uid=0"),
            ("<85>", "would-deny write /usr"),
            ("<86>", "start"),
            ("<83>", "failure message=\"disk full\""),
        ]) {
            assert!(message.starts_with(priority) && message.contains(&format!("{tag}{text}")), "{message}");
        }
    }

    #[test]
    fn a_daemon_that_comes_back_is_found_and_told_what_it_missed() {
        let (_dir, path) = place();
        let now = Instant::now();
        let mut sink = SyslogSink::new(path.clone(), now);
        let first = Daemon::at(&path);
        sink.write(&[sample::denied_write(0, 1)], now);
        assert_eq!(first.received().len(), 1);

        drop(first);
        sink.write(&[sample::denied_write(0, 1)], now);
        fs::remove_file(&path).unwrap();
        sink.write(&[sample::denied_write(0, 1), sample::denied_write(0, 1)], now + Duration::from_secs(1));
        assert!(sink.health().owes());

        let second = Daemon::at(&path);
        sink.write(&[sample::denied_write(0, 1)], now + Duration::from_secs(60));
        let messages = second.received();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].contains("count=3"), "{}", messages[0]);
        assert!(!sink.health().owes());
    }

    #[test]
    fn a_restart_between_two_records_loses_none() {
        let (_dir, path) = place();
        let now = Instant::now();
        let mut sink = SyslogSink::new(path.clone(), now);
        let first = Daemon::at(&path);
        sink.write(&[sample::denied_write(0, 1)], now);
        drop(first);
        fs::remove_file(&path).unwrap();
        let second = Daemon::at(&path);
        sink.write(&[sample::denied_write(0, 1)], now);
        assert_eq!((second.received().len(), sink.health().lost_ever()), (1, 0));
    }

    #[test]
    fn a_full_socket_does_not_block() {
        let (_dir, path) = place();
        let (daemon, now) = (Daemon::at(&path), Instant::now());
        let mut sink = SyslogSink::new(path, now);
        let offered = 5000;
        for _ in 0..offered {
            sink.write(&[sample::denied_write(0, 1)], now);
        }
        let lost = sink.health().lost_ever();
        assert!(lost > 0, "the kernel's queue for a socket is far shorter than this");
        assert!(sink.health().trouble().is_some());
        let received = daemon.received().len() as u64;
        assert_eq!(received + lost, offered);

        sink.write(&[], now);
        let messages = daemon.received();
        assert!(messages.len() == 1 && messages[0].contains(&format!("count={lost}")), "{messages:?}");
    }

    #[test]
    fn no_daemon_at_all_is_only_counted() {
        let (_dir, path) = place();
        let now = Instant::now();
        let mut sink = SyslogSink::new(path, now);
        sink.write(&[sample::denied_write(0, 1), sample::denied_write(0, 1)], now);
        sink.write(&[sample::denied_write(0, 1)], now);
        assert_eq!(sink.health().lost_ever(), 3);
        assert!(sink.health().trouble().is_some());
    }
}
