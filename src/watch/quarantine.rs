//! Where denied newcomers go: nothing is lost, and nothing stays where an interpreter would find it.
//!
//! A newcomer is taken out of its directory by a rename, which is atomic and works on the entry, and only then looked
//! at: if it is not the file that was judged, it goes back. Unlinking a name instead could remove what somebody put
//! there in the meantime.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, readlinkat, renameat2};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::Serialize;

use super::sites::SiteDir;
use crate::fanotify::FileId;

/// The quarantine directory.
#[derive(Debug)]
pub struct Quarantine {
    path: PathBuf,
    dir: File,
    max_size: u64,
    next: AtomicU64,
    used: AtomicU64,
    /// When the directory had changed last, as `used` was counted; nanoseconds.
    counted: AtomicI64,
}

/// How much the quarantine may hold, in bytes; notes and directory entries count as a block each. A storm of newcomers
/// must not fill the disk.
const CAPACITY: u64 = 256 * 1024 * 1024;
const BLOCK: u64 = 4096;

/// What became of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub enum Quarantined {
    /// It lies in quarantine under this id.
    Kept(String),
    /// It was empty, with no other name: nothing to keep.
    Removed,
    /// The name is gone, or another file's, which has a notice of its own.
    Elsewhere,
}

/// What is written beside a quarantined file.
#[derive(Debug, Serialize)]
struct Note<'a> {
    path: String,
    time: String,
    kind: &'static str,
    /// The file in the quarantine directory that holds its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    uid: u32,
    gid: u32,
    mode: String,
    size: u64,
    mtime: i64,
    mtime_nsec: i64,
    inode: u64,
    reason: &'a str,
    author: &'a str,
}

impl Quarantine {
    /// Opens the directory below the state directory, and makes it if it is not there. Files larger than `max_size`
    /// are not copied but moved, which works only within one file system.
    ///
    /// # Errors
    /// What mkdir(2) or open(2) says.
    pub fn open(state: &Path, max_size: u64) -> io::Result<Self> {
        let path = state.join("quarantine");
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let dir = File::open(&path)?;
        let used = AtomicU64::new(room_taken(&path)?);
        Ok(Quarantine { path, dir, max_size, next: AtomicU64::new(0), used, counted: AtomicI64::new(0) })
    }

    /// Takes the file out of the directory, if the name is still that file's.
    ///
    /// # Errors
    /// It could not be taken out or not be kept; then it is where it was.
    pub fn take(
        &self,
        site: &SiteDir,
        name: &OsStr,
        file: &FileId,
        reason: &str,
        author: &str,
    ) -> io::Result<Quarantined> {
        let found = match site.open(name, OFlag::O_PATH) {
            Ok(found) if FileId::of(&found)? == *file => found,
            Ok(_) => return Ok(Quarantined::Elsewhere),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Quarantined::Elsewhere),
            Err(error) => return Err(error),
        };
        let metadata = File::from(found).metadata()?;
        let needed = room(&metadata) + BLOCK;
        if metadata.is_file()
            && self.used.load(Ordering::Relaxed) + needed > CAPACITY
            && !self.has_room_again(needed)?
        {
            return Err(io::Error::other(format!("{} is full, remove what is not needed", self.path.display())));
        }
        // Links and special files go even so: in place they would do harm, and their notes are small.
        self.used.fetch_add(needed, Ordering::Relaxed);
        let id = self.new_id();
        self.write_note(&id, site, name, &metadata, reason, author)?;
        let taken = self.take_whole(site, name, file, &id, &metadata);
        if !matches!(taken, Ok(Quarantined::Kept(_))) {
            let _ = fs::remove_file(self.path.join(format!("{id}.json")));
            self.used.fetch_sub(needed, Ordering::Relaxed);
        }
        taken
    }

    /// Counts anew, if somebody has removed something since the last time.
    fn has_room_again(&self, needed: u64) -> io::Result<bool> {
        let directory = fs::metadata(&self.path)?;
        let changed = directory.mtime() * 1_000_000_000 + directory.mtime_nsec();
        if self.counted.swap(changed, Ordering::Relaxed) != changed {
            self.used.store(room_taken(&self.path)?, Ordering::Relaxed);
        }
        Ok(self.used.load(Ordering::Relaxed) + needed <= CAPACITY)
    }

    /// Removes the empty file that a denied creation left behind, if it is that file, empty, with one name.
    ///
    /// # Errors
    /// It could not be taken out of the directory.
    pub fn remove_leftover(&self, site: &SiteDir, name: &OsStr, file: &FileId) -> io::Result<Quarantined> {
        let aside = aside_name(&self.new_id());
        let Some(taken) = self.move_aside(site, name, &aside, file)? else {
            return Ok(Quarantined::Elsewhere);
        };
        let metadata = File::from(taken).metadata()?;
        if metadata.len() != 0 || metadata.nlink() != 1 {
            renameat2(&site.dir, aside.as_os_str(), &site.dir, name, RenameFlags::RENAME_NOREPLACE)?;
            return Ok(Quarantined::Elsewhere);
        }
        unlinkat(&site.dir, aside.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
        Ok(Quarantined::Removed)
    }

    /// Aside first, under a name that no interpreter reads, then into quarantine. What is kept is a copy: whoever has
    /// the original open, or another link of it, cannot change the evidence, and it can be read at once.
    fn take_whole(
        &self,
        site: &SiteDir,
        name: &OsStr,
        file: &FileId,
        id: &str,
        metadata: &fs::Metadata,
    ) -> io::Result<Quarantined> {
        let aside = aside_name(id);
        if self.move_aside(site, name, &aside, file)?.is_none() {
            return Ok(Quarantined::Elsewhere);
        }
        let kept = if !metadata.is_file() {
            Ok(false) // a link or a special file is all in its note
        } else if metadata.len() > self.max_size {
            // Under the same name: whoever has opened the entry shows with it, and must show as one taken aside.
            let to = aside.as_os_str();
            renameat2(&site.dir, to, &self.dir, to, RenameFlags::RENAME_NOREPLACE)
                .map(|()| true)
                .map_err(io::Error::from)
        } else {
            self.copy(site, &aside, id).map(|()| false)
        };
        match kept {
            Ok(true) => {}
            Ok(false) => unlinkat(&site.dir, aside.as_os_str(), UnlinkatFlags::NoRemoveDir)?,
            Err(error) => {
                let _ = fs::remove_file(self.path.join(id));
                renameat2(&site.dir, aside.as_os_str(), &site.dir, name, RenameFlags::RENAME_NOREPLACE)?;
                return Err(error);
            }
        }
        Ok(Quarantined::Kept(id.to_owned()))
    }

    /// Moves an entry aside and makes sure that it was the file that is meant. Another one goes back or, where the name
    /// has been taken again, to quarantine: it was replaced by then, whoever's it was.
    fn move_aside(&self, site: &SiteDir, name: &OsStr, aside: &OsStr, file: &FileId) -> io::Result<Option<OwnedFd>> {
        match renameat2(&site.dir, name, &site.dir, aside, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::ENOENT) => return Ok(None),
            moved => moved?,
        }
        let moved = site.open(aside, OFlag::O_PATH)?;
        if FileId::of(&moved)? == *file {
            return Ok(Some(moved));
        }
        match renameat2(&site.dir, aside, &site.dir, name, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => {
                let kept = renameat2(&site.dir, aside, &self.dir, aside, RenameFlags::RENAME_NOREPLACE);
                kept.or_else(|_| unlinkat(&site.dir, aside, UnlinkatFlags::NoRemoveDir))?;
            }
            put_back => put_back?,
        }
        Ok(None)
    }

    fn copy(&self, site: &SiteDir, aside: &OsStr, id: &str) -> io::Result<()> {
        let source = File::from(site.open(aside, OFlag::O_RDONLY)?);
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path.join(id))?;
        // One byte more than allowed tells a file that grew meanwhile.
        if io::copy(&mut source.take(self.max_size + 1), &mut copy)? > self.max_size {
            return Err(io::Error::other("the file grew while it was copied"));
        }
        Ok(())
    }

    fn write_note(
        &self,
        id: &str,
        site: &SiteDir,
        name: &OsStr,
        metadata: &fs::Metadata,
        reason: &str,
        author: &str,
    ) -> io::Result<()> {
        let is_moved = metadata.len() > self.max_size;
        let content = if is_moved { format!("{ASIDE}{id}") } else { id.to_owned() };
        let target = metadata.is_symlink().then(|| readlinkat(&site.dir, name).ok()).flatten();
        let now = time::OffsetDateTime::now_utc();
        let note = Note {
            path: crate::audit::escape_path(&site.path_of(name)).into_owned(),
            time: now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
            kind: kind(metadata),
            content: metadata.is_file().then_some(content),
            target: target.map(|target| crate::audit::escape_path(Path::new(&target)).into_owned()),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: format!("{:04o}", metadata.mode() & 0o7777),
            size: metadata.len(),
            mtime: metadata.mtime(),
            mtime_nsec: metadata.mtime_nsec(),
            inode: metadata.ino(),
            reason,
            author,
        };
        let mut text = serde_json::to_vec_pretty(&note)?;
        text.push(b'\n');
        let path = self.path.join(format!("{id}.json"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, &text)
    }

    fn new_id(&self) -> String {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        format!("{:x}-{:x}", now, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the names begin with under which files lie aside for a moment.
const ASIDE: &str = ".pthguard-";

/// A name in a site directory that is no startup file's.
pub(super) fn aside_name(id: &str) -> OsString {
    format!("{ASIDE}{id}").into()
}

/// Whether a file of this name may have been taken aside, from under somebody who opened it as a startup file.
pub(super) fn is_aside(name: &[u8]) -> bool {
    name.starts_with(ASIDE.as_bytes())
}

fn room_taken(quarantine: &Path) -> io::Result<u64> {
    fs::read_dir(quarantine)?.map(|entry| Ok(room(&entry?.metadata()?))).sum()
}

fn room(metadata: &fs::Metadata) -> u64 {
    BLOCK + metadata.blocks() * 512
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "symlink"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "device"
    } else {
        "file"
    }
}
