//! Two lanes, so that a storm in the directories of ordinary users does not hold up decisions about the system's.
//!
//! A decision about a directory needs all that happened there before, so whoever can make things happen there faster than
//! they are read delays it. Each lane has groups, queues and threads of its own, and a directory belongs to one.

use std::fs::Metadata;
use std::ops::{Index, IndexMut};
use std::os::unix::fs::MetadataExt;

/// Permission to write for the group and for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where things about a directory are queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Directories that only root can write.
    System,
    /// All others.
    Users,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::System, Lane::Users];

    /// The lane of a directory, by who can write it.
    #[must_use]
    pub fn of(dir: &Metadata) -> Self {
        if dir.uid() == 0 && dir.mode() & WRITABLE_BY_OTHERS == 0 { Lane::System } else { Lane::Users }
    }

    /// A word for the name of a thread.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::System => "sys",
            Lane::Users => "usr",
        }
    }
}

/// One of something for each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLane<T>([T; 2]);

impl<T> PerLane<T> {
    /// One for the system's directories and one for the others.
    pub const fn each(system: T, users: T) -> Self {
        PerLane([system, users])
    }

    /// Makes one for each.
    ///
    /// # Errors
    /// The first one of `make`.
    pub fn try_new<E>(mut make: impl FnMut(Lane) -> Result<T, E>) -> Result<Self, E> {
        Ok(PerLane([make(Lane::System)?, make(Lane::Users)?]))
    }

    /// Makes one for each.
    pub fn new(make: impl FnMut(Lane) -> T) -> Self {
        PerLane(Lane::ALL.map(make))
    }

    /// Those of both lanes.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Lane> for PerLane<T> {
    type Output = T;

    fn index(&self, lane: Lane) -> &T {
        &self.0[lane as usize]
    }
}

impl<T> IndexMut<Lane> for PerLane<T> {
    fn index_mut(&mut self, lane: Lane) -> &mut T {
        &mut self.0[lane as usize]
    }
}
