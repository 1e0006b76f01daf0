//! The quarantine directory, read back.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::note::{Id, Kind, Note};
use super::place::{Attributes, Content, place};
use super::{aside_name, id_of_aside};
use crate::approvals::{StateError, prepare_directory, state};

/// Below the state directory.
pub const DIRECTORY: &str = "quarantine";

/// Largest note: extended attributes in hexadecimal digits are most of it.
const MAX_NOTE: u64 = 1024 * 1024;

/// The quarantine directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

/// A quarantined file, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub id: Id,
    /// Its note, or why that cannot be read.
    pub note: Result<Note, String>,
}

impl Item {
    /// When it was taken, for the order.
    fn time(&self) -> Option<OffsetDateTime> {
        self.note.as_ref().ok().and_then(|note| OffsetDateTime::parse(&note.time, &Rfc3339).ok())
    }
}

impl Store {
    /// The quarantine of a state directory; it is made if it is not there.
    ///
    /// # Errors
    /// [`StateError`]; others could change what lies there.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let path = state.join(DIRECTORY);
        prepare_directory(&path)?;
        Ok(Store { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that lies here, the newest first. What has no note, or one that cannot be read, is among it last, and
    /// says why.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<Item>> {
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let in_note = || name.to_str().and_then(|name| name.strip_suffix(".json").unwrap_or(name).parse().ok());
            ids.extend(id_of_aside(&name).or_else(in_note));
        }
        let mut items: Vec<Item> = ids.into_iter().map(|id| self.item(id)).collect();
        items.sort_by(|a, b| (b.time(), &b.id).cmp(&(a.time(), &a.id)));
        Ok(items)
    }

    /// How many files lie here, by their notes, which are not read.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn count(&self) -> io::Result<usize> {
        let is_note = |name: &OsStr| Path::new(name).extension().is_some_and(|extension| extension == "json");
        fs::read_dir(&self.path)?.map(|entry| Ok(usize::from(is_note(&entry?.file_name())))).sum()
    }

    /// One quarantined file.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn show(&self, id: &Id) -> io::Result<Item> {
        let is_here = |path: PathBuf| fs::symlink_metadata(path).is_ok();
        let names = [self.note_path(id), self.path.join(id.as_str()), self.path.join(aside_name(id.as_str()))];
        if names.into_iter().any(is_here) {
            Ok(self.item(id.clone()))
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {id} in {}", self.path.display())))
        }
    }

    fn item(&self, id: Id) -> Item {
        let note = self.read_note(&id);
        Item { id, note }
    }

    /// The note of a number.
    ///
    /// # Errors
    /// Why it cannot be read or believed.
    pub fn read_note(&self, id: &Id) -> Result<Note, String> {
        let file = state::open_file(&self.note_path(id), OpenOptions::new().read(true)).map_err(|e| e.to_string())?;
        let mut text = Vec::new();
        file.take(MAX_NOTE + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > MAX_NOTE {
            return Err("it is larger than any note".to_owned());
        }
        let note: Note = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        note.check(id)?;
        Ok(note)
    }

    /// Writes the first note of a number. If that is cut short, nothing has been taken yet.
    ///
    /// # Errors
    /// It cannot be written, or there is one.
    pub fn begin(&self, note: &Note) -> io::Result<()> {
        let path = self.note_path(&note.id);
        let mut file = state::open_file(&path, OpenOptions::new().write(true).create_new(true))?;
        file.write_all(&as_text(note)?)
    }

    /// Writes a note in the place of an earlier one of its number.
    ///
    /// # Errors
    /// It cannot be written; the earlier one is there still.
    pub fn replace(&self, note: &Note) -> io::Result<()> {
        state::write_whole(&self.note_path(&note.id), &as_text(note)?).map(drop)
    }

    /// Forgets what was not taken after all: the note and the copy, but nothing that was moved here.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, id: &Id) -> io::Result<()> {
        state::remove_if_there(&self.path.join(id.as_str()))?;
        state::remove_if_there(&self.note_path(id))
    }

    /// Opens the bytes of a quarantined file, for reading only.
    ///
    /// # Errors
    /// It has none (`InvalidInput`), or they are not there.
    pub fn content(&self, note: &Note) -> io::Result<File> {
        let name = note.content().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("a {} has no content", note.kind.as_str()))
        })?;
        // A file that was moved here is still its owner's: only that it is one can be asked.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.path.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the content is no regular file"));
        }
        Ok(file)
    }

    /// The first `limit` bytes of a quarantined file.
    ///
    /// # Errors
    /// As [`Store::content`].
    pub fn bytes(&self, note: &Note, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.content(note)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Puts a quarantined file back, with all that belongs to it; what lies here stays. `announce` is told which file it
    /// will be before it is there. `false` if there is something of that name.
    ///
    /// # Errors
    /// A special file or a directory (make it by hand), one of which not all is here, and what [`place`] says.
    pub fn restore_to(
        &self,
        note: &Note,
        dir: &File,
        name: &OsStr,
        announce: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<bool> {
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !note.finished {
            return refused(format!("{} is not all here: the guard was ended while it took the file", note.id));
        }
        let attributes = Attributes {
            uid: note.uid,
            gid: note.gid,
            mode: note.mode_bits().unwrap_or_default(),
            times: note.times,
            xattrs: &note.xattrs,
        };
        match (note.kind, &note.target) {
            (Kind::File, _) => {
                let file = self.content(note)?;
                place(dir, name, &Content::File(&file), &attributes, announce)
            }
            (Kind::Symlink, Some(target)) => place(dir, name, &Content::Symlink(&target.0), &attributes, announce),
            (Kind::Symlink, None) => refused("what the link said could not be read when it was taken".to_owned()),
            (Kind::Fifo | Kind::Socket | Kind::Device | Kind::Directory, _) => {
                refused(format!("a {} is not put back: no startup file is one; make it by hand", note.kind.as_str()))
            }
        }
    }

    /// Throws a quarantined file away. `false` if there is none of that number.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn purge(&self, id: &Id) -> io::Result<bool> {
        // The note last: as long as there is one, what is left can be found.
        let names = [self.path.join(id.as_str()), self.path.join(aside_name(id.as_str())), self.note_path(id)];
        let mut found = false;
        for path in names {
            found |= fs::symlink_metadata(&path).is_ok();
            state::remove_if_there(&path)?;
        }
        Ok(found)
    }

    /// Throws away what was taken before that time. What cannot be dated stays. Returns the numbers.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn purge_before(&self, time: OffsetDateTime) -> io::Result<Vec<Id>> {
        let mut purged = Vec::new();
        for item in self.list()? {
            if item.time().is_some_and(|taken| taken < time) && self.purge(&item.id)? {
                purged.push(item.id);
            }
        }
        Ok(purged)
    }

    fn note_path(&self, id: &Id) -> PathBuf {
        self.path.join(format!("{id}.json"))
    }
}

fn as_text(note: &Note) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(note)?;
    text.push(b'\n');
    Ok(text)
}
