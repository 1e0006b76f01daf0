//! Under which name a file was opened, as far as the event descriptor can tell.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use smallvec::SmallVec;

use crate::fanotify::file::read_path;

/// `PATH_MAX`, with its zero: the kernel tells no longer path.
const MAX_PATH: usize = 4096;
/// Paths up to this length are kept without asking for memory: what lies in site directories has shorter ones.
const USUAL: usize = 256;

/// The path of an event descriptor: where the entry that was opened is *now*.
///
/// The last part is the entry's own name in every mount namespace; the directory is only a hint, because a path from
/// another mount namespace can read like one of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedAs(SmallVec<[u8; USUAL]>);

impl OpenedAs {
    /// Reads the path. `None` where it is too long to be told (ENAMETOOLONG) or has no name.
    #[must_use]
    pub fn of(file: impl AsFd) -> Option<Self> {
        let mut buffer = [0; MAX_PATH];
        let len = read_path(file, &mut buffer).ok().filter(|len| *len < MAX_PATH)?;
        let path = &buffer[..len];
        // The kernel marks an entry that was removed meanwhile. It was opened under the name before the mark.
        let opened = OpenedAs(SmallVec::from_slice(path.strip_suffix(b" (deleted)").unwrap_or(path)));
        opened.path().file_name().is_some().then_some(opened)
    }

    /// The entry's name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.path().file_name().unwrap_or_default()
    }

    /// The directory that it seems to lie in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.path().parent().unwrap_or(Path::new("/"))
    }

    /// The whole path, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_name_follows_renames_and_survives_removal() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let path = dir.join("x.pth");
        std::fs::write(&path, "x").unwrap();
        let file = File::open(&path).unwrap();
        let opened = OpenedAs::of(&file).unwrap();
        assert_eq!((opened.dir(), opened.name()), (dir.as_path(), OsStr::new("x.pth")));
        std::fs::rename(&path, dir.join("y\n.txt")).unwrap();
        assert_eq!(OpenedAs::of(&file).unwrap().name(), "y\n.txt");
        std::fs::remove_file(dir.join("y\n.txt")).unwrap();
        assert_eq!(OpenedAs::of(&file).unwrap().name(), "y\n.txt");
    }
}
