//! The local file systems, as `/proc/self/mountinfo` tells them (proc(5)), and the directory behind a handle.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};

use crate::fanotify::FileId;
use crate::fanotify::group::fd_link;

/// The kinds of file systems on which directories are looked for: those that lie on this host's own disks or memory. A
/// look at any other may wait for another host, or for the user whose program serves it.
const LOCAL: [&str; 18] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "bcachefs", "f2fs", "jfs", "reiserfs", "nilfs2",
    "vfat", "exfat", "ntfs3", "ramfs", "hfsplus",
];

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number of it.
    pub id: u32,
    /// Which directory of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// The kind of file system.
    pub kind: String,
}

impl Mount {
    /// Reads one line of mountinfo.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
        Some(Mount {
            id: text(fields.first()?)?.parse().ok()?,
            root: unescape(fields.get(3)?),
            point: unescape(fields.get(4)?),
            kind: text(fields.get(dash + 1)?)?,
        })
    }

    /// Every mount of the daemon's namespace, in the order in which they were made.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn all() -> io::Result<Vec<Mount>> {
        let text = fs::read("/proc/self/mountinfo")?;
        Ok(text.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect())
    }

    /// Whether its files lie on this host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        LOCAL.contains(&self.kind.as_str())
    }

    /// Whether a directory below one of these can lie on it.
    #[must_use]
    fn concerns(&self, scope: &Scope, all: &[Mount]) -> bool {
        if scope.excepts(&self.point) {
            return false;
        }
        scope.below.iter().any(|dir| {
            let holds = dir.starts_with(&self.point)
                && !all.iter().any(|other| {
                    // Another mount is nearer, or lies over this one.
                    let (mine, its) = (self.point.as_os_str().len(), other.point.as_os_str().len());
                    dir.starts_with(&other.point) && (its, other.id) > (mine, self.id)
                });
            holds || self.point.starts_with(dir)
        })
    }

    /// Opens its root directory, if no other mount lies over it.
    ///
    /// # Errors
    /// ENOENT where another mount hides it, and what open(2) says.
    pub fn open(&self) -> io::Result<File> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let dir = File::options().read(true).custom_flags(flags).open(&self.point)?;
        if mount_id(&dir) == Some(self.id) { Ok(dir) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

/// The mount that an open file was reached through.
pub(super) fn mount_id(file: impl AsFd) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// `\040` and the like stand for bytes that would end a field.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'\\').then(|| after.get(..3)).flatten();
        let value = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        match value {
            Some(value) => (bytes.push(value), rest = &after[3..]).1,
            None => (bytes.push(*byte), rest = after).1,
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A file system on which directories are looked for, as it is mounted in one place.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// The mount.
    pub mount: Mount,
    /// `f_fsid` of statfs(2).
    pub fsid: u64,
}

/// Where directories are looked for.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    below: Vec<PathBuf>,
    except: Vec<Pattern>,
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

/// The mounted file systems on which directories are looked for.
#[derive(Debug, Default)]
pub struct Mounts {
    scope: Scope,
    anchors: Vec<Anchor>,
    /// Roots that are open, by mount, until [`Mounts::release`].
    open: HashMap<u32, File>,
}

impl Mounts {
    /// Those on which directories of the scope can lie. Nothing is read before [`Mounts::refresh`].
    #[must_use]
    pub fn of_scope(scope: Scope) -> Self {
        Mounts { scope, anchors: Vec::new(), open: HashMap::new() }
    }

    /// Reads them again. Those that are new, each with its root directory. No descriptor is kept: one would keep the
    /// file system from being unmounted.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn refresh(&mut self) -> io::Result<Vec<(Anchor, File)>> {
        let all = Mount::all()?;
        self.anchors.retain(|anchor| all.contains(&anchor.mount));
        let mut new = Vec::new();
        for mount in all.iter().filter(|mount| mount.is_local() && mount.concerns(&self.scope, &all)) {
            if self.anchors.iter().any(|known| known.mount == *mount) {
                continue;
            }
            let Ok(dir) = mount.open() else { continue };
            let Ok(id) = FileId::of(&dir) else { continue };
            let anchor = Anchor { mount: mount.clone(), fsid: id.fsid };
            self.anchors.push(anchor.clone());
            new.push((anchor, dir));
        }
        Ok(new)
    }

    /// The directories in which it is looked on a mount: its root, or those of the list that lie on it.
    #[must_use]
    pub fn roots(&self, mount: &Mount) -> Vec<PathBuf> {
        let below = &self.scope.below;
        if below.iter().any(|dir| mount.point.starts_with(dir)) {
            return vec![mount.point.clone()];
        }
        below.iter().filter(|dir| dir.starts_with(&mount.point)).cloned().collect()
    }

    /// Every mount on which directories are looked for.
    #[must_use]
    pub fn all(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The mounts of a file system.
    pub fn of(&self, fsid: u64) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter().filter(move |anchor| anchor.fsid == fsid)
    }

    /// Opens the directory behind a handle `O_PATH`.
    ///
    /// # Errors
    /// ESTALE where it is gone, ENOENT where it cannot be reached from the daemon's root.
    pub fn reach(&mut self, dir: &FileId) -> io::Result<OwnedFd> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for anchor in self.anchors.iter().filter(|anchor| anchor.fsid == dir.fsid) {
            let root = match self.open.entry(anchor.mount.id) {
                Entry::Occupied(root) => root.into_mut(),
                Entry::Vacant(none) => match anchor.mount.open() {
                    Ok(root) => none.insert(root),
                    Err(error) => {
                        last = error;
                        continue;
                    }
                },
            };
            match dir.open(root, libc::O_PATH | libc::O_DIRECTORY) {
                // A mount that shows only a part of the file system may not show this one.
                Ok(opened) if anchor.mount.root == Path::new("/") || path_of(&opened).is_ok() => return Ok(opened),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Closes what was opened for [`Mounts::reach`]: it keeps file systems from being unmounted.
    pub fn release(&mut self) {
        self.open.clear();
    }
}

/// The path of an open directory, if the directory is found there.
///
/// # Errors
/// ENOENT: it was removed, or cannot be reached from the daemon's root.
pub fn path_of(dir: impl AsFd) -> io::Result<PathBuf> {
    let link = fd_link(dir.as_fd());
    let path = fs::read_link(&link)?;
    let (here, there) = (fs::metadata(&link)?, fs::symlink_metadata(&path)?);
    let is_same = (here.dev(), here.ino()) == (there.dev(), there.ino());
    if is_same { Ok(path) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u32, point: &str, kind: &str) -> Mount {
        Mount { id, root: "/".into(), point: point.into(), kind: kind.to_owned() }
    }

    #[test]
    fn a_line_of_mountinfo() {
        let line = b"36 35 98:0 /mnt1 /a\\040b\\134 rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue";
        let read = Mount::parse(line).unwrap();
        assert_eq!(read, Mount { id: 36, root: "/mnt1".into(), point: "/a b\\".into(), kind: "ext4".to_owned() });
        for odd in [&b""[..], b"36 35 98:0 / / rw - ", b"x 35 98:0 / / rw - ext4 a b", b"36 35 98:0 /"] {
            assert!(Mount::parse(odd).is_none_or(|mount| mount.kind.is_empty()), "{}", String::from_utf8_lossy(odd));
        }
    }

    #[test]
    fn which_mounts_hold_or_lie_below_a_directory() {
        let all =
            [mount(1, "/", "ext4"), mount(2, "/srv", "xfs"), mount(3, "/srv/data", "ext4"), mount(4, "/srv", "btrfs")];
        let of = |below: &[&str]| {
            let scope = Scope::new(below.iter().map(PathBuf::from).collect(), &["/srv/*/x".to_owned()]).unwrap();
            all.iter().filter(|mount| mount.concerns(&scope, &all)).map(|mount| mount.id).collect::<Vec<_>>()
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
    }
}
