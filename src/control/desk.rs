//! What can be done with the state, by whomever it is kept at the time.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Peer;
use crate::approvals::{Held, text};
use crate::audit::escape_path;
use crate::model::{ContentClass, Mode, Origin, Package, Sha256};
use crate::quarantine::Id;
use crate::status::Status;

/// The daemon's own state, the state on disk while no daemon runs, or either of them at the other end of a socket.
///
/// Paths are absolute. Their directory is resolved, their last component is never followed: it names the startup file,
/// be it a symbolic link.
pub trait Desk: Send + Sync {
    /// A startup file as it is now.
    ///
    /// # Errors
    /// [`Refusal`]: it is not there, not in a guarded directory, no startup file, too large.
    fn read(&self, path: &Path) -> Result<Seen, Refusal>;

    /// Approves a startup file, if its directory and its bytes are still those that were shown.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is approved then.
    fn approve(&self, shown: &Shown, by: &Peer) -> Result<Seen, Refusal>;

    /// Approves these bytes under this name in every directory.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is approved then.
    fn approve_everywhere(&self, name: &OsStr, sha256: Sha256, by: &Peer) -> Result<(), Refusal>;

    /// Takes back what is approved under this path. The file need not be there any more.
    ///
    /// # Errors
    /// [`Refusal`]: nothing is approved there, or the change could not be written.
    fn revoke(&self, path: &Path, by: &Peer) -> Result<Vec<Revoked>, Refusal>;

    /// Takes back every approval of these bytes under this name, those that hold in one directory included.
    ///
    /// # Errors
    /// As [`Desk::revoke`].
    fn revoke_everywhere(&self, name: &OsStr, sha256: Sha256, by: &Peer) -> Result<Vec<Revoked>, Refusal>;

    /// All approvals, in the order of [`Approved::key`].
    ///
    /// # Errors
    /// [`Refusal`]: the state cannot be read.
    fn approvals(&self) -> Result<Vec<Approved>, Refusal>;

    /// All held files, in the order of [`HeldFile::key`].
    ///
    /// # Errors
    /// As [`Desk::approvals`].
    fn held(&self) -> Result<Vec<HeldFile>, Refusal>;

    /// Puts a quarantined file back where it was, or `to` there. Into a guarded directory it comes only with approved
    /// bytes: `approve` is the digest of those that were shown and shall be.
    ///
    /// # Errors
    /// [`Refusal`]; it stays in quarantine then.
    fn restore(&self, id: &Id, to: Option<&Path>, approve: Option<Sha256>, by: &Peer) -> Result<Restored, Refusal>;

    /// Removes files from quarantine for good.
    ///
    /// # Errors
    /// [`Refusal`]: one of them is not there or cannot be removed. Those before it are gone.
    fn purge(&self, ids: &[Id], by: &Peer) -> Result<(), Refusal>;

    /// Switches the mode of the running guard, for a while or until it is started anew.
    ///
    /// # Errors
    /// [`Refusal`]: no guard runs, or its policy cannot be enforced.
    fn switch_mode(&self, mode: Mode, limit: Option<Duration>, by: &Peer) -> Result<(), Refusal>;

    /// What a running guard tells of itself.
    ///
    /// # Errors
    /// [`Refusal`]: none runs.
    fn status(&self) -> Result<Status, Refusal>;

    /// Somebody else than root has spoken to the socket.
    fn refused(&self, by: &Peer);
}

/// A startup file, as it is shown to whoever is to approve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Where it lies: the canonical path of its directory, and its name.
    #[serde(with = "text")]
    pub path: PathBuf,
    /// File handle of the directory.
    pub directory: String,
    /// What a symbolic link says that it leads to; the facts are those of that file.
    pub target: Option<Name>,
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// How many.
    pub size: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// What it can do.
    pub class: ContentClass,
    /// The lines that do it, with their numbers: escaped and shortened, no more than a screen holds.
    pub lines: Vec<(u64, String)>,
    /// How many more of them there are.
    pub more_lines: u64,
    /// Digest of the approved `.start` file of the same stem beside a `.pth`.
    pub companion: Option<Sha256>,
    /// The package that says that it is its own.
    pub package: Option<Package>,
    /// What a person should know beyond these.
    pub remark: Option<String>,
    /// Whether these bytes are approved, together with what lies beside them.
    pub is_approved: bool,
    /// Who has approved what is approved under this name, which may be other bytes.
    pub approved: Option<(Sha256, Origin)>,
    /// Why it is held.
    pub held: Option<Held>,
}

/// What an approval is for: what was shown, and nothing that has taken its place since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// [`Seen::path`]
    #[serde(with = "text")]
    pub path: PathBuf,
    /// [`Seen::directory`]
    pub directory: String,
    /// [`Seen::sha256`]
    pub sha256: Sha256,
}

impl From<&Seen> for Shown {
    fn from(seen: &Seen) -> Self {
        Shown { path: seen.path.clone(), directory: seen.directory.clone(), sha256: seen.sha256 }
    }
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// Canonical path of the directory; none for one that holds in every directory.
    pub directory: Option<Name>,
    /// The file's name.
    #[serde(with = "text")]
    pub name: OsString,
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// Who said so.
    pub origin: Origin,
    /// What the file can do, where that was asked.
    pub class: Option<ContentClass>,
    /// When, RFC 3339.
    pub since: String,
}

impl Approved {
    /// By what a list of them is ordered, and continued.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { directory: self.directory.clone(), name: Name(self.name.clone()), sha256: Some(self.sha256) }
    }
}

/// A file that stays where it is, unread until somebody approves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldFile {
    /// Canonical path of the directory.
    #[serde(with = "text")]
    pub directory: PathBuf,
    /// The file's name.
    #[serde(with = "text")]
    pub name: OsString,
    /// What is known of it.
    pub held: Held,
}

impl HeldFile {
    /// By what a list of them is ordered, and continued.
    #[must_use]
    pub fn key(&self) -> Key {
        let directory = Some(Name(self.directory.clone().into_os_string()));
        Key { directory, name: Name(self.name.clone()), sha256: self.held.sha256 }
    }
}

/// The place of an item in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    directory: Option<Name>,
    name: Name,
    sha256: Option<Sha256>,
}

/// A name or path of any bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(#[serde(with = "text")] pub OsString);

/// An approval that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Path of the file; of one that was approved in every directory, its name.
    #[serde(with = "text")]
    pub path: PathBuf,
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// Whether they can still be read there, because they are approved under that name in every directory.
    pub still_approved: bool,
}

/// What came back from quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// Where it lies now.
    #[serde(with = "text")]
    pub path: PathBuf,
}

/// Why something was not done. The message is for the person who asked, one line whatever names are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// For programs.
    pub why: Why,
    /// What happened, where, and what to do.
    pub message: String,
}

/// Why something was not done, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The file, approval or quarantined file is not there.
    NotFound,
    /// No guarded directory.
    NotGuarded,
    /// No startup file: its name, or what kind of file it is.
    NotStartup,
    /// Larger than `protect.max_size`.
    TooLarge,
    /// It is not any more what was shown.
    Changed,
    /// Its bytes are not approved, and it was not asked to approve them.
    NotApproved,
    /// The asking process is not root.
    NotRoot,
    /// The request cannot be understood.
    Malformed,
    /// Nothing has been recorded yet.
    NoBaseline,
    /// No guard runs.
    NotRunning,
    /// What the policy says does not allow it.
    Policy,
    /// The state, a file or the socket cannot be read or written.
    System,
}

impl Refusal {
    /// A refusal.
    pub fn new(why: Why, message: impl Into<String>) -> Self {
        Refusal { why, message: message.into() }
    }

    /// The directory of a path is none that is guarded.
    #[must_use]
    pub fn not_guarded(path: &Path) -> Self {
        let message = format!(
            "{}: not directly in a guarded directory; `pthguard check` prints them, `protect.extra_sites` in the policy adds \
             one",
            escape_path(path)
        );
        Refusal::new(Why::NotGuarded, message)
    }

    /// The name of a path is no startup file's.
    #[must_use]
    pub fn not_startup(path: &Path) -> Self {
        let message = format!(
            "{}: not the name of a startup file there (`protect.startup` and `protect.customize` in the policy)",
            escape_path(path)
        );
        Refusal::new(Why::NotStartup, message)
    }

    /// Nobody is there who could be asked.
    #[must_use]
    pub fn not_running(state: &Path) -> Self {
        let message = format!(
            "no guard runs on the state directory {}; `pthguard doctor` tells what may keep it from it",
            escape_path(state)
        );
        Refusal::new(Why::NotRunning, message)
    }

    /// The system said no about a file.
    pub fn system(path: &Path, error: impl fmt::Display) -> Self {
        Refusal::new(Why::System, format!("{}: {error}", escape_path(path)))
    }
}
