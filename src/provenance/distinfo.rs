//! A package's metadata directory, `NAME-VERSION.dist-info`: what it is called, and whose it says that it is.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::model::{Package, PackageSource};

pub(super) const SUFFIX: &[u8] = b".dist-info";

/// How much of METADATA is read: its headers stand at the beginning, a description of any length follows.
const MAX_HEADERS: u64 = 64 * 1024;

/// Whether an entry of a site directory is a package's metadata directory. pip renames what it is about to remove to
/// `~NAME`; what it could not remove stays so.
pub(super) fn is_dist_info(name: &[u8]) -> bool {
    name.ends_with(SUFFIX) && name.len() > SUFFIX.len() && !matches!(name[0], b'~' | b'.')
}

/// The name of a package as it is compared: PEP 503.
#[must_use]
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            _ => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// Whose a metadata directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) package: Package,
    /// Whether its own METADATA says the same as its name.
    pub(super) agrees: bool,
}

/// Reads whose the metadata directory `directory` in `site` is.
pub(super) fn identify(site: impl AsFd, directory: &OsStr) -> io::Result<Identity> {
    let stem = directory.as_bytes().strip_suffix(SUFFIX).unwrap_or_default();
    let stem = String::from_utf8_lossy(stem).into_owned();
    let mut headers = Vec::new();
    let agreed = match open(&site, &inside(directory, "METADATA")) {
        Ok(file) => {
            file.take(MAX_HEADERS).read_to_end(&mut headers)?;
            name_header(&headers).and_then(|name| Some((name, version_after(&stem, name)?)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let package = |name: &str, version: Option<&str>| Package {
        name: name.to_owned(),
        version: version.map(str::to_owned),
        source: PackageSource::Record,
    };
    Ok(match agreed {
        Some((name, version)) => Identity { package: package(name, Some(version)), agrees: true },
        None => {
            let (name, version) = stem.rsplit_once('-').map_or((&*stem, None), |(name, rest)| (name, Some(rest)));
            Identity { package: package(name, version), agrees: false }
        }
    })
}

/// The version in `NAME-VERSION`, if that is the name.
fn version_after<'a>(stem: &'a str, name: &str) -> Option<&'a str> {
    let (before, version) = stem.rsplit_once('-')?;
    (!version.is_empty() && normalized(before) == normalized(name)).then_some(version)
}

/// The one `Name:` in the headers of METADATA.
fn name_header(text: &[u8]) -> Option<&str> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (key, value) = line.split_at(colon);
        key.eq_ignore_ascii_case(b"name").then(|| value[1..].trim_ascii())
    });
    let name = str::from_utf8(names.next()?).ok()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (names.next().is_none() && !name.is_empty() && name.len() <= 255 && name.chars().all(is_name)).then_some(name)
}

/// The path of a file in a metadata directory.
pub(super) fn inside(directory: &OsStr, file: &str) -> OsString {
    let mut path = directory.to_owned();
    path.push("/");
    path.push(file);
    path
}

/// Opens a regular file below a site directory, through no symbolic link: an installer makes none of these, and a link
/// could lead to anybody's file.
pub(super) fn open(site: impl AsFd, path: &OsStr) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(site, path, how)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_index_does() {
        for name in ["zope.interface", "Zope_Interface", "zope--interface", "zope-._interface"] {
            assert_eq!(normalized(name), "zope-interface");
        }
    }

    #[test]
    fn the_directory_and_its_metadata_must_agree() {
        assert_eq!(version_after("zope.interface-5.0", "zope_interface"), Some("5.0"));
        assert_eq!(version_after("setuptools-84.0.0", "setuptools"), Some("84.0.0"));
        assert_eq!(version_after("setuptools-evil-1.0", "setuptools"), None);
        assert_eq!(version_after("setuptools_9-1.0", "setuptools"), None);
        assert_eq!(version_after("setuptools-", "setuptools"), None);
        assert_eq!(version_after("setuptools", "setuptools"), None);
    }

    #[test]
    fn one_name_in_the_headers() {
        assert_eq!(name_header(b"Metadata-Version: 2.1\r\nname:  a.b \r\n\r\nName: c\r\n"), Some("a.b"));
        for text in ["", "Name: a\nName: b\n", "Name:\n", "Name: a b\n", "\nName: a\n", "Name: \u{e4}\n", "Name a\n"] {
            assert_eq!(name_header(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_a_metadata_directory() {
        for (name, is) in [
            ("pip-23.0.dist-info", true),
            ("~ip-23.0.dist-info", false),
            (".dist-info", false),
            ("pip-23.0.egg-info", false),
            ("pip-23.0.DIST-INFO", false),
        ] {
            assert_eq!(is_dist_info(name.as_bytes()), is, "{name}");
        }
    }
}
