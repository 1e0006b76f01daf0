//! Looking at a startup file on behalf of whoever is to approve it: which directory, which bytes, what they can do.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

use super::desk::{Name, Refusal, Seen, Why};
use crate::approvals::{Approvals, Directory, DirectoryId};
use crate::audit::{escape, escape_path};
use crate::content;
use crate::fanotify::FileId;
use crate::fanotify::group::fd_link;
use crate::model::{ContentClass, Package, Sha256, switch_of};
use crate::provenance::recorded_owner;

/// Most lines that are shown of one file.
const MAX_LINES: usize = 20;
/// Longest line that is shown whole, in bytes.
const MAX_LINE: usize = 160;

/// A directory that is open, and a name in it.
#[derive(Debug)]
pub struct Place {
    /// The directory. It may be an `O_PATH` descriptor.
    pub dir: File,
    /// What approvals know it by.
    pub directory: Directory,
    /// The name.
    pub name: OsString,
}

impl Place {
    /// The whole path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }
}

/// Opens the directory of a path, which must be canonical.
///
/// # Errors
/// [`Refusal`]: the path names no file, or the directory is not there.
pub fn place(path: &Path) -> Result<Place, Refusal> {
    let (parent, name) = split(path)?;
    // Who can exchange a directory on the way for a link must not choose where it leads.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let dir = openat2(AT_FDCWD, parent, how).map(File::from).map_err(|errno| missing(parent, &errno.into()))?;
    let handle = FileId::of(&dir).map_err(|error| Refusal::system(parent, error))?.handle.to_string();
    Ok(Place { dir, directory: Directory { path: parent.to_owned(), handle }, name: name.to_owned() })
}

/// Directory and name of an absolute path.
pub(super) fn split(path: &Path) -> Result<(&Path, &OsStr), Refusal> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.is_absolute() => Ok((parent, name)),
        _ => {
            let message = format!("{}: not the absolute path of a file in a directory", escape_path(path));
            Err(Refusal::new(Why::NotStartup, message))
        }
    }
}

fn missing(path: &Path, error: &io::Error) -> Refusal {
    let is_missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    Refusal { why: if is_missing { Why::NotFound } else { Why::System }, ..Refusal::system(path, error) }
}

/// A startup file that was read.
#[derive(Debug)]
pub struct Looked {
    /// The file; of a symbolic link, what it leads to.
    pub file: File,
    /// Its attributes.
    pub metadata: fs::Metadata,
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub sha256: Sha256,
    /// What a symbolic link says.
    pub target: Option<OsString>,
}

impl Looked {
    /// Reads a startup file of at most `max_size` bytes.
    ///
    /// It is opened by its name once, without being read, and then through that descriptor: what was found to be a
    /// regular file is what is read, and nothing else is ever opened (a device may act on being opened).
    ///
    /// # Errors
    /// [`Refusal`]: it is not there, no regular file nor a link to one, too large, cannot be read.
    pub fn at(place: &Place, max_size: u64) -> Result<Self, Refusal> {
        let path = place.path();
        let open = |flags: OFlag| {
            let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
            openat(&place.dir, place.name.as_os_str(), flags, Mode::empty())
                .map(File::from)
                .map_err(|errno| missing(&path, &errno.into()))
        };
        let metadata = |file: &File| file.metadata().map_err(|error| Refusal::system(&path, error));
        let mut entry = open(OFlag::O_NOFOLLOW)?;
        let mut kind = metadata(&entry)?.file_type();
        let mut target = None;
        if kind.is_symlink() {
            target = Some(readlinkat(&entry, "").map_err(|error| Refusal::system(&path, error))?);
            entry = open(OFlag::empty())?;
            kind = metadata(&entry)?.file_type();
        }
        if !kind.is_file() {
            let what = if kind.is_dir() { "a directory" } else { "a FIFO, socket or device" };
            let message = format!("{}: {what} is no startup file", escape_path(&path));
            return Err(Refusal::new(Why::NotStartup, message));
        }
        // Not blocking: somebody may hold a write lease.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(fd_link(entry.as_fd()));
        let file = file.map_err(|error| Refusal::system(&path, error))?;
        let metadata = metadata(&file)?;
        let bytes = read(&file, max_size).map_err(|error| Refusal::system(&path, error))?.ok_or_else(|| {
            let message = format!(
                "{}: larger than {max_size} bytes (protect.max_size in the policy), and so never approved",
                escape_path(&path)
            );
            Refusal::new(Why::TooLarge, message)
        })?;
        let sha256 = Sha256::of(&bytes);
        Ok(Looked { file, metadata, bytes, sha256, target })
    }

    /// The path of what a symbolic link leads to.
    ///
    /// # Errors
    /// What readlink(2) says.
    pub fn leads_to(&self) -> io::Result<Option<PathBuf>> {
        self.target.as_ref().map(|_| fs::read_link(fd_link(self.file.as_fd()))).transpose()
    }

    /// All that is shown of it, as far as its bytes, the approvals and the packages tell.
    #[must_use]
    pub fn seen(&self, place: &Place, approvals: &Approvals, id: DirectoryId, max_size: u64) -> Seen {
        let name = place.name.as_os_str();
        let companion = companion(place, approvals, id, max_size);
        let (lines, more_lines) = telling_lines(name, &self.bytes);
        let approved = approvals.get(id, name);
        let held = approvals.get_held(id, name);
        let class = class_of(name, &self.bytes);
        // Whoever held it has looked at more than the bytes: at what its path lines lead to.
        let of_same = held.as_ref().filter(|held| held.sha256 == Some(self.sha256));
        let held_as = of_same.map_or(class, |held| held.class);
        let package = of_same.and_then(|held| held.package.clone());
        // Another companion than that with which it was approved keeps it from being read (PEP 829).
        let is_whole = approved.as_ref().is_none_or(|approval| approval.companion == companion);
        Seen {
            path: place.path(),
            directory: place.directory.handle.clone(),
            target: self.target.clone().map(Name),
            sha256: self.sha256,
            size: self.bytes.len() as u64,
            uid: self.metadata.uid(),
            gid: self.metadata.gid(),
            mode: self.metadata.mode() & 0o7777,
            class: class.max(held_as),
            lines,
            more_lines,
            companion,
            package: package.or_else(|| owner(place, self.sha256)),
            remark: None,
            is_approved: is_whole && approvals.is_approved(id, name, self.sha256),
            approved: approved.map(|approval| (approval.sha256, approval.origin)),
            held,
        }
    }
}

fn read(file: &File, max_size: u64) -> io::Result<Option<Vec<u8>>> {
    if file.metadata()?.len() > max_size {
        return Ok(None); // a sparse file of gigabytes costs nothing to make, and a minute to read
    }
    let mut bytes = Vec::new();
    file.take(max_size + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_size).then_some(bytes))
}

/// Digest of the `.start` file beside a `.pth`, if it is approved and so can be opened: then the import lines of the
/// `.pth` do not run.
fn companion(place: &Place, approvals: &Approvals, id: DirectoryId, max_size: u64) -> Option<Sha256> {
    let name = switch_of(&place.name)?;
    let beside = Place { dir: place.dir.try_clone().ok()?, directory: place.directory.clone(), name };
    let start = Looked::at(&beside, max_size).ok()?;
    approvals.is_approved(id, &beside.name, start.sha256).then_some(start.sha256)
}

/// The package that says that it is its own. What is said is reported, not proved.
fn owner(place: &Place, sha256: Sha256) -> Option<Package> {
    let dir = File::open(fd_link(place.dir.as_fd())).ok()?;
    recorded_owner(dir, &place.name, sha256).package().cloned()
}

/// What a startup file can do, by its name and bytes.
pub(super) fn class_of(name: &OsStr, bytes: &[u8]) -> ContentClass {
    content::classify(name.as_bytes(), bytes).class
}

/// The lines that make an interpreter run something or fail, all of them: the worst one alone could be a decoy. Each is
/// a line as people's tools show it; CPython may see several in one.
pub(super) fn telling_lines(name: &OsStr, bytes: &[u8]) -> (Vec<(u64, String)>, u64) {
    let tells = |line: &[u8]| class_of(name, line) > ContentClass::Paths;
    let mut telling = (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| tells(line));
    let mut shown: Vec<_> = telling.by_ref().take(MAX_LINES).map(|(number, line)| (number, excerpt(line))).collect();
    if shown.is_empty()
        && let Some(line) = content::classify(name.as_bytes(), bytes).line
    {
        shown.push((line.number as u64, excerpt(&line.text))); // it takes more than the one line to tell
    }
    (shown, telling.count() as u64)
}

/// A line on one line of a terminal, with nothing that the terminal obeys, and cut where it is long.
fn excerpt(line: &[u8]) -> String {
    let mut text = escape(&line[..line.len().min(MAX_LINE)]).into_owned();
    if line.len() > MAX_LINE {
        text.push_str(&format!(" … and {} bytes more", line.len() - MAX_LINE));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> Result<Looked, Refusal> {
        Looked::at(&place(path).unwrap(), 100)
    }

    #[test]
    fn only_regular_files_are_opened_and_only_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let path = |name: &str| dir.join(name);
        fs::write(path("x.pth"), "import os\n").unwrap();
        std::os::unix::fs::symlink("x.pth", path("link.pth")).unwrap();
        std::os::unix::fs::symlink("/dev/full", path("device.pth")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("broken.pth")).unwrap();
        nix::unistd::mkfifo(&path("fifo.pth"), Mode::S_IRWXU).unwrap();
        fs::create_dir(path("dir.pth")).unwrap();
        fs::write(path("limit.pth"), [b'#'; 100]).unwrap();
        File::create(path("giant.pth")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(at(&path("x.pth")).unwrap().bytes, b"import os\n");
        assert_eq!(at(&path("link.pth")).unwrap().target.unwrap(), "x.pth");
        assert_eq!(at(&path("limit.pth")).unwrap().bytes.len(), 100);
        for (name, why) in [
            ("device.pth", Why::NotStartup),
            ("fifo.pth", Why::NotStartup),
            ("dir.pth", Why::NotStartup),
            ("broken.pth", Why::NotFound),
            ("none.pth", Why::NotFound),
            ("giant.pth", Why::TooLarge),
        ] {
            assert_eq!(at(&path(name)).unwrap_err().why, why, "{name}");
        }
        assert_eq!(place(&path("none/x.pth")).unwrap_err().why, Why::NotFound);
        for path in ["x.pth", "/", "/a/..", "a/x.pth"] {
            assert!(split(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn every_telling_line_is_shown_or_counted() {
        let mut text = String::from("/opt/app\n# import os\n");
        for number in 0..30 {
            text.push_str(&format!("import m{number}\n"));
        }
        let (lines, more) = telling_lines(OsStr::new("x.pth"), text.as_bytes());
        assert_eq!((lines.len(), more), (20, 10));
        assert_eq!(lines[0], (3, "import m0".to_owned()));
        let (lines, _) = telling_lines(OsStr::new("x.pth"), b"# c\rimport os; \x1b[2J\xff\n");
        assert_eq!(lines, [(1, r"# c\x0dimport os; \x1b[2J\xff".to_owned())]);
        let (lines, _) = telling_lines(OsStr::new("x.pth"), &[b"import os;".as_slice(), &[b'x'; 10_000]].concat());
        assert!(lines[0].1.len() < 300 && lines[0].1.ends_with("and 9850 bytes more"), "{lines:?}");
    }
}
