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

    /// No access.
    pub const EMPTY: AccessSet = AccessSet(0);

    /// The set with `access` added.
    #[must_use]
    pub fn with(self, access: Access) -> Self {
        AccessSet(self.0 | AccessSet::bit(access))
    }

    /// Whether `access` is in the set.
    #[must_use]
    pub fn contains(self, access: Access) -> bool {
        self.0 & AccessSet::bit(access) != 0
    }

    /// Whether the set has one of the accesses that bring content under a startup name.
    #[must_use]
    pub fn brings_content(self) -> bool {
        [Access::Write, Access::Rename, Access::Link, Access::Symlink].into_iter().any(|access| self.contains(access))
    }

    /// The accesses in the set that a rule can speak about.
    pub fn iter(self) -> impl Iterator<Item = Access> {
        AccessSet::RULED.into_iter().filter(move |access| self.contains(*access))
    }

    pub(super) fn covers(self, other: AccessSet) -> bool {
        other.0 & !self.0 == 0
    }

    fn bit(access: Access) -> u8 {
        match access {
            Access::Read => 1,
            Access::Write => 1 << 1,
            Access::Rename => 1 << 2,
            Access::Link => 1 << 3,
            Access::Symlink => 1 << 4,
            Access::Special => 1 << 5,
            Access::Delete => 1 << 6,
            Access::List => 1 << 7,
        }
    }
}
