//! Putting a file into a site directory: whole or not at all, never over something that is there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, fchown};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, Whence, fchownat, lseek, symlinkat, unlinkat};

use super::note::{Id, Times};
use super::{aside_name, is_aside, rename_new};
use crate::approvals::Xattrs;

/// What is put there.
#[derive(Debug)]
pub enum Content<'a> {
    /// A regular file with these bytes.
    Bytes(&'a [u8]),
    /// A regular file with the bytes of that one; its holes stay holes.
    File(&'a File),
    /// A symbolic link.
    Symlink(&'a OsStr),
}

/// What belongs to a file beside its bytes.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits; a symbolic link has none.
    pub mode: u32,
    /// When it was read and changed.
    pub times: Times,
    /// Extended attributes.
    pub xattrs: &'a Xattrs,
}

/// Makes the file beside its place and renames it there; `announce` is told which file it will be before it is there.
/// `false` if the name is somebody else's by now.
///
/// # Errors
/// `name` is none, the file cannot be made with all that belongs to it, or somebody has put another one in its place on
/// the way. Nothing is left behind.
pub fn place(
    dir: &File,
    name: &OsStr,
    content: &Content<'_>,
    attributes: &Attributes<'_>,
    announce: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<bool> {
    if name.is_empty() || name == "." || name == ".." || name.as_bytes().contains(&b'/') || is_aside(name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name for a file in a directory"));
    }
    let aside = aside_name(Id::new().as_str());
    let file = match content {
        Content::Symlink(target) => begin_link(dir, &aside, target)?,
        Content::Bytes(_) | Content::File(_) => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            File::from(openat(dir, aside.as_os_str(), flags, Mode::S_IRUSR)?)
        }
    };
    let filled = match content {
        Content::Symlink(_) => dress_link(dir, &aside, &file, attributes),
        Content::Bytes(bytes) => (&file).write_all(bytes).and_then(|()| dress(&file, attributes)),
        Content::File(source) => copy_sparse(source, &file, u64::MAX).and_then(|_| dress(&file, attributes)),
    };
    // Nobody has it open for writing when it gets its name: whoever reads it then does not wait for that to end.
    let closed = filled.and_then(|()| reopened(&file)).inspect(|_| drop(file));
    let placed = closed.and_then(|file| announce(&file).map(|()| file)).and_then(|file| {
        match rename_new(dir, &aside, dir, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            placed => placed.map(|()| Some(file)),
        }
    });
    let Ok(Some(file)) = placed else {
        let placed = placed.map(|_| false);
        match unlinkat(dir, aside.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return placed.and(Err(error.into())),
        }
        return placed;
    };
    // The directory's owner may have exchanged the one aside.
    if !is_there(dir, name, &file)? {
        return Err(io::Error::other("another file was put in its place meanwhile"));
    }
    // It is there by now: nobody waits for the disk.
    if !matches!(content, Content::Symlink(_)) {
        file.sync_data()?;
    }
    Ok(true)
}

/// The same file, not open for writing; an `O_PATH` descriptor of a symbolic link is that already.
fn reopened(file: &File) -> io::Result<File> {
    if file.metadata()?.is_symlink() {
        return file.try_clone();
    }
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn is_there(dir: &File, name: &OsStr, file: &File) -> io::Result<bool> {
    let found = openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let found = match found {
        Err(Errno::ENOENT) => return Ok(false),
        found => File::from(found?).metadata()?,
    };
    let file = file.metadata()?;
    Ok((found.dev(), found.ino()) == (file.dev(), file.ino()))
}

fn begin_link(dir: &File, aside: &OsString, target: &OsStr) -> io::Result<File> {
    symlinkat(target, dir, aside.as_os_str())?;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(dir, aside.as_os_str(), flags, Mode::empty())?))
}

/// Owner first: it clears set-id bits and capabilities. The mode before the access list, of which it is a part. Times
/// last: all else changes them.
fn dress(file: &File, attributes: &Attributes<'_>) -> io::Result<()> {
    fchown(file, Some(attributes.uid), Some(attributes.gid))?;
    fchmod(file, Mode::from_bits_truncate(attributes.mode))?;
    attributes.xattrs.give_to(file)?;
    let (atime, mtime) = specs(attributes.times);
    futimens(file, &atime, &mtime)?;
    Ok(())
}

fn dress_link(dir: &File, aside: &OsString, link: &File, attributes: &Attributes<'_>) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
    fchownat(link, "", uid, gid, AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW)?;
    attributes.xattrs.give_to(link)?;
    let (atime, mtime) = specs(attributes.times);
    utimensat(dir, aside.as_os_str(), &atime, &mtime, UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

fn specs(times: Times) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(times.atime, times.atime_nsec), TimeSpec::new(times.mtime, times.mtime_nsec))
}

/// Copies what a file holds, at most so many bytes, but not its holes, so that a giant of nothing stays one. Returns its size.
///
/// # Errors
/// What read(2) and write(2) say; `FileTooLarge` where there is more.
pub fn copy_sparse(source: &File, target: &File, most: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let size = source.metadata()?.len();
    let mut at: u64 = 0;
    let mut left = most;
    while at < size {
        let offset = i64::try_from(at).map_err(io::Error::other)?;
        at = match lseek(source, offset, Whence::SeekData) {
            Ok(data) => u64::try_from(data).unwrap_or(at),
            Err(Errno::ENXIO) => break, // only a hole is left
            Err(error) => return Err(error.into()),
        };
        let hole = lseek(source, i64::try_from(at).map_err(io::Error::other)?, Whence::SeekHole)?;
        let end = u64::try_from(hole).unwrap_or(size).min(size);
        while at < end {
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let read = source.read_at(&mut buffer[..part], at)?;
            if read == 0 {
                return Err(io::Error::other("the file shrank while it was copied"));
            }
            left = left.checked_sub(read as u64).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            target.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }
    target.set_len(size)?;
    let mut target = target;
    target.seek(SeekFrom::End(0))
}
