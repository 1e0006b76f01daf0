//! Sets of accesses, as rules name them.

#![forbid(unsafe_code)]

use crate::model::Access;

/// A set of accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessSet(u8);

impl AccessSet {
    /// The accesses that a rule can speak about, in the order in which they are shown. `special` is always denied,
    /// `delete` is only recorded, `list` is never a question of who.
    pub const RULED: [Access; 5] = [Access::Read, Access::Write, Access::Rename, Access::Link, Access::Symlink];

    /// The word for [`AccessSet::CREATE`].
    pub const CREATE_WORD: &str = "create";

    /// A write that makes a file; `write` is that, and writing to one that is there.
    pub const CREATE: AccessSet = AccessSet(1 << 7);

    /// No access.
    pub const EMPTY: AccessSet = AccessSet(0);

    /// The set with `access` added.
    #[must_use]
    pub fn with(self, access: Access) -> Self {
        AccessSet(self.0 | AccessSet::bit(access))
    }

    /// The set with all of another one added.
    #[must_use]
    pub fn and(self, other: AccessSet) -> Self {
        AccessSet(self.0 | other.0)
    }

    /// Whether what is asked for is in the set; `creates` says that a write makes the file.
    #[must_use]
    pub fn holds(self, access: Access, creates: bool) -> bool {
        self.contains(access) || (access == Access::Write && creates && self.covers(AccessSet::CREATE))
    }

    /// Whether `access` is in the set.
    #[must_use]
    pub fn contains(self, access: Access) -> bool {
        self.0 & AccessSet::bit(access) != 0
    }

    /// Whether the set has one of the accesses that bring content under a startup name.
    #[must_use]
    pub fn brings_content(self) -> bool {
        let brought = [Access::Write, Access::Rename, Access::Link, Access::Symlink];
        brought.into_iter().any(|access| self.holds(access, true))
    }

    /// The words of what is in the set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let create = (self.0 & AccessSet::CREATE.0 != 0).then_some(AccessSet::CREATE_WORD);
        let ruled = AccessSet::RULED.into_iter().filter(move |access| self.contains(*access));
        ruled.map(Access::as_str).chain(create)
    }

    /// Whether all of another set is in this one.
    pub(super) fn covers(self, other: AccessSet) -> bool {
        let create = if self.contains(Access::Write) { AccessSet::CREATE.0 } else { 0 };
        other.0 & !(self.0 | create) == 0
    }

    fn bit(access: Access) -> u8 {
        match access {
            Access::Read => 1,
            Access::Write => 1 << 1,
            Access::Rename => 1 << 2,
            Access::Link => 1 << 3,
            Access::Symlink => 1 << 4,
            // No rule decides about these.
            Access::Special | Access::Delete | Access::List => 0,
        }
    }
}
