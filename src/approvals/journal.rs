//! The approvals on disk: a file that is only ever appended to, one JSON object a line, each with a checksum.
//!
//! Appending a line is the smallest change that a crash can cut short: what is lost is the change under way, and the
//! cut shows, because the last line then has no end. Anything else that does not read is damage.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::text::FileName;
use super::{Approval, Directory, Metadata, StateError};
use crate::model::{Origin, Sha256};

const NAME: &str = "approvals.ndjson";
/// The name of the first journal until the baseline is complete.
const BASELINE_NAME: &str = "approvals.ndjson.new";
const HEADER: &str = "{\"pthguard\":\"approvals\",\"version\":1}\n";
/// Lines that later ones have replaced, beyond which the journal is written anew at the next start.
const MAX_STALE: usize = 1000;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    directory: FileName,
    handle: String,
    name: FileName,
    sha256: String,
    origin: Origin,
    approved: String,
    #[serde(flatten)]
    metadata: Metadata,
}

/// A line: the change and the first half of its SHA-256, over the bytes as they stand.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    approve: &'a RawValue,
    sum: &'a str,
}

#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    baseline: bool,
}

impl Entry {
    pub(super) fn new(directory: &Directory, name: &OsStr, approval: &Approval) -> Self {
        let now = time::OffsetDateTime::now_utc();
        Entry {
            directory: directory.path.as_os_str().into(),
            handle: directory.handle.clone(),
            name: name.into(),
            sha256: approval.sha256.to_string(),
            origin: approval.origin.clone(),
            approved: now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
            metadata: approval.metadata.clone(),
        }
    }

    pub(super) fn directory(&self) -> Directory {
        let path = OsString::try_from(&self.directory).unwrap_or_default().into();
        Directory { path, handle: self.handle.clone() }
    }

    pub(super) fn name(&self) -> OsString {
        OsString::try_from(&self.name).unwrap_or_default()
    }

    pub(super) fn approval(&self) -> Approval {
        let sha256 = self.sha256.parse().unwrap_or(Sha256([0; 32]));
        Approval { sha256, origin: self.origin.clone(), metadata: self.metadata.clone() }
    }

    /// Whether every field says something; checked once, when it is read.
    fn check(&self) -> Result<(), &'static str> {
        self.sha256.parse::<Sha256>()?;
        OsString::try_from(&self.directory)?;
        OsString::try_from(&self.name).map(drop)
    }

    fn to_line(&self) -> io::Result<String> {
        let entry = serde_json::to_string(self)?;
        let sum = checksum(&entry);
        Ok(format!("{{\"approve\":{entry},\"sum\":\"{sum}\"}}\n"))
    }

    fn from_line(line: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(line).map_err(|error| format!("not a line of this journal ({error})"))?;
        if checksum(line.approve.get()) != line.sum {
            return Err("the checksum does not fit the line".into());
        }
        let entry: Entry = serde_json::from_str(line.approve.get()).map_err(|error| error.to_string())?;
        entry.check()?;
        Ok(entry)
    }
}

fn checksum(text: &str) -> String {
    let mut sum = Sha256::of(text.as_bytes()).to_string();
    sum.truncate(32);
    sum
}

impl Journal {
    /// Opens the journal, or starts one in a directory that has never been used.
    pub(super) fn open(dir: &Path) -> Result<(Self, Vec<Entry>), StateError> {
        let path = dir.join(NAME);
        let io_error = |source| StateError::Io { path: path.clone(), source };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if in_use(dir).map_err(io_error)? {
                    return Err(StateError::Missing { path, dir: dir.to_owned() });
                }
                return Self::start(dir).map_err(io_error);
            }
            Err(error) => return Err(io_error(error)),
        };
        let damaged = |line, problem| StateError::Damaged { path: path.clone(), line, problem, dir: dir.to_owned() };
        let (entries, whole) = parse(&text).map_err(|(line, problem)| damaged(line, problem))?;
        let live = live(&entries);
        let file = if whole < text.len() || entries.len() > live.len() + MAX_STALE {
            rewrite(dir, &live).map_err(io_error)?
        } else {
            append_to(&path).map_err(io_error)?
        };
        Ok((Journal { dir: dir.to_owned(), file, baseline: false }, live))
    }

    /// The last entry for each name, of a journal that is there.
    pub(super) fn peek(dir: &Path) -> Result<Option<Vec<Entry>>, StateError> {
        let path = dir.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let (entries, _) =
            parse(&text).map_err(|(line, problem)| StateError::Damaged { path, line, problem, dir: dir.to_owned() })?;
        Ok(Some(live(&entries)))
    }

    fn start(dir: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let path = dir.join(BASELINE_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(HEADER.as_bytes())?;
        Ok((Journal { dir: dir.to_owned(), file, baseline: true }, Vec::new()))
    }

    pub(super) fn is_baseline(&self) -> bool {
        self.baseline
    }

    /// Gives the first journal its name, once the baseline is complete.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        if self.baseline {
            self.file.sync_all()?;
            fs::rename(self.dir.join(BASELINE_NAME), self.dir.join(NAME))?;
            File::open(&self.dir)?.sync_all()?;
            self.baseline = false;
        }
        Ok(())
    }

    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let line = entry.to_line()?;
        self.file.write_all(line.as_bytes()).inspect_err(|_| {
            // Half a line in the middle would read as damage.
            let _ = self.file.set_len(before);
        })
    }

    /// Waits until the disk has it; during the baseline [`Journal::publish`] does, once for all.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.baseline { Ok(()) } else { self.file.sync_data() }
    }
}

/// Whether a state directory without a journal has been used. A first start that was cut short has left its unfinished
/// journal, and begins anew.
fn in_use(dir: &Path) -> io::Result<bool> {
    let has_entries = |name| match fs::read_dir(dir.join(name)) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    Ok(!dir.join(BASELINE_NAME).exists() && (has_entries("blobs")? || has_entries("quarantine")?))
}

/// The entries, and how many bytes of the text are whole lines.
fn parse(text: &[u8]) -> Result<(Vec<Entry>, usize), (usize, String)> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = str::from_utf8(&text[..whole]).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        (line, "not UTF-8".to_owned())
    })?;
    let mut lines = lines.lines().enumerate();
    match lines.next() {
        Some((_, header)) if header == HEADER.trim_end() => {}
        _ => return Err((1, format!("the first line is not {}", HEADER.trim_end()))),
    }
    let entries: Result<Vec<_>, _> =
        lines.map(|(at, line)| Entry::from_line(line).map_err(|problem| (at + 1, problem))).collect();
    Ok((entries?, whole))
}

/// The last entry for each directory and name.
fn live(entries: &[Entry]) -> Vec<Entry> {
    let mut seen = std::collections::HashSet::new();
    let mut live: Vec<Entry> =
        entries.iter().rev().filter(|entry| seen.insert((entry.directory(), entry.name()))).cloned().collect();
    live.reverse();
    live
}

fn rewrite(dir: &Path, entries: &[Entry]) -> io::Result<File> {
    let mut text = HEADER.to_owned();
    for entry in entries {
        text.push_str(&entry.to_line()?);
    }
    let path = dir.join(NAME);
    write_whole(&path, text.as_bytes())?;
    append_to(&path)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)
}
