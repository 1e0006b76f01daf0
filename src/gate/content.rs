//! The bytes of a startup file, and whether they are approved.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::Guard;
use crate::content::classify;
use crate::fanotify::file::read_cached;
use crate::fanotify::{FileId, PermissionEvent};
use crate::model::{Object, Sha256};
use crate::resolve::OpenedAs;
use crate::watch::Place;

/// Files up to this size are judged by the thread that reads the events; larger ones would keep others waiting.
const INLINE: usize = 16 * 1024;

/// What the page cache says of a file.
pub(super) enum InCache {
    /// The whole file was there.
    Read(Sha256),
    /// It was not, or is too large, or cannot be read without waiting.
    Unknown,
}

/// A file's whole content.
pub(super) enum Content {
    /// It was read.
    Bytes(Vec<u8>),
    /// It is larger than any startup file may be.
    TooLarge,
}

impl Content {
    /// Reads a file to its end, which is at most `max_size` bytes away.
    pub(super) fn read(file: impl AsFd, max_size: u64) -> io::Result<Self> {
        let mut file = File::from(file.as_fd().try_clone_to_owned()?);
        if file.metadata()?.len() > max_size {
            return Ok(Content::TooLarge); // a sparse file of gigabytes costs nothing to make, and a minute to read
        }
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(max_size + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_size { Ok(Content::TooLarge) } else { Ok(Content::Bytes(bytes)) }
    }

    pub(super) fn sha256(&self) -> Option<Sha256> {
        match self {
            Content::Bytes(bytes) => Some(Sha256::of(bytes)),
            Content::TooLarge => None,
        }
    }

    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::TooLarge => None,
        }
    }

    /// What a record says of it, by name and bytes alone.
    pub(super) fn describe(&self, name: &OsStr, object: Object) -> Object {
        match self {
            Content::Bytes(bytes) => {
                let findings = classify(name.as_encoded_bytes(), bytes);
                Object {
                    sha256: Some(Sha256::of(bytes)),
                    size: Some(bytes.len() as u64),
                    content: Some(findings.class),
                    line: findings.line.map(|line| line.excerpt()),
                    ..object
                }
            }
            Content::TooLarge => object,
        }
    }
}

impl Guard {
    pub(super) fn digest_in_cache(&self, event: &PermissionEvent) -> InCache {
        let mut buffer = [0; INLINE];
        match read_cached(event, &mut buffer) {
            // A full buffer may be only the beginning. A short read ends at the end of the file, or where the cache
            // does: then a second one tells.
            Some(read) if read < INLINE && self.ends_at(event, read) => InCache::Read(Sha256::of(&buffer[..read])),
            _ => InCache::Unknown,
        }
    }

    fn ends_at(&self, event: &PermissionEvent, read: usize) -> bool {
        nix::sys::stat::fstat(event).is_ok_and(|file| u64::try_from(file.st_size).is_ok_and(|size| size == read as u64))
    }

    /// Whether these bytes may be read from that file.
    ///
    /// They must be approved under the name that was opened, if that is one of the file's names; otherwise (the name
    /// has changed since, or lies in another mount namespace) under every name that the file has or lately had. A file
    /// with a startup name that no guarded directory knows (the layer below an overlay) passes with bytes that are
    /// approved under that name somewhere.
    pub(super) fn is_approved(&self, file: &FileId, opened: Option<&OpenedAs>, sha256: Sha256) -> bool {
        let names = self.parts.watch.tracker().get(file).map(|entry| Arc::clone(&entry.names)).unwrap_or_default();
        if names.is_empty() {
            return opened.is_some_and(|opened| self.parts.approvals.is_approved_anywhere(opened.name(), sha256));
        }
        let approved = |place: &Place| self.is_approved_at(place, sha256);
        let opened = opened.and_then(|opened| {
            let site = self.parts.watch.sites.by_path(opened.dir())?;
            names.iter().find(|(of, name)| *of == site && name == opened.name())
        });
        if let Some(opened) = opened {
            return approved(opened);
        }
        // A file system that was unmounted and mounted anew, as a container's is when it starts, has the same handles: the
        // names that its files had in the directory of then say nothing of the one that is guarded now.
        let mut guarded = names.iter().filter(|(site, _)| self.parts.watch.sites.get(*site).is_some()).peekable();
        guarded.peek().is_some() && guarded.all(approved)
    }

    /// Whether these bytes are approved under one name, and what they were approved with is there.
    fn is_approved_at(&self, (site, name): &Place, sha256: Sha256) -> bool {
        self.parts.watch.sites.get(*site).is_some_and(|site| {
            self.parts.approvals.is_approved(site.approvals, name, sha256)
                && self.has_companion(site.id, name, self.parts.approvals.companion(site.approvals, name))
        })
    }
}
