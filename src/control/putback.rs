//! Out of quarantine: back to where it was or to another place, or away for good.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::desk::{Refusal, Why};
use super::look::{Place, class_of, place, telling_lines};
use super::record::Approving;
use super::{Peer, ledger};
use crate::approvals::{Approval, Approvals, DirectoryId, Metadata};
use crate::audit::escape_path;
use crate::model::{ContentClass, Sha256};
use crate::quarantine::{self, Attributes, Content, Id, Kind, Note, Store};

/// A quarantined file, and where it is to go. What lies in quarantine stays there.
#[derive(Debug)]
pub struct PutBack<'a> {
    store: &'a Store,
    note: Note,
    path: PathBuf,
}

impl<'a> PutBack<'a> {
    /// The file of that number; without `to` it goes where it was.
    ///
    /// # Errors
    /// [`Refusal`]: there is none, or its note cannot be believed.
    pub fn new(store: &'a Store, id: &Id, to: Option<&Path>) -> Result<Self, Refusal> {
        let note = note(store, id)?;
        let path = to.map_or_else(|| note.path(), Path::to_owned);
        Ok(PutBack { store, note, path })
    }

    /// Where it is to go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it where nobody takes it for a startup file.
    ///
    /// # Errors
    /// [`Refusal`]: something is there, it cannot be put there, or it was to be approved.
    pub fn put_elsewhere(&self, approve: Option<Sha256>) -> Result<(), Refusal> {
        if approve.is_some() {
            return Err(Refusal::not_guarded(&self.path));
        }
        let place = place(&self.path)?;
        let placed = self.store.restore_to(&self.note, &place.dir, &place.name, |_| Ok(()));
        self.check(placed)
    }

    /// Puts it among the startup files of a guarded directory, with bytes that are approved there, or that are approved
    /// first if they are those of `approve`. `announce` is told which file it will be before it is there.
    ///
    /// # Errors
    /// [`Refusal`]: it is no regular file, something is there, its bytes are not approved or not those that were shown.
    pub fn put_under_guard(
        &self,
        approvals: &Approvals,
        id: DirectoryId,
        place: &Place,
        max_size: u64,
        approve: Option<(Sha256, &Peer)>,
        announce: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<Option<Approving>, Refusal> {
        let bytes = self.bytes(max_size)?;
        let sha256 = Sha256::of(&bytes);
        // Before anything is approved. Who puts something there in between makes the renaming fail.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        if openat(&place.dir, place.name.as_os_str(), flags, Mode::empty()).is_ok() {
            return self.check(Ok(false)).map(|()| None);
        }
        let before = approvals.get(id, &place.name);
        let approving = match approve {
            None if approvals.is_approved(id, &place.name, sha256) => None,
            None => {
                let message = format!(
                    "{}: in a guarded directory nobody reads it unless its bytes are approved: add --approve, or --to PATH \
                     for another place",
                    escape_path(&self.path)
                );
                return Err(Refusal::new(Why::NotApproved, message));
            }
            Some((shown, _)) if shown != sha256 => {
                let message = format!("{}: its content in quarantine has changed since it was shown", self.note.id);
                return Err(Refusal::new(Why::Changed, message));
            }
            Some((_, by)) => {
                let class = class_of(&place.name, &bytes);
                let metadata = self.metadata();
                let approval =
                    Approval { class: Some(class), ..Approval::new(sha256, ledger::administrator(by), metadata) };
                let approved = approvals.approve(id, &place.name, &bytes, approval);
                approved.map_err(|error| ledger::cannot_keep(&self.path, &error))?;
                let before = before.as_ref().map(|before| before.sha256);
                Some(Approving { path: self.path.clone(), sha256, size: bytes.len() as u64, class, before })
            }
        };
        let Metadata { uid, gid, mode, ref xattrs, .. } = self.metadata();
        let attributes = Attributes { uid, gid, mode, times: self.note.times, xattrs };
        let placed = quarantine::place(&place.dir, &place.name, &Content::Bytes(&bytes), &attributes, announce);
        self.check(placed).inspect_err(|_| {
            if approving.is_some() {
                undo(approvals, id, place, before);
            }
        })?;
        Ok(approving)
    }

    fn bytes(&self, max_size: u64) -> Result<Vec<u8>, Refusal> {
        let refused = |why, what: String| Err(Refusal::new(why, format!("{}: {what}", self.note.id)));
        match self.note.kind {
            Kind::File => {}
            Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Directory => {
                let what = format!("a {} is not put back into a guarded directory", self.note.kind.as_str());
                return refused(Why::NotStartup, format!("{what}; --to PATH names another place"));
            }
        }
        if !self.note.finished {
            return refused(Why::NotFound, "not all of it is in quarantine: the guard was ended on the way".to_owned());
        }
        let bytes = self.store.bytes(&self.note, max_size + 1);
        let bytes = bytes.map_err(|error| Refusal::system(Path::new(self.note.id.as_str()), error))?;
        if bytes.len() as u64 > max_size {
            let what = format!("larger than {max_size} bytes (protect.max_size in the policy), and so never approved");
            return refused(Why::TooLarge, what);
        }
        Ok(bytes)
    }

    fn metadata(&self) -> Metadata {
        let Note { uid, gid, times, ref xattrs, .. } = self.note;
        Metadata {
            uid,
            gid,
            mode: self.note.mode_bits().unwrap_or_default(),
            mtime: times.mtime,
            mtime_nsec: times.mtime_nsec,
            xattrs: xattrs.clone(),
        }
    }

    fn check(&self, placed: io::Result<bool>) -> Result<(), Refusal> {
        match placed {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message = format!(
                    "{}: something of that name is there; move it away, or name another place",
                    escape_path(&self.path)
                );
                Err(Refusal::new(Why::NotStartup, message))
            }
            Err(error) => Err(Refusal::system(&self.path, error)),
        }
    }
}

/// What a quarantined file says, for whoever decides whether it may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// What they can do under the name that the file had.
    pub class: ContentClass,
    /// The lines that do it, with their numbers: escaped and shortened.
    pub lines: Vec<(u64, String)>,
    /// How many more of them there are.
    pub more_lines: u64,
}

impl Preview {
    /// That of a regular file of at most `max_size` bytes.
    ///
    /// # Errors
    /// [`Refusal`]: it is something else, too large, or cannot be read.
    pub fn of(store: &Store, note: &Note, max_size: u64) -> Result<Self, Refusal> {
        let bytes = PutBack { store, note: note.clone(), path: note.path() }.bytes(max_size)?;
        let (lines, more_lines) = telling_lines(&note.name, &bytes);
        Ok(Preview { sha256: Sha256::of(&bytes), class: class_of(&note.name, &bytes), lines, more_lines })
    }
}

/// What was approved for a file that could not be put there is approved no longer.
fn undo(approvals: &Approvals, id: DirectoryId, place: &Place, before: Option<Approval>) {
    let undone = approvals.revoke(id, &place.name);
    if let (Ok(_), Some(before)) = (undone, before)
        && let Ok(bytes) = approvals.bytes(before.sha256)
    {
        let _ = approvals.approve(id, &place.name, &bytes, before); // else nothing is approved, which is safe
    }
}

fn note(store: &Store, id: &Id) -> Result<Note, Refusal> {
    let item = store.show(id).map_err(|error| {
        let why = if error.kind() == io::ErrorKind::NotFound { Why::NotFound } else { Why::System };
        Refusal::new(why, error.to_string())
    })?;
    item.note.map_err(|error| Refusal::new(Why::System, format!("{id}: its note cannot be read: {error}")))
}

/// Removes it for good. Gives back where it had been, as far as its note tells.
///
/// # Errors
/// [`Refusal`]: there is none of that number, or it cannot be removed.
pub fn purge(store: &Store, id: &Id) -> Result<PathBuf, Refusal> {
    let path = note(store, id).map_or_else(|_| store.path().join(id.as_str()), |note| note.path());
    match store.purge(id) {
        Ok(true) => Ok(path),
        Ok(false) => Err(Refusal::new(Why::NotFound, format!("there is no {id} in quarantine"))),
        Err(error) => Err(Refusal::system(&store.path().join(id.as_str()), error)),
    }
}
