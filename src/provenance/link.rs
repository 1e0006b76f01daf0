//! Where a symbolic link under a startup name leads, and over what.
//!
//! Opening what a link leads to raises no event in the directory in which the link lies. So whoever can exchange anything
//! on the way there decides what an interpreter reads: the file itself, the directory in which it lies, one above it,
//! another link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use super::journey::{Journey, Step};
use crate::model::Writers;

/// The way from a symbolic link to a regular file. All descriptors are `O_PATH`.
#[derive(Debug)]
pub struct LinkWay {
    /// Every directory and further link on the way, in order; whichever of them is exchanged, the link leads elsewhere.
    pub passed: Vec<OwnedFd>,
    /// The directory in which the file lies.
    pub dir: OwnedFd,
    /// Its canonical path.
    pub dir_path: PathBuf,
    /// The file's name in it.
    pub name: OsString,
    /// The file.
    pub file: OwnedFd,
    /// The first place on the way that somebody else than root and the owner of the site directory can change.
    pub writable: Option<PathBuf>,
    /// Whether nobody but root can change the file or anything on the way.
    pub is_roots: bool,
    /// Whose the file is.
    pub owner: u32,
}

impl LinkWay {
    /// Where the link leads.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir_path.join(&self.name)
    }
}

/// Follows the symbolic link `name` in the site directory `dir`, whose canonical path is `path` and which belongs to
/// `owner`.
///
/// # Errors
/// It is no link, or leads to nothing, to what is no regular file, or through /proc; and what openat(2) says.
pub fn follow_link(dir: impl AsFd, path: &Path, owner: u32, name: &OsStr) -> io::Result<LinkWay> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let text = readlinkat(openat(dir.as_fd(), name, flags, Mode::empty())?, "")?;
    let is_absolute = Path::new(&text).is_absolute();
    let mut journey = if is_absolute { Journey::from_root(&text)? } else { Journey::from_directory(dir, path, &text)? };
    let mut passed = Vec::new();
    let mut writable = None;
    let mut writers = Writers::Root;
    let mut last = None;
    let trusts = |writers| match writers {
        Writers::Root => true,
        Writers::User(user) => user == owner,
        Writers::Others => false,
    };
    while !journey.is_over() {
        writers = writers.and(journey.writers());
        if !trusts(journey.writers()) {
            writable.get_or_insert_with(|| journey.path.clone());
        }
        let from = (journey.place.try_clone()?, journey.path.clone());
        match journey.step()? {
            Step::Entry => {
                last = Some(from);
                passed.push(journey.place.try_clone()?);
            }
            Step::Link { path, owner, link } => {
                writers = writers.and(Writers::of(owner, 0, 0));
                if !trusts(Writers::of(owner, 0, 0)) {
                    writable.get_or_insert(path);
                }
                passed.push(link);
            }
        }
    }
    passed.pop(); // the file itself
    let (dir, dir_path) = last.ok_or_else(not_a_file)?;
    if journey.stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(not_a_file());
    }
    // In a sticky directory it is its owner's to rename.
    if !trusts(Writers::of(journey.stat.st_uid, 0, 0)) {
        writable.get_or_insert_with(|| journey.path.clone());
    }
    let owner = journey.stat.st_uid;
    let is_roots = writers.and(journey.writers()) == Writers::Root;
    let (name, file) = (journey.name, journey.place);
    Ok(LinkWay { passed, dir, dir_path, name, file, writable, is_roots, owner })
}

fn not_a_file() -> io::Error {
    io::Error::other("it leads to what is no regular file")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn follow(dir: &Path, name: &str) -> io::Result<LinkWay> {
        let owner = fs::metadata(dir).unwrap().uid();
        follow_link(File::open(dir).unwrap(), dir, owner, OsStr::new(name))
    }

    #[test]
    fn a_way_has_every_directory_and_link_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for name in ["site", "cache", "cache/deep"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        fs::write(dir.join("cache/deep/x.pth"), "x").unwrap();
        symlink("cache", dir.join("current")).unwrap();
        symlink(dir.join("current/deep/y"), dir.join("site/x.pth")).unwrap();
        symlink("x.pth", dir.join("cache/deep/y")).unwrap();
        let way = follow(&dir.join("site"), "x.pth").unwrap();
        assert_eq!(way.path(), dir.join("cache/deep/x.pth"));
        let inode = |file: &OwnedFd| File::from(file.try_clone().unwrap()).metadata().unwrap().ino();
        let passed: Vec<u64> = way.passed.iter().map(inode).collect();
        for part in ["current", "cache", "cache/deep", "cache/deep/y"] {
            let ino = fs::symlink_metadata(dir.join(part)).unwrap().ino();
            assert!(passed.contains(&ino), "{part}");
        }
        assert_eq!(inode(&way.file), fs::metadata(dir.join("cache/deep/x.pth")).unwrap().ino());
        assert_eq!(inode(&way.dir), fs::metadata(dir.join("cache/deep")).unwrap().ino());
        assert!(!passed.contains(&inode(&way.file)));
    }

    #[test]
    fn what_others_can_change_on_the_way_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("open")).unwrap();
        fs::write(dir.join("open/x"), "x").unwrap();
        symlink("open/x", dir.join("x.pth")).unwrap();
        assert_eq!(follow(&dir, "x.pth").unwrap().writable, None);
        fs::set_permissions(dir.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(follow(&dir, "x.pth").unwrap().writable, Some(dir.join("open")));
    }

    #[test]
    fn only_regular_files_are_led_to() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for (name, to) in
            [("a.pth", "."), ("b.pth", "/dev/null"), ("c.pth", "c.pth"), ("d.pth", "none"), ("e.pth", "/proc/self/exe")]
        {
            symlink(to, dir.join(name)).unwrap();
            assert!(follow(&dir, name).is_err(), "{name}");
        }
        fs::write(dir.join("f.pth"), "").unwrap();
        assert!(follow(&dir, "f.pth").is_err(), "no link");
    }
}
