//! The site directories: found by the policy's globs, known by handle, held open.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode as CreateMode;

use super::lanes::Lane;
use super::walk::{NotReached, Unguardable, Walk};
use crate::approvals::DirectoryId;
use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Identity, Kept, Known};
use crate::model::{Site, StartupNames};

/// A site directory's number, for as long as the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub usize);

/// Why a directory is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is a site directory.
    Site,
    /// It is a subdirectory of a guarded one in which code of a startup module lies.
    Inside {
        /// The guarded directory.
        of: SiteId,
        /// Its name there.
        name: OsString,
    },
    /// A path line of an approved startup file leads to it.
    Target {
        /// The directory of that file.
        of: SiteId,
    },
}

impl Role {
    /// The directory because of which this one is guarded.
    #[must_use]
    pub fn of(&self) -> Option<SiteId> {
        match self {
            Role::Site => None,
            Role::Inside { of, .. } | Role::Target { of } => Some(*of),
        }
    }
}

/// A directory to be guarded.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// Canonical path in the daemon's mount namespace.
    pub path: PathBuf,
    /// Why.
    pub role: Role,
    /// Which of its entries are startup files.
    pub startup: StartupNames,
    /// What the policy needs to know: of the site directory because of which it is guarded.
    pub facts: Site,
}

/// A guarded directory.
#[derive(Debug)]
pub struct SiteDir {
    /// Its number.
    pub id: SiteId,
    /// What and why.
    pub guarded: Guarded,
    /// The directory, open.
    pub dir: File,
    /// Its identity.
    pub identity: Kept,
    /// Under which number the approvals know it.
    pub approvals: DirectoryId,
    /// Where things about it are queued.
    pub lane: Lane,
}

impl SiteDir {
    /// Its identity, by value.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.identity.file()
    }

    /// The path of an entry, for people.
    #[must_use]
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.guarded.path.join(name)
    }

    /// The startup files' names that are in the directory now.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn startup_names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(fd_link(self.dir.as_fd()))? {
            let name = entry?.file_name();
            if self.is_startup(&name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether an entry of that name is a startup file.
    #[must_use]
    pub fn is_startup(&self, name: &OsStr) -> bool {
        self.guarded.startup.matches(name.as_bytes())
    }

    /// Opens an entry, never through a symbolic link.
    ///
    /// # Errors
    /// What openat(2) says; ELOOP for a symbolic link unless `O_PATH` is among the flags.
    pub fn open(&self, name: &OsStr, flags: OFlag) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(openat(&self.dir, name, flags, CreateMode::empty())?)
    }

    /// Whether `name` in this directory is that file now.
    #[must_use]
    pub fn holds(&self, name: &OsStr, file: &FileId) -> bool {
        self.open(name, OFlag::O_PATH).and_then(FileId::of).is_ok_and(|found| found == *file)
    }
}

/// Opens a tracked file: by its handle or, where the file system's handles cannot be opened (overlayfs), by the name
/// under which it is expected, if it is still that file.
///
/// # Errors
/// ESTALE where it is gone, EWOULDBLOCK where somebody holds a write lease, and what open(2) says.
pub fn reach(site: &SiteDir, name: &OsStr, file: &FileId, flags: OFlag) -> io::Result<OwnedFd> {
    let by_handle = file.open(&site.dir, (flags | OFlag::O_NONBLOCK).bits());
    let Err(error) = by_handle else { return by_handle };
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ESTALE | libc::EINVAL) => {
            let found = site.open(name, flags)?;
            if FileId::of(&found)? == *file { Ok(found) } else { Err(io::Error::from_raw_os_error(libc::ESTALE)) }
        }
        _ => Err(error),
    }
}

/// The guarded directories. Numbers are never used twice, so that a number in a queue cannot come to mean another
/// directory.
#[derive(Debug, Default)]
pub struct Sites {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: Vec<Option<Arc<SiteDir>>>,
    by_file: HashSet<ByIdentity>,
    by_path: HashSet<ByPath>,
    /// Those that others lie over, by path, the last that was covered last.
    covered: HashMap<PathBuf, Vec<SiteId>>,
}

/// A directory that is found by its identity.
#[derive(Debug)]
struct ByIdentity(Arc<SiteDir>);

impl<'a> Borrow<dyn Identity + 'a> for ByIdentity {
    fn borrow(&self) -> &(dyn Identity + 'a) {
        &self.0.identity
    }
}

impl PartialEq for ByIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity == other.0.identity
    }
}

impl Eq for ByIdentity {}

impl Hash for ByIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity.hash(state);
    }
}

/// A directory that is found by its path.
#[derive(Debug)]
struct ByPath(Arc<SiteDir>);

impl Borrow<Path> for ByPath {
    fn borrow(&self) -> &Path {
        &self.0.guarded.path
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.guarded.path == other.0.guarded.path
    }
}

impl Eq for ByPath {}

impl Hash for ByPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.guarded.path.hash(state);
    }
}

impl Sites {
    /// The directories that the globs match now, canonical, each once.
    ///
    /// # Errors
    /// A glob that does not compile. What cannot be looked at is skipped: it is not there for an interpreter either.
    pub fn expand(globs: &[String]) -> Result<Vec<PathBuf>, glob::PatternError> {
        let Ok(walk) = Walk::new() else { return Ok(Vec::new()) };
        Ok(Self::expand_in(&walk, globs)?.0)
    }

    /// The same below the root of `walk`, and the matches that lie where nobody can stand guard.
    ///
    /// # Errors
    /// A glob that does not compile.
    pub fn expand_in(walk: &Walk, globs: &[String]) -> Result<(Vec<PathBuf>, Vec<Unguardable>), glob::PatternError> {
        let (mut found, mut remote) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for pattern in globs {
            walk.expand(pattern, |place| match place {
                Ok(place) if Known::of(&place.dir).is_ok_and(|at| seen.insert((at.device, at.inode))) => {
                    found.push(place.path);
                }
                Err(NotReached::Remote(place)) if !remote.contains(&place) => remote.push(place),
                Ok(_) | Err(_) => {}
            })?;
        }
        Ok((found, remote))
    }

    /// Adds a directory that is open already. `None` if it is guarded already.
    pub fn add(
        &self,
        guarded: Guarded,
        dir: File,
        file: FileId,
        approvals: DirectoryId,
        lane: Lane,
    ) -> Option<Arc<SiteDir>> {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.by_file.contains(&file as &dyn Identity) {
            return None;
        }
        let id = SiteId(table.by_id.len());
        let site = Arc::new(SiteDir { id, guarded, dir, identity: Kept::from(&file), approvals, lane });
        table.by_file.insert(ByIdentity(Arc::clone(&site)));
        if let Some(ByPath(below)) = table.by_path.replace(ByPath(Arc::clone(&site))) {
            table.covered.entry(site.guarded.path.clone()).or_default().push(below.id);
        }
        table.by_id.push(Some(Arc::clone(&site)));
        Some(site)
    }

    /// Forgets a directory that is gone or has been moved away.
    pub fn remove(&self, id: SiteId) {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(site) = table.by_id.get_mut(id.0).and_then(Option::take) else { return };
        table.by_file.remove(&site.identity as &dyn Identity);
        // Another directory may be known by that path by now; one that was covered by this one, as by a mount, is again.
        let path = site.guarded.path.as_path();
        if table.by_path.get(path).is_some_and(|known| known.0.id == id) {
            table.by_path.remove(path);
            let below = table.covered.get_mut(path).and_then(Vec::pop);
            let below = below.and_then(|below| table.by_id.get(below.0).cloned().flatten());
            table.by_path.extend(below.map(ByPath));
        } else if let Some(covered) = table.covered.get_mut(path) {
            covered.retain(|other| *other != id);
        }
        if table.covered.get(path).is_some_and(Vec::is_empty) {
            table.covered.remove(path);
        }
    }

    /// A directory by its number.
    #[must_use]
    pub fn get(&self, id: SiteId) -> Option<Arc<SiteDir>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_id.get(id.0).cloned().flatten()
    }

    /// A directory by its identity.
    #[must_use]
    pub fn by_file(&self, file: &FileId) -> Option<Arc<SiteDir>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_file.get(file as &dyn Identity).map(|found| Arc::clone(&found.0))
    }

    /// A directory by what seems to be its path.
    #[must_use]
    pub fn by_path(&self, path: &Path) -> Option<SiteId> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_path.get(path).map(|found| found.0.id)
    }

    /// The directories that are guarded because of this one.
    #[must_use]
    pub fn because_of(&self, id: SiteId) -> Vec<Arc<SiteDir>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_id.iter().flatten().filter(|site| site.guarded.role.of() == Some(id)).cloned().collect()
    }

    /// The directory that an interpreter lists before it opens what lies in this one: for code of a package, and what
    /// Python compiled, the one in which the package lies.
    #[must_use]
    pub fn listed_for(&self, id: SiteId) -> SiteId {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut listed = id;
        while let Some(Role::Inside { of, .. }) =
            table.by_id.get(listed.0).and_then(Option::as_ref).map(|site| &site.guarded.role)
        {
            listed = *of;
        }
        listed
    }

    /// Looks at every guarded directory, without a copy of the table. Directories that are about to be added wait meanwhile.
    pub fn each(&self, mut look: impl FnMut(&SiteDir)) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_id.iter().flatten().for_each(|site| look(site));
    }

    /// How many directories are guarded because of others.
    #[must_use]
    pub fn count_because_of_others(&self) -> usize {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_id.iter().flatten().filter(|site| site.guarded.role != Role::Site).count()
    }

    /// Guarded directories, at most `count` of them, from a number on; with the number to go on from, 0 after the last.
    #[must_use]
    pub fn some(&self, from: usize, count: usize) -> (Vec<Arc<SiteDir>>, usize) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let some: Vec<_> = table.by_id.iter().skip(from).flatten().take(count).cloned().collect();
        let next = some.last().filter(|_| some.len() == count).map_or(0, |site| site.id.0 + 1);
        (some, next)
    }

    /// Every guarded directory.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<SiteDir>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_id.iter().flatten().cloned().collect()
    }
}
