//! Where a path line leads: the directory that a startup file adds to the module search path.
//!
//! An interpreter imports `sitecustomize` and `usercustomize` from any directory of the search path, so a path line runs
//! code as soon as its directory holds one of these, and whoever can write that directory can put it there.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::journey::{Journey, Step};
use crate::model::Writers;

/// The modules that every interpreter tries to import when it starts.
const CUSTOMIZE: [&[u8]; 2] = [b"sitecustomize", b"usercustomize"];
/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// Findings that are kept: a directory can hold any number of `sitecustomize.*`.
const MAX_FINDINGS: usize = 32;

/// What a path line leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Nothing: the interpreter skips the line.
    Missing,
    /// A directory.
    Directory,
    /// A regular file; the interpreter looks for modules in it if it is a zip archive.
    Archive,
    /// Something else, or something that cannot be looked at.
    Other,
}

/// What is remarkable about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetFinding {
    /// There is nothing of that name.
    Missing,
    /// The line does not begin with `/`: it leads to where the startup file is.
    Relative,
    /// It lies outside of the environment that the site directory belongs to.
    Outside,
    /// Somebody else than root or the owner of the site directory can change what is in it, or what it is: this one, or
    /// a directory above it.
    Writable(PathBuf),
    /// A symbolic link on the way, which root or the owner of the site directory made.
    Link(PathBuf),
    /// A symbolic link on the way that somebody else made.
    ForeignLink(PathBuf),
    /// It holds a `sitecustomize` or `usercustomize`, under this name.
    Customize(OsString),
    /// It is no directory: what modules are in it was not looked at.
    NoDirectory,
    /// It could not be looked at, or leads to somewhere else for each process (/proc).
    Unknown(String),
}

impl fmt::Display for TargetFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetFinding::Missing => f.write_str("there is nothing"),
            TargetFinding::Relative => f.write_str("it is relative to the startup file"),
            TargetFinding::Outside => f.write_str("it lies outside of the environment"),
            TargetFinding::Writable(path) => write!(f, "others can write {}", path.display()),
            TargetFinding::Link(path) => write!(f, "it goes through the link {}", path.display()),
            TargetFinding::ForeignLink(path) => {
                write!(f, "it goes through {}, a link of somebody else's", path.display())
            }
            TargetFinding::Customize(name) => write!(f, "it holds {}", name.display()),
            TargetFinding::NoDirectory => f.write_str("it is no directory"),
            TargetFinding::Unknown(why) => write!(f, "it cannot be looked at: {why}"),
        }
    }
}

/// A path line's directory, examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What an interpreter adds to the search path.
    pub path: PathBuf,
    /// What is there.
    pub kind: TargetKind,
    /// What is remarkable.
    pub findings: Vec<TargetFinding>,
    /// Whether the line runs nothing, now and as long as root and the owner of the site directory leave it so: an
    /// existing directory that only these two can change or replace, and that holds none of the modules that every
    /// interpreter imports.
    pub harmless: bool,
}

/// Examines a path line, without its line end, of a startup file in the site directory `site` (absolute, canonical),
/// which belongs to `site_owner`.
///
/// It opens what is above the directory as `O_PATH`, and the directory itself for listing.
#[must_use]
pub fn examine(site: &Path, site_owner: u32, line: &[u8]) -> Target {
    let path = joined(site, line);
    let mut walk = Walk { site_owner, findings: Vec::new(), safe: true };
    if !line.starts_with(b"/") {
        walk.findings.push(TargetFinding::Relative);
    }
    if !path.starts_with(environment(site)) {
        walk.findings.push(TargetFinding::Outside);
    }
    // A version that decodes with the locale would see another path.
    let whole = !line.contains(&0) && str::from_utf8(line).is_ok();
    let kind = if whole { walk.look_at(&path) } else { Err(io::ErrorKind::InvalidData.into()) };
    let kind = kind.unwrap_or_else(|error| {
        let missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        walk.findings.push(if missing { TargetFinding::Missing } else { TargetFinding::Unknown(error.to_string()) });
        if missing { TargetKind::Missing } else { TargetKind::Other }
    });
    Target { path, kind, harmless: kind == TargetKind::Directory && walk.safe, findings: walk.findings }
}

/// The path as `site` makes it: joined to the site directory, with `.` and `..` taken out as text.
fn joined(site: &Path, line: &[u8]) -> PathBuf {
    let mut path = PathBuf::new();
    for part in site.join(OsStr::from_bytes(line)).components() {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::CurDir => {}
            std::path::Component::Prefix(_) | std::path::Component::RootDir | std::path::Component::Normal(_) => {
                path.push(part);
            }
        }
    }
    path
}

/// The prefix of the environment: what lies above `lib/python*/site-packages`, else the site directory itself.
fn environment(site: &Path) -> &Path {
    let is_site = site.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    site.ancestors().nth(3).filter(|prefix| is_site && *prefix != Path::new("/")).unwrap_or(site)
}

/// Whether a name in a directory of the search path makes one of the two modules that every interpreter imports,
/// `sitecustomize` and `usercustomize`: as source, bytecode, extension, package.
#[must_use]
pub fn is_customize(name: &[u8]) -> bool {
    CUSTOMIZE.iter().any(|module| name.strip_prefix(*module).is_some_and(|rest| rest.is_empty() || rest[0] == b'.'))
}

struct Walk {
    site_owner: u32,
    findings: Vec<TargetFinding>,
    safe: bool,
}

impl Walk {
    fn look_at(&mut self, path: &Path) -> io::Result<TargetKind> {
        let (place, file, way) = self.reach(path)?;
        let kind = match SFlag::from_bits_truncate(file.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => TargetKind::Directory,
            SFlag::S_IFREG => TargetKind::Archive,
            _ => TargetKind::Other,
        };
        if kind != TargetKind::Directory {
            self.reject(TargetFinding::NoDirectory);
            return Ok(kind);
        }
        // What the sticky bit keeps of /tmp are entries that are there. A new one is anybody's.
        if !self.trusts(Writers::of(file.st_uid, file.st_gid, file.st_mode & !libc::S_ISVTX)) {
            self.reject(TargetFinding::Writable(way.clone()));
        }
        self.list(&place)?;
        Ok(kind)
    }

    /// Goes the way that the kernel goes, and looks at each step of it.
    fn reach(&mut self, path: &Path) -> io::Result<(OwnedFd, FileStat, PathBuf)> {
        let mut journey = Journey::from_root(path.as_os_str())?;
        while !journey.is_over() {
            let (writers, path) = (journey.writers(), journey.path.clone());
            if !self.trusts(writers) {
                self.reject(TargetFinding::Writable(path.clone()));
            }
            let lasting = journey.writers_of_what_is_missing();
            let step = journey.step().inspect_err(|error| {
                // A sticky bit keeps nobody from making what is not there.
                if error.raw_os_error() == Some(libc::ENOENT) && !self.trusts(lasting) {
                    self.reject(TargetFinding::Writable(path));
                }
            })?;
            match step {
                Step::Entry => {}
                Step::Link { path, owner, .. } if self.trusts(Writers::of(owner, 0, 0)) => {
                    self.findings.push(TargetFinding::Link(path));
                }
                Step::Link { path, .. } => self.reject(TargetFinding::ForeignLink(path)),
            }
        }
        Ok((journey.place, journey.stat, journey.path))
    }

    fn list(&mut self, place: &OwnedFd) -> io::Result<()> {
        for (directory, is_cache) in [(".", false), ("__pycache__", true)] {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let mut entries = match Dir::openat(place, directory, flags, Mode::empty()) {
                Err(Errno::ENOENT | Errno::ENOTDIR) if is_cache => continue,
                opened => opened?,
            };
            for (number, entry) in entries.iter().enumerate() {
                if number == MAX_ENTRIES {
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many entries to look at"));
                }
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if is_customize(name) {
                    let name = OsString::from_vec(name.to_vec());
                    let name = if is_cache { Path::new(directory).join(name).into_os_string() } else { name };
                    self.reject(TargetFinding::Customize(name));
                }
            }
        }
        Ok(())
    }

    fn trusts(&self, writers: Writers) -> bool {
        match writers {
            Writers::Root => true,
            Writers::User(user) => user == self.site_owner,
            Writers::Others => false,
        }
    }

    fn reject(&mut self, finding: TargetFinding) {
        self.safe = false;
        if self.findings.len() < MAX_FINDINGS && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
