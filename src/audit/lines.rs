//! Lines into a file, standard output or standard error: JSON for collectors, text for people.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use super::escape::escape_path;
use super::format::{Render, render};
use super::health::{Backoff, Health, Sink};
use super::logfile::{LogFile, Rotated};
use super::record::Record;
use super::text::push_stderr_line;
use crate::model::JsonFormat;

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
    File(LogFile),
}

impl Lines {
    /// JSON into a file, which is opened now so that a wrong path is found at start, and rotated before it is larger than
    /// `max_size`.
    pub(super) fn json_file(
        path: PathBuf,
        max_size: Option<u64>,
        format: JsonFormat,
        now: Instant,
    ) -> io::Result<Self> {
        let name = format!("json log {}", escape_path(&path));
        Ok(Lines::new(name, Target::File(LogFile::open(path, max_size, now)?), render(format)))
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

    /// Writes the lines with as few calls as the kernel allows and says how far it came.
    fn write_out(&mut self, lines: &[u8], now: Instant) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < lines.len() {
            let rest = &lines[written..];
            let part = match self.make_room(rest, now) {
                Ok(part) => &rest[..part],
                Err(error) => return (written, Err(error)),
            };
            let (done, result) = self.write_part(part, now);
            written += done;
            self.torn |= done > 0 && part[done - 1] != b'\n';
            if let Target::File(log) = &mut self.target {
                log.wrote(done);
            }
            if result.is_err() {
                return (written, result);
            }
        }
        (written, Ok(()))
    }

    /// How much of the lines goes into the file as it is, after it was rotated if it had to be.
    fn make_room(&mut self, lines: &[u8], now: Instant) -> io::Result<usize> {
        let Target::File(log) = &mut self.target else { return Ok(lines.len()) };
        loop {
            let (_, is_new) = log.file(now)?;
            self.torn &= !is_new;
            if let Some(part) = log.fitting(lines, now) {
                return Ok(part);
            }
            let path = escape_path(log.path()).into_owned();
            match log.rotate(now) {
                Ok(Rotated::BySomebodyElse) => {}
                Ok(Rotated::Renamed { size, replaced }) => {
                    let old = escape_path(&log.old_path()).into_owned();
                    let gone = if replaced { "; the file of that name before it is gone" } else { "" };
                    self.health.rotated(format!("json log {path} had {size} bytes and is {old} now{gone}"));
                }
                Err(error) => {
                    self.health.complain(format!("json log {path} cannot be rotated and grows: {error}"), now)
                }
            }
        }
    }

    fn write_part(&mut self, part: &[u8], now: Instant) -> (usize, io::Result<()>) {
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
        while written < part.len() {
            match file.write(&part[written..]) {
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

    fn reopen(&mut self, now: Instant) {
        if let Target::File(log) = &mut self.target {
            match log.reopen(now) {
                Ok(is_new) => self.torn &= !is_new,
                Err(error) => self.health.complain(format!("json log cannot be opened anew: {error}"), now),
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
            Target::File(log) => log.file(now),
        }
    }

    /// Gives up a file that does not work. The streams have nowhere else to come from.
    fn close(&mut self) {
        match self {
            Target::Stream(_) => {}
            Target::File(log) => log.close(),
        }
    }
}

#[cfg(test)]
mod tests;
