//! What the guard has approved, read from its state directory.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::approvals::{self, Directory, Listed, StateError};
use crate::fanotify::FileId;
use crate::model::Sha256;

/// Whether these bytes are approved under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Approval {
    /// They are.
    Approved,
    /// Others are.
    OtherBytes,
    /// None are.
    None,
    /// The state directory cannot be read, or there is none.
    Unknown,
}

impl Approval {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Approval::Approved => "approved",
            Approval::OtherBytes => "other-bytes",
            Approval::None => "none",
            Approval::Unknown => "unknown",
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
        let digests: Vec<Sha256> = approved.iter().filter(is_here).map(|listed| listed.sha256).collect();
        match digests.is_empty() {
            true => Approval::None,
            false if digests.contains(&sha256) => Approval::Approved,
            false => Approval::OtherBytes,
        }
    }
}
