//! Lines for the local syslog daemon.
//!
//! The `syslog` crate formats; its own connection is not used: it blocks when the daemon's socket is full and never
//! connects again when the daemon was restarted.

use std::path::PathBuf;

use ::syslog::{Facility, Formatter3164, LogFormat};

use super::datagrams::{DatagramSink, Severity};
use super::escape::escape_path;
use super::record::Record;
use super::text::text_line;

/// The sink at a syslog daemon's socket.
///
/// RFC 3164 rather than 5424, because journald and the local socket of rsyslog read nothing else. The formatter writes
/// the time in UTC; both take the time of arrival instead.
pub(super) fn syslog_sink(path: PathBuf) -> DatagramSink {
    let formatter = Formatter3164 {
        facility: Facility::LOG_AUTHPRIV,
        hostname: None,
        process: "pthguard".into(),
        pid: std::process::id(),
    };
    let name = format!("syslog {}", escape_path(&path));
    DatagramSink::new(name, path, Box::new(move |record| message(&formatter, record)))
}

fn message(formatter: &Formatter3164, record: &Record) -> Vec<u8> {
    let severity = match Severity::of(record) {
        Severity::Error => ::syslog::Severity::LOG_ERR,
        Severity::Warning => ::syslog::Severity::LOG_WARNING,
        Severity::Notice => ::syslog::Severity::LOG_NOTICE,
        Severity::Info => ::syslog::Severity::LOG_INFO,
    };
    let mut message = Vec::with_capacity(512);
    // Writing to a Vec does not fail; if it did, what is there is better than nothing.
    let _ = formatter.format(&mut message, severity, text_line(record));
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::fs;
    use std::os::unix::net::UnixDatagram;
    use std::time::{Duration, Instant};

    use super::super::health::Sink;
    use super::super::record::{Action, Outcome};
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
        let mut sink = syslog_sink(path);
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
        let mut sink = syslog_sink(path.clone());
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
        let mut sink = syslog_sink(path.clone());
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
        let mut sink = syslog_sink(path);
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
        let mut sink = syslog_sink(path);
        sink.write(&[sample::denied_write(0, 1), sample::denied_write(0, 1)], now);
        sink.write(&[sample::denied_write(0, 1)], now);
        assert_eq!(sink.health().lost_ever(), 3);
        assert!(sink.health().trouble().is_some());
    }
}
