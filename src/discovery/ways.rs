//! The names on the way to a site directory, from the root on.
//!
//! A directory that is made or moved is told by its file system's mark; a symbolic link is not, and a glob of the policy
//! can name a directory that is called anything. So every directory on a way tells of its new names: those that lead to
//! where the policy's globs point, and those that lead to each guarded directory. What has got such a name is looked at
//! again, from there on.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use glob::Pattern;
use nix::fcntl::readlinkat;
use nix::sys::stat::fstat;

use crate::fanotify::group::fd_link;
use crate::fanotify::wire::Info;
use crate::fanotify::{ByFile, Changes, FileId, NotificationGroup};
use crate::watch::{Reached, Walk};

/// Names that are watched, at most. Who may make site directories can make as many as he likes.
const MAX_NAMES: usize = 262_144;
/// Directories on the way of globs, at most: `/home/*/*/venv` leads through every directory of every home.
const MAX_STOPS: usize = 32_768;
/// Symbolic links that are followed on one way.
const MAX_LINKS: usize = 16;

/// A directory on the way of a glob.
#[derive(Debug)]
struct Stop {
    path: Box<Path>,
    /// Which globs lead through it, and which of their parts is looked for here.
    wants: Vec<Way>,
}

/// A part of a glob that is looked for, and how many links led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    glob: usize,
    part: usize,
    links: usize,
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
    stops: ByFile<Stop>,
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

impl Ways {
    /// Nothing is watched before [`Ways::follow`] and [`Ways::add`].
    #[must_use]
    pub fn new(globs: &[String], group: NotificationGroup) -> Self {
        Ways {
            group,
            globs: globs.iter().map(|glob| parts(glob)).collect(),
            stops: ByFile::default(),
            paths: Vec::new(),
            known: HashSet::new(),
            names: HashMap::new(),
            keys: RandomState::new(),
            is_full: false,
        }
    }

    /// Watches the ways of all globs anew. Where they lead now.
    pub fn follow(&mut self, walk: &Walk) -> Vec<PathBuf> {
        self.stops.clear();
        let mut found = Vec::new();
        for glob in 0..self.globs.len() {
            self.follow_from(walk, Way { glob, part: 0, links: 0 }, Path::new("/"), &mut found);
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
    fn follow_from(&mut self, walk: &Walk, way: Way, dir: &Path, found: &mut Vec<PathBuf>) {
        let literal = match self.wanted(way) {
            None => return found.push(dir.to_owned()),
            Some(Part::Literal(name)) => Some(name.clone()),
            Some(Part::Pattern(_) | Part::Rest) => None,
        };
        let Ok(place) = walk.reach(dir) else { return };
        // First the mark, then the look: what comes in between is told.
        self.stop_at(&place, way);
        let names: Vec<OsString> = match literal {
            Some(name) => vec![name],
            None => entries(&place).into_iter().filter(|name| self.leads_on(way, name)).collect(),
        };
        for name in names {
            self.follow_name(walk, way, &place.path.join(name), found);
        }
    }

    fn wanted(&self, way: Way) -> Option<&Part> {
        self.globs.get(way.glob).and_then(|parts| parts.get(way.part))
    }

    fn leads_on(&self, way: Way, name: &OsStr) -> bool {
        match self.wanted(way) {
            Some(Part::Literal(literal)) => literal == name,
            Some(Part::Pattern(pattern)) => name.to_str().is_some_and(|name| pattern.matches(name)),
            Some(Part::Rest) | None => false,
        }
    }

    /// What a part of a glob has led to.
    fn follow_name(&mut self, walk: &Walk, way: Way, path: &Path, found: &mut Vec<PathBuf>) {
        let way = Way { part: way.part + 1, ..way };
        if let Some(link) = link_at(walk, path) {
            self.add(walk, &link);
            if way.links < MAX_LINKS
                && let Ok(target) = walk.reach(path)
            {
                self.follow_from(walk, Way { links: way.links + 1, ..way }, &target.path, found);
            }
        } else {
            self.follow_from(walk, way, path, found);
        }
    }

    fn stop_at(&mut self, place: &Reached, way: Way) {
        let Ok(id) = place.file() else { return };
        if !self.stops.contains(&id) {
            if self.stops.len() >= MAX_STOPS {
                self.is_full = true;
                return;
            }
            if self.group.mark(Changes::Newcomers, &place.dir).is_err() {
                return; // no handles: nothing tells of it, and it can be looked at all the same
            }
        }
        let stop = self.stops.get_or_insert_with(&id, || Stop {
            path: place.path.as_path().into(),
            wants: Vec::with_capacity(1), // nearly every one is on the way of one glob
        });
        if !stop.wants.contains(&way) {
            stop.wants.push(way);
        }
    }

    /// Watches the names that lead to a directory, whether it is there or not.
    pub fn add(&mut self, walk: &Walk, path: &Path) {
        let number = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        let mut is_new = self.known.insert(self.keys.hash_one(path));
        let mut dir = PathBuf::new();
        for (part, component) in path.components().enumerate() {
            if let Component::Normal(name) = component {
                let Ok(place) = walk.reach(&dir) else { break };
                let Ok(id) = place.file() else { break };
                let key = self.key(&id, name);
                if !self.names.contains_key(&key) {
                    if self.names.len() >= MAX_NAMES {
                        self.is_full = true;
                    } else if self.group.mark(Changes::Newcomers, &place.dir).is_ok() {
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
        let mut due = self.group.queued()?;
        if due == 0 {
            return Ok(News::default());
        }
        let mut came: HashSet<(FileId, OsString)> = HashSet::new();
        let mut is_lost = false;
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
        let walk = Walk::new().map_err(io::Error::from)?;
        let mut news = News::default();
        for (dir, name) in came {
            self.came(&walk, &dir, &name, &mut news);
        }
        news.paths.sort();
        news.paths.dedup();
        Ok(news)
    }

    fn came(&mut self, walk: &Walk, dir: &FileId, name: &OsStr, news: &mut News) {
        let stop = self.stops.get(dir).map(|stop| (stop.path.join(name), stop.wants.clone()));
        if let Some((path, wants)) = stop {
            for way in wants {
                news.is_below_rest |= matches!(self.wanted(way), Some(Part::Rest));
                if self.leads_on(way, name) {
                    self.follow_name(walk, way, &path, &mut news.paths);
                }
            }
        }
        let Some(known) = self.names.get(&self.key(dir, name)) else { return };
        let Some(path) = self.paths.get(known.path as usize) else { return };
        let through: PathBuf = path.components().take(known.part as usize + 1).collect();
        let concerned: Vec<PathBuf> =
            self.paths.iter().filter(|path| path.starts_with(&through)).map(|path| path.to_path_buf()).collect();
        if let Some(link) = link_at(walk, &through) {
            self.add(walk, &link);
        }
        for path in concerned {
            self.add(walk, &path); // the directories behind the name are others now
            news.paths.push(path);
        }
    }

    /// Forgets the paths of directories that `is_guarded` does not know any more and that are gone, with the one above
    /// them.
    pub fn forget(&mut self, walk: &Walk, is_guarded: impl Fn(&Path) -> bool) {
        let is_there = |path: &Path| path.parent().is_some_and(|above| walk.reach(above).is_ok());
        let gone = |path: &Path| !is_guarded(path) && !is_there(path);
        let kept: Vec<Box<Path>> = self.paths.drain(..).filter(|path| !gone(path)).collect();
        self.names.clear();
        self.known.clear();
        self.is_full = false;
        for path in kept {
            self.add(walk, &path);
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
pub fn leads_to(walk: &Walk, path: &Path) -> Option<Reached> {
    let (target, links) = walk.reach_by_links(path).ok()?;
    let status = fstat(&target.dir).ok()?;
    let may = |link: &u32| *link == 0 || *link == status.st_uid || status.st_mode & 0o022 != 0;
    links.iter().all(may).then_some(target)
}

/// Where a symbolic link says that it leads, if that is what is there; the way to it is not looked at.
fn link_at(walk: &Walk, path: &Path) -> Option<PathBuf> {
    let above = walk.reach(path.parent()?).ok()?;
    let target = readlinkat(&above.dir, path.file_name()?).ok()?;
    Some(lexical(&above.path.join(target)))
}

fn entries(place: &Reached) -> Vec<OsString> {
    let Ok(dir) = place.open() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(fd_link(dir.as_fd())) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name()).collect()
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
            Component::RootDir | Component::Normal(_) | Component::Prefix(_) => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::fs;
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
        let leads = |path: &Path| leads_to(&Walk::new().unwrap(), path).map(|place| place.path);
        assert_eq!(leads(&through), Some(target.clone()), "one's own");
        assert_eq!(leads(&target), Some(target.clone()), "without a link");
        assert_eq!(leads(&at("nowhere")), None);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(at("link"), Some(12345), None).unwrap();
            assert_eq!(leads(&through), None, "a stranger's link");
            chown(&target, Some(12345), None).unwrap();
            assert_eq!(leads(&through), Some(target), "to a directory of his own");
        }
    }
}
