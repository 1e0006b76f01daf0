//! Files as keys of tables: as large as their handles are, and not as the largest handle that there may be.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::handle::{FileId, Handle};

/// Bytes of a handle that are kept without memory of their own. ext4 and tmpfs have 8 and 12, xfs 12, btrfs 20; an overlayfs
/// has 21 and those of its layer.
const SHORT: usize = 30;

/// A [`FileId`] that has 48 bytes instead of 144.
#[derive(Clone)]
pub struct Kept {
    fsid: u64,
    kind: i32,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&FileId> for Kept {
    fn from(file: &FileId) -> Self {
        let source = file.handle.bytes();
        let mut bytes = [0; SHORT];
        let bytes = match bytes.get_mut(..source.len()) {
            Some(short) => {
                short.copy_from_slice(source);
                Bytes::Short { len: source.len() as u8, bytes }
            }
            None => Bytes::Long(source.into()),
        };
        Kept { fsid: file.fsid, kind: file.handle.kind(), bytes }
    }
}

impl Kept {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Short { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes,
        }
    }

    /// The file system's id.
    #[must_use]
    pub fn fsid(&self) -> u64 {
        self.fsid
    }

    /// The file, by value.
    #[must_use]
    pub fn file(&self) -> FileId {
        FileId { fsid: self.fsid, handle: Handle::of_file(self.kind, self.bytes()) }
    }

    /// Whether it is that one.
    #[must_use]
    pub fn is(&self, file: &FileId) -> bool {
        self.identity() == file.identity()
    }
}

/// What makes a file that file, however it is kept: so that a table can be asked without making a key.
pub trait Identity {
    /// File system, kind and bytes of the handle.
    fn identity(&self) -> (u64, i32, &[u8]);
}

impl Identity for Kept {
    fn identity(&self) -> (u64, i32, &[u8]) {
        (self.fsid, self.kind, self.bytes())
    }
}

impl Identity for FileId {
    fn identity(&self) -> (u64, i32, &[u8]) {
        (self.fsid, self.handle.kind(), self.handle.bytes())
    }
}

impl<'a> Borrow<dyn Identity + 'a> for Kept {
    fn borrow(&self) -> &(dyn Identity + 'a) {
        self
    }
}

impl PartialEq for dyn Identity + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for dyn Identity + '_ {}

impl Hash for dyn Identity + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file().fmt(f)
    }
}

/// Something for each of some files.
#[derive(Debug)]
pub struct ByFile<T>(HashMap<Kept, T>);

impl<T> Default for ByFile<T> {
    fn default() -> Self {
        ByFile(HashMap::new())
    }
}

impl<T> ByFile<T> {
    /// What there is for a file.
    #[must_use]
    pub fn get(&self, file: &FileId) -> Option<&T> {
        self.0.get(file as &dyn Identity)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, file: &FileId) -> Option<&mut T> {
        self.0.get_mut(file as &dyn Identity)
    }

    /// The same; if there is nothing, that comes there.
    pub fn get_or_insert_with(&mut self, file: &FileId, new: impl FnOnce() -> T) -> &mut T {
        self.0.entry(Kept::from(file)).or_insert_with(new)
    }

    /// Whether there is something for a file.
    #[must_use]
    pub fn contains(&self, file: &FileId) -> bool {
        self.get(file).is_some()
    }

    /// Puts something there for a file, and returns what was there.
    pub fn insert(&mut self, file: &FileId, value: T) -> Option<T> {
        self.0.insert(Kept::from(file), value)
    }

    /// Takes away what there is for a file.
    pub fn remove(&mut self, file: &FileId) -> Option<T> {
        self.0.remove(file as &dyn Identity)
    }

    /// Of how many files there is something.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Kept, &T)> {
        self.0.iter()
    }

    /// What there is for each file.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut()
    }

    /// Takes all of it away.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: usize, seed: u8) -> FileId {
        FileId { fsid: 7, handle: Handle::new(1, &vec![seed; len]).unwrap() }
    }

    #[test]
    fn handles_of_any_length_are_found_again_and_are_what_they_were() {
        let mut all = ByFile::default();
        let files: Vec<_> = (0..=128).map(|len| file(len, 9)).collect();
        for (number, file) in files.iter().enumerate() {
            assert_eq!(all.insert(file, number), None);
        }
        for (number, file) in files.iter().enumerate() {
            assert_eq!(all.get(file), Some(&number));
            assert!(Kept::from(file).is(file) && Kept::from(file).file() == *file);
        }
        for stranger in [file(8, 8), file(44, 8), FileId { fsid: 8, ..file(8, 9) }] {
            assert!(!all.contains(&stranger));
        }
        let other_kind = FileId { fsid: 7, handle: Handle::new(2, &[9; 8]).unwrap() };
        assert!(!all.contains(&other_kind));
        assert_eq!((all.remove(&files[8]), all.get(&files[8])), (Some(8), None));
    }

    #[test]
    fn small() {
        assert_eq!(size_of::<Kept>(), 48);
    }
}
