//! What an allow rule wants to be sure of, beside what it names.

#![forbid(unsafe_code)]

use crate::model::{Site, Subject, Writers};

/// Whose executable and script have to be for an allow rule: who else can change them is who the rule lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Root's alone.
    Root,
    /// Root's; or the site directory's owner's, who needs no leave to change what is in there; or a script of the
    /// environment that the site directory belongs to.
    User,
    /// Not looked at.
    Any,
}

impl Owner {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Owner::Root => "root",
            Owner::User => "user",
            Owner::Any => "any",
        }
    }

    pub(super) fn trusts(self, writers: Writers, site: &Site) -> bool {
        match self {
            Owner::Root => writers == Writers::Root,
            Owner::User => writers == Writers::Root || writers == Writers::User(site.owner),
            Owner::Any => true,
        }
    }
}

/// Whether an allow rule looks for variables that bring other code into a program (`LD_PRELOAD`, `PYTHONPATH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Environment {
    /// None may be set.
    Clean,
    /// None may be set where the process does not run as root.
    CleanForUsers,
    /// Not looked at.
    Any,
}

impl Environment {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Clean => "clean",
            Environment::CleanForUsers => "clean-for-users",
            Environment::Any => "any",
        }
    }

    pub(super) fn trusts(self, subject: &Subject) -> bool {
        match self {
            Environment::CleanForUsers if subject.uids.effective == 0 => true,
            Environment::Clean | Environment::CleanForUsers => subject.loader.is_empty(),
            Environment::Any => true,
        }
    }
}
