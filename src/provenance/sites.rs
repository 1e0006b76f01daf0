//! The site directories in which a package may say something about a file: the file's own, and those of the same prefix.
//!
//! A wheel that is installed for one Python can bring files for another one below the same prefix (/usr/local has both
//! often), and on distributions that keep `lib` and `lib64` apart its RECORD lies in the one and the file in the other.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::distinfo::is_dist_info;

/// More site directories than a prefix has Pythons.
const MAX_SITES: usize = 64;
/// More packages than anybody installs into one prefix; each is two or three system calls.
const MAX_PACKAGES: usize = 20_000;

/// A directory's identity.
pub(super) type DirId = (u64, u64);

pub(super) fn dir_id(stat: &FileStat) -> DirId {
    (stat.st_dev, stat.st_ino)
}

/// A site directory with the names of its metadata directories.
#[derive(Debug)]
pub(super) struct SiteDir {
    pub(super) fd: OwnedFd,
    pub(super) id: DirId,
    pub(super) dist_infos: HashSet<OsString>,
    /// Metadata of old installers, `*.egg-info`.
    pub(super) egg_infos: Vec<OsString>,
}

impl SiteDir {
    fn read(fd: OwnedFd) -> io::Result<Self> {
        let id = dir_id(&fstat(&fd)?);
        let (mut dist_infos, mut egg_infos) = (HashSet::new(), Vec::new());
        for name in names(&fd)? {
            if is_dist_info(name.as_bytes()) {
                dist_infos.insert(name);
            } else if name.as_bytes().ends_with(b".egg-info") {
                egg_infos.push(name);
            }
        }
        Ok(SiteDir { fd, id, dist_infos, egg_infos })
    }

    /// The directory that a path leads to which a RECORD here holds.
    pub(super) fn look_up(&self, path: &[u8]) -> Option<DirId> {
        let path = if path.is_empty() { b"." } else { path };
        let stat = fstatat(&self.fd, OsStr::from_bytes(path), AtFlags::empty()).ok()?;
        Some(dir_id(&stat))
    }
}

/// The site directory `site` first, then the others of its prefix.
pub(super) fn of_prefix(site: impl AsFd) -> io::Result<Vec<SiteDir>> {
    let own = SiteDir::read(open_directory(&site, OsStr::new("."))?)?;
    let mut seen = HashSet::from([own.id]);
    let mut sites = vec![own];
    for fd in siblings(&site)? {
        let id = dir_id(&fstat(&fd)?);
        if seen.insert(id) {
            if sites.len() == MAX_SITES {
                return Err(too_many("site directories below one prefix"));
            }
            sites.push(SiteDir::read(fd)?);
        }
    }
    if sites.iter().map(|site| site.dist_infos.len() + site.egg_infos.len()).sum::<usize>() > MAX_PACKAGES {
        return Err(too_many("packages below one prefix"));
    }
    Ok(sites)
}

/// `PREFIX/lib*/{python,pypy}*/{site,dist}-packages`, where PREFIX is three directories above.
fn siblings(site: &impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let prefix = open_directory(site, OsStr::new("../../.."))?;
    let mut found = Vec::new();
    for lib in names(&prefix)?.into_iter().filter(|name| matches!(name.as_bytes(), b"lib" | b"lib64" | b"lib32")) {
        let Some(lib) = there(open_directory(&prefix, &lib))? else { continue };
        for python in names(&lib)? {
            if !python.as_bytes().starts_with(b"python") && !python.as_bytes().starts_with(b"pypy") {
                continue;
            }
            let Some(python) = there(open_directory(&lib, &python))? else { continue };
            for last in ["site-packages", "dist-packages"] {
                found.extend(there(open_directory(&python, OsStr::new(last)))?);
            }
        }
    }
    Ok(found)
}

/// What is no directory, or not there, holds no packages.
fn there(opened: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_directory(at: &impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(at, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

fn names(dir: &impl AsFd) -> io::Result<Vec<OsString>> {
    let mut dir = Dir::openat(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let names: Result<Vec<_>, Errno> =
        dir.iter().map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec()))).collect();
    Ok(names?)
}

pub(super) fn too_many(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("too many {what}"))
}
