//! The startup files of one directory: a few, on thousands of directories.

use std::ffi::{OsStr, OsString};

/// Something for each of some names, in their order. As large as what is in it: the smallest hash table has room for four,
/// which for approvals is 1 KiB a directory.
#[derive(Debug)]
pub(super) struct ByName<T>(Vec<(Box<OsStr>, Box<T>)>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        ByName(Vec::new())
    }
}

impl<T> ByName<T> {
    pub(super) fn get(&self, name: &OsStr) -> Option<&T> {
        self.find(name).ok().and_then(|at| self.0.get(at)).map(|(_, value)| &**value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsStr, &T)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Inserts or removes, and returns what was there.
    pub(super) fn put(&mut self, name: OsString, value: Option<T>) -> Option<T> {
        match (self.find(&name), value) {
            (Ok(at), Some(value)) => Some(std::mem::replace(&mut *self.0[at].1, value)),
            (Ok(at), None) => Some(*self.0.remove(at).1),
            (Err(at), Some(value)) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1); // most directories have one or two
                }
                self.0.insert(at, (name.into(), Box::new(value)));
                None
            }
            (Err(_), None) => None,
        }
    }

    fn find(&self, name: &OsStr) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_order_and_each_once() {
        let mut all = ByName::default();
        let name = |name: &str| OsString::from(name);
        for (new, before) in [("b", None), ("a", None), ("c", None), ("b", Some("b"))] {
            assert_eq!(all.put(name(new), Some(new)), before);
        }
        assert_eq!(all.iter().map(|(_, value)| *value).collect::<String>(), "abc");
        assert_eq!(all.put(name("b"), None), Some("b"));
        assert_eq!(all.put(name("b"), None), None);
        assert_eq!((all.get(OsStr::new("b")), all.get(OsStr::new("c"))), (None, Some(&"c")));
    }
}
