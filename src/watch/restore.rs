//! Putting back an approved file that a denied newcomer replaced: the approved bytes, owner, mode and times.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::fchown;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode as CreateMode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::quarantine::aside_name;
use super::sites::SiteDir;
use crate::approvals::Metadata;
use crate::fanotify::FileId;
use crate::model::Sha256;

/// Writes the file beside its place and renames it there, so that it is there whole or not at all; `announce` is told
/// which file it will be before it is there. `false` if the name has been taken meanwhile, by a newcomer with a notice of
/// its own.
///
/// # Errors
/// It could not be written.
pub fn restore(
    site: &SiteDir,
    name: &OsStr,
    sha256: Sha256,
    bytes: &[u8],
    metadata: &Metadata,
    announce: impl FnOnce(FileId),
) -> io::Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let aside = aside_name(&format!("{now:x}-{sha256}"));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&site.dir, aside.as_os_str(), flags, CreateMode::S_IRUSR)?);
    let placed = fill(&mut file, bytes, metadata).and_then(|()| {
        announce(FileId::of(&file)?);
        match renameat2(&site.dir, aside.as_os_str(), &site.dir, name, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => Ok(false),
            placed => placed.map(|()| true).map_err(io::Error::from),
        }
    });
    if !matches!(placed, Ok(true)) {
        unlinkat(&site.dir, aside.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
    }
    placed
}

fn fill(file: &mut File, bytes: &[u8], metadata: &Metadata) -> io::Result<()> {
    file.write_all(bytes)?;
    fchown(&*file, Some(metadata.uid), Some(metadata.gid))?;
    fchmod(&*file, CreateMode::from_bits_truncate(metadata.mode))?; // after the owner, which clears set-id bits
    let nanoseconds = i128::from(metadata.mtime) * 1_000_000_000 + i128::from(metadata.mtime_nsec);
    if let Ok(nanoseconds) = u64::try_from(nanoseconds) {
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_nanos(nanoseconds))?;
    }
    file.sync_data()
}
