//! Programs that were at their path while the daemon ran.
//!
//! A package manager that upgrades itself goes on installing from a file that has no name any more, and so does dnf
//! after it has replaced the interpreter that it runs in, and a container engine until it is restarted. Their
//! executables are compared by file handle (inode and generation) with those that root had put in that place before.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::program::{open_path, writers_of};
use crate::fanotify::FileId;
use crate::model::Writers;

/// How many generations of a program are kept.
const GENERATIONS: usize = 4;
/// How many programs a glob may name.
const PROGRAMS: usize = 256;

/// Which files were at which paths.
#[derive(Debug, Default)]
pub(super) struct KnownPrograms(Mutex<HashMap<PathBuf, Vec<FileId>>>);

impl KnownPrograms {
    /// Looks which files are there now, and shows them. Globs with `**` are left out: there may be too much below.
    pub(super) fn refresh<'a>(&self, globs: impl Iterator<Item = &'a str>, mut show: impl FnMut(&File, &Metadata)) {
        for text in globs.filter(|text| !text.contains("**")) {
            let Ok(paths) = glob::glob(text) else { continue };
            for path in paths.flatten().take(PROGRAMS) {
                self.note(path, &mut show);
            }
        }
    }

    /// Only root's programs: any other's file is his to replace, and to run under the name of its successor.
    fn note(&self, path: PathBuf, show: &mut impl FnMut(&File, &Metadata)) {
        let Ok(file) = open_path(&path) else { return };
        let Ok(metadata) = file.metadata() else { return };
        if !metadata.is_file() || writers_of(Path::new("/"), &path, &metadata) != Writers::Root {
            return;
        }
        show(&file, &metadata);
        let Ok(id) = FileId::of(&file) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generations = known.entry(path).or_default();
        if !generations.contains(&id) {
            generations.truncate(GENERATIONS - 1);
            generations.insert(0, id);
        }
    }

    /// Whether `file`, which is gone from `path`, was there.
    pub(super) fn was_at(&self, path: &Path, file: &File) -> bool {
        let Ok(id) = FileId::of(file) else { return false };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path).is_some_and(|generations| generations.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_program_is_known_until_too_many_followed() {
        let dir = tempfile::tempdir_in("/root").unwrap();
        let tool = dir.path().join("tool-1");
        let glob = dir.path().join("tool-*");
        let known = KnownPrograms::default();
        let mut running = Vec::new();
        for version in 0..6 {
            let new = dir.path().join("new");
            std::fs::write(&new, format!("{version}")).unwrap();
            std::fs::rename(&new, &tool).unwrap();
            running.push(File::open(&tool).unwrap());
            known.refresh([glob.to_str().unwrap(), "/**/nowhere"].into_iter(), |_, _| {});
        }
        let is_known: Vec<bool> = running.iter().map(|file| known.was_at(&tool, file)).collect();
        assert_eq!(is_known, [false, false, true, true, true, true]);
        assert!(!known.was_at(&dir.path().join("other"), &running[5]));

        std::os::unix::fs::chown(dir.path(), Some(1000), None).unwrap();
        std::fs::write(dir.path().join("tool-2"), "").unwrap();
        known.refresh([glob.to_str().unwrap()].into_iter(), |_, _| panic!("not root's"));
        let theirs = File::open(dir.path().join("tool-2")).unwrap();
        assert!(!known.was_at(&dir.path().join("tool-2"), &theirs), "in a user's directory");
    }
}
