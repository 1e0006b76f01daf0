//! Under which name a file was opened, as far as the event descriptor can tell.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::fanotify::group::fd_link;

/// The path of an event descriptor: where the entry that was opened is *now*.
///
/// The last part is the entry's own name in every mount namespace; the directory is only a hint, because a path from
/// another mount namespace can read like one of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedAs(PathBuf);

impl OpenedAs {
    /// Reads the path. `None` where it is too long to be told (ENAMETOOLONG) or has no name.
    #[must_use]
    pub fn of(file: impl AsFd) -> Option<Self> {
        let path = fs::read_link(fd_link(file.as_fd())).ok()?.into_os_string().into_vec();
        // The kernel marks an entry that was removed meanwhile. It was opened under the name before the mark.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
        let path = Path::new(OsStr::from_bytes(path));
        path.file_name().is_some().then(|| OpenedAs(path.to_owned()))
    }

    /// The entry's name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.0.file_name().unwrap_or_default()
    }

    /// The directory that it seems to lie in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new("/"))
    }

    /// The whole path, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
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
