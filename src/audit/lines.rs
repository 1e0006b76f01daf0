//! Lines into a file, standard output or standard error: JSON for collectors, text for people.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::escape::escape_path;
use super::format::{Render, render};
use super::health::{Backoff, Health, Sink};
use super::record::Record;
use super::text::push_stderr_line;
use crate::model::JsonFormat;

/// How often a log file's name is looked up again: whoever rotates it renames it and expects a new one.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A sink of whole lines.
pub(super) struct Lines {
    target: Target,
    render: Render,
    /// The last write ended within a line, which has to be ended before the next begins.
    torn: bool,
    backoff: Backoff,
    health: Health,
}

enum Target {
    Stream(File),
    Path { path: PathBuf, open: Option<LogFile> },
}

struct LogFile {
    file: File,
    looked: Instant,
}

impl Lines {
    /// JSON into a file, which is opened now so that a wrong path is found at start.
    pub(super) fn json_file(path: PathBuf, format: JsonFormat, now: Instant) -> io::Result<Self> {
        let open = Some(LogFile { file: open_log(&path)?, looked: now });
        let name = format!("json log {}", escape_path(&path));
        Ok(Lines::new(name, Target::Path { path, open }, render(format)))
    }

    /// JSON on standard output.
    pub(super) fn json_stdout(format: JsonFormat) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Lines::new("json on standard output".into(), Target::Stream(file), render(format)))
    }

    /// Text on standard error.
    pub(super) fn text_stderr() -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Lines::new("standard error".into(), Target::Stream(file), Box::new(push_stderr_line)))
    }

    fn new(name: String, target: Target, render: Render) -> Self {
        Lines { target, render, torn: false, backoff: Backoff::new(), health: Health::new(name) }
    }

    /// Writes the buffer with as few calls as the kernel allows and says how far it came.
    fn write_out(&mut self, lines: &[u8], now: Instant) -> (usize, io::Result<()>) {
        let mut file = match self.target.file(now) {
            Ok((file, is_new)) => {
                self.torn &= !is_new;
                file
            }
            Err(error) => return (0, Err(error)),
        };
        if self.torn {
            if let Err(error) = file.write_all(b"\n") {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match file.write(&lines[written..]) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

impl Sink for Lines {
    fn write(&mut self, records: &[Record], now: Instant) {
        let owed = self.health.owed();
        if records.is_empty() && owed.is_none() {
            return;
        }
        if !self.backoff.is_over(now) {
            return self.health.lose(records.len());
        }
        let mut lines = Vec::with_capacity(1024 * (records.len() + 1));
        for record in owed.iter().chain(records) {
            (self.render)(record, &mut lines);
        }
        let (written, result) = self.write_out(&lines, now);
        let mut whole_lines = lines[..written].iter().filter(|byte| **byte == b'\n').count();
        if written > 0 {
            self.torn = lines[written - 1] != b'\n';
        }
        if owed.is_some() && whole_lines > 0 {
            self.health.settle();
            whole_lines -= 1;
        }
        match result {
            Ok(()) => self.backoff.succeeded(),
            Err(error) => {
                self.health.lose(records.len() - whole_lines);
                self.health.fail(&error, now);
                self.backoff.failed(now);
                self.target.close();
            }
        }
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }
}

impl Target {
    /// The open file, and whether it is another one than before.
    fn file(&mut self, now: Instant) -> io::Result<(&File, bool)> {
        match self {
            Target::Stream(file) => Ok((file, false)),
            Target::Path { path, open } => {
                let mut is_new = false;
                if let Some(log) = open
                    && now.saturating_duration_since(log.looked) >= LOOK_AGAIN
                {
                    log.looked = now;
                    if !is_at(&log.file, path) {
                        *open = None;
                        is_new = true;
                    }
                }
                let log = match open {
                    Some(log) => log,
                    None => open.insert(LogFile { file: open_log(path)?, looked: now }),
                };
                Ok((&log.file, is_new))
            }
        }
    }

    /// Gives up a file that does not work. The streams have nowhere else to come from.
    fn close(&mut self) {
        match self {
            Target::Stream(_) => {}
            Target::Path { open, .. } => *open = None,
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Opens for appending, for nobody but root. `O_NONBLOCK` matters for a FIFO alone: one without reader must not hold
/// up the start.
fn open_log(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|error| with_path(parent, &error))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| with_path(path, &error))
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", escape_path(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    use serde_json::Value;

    use super::super::sample;
    use super::*;

    fn parsed(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    /// Sends later lines elsewhere, as a disk with room again would be.
    fn redirect(sink: &mut Lines, to: &Path) {
        sink.target = Target::Path { path: to.to_owned(), open: None };
    }

    #[test]
    fn file_and_directory_are_made_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/pthguard/events.ndjson");
        let now = Instant::now();
        let mut sink = Lines::json_file(path.clone(), JsonFormat::Ecs, now).unwrap();
        sink.write(&[sample::full(), sample::hostile(b"\n\xff")], now);
        sink.write(&[sample::full()], now);
        assert_eq!(parsed(&path).len(), 3);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_link_in_the_files_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("events"), dir.path().join("victim"));
        symlink(&victim, &path).unwrap();
        assert!(Lines::json_file(path, JsonFormat::Ecs, Instant::now()).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn a_full_disk_is_counted_and_the_count_written_when_there_is_room() {
        let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let mut sink = Lines::json_file("/dev/full".into(), JsonFormat::Ecs, now).unwrap();
        sink.write(&[sample::full(), sample::full()], now);
        let trouble = sink.health().trouble().and_then(|record| record.message).unwrap();
        assert!(trouble.contains("/dev/full") && trouble.contains("No space left"), "{trouble}");
        sink.write(&[sample::full()], now);
        assert!(sink.health().trouble().is_none());

        let path = dir.path().join("events");
        redirect(&mut sink, &path);
        sink.write(&[sample::full()], now + Duration::from_millis(199));
        assert!(!path.exists(), "not before the pause is over");
        sink.write(&[sample::full()], now + Duration::from_millis(200));
        let records = parsed(&path);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0]["event"]["action"], "failure");
        assert_eq!(records[0]["pthguard"]["count"], 4);
        assert!(!sink.health().owes());
        assert_eq!(sink.health().lost_ever(), 4);
    }

    #[test]
    fn what_is_owed_is_written_without_waiting_for_the_next_record() {
        let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let mut sink = Lines::json_file("/dev/full".into(), JsonFormat::Ecs, now).unwrap();
        sink.write(&[sample::full()], now);
        let path = dir.path().join("events");
        redirect(&mut sink, &path);
        sink.write(&[], now + Duration::from_secs(1));
        assert_eq!(parsed(&path)[0]["pthguard"]["count"], 1);
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_begins() {
        let now = Instant::now();
        // A stream that takes a part of what it is given, as a disk that fills up does.
        let (end, mut reader) = UnixStream::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        reader.set_nonblocking(true).unwrap();
        let mut read = || {
            let mut bytes = Vec::new();
            let _ = reader.read_to_end(&mut bytes);
            bytes
        };
        let stream = Target::Stream(OwnedFd::from(end).into());
        let mut sink = Lines::new("stream".into(), stream, render(JsonFormat::Ecs));
        let batch = vec![sample::full(); 2000];
        sink.write(&batch, now);
        let lost = sink.health().lost_ever();
        assert!(sink.torn && 0 < lost && lost < 2000);
        let mut bytes = read();
        sink.write(&batch[..1], now + Duration::from_secs(1));
        bytes.extend(read());

        let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
        let records: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(lines.len(), records.len() + 2, "one torn line, and nothing behind the last");
        assert_eq!(records.len() as u64, 2000 - lost + 2);
        assert_eq!(records[records.len() - 2]["pthguard"]["count"], lost);
    }

    #[test]
    fn a_rotated_file_is_replaced() {
        let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let (path, rotated) = (dir.path().join("events"), dir.path().join("events.1"));
        let mut sink = Lines::json_file(path.clone(), JsonFormat::Ecs, now).unwrap();
        sink.write(&[sample::full()], now);
        fs::rename(&path, &rotated).unwrap();
        sink.write(&[sample::full()], now + LOOK_AGAIN);
        assert_eq!((parsed(&rotated).len(), parsed(&path).len()), (1, 1));
        assert_eq!(mode(&path), 0o600);
    }
}
