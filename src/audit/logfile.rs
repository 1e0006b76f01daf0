//! A log file: where it is now, how large it is, and how it makes room for itself.
//!
//! Somebody else may rotate it: its name is looked up again each second and whenever a signal asks for it. Nobody may: then
//! it is renamed when it has reached its largest size, and its one predecessor goes, so that it never fills a disk.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::escape::escape_path;
use super::health::Backoff;

/// How often a log file's name is looked up again: whoever rotates it renames it and expects a new one.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A log file.
pub(super) struct LogFile {
    path: PathBuf,
    max_size: Option<u64>,
    open: Option<Open>,
    /// Which file was open last, by device and inode.
    last: Option<(u64, u64)>,
    /// Pauses between attempts to rotate.
    backoff: Backoff,
}

struct Open {
    file: File,
    looked: Instant,
    /// Of a regular file: nothing else can be rotated.
    size: Option<u64>,
}

/// What a rotation has done, or somebody else before it.
pub(super) enum Rotated {
    /// It is the predecessor now.
    Renamed {
        /// How large it was.
        size: u64,
        /// Whether there was a predecessor, which is gone.
        replaced: bool,
    },
    /// Another file has its name, or none.
    BySomebodyElse,
}

impl LogFile {
    /// Opens it now, so that a wrong path is found at start.
    pub(super) fn open(path: PathBuf, max_size: Option<u64>, now: Instant) -> io::Result<Self> {
        let mut log = LogFile { path, max_size, open: None, last: None, backoff: Backoff::new() };
        log.reopen(now)?;
        Ok(log)
    }

    #[cfg(test)]
    pub(super) fn not_open(path: PathBuf) -> Self {
        LogFile { path, max_size: None, open: None, last: None, backoff: Backoff::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the predecessor.
    pub(super) fn old_path(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".1");
        PathBuf::from(name)
    }

    /// The open file, and whether it is another one than before.
    pub(super) fn file(&mut self, now: Instant) -> io::Result<(&File, bool)> {
        if let Some(open) = &mut self.open
            && now.saturating_duration_since(open.looked) >= LOOK_AGAIN
        {
            open.looked = now;
            if is_at(&open.file, &self.path) {
                open.size = size(&open.file); // somebody may have emptied it
            } else {
                self.open = None;
            }
        }
        let is_new = if self.open.is_none() { self.reopen(now)? } else { false };
        let open = self.open.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok((&open.file, is_new))
    }

    /// Opens whatever has the name now, and says whether it is another file than before. Where it cannot be opened lines go
    /// where they went.
    pub(super) fn reopen(&mut self, now: Instant) -> io::Result<bool> {
        let file = open_log(&self.path)?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        let is_new = self.last.replace(identity) != Some(identity);
        self.open = Some(Open { size: size(&file), file, looked: now });
        Ok(is_new)
    }

    /// Gives up a file that does not work.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(Open { size: Some(size), .. }) = &mut self.open {
            *size += bytes as u64;
        }
    }

    /// How many bytes of these lines the open file has room for: whole lines, one at least if it is empty. None: it is to be
    /// rotated before.
    pub(super) fn fitting(&self, lines: &[u8], now: Instant) -> Option<usize> {
        let (Some(max), Some(Open { size: Some(size), .. })) = (self.max_size, &self.open) else {
            return Some(lines.len());
        };
        let room = usize::try_from(max.saturating_sub(*size)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return Some(lines.len());
        }
        let end_of_line = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        let first_line = || lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
        match end_of_line(&lines[..room]) {
            Some(end) => Some(end),
            None if *size == 0 => Some(first_line()),
            // It could not be rotated a moment ago: too large is better than lost.
            None if !self.backoff.is_over(now) => Some(lines.len()),
            None => None,
        }
    }

    /// Makes the open file the predecessor. The next line goes into a new one.
    ///
    /// # Errors
    /// What rename(2) says; the file stays in use.
    pub(super) fn rotate(&mut self, now: Instant) -> io::Result<Rotated> {
        let Some(open) = &self.open else { return Ok(Rotated::BySomebodyElse) };
        if !is_at(&open.file, &self.path) {
            self.open = None;
            return Ok(Rotated::BySomebodyElse);
        }
        let (size, old) = (open.size.unwrap_or(0), self.old_path());
        let replaced = fs::symlink_metadata(&old).is_ok();
        if let Err(error) = fs::rename(&self.path, &old) {
            self.backoff.failed(now);
            return Err(error);
        }
        self.backoff.succeeded();
        self.open = None;
        Ok(Rotated::Renamed { size, replaced })
    }
}

fn size(file: &File) -> Option<u64> {
    file.metadata().ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
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
