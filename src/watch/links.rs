//! What the symbolic links under startup names lead to, and over what.
//!
//! An open through a link raises an event where the link leads, not where it lies. So the directory in which its target
//! lies is gated, whatever stands there under the target's name is judged under the link's name, and everything on the way
//! there tells when it is moved, replaced or removed. Then nobody lists the link's directory before somebody has looked
//! where it leads now.
//!
//! No descriptor of what is on the way is kept: it would keep file systems from being unmounted.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::tracked::Place;
use crate::fanotify::FileId;

/// Links that are watched at a time. Who may install packages can make as many as he likes.
const MAX_LINKS: usize = 4096;

/// Where a link leads, and over what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The link itself.
    pub link: FileId,
    /// The directories and links on the way.
    pub passed: Vec<FileId>,
    /// The directory in which the target lies.
    pub dir: FileId,
    /// Its path.
    pub dir_path: PathBuf,
    /// The target's name there.
    pub name: OsString,
    /// The target.
    pub target: FileId,
    /// Whether opens in the target's directory are judged. If not, somebody wants the link although they cannot be.
    pub is_gated: bool,
}

impl Way {
    /// The target's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir_path.join(&self.name)
    }
}

#[derive(Debug, Default)]
struct Table {
    ways: HashMap<Place, Way>,
    /// Links by where their targets lie.
    by_entry: HashMap<(FileId, OsString), HashSet<Place>>,
    /// Links by what is on their way.
    by_object: HashMap<FileId, HashSet<Place>>,
    /// Paths of the targets' directories, as event descriptors tell them.
    by_path: HashMap<(PathBuf, OsString), usize>,
    /// Those that somebody has been told to look at again.
    told: HashSet<Place>,
}

/// The links that are watched.
#[derive(Debug, Default)]
pub(super) struct Links {
    table: RwLock<Table>,
}

impl Links {
    /// Watches a link, in the place of what was known of it. `false` if there are too many.
    pub(super) fn insert(&self, place: Place, way: Way) -> bool {
        let mut table = self.write();
        table.remove(&place);
        if table.ways.len() >= MAX_LINKS {
            return false;
        }
        table.by_entry.entry((way.dir, way.name.clone())).or_default().insert(place.clone());
        for object in way.passed.iter().chain([&way.dir, &way.target]) {
            table.by_object.entry(*object).or_default().insert(place.clone());
        }
        *table.by_path.entry((way.dir_path.clone(), way.name.clone())).or_default() += 1;
        table.ways.insert(place, way);
        true
    }

    /// Watches a link no longer. Gives back where it led.
    pub(super) fn remove(&self, place: &Place) -> Option<Way> {
        self.write().remove(place)
    }

    /// Where a link leads, as it was found.
    pub(super) fn way(&self, place: &Place) -> Option<Way> {
        self.read().ways.get(place).cloned()
    }

    /// The links that lead to this entry.
    pub(super) fn to_entry(&self, dir: FileId, name: &OsStr) -> Vec<Place> {
        let table = self.read();
        if table.ways.is_empty() {
            return Vec::new(); // as nearly everywhere
        }
        table.by_entry.get(&(dir, name.to_owned())).map(|places| places.iter().cloned().collect()).unwrap_or_default()
    }

    /// The links on whose way this is, or that lead to it.
    pub(super) fn over(&self, object: &FileId) -> Vec<Place> {
        self.read().by_object.get(object).map(|places| places.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether a link leads to what seems to be this path.
    pub(super) fn leads_to(&self, dir: &Path, name: &OsStr) -> bool {
        let table = self.read();
        !table.ways.is_empty() && table.by_path.contains_key(&(dir.to_owned(), name.to_owned()))
    }

    /// Whether opens in this directory are judged because of a link.
    pub(super) fn gates(&self, dir: &FileId) -> bool {
        let table = self.read();
        let is_gated = |place: &Place| table.ways.get(place).is_some_and(|way| way.dir == *dir && way.is_gated);
        table.by_object.get(dir).is_some_and(|places| places.iter().any(is_gated))
    }

    /// Whether a mark on this serves a link.
    pub(super) fn needs(&self, object: &FileId) -> bool {
        self.read().by_object.contains_key(object)
    }

    /// Whether somebody has to be told of a change to a link; asks once, until [`Links::look`].
    pub(super) fn tell(&self, place: &Place) -> bool {
        self.write().told.insert(place.clone())
    }

    /// Somebody looks at a link now: what changes from here on has to be told anew.
    pub(super) fn look(&self, place: &Place) {
        self.write().told.remove(place);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, place: &Place) -> Option<Way> {
        let way = self.ways.remove(place)?;
        let entry = (way.dir, way.name.clone());
        if self.by_entry.get_mut(&entry).is_some_and(|places| places.remove(place) && places.is_empty()) {
            self.by_entry.remove(&entry);
        }
        for object in way.passed.iter().chain([&way.dir, &way.target]) {
            if self.by_object.get_mut(object).is_some_and(|places| places.remove(place) && places.is_empty()) {
                self.by_object.remove(object);
            }
        }
        let path = (way.dir_path.clone(), way.name.clone());
        if let Some(count) = self.by_path.get_mut(&path) {
            *count -= 1;
            if *count == 0 {
                self.by_path.remove(&path);
            }
        }
        Some(way)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sites::SiteId;
    use super::*;
    use crate::fanotify::Handle;

    fn file(number: u8) -> FileId {
        FileId { fsid: 1, handle: Handle::new(1, &[number]).unwrap() }
    }

    fn way(passed: &[u8], dir: u8, target: u8) -> Way {
        let passed = passed.iter().copied().map(file).collect();
        let (dir_path, name) = (PathBuf::from("/cache"), OsString::from("x.pth"));
        Way { link: file(0), passed, dir: file(dir), dir_path, name, target: file(target), is_gated: true }
    }

    fn link(number: usize) -> Place {
        (SiteId(number), OsString::from("x.pth"))
    }

    #[test]
    fn a_link_is_found_by_everything_on_its_way_until_it_goes() {
        let links = Links::default();
        assert!(links.insert(link(1), way(&[1, 2], 2, 3)));
        assert!(links.insert(link(2), way(&[2], 2, 3)));
        assert_eq!(links.over(&file(1)), [link(1)]);
        assert_eq!((links.over(&file(2)).len(), links.over(&file(3)).len()), (2, 2));
        assert_eq!(links.to_entry(file(2), OsStr::new("x.pth")).len(), 2);
        assert!(links.to_entry(file(2), OsStr::new("y.pth")).is_empty());
        assert!(
            links.leads_to(Path::new("/cache"), OsStr::new("x.pth")) && links.gates(&file(2)) && !links.gates(&file(1))
        );
        links.remove(&link(1));
        assert!(links.over(&file(1)).is_empty() && links.gates(&file(2)));
        assert!(links.leads_to(Path::new("/cache"), OsStr::new("x.pth")), "the other one still leads there");
        links.remove(&link(2));
        assert!(!links.needs(&file(2)) && !links.leads_to(Path::new("/cache"), OsStr::new("x.pth")));
    }

    #[test]
    fn what_leads_elsewhere_now_is_forgotten_where_it_led() {
        let links = Links::default();
        links.insert(link(1), way(&[], 2, 3));
        links.insert(link(1), way(&[], 4, 5));
        assert!(links.over(&file(2)).is_empty() && links.over(&file(3)).is_empty());
        assert_eq!(links.over(&file(5)), [link(1)]);
    }

    #[test]
    fn a_change_is_told_once_until_somebody_looks() {
        let links = Links::default();
        assert!(links.tell(&link(1)) && !links.tell(&link(1)) && links.tell(&link(2)));
        links.look(&link(1));
        assert!(links.tell(&link(1)));
    }
}
