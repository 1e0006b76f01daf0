//! From a path or a glob to a directory, one part at a time, so that nothing is touched on a file system that can make
//! us wait: FUSE, the network. No part is opened before it is known what is mounted there.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};

use super::filesystems::Mounts;
use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Known, Lookup, borrow_mount, copy_mount, open_within};

/// Symbolic links in one path, as in path_resolution(7).
const MAX_LINKS: usize = 40;
/// How many directories deep `**` goes.
const MAX_DEPTH: usize = 16;

/// How long a table of mounts is gone by. A number in it may be another mount's once the first is gone.
const FRESH: Duration = Duration::from_millis(50);

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A place that cannot be looked at without waiting for somebody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} lies on a file system of type {kind}, whose owner or server can stop each look at it")]
pub struct Unguardable {
    /// The first part of the path that does.
    pub path: PathBuf,
    /// Its type.
    pub kind: String,
}

/// Why a place was not reached.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// It must not be touched.
    #[error(transparent)]
    Remote(#[from] Unguardable),
    /// It is not there, or cannot be opened.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<nix::Error> for NotReached {
    fn from(errno: nix::Error) -> Self {
        NotReached::System(errno.into())
    }
}

impl From<NotReached> for io::Error {
    fn from(error: NotReached) -> Self {
        match error {
            NotReached::System(error) => error,
            NotReached::Remote(place) => io::Error::other(place),
        }
    }
}

/// A directory that was reached.
#[derive(Debug)]
pub struct Reached {
    /// Its path without symbolic links.
    pub path: PathBuf,
    /// It, opened `O_PATH`.
    pub dir: OwnedFd,
    /// The number of its mount.
    pub mount: u64,
    step: Rc<Step>,
}

impl Reached {
    fn new(step: &Rc<Step>) -> io::Result<Self> {
        Ok(Reached { path: step.path.clone(), dir: step.fd.try_clone()?, mount: step.mount, step: Rc::clone(step) })
    }

    /// A copy of its mount that is attached nowhere: borrowed, where the daemon may not make one.
    ///
    /// # Errors
    /// As [`copy_mount`].
    pub fn copy_mount(&self) -> io::Result<OwnedFd> {
        let root = self.step.mount_root();
        match copy_mount(&root.fd) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                borrow_mount(&root.path).map_err(|_| error)
            }
            copied => copied,
        }
    }

    /// Opens the directory for reading, within a copy of its mount: what is held open so keeps nobody from unmounting.
    ///
    /// # Errors
    /// What openat2(2) says; ESTALE where another directory has taken its place since.
    pub fn open_in(&self, copy: &OwnedFd) -> io::Result<File> {
        let root = self.step.mount_root();
        let below = self.path.strip_prefix(&root.path).unwrap_or(Path::new("")).join(".");
        let dir = open_within(copy, &below, Lookup::Disk)?;
        let (found, wanted) = (Known::of(&dir)?, Known::of(&self.dir)?);
        if (found.device, found.inode) != (wanted.device, wanted.inode) {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        }
        Ok(dir.into())
    }

    /// Opens the directory for reading where it lies.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(&self) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(&self.dir, ".", flags, Mode::empty())?.into())
    }

    /// Its identity.
    ///
    /// # Errors
    /// As [`FileId::of`].
    pub fn file(&self) -> io::Result<FileId> {
        FileId::of(&self.dir)
    }
}

/// A directory on the way, with those above it.
#[derive(Debug)]
struct Step {
    fd: OwnedFd,
    path: PathBuf,
    mount: u64,
    above: Option<Rc<Step>>,
}

impl Step {
    fn mount_root(&self) -> &Step {
        let mut root = self;
        while let Some(above) = root.above.as_deref().filter(|above| above.mount == root.mount) {
            root = above;
        }
        root
    }
}

/// Walks below one root directory.
#[derive(Debug)]
pub struct Walk {
    root: Rc<Step>,
    mounts: Mounts,
    stays: bool,
}

impl Walk {
    /// Below the daemon's own root directory, on every local file system.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn new() -> Result<Self, NotReached> {
        Self::below(Path::new("/"), Mounts::read()?, false)
    }

    /// Below another root directory, in which absolute symbolic links stay, too; `mounts` are those of its namespace.
    /// With `stays` no other mount than the root's is entered.
    ///
    /// # Errors
    /// The root directory cannot be opened or lies on no local file system.
    pub fn below(root: &Path, mounts: Mounts, stays: bool) -> Result<Self, NotReached> {
        let fd = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mount = Known::of(&fd)?.mount;
        if let Some(kind) = mounts.remote(mount) {
            return Err(Unguardable { path: root.to_owned(), kind: kind.to_owned() }.into());
        }
        Ok(Walk { root: Rc::new(Step { fd, path: root.to_owned(), mount, above: None }), mounts, stays })
    }

    /// The table of mounts that it goes by.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// The directory at an absolute path.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ELOOP as in path_resolution(7); [`NotReached::Remote`].
    pub fn reach(&self, path: &Path) -> Result<Reached, NotReached> {
        Ok(self.reach_by_links(path)?.0)
    }

    /// The same, with the owners of the symbolic links on the way.
    ///
    /// # Errors
    /// As [`Walk::reach`].
    pub fn reach_by_links(&self, path: &Path) -> Result<(Reached, Vec<u32>), NotReached> {
        let mut links = Vec::new();
        let step = self.follow(&self.root, path, &mut links)?;
        // The file descriptor may be shared with the steps below; a copy costs nothing that matters.
        Ok((Reached::new(&step)?, links))
    }

    /// The number of the mount on which the deepest part of a path lies that is there; `None` if it is remote.
    #[must_use]
    pub fn mount_at(&self, path: &Path) -> Option<u64> {
        path.ancestors().find_map(|path| match self.reach(path) {
            Ok(place) => Some(Some(place.mount)),
            Err(NotReached::Remote(_)) => Some(None),
            Err(NotReached::System(_)) => None,
        })?
    }

    /// The directories that a glob matches now, one after the other: each holds descriptors. What cannot be reached is not
    /// there for an interpreter either, but a match on a remote file system is handed over as such.
    ///
    /// # Errors
    /// A glob that does not compile.
    pub fn expand(
        &self,
        glob: &str,
        mut found: impl FnMut(Result<Reached, NotReached>),
    ) -> Result<(), glob::PatternError> {
        let parts = glob.split('/').filter(|part| !part.is_empty()).map(Part::new).collect::<Result<Vec<_>, _>>()?;
        self.matches(&self.root, &parts, MAX_DEPTH, &mut found);
        Ok(())
    }

    fn matches(
        &self,
        at: &Rc<Step>,
        parts: &[Part],
        depth: usize,
        found: &mut impl FnMut(Result<Reached, NotReached>),
    ) {
        let mut keep = |outcome: Result<Rc<Step>, NotReached>, rest: &[Part], depth: usize| match outcome {
            Ok(step) => self.matches(&step, rest, depth, found),
            Err(remote @ NotReached::Remote(_)) => found(Err(remote)),
            Err(NotReached::System(_)) => {}
        };
        match parts.split_first() {
            None => found(Reached::new(at).map_err(NotReached::System)),
            Some((Part::Literal(name), rest)) => keep(self.follow(at, Path::new(name), &mut Vec::new()), rest, depth),
            Some((Part::Pattern(pattern), rest)) => {
                for name in entries(&at.fd).into_iter().filter(|name| pattern.matches(&name.to_string_lossy())) {
                    keep(self.follow(at, Path::new(&name), &mut Vec::new()), rest, depth);
                }
            }
            Some((Part::Any, rest)) => {
                keep(Ok(Rc::clone(at)), rest, depth);
                for name in entries(&at.fd).into_iter().take_while(|_| depth > 0) {
                    // Not through symbolic links: they could lead round and round.
                    if let Ok(Next::Directory(step)) = self.enter(at, &name) {
                        keep(Ok(step), parts, depth - 1);
                    }
                }
            }
        }
    }

    fn follow(&self, from: &Rc<Step>, path: &Path, links: &mut Vec<u32>) -> Result<Rc<Step>, NotReached> {
        let mut at = Rc::clone(from);
        for part in path.components() {
            at = match part {
                Component::RootDir => Rc::clone(&self.root),
                Component::CurDir | Component::Prefix(_) => at,
                Component::ParentDir => at.above.clone().unwrap_or(at),
                Component::Normal(name) => match self.enter(&at, name)? {
                    Next::Directory(step) => step,
                    Next::Link { target, owner } => {
                        links.push(owner);
                        if links.len() > MAX_LINKS {
                            return Err(nix::Error::ELOOP.into());
                        }
                        self.follow(&at, &target, links)?
                    }
                },
            };
        }
        Ok(at)
    }

    /// Goes to one entry of a directory. Everything that is opened here lies on a local file system.
    fn enter(&self, at: &Rc<Step>, name: &OsStr) -> Result<Next, NotReached> {
        let fd = openat(&at.fd, name, LOOK, Mode::empty())?;
        let known = Known::of(&fd)?;
        let path = at.path.join(name);
        if known.mount != at.mount {
            // The type of what is mounted is looked up; a mount that is younger than the table is not entered.
            if let Some(kind) = self.mounts.remote(known.mount) {
                return Err(Unguardable { path, kind: kind.to_owned() }.into());
            }
            if self.stays {
                return Err(nix::Error::EXDEV.into());
            }
        }
        match known.kind {
            libc::S_IFDIR => {
                Ok(Next::Directory(Rc::new(Step { fd, path, mount: known.mount, above: Some(Rc::clone(at)) })))
            }
            libc::S_IFLNK => Ok(Next::Link { target: readlinkat(&fd, "")?.into(), owner: fstat(&fd)?.st_uid }),
            _ => Err(nix::Error::ENOTDIR.into()),
        }
    }
}

enum Next {
    Directory(Rc<Step>),
    Link { target: PathBuf, owner: u32 },
}

/// One part of a glob.
#[derive(Debug)]
enum Part {
    Literal(String),
    Pattern(glob::Pattern),
    /// `**`
    Any,
}

impl Part {
    fn new(text: &str) -> Result<Self, glob::PatternError> {
        let pattern = glob::Pattern::new(text)?;
        Ok(match text {
            "**" => Part::Any,
            _ if text.contains(['*', '?', '[']) => Part::Pattern(pattern),
            _ => Part::Literal(text.to_owned()),
        })
    }
}

fn entries(dir: impl AsFd) -> Vec<std::ffi::OsString> {
    let Ok(entries) = fs::read_dir(fd_link(dir.as_fd())) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// Opens a directory by its path, wherever symbolic links lead, unless that touches a file system that can make us wait.
///
/// # Errors
/// As [`Walk::reach`].
pub fn reach_local(path: &Path) -> Result<Reached, NotReached> {
    Walk::new()?.reach(path)
}

/// For one directory after the other: the table of mounts is not read for each of them.
#[derive(Debug, Default)]
pub struct Walks(Option<(Walk, Instant)>);

impl Walks {
    /// As [`reach_local`], by a table of mounts that is not quite new, unless a mount is met that is not in it.
    ///
    /// # Errors
    /// As [`Walk::reach`].
    pub fn reach(&mut self, path: &Path) -> Result<Reached, NotReached> {
        if let Some((walk, read)) = &self.0
            && read.elapsed() < FRESH
        {
            let reached = walk.reach(path);
            if !matches!(reached, Err(NotReached::Remote(_))) {
                return reached;
            }
        }
        let (walk, _) = self.0.insert((Walk::new()?, Instant::now()));
        walk.reach(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(walk: &Walk, glob: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        walk.expand(glob, |found| paths.push(found.unwrap().path)).unwrap();
        paths
    }

    #[test]
    fn globs_find_what_the_shell_would() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for made in ["a/lib/python3.11/site-packages", "b/lib/python3.12/site-packages", "b/lib/python3.12/x/y"] {
            fs::create_dir_all(dir.join(made)).unwrap();
        }
        fs::write(dir.join("c"), "no directory").unwrap();
        symlink("b", dir.join("current")).unwrap();
        symlink(dir.join("a/lib"), dir.join("b/lib64")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let walk = Walk::new().unwrap();
        let glob = |rest: &str| paths(&walk, &format!("{}/{rest}", dir.display()));
        let (a, b) = (dir.join("a/lib/python3.11/site-packages"), dir.join("b/lib/python3.12/site-packages"));
        assert_eq!(glob("*/lib/python*/site-packages"), [a.clone(), b.clone(), b.clone()]);
        assert_eq!(glob("b/lib64/python3.1[01]/site-packages"), *std::slice::from_ref(&a));
        assert_eq!(glob("current/../a/lib/python3.?1/site-packages"), *std::slice::from_ref(&a));
        assert_eq!(glob("**/site-packages"), [a, b]);
        assert_eq!(glob("b/**/y"), [dir.join("b/lib/python3.12/x/y")]);
        assert!(glob("loop/x").is_empty() && glob("c/x").is_empty() && glob("none").is_empty());
    }

    #[test]
    fn another_root_is_not_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/lib/site-packages")).unwrap();
        symlink("/usr/lib", root.join("lib")).unwrap();
        symlink("/../../..", root.join("up")).unwrap();
        let walk = Walk::below(&root, Mounts::read().unwrap(), true).unwrap();
        assert_eq!(paths(&walk, "/lib/site-packages"), [root.join("usr/lib/site-packages")]);
        assert_eq!(paths(&walk, "/up/lib/../lib/site-*"), [root.join("usr/lib/site-packages")]);
        assert!(paths(&walk, "/up/etc").is_empty());
    }

    #[test]
    fn a_file_system_that_waits_for_nobody_knows_whom_is_not_entered() {
        let remote = reach_local(Path::new("/proc/self/fd")).unwrap_err();
        assert!(matches!(remote, NotReached::Remote(Unguardable { kind, .. }) if kind == "proc"));
    }
}
