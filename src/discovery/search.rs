//! The search for site directories below a directory, a little at a time.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::is_site_name;
use crate::fanotify::Known;

const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Levels below the directory that it begins with.
    pub depth: usize,
    /// Directories that it looks into.
    pub directories: usize,
}

/// What a search comes upon.
#[derive(Debug)]
pub enum Found {
    /// A directory that has the name of a site directory, opened `O_PATH`.
    Directory(OwnedFd),
    /// A symbolic link that has such a name, opened `O_PATH`.
    Link(OwnedFd),
}

/// A search that has begun. It stays on the mount on which it began, and does not look into site directories.
#[derive(Debug)]
pub struct Search {
    levels: Vec<Level>,
    mount: u64,
    limits: Limits,
    /// Directories were left out because of the limits.
    is_cut: bool,
}

/// A directory on the way down, with its subdirectories that have not been looked into yet.
#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    left: Vec<OsString>,
}

impl Search {
    /// Begins below a directory, which may be open `O_PATH`.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn below(dir: impl AsFd, limits: Limits) -> io::Result<Self> {
        let dir = dir.as_fd().try_clone_to_owned()?;
        let mount = Known::of(&dir)?.mount;
        // Its entries are looked at with the first step.
        let levels = vec![Level { dir, left: vec![OsString::from(".")] }];
        Ok(Search { levels, mount, limits, is_cut: false })
    }

    /// Whether it has left directories out.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Goes on until then at most, and at least one directory further. Whether there is more to come.
    pub fn go_on(&mut self, until: Instant, mut found: impl FnMut(Found)) -> bool {
        loop {
            let Some(level) = self.levels.last_mut() else { return false };
            let Some(name) = level.left.pop() else {
                self.levels.pop();
                continue;
            };
            if self.limits.directories == 0 || self.levels.len() > self.limits.depth + 1 {
                self.is_cut = true;
                self.levels.pop();
                continue;
            }
            self.limits.directories -= 1;
            if let Some(next) = self.look_into(&name, &mut found) {
                self.levels.push(next);
            }
            if Instant::now() >= until {
                return !self.levels.is_empty();
            }
        }
    }

    /// Reads one directory: what has the name of a site directory is found, the other directories are left for later.
    fn look_into(&self, name: &OsStr, found: &mut impl FnMut(Found)) -> Option<Level> {
        let above = &self.levels.last()?.dir;
        // Looked at before it is opened: what is mounted there may make us wait for ever, or has a search of its own.
        let entry = openat(above, name, LOOK | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
        if Known::of(&entry).ok()?.mount != self.mount {
            return None;
        }
        let mut dir = Dir::openat(&entry, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let mut left = Vec::new();
        let mut sites = Vec::new();
        for entry in dir.iter().flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let kind = entry.file_type();
            if name == "." || name == ".." || !matches!(kind, None | Some(Type::Directory | Type::Symlink)) {
                continue;
            }
            if is_site_name(name) {
                sites.push(name.to_owned());
            } else if kind != Some(Type::Symlink) {
                left.push(name.to_owned());
            }
        }
        for name in sites {
            let Ok(entry) = openat(&dir, name.as_os_str(), LOOK, Mode::empty()) else { continue };
            let Ok(known) = Known::of(&entry) else { continue };
            match known.kind {
                libc::S_IFDIR if known.mount == self.mount => found(Found::Directory(entry)),
                libc::S_IFLNK => found(Found::Link(entry)),
                _ => {}
            }
        }
        Some(Level { dir: entry, left })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::discovery::path_of;

    const ALL: Limits = Limits { depth: 64, directories: 1000 };

    fn search(below: &Path, limits: Limits, turn: Duration) -> (Vec<String>, bool) {
        let mut search = Search::below(File::open(below).unwrap(), limits).unwrap();
        let mut found = Vec::new();
        let mut tell = |one| match one {
            Found::Directory(dir) => {
                let path = path_of(&dir).unwrap();
                found.push(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned());
            }
            Found::Link(_) => found.push("link".to_owned()),
        };
        while search.go_on(Instant::now() + turn, &mut tell) {}
        found.sort();
        (found, search.is_cut())
    }

    #[test]
    fn site_directories_and_links_of_their_names_are_found() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().canonicalize().unwrap();
        for dir in ["a/lib/python3.12/site-packages/foo/site-packages", "b/dist-packages", "c/d/e", "site-packages"] {
            fs::create_dir_all(below.join(dir)).unwrap();
        }
        fs::create_dir_all(below.join("c/lib/python3")).unwrap();
        symlink(below.join("c/d"), below.join("c/lib/python3/site-packages")).unwrap();
        symlink(&below, below.join("c/round")).unwrap();
        fs::write(below.join("c/d/site-packages"), "").unwrap();
        let all = ["a/lib/python3.12/site-packages", "b/dist-packages", "link", "site-packages"];
        for turn in [Duration::ZERO, Duration::from_secs(60)] {
            let (found, is_cut) = search(&below, ALL, turn);
            assert_eq!(found, all);
            assert!(!is_cut);
        }
        let (found, is_cut) = search(&below, Limits { depth: 1, ..ALL }, Duration::ZERO);
        assert_eq!((found, is_cut), (vec!["b/dist-packages".to_owned(), "site-packages".to_owned()], true));
        let (_, is_cut) = search(&below, Limits { directories: 3, ..ALL }, Duration::ZERO);
        assert!(is_cut);
    }
}
