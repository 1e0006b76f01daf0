//! Where denied newcomers go: nothing is lost, and nothing stays where an interpreter would find it.
//!
//! A newcomer is taken out of its directory by a rename, which is atomic and works on the entry, and only then looked
//! at: if it is not the file that was judged, it goes back. Unlinking a name instead could remove what somebody put
//! there in the meantime.
//!
//! ```text
//! note, unfinished ─▶ x.pth to .pthguard-ID ─▶ copy ─▶ note, finished ─▶ .pthguard-ID removed
//! ```
//!
//! Wherever that is cut short, either the file still has its name, or it lies aside with a note that tells where it
//! belongs: [`Quarantine::recover`] goes on from there. Nothing waits for the disk on the way: a newcomer must be gone
//! before somebody reads it, and only a loss of power could lose it.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use nix::fcntl::{OFlag, readlinkat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::sites::SiteDir;
use super::walk::reach_local;
use crate::approvals::{Directory, StateError, Xattrs};
use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Known};
use crate::model::Sha256;
use crate::quarantine::{Id, Kind, Note, Store, Why, aside_name, copy_sparse, id_of_aside, is_aside, rename_new};

/// The quarantine directory, for whoever takes files there.
#[derive(Debug)]
pub struct Quarantine {
    store: Store,
    dir: File,
    max_size: u64,
    used: AtomicU64,
    /// When the directory had changed last, as `used` was counted; nanoseconds.
    counted: AtomicI64,
}

/// How much the quarantine may hold, in bytes; notes and directory entries count as a block each. A storm of newcomers
/// must not fill the disk.
pub const CAPACITY: u64 = 256 * 1024 * 1024;
const BLOCK: u64 = 4096;

/// What became of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub enum Quarantined {
    /// It lies in quarantine under this id.
    Kept(String),
    /// It was empty, with no other name: nothing to keep.
    Removed,
    /// The name is gone, or another file's, which has a notice of its own.
    Elsewhere,
}

/// Why [`Quarantine::recover`] takes what it finds.
const LEFT_BEHIND: &str = "left-behind";

impl Quarantine {
    /// Opens the directory below the state directory, and makes it if it is not there. Files larger than `max_size`
    /// are not copied but moved, which works only within one file system.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(state: &Path, max_size: u64) -> Result<Self, StateError> {
        let store = Store::open(state)?;
        let io_error = |source| StateError::Io { path: store.path().to_owned(), source };
        let dir = File::open(store.path()).map_err(io_error)?;
        let used = AtomicU64::new(room_taken(store.path()).map_err(io_error)?);
        Ok(Quarantine { store, dir, max_size, used, counted: AtomicI64::new(0) })
    }

    /// What lies there.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many bytes it takes up on the disk.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes the file out of the directory, if the name is still that file's.
    ///
    /// # Errors
    /// It could not be taken out or not be kept; then it is where it was.
    pub fn take(&self, site: &SiteDir, name: &OsStr, file: &FileId, why: &Why<'_>) -> io::Result<Quarantined> {
        let found = match site.open(name, OFlag::O_PATH) {
            Ok(found) if FileId::of(&found)? == *file => File::from(found),
            Ok(_) => return Ok(Quarantined::Elsewhere),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Quarantined::Elsewhere),
            Err(error) => return Err(error),
        };
        let mut note = self.describe(site, name, &found, why)?;
        let needed = self.make_room(&note, &found.metadata()?)?;
        let taken = self.store.begin(&note).and_then(|()| self.take_whole(site, name, file, &mut note));
        // Where it could not be put back either, it lies aside, and the note is what tells whose name it had.
        let is_aside = || taken.is_err() && site.open(&aside_name(note.id.as_str()), OFlag::O_PATH).is_ok();
        if !matches!(taken, Ok(Quarantined::Kept(_))) && !is_aside() {
            let _ = self.store.forget(&note.id);
            self.used.fetch_sub(needed, Ordering::Relaxed);
        }
        taken
    }

    /// Removes the empty file that a denied creation left behind, if it is that file, empty, with one name.
    ///
    /// # Errors
    /// It could not be taken out of the directory.
    pub fn remove_leftover(&self, site: &SiteDir, name: &OsStr, file: &FileId) -> io::Result<Quarantined> {
        let aside = aside_name(Id::new().as_str());
        let Some(taken) = self.move_aside(site, name, &aside, file)? else {
            return Ok(Quarantined::Elsewhere);
        };
        let metadata = File::from(taken).metadata()?;
        if metadata.len() != 0 || metadata.nlink() != 1 {
            put_back(site, &aside, name)?;
            return Ok(Quarantined::Elsewhere);
        }
        remove(site, &aside)?;
        Ok(Quarantined::Removed)
    }

    /// Finishes what a guard that was killed has left aside in a directory. What lies there without a note that says so
    /// was not taken by a guard, or is a file that was to be put back: it goes to quarantine as it is, and where there
    /// is nothing in it, away.
    ///
    /// # Errors
    /// The directory cannot be read. What cannot be taken is among the results.
    pub fn recover(&self, site: &SiteDir) -> io::Result<Vec<(OsString, io::Result<Quarantined>)>> {
        let mut results = Vec::new();
        for entry in fs::read_dir(fd_link(site.dir.as_fd()))? {
            let name = entry?.file_name();
            if is_aside(&name) {
                let result = self.recover_one(site, &name);
                results.push((name, result));
            }
        }
        Ok(results)
    }

    fn recover_one(&self, site: &SiteDir, aside: &OsStr) -> io::Result<Quarantined> {
        let found = File::from(site.open(aside, OFlag::O_PATH)?);
        let metadata = found.metadata()?;
        // Anybody who can write the directory can make a file of such a name: only what the note says is believed.
        let note = id_of_aside(aside).and_then(|id| self.store.read_note(&id).ok());
        let is_it = |note: &Note| {
            // The note of one that is moved says that it is there before it is.
            let is_here = note.finished && note.kind == Kind::File && self.store.content(note).is_ok();
            !is_here
                && note.directory == directory_of(site)
                && (note.inode, note.kind) == (metadata.ino(), Kind::of(&metadata))
        };
        if let Some(mut note) = note.filter(is_it) {
            self.keep(site, aside, &mut note)?;
            return Ok(Quarantined::Kept(note.id.to_string()));
        }
        let file = FileId::of(&found)?;
        if metadata.is_file() && metadata.len() == 0 && metadata.nlink() == 1 {
            return self.remove_leftover(site, aside, &file);
        }
        let author = serde_json::Value::Null;
        self.take(site, aside, &file, &Why { reason: LEFT_BEHIND, class: None, author: &author })
    }

    fn describe(&self, site: &SiteDir, name: &OsStr, found: &File, why: &Why<'_>) -> io::Result<Note> {
        let metadata = found.metadata()?;
        // Of the descriptor, not of the name: that may be another link's by now.
        let target = metadata.is_symlink().then(|| readlinkat(found, "").ok()).flatten();
        // A file system that does not tell them must not keep a newcomer where it is.
        let xattrs = Xattrs::of(found).unwrap_or_default();
        let mut note = Note::begin(Id::new(), directory_of(site), name, &metadata, xattrs, target, why);
        note.moved = note.kind == Kind::File && metadata.len() > self.max_size;
        Ok(note)
    }

    /// Counts a file in, and returns how much.
    fn make_room(&self, note: &Note, metadata: &fs::Metadata) -> io::Result<u64> {
        let needed = room(metadata) + BLOCK + 2 * note.xattrs.size();
        if metadata.is_file()
            && self.used.load(Ordering::Relaxed) + needed > CAPACITY
            && !self.has_room_again(needed)?
        {
            let path = self.store.path().display();
            return Err(io::Error::other(format!("{path} is full, remove what is not needed")));
        }
        // Links and special files go even so: in place they would do harm, and their notes are small.
        self.used.fetch_add(needed, Ordering::Relaxed);
        Ok(needed)
    }

    /// Counts anew, if somebody has removed something since the last time.
    fn has_room_again(&self, needed: u64) -> io::Result<bool> {
        let directory = fs::metadata(self.store.path())?;
        let changed = directory.mtime() * 1_000_000_000 + directory.mtime_nsec();
        if self.counted.swap(changed, Ordering::Relaxed) != changed {
            self.used.store(room_taken(self.store.path())?, Ordering::Relaxed);
        }
        Ok(self.used.load(Ordering::Relaxed) + needed <= CAPACITY)
    }

    /// Aside first, under a name that no interpreter reads, then into quarantine.
    fn take_whole(&self, site: &SiteDir, name: &OsStr, file: &FileId, note: &mut Note) -> io::Result<Quarantined> {
        let aside = aside_name(note.id.as_str());
        if self.move_aside(site, name, &aside, file)?.is_none() {
            return Ok(Quarantined::Elsewhere);
        }
        if let Err(error) = self.keep(site, &aside, note) {
            put_back(site, &aside, name)?;
            return Err(error);
        }
        Ok(Quarantined::Kept(note.id.to_string()))
    }

    /// What is kept is a copy: whoever has the original open, or another link of it, cannot change the evidence, and it
    /// can be read at once.
    fn keep(&self, site: &SiteDir, aside: &OsStr, note: &mut Note) -> io::Result<()> {
        if note.kind != Kind::File {
            return remove(site, aside); // a link or a special file is all in its note
        }
        note.finished = true;
        if note.moved {
            self.store.replace(note)?;
            // Under the same name: whoever has opened the entry shows with it, and must show as one taken aside.
            return self.take_in(site, aside);
        }
        note.sha256 = Some(self.copy(site, aside, &note.id)?);
        self.store.replace(note)?;
        remove(site, aside)
    }

    /// Moves an entry aside and makes sure that it was the file that is meant. Another one goes back or, where the name
    /// has been taken again, to quarantine: it was replaced by then, whoever's it was.
    fn move_aside(&self, site: &SiteDir, name: &OsStr, aside: &OsStr, file: &FileId) -> io::Result<Option<OwnedFd>> {
        match rename_new(&site.dir, name, &site.dir, aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            moved => moved?,
        }
        let moved = site.open(aside, OFlag::O_PATH)?;
        if FileId::of(&moved)? == *file {
            return Ok(Some(moved));
        }
        match rename_new(&site.dir, aside, &site.dir, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let kept = self.take_in(site, aside);
                kept.or_else(|_| unlinkat(&site.dir, aside, UnlinkatFlags::NoRemoveDir))?;
            }
            put_back => put_back?,
        }
        Ok(None)
    }

    /// Moves an entry to the quarantine of the same file system. The directory is open in a copy of its mount, and a rename
    /// from one mount to another is refused, so it is looked up in the mount that both have.
    fn take_in(&self, site: &SiteDir, aside: &OsStr) -> io::Result<()> {
        let place = reach_local(&site.guarded.path)?;
        let identity = |known: Known| (known.device, known.inode);
        if identity(Known::of(&place.dir)?) != identity(Known::of(&site.dir)?) {
            return Err(io::Error::from_raw_os_error(libc::ESTALE)); // it lies somewhere else now
        }
        match rename_new(&place.dir, aside, &self.dir, aside) {
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => self.carry_in(site, aside),
            moved => moved,
        }
    }

    /// The same from another mount: of another file system, or of the same one, where a service manager gives its services
    /// a mount namespace in which each of their directories is a mount. No more is copied than the quarantine may hold: a
    /// file with holes may grow while it is read.
    fn carry_in(&self, site: &SiteDir, aside: &OsStr) -> io::Result<()> {
        if !File::from(site.open(aside, OFlag::O_PATH)?).metadata()?.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        let source = File::from(site.open(aside, OFlag::O_RDONLY)?);
        let path = self.store.path().join(aside);
        let options = &mut OpenOptions::new();
        let target = options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path)?;
        let carried = copy_sparse(&source, &target, CAPACITY).and_then(|_| remove(site, aside));
        if carried.is_err() {
            let _ = fs::remove_file(&path);
        }
        carried
    }

    fn copy(&self, site: &SiteDir, aside: &OsStr, id: &Id) -> io::Result<Sha256> {
        let source = File::from(site.open(aside, OFlag::O_RDONLY)?);
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that grew meanwhile.
        if source.take(self.max_size + 1).read_to_end(&mut bytes)? as u64 > self.max_size {
            return Err(io::Error::other("the file grew while it was copied"));
        }
        let path = self.store.path().join(id.as_str());
        // Truncated, not made: a guard that was killed may have left a part of it.
        let options = &mut OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        options.open(path)?.write_all(&bytes)?;
        Ok(Sha256::of(&bytes))
    }
}

fn directory_of(site: &SiteDir) -> Directory {
    Directory { path: site.guarded.path.clone(), handle: site.file().handle.to_string() }
}

fn put_back(site: &SiteDir, aside: &OsStr, name: &OsStr) -> io::Result<()> {
    rename_new(&site.dir, aside, &site.dir, name)
}

fn remove(site: &SiteDir, aside: &OsStr) -> io::Result<()> {
    Ok(unlinkat(&site.dir, aside, UnlinkatFlags::NoRemoveDir)?)
}

fn room_taken(quarantine: &Path) -> io::Result<u64> {
    fs::read_dir(quarantine)?.map(|entry| Ok(room(&entry?.metadata()?))).sum()
}

fn room(metadata: &fs::Metadata) -> u64 {
    BLOCK + metadata.blocks() * 512
}
