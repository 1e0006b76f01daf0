//! What the store keeps: approvals, held files, and where they are.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::text;
use super::xattrs::Xattrs;
use crate::model::{ContentClass, Origin, Package, Sha256};

/// What is kept of an approved file beside its bytes, so that it can come back as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "Xattrs::is_empty")]
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Those of an open file.
    ///
    /// # Errors
    /// What fstat(2) or listxattr(2) says.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Metadata { xattrs: Xattrs::of(file)?, ..Metadata::from(&file.metadata()?) })
    }
}

/// Without the extended attributes, which [`Metadata::of`] reads.
impl From<&fs::Metadata> for Metadata {
    fn from(file: &fs::Metadata) -> Self {
        Metadata {
            uid: file.uid(),
            gid: file.gid(),
            mode: file.mode() & 0o7777,
            mtime: file.mtime(),
            mtime_nsec: file.mtime_nsec(),
            xattrs: Xattrs::default(),
        }
    }
}

/// "These bytes under this name are fine."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// Who said so.
    pub origin: Origin,
    /// The file's metadata when it was approved.
    pub metadata: Metadata,
    /// The `.start` file that lay beside a `.pth` when that was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion: Option<Sha256>,
    /// What the file can do, for people: it is not asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ContentClass>,
    /// Where it led, if it was a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// The path of the file that a symbolic link leads to, without further links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(#[serde(with = "text")] pub PathBuf);

impl Approval {
    /// An approval of a file that is no link, which says nothing of a companion or a class.
    #[must_use]
    pub fn new(sha256: Sha256, origin: Origin, metadata: Metadata) -> Self {
        Approval { sha256, origin, metadata, companion: None, class: None, target: None }
    }
}

/// A directory as approvals know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Canonical path.
    #[serde(with = "text")]
    pub path: PathBuf,
    /// Its file handle, `TYPE:HEX`.
    pub handle: String,
}

/// A file that stays where it is and that nobody reads: its writer was permitted, its content was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Digest of the bytes, where they were read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
    /// What it can do.
    pub class: ContentClass,
    /// The line that makes it so: escaped and shortened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<String>,
    /// The package that says that it is its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub package: Option<Package>,
    /// Who brought it, for people.
    pub author: String,
    /// Why it is held: a word.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Size in bytes.
    pub size: u64,
}

impl Held {
    /// Whether it says the same of the same file, whenever that was found.
    pub(super) fn is_no_news(&self, other: &Held) -> bool {
        Held { since: String::new(), ..self.clone() } == Held { since: String::new(), ..other.clone() }
    }
}

/// An approval, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it holds; `None`: in every directory.
    pub directory: Option<Directory>,
    /// The file's name.
    pub name: OsString,
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// Who said so.
    pub origin: Origin,
    /// What the file can do, where that was asked.
    pub class: Option<ContentClass>,
    /// The `.start` file with which a `.pth` was approved.
    pub companion: Option<Sha256>,
    /// The file's metadata, where a file was approved and not only a digest.
    pub metadata: Option<Metadata>,
    /// When, RFC 3339.
    pub approved_at: String,
}
