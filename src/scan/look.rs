//! One site directory, looked at: its startup files with their bytes, owners and approvals.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::approved::{Approval, Approvals};
use super::held::{Daemon, Told};
use crate::config::Protect;
use crate::control::{Seen, Why};
use crate::fanotify::FileId;
use crate::model::{Sha256, Writers};
use crate::provenance::{
    DISTRIBUTION_LIMIT, DistributionFile, Ownership, Packaged, distribution_owners, is_customize, recorded_owners,
};

/// A site directory.
pub(super) struct Site {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    /// Who can make entries in it; a sticky bit keeps nobody from that.
    pub(super) writers: Writers,
    /// The directory, open; or why it is not.
    pub(super) dir: io::Result<File>,
    pub(super) files: Vec<StartupFile>,
}

/// An entry with a startup name.
pub(super) struct StartupFile {
    pub(super) name: OsString,
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) writers: Writers,
    /// How many names it has.
    pub(super) links: u64,
    pub(super) ownership: Ownership,
    pub(super) packaged: Option<DistributionFile>,
    pub(super) approval: Approval,
}

/// What is in it.
pub(super) enum Content {
    /// This.
    Bytes(Vec<u8>, Sha256),
    /// More than a startup file may hold.
    TooLarge,
    /// Nothing that is read from: a FIFO, socket, device.
    Special,
    /// A directory: the package `sitecustomize`.
    Directory,
    /// It leads to this path.
    Symlink(PathBuf),
    /// The guard lets nobody read it; this is what its daemon says.
    Held(Box<Seen>),
    /// It could not be read.
    Unreadable(io::Error),
}

impl Content {
    pub(super) fn bytes(&self) -> Option<(&[u8], Sha256)> {
        match self {
            Content::Bytes(bytes, sha256) => Some((bytes, *sha256)),
            Content::TooLarge
            | Content::Special
            | Content::Directory
            | Content::Symlink(_)
            | Content::Held(_)
            | Content::Unreadable(_) => None,
        }
    }

    fn sha256(&self) -> Option<Sha256> {
        if let Content::Held(seen) = self { Some(seen.sha256) } else { self.bytes().map(|(_, sha256)| sha256) }
    }
}

pub(super) fn look_at(path: &Path, protect: &Protect, approvals: &Approvals, daemon: &mut Daemon<'_>) -> Site {
    let opened = open(path).and_then(|dir| Ok((names(path, protect)?, dir)));
    let stat = fs::metadata(path).ok();
    let owner = stat.as_ref().map_or(0, MetadataExt::uid);
    let writers =
        stat.map_or(Writers::Others, |stat| Writers::of(stat.uid(), stat.gid(), stat.mode() & !libc::S_ISVTX));
    let (dir, names) = match opened {
        Ok((names, dir)) => (Ok(dir), names),
        Err(error) => (Err(error), Vec::new()),
    };
    let mut site = Site { path: path.to_owned(), owner, writers, dir, files: Vec::new() };
    if let Ok(dir) = &site.dir {
        site.files = names.into_iter().filter_map(|name| startup_file(dir, name, protect.max_size)).collect();
        site.files.iter_mut().for_each(|file| ask_daemon(path, dir, file, protect.max_size, daemon));
        own(dir, &mut site.files);
        let id = FileId::of(dir).ok();
        for file in &mut site.files {
            if let Some((_, sha256)) = file.content.bytes() {
                file.approval = approvals.look_up(path, id.as_ref(), &file.name, sha256);
            }
        }
    }
    site
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// Startup files, and the modules that every interpreter imports.
fn names(path: &Path, protect: &Protect) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if protect.startup.matches(name.as_bytes()) || is_customize(name.as_bytes()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `None` for an entry that is gone by now.
fn startup_file(dir: &File, name: OsString, max_size: u64) -> Option<StartupFile> {
    let stat = match fstatat(dir, &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(nix::errno::Errno::ENOENT) => return None,
        stat => stat,
    };
    let (content, size, writers, links) = match stat {
        Ok(stat) => (
            content(dir, &name, &stat, max_size).unwrap_or_else(Content::Unreadable),
            u64::try_from(stat.st_size).unwrap_or(0),
            Writers::of(stat.st_uid, stat.st_gid, stat.st_mode),
            if stat.st_mode & libc::S_IFMT == libc::S_IFREG { stat.st_nlink } else { 1 },
        ),
        Err(error) => (Content::Unreadable(error.into()), 0, Writers::Root, 1),
    };
    let approval = Approval::Unknown;
    Some(StartupFile { name, content, size, writers, links, ownership: Ownership::Nobody, packaged: None, approval })
}

fn content(dir: &File, name: &OsStr, stat: &FileStat, max_size: u64) -> io::Result<Content> {
    Ok(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => return read(dir, name, max_size),
        SFlag::S_IFLNK => Content::Symlink(nix::fcntl::readlinkat(dir, name)?.into()),
        SFlag::S_IFDIR => Content::Directory,
        _ => Content::Special,
    })
}

/// While the guard enforces, the kernel refuses what is held: the daemon tells of it.
fn ask_daemon(path: &Path, dir: &File, file: &mut StartupFile, max_size: u64, daemon: &mut Daemon<'_>) {
    let Content::Unreadable(error) = &file.content else { return };
    if !Daemon::is_denial(error) {
        return;
    }
    file.content = match daemon.ask(&path.join(&file.name)) {
        // It was approved meanwhile, or there had been no time to decide.
        Told::Seen(seen) if seen.is_approved => read(dir, &file.name, max_size).unwrap_or(Content::Held(seen)),
        Told::Seen(seen) => Content::Held(seen),
        Told::Refused(refusal) if refusal.why == Why::TooLarge => Content::TooLarge,
        Told::Refused(refusal) => Content::Unreadable(io::Error::new(io::ErrorKind::PermissionDenied, refusal)),
        Told::Nothing => return,
    };
}

/// Reads a startup file.
fn read(dir: &File, name: &OsStr, max_size: u64) -> io::Result<Content> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(openat(dir, name, flags, Mode::empty())?);
    if file.metadata()?.len() > max_size {
        return Ok(Content::TooLarge);
    }
    let mut bytes = Vec::new();
    file.take(max_size + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_size {
        return Ok(Content::TooLarge);
    }
    let sha256 = Sha256::of(&bytes);
    Ok(Content::Bytes(bytes, sha256))
}

fn own(dir: &File, files: &mut [StartupFile]) {
    let asked: Vec<usize> = (0..files.len()).filter(|file| files[*file].content.sha256().is_some()).collect();
    if asked.is_empty() {
        return;
    }
    let named: Vec<_> =
        asked.iter().filter_map(|file| Some((files[*file].name.clone(), files[*file].content.sha256()?))).collect();
    let named: Vec<_> = named.iter().map(|(name, sha256)| (name.as_os_str(), *sha256)).collect();
    for (file, ownership) in asked.into_iter().zip(recorded_owners(dir.as_fd(), &named)) {
        files[file].ownership = ownership;
    }
}

/// Asks the distribution for the owners of what no RECORD proves, all at once.
pub(super) fn ask_distribution(sites: &mut [Site], remarks: &mut Vec<String>) {
    let paths: Vec<Vec<PathBuf>> =
        sites.iter().map(|site| site.files.iter().map(|file| site.path.join(&file.name)).collect()).collect();
    let mut asked = Vec::new();
    for (site, paths) in sites.iter().zip(&paths) {
        for (file, path) in site.files.iter().zip(paths) {
            if let (None, Some((bytes, _))) = (file.ownership.package(), file.content.bytes()) {
                asked.push(Packaged { path, bytes });
            }
        }
    }
    if asked.is_empty() {
        return;
    }
    let mut owners = match distribution_owners(&asked, DISTRIBUTION_LIMIT) {
        Ok(owners) => owners,
        Err(error) => return remarks.push(format!("the distribution's packages are not known: {error}")),
    };
    for (site, paths) in sites.iter_mut().zip(&paths) {
        for (file, path) in site.files.iter_mut().zip(paths) {
            file.packaged = owners.remove(path);
        }
    }
}
