//! The list of known files: executable startup files of well-known tools.
//!
//! The bytes prove nothing by themselves. `distutils-precedence.pth` runs whatever `_distutils_hack` is beside it, so a file
//! is known only together with who owns it: name, digest *and* the package that the list names, or the rule that let
//! its writer in.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use serde::Deserialize;

use super::version::VersionSet;
use crate::model::{Package, PackageSource, Sha256};

/// The list that is part of the program.
const BUILT_IN: &str = include_str!("../../policy/known.toml");

/// Files that are known by name and digest.
#[derive(Clone, Debug, Default)]
pub struct KnownFiles {
    files: HashMap<(OsString, Sha256), Listed>,
}

/// What the list says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who has to own it.
    pub owner: KnownOwner,
}

/// Who has to own a listed file, for it to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownOwner {
    /// A package that ships it.
    Package {
        /// The project's name in the package index; none if only distributions ship the file.
        name: Option<String>,
        /// The releases of it that are known to have this file.
        versions: VersionSet,
        /// Debian packages that ship it.
        debian: Vec<String>,
        /// Rpm packages that ship it.
        rpm: Vec<String>,
    },
    /// An installer that writes it itself, so that no package owns it: names of rules, one of which must have let the
    /// writer in.
    Writers(Vec<String>),
}

/// Why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not TOML, or not of this form.
    #[error("the list of known files cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// An entry that says nothing, or something else than another.
    #[error("the list of known files: entry {number} ({name}): {problem}")]
    Entry {
        /// Which entry, from 1.
        number: usize,
        /// The file's name that it gives, escaped.
        name: String,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    #[serde(default)]
    file: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    name: String,
    sha256: Vec<String>,
    package: Option<String>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    debian: Vec<String>,
    #[serde(default)]
    rpm: Vec<String>,
    #[serde(default)]
    writers: Vec<String>,
}

impl KnownFiles {
    /// The list that is part of the program.
    ///
    /// # Panics
    ///
    /// Never: a test parses it.
    #[must_use]
    pub fn built_in() -> KnownFiles {
        KnownFiles::parse(BUILT_IN).expect("a test parses the list that is built in")
    }

    /// A list in the form of `policy/known.toml`.
    ///
    /// # Errors
    ///
    /// When the text is not of that form, an entry has no owner or two kinds of owners, or two entries are for the same
    /// name and digest.
    pub fn parse(text: &str) -> Result<KnownFiles, ListError> {
        let raw: RawList = toml::from_str(text)?;
        let mut files = HashMap::new();
        for (at, raw) in raw.file.into_iter().enumerate() {
            let name = raw.name.clone();
            let problem =
                |problem: String| ListError::Entry { number: at + 1, name: name.escape_default().to_string(), problem };
            let digests = digests(&raw).map_err(problem)?;
            let listed = Listed { owner: owner(raw).map_err(problem)? };
            for digest in digests {
                if files.insert((OsString::from(&name), digest), listed.clone()).is_some() {
                    return Err(problem(format!("the digest {digest} is listed for this name already; leave one out")));
                }
            }
        }
        Ok(KnownFiles { files })
    }

    /// What the list says of a file with this name and these bytes.
    #[must_use]
    pub fn look_up(&self, name: &OsStr, sha256: Sha256) -> Option<&Listed> {
        self.files.get(&(name.to_owned(), sha256))
    }

    /// All of it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, Sha256, &Listed)> {
        self.files.iter().map(|((name, digest), listed)| (name.as_os_str(), *digest, listed))
    }
}

fn digests(raw: &RawFile) -> Result<Vec<Sha256>, String> {
    if raw.name.is_empty() || raw.name.contains(['/', '\0']) {
        return Err("`name` is the name of a file, without a directory".to_owned());
    }
    if raw.sha256.is_empty() {
        return Err("`sha256` needs at least one digest".to_owned());
    }
    raw.sha256.iter().map(|text| Sha256::from_str(text).map_err(|problem| format!("`sha256`: {problem}"))).collect()
}

fn owner(raw: RawFile) -> Result<KnownOwner, String> {
    let ships = raw.package.is_some() || !raw.debian.is_empty() || !raw.rpm.is_empty();
    match (ships, raw.writers.is_empty()) {
        (true, false) => Err("`writers` is for files that no package owns; leave it or the package out".to_owned()),
        (false, true) => Err("nobody owns it; name its `package`, `debian`, `rpm` or `writers`".to_owned()),
        (false, false) if !raw.versions.is_empty() => Err("`versions` needs a `package`".to_owned()),
        (false, false) => Ok(KnownOwner::Writers(raw.writers)),
        (true, true) => {
            if raw.package.is_some() == raw.versions.is_empty() {
                return Err("`package` and `versions` need each other".to_owned());
            }
            if let Some(package) = raw.package.as_deref().filter(|name| normal(name).is_none()) {
                return Err(format!("`package`: {} cannot be the name of a project", package.escape_default()));
            }
            let versions = VersionSet::parse(&raw.versions)?;
            Ok(KnownOwner::Package { name: raw.package, versions, debian: raw.debian, rpm: raw.rpm })
        }
    }
}

impl Listed {
    /// Whether `package` is the one that the list names for the file.
    ///
    /// A project of the package index is compared as the index compares names (letter case, `-`, `_` and `.` do not count),
    /// and its version has to be listed; distributions' packages have to be named as such, whatever their version.
    #[must_use]
    pub fn is_owned_by(&self, package: &Package) -> bool {
        let KnownOwner::Package { name, versions, debian, rpm } = &self.owner else { return false };
        match package.source {
            PackageSource::Record => {
                let same = name.as_deref().and_then(normal).is_some_and(|name| normal(&package.name) == Some(name));
                same && package.version.as_deref().is_some_and(|version| versions.contains(version))
            }
            PackageSource::Dpkg => debian.contains(&package.name),
            PackageSource::Rpm => rpm.contains(&package.name),
        }
    }

    /// Whether the list names `rule` as one that lets the file's writer in.
    #[must_use]
    pub fn is_written_under(&self, rule: &str) -> bool {
        match &self.owner {
            KnownOwner::Package { .. } => false,
            KnownOwner::Writers(rules) => rules.iter().any(|name| name == rule),
        }
    }
}

/// A project's name as the package index compares it (PEP 503); none if it cannot be one, so that nothing else can look
/// like it.
fn normal(name: &str) -> Option<String> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !ends(name.chars().next()) || !ends(name.chars().next_back()) {
        return None;
    }
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if text.ends_with('-') => {}
            '-' | '_' | '.' => text.push('-'),
            _ if c.is_ascii_alphanumeric() => text.push(c.to_ascii_lowercase()),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;
