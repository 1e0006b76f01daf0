//! Where site directories are.
//!
//! *Owns* what is read of mounts, the search through directories, the names on the way to site directories, and the
//! question to interpreters. *Must not* guard anything, nor be asked by whoever decides: it waits for disks. *Hands to*
//! the gate directories, open, and paths.
//!
//! * [`Anchors`]: the local file systems, and the directory behind a handle
//! * [`Search`]: the directories called site-packages or dist-packages below another one
//! * [`Ways`]: the names on the way to a site directory, from the root on
//! * [`site_directories`]: those that the host's interpreters say they use

#![forbid(unsafe_code)]

mod interpreters;
mod mounts;
mod search;
mod ways;

pub use interpreters::site_directories;
pub use mounts::{Anchor, Anchors, Scope, path_of};
pub use search::{Found, Limits, Search};
pub use ways::{News, Ways, leads_to};

use std::ffi::OsStr;
use std::path::Path;

/// Whether a directory of that name is a site directory, unless it lies in another one.
#[must_use]
pub fn is_site_name(name: &OsStr) -> bool {
    name == "site-packages" || name == "dist-packages"
}

/// Whether a directory lies inside a site directory: then it is a package's own, whatever it is called, and no
/// interpreter looks for startup files there.
#[must_use]
pub fn is_inside_site(path: &Path) -> bool {
    path.parent().is_some_and(|above| above.iter().any(is_site_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packages_own_directory_is_no_site_directory() {
        for (path, is_inside) in [
            ("/opt/app/lib/python3.12/site-packages", false),
            ("/opt/app/lib/python3.12/site-packages/foo/site-packages", true),
            ("/usr/lib/python3/dist-packages/foo/lib/python3/site-packages", true),
            ("/opt/conda/pkgs/six-1.16.0/site-packages", false),
            ("/site-packages", false),
        ] {
            assert_eq!(is_inside_site(Path::new(path)), is_inside, "{path}");
        }
    }
}
