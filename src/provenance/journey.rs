//! Going the way of a path as the kernel goes it, one step at a time.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::model::Writers;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// Components on the way, with those of links: more are no path that anybody uses.
const MAX_STEPS: usize = 512;

/// What a step led to.
pub(super) enum Step {
    /// What the component names: the place is there now.
    Entry,
    /// A symbolic link; the place is still the directory in which it lies, or the root, and its text comes next.
    Link {
        /// The link's own path.
        path: PathBuf,
        /// Who made it.
        owner: u32,
        /// The link itself, `O_PATH`.
        link: OwnedFd,
    },
}

/// A way that is under way. Everything is opened `O_PATH`, nothing is followed by the kernel.
pub(super) struct Journey {
    /// Where it has come to.
    pub(super) place: OwnedFd,
    /// What that is.
    pub(super) stat: FileStat,
    /// Its path, without links.
    pub(super) path: PathBuf,
    /// The component that led there.
    pub(super) name: OsString,
    left: VecDeque<OsString>,
    links: usize,
    steps: usize,
}

impl Journey {
    /// From the root, whether the path begins with `/` or not.
    pub(super) fn from_root(way: &OsStr) -> io::Result<Self> {
        let (place, stat) = look_up(nix::fcntl::AT_FDCWD, OsStr::new("/"))?;
        Ok(Self::new(place, stat, PathBuf::from("/"), way))
    }

    /// From the directory in which a symbolic link lies, whose path is canonical.
    pub(super) fn from_directory(dir: impl AsFd, path: &Path, way: &OsStr) -> io::Result<Self> {
        let (place, stat) = look_up(dir, OsStr::new("."))?;
        Ok(Self::new(place, stat, path.to_owned(), way))
    }

    fn new(place: OwnedFd, stat: FileStat, path: PathBuf, way: &OsStr) -> Self {
        Journey { place, stat, path, name: OsString::new(), left: parts(way), links: 0, steps: 0 }
    }

    /// Whether nothing is left of the way.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// Who can change which entry the next component is.
    pub(super) fn writers(&self) -> Writers {
        Writers::of(self.stat.st_uid, self.stat.st_gid, self.stat.st_mode)
    }

    /// Who can make the next component if it is not there.
    pub(super) fn writers_of_what_is_missing(&self) -> Writers {
        Writers::of(self.stat.st_uid, self.stat.st_gid, self.stat.st_mode & !libc::S_ISVTX)
    }

    /// Takes the next component.
    ///
    /// # Errors
    /// What openat(2) says; ELOOP or ENAMETOOLONG where the way does not end.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let Some(name) = self.left.pop_front() else { return Ok(Step::Entry) };
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        let (next, stat) = look_up(&self.place, &name)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
            if name == ".." {
                self.path.pop();
            } else {
                self.path.push(&name);
            }
            (self.place, self.stat, self.name) = (next, stat, name);
            return Ok(Step::Entry);
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let path = self.path.join(&name);
        // Of the link that was looked at, not of what has its name by now.
        let text = readlinkat(&next, "")?;
        if text.as_bytes().starts_with(b"/") {
            (self.place, self.stat) = look_up(nix::fcntl::AT_FDCWD, OsStr::new("/"))?;
            self.path = PathBuf::from("/");
        }
        for part in parts(&text).into_iter().rev() {
            self.left.push_front(part);
        }
        Ok(Step::Link { path, owner: stat.st_uid, link: next })
    }
}

fn look_up(at: impl AsFd, name: &OsStr) -> io::Result<(OwnedFd, FileStat)> {
    let fd = openat(at, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let file = fstat(&fd)?;
    if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC {
        return Err(io::Error::other("it leads through /proc, to somewhere else for each process"));
    }
    Ok((fd, file))
}

fn parts(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.map(|part| OsString::from_vec(part.to_vec())).collect()
}
