//! Where a path line leads: the directory that a startup file adds to the module search path.
//!
//! An interpreter imports `sitecustomize` and `usercustomize` from any directory of the search path, so a path line runs
//! code as soon as its directory holds one of these, and whoever can write that directory can put it there.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::model::Writers;

/// The modules that every interpreter tries to import when it starts.
const CUSTOMIZE: [&[u8]; 2] = [b"sitecustomize", b"usercustomize"];
/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// Components on the way, with those of links: more are no path that anybody uses.
const MAX_STEPS: usize = 512;
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

/// Whether a name in a directory of the search path makes one of the two modules: as source, bytecode, extension,
/// package.
fn is_customize(name: &[u8]) -> bool {
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
        let mut way = PathBuf::from("/");
        let mut place = self.step(nix::fcntl::AT_FDCWD, OsStr::new("/"))?;
        let mut left: VecDeque<OsString> = parts(path.as_os_str());
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = left.pop_front() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
            }
            if !self.trusts(Writers::of(place.1.st_uid, place.1.st_gid, place.1.st_mode)) {
                self.reject(TargetFinding::Writable(way.clone()));
            }
            let next = self.step(&place.0, &name)?;
            if next.1.st_mode & libc::S_IFMT != libc::S_IFLNK {
                if name == ".." {
                    way.pop();
                } else {
                    way.push(&name);
                }
                place = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let link = way.join(&name);
            if self.trusts(Writers::of(next.1.st_uid, 0, 0)) {
                self.findings.push(TargetFinding::Link(link));
            } else {
                self.reject(TargetFinding::ForeignLink(link));
            }
            let text = readlinkat(&place.0, &*name)?;
            if text.as_bytes().starts_with(b"/") {
                (place, way) = (self.step(nix::fcntl::AT_FDCWD, OsStr::new("/"))?, PathBuf::from("/"));
            }
            for part in parts(&text).into_iter().rev() {
                left.push_front(part);
            }
        }
        Ok((place.0, place.1, way))
    }

    fn step(&self, at: impl AsFd, name: &OsStr) -> io::Result<(OwnedFd, FileStat)> {
        let fd = openat(at, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let file = fstat(&fd)?;
        if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC {
            return Err(io::Error::other("it leads through /proc, to somewhere else for each process"));
        }
        Ok((fd, file))
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

fn parts(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.map(|part| OsString::from_vec(part.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const USER: u32 = 1000;

    /// An environment of user 1000's in a directory of root's.
    struct Place {
        _dir: TempDir,
        root: PathBuf,
        site: PathBuf,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir_in("/root").unwrap();
            let root = fs::canonicalize(dir.path()).unwrap();
            fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
            let place = Place { _dir: dir, site: root.join("env/lib/python3.11/site-packages"), root };
            for dir in ["env", "env/lib", "env/lib/python3.11", "env/lib/python3.11/site-packages"] {
                place.dir(dir, USER, 0o755);
            }
            place
        }

        fn dir(&self, path: &str, owner: u32, mode: u32) -> PathBuf {
            let path = self.root.join(path);
            fs::create_dir_all(&path).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn examine(&self, line: &str) -> Target {
            examine(&self.site, USER, line.as_bytes())
        }

        fn examine_path(&self, path: &Path) -> Target {
            self.examine(path.to_str().unwrap())
        }
    }

    #[test]
    fn a_directory_that_only_root_and_the_owner_can_change_is_harmless() {
        let place = Place::new();
        for (line, owner) in [("libs", USER), ("./libs/", 0), ("../site-packages/libs", USER)] {
            place.dir("env/lib/python3.11/site-packages/libs", owner, 0o755);
            let target = place.examine(line);
            assert!(target.harmless, "{target:?}");
            assert_eq!(target.path, place.site.join("libs"));
            assert_eq!(target.findings, [TargetFinding::Relative]);
        }
        let source = place.dir("src", USER, 0o775);
        let target = place.examine_path(&source);
        assert!(target.harmless && target.findings == [TargetFinding::Outside], "{target:?}");
        // For the system's Python the user is a stranger.
        let target = examine(Path::new("/usr/lib/python3/dist-packages"), 0, source.as_os_str().as_bytes());
        assert!(!target.harmless && target.findings.contains(&TargetFinding::Writable(source)), "{target:?}");
    }

    #[test]
    fn what_strangers_can_write_is_not() {
        let place = Place::new();
        for (owner, mode) in [(USER, 0o777), (USER, 0o1777), (1001, 0o755)] {
            let path = place.dir("lib", owner, mode);
            let target = place.examine_path(&path);
            assert!(!target.harmless && target.findings.contains(&TargetFinding::Writable(path)), "{target:?}");
        }
        let above = place.dir("above", USER, 0o777);
        let path = place.dir("above/lib", USER, 0o755);
        assert_eq!(
            place.examine_path(&path).findings,
            [TargetFinding::Outside, TargetFinding::Writable(above.clone())]
        );
        place.dir("above", USER, 0o1777);
        assert!(place.examine_path(&path).harmless, "the entries of a sticky directory are their owners'");
        place.dir("above/lib", 1001, 0o755);
        assert!(!place.examine_path(&path).harmless);
    }

    #[test]
    fn a_directory_with_a_module_that_every_interpreter_imports_is_not() {
        let place = Place::new();
        for name in [
            "sitecustomize.py",
            "usercustomize.pyc",
            "sitecustomize.cpython-311-x86_64-linux-gnu.so",
            "sitecustomize.abi3.so",
            "usercustomize/__init__.py",
            "sitecustomize/x",
            "__pycache__/sitecustomize.cpython-311.pyc",
        ] {
            let path = place.dir("lib", USER, 0o755);
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            let target = place.examine_path(&path);
            let found = target.findings.iter().any(|finding| matches!(finding, TargetFinding::Customize(_)));
            assert!(!target.harmless && found, "{name}: {target:?}");
            fs::remove_dir_all(&path).unwrap();
        }
        let path = place.dir("lib", USER, 0o755);
        fs::write(path.join("sitecustomizer.py"), "").unwrap();
        fs::write(path.join("my_sitecustomize.py"), "").unwrap();
        assert!(place.examine_path(&path).harmless);
        for number in 0..100 {
            fs::write(path.join(format!("sitecustomize.{number}")), "").unwrap();
        }
        assert_eq!(place.examine_path(&path).findings.len(), MAX_FINDINGS);
    }

    #[test]
    fn links_are_followed_as_the_kernel_does_and_judged_by_who_made_them() {
        let place = Place::new();
        let real = place.dir("real/lib", USER, 0o755);
        place.dir("real", USER, 0o755);
        let (link, more) = (place.root.join("link"), place.root.join("more"));
        symlink("real/../more", &link).unwrap();
        symlink(&real, &more).unwrap();
        let found = place.examine_path(&link);
        let links = [TargetFinding::Link(link.clone()), TargetFinding::Link(more.clone())];
        assert!(found.harmless && found.findings[1..] == links, "{found:?}");
        std::os::unix::fs::lchown(&more, Some(1001), Some(1001)).unwrap();
        let found = place.examine_path(&link);
        assert!(!found.harmless && found.findings.contains(&TargetFinding::ForeignLink(more)), "{found:?}");
        let all = place.dir("all", 0, 0o1777);
        symlink(&real, all.join("x")).unwrap();
        std::os::unix::fs::lchown(all.join("x"), Some(1001), Some(1001)).unwrap();
        assert!(!place.examine_path(&all.join("x")).harmless, "a stranger's link in a directory like /tmp");
        let round = place.root.join("round");
        symlink("round", &round).unwrap();
        assert_eq!(place.examine_path(&round).kind, TargetKind::Other);
    }

    #[test]
    fn what_is_no_directory_is_not() {
        let place = Place::new();
        let kind = |path: &str| {
            let target = place.examine_path(&place.root.join(path));
            assert!(!target.harmless, "{target:?}");
            target.kind
        };
        assert_eq!(kind("nowhere"), TargetKind::Missing);
        assert_eq!(kind("nowhere/at/all"), TargetKind::Missing);
        fs::write(place.root.join("lib.zip"), "PK").unwrap();
        assert_eq!(kind("lib.zip"), TargetKind::Archive);
        assert_eq!(kind("lib.zip/inside"), TargetKind::Missing);
        nix::unistd::mkfifo(&place.root.join("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(kind("fifo"), TargetKind::Other);
        for line in ["/proc/self/cwd", "/dev/fd", "/proc/1/root", "/sys/../proc/self/root"] {
            let target = place.examine(line);
            assert!(!target.harmless && target.kind != TargetKind::Directory, "{target:?}");
        }
        let odd = examine(&place.site, USER, b"/usr/lib\xff".as_slice());
        assert!(!odd.harmless);
        let odd = examine(&place.site, USER, &[b'/', 0xff]);
        assert!(!odd.harmless && matches!(odd.findings[..], [_, TargetFinding::Unknown(_)]), "{odd:?}");
    }

    proptest! {
        #[test]
        fn total_on_any_line(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = examine(Path::new("/nowhere/lib/python3/site-packages"), 0, &line);
        }
    }
}
