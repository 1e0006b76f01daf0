//! The file of a running program: which one it is, whether the daemon sees the same one under its path, and who could
//! have written it.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::known::KnownPrograms;
use crate::fanotify::group::fd_link;
use crate::model::{Program, Writers};

/// What the kernel appends to the path of a file that has been removed or replaced.
const DELETED: &[u8] = b" (deleted)";

/// The executable of a thread's process.
pub(super) fn executable(tid: u32, known: &KnownPrograms) -> io::Result<Program> {
    let exe = open_path(Path::new(&format!("/proc/{tid}/exe")))?;
    program(tid, &exe, &exe.metadata()?, known)
}

/// A program as it would be if somebody ran it now, by its path; root's, if there is none yet.
#[must_use]
pub fn program_at(path: &Path) -> Program {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let file = fs::metadata(&path).ok();
    let (dev, ino) = file.as_ref().map_or((0, 0), |file| (file.dev(), file.ino()));
    let writers = file.map_or(Writers::Root, |file| writers_of(Path::new("/"), &path, &file));
    Program { path, dev, ino, at_path: true, seen_as: None, writers }
}

/// A script that a thread's process names, looked up the way that the process does: below its own root directory, from
/// its own working directory. `None` if there is no such file; a directory or archive with a `__main__.py` is none, its
/// name says nothing of what is in it.
pub(super) fn script(tid: u32, path: &OsStr, known: &KnownPrograms) -> Option<Program> {
    let path = absolute(tid, path)?;
    let root = open_path(Path::new(&format!("/proc/{tid}/root"))).ok()?;
    // Absolute symbolic links on the way lead to where they lead for the process.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(&root, &inside(tid, &path)?, how).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    program(tid, &file, &metadata, known).ok()
}

/// A path that a process gives, joined to its working directory; as the daemon would write it.
pub(super) fn absolute(tid: u32, path: &OsStr) -> Option<PathBuf> {
    if Path::new(path).is_absolute() {
        let root = fs::read_link(format!("/proc/{tid}/root")).ok()?;
        return Some(root.join(Path::new(path).strip_prefix("/").ok()?));
    }
    fs::read_link(format!("/proc/{tid}/cwd")).ok().map(|cwd| cwd.join(path))
}

/// A path of the daemon's, as a process with another root directory would write it.
fn inside(tid: u32, path: &Path) -> Option<PathBuf> {
    let root = fs::read_link(format!("/proc/{tid}/root")).ok()?;
    Some(Path::new("/").join(path.strip_prefix(root).ok()?))
}

fn program(tid: u32, file: &File, metadata: &Metadata, known: &KnownPrograms) -> io::Result<Program> {
    let is_it = |other: &Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
    let mut path = fs::read_link(fd_link(file.as_fd()))?;
    let mut at_path = fs::metadata(&path).is_ok_and(|ours| is_it(&ours));
    if !at_path && let Some(before) = path.as_os_str().as_bytes().strip_suffix(DELETED) {
        path = PathBuf::from(std::ffi::OsString::from_vec(before.to_vec()));
        at_path = known.was_at(&path, file);
    }
    let root = PathBuf::from(format!("/proc/{tid}/root"));
    let seen_as = inside(tid, &path).filter(|inside| {
        let is_other = !at_path || *inside != path;
        is_other && fs::metadata(below(&root, inside)).is_ok_and(|theirs| is_it(&theirs))
    });
    let writers = match &seen_as {
        _ if at_path => writers_of(Path::new("/"), &path, metadata),
        Some(inside) => writers_of(&root, inside, metadata),
        None => Writers::Others,
    };
    Ok(Program { path, dev: metadata.dev(), ino: metadata.ino(), at_path, seen_as, writers })
}

fn writers(file: &Metadata) -> Writers {
    Writers::of(file.uid(), file.gid(), file.mode())
}

/// Opens without asking anybody: no permission event, no device, no FIFO.
///
/// # Errors
/// As open(2) with `O_PATH`.
pub fn open_path(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)
}

/// Who, beside root, can change a file or put another in its place; `path` is its path below `root`.
pub(super) fn writers_of(root: &Path, path: &Path, file: &Metadata) -> Writers {
    let above = path.ancestors().skip(1).map(|dir| fs::symlink_metadata(below(root, dir)));
    above.fold(writers(file), |all, dir| all.and(dir.map_or(Writers::Others, |dir| writers(&dir))))
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_can_change_a_program() {
        let dir = tempfile::tempdir_in("/root").unwrap();
        let (bin, tool) = (dir.path().join("bin"), dir.path().join("bin/tool"));
        fs::create_dir(&bin).unwrap();
        fs::write(&tool, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let own = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
        let found = || writers_of(Path::new("/"), &tool, &fs::metadata(&tool).unwrap());
        let (safe, sticky) = (0o755, 0o1777);
        mode(&bin, safe);
        mode(&tool, safe);
        assert_eq!(found(), Writers::Root);
        mode(&bin, 0o777);
        assert_eq!(found(), Writers::Others, "the directory is everybody's");
        mode(&bin, sticky);
        assert_eq!(found(), Writers::Root, "entries of a sticky directory are their owner's");
        own(&tool, 1000);
        assert_eq!(found(), Writers::User(1000));
        mode(&tool, 0o775);
        assert_eq!(found(), Writers::User(1000), "the group is the user's own");
        own(&bin, 1001);
        assert_eq!(found(), Writers::Others, "two users");
        own(&tool, 0);
        mode(&tool, 0o757);
        assert_eq!(found(), Writers::Others);
        mode(&tool, safe);
        std::os::unix::fs::chown(&tool, Some(0), Some(50)).unwrap();
        mode(&tool, 0o775);
        own(&bin, 0);
        assert_eq!(found(), Writers::Others, "a group of several");
    }
}
