//! What setuptools' namespace lines load beside the namespace.
//!
//! They ask the import system for a module of the namespace's name. That runs no Python code, but it loads an extension
//! module that has the name, and an extension module's code runs when it is loaded.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::sites::{names, open_directory};

/// The extension module that the namespace `dotted` (`google.cloud`) loads from the site directory, open as `site`, by its
/// path there.
///
/// # Errors
/// A directory that cannot be listed: what it holds is then unknown.
pub fn extension_of_namespace(site: impl AsFd, dotted: &str) -> io::Result<Option<OsString>> {
    let parts: Vec<&str> = dotted.split('.').collect();
    let mut dir = open_directory(&site, OsStr::new("."))?;
    let mut path = OsString::new();
    for (depth, part) in parts.iter().enumerate() {
        if depth + 1 == parts.len()
            && let Some(name) = extension(&dir, part)?
        {
            path.push(name);
            return Ok(Some(path));
        }
        dir = match open_directory(&dir, OsStr::new(part)) {
            Ok(dir) => dir,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
            Err(error) => return Err(error),
        };
        path.push(part);
        path.push("/");
    }
    Ok(extension(&dir, "__init__")?.map(|name| {
        path.push(name);
        path
    }))
}

/// `MODULE.so`, `MODULE.abi3.so`, `MODULE.cpython-311-x86_64-linux-gnu.so`
fn extension(dir: &impl AsFd, module: &str) -> io::Result<Option<OsString>> {
    let is_it = |name: &OsString| {
        let rest = name.as_bytes().strip_prefix(module.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(b".so"))
    };
    Ok(names(dir)?.into_iter().find(is_it))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

    use std::fs::{self, File};

    use super::*;

    #[test]
    fn extensions_in_every_place_that_is_looked_at() {
        for (namespace, file) in [
            ("zope", "zope.cpython-311-x86_64-linux-gnu.so"),
            ("zope", "zope/__init__.abi3.so"),
            ("google.cloud", "google/cloud.so"),
            ("google.cloud", "google/cloud/__init__.so"),
        ] {
            let site = tempfile::tempdir().unwrap();
            let open = || File::open(site.path()).unwrap();
            assert_eq!(extension_of_namespace(open(), namespace).unwrap(), None);
            fs::create_dir_all(site.path().join("google/cloud")).unwrap();
            fs::create_dir_all(site.path().join("zope")).unwrap();
            fs::write(site.path().join("zope/interface.so"), "").unwrap();
            fs::write(site.path().join("google/clouds.so"), "").unwrap();
            assert_eq!(extension_of_namespace(open(), namespace).unwrap(), None);
            fs::write(site.path().join(file), "").unwrap();
            assert_eq!(extension_of_namespace(open(), namespace).unwrap(), Some(file.into()));
        }
    }
}
