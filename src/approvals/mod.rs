//! Which bytes are fine under which name in which directory, in memory and on disk.
//!
//! *Owns* the journal and the copies of approved files below the state directory. *Must not* touch a guarded
//! directory. *Hands to* the gate an answer from memory, and to whoever restores a file its bytes and metadata.
//!
//! One approval per directory and name: the latest. A directory is known by its path *and* its file handle: a handle
//! (inode and generation) survives a reboot, device numbers need not; a directory that was put in the place of
//! another has another handle and starts with no approvals.
//!
//! ```text
//! /var/lib/pthguard/
//!   approvals.ndjson     the journal: a header, then one change a line, the last one for a name counts
//!   blobs/SHA256         the approved bytes, to put a replaced file back
//! ```

#![forbid(unsafe_code)]

mod journal;
mod text;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::model::{Origin, Sha256};
use journal::{Entry, Journal};

/// What is kept of an approved file beside its bytes, so that it can come back as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Seconds of the modification time.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nsec: i64,
}

impl From<&fs::Metadata> for Metadata {
    fn from(file: &fs::Metadata) -> Self {
        Metadata {
            uid: file.uid(),
            gid: file.gid(),
            mode: file.mode() & 0o7777,
            mtime: file.mtime(),
            mtime_nsec: file.mtime_nsec(),
        }
    }
}

/// "These bytes under this name are fine."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// Who said so.
    pub origin: Origin,
    /// The file's metadata when it was approved.
    pub metadata: Metadata,
}

/// A directory as approvals know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directory {
    /// Canonical path.
    pub path: PathBuf,
    /// Its file handle, `TYPE:HEX`.
    pub handle: String,
}

/// A directory's number in one store, for quick look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryId(usize);

/// Why the state directory cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than root could change it.
    #[error(
        "{path} belongs to user {owner} with mode {mode:o}, others could change it: chown root {path} and chmod go-w {path}, after a look at what it holds"
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The journal is damaged.
    #[error(
        "{path}:{line}: {problem}; nothing was changed. Put the file back from a backup, or remove that line (the file that it approved then stays unreadable), or move {dir} away to record a new baseline at the next start"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// The state directory.
        dir: PathBuf,
    },
    /// Copies or quarantined files are there, but no journal.
    #[error(
        "{path} is missing, although {dir} has been in use; nothing was changed. Put the file back from a backup, or move {dir} away to record a new baseline at the next start"
    )]
    Missing {
        /// The journal.
        path: PathBuf,
        /// The state directory.
        dir: PathBuf,
    },
}

/// The store.
#[derive(Debug)]
pub struct Approvals {
    blobs: PathBuf,
    directories: RwLock<Vec<(Directory, HashMap<OsString, Approval>)>>,
    journal: Mutex<Journal>,
}

/// Makes a state directory, 0700, if it is not there, and refuses one that others can change.
///
/// # Errors
/// [`StateError::Io`], [`StateError::Unsafe`].
pub fn prepare_directory(path: &Path) -> Result<(), StateError> {
    let io_error = |source| StateError::Io { path: path.to_owned(), source };
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(error)),
        _ => {}
    }
    let metadata = fs::metadata(path).map_err(io_error)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 || mode & 0o022 != 0 {
        return Err(StateError::Unsafe { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

/// What a store holds: where, under which name, what.
pub type Entries = Vec<(Directory, OsString, Approval)>;

/// Reads a store, for those who only look: nothing is made, locked or written. `None` where there is no store.
///
/// # Errors
/// [`StateError::Io`], [`StateError::Damaged`].
pub fn peek(state: &Path) -> Result<Option<Entries>, StateError> {
    let entries = Journal::peek(state)?;
    let told = |entry: Entry| (entry.directory(), entry.name(), entry.approval());
    Ok(entries.map(|entries| entries.into_iter().map(told).collect()))
}

impl Approvals {
    /// Opens the store in a state directory that [`prepare_directory`] has passed.
    ///
    /// # Errors
    /// [`StateError`]. A store is never taken for empty because it is damaged or partly lost.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let blobs = state.join("blobs");
        prepare_directory(&blobs)?;
        let (journal, entries) = Journal::open(state)?;
        let store = Approvals { blobs, directories: RwLock::default(), journal: Mutex::new(journal) };
        for entry in entries {
            let id = store.directory(&entry.directory());
            store.insert(id, &entry.name(), entry.approval());
        }
        Ok(store)
    }

    /// Whether nothing has ever been recorded here: what is there now becomes the baseline. Stays true until
    /// [`Approvals::baseline_complete`].
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).is_baseline()
    }

    /// Ends the first start: from now on the baseline counts. A daemon that is killed before records it anew.
    ///
    /// # Errors
    /// The journal could not be written.
    pub fn baseline_complete(&self) -> io::Result<()> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).publish()
    }

    /// The number of a directory, which it gets when it is first named.
    #[must_use]
    pub fn directory(&self, directory: &Directory) -> DirectoryId {
        let mut directories = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        let known = directories.iter().position(|(known, _)| known == directory);
        DirectoryId(known.unwrap_or_else(|| {
            directories.push((directory.clone(), HashMap::new()));
            directories.len() - 1
        }))
    }

    /// Whether these bytes are approved under this name.
    #[must_use]
    pub fn is_approved(&self, id: DirectoryId, name: &OsStr, sha256: Sha256) -> bool {
        let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        directories.get(id.0).and_then(|(_, names)| names.get(name)).is_some_and(|approval| approval.sha256 == sha256)
    }

    /// Whether these bytes are approved under this name in any directory.
    #[must_use]
    pub fn is_approved_anywhere(&self, name: &OsStr, sha256: Sha256) -> bool {
        let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        directories.iter().any(|(_, names)| names.get(name).is_some_and(|approval| approval.sha256 == sha256))
    }

    /// The approval for a name.
    #[must_use]
    pub fn get(&self, id: DirectoryId, name: &OsStr) -> Option<Approval> {
        let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        directories.get(id.0)?.1.get(name).cloned()
    }

    /// How many approvals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        directories.iter().map(|(_, names)| names.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Approves `bytes` under `name`: on disk first, then in memory, then waits until the disk has it.
    ///
    /// The wait comes last because an interpreter may stand at the gate for this very file; a kill of the daemon in
    /// between loses nothing, a loss of power at most this approval.
    ///
    /// # Errors
    /// The bytes or the journal could not be written; then nothing is approved.
    pub fn approve(&self, id: DirectoryId, name: &OsStr, bytes: &[u8], approval: Approval) -> io::Result<()> {
        let directory = {
            let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
            let Some((directory, names)) = directories.get(id.0) else {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            };
            if names.get(name) == Some(&approval) {
                return Ok(());
            }
            directory.clone()
        };
        self.write_blob(approval.sha256, bytes)?;
        let entry = Entry::new(&directory, name, &approval);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(&entry)?;
        self.insert(id, name, approval);
        journal.sync()
    }

    /// The bytes of an approved file.
    ///
    /// # Errors
    /// The copy is missing or damaged.
    pub fn bytes(&self, sha256: Sha256) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.blobs.join(sha256.to_string()))?;
        if Sha256::of(&bytes) != sha256 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the copy {sha256} is damaged")));
        }
        Ok(bytes)
    }

    fn insert(&self, id: DirectoryId, name: &OsStr, approval: Approval) {
        let mut directories = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, names)) = directories.get_mut(id.0) {
            names.insert(name.to_owned(), approval);
        }
    }

    fn write_blob(&self, sha256: Sha256, bytes: &[u8]) -> io::Result<()> {
        let path = self.blobs.join(sha256.to_string());
        if fs::metadata(&path).is_ok_and(|file| file.len() == bytes.len() as u64) {
            return Ok(());
        }
        journal::write_whole(&path, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn directory() -> Directory {
        Directory { path: "/usr/lib/python3/dist-packages".into(), handle: "1:00ff".into() }
    }

    fn approval(bytes: &[u8]) -> Approval {
        Approval {
            sha256: Sha256::of(bytes),
            origin: Origin::Writer("pip".into()),
            metadata: Metadata { uid: 0, gid: 50, mode: 0o644, mtime: 1_700_000_000, mtime_nsec: 5 },
        }
    }

    fn store_with_a_baseline(state: &Path) -> Approvals {
        prepare_directory(state).unwrap();
        let store = Approvals::open(state).unwrap();
        assert!(store.is_first_start());
        let id = store.directory(&directory());
        for (name, bytes) in [("a.pth", "/opt/a\n"), ("b.pth", "/opt/b\n"), ("c.pth", "/opt/c\n")] {
            store.approve(id, OsStr::new(name), bytes.as_bytes(), approval(bytes.as_bytes())).unwrap();
        }
        store.baseline_complete().unwrap();
        store
    }

    fn state() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        (dir, path)
    }

    #[test]
    fn approvals_survive_a_restart_with_their_bytes_and_metadata() {
        let (_dir, state) = state();
        let name = OsStr::from_bytes(b"\xff\n\".pth");
        let store = store_with_a_baseline(&state);
        let id = store.directory(&directory());
        store.approve(id, name, b"import x\n", approval(b"import x\n")).unwrap();
        store.approve(id, OsStr::new("a.pth"), b"/opt/new\n", approval(b"/opt/new\n")).unwrap();
        drop(store);
        let store = Approvals::open(&state).unwrap();
        assert!(!store.is_first_start());
        let id = store.directory(&directory());
        assert_eq!(store.len(), 4);
        assert_eq!(store.get(id, name), Some(approval(b"import x\n")));
        assert!(store.is_approved(id, OsStr::new("a.pth"), Sha256::of(b"/opt/new\n")));
        assert!(!store.is_approved(id, OsStr::new("a.pth"), Sha256::of(b"/opt/a\n")), "one approval per name");
        assert_eq!(store.bytes(Sha256::of(b"/opt/new\n")).unwrap(), b"/opt/new\n");
        let moved = Directory { handle: "1:00fe".into(), ..directory() };
        let other = store.directory(&moved);
        assert!(store.get(other, OsStr::new("a.pth")).is_none(), "another directory in its place");
    }

    #[test]
    fn a_baseline_that_was_cut_short_is_recorded_anew() {
        let (_dir, state) = state();
        prepare_directory(&state).unwrap();
        let store = Approvals::open(&state).unwrap();
        let id = store.directory(&directory());
        store.approve(id, OsStr::new("a.pth"), b"x", approval(b"x")).unwrap();
        drop(store);
        let store = Approvals::open(&state).unwrap();
        assert!(store.is_first_start() && store.is_empty());
    }

    #[test]
    fn damage_is_an_error_with_file_and_line_and_changes_nothing() {
        let (_dir, state) = state();
        drop(store_with_a_baseline(&state));
        let path = state.join("approvals.ndjson");
        let good = fs::read_to_string(&path).unwrap();
        let flipped = good.replacen("b.pth", "d.pth", 1);
        let headless = good.split_once('\n').unwrap().1.to_owned();
        let later_version = good.replacen("\"version\":1", "\"version\":2", 1);
        for (text, line) in [(&flipped, 3), (&headless, 1), (&later_version, 1), (&String::new(), 1)] {
            fs::write(&path, text).unwrap();
            let error = Approvals::open(&state).unwrap_err();
            assert!(matches!(&error, StateError::Damaged { line: at, .. } if *at == line), "{error}");
            assert!(error.to_string().contains("approvals.ndjson"));
            assert_eq!(&fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(Approvals::open(&state), Err(StateError::Missing { .. })));
    }

    #[test]
    fn a_last_line_that_was_cut_short_is_dropped() {
        let (_dir, state) = state();
        drop(store_with_a_baseline(&state));
        let path = state.join("approvals.ndjson");
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 10);
        fs::write(&path, &text).unwrap();
        let store = Approvals::open(&state).unwrap();
        assert_eq!(store.len(), 2);
        let id = store.directory(&directory());
        store.approve(id, OsStr::new("e.pth"), b"e", approval(b"e")).unwrap();
        drop(store);
        assert_eq!(Approvals::open(&state).unwrap().len(), 3, "what follows starts on a line of its own");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, state) = state();
        prepare_directory(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o722)).unwrap();
        assert!(matches!(prepare_directory(&state), Err(StateError::Unsafe { mode: 0o722, .. })));
    }

    #[test]
    fn a_damaged_copy_is_not_handed_out() {
        let (_dir, state) = state();
        let store = store_with_a_baseline(&state);
        let sha256 = Sha256::of(b"/opt/a\n");
        fs::write(state.join("blobs").join(sha256.to_string()), "/opt/x\n").unwrap();
        assert!(store.bytes(sha256).is_err());
    }
}
