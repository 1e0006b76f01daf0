//! What the guard has approved, read from its state directory.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::approvals::{self, Directory, Listed, StateError};
use crate::fanotify::FileId;
use crate::model::{Origin, Sha256};

/// Whether these bytes are approved under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Approval {
    /// They are, and these say so: for this directory, for every one, or both.
    Approved(Vec<Origin>),
    /// Others are.
    OtherBytes,
    /// None are.
    None,
    /// The state directory cannot be read, or there is none.
    Unknown,
}

impl Approval {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Approval::Approved(_) => "approved",
            Approval::OtherBytes => "other-bytes",
            Approval::None => "none",
            Approval::Unknown => "unknown",
        }
    }

    /// Who approves these bytes here.
    pub(super) fn origins(&self) -> &[Origin] {
        match self {
            Approval::Approved(origins) => origins,
            Approval::OtherBytes | Approval::None | Approval::Unknown => &[],
        }
    }
}

/// The approvals; none if they could not be read.
pub(super) struct Approvals(Option<Vec<Listed>>);

impl Approvals {
    pub(super) fn read(state: &Path, remarks: &mut Vec<String>) -> Self {
        let entries = match approvals::peek(state) {
            Ok(Some(entries)) => entries,
            Ok(None) => {
                remarks.push(format!("{}: no approvals: the guard has not run here", state.display()));
                return Approvals(None);
            }
            Err(StateError::Io { path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
                remarks.push(format!("{}: approvals are root's to read: run as root to see them", path.display()));
                return Approvals(None);
            }
            Err(error) => {
                remarks.push(error.to_string());
                return Approvals(None);
            }
        };
        Approvals(Some(entries))
    }

    /// What is approved under a name in the directory of this path and identity.
    pub(super) fn look_up(&self, path: &Path, directory: Option<&FileId>, name: &OsStr, sha256: Sha256) -> Approval {
        let (Some(approved), Some(directory)) = (&self.0, directory) else { return Approval::Unknown };
        let handle = directory.handle.to_string();
        let is_here = |listed: &&Listed| {
            let here = |of: &Directory| of.path == path && of.handle == handle;
            listed.name == name && listed.directory.as_ref().is_none_or(here)
        };
        let here: Vec<&Listed> = approved.iter().filter(is_here).collect();
        let same = here.iter().filter(|listed| listed.sha256 == sha256);
        let origins: Vec<Origin> = same.map(|listed| listed.origin.clone()).collect();
        if here.is_empty() {
            Approval::None
        } else if origins.is_empty() {
            Approval::OtherBytes
        } else {
            Approval::Approved(origins)
        }
    }
}
