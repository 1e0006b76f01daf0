//! Putting back a file: an approved one that a denied newcomer replaced, a quarantined one that somebody asks for.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;

use super::quarantine::Quarantine;
use super::sites::SiteDir;
use crate::approvals::Metadata;
use crate::fanotify::FileId;
use crate::quarantine::{Attributes, Content, Note, Times, place};

/// Puts approved bytes back as they were approved; `announce` is told which file it will be before it is there. `false`
/// if the name has been taken meanwhile, by a newcomer with a notice of its own.
///
/// # Errors
/// It could not be written.
pub fn restore(
    site: &SiteDir,
    name: &OsStr,
    bytes: &[u8],
    metadata: &Metadata,
    announce: impl FnOnce(FileId),
) -> io::Result<bool> {
    let Metadata { uid, gid, mode, mtime, mtime_nsec, ref xattrs } = *metadata;
    // When it was read last was not kept; now that is when it was written.
    let times = Times { atime: mtime, atime_nsec: mtime_nsec, mtime, mtime_nsec };
    let attributes = Attributes { uid, gid, mode, times, xattrs };
    place(&site.dir, name, &Content::Bytes(bytes), &attributes, |file| FileId::of(file).map(announce))
}

/// Puts a quarantined file back under a name, with all that belongs to it. What lies in quarantine stays there.
///
/// # Errors
/// As [`crate::quarantine::Store::restore_to`].
pub fn restore_quarantined(
    quarantine: &Quarantine,
    note: &Note,
    site: &SiteDir,
    name: &OsStr,
    announce: impl FnOnce(FileId),
) -> io::Result<bool> {
    quarantine.store().restore_to(note, &site.dir, name, |file| FileId::of(file).map(announce))
}
