//! The local file systems on which directories are looked for, and the directory behind a handle.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern, PatternError};

use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Known, Lookup, open_within};
use crate::watch::Walk;

/// Where directories are looked for.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    below: Vec<PathBuf>,
    except: Arc<[Pattern]>,
}

impl Scope {
    /// Below these directories, except below what these globs match.
    ///
    /// # Errors
    /// A glob that does not compile.
    pub fn new(below: Vec<PathBuf>, except: &[String]) -> Result<Self, PatternError> {
        let except = except.iter().map(|glob| Pattern::new(glob)).collect::<Result<_, _>>()?;
        Ok(Scope { below, except })
    }

    /// Whether a directory is one of those that are looked for.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.below.iter().any(|dir| path.starts_with(dir)) && !self.excepts(path)
    }

    /// Whether it lies below what is left out.
    #[must_use]
    pub fn excepts(&self, path: &Path) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        path.ancestors().any(|above| self.except.iter().any(|glob| glob.matches_path_with(above, options)))
    }
}

/// A mount of a file system on which directories are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The kernel's number of the mount.
    pub mount: u64,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The kind of file system.
    pub kind: String,
    /// `f_fsid` of statfs(2).
    pub fsid: u64,
}

impl Anchor {
    /// Opens its root directory, if no other mount lies over it.
    fn open(&self, walk: &Walk) -> io::Result<File> {
        let place = walk.reach(&self.point)?;
        if place.mount == self.mount { place.open() } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

/// Whether a directory of the scope can lie on a mount. `all` are the mounts, by number and place.
fn concerns(scope: &Scope, mount: u64, point: &Path, all: &[(u64, PathBuf)]) -> bool {
    if scope.excepts(point) {
        return false;
    }
    scope.below.iter().any(|dir| {
        let is_nearest = dir.starts_with(point)
            && !all.iter().any(|(other, its)| {
                // Another mount is nearer, or lies over this one.
                dir.starts_with(its) && (its.as_os_str().len(), *other) > (point.as_os_str().len(), mount)
            });
        is_nearest || point.starts_with(dir)
    })
}

/// The mounted file systems on which directories are looked for.
#[derive(Debug, Default)]
pub struct Anchors {
    scope: Scope,
    known: Vec<Anchor>,
    /// Roots that are open, by mount, until [`Anchors::release`].
    open: HashMap<u64, File>,
}

impl Anchors {
    /// Those on which directories of the scope can lie. Nothing is read before [`Anchors::refresh`].
    #[must_use]
    pub fn of_scope(scope: Scope) -> Self {
        Anchors { scope, known: Vec::new(), open: HashMap::new() }
    }

    /// Looks again what is mounted. Those that are new, each with its root directory. No descriptor is kept: one would
    /// keep the file system from being unmounted.
    pub fn refresh(&mut self, walk: &Walk) -> Vec<(Anchor, File)> {
        let point = |point: &[u8]| PathBuf::from(OsStr::from_bytes(point));
        let all: Vec<(u64, PathBuf)> = walk.mounts().iter().map(|(id, mount)| (id, point(&mount.point))).collect();
        self.known.retain(|anchor| all.contains(&(anchor.mount, anchor.point.clone())));
        let mut new = Vec::new();
        for (id, mount) in walk.mounts().iter() {
            let point = point(&mount.point);
            let is_wanted = walk.mounts().remote(id).is_none() && concerns(&self.scope, id, &point, &all);
            if !is_wanted || self.known.iter().any(|known| (known.mount, &known.point) == (id, &point)) {
                continue;
            }
            let mut anchor = Anchor { mount: id, point, kind: mount.kind.clone(), fsid: 0 };
            let Ok(root) = anchor.open(walk) else { continue };
            let Ok(file) = FileId::of(&root) else { continue };
            anchor.fsid = file.fsid;
            self.known.push(anchor.clone());
            new.push((anchor, root));
        }
        new
    }

    /// The directories in which it is looked on a mount: its root, or those of the scope that lie on it.
    #[must_use]
    pub fn roots(&self, anchor: &Anchor) -> Vec<PathBuf> {
        let below = &self.scope.below;
        if below.iter().any(|dir| anchor.point.starts_with(dir)) {
            return vec![anchor.point.clone()];
        }
        below.iter().filter(|dir| dir.starts_with(&anchor.point)).cloned().collect()
    }

    /// Every mount on which directories are looked for.
    #[must_use]
    pub fn all(&self) -> &[Anchor] {
        &self.known
    }

    /// Opens the directory behind a handle `O_PATH`.
    ///
    /// # Errors
    /// ESTALE where it is gone, ENOENT where it cannot be reached from the daemon's root.
    pub fn reach(&mut self, dir: &FileId) -> io::Result<OwnedFd> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for anchor in self.known.iter().filter(|anchor| anchor.fsid == dir.fsid) {
            let root = match self.open.entry(anchor.mount) {
                Entry::Occupied(root) => root.into_mut(),
                Entry::Vacant(none) => match Walk::new().map_err(io::Error::from).and_then(|walk| anchor.open(&walk)) {
                    Ok(root) => none.insert(root),
                    Err(error) => {
                        last = error;
                        continue;
                    }
                },
            };
            match dir.open(root, libc::O_PATH | libc::O_DIRECTORY) {
                // A mount that shows only a part of the file system may not show this one.
                Ok(opened) => match path_of(&opened) {
                    Ok(_) => return Ok(opened),
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Closes what was opened for [`Anchors::reach`]: it keeps file systems from being unmounted.
    pub fn release(&mut self) {
        self.open.clear();
    }
}

/// The path of an open directory, if the directory is found there. Nothing is waited for: what is open is in the kernel's
/// cache, with all that is above it.
///
/// # Errors
/// ENOENT: it was removed, is covered by a mount, or cannot be reached from the daemon's root.
pub fn path_of(dir: impl AsFd) -> io::Result<PathBuf> {
    let path = fs::read_link(fd_link(dir.as_fd()))?;
    let below = path.strip_prefix("/").map_err(|_| io::ErrorKind::NotFound)?;
    let found = if below.as_os_str().is_empty() {
        Known::of(File::open("/")?)?
    } else {
        Known::of(open_within(File::open("/")?, below, Lookup::Cache)?)?
    };
    let known = Known::of(dir)?;
    let is_same = (found.device, found.inode) == (known.device, known.inode);
    if is_same { Ok(path) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_mounts_hold_or_lie_below_a_directory() {
        let all = [(1, "/"), (2, "/srv"), (3, "/srv/data"), (4, "/srv")].map(|(id, point)| (id, PathBuf::from(point)));
        let of = |below: &[&str]| {
            let scope = Scope::new(below.iter().map(PathBuf::from).collect(), &["/srv/*/x".to_owned()]).unwrap();
            let concerned = all.iter().filter(|(id, point)| concerns(&scope, *id, point, &all));
            concerned.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        assert_eq!(of(&["/"]), [1, 2, 3, 4]);
        assert_eq!(of(&["/opt", "/usr"]), [1]);
        assert_eq!(of(&["/srv/app"]), [4]); // which lies over the other one
        assert_eq!(of(&["/srv/data/x"]), [3]);
        assert_eq!(of(&["/srv"]), [2, 3, 4]);
    }

    #[test]
    fn what_is_looked_for() {
        let except = ["/var/lib/docker", "/home/*/.cache/x"].map(str::to_owned);
        let scope = Scope::new(vec!["/var".into(), "/home".into()], &except).unwrap();
        for (path, is) in [
            ("/var/lib/site-packages", true),
            ("/var/lib/docker/overlay2/a/diff/site-packages", false),
            ("/var/lib/dockers/site-packages", true),
            ("/home/a/.cache/x", false),
            ("/home/a/b/.cache/x/site-packages", true),
            ("/variable/site-packages", false),
        ] {
            assert_eq!(scope.contains(Path::new(path)), is, "{path}");
        }
    }

    #[test]
    fn an_open_directorys_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("x");
        fs::create_dir(&path).unwrap();
        let open = File::open(&path).unwrap();
        assert_eq!(path_of(&open).unwrap(), path);
        fs::rename(&path, path.with_extension("y")).unwrap();
        assert_eq!(path_of(&open).unwrap(), path.with_extension("y"));
        fs::remove_dir(path.with_extension("y")).unwrap();
        assert!(path_of(&open).is_err());
        assert_eq!(path_of(File::open("/").unwrap()).unwrap(), Path::new("/"));
    }
}
