//! The distribution's package that a file belongs to, as dpkg or rpm tell it.
//!
//! Only root writes their databases. They are asked through their own tools, which are the one stable interface to them,
//! with the one exception of dpkg's `md5sums`, whose form is documented (deb-md5sums(5)).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{dpkg, rpm};
use crate::model::Package;

/// How long all queries together may take, if nothing else is said.
pub const DISTRIBUTION_LIMIT: Duration = Duration::from_secs(10);

/// Files in one query: the command line of a process is bounded.
const AT_ONCE: usize = 500;

/// A file of a distribution's package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionFile {
    /// The package.
    pub package: Package,
    /// Whether the bytes are those that it came with.
    pub bytes: PackagedBytes,
}

/// Whether a file's bytes are those that its package came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackagedBytes {
    /// They are, by this digest.
    Same(DigestKind),
    /// They are not, by this digest.
    Different(DigestKind),
    /// The database has no digest of it (configuration files, packages without `md5sums`).
    Untold,
}

/// What a package database is able to say about bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestKind {
    /// dpkg, and rpm before 4.6. Nobody can make other bytes with a given MD5; who makes the package can make two files
    /// of one MD5.
    Md5,
    /// rpm.
    Sha256,
}

/// A file that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Packaged<'a> {
    /// Its absolute, canonical path.
    pub path: &'a Path,
    /// What was read from it.
    pub bytes: &'a [u8],
}

/// The distribution's package that owns a file, within [`DISTRIBUTION_LIMIT`]. `None` if there is none, or no answer.
#[must_use]
pub fn distribution_owner(file: Packaged<'_>) -> Option<DistributionFile> {
    distribution_owners(&[file], DISTRIBUTION_LIMIT).ok()?.remove(file.path)
}

/// The same for several files; those that are no package's are left out.
///
/// It runs `dpkg-query` and `rpm`, where the machine has their databases: tens of milliseconds, and never on the hot path.
///
/// # Errors
/// A tool that cannot be run, or is not done within `limit`.
pub fn distribution_owners(files: &[Packaged<'_>], limit: Duration) -> io::Result<HashMap<PathBuf, DistributionFile>> {
    let until = Instant::now() + limit;
    let mut found = HashMap::new();
    // Both tools take names as patterns or lines; no distribution has such names.
    let askable: Vec<_> = files.iter().copied().filter(|file| is_plain(file.path)).collect();
    for files in askable.chunks(AT_ONCE) {
        if dpkg::is_here() {
            found.extend(dpkg::owners(files, until)?);
        }
        if rpm::is_here() {
            for (path, file) in rpm::owners(files, until)? {
                found.entry(path).or_insert(file);
            }
        }
    }
    Ok(found)
}

fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute() && !bytes.iter().any(|byte| byte.is_ascii_control() || b"*?[\\".contains(byte))
}

/// The names that a package may have a file under: where /lib is a link to /usr/lib, some packages still say /lib.
pub(super) fn spellings(path: &Path) -> Vec<OsString> {
    let mut all = vec![path.as_os_str().to_owned()];
    if let Ok(below) = path.strip_prefix("/usr")
        && let Some(top) = below.iter().next()
        && fs::canonicalize(Path::new("/").join(top)).is_ok_and(|real| real == Path::new("/usr").join(top))
    {
        all.push(Path::new("/").join(below).into_os_string());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_tools_would_take_for_something_else_are_not_asked_for() {
        for (path, plain) in [
            ("/usr/x.pth", true),
            ("x.pth", false),
            ("/a*b", false),
            ("/a?b", false),
            ("/a\nb", false),
            ("/a\\b", false),
        ] {
            assert_eq!(is_plain(Path::new(path)), plain, "{path:?}");
        }
    }
}
