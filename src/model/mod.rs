//! The nouns of the domain: who asks, for what, and what was answered. Plain data, no I/O.
//!
//! Every other module speaks in these words. A verdict is an enum and never a `bool`, and nothing here has a
//! `Default`: an answer that nobody chose must not exist.

#![forbid(unsafe_code)]

mod content;
mod content_set;
mod decision;
mod failure;
mod object;
mod os;
mod subject;

use std::ffi::OsStr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use content::{ContentClass, Package, PackageSource};
pub use content_set::ContentSet;
pub use decision::{Decision, Distrust, Reason};
pub use failure::{ArrivalAction, Failure, FailureAction, ViolationAction};
pub use object::{Object, Origin, Sha256, StartupNames, is_module_source, switch_of, switched_off_by};
pub use os::Os;
pub use subject::{Ancestor, Container, Program, Script, Subject, Uids, Writers};

/// Whether decisions are carried out or only recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Deny what the policy denies, undo what cannot be denied in-line.
    Enforce,
    /// Make the same decisions, record them, answer allow, change no guarded file.
    Audit,
}

impl Mode {
    /// The word used in policy files and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
        }
    }
}

/// The schema of records that are lines of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonFormat {
    /// A document of the Elastic Common Schema.
    #[default]
    Ecs,
    /// An event of the Open Cybersecurity Schema Framework.
    Ocsf,
}

impl JsonFormat {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JsonFormat::Ecs => "ecs",
            JsonFormat::Ocsf => "ocsf",
        }
    }
}

/// What a process wants to do with a startup file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Open for reading; what an interpreter does.
    Read,
    /// Open for writing, or create.
    Write,
    /// Give the startup name to an existing file by rename or exchange.
    Rename,
    /// Give the startup name to an existing file by a hard link, `O_TMPFILE` + linkat included.
    Link,
    /// Make a symbolic link of that name.
    Symlink,
    /// Make a FIFO, socket or device of that name (mknod); no rule can allow it.
    Special,
    /// Remove the name; recorded, never denied (fanotify has no event to deny it with).
    Delete,
    /// List the site directory, which an interpreter does before it opens startup files.
    List,
}

impl Access {
    /// The word used in policy files and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Rename => "rename",
            Access::Link => "link",
            Access::Symlink => "symlink",
            Access::Special => "special",
            Access::Delete => "delete",
            Access::List => "list",
        }
    }
}

/// The answer to a request.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The process goes on.
    Allow,
    /// The process gets EPERM, or what it did is undone.
    Deny,
}

/// What the policy needs to know of a site directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Canonical path in the daemon's mount namespace.
    pub path: PathBuf,
    /// The prefix of its environment: the path without `lib*/python*/site-packages` and the like.
    pub prefix: PathBuf,
    /// Owner of the directory.
    pub owner: u32,
}

/// Subject, site and access together: what a policy decides.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// The site directory concerned.
    pub site: &'a Site,
    /// The name of the startup file.
    pub name: &'a OsStr,
    /// What is asked for.
    pub access: Access,
    /// Whether a write makes a file that was not there.
    pub creates: bool,
    /// What was recorded of it, if it is not asked by a process that waits.
    pub recorded: Option<&'a Recorded>,
}

impl<'a> Request<'a> {
    /// What a process on this machine asks for.
    #[must_use]
    pub fn new(subject: &'a Subject, site: &'a Site, name: &'a OsStr, access: Access) -> Self {
        Request { subject, site, name, access, creates: false, recorded: None }
    }

    /// The same, for a write that makes the file.
    #[must_use]
    pub fn creating(self, creates: bool) -> Self {
        Request { creates, ..self }
    }
}

/// What a record of another host says beside who, where and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The operating system, if the record tells.
    pub os: Option<Os>,
    /// The file's path as that host writes it.
    pub path: String,
    /// The file's extension, if the record tells.
    pub extension: Option<String>,
}
