//! The names on the way to a site directory, from the root on.
//!
//! A directory that is made or moved is told by its file system's mark; a symbolic link is not, and a glob of the policy
//! can name a directory that is called anything. So every directory on a way tells of its new names: those that lead to
//! where the policy's globs point, and those that lead to each guarded directory. What has got such a name is looked at
//! again, from there on.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::fanotify::wire::Info;
use crate::fanotify::{Changes, FileId, NotificationGroup};

/// Names that are watched, at most. Who may make site directories can make as many as he likes.
const MAX_NAMES: usize = 262_144;
/// Directories on the way of globs, at most: `/home/*/*/venv` leads through every directory of every home.
const MAX_STOPS: usize = 32_768;
/// Symbolic links that are followed on one way.
const MAX_LINKS: usize = 16;
/// More parts than any path has whose links the kernel would follow.
const MAX_STEPS: usize = 4096;

/// A directory on the way of a glob.
#[derive(Debug)]
struct Stop {
    path: PathBuf,
    /// Which globs lead through it, and which of their parts is looked for here.
    wants: Vec<(usize, usize)>,
}

/// What has got a name on a way.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Which of the paths, for one of them, leads through it, and which part of it this is.
    path: u32,
    part: u32,
}

/// What has come on the ways.
#[derive(Debug, Default)]
pub struct News {
    /// Where ways lead now.
    pub paths: Vec<PathBuf>,
    /// Something came where a glob has `**`: where it leads is to be looked up anew.
    pub is_below_rest: bool,
}

/// The ways that are watched.
#[derive(Debug)]
pub struct Ways {
    group: NotificationGroup,
    globs: Vec<Vec<Part>>,
    /// By directory.
    stops: HashMap<FileId, Stop>,
    /// Paths of guarded directories, and which of them is which name in a directory. Numbers stand for directory and
    /// name, as there are three of them for each environment: a mistake only makes something be looked at in vain.
    paths: Vec<Box<Path>>,
    known: HashSet<u64>,
    names: HashMap<u64, Name>,
    keys: RandomState,
    is_full: bool,
}

/// One part of a glob.
#[derive(Debug)]
enum Part {
    Literal(OsString),
    Pattern(Pattern),
    /// `**`: what lies below is not watched.
    Rest,
}

impl Part {
    fn matches(&self, name: &OsStr) -> bool {
        match self {
            Part::Literal(literal) => literal == name,
            Part::Pattern(pattern) => name.to_str().is_some_and(|name| pattern.matches(name)),
            Part::Rest => true,
        }
    }
}

impl Ways {
    /// Nothing is watched before [`Ways::follow`] and [`Ways::add`].
    ///
    /// # Errors
    /// As [`NotificationGroup::new`].
    pub fn new(globs: &[String]) -> io::Result<Self> {
        Ok(Ways {
            group: NotificationGroup::new()?,
            globs: globs.iter().map(|glob| parts(glob)).collect(),
            stops: HashMap::new(),
            paths: Vec::new(),
            known: HashSet::new(),
            names: HashMap::new(),
            keys: RandomState::new(),
            is_full: false,
        })
    }

    /// Watches the ways of all globs anew. Where they lead now.
    pub fn follow(&mut self) -> Vec<PathBuf> {
        self.stops.clear();
        let mut found = Vec::new();
        for glob in 0..self.globs.len() {
            self.follow_from(glob, 0, Path::new("/"), 0, &mut found);
        }
        found
    }

    /// Whether more names lead to site directories than are watched.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// How many paths are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether no path is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Watches a directory on the way of a glob, and goes on from what is there.
    fn follow_from(&mut self, glob: usize, part: usize, dir: &Path, links: usize, found: &mut Vec<PathBuf>) {
        let Some(wanted) = self.globs.get(glob).and_then(|parts| parts.get(part)) else {
            found.push(dir.to_owned());
            return;
        };
        let literal = if let Part::Literal(name) = wanted { Some(name.clone()) } else { None };
        let is_rest = matches!(wanted, Part::Rest);
        // First the mark, then the look: what comes in between is told.
        if !self.stop_at(dir, glob, part) || is_rest {
            return;
        }
        let names: Vec<OsString> = match literal {
            Some(name) => vec![name],
            None => {
                let entries = fs::read_dir(dir).into_iter().flatten().flatten();
                let names = entries.map(|entry| entry.file_name());
                names.filter(|name| self.is_wanted(glob, part, name)).collect()
            }
        };
        for name in names {
            self.follow_name(glob, part, &dir.join(name), links, found);
        }
    }

    fn is_wanted(&self, glob: usize, part: usize, name: &OsStr) -> bool {
        self.globs.get(glob).and_then(|parts| parts.get(part)).is_some_and(|part| part.matches(name))
    }

    /// What a part of a glob has led to.
    fn follow_name(&mut self, glob: usize, part: usize, path: &Path, links: usize, found: &mut Vec<PathBuf>) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if metadata.is_symlink() {
            if links < MAX_LINKS
                && let Some(target) = self.watch_link(path)
            {
                self.follow_from(glob, part + 1, &target, links + 1, found);
            }
        } else if metadata.is_dir() {
            self.follow_from(glob, part + 1, path, links, found);
        }
    }

    /// Watches the way that a symbolic link leads; where to.
    fn watch_link(&mut self, link: &Path) -> Option<PathBuf> {
        let target = link.parent()?.join(fs::read_link(link).ok()?);
        self.add(&lexical(&target));
        fs::canonicalize(link).ok().filter(|target| target.is_dir())
    }

    fn stop_at(&mut self, dir: &Path, glob: usize, part: usize) -> bool {
        let Some((file, id)) = directory(dir) else { return false };
        if !self.stops.contains_key(&id) {
            if self.stops.len() >= MAX_STOPS {
                self.is_full = true;
                return true;
            }
            if self.group.mark(Changes::Newcomers, &file).is_err() {
                return true; // no handles: nothing tells of it, and it can be looked at all the same
            }
        }
        let stop = self.stops.entry(id).or_insert_with(|| Stop { path: dir.to_owned(), wants: Vec::new() });
        if !stop.wants.contains(&(glob, part)) {
            stop.wants.push((glob, part));
        }
        true
    }

    /// Watches the names that lead to a directory, whether it is there or not.
    pub fn add(&mut self, path: &Path) {
        let number = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        let mut is_new = self.known.insert(self.keys.hash_one(path));
        let mut dir = PathBuf::new();
        for (part, component) in path.components().enumerate() {
            if let Component::Normal(name) = component
                && let Some((file, id)) = directory(&dir)
            {
                let key = self.key(&id, name);
                if !self.names.contains_key(&key) {
                    if self.names.len() >= MAX_NAMES {
                        self.is_full = true;
                    } else if self.group.mark(Changes::Newcomers, &file).is_ok() {
                        self.names.insert(key, Name { path: number, part: u32::try_from(part).unwrap_or(u32::MAX) });
                        is_new = true;
                    }
                }
            }
            dir.push(component);
        }
        if is_new {
            self.paths.push(path.into());
        }
    }

    fn key(&self, dir: &FileId, name: &OsStr) -> u64 {
        self.keys.hash_one((dir, name))
    }

    /// Reads which names have come, and watches what they lead to: where the globs lead there, and each path of
    /// [`Ways::add`] that leads through one of them.
    ///
    /// # Errors
    /// What read(2) says, or that the kernel lost events: [`Ways::follow`] everything, then.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<News> {
        let mut came: HashSet<(FileId, OsString)> = HashSet::new();
        let mut is_lost = false;
        let mut due = self.group.queued()?;
        while due > 0 {
            let read = self.group.read(buffer, |event, _| {
                is_lost |= event.mask & libc::FAN_Q_OVERFLOW != 0;
                for info in event.infos() {
                    if let Info::Entry(place) = info {
                        came.insert((place.dir, place.name.to_owned()));
                    }
                }
            })?;
            due = if read == 0 { 0 } else { due.saturating_sub(read) };
        }
        if is_lost {
            return Err(io::Error::other("names were lost"));
        }
        let mut news = News::default();
        for (dir, name) in came {
            self.came(&dir, &name, &mut news);
        }
        news.paths.sort();
        news.paths.dedup();
        Ok(news)
    }

    fn came(&mut self, dir: &FileId, name: &OsStr, news: &mut News) {
        let stop = self.stops.get(dir).map(|stop| (stop.path.join(name), stop.wants.clone()));
        if let Some((path, wants)) = stop {
            for (glob, part) in wants {
                match self.globs.get(glob).and_then(|parts| parts.get(part)) {
                    Some(Part::Rest) => news.is_below_rest = true,
                    Some(wanted) if wanted.matches(name) => self.follow_name(glob, part, &path, 0, &mut news.paths),
                    _ => {}
                }
            }
        }
        let Some(known) = self.names.get(&self.key(dir, name)) else { return };
        let Some(path) = self.paths.get(known.path as usize) else { return };
        let through: PathBuf = path.components().take(known.part as usize + 1).collect();
        let concerned: Vec<PathBuf> =
            self.paths.iter().filter(|path| path.starts_with(&through)).map(|path| path.to_path_buf()).collect();
        if fs::symlink_metadata(&through).is_ok_and(|metadata| metadata.is_symlink()) {
            self.watch_link(&through);
        }
        for path in concerned {
            self.add(&path); // the directories behind the name are others now
            news.paths.push(path);
        }
    }

    /// Forgets the paths of directories that `is_guarded` does not know any more and that are gone, with the one above
    /// them.
    pub fn forget(&mut self, is_guarded: impl Fn(&Path) -> bool) {
        let gone = |path: &Path| !is_guarded(path) && !path.parent().is_some_and(Path::exists);
        let kept: Vec<Box<Path>> = self.paths.drain(..).filter(|path| !gone(path)).collect();
        self.names.clear();
        self.known.clear();
        self.is_full = false;
        for path in kept {
            self.add(&path);
        }
    }
}

impl AsFd for Ways {
    /// Readable when there is something to [`Ways::read`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Where a path leads, if those who made the symbolic links in it could have changed what is there anyway: root, the
/// directory's owner, or anybody whom its mode lets in. Whoever links to a directory of somebody else must not have it
/// guarded: files called `.pth` in there may be something else (PyTorch's weights), and its owner could not write them any
/// more.
#[must_use]
pub fn leads_to(path: &Path) -> Option<PathBuf> {
    let target = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&target).ok().filter(fs::Metadata::is_dir)?;
    if target == path || metadata.mode() & 0o022 != 0 {
        return Some(target);
    }
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = names_of(path);
    for _ in 0..MAX_STEPS {
        let Some(name) = left.pop() else { return Some(target) };
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(name);
        let entry = fs::symlink_metadata(&at).ok()?;
        if entry.is_symlink() {
            if entry.uid() != 0 && entry.uid() != metadata.uid() {
                return None;
            }
            let link = fs::read_link(&at).ok()?;
            at = if link.is_absolute() { PathBuf::from("/") } else { at.parent()?.to_owned() };
            left.extend(names_of(&link));
        }
    }
    None
}

/// The parts of a path, the last one first.
fn names_of(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn directory(path: &Path) -> Option<(std::os::fd::OwnedFd, FileId)> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let file = open(path, flags, Mode::empty()).ok()?;
    let id = FileId::of(&file).ok()?;
    Some((file, id))
}

fn parts(glob: &str) -> Vec<Part> {
    let part = |text: &str| match text {
        "**" => Part::Rest,
        text if !text.contains(['*', '?', '[']) => Part::Literal(OsString::from(text)),
        text => Pattern::new(text).map_or_else(|_| Part::Literal(OsString::from(text)), Part::Pattern),
    };
    glob.split('/').filter(|text| !text.is_empty()).map(part).collect()
}

/// Takes `.` and `..` out of a path, as if nothing in it were a symbolic link.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn dots_are_taken_out() {
        assert_eq!(lexical(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(lexical(Path::new("/../a")), Path::new("/a"));
    }

    #[test]
    fn a_link_to_somebody_elses_directory_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(at("real/lib/site-packages")).unwrap();
        symlink("real", at("link")).unwrap();
        let (through, target) = (at("link/lib/site-packages"), at("real/lib/site-packages"));
        assert_eq!(leads_to(&through), Some(target.clone()), "one's own");
        assert_eq!(leads_to(&target), Some(target.clone()), "without a link");
        assert_eq!(leads_to(&at("nowhere")), None);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(at("link"), Some(12345), None).unwrap();
            assert_eq!(leads_to(&through), None, "a stranger's link");
            chown(&target, Some(12345), None).unwrap();
            assert_eq!(leads_to(&through), Some(target), "to a directory of his own");
        }
    }
}
