//! Lanes, so that a storm in the directories of ordinary users does not hold up decisions about the system's.
//!
//! A decision about a directory needs all that happened there before, so whoever can make things happen there faster than
//! they are read delays it. Each lane has groups, queues and threads of its own, and a directory belongs to one.
//!
//! What lies on overlayfs has a lane of its own for another reason. The kernel opens the file of an event for the group's
//! reader. On overlayfs that opens the file of a layer, and where that one is guarded, too, its open waits for an answer:
//! from the thread that is opening it, if both events go to one reader. Tried on Linux 6.18: the reader never came back.
//! So this lane's reader ends before the others do, and with an earlier guard's groups this lane comes last: whoever waits at
//! a layer's directory, which he lists, has the one above it locked.

use std::fs::File;
use std::io;
use std::ops::{Index, IndexMut};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

/// Permission to write for the group and for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where things about a directory are queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Directories that only root can write.
    System,
    /// All others.
    Users,
    /// Those on overlayfs, whoever can write them.
    Layered,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 3] = [Lane::System, Lane::Users, Lane::Layered];

    /// The lane of a directory on a local file system, by what that is and who can write it.
    ///
    /// # Errors
    /// What fstat(2) and fstatfs(2) say.
    pub fn of(dir: &File) -> io::Result<Self> {
        if is_layered(dir)? {
            return Ok(Lane::Layered);
        }
        let metadata = dir.metadata()?;
        let is_roots = metadata.uid() == 0 && metadata.mode() & WRITABLE_BY_OTHERS == 0;
        Ok(if is_roots { Lane::System } else { Lane::Users })
    }

    /// A word for the name of a thread.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::System => "sys",
            Lane::Users => "usr",
            Lane::Layered => "ovl",
        }
    }
}

/// Whether a directory lies on overlayfs.
///
/// # Errors
/// What fstatfs(2) says.
pub fn is_layered(dir: impl AsFd) -> io::Result<bool> {
    Ok(fstatfs(dir)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// One of something for each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLane<T>([T; 3]);

impl<T> PerLane<T> {
    /// One for the system's directories, one for the others, and one for those on overlayfs.
    pub const fn each(system: T, users: T, layered: T) -> Self {
        PerLane([system, users, layered])
    }

    /// Makes one for each.
    ///
    /// # Errors
    /// The first one of `make`.
    pub fn try_new<E>(mut make: impl FnMut(Lane) -> Result<T, E>) -> Result<Self, E> {
        Ok(PerLane([make(Lane::System)?, make(Lane::Users)?, make(Lane::Layered)?]))
    }

    /// Makes one for each.
    pub fn new(make: impl FnMut(Lane) -> T) -> Self {
        PerLane(Lane::ALL.map(make))
    }

    /// Makes something of each.
    ///
    /// # Errors
    /// The first one of `make`.
    pub fn try_map<U, E>(self, mut make: impl FnMut(Lane, T) -> Result<U, E>) -> Result<PerLane<U>, E> {
        let PerLane([system, users, layered]) = self;
        Ok(PerLane([make(Lane::System, system)?, make(Lane::Users, users)?, make(Lane::Layered, layered)?]))
    }

    /// Those of all lanes.
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
