//! The store on disk: a file that is only ever appended to, one JSON object a line, each with a checksum.
//!
//! Appending a line is the smallest change that a crash can cut short: what is lost is the change under way, and the
//! cut shows, because the last line then has no end. Anything else that does not read is damage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::change::{Change, v1};
use super::state::{self, StateError, open_file};

const NAME: &str = "approvals.ndjson";
/// The name of the first journal until the baseline is complete.
const BASELINE_NAME: &str = "approvals.ndjson.new";
const VERSION: u64 = 2;
/// Lines that later ones have replaced, beyond which the journal is written anew.
const MAX_STALE: usize = 1000;

#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    baseline: bool,
    /// Lines of changes.
    lines: usize,
    /// With how many lines writing it anew is tried next; after a failure not at once.
    rewrite_at: usize,
    /// Length without the change under way.
    whole: u64,
    /// A change could neither be written nor be taken back: what the disk has is not what memory has.
    doubtful: bool,
}

fn header(version: u64) -> String {
    format!("{{\"pthguard\":\"approvals\",\"version\":{version}}}")
}

impl Journal {
    /// Opens the journal and returns its changes, or starts one in a directory that has never been used. Whether it has
    /// to be written anew, because it is of an earlier version or cut short, is the third.
    pub(super) fn open(dir: &Path) -> Result<(Self, Vec<Change>, bool), StateError> {
        let path = dir.join(NAME);
        let io_error = |source| StateError::Io { path: path.clone(), source };
        let mut file = match open_file(&path, OpenOptions::new().read(true).append(true)) {
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if in_use(dir).map_err(io_error)? {
                    return Err(StateError::Missing { path, dir: dir.to_owned() });
                }
                return Self::start(dir).map(|journal| (journal, Vec::new(), false));
            }
            opened => opened?,
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io_error)?;
        let Parsed { changes, version, cut } = parse(&text).map_err(|problem| problem.at(&path, dir))?;
        let mut journal = Self::over(dir, file, changes.len());
        journal.whole = text.len() as u64;
        Ok((journal, changes, cut || version < VERSION))
    }

    /// The changes of a journal that is there, for those who only look.
    pub(super) fn peek(dir: &Path) -> Result<Option<Vec<Change>>, StateError> {
        let path = dir.join(NAME);
        let mut text = Vec::new();
        let read = open_file(&path, OpenOptions::new().read(true)).and_then(|mut file| {
            file.read_to_end(&mut text).map_err(|source| StateError::Io { path: path.clone(), source })
        });
        match read {
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        Ok(Some(parse(&text).map_err(|problem| problem.at(&path, dir))?.changes))
    }

    fn over(dir: &Path, file: File, lines: usize) -> Self {
        Journal { dir: dir.to_owned(), file, baseline: false, lines, rewrite_at: 0, whole: 0, doubtful: false }
    }

    fn start(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(BASELINE_NAME);
        let io_error = |source| StateError::Io { path: path.clone(), source };
        state::remove_if_there(&path).map_err(io_error)?;
        let mut file = open_file(&path, OpenOptions::new().append(true).create_new(true))?;
        let header = header(VERSION) + "\n";
        file.write_all(header.as_bytes()).map_err(io_error)?;
        Ok(Journal { baseline: true, whole: header.len() as u64, ..Self::over(dir, file, 0) })
    }

    pub(super) fn is_baseline(&self) -> bool {
        self.baseline
    }

    /// Gives the first journal its name, once the baseline is complete.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        if self.baseline {
            self.file.sync_all()?;
            fs::rename(self.dir.join(BASELINE_NAME), self.dir.join(NAME))?;
            self.baseline = false;
            state::sync_directory(&self.dir)?;
        }
        Ok(())
    }

    /// Writes a change. It counts after [`Journal::sync`]; [`Journal::take_back`] removes it until then.
    pub(super) fn append(&mut self, change: &Change) -> io::Result<()> {
        let line = change.to_line()?;
        self.lines += 1;
        self.file.write_all(line.as_bytes()).inspect_err(|_| self.take_back())
    }

    /// Waits until the disk has the change; during the baseline [`Journal::publish`] does, once for all.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.baseline {
            self.file.sync_data()?;
        }
        self.whole = self.file.metadata()?.len();
        Ok(())
    }

    /// Removes the change under way, half a line included, which would read as damage once another follows.
    pub(super) fn take_back(&mut self) {
        self.lines = self.lines.saturating_sub(1);
        let removed = self.file.set_len(self.whole).and_then(|()| self.file.sync_data());
        self.doubtful |= removed.is_err();
    }

    /// Whether it must be written anew before the next change.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether so much of it is replaced by what follows that it should be written anew.
    pub(super) fn is_stale(&self, live: usize) -> bool {
        !self.baseline && self.lines > live + MAX_STALE && self.lines >= self.rewrite_at
    }

    /// Writes the journal anew, beside the old one, and puts it in its place.
    pub(super) fn rewrite(&mut self, changes: &[Change]) -> io::Result<()> {
        self.rewrite_at = self.lines + MAX_STALE;
        let path = self.dir.join(if self.baseline { BASELINE_NAME } else { NAME });
        let mut text = header(VERSION) + "\n";
        for change in changes {
            text.push_str(&change.to_line()?);
        }
        let (new, mut file) = state::begin_beside(&path)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.and_then(|()| fs::rename(&new, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })?;
        // From here on the new one is the journal, whatever becomes of the directory on disk.
        self.file = file;
        self.lines = changes.len();
        self.whole = text.len() as u64;
        self.doubtful = false;
        self.rewrite_at = 0;
        state::sync_directory(&self.dir)
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

struct Parsed {
    changes: Vec<Change>,
    version: u64,
    /// The last line was cut short.
    cut: bool,
}

#[derive(Debug)]
enum Problem {
    Damage { line: usize, problem: String },
    Newer { version: u64 },
}

impl Problem {
    fn at(self, path: &Path, dir: &Path) -> StateError {
        let (path, dir) = (path.to_owned(), dir.to_owned());
        match self {
            Problem::Damage { line, problem } => StateError::Damaged { path, line, problem, dir },
            Problem::Newer { version } => StateError::Newer { path, version, known: VERSION, dir },
        }
    }
}

fn parse(text: &[u8]) -> Result<Parsed, Problem> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (text, tail) = text.split_at(whole);
    let damage = |at: usize, problem| Problem::Damage { line: at + 1, problem };
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1]).enumerate();
    let version = version(lines.next().map_or(&[], |(_, header)| header))?;
    let read = |line: &[u8]| {
        let line = str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        if version == 1 { v1::from_line(line) } else { Change::from_line(line) }
    };
    let changes = lines.map(|(at, line)| read(line).map_err(|problem| damage(at, problem)));
    let mut changes = changes.collect::<Result<Vec<_>, _>>()?;
    // A line that was cut short is the beginning of one: never a whole one and then something else.
    let at = changes.len() + 1;
    if let Ok(change) = read(tail) {
        changes.push(change);
    } else if let Some((_, rest)) = tail.split_last()
        && read(rest).is_ok()
    {
        return Err(damage(at, "the end of the line is damaged".to_owned()));
    }
    Ok(Parsed { changes, version, cut: !tail.is_empty() })
}

fn version(line: &[u8]) -> Result<u64, Problem> {
    let foreign = || Problem::Damage { line: 1, problem: format!("the first line is not {}", header(VERSION)) };
    let line = str::from_utf8(line).map_err(|_| foreign())?;
    let digits = line.strip_prefix("{\"pthguard\":\"approvals\",\"version\":").and_then(|rest| rest.strip_suffix('}'));
    let version: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(foreign)?;
    match version {
        1..=VERSION if line == header(version) => Ok(version),
        _ if version > VERSION => Err(Problem::Newer { version }),
        _ => Err(foreign()),
    }
}
