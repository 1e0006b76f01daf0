//! Which bytes are fine under which name in which directory, in memory and on disk.
//!
//! *Owns* the state directory: the journal, the copies of approved files, the lock. *Must not* touch a guarded
//! directory. *Hands to* the gate an answer from memory, to whoever restores a file its bytes and metadata, and to
//! people what is approved and what is held.
//!
//! One approval per directory and name: the latest. A directory is known by its path *and* its file handle: a handle
//! (inode and generation) survives a reboot, device numbers need not; a directory that was put in the place of
//! another has another handle and starts with no approvals. Beside these an administrator can approve a name and a
//! digest in every directory, several digests of one name included.
//!
//! ```text
//! /var/lib/pthguard/
//!   approvals.ndjson     the journal: a header, then one change a line, the last one for a name counts
//!   blobs/SHA256         the approved bytes, to put a replaced file back
//!   quarantine/          what was taken out of site directories; another module's
//!   lock                 held by whoever uses the directory
//! ```
//!
//! # One change
//!
//! is a line in the journal, then in memory, then waited for until the disk has it. If that fails it is taken back in
//! both: memory and disk agree again when the call returns, and an error means that nothing has changed. The wait
//! comes last because an interpreter may stand at the gate for this very file; a kill of the daemon in between loses
//! nothing, a loss of power at most this change.

#![forbid(unsafe_code)]

mod approval;
mod blobs;
mod by_name;
mod change;
mod journal;
pub mod lock;
pub mod state;
mod table;
#[cfg(test)]
mod tests;
pub mod text;
mod xattrs;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::{Origin, Sha256};
pub use approval::{Approval, Directory, Held, Listed, Metadata, Target};
use blobs::Blobs;
use change::Change;
use journal::Journal;
pub use lock::{Instance, Taken};
pub use state::{StateError, prepare_directory};
use table::Table;
pub use xattrs::Xattrs;

/// Most files that are held at a time. Who may write a directory can fill it with names.
pub const MAX_HELD: usize = 10_000;
/// Longest text of a held file's line, author or reason, in bytes.
const MAX_TEXT: usize = 1024;

/// A directory's number in one store, for quick look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryId(usize);

/// The store.
#[derive(Debug)]
pub struct Approvals {
    blobs: Blobs,
    table: RwLock<Table>,
    /// Held from before a change is written until the disk has it; never taken by whoever only asks.
    journal: Mutex<Journal>,
}

/// All approvals of a store, for those who only look: nothing is made, locked or written. `None` where there is no store.
///
/// # Errors
/// [`StateError`]: it cannot be read, or is damaged.
pub fn peek(state: &Path) -> Result<Option<Vec<Listed>>, StateError> {
    let Some(changes) = Journal::peek(state)? else { return Ok(None) };
    let mut table = Table::default();
    for change in &changes {
        table.apply(change);
    }
    Ok(Some(table.all_approved()))
}

impl Approvals {
    /// Opens the store in a state directory that [`prepare_directory`] has passed.
    ///
    /// # Errors
    /// [`StateError`]. A store is never taken for empty because it is damaged or partly lost.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let blobs = Blobs::open(state)?;
        let (journal, changes, rewrite) = Journal::open(state)?;
        let mut table = Table::default();
        for change in &changes {
            table.apply(change);
        }
        let store = Approvals { blobs, table: RwLock::new(table), journal: Mutex::new(journal) };
        {
            let mut journal = store.journal();
            if rewrite || journal.is_stale(store.table().len()) {
                store.rewrite(&mut journal).map_err(|source| StateError::Io { path: state.to_owned(), source })?;
            }
        }
        Ok(store)
    }

    /// Whether nothing has ever been recorded here: what is there now becomes the baseline. Stays true until
    /// [`Approvals::baseline_complete`]; until then nothing that is approved outlives this process.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.journal().is_baseline()
    }

    /// Ends the first start: from now on the baseline counts. A daemon that is killed before records it anew.
    ///
    /// # Errors
    /// The journal could not be written.
    pub fn baseline_complete(&self) -> io::Result<()> {
        let mut journal = self.journal();
        self.blobs.sync()?;
        journal.publish()
    }

    /// The number of a directory, which it gets when it is first named.
    #[must_use]
    pub fn directory(&self, directory: &Directory) -> DirectoryId {
        self.table_mut().directory(directory)
    }

    /// Whether these bytes are approved under this name, in this directory or in every one.
    #[must_use]
    pub fn is_approved(&self, id: DirectoryId, name: &OsStr, sha256: Sha256) -> bool {
        self.table().is_approved(id, name, sha256)
    }

    /// Whether these bytes are approved under this name in any directory.
    #[must_use]
    pub fn is_approved_anywhere(&self, name: &OsStr, sha256: Sha256) -> bool {
        self.table().is_approved_anywhere(name, sha256)
    }

    /// Whether these bytes are approved under this name in every directory.
    #[must_use]
    pub fn is_approved_everywhere(&self, name: &OsStr, sha256: Sha256) -> bool {
        self.table().is_approved_everywhere(name, sha256)
    }

    /// The approval for a name in this very directory.
    #[must_use]
    pub fn get(&self, id: DirectoryId, name: &OsStr) -> Option<Approval> {
        self.table().approval(id, name).cloned()
    }

    /// The `.start` file with which a `.pth` file was approved in this directory.
    #[must_use]
    pub fn companion(&self, id: DirectoryId, name: &OsStr) -> Option<Sha256> {
        self.table().approval(id, name).and_then(|approval| approval.companion)
    }

    /// Whether these bytes are held under this name.
    #[must_use]
    pub fn is_held(&self, id: DirectoryId, name: &OsStr, sha256: Sha256) -> bool {
        self.table().held_file(id, name).is_some_and(|held| held.sha256 == Some(sha256))
    }

    /// What is known of a held file.
    #[must_use]
    pub fn get_held(&self, id: DirectoryId, name: &OsStr) -> Option<Held> {
        self.table().held_file(id, name).cloned()
    }

    /// How many approvals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().count_approved()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many files are held.
    #[must_use]
    pub fn count_held(&self) -> usize {
        self.table().count_held()
    }

    /// All approvals, those that hold everywhere first, then by directory and name.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.table().all_approved()
    }

    /// All held files, the oldest first.
    #[must_use]
    pub fn held(&self) -> Vec<(Directory, OsString, Held)> {
        let table = self.table();
        let all = table.all_held().into_iter();
        all.map(|(file, held)| (file.directory, file.name, held.clone())).collect()
    }

    /// Approves `bytes` under `name`; if the file was held, it no longer is.
    ///
    /// # Errors
    /// `bytes` are not what the approval says, or they or the journal could not be written; then nothing has changed.
    pub fn approve(&self, id: DirectoryId, name: &OsStr, bytes: &[u8], approval: Approval) -> io::Result<()> {
        if Sha256::of(bytes) != approval.sha256 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "these are not the bytes that are approved"));
        }
        let mut journal = self.journal();
        let file = self.table().place(id, name).ok_or(io::ErrorKind::NotFound)?;
        let is_known = {
            let table = self.table();
            table.approval(id, name) == Some(&approval) && table.held_file(id, name).is_none()
        };
        let copy = self.blobs.keep(approval.sha256, bytes)?;
        if is_known {
            return copy.map_or(Ok(()), |copy| copy.sync_data());
        }
        let is_baseline = journal.is_baseline();
        let wait = || match copy {
            Some(copy) if is_baseline => copy.sync_data(),
            Some(copy) => copy.sync_data().and_then(|()| self.blobs.sync()),
            None => Ok(()),
        };
        self.change(&mut journal, &Change::Approve { file, approval, time: now() }, wait)
    }

    /// Takes an approval back: from now on nobody reads the file, unless its bytes are approved everywhere. Returns the
    /// approval, if there was one.
    ///
    /// # Errors
    /// The journal could not be written; then nothing has changed.
    pub fn revoke(&self, id: DirectoryId, name: &OsStr) -> io::Result<Option<Approval>> {
        let mut journal = self.journal();
        let file = self.table().place(id, name).ok_or(io::ErrorKind::NotFound)?;
        let Some(approval) = self.get(id, name) else { return Ok(None) };
        self.change(&mut journal, &Change::Revoke { file, time: now() }, || Ok(()))?;
        Ok(Some(approval))
    }

    /// Approves a name and digest in every directory. There is no copy: such a file cannot be put back.
    ///
    /// # Errors
    /// The journal could not be written; then nothing has changed.
    pub fn approve_everywhere(&self, name: &OsStr, sha256: Sha256, origin: Origin) -> io::Result<()> {
        let mut journal = self.journal();
        if self.is_approved_everywhere(name, sha256) {
            return Ok(());
        }
        let change = Change::ApproveEverywhere { name: name.to_owned(), sha256, origin, time: now() };
        self.change(&mut journal, &change, || Ok(()))
    }

    /// Takes back what was approved under a name in every directory: one digest, or all of them. Returns those that were
    /// approved. What is approved in single directories stays so.
    ///
    /// # Errors
    /// The journal could not be written; then nothing has changed.
    pub fn revoke_everywhere(&self, name: &OsStr, sha256: Option<Sha256>) -> io::Result<Vec<Sha256>> {
        let mut journal = self.journal();
        let mut revoked = self.table().everywhere(name);
        revoked.retain(|known| sha256.is_none_or(|sha256| *known == sha256));
        if !revoked.is_empty() {
            let change = Change::RevokeEverywhere { name: name.to_owned(), sha256, time: now() };
            self.change(&mut journal, &change, || Ok(()))?;
        }
        Ok(revoked)
    }

    /// Remembers that a file is held. It is not said anew if nothing but the time is new. Beyond [`MAX_HELD`] the oldest is
    /// forgotten, and returned: it stays unreadable, but is listed no more.
    ///
    /// # Errors
    /// The journal could not be written; then nothing has changed, or only the oldest is forgotten.
    pub fn hold(&self, id: DirectoryId, name: &OsStr, held: Held) -> io::Result<Option<(Directory, OsString, Held)>> {
        let mut journal = self.journal();
        let file = self.table().place(id, name).ok_or(io::ErrorKind::NotFound)?;
        let held = bounded(held);
        let (known, is_full) = {
            let table = self.table();
            let known = table.held_file(id, name).cloned();
            let is_full = known.is_none() && table.count_held() >= MAX_HELD;
            (known, is_full)
        };
        if known.is_some_and(|known| known.is_no_news(&held)) {
            return Ok(None);
        }
        let oldest = if is_full { self.table().oldest_held() } else { None };
        if let Some((file, _)) = &oldest {
            self.change(&mut journal, &Change::Release { file: file.clone(), time: now() }, || Ok(()))?;
        }
        self.change(&mut journal, &Change::Hold { file, held }, || Ok(()))?;
        Ok(oldest.map(|(file, held)| (file.directory, file.name, held)))
    }

    /// Forgets that a file is held, because it is gone. Returns what was known of it.
    ///
    /// # Errors
    /// The journal could not be written; then nothing has changed.
    pub fn release(&self, id: DirectoryId, name: &OsStr) -> io::Result<Option<Held>> {
        let mut journal = self.journal();
        let file = self.table().place(id, name).ok_or(io::ErrorKind::NotFound)?;
        let Some(held) = self.get_held(id, name) else { return Ok(None) };
        self.change(&mut journal, &Change::Release { file, time: now() }, || Ok(()))?;
        Ok(Some(held))
    }

    /// The bytes of an approved file.
    ///
    /// # Errors
    /// The copy is missing or damaged, or others could have written it.
    pub fn bytes(&self, sha256: Sha256) -> io::Result<Vec<u8>> {
        self.blobs.read(sha256)
    }

    /// Writes one change to the journal, then to memory, then waits for the disk; all of it or nothing.
    fn change(&self, journal: &mut Journal, change: &Change, wait: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if journal.is_doubtful() {
            self.rewrite(journal)?;
        }
        journal.append(change)?;
        let undo = self.table_mut().apply(change);
        if let Err(error) = wait().and_then(|()| journal.sync()) {
            self.table_mut().undo(undo);
            journal.take_back();
            return Err(error);
        }
        if journal.is_stale(self.table().len()) {
            let _ = self.rewrite(journal); // the change is made: what is too long is only that
        }
        Ok(())
    }

    /// Writes the journal anew, and removes the copies that no approval needs any more.
    fn rewrite(&self, journal: &mut Journal) -> io::Result<()> {
        journal.rewrite(&self.table().changes())?;
        self.blobs.keep_only(&self.list().into_iter().map(|listed| listed.sha256).collect())
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(mut held: Held) -> Held {
    let cut = |text: &mut String| text.truncate(text.floor_char_boundary(MAX_TEXT));
    cut(&mut held.author);
    cut(&mut held.reason);
    held.line.iter_mut().for_each(cut);
    held
}

/// The time as the store writes it: RFC 3339, UTC.
#[must_use]
pub fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
