//! The note beside a quarantined file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::aside_name;
use crate::approvals::{Directory, Xattrs, text};
use crate::model::{ContentClass, Sha256};

/// The version of the notes' format.
pub(super) const VERSION: u32 = 1;

/// The number of a quarantined file: when it was taken and how many had been before, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        Id(format!("{:x}-{:x}", now, COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Id {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Only what [`Id::new`] could have made: it becomes part of a path.
impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |digits: &str| {
            (1..=32).contains(&digits.len()) && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        };
        match text.split_once('-') {
            Some((time, count)) if is_number(time) && is_number(count) => Ok(Id(text.to_owned())),
            _ => Err("not the number of a quarantined file: these look like 18c2f0a1b2c3d4e5-0"),
        }
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// What kind of directory entry it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
    /// A directory.
    Directory,
}

impl Kind {
    /// The kind of an entry.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_symlink() {
            Kind::Symlink
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_socket() {
            Kind::Socket
        } else if kind.is_block_device() || kind.is_char_device() {
            Kind::Device
        } else if kind.is_dir() {
            Kind::Directory
        } else {
            Kind::File
        }
    }

    /// The word used in notes and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Symlink => "symlink",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
            Kind::Device => "device",
            Kind::Directory => "directory",
        }
    }
}

/// Access and modification time, in seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Times {
    pub atime: i64,
    pub atime_nsec: i64,
    pub mtime: i64,
    pub mtime_nsec: i64,
}

/// Why a file is taken, and who is to blame.
#[derive(Clone, Debug)]
pub struct Why<'a> {
    /// A word.
    pub reason: &'a str,
    /// What it can do, if it was read.
    pub class: Option<ContentClass>,
    /// Who brought it: what is known of the process.
    pub author: &'a serde_json::Value,
}

/// What is known of a quarantined file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The format of this note.
    pub version: u32,
    /// The number under which it lies.
    pub id: Id,
    /// Whether all of it is here. Otherwise the guard was ended on the way. A link or special file is all in its note.
    pub finished: bool,
    /// Where it was.
    pub directory: Directory,
    /// Under which name.
    #[serde(with = "text")]
    pub name: OsString,
    /// When it was taken, RFC 3339.
    pub time: String,
    /// What it was.
    pub kind: Kind,
    /// Whether it was too large to be copied, so that the file itself lies here. Its author may still change it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// Digest of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ContentClass>,
    /// What a symbolic link said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, in octal digits.
    pub mode: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last read and changed.
    pub times: Times,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "Xattrs::is_empty")]
    pub xattrs: Xattrs,
    /// Its inode number.
    pub inode: u64,
    /// Why it was taken: a word.
    pub reason: String,
    /// Who brought it.
    pub author: serde_json::Value,
}

/// What a symbolic link says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(#[serde(with = "text")] pub OsString);

impl Note {
    /// The note for a file that is about to be taken.
    #[must_use]
    pub fn begin(
        id: Id,
        directory: Directory,
        name: &OsStr,
        metadata: &Metadata,
        xattrs: Xattrs,
        target: Option<OsString>,
        why: &Why<'_>,
    ) -> Self {
        let now = time::OffsetDateTime::now_utc();
        Note {
            version: VERSION,
            id,
            finished: Kind::of(metadata) != Kind::File,
            directory,
            name: name.to_owned(),
            time: now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
            kind: Kind::of(metadata),
            moved: false,
            sha256: None,
            class: why.class,
            target: target.map(Target),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: format!("{:04o}", metadata.mode() & 0o7777),
            size: metadata.len(),
            times: Times {
                atime: metadata.atime(),
                atime_nsec: metadata.atime_nsec(),
                mtime: metadata.mtime(),
                mtime_nsec: metadata.mtime_nsec(),
            },
            xattrs,
            inode: metadata.ino(),
            reason: why.reason.to_owned(),
            author: why.author.clone(),
        }
    }

    /// Where it was.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// The permission bits as a number.
    #[must_use]
    pub fn mode_bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.mode, 8).ok().filter(|mode| *mode <= 0o7777)
    }

    /// The name in the quarantine directory that holds the bytes, if there are any.
    #[must_use]
    pub fn content(&self) -> Option<OsString> {
        match self.kind {
            Kind::File if self.moved => Some(aside_name(self.id.as_str())),
            Kind::File => Some(self.id.as_str().into()),
            Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Directory => None,
        }
    }

    /// Whether the note can be a note of that number.
    pub(super) fn check(&self, id: &Id) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("its format is {}, this pthguard knows {VERSION}", self.version));
        }
        if self.id != *id {
            return Err(format!("it is the note of {}", self.id));
        }
        if self.mode_bits().is_none() {
            return Err(format!("{:?} is no mode", self.mode));
        }
        Ok(())
    }
}
