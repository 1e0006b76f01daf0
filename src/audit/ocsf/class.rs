//! Which event of the schema a record is, and how it ended. The numbers are the schema's.

use serde::Serialize;

use super::super::record::{Action, Outcome, Record};
use crate::model::Mode;

/// An activity that a class has no number for: it goes by its name.
pub(super) const OTHER: u32 = 99;

/// The classes that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What no other class is about.
    Base,
    /// File System Activity.
    FileSystem,
    /// Process Activity.
    Process,
    /// Application Lifecycle.
    Lifecycle,
    /// Application Error.
    Error,
}

impl Class {
    pub(super) fn uid(self) -> u32 {
        match self {
            Class::Base => 0,
            Class::FileSystem => 1001,
            Class::Process => 1007,
            Class::Lifecycle => 6002,
            Class::Error => 6008,
        }
    }

    pub(super) fn category_uid(self) -> u32 {
        self.uid() / 1000
    }
}

/// The class, and what was done of that which it is about. A class that requires what is not known is not claimed.
pub(super) fn activity(record: &Record) -> (Class, u32) {
    let (class, activity) = match record.stands_for() {
        Action::Creation => (Class::FileSystem, 1),
        Action::Read | Action::Listing => (Class::FileSystem, 2),
        Action::Modification => (Class::FileSystem, 3),
        Action::Deletion | Action::Purge => (Class::FileSystem, 4),
        Action::Rename => (Class::FileSystem, 5),
        Action::Link | Action::Symlink | Action::Special => (Class::FileSystem, OTHER),
        Action::Quarantine | Action::Restore => (Class::FileSystem, OTHER),
        Action::Kill => (Class::Process, 2),
        Action::Start => (Class::Lifecycle, 3),
        Action::Stop => (Class::Lifecycle, 4),
        Action::Failure => (Class::Error, 1),
        Action::Baseline | Action::Approval | Action::Revocation | Action::Held => (Class::Base, OTHER),
        Action::SiteGuarded | Action::SiteLost | Action::Search | Action::LogRotated => (Class::Base, OTHER),
        Action::Refused | Action::Suppressed | Action::Repeated => (Class::Base, OTHER),
    };
    let has_all = match class {
        Class::FileSystem => record.object.is_some(),
        Class::Process => record.pid().is_some(),
        Class::Base | Class::Lifecycle | Class::Error => true,
    };
    if has_all { (class, activity) } else { (Class::Base, OTHER) }
}

/// High: somebody should look at it now; medium: soon.
pub(super) fn severity_id(record: &Record) -> u32 {
    const INFORMATIONAL: u32 = 1;
    const MEDIUM: u32 = 3;
    const HIGH: u32 = 4;
    match (record.outcome, record.action) {
        (Some(Outcome::Deny | Outcome::WouldDeny), _) => HIGH,
        (_, Action::Held | Action::Quarantine | Action::Kill) => HIGH,
        (_, Action::Failure | Action::Refused) => MEDIUM,
        (Some(Outcome::Allow) | None, _) => INFORMATIONAL,
    }
}

/// The writer's point of view: what would have been denied did take place. What the guard tells of itself did, too.
pub(super) fn status_id(record: &Record) -> u32 {
    const SUCCESS: u32 = 1;
    const FAILURE: u32 = 2;
    match (record.outcome, record.action) {
        (Some(Outcome::Allow | Outcome::WouldDeny), _) => SUCCESS,
        (Some(Outcome::Deny), _) | (None, Action::Failure | Action::Refused) => FAILURE,
        (None, _) => SUCCESS,
    }
}

/// What was answered, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ruling {
    action_id: u32,
    disposition_id: u32,
}

impl Ruling {
    const ALLOWED: Ruling = Ruling { action_id: 1, disposition_id: 1 };
    const DELETED: Ruling = Ruling { action_id: 1, disposition_id: 5 };
    const APPROVED: Ruling = Ruling { action_id: 1, disposition_id: 8 };
    const BLOCKED: Ruling = Ruling { action_id: 2, disposition_id: 2 };
    const QUARANTINED: Ruling = Ruling { action_id: 2, disposition_id: 3 };
    const REVOKED: Ruling = Ruling { action_id: 2, disposition_id: 24 };
    const DETECTED: Ruling = Ruling { action_id: 3, disposition_id: 15 };
    const RESTORED: Ruling = Ruling { action_id: 4, disposition_id: 9 };

    /// None, where nobody asked and no file is concerned.
    pub(super) fn of(record: &Record) -> Option<Ruling> {
        match (record.outcome, record.action) {
            (Some(Outcome::Allow), _) => Some(Ruling::ALLOWED),
            (Some(Outcome::Deny), _) => Some(Ruling::BLOCKED),
            (Some(Outcome::WouldDeny), _) => Some(Ruling::DETECTED),
            (None, Action::Held) if record.mode == Some(Mode::Audit) => Some(Ruling::DETECTED),
            (None, Action::Held | Action::Refused) => Some(Ruling::BLOCKED),
            (None, Action::Baseline | Action::Approval) => Some(Ruling::APPROVED),
            (None, Action::Revocation) => Some(Ruling::REVOKED),
            (None, Action::Quarantine) => Some(Ruling::QUARANTINED),
            (None, Action::Restore) => Some(Ruling::RESTORED),
            (None, Action::Purge) => Some(Ruling::DELETED),
            (None, _) => None,
        }
    }
}
