//! The list as a text that always comes out the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use pthguard::content::KnownFiles;
use pthguard::model::{Package, PackageSource};
use serde::Deserialize;

use crate::found::Found;

/// Every entry, sorted by name and owner.
pub(crate) struct List {
    /// Comments before the first entry.
    head: String,
    known: KnownFiles,
    entries: BTreeMap<Key, Entry>,
}

/// Name, package and digests.
type Key = (String, Option<String>, Vec<String>);

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    file: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
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

impl List {
    pub(crate) fn parse(text: &str) -> Result<List> {
        let head =
            text.split_inclusive('\n').take_while(|line| line.starts_with('#') || line.trim().is_empty()).collect();
        let raw: Raw = toml::from_str(text)?;
        let entries =
            raw.file.into_iter().map(|file| ((file.name.clone(), file.package.clone(), file.sha256.clone()), file));
        Ok(List { head, known: KnownFiles::parse(text)?, entries: entries.collect() })
    }

    /// Add a file, unless the list knows it with this owner.
    pub(crate) fn add(&mut self, found: Found) -> Result<()> {
        let owner = Package {
            name: found.package.clone(),
            version: Some(found.version.clone()),
            source: PackageSource::Record,
        };
        if self.known.look_up(found.name.as_ref(), found.sha256).is_some_and(|listed| listed.is_owned_by(&owner)) {
            return Ok(());
        }
        let digest = found.sha256.to_string();
        let same = self.entries.values_mut().find(|entry| {
            entry.name == found.name
                && entry.sha256.contains(&digest)
                && entry.package.as_deref().is_some_and(|name| normal(name) == normal(&found.package))
        });
        if let Some(entry) = same {
            if !entry.versions.contains(&found.version) {
                entry.versions.push(found.version);
                entry.versions.sort_by_cached_key(|version| numbers(version));
            }
            return Ok(());
        }
        let entry = Entry {
            name: found.name.clone(),
            sha256: vec![digest.clone()],
            package: Some(found.package.clone()),
            versions: vec![found.version],
            debian: Vec::new(),
            rpm: Vec::new(),
            writers: Vec::new(),
        };
        self.entries.insert((found.name, Some(found.package), vec![digest]), entry);
        Ok(())
    }

    pub(crate) fn render(&self) -> Result<String> {
        let mut text = self.head.clone();
        for (at, entry) in self.entries.values().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            let quoted = |value: &str| toml::Value::String(value.to_owned()).to_string();
            writeln!(text, "[[file]]\nname = {}", quoted(&entry.name))?;
            if let Some(package) = &entry.package {
                writeln!(text, "package = {}", quoted(package))?;
            }
            let lists = [
                ("versions", &entry.versions),
                ("debian", &entry.debian),
                ("rpm", &entry.rpm),
                ("writers", &entry.writers),
            ];
            for (key, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                writeln!(text, "{key} = [{}]", values.join(", "))?;
            }
            let digests: Vec<String> = entry.sha256.iter().map(|digest| quoted(digest)).collect();
            writeln!(text, "sha256 = [{}]", digests.join(", "))?;
        }
        KnownFiles::parse(&text).context("the new list would not be one; two packages with the same file?")?;
        Ok(text)
    }
}

/// For sorting: the numbers of a version, or of the first of a range.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(" ..")
        .next()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// A project's name as the package index compares it.
fn normal(name: &str) -> String {
    let parts: Vec<&str> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_ascii_lowercase()
}
