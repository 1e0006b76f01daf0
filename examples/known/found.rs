//! Startup files that a package owns.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pthguard::content::classify;
use pthguard::model::{ContentClass, Sha256};

/// A startup file of a package.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) sha256: Sha256,
    pub(crate) package: String,
    pub(crate) version: String,
}

/// Largest file that is read.
const MAX: u64 = 1 << 20;

/// Those of a wheel, or of the packages in a site directory, that belong on a list.
pub(crate) fn startup_files(path: &Path) -> Result<Vec<Found>> {
    if path.is_dir() { installed(path) } else { wheel(path) }
}

fn wheel(path: &Path) -> Result<Vec<Found>> {
    let mut archive = zip::ZipArchive::new(File::open(path)?)?;
    let mut files = BTreeMap::new();
    let mut metadata = None;
    for at in 0..archive.len() {
        let mut member = archive.by_index(at)?;
        let name = member.name()?.into_owned();
        // Installers put these two into the site directory, too.
        let parts: Vec<&str> = name.split('/').collect();
        let place = match parts[..] {
            [file] => Some(file),
            [data, "purelib" | "platlib", file] if data.ends_with(".data") => Some(file),
            _ => None,
        };
        let wanted = matches!(parts[..], [info, "METADATA" | "RECORD"] if info.ends_with(".dist-info"));
        if !wanted && !place.is_some_and(is_startup) {
            continue;
        }
        ensure!(member.size() <= MAX.max(16 << 20), "{name} is too large");
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes)?;
        match parts[..] {
            [_, "METADATA"] if wanted => metadata = Some(bytes),
            _ => drop(files.insert(name, bytes)),
        }
    }
    let (package, version) = identity(&metadata.context("no METADATA")?)?;
    let record = files.keys().find(|name| name.ends_with("/RECORD")).cloned().context("no RECORD")?;
    let record = files.remove(&record).unwrap_or_default();
    let mut found = Vec::new();
    for (name, bytes) in files {
        ensure!(lists(&record, &name, &bytes), "RECORD does not list {name} with this digest");
        let file = name.rsplit('/').next().unwrap_or(&name);
        found.extend(entry(file, &bytes, &package, &version));
    }
    Ok(found)
}

fn installed(site: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut owners: Vec<_> = fs::read_dir(site)?.collect::<Result<_, _>>()?;
    owners.retain(|entry| entry.path().extension().is_some_and(|extension| extension == "dist-info"));
    for info in owners.iter().map(fs::DirEntry::path) {
        let Ok(record) = fs::read(info.join("RECORD")) else { continue };
        let (package, version) = identity(&fs::read(info.join("METADATA"))?)?;
        for entry_of in fs::read_dir(site)? {
            let file = entry_of?;
            let Some(name) = file.file_name().to_str().filter(|name| is_startup(name)).map(str::to_owned) else {
                continue;
            };
            if !file.file_type()?.is_file() || file.metadata()?.len() > MAX {
                continue;
            }
            let bytes = fs::read(file.path())?;
            if lists(&record, &name, &bytes) {
                found.extend(entry(&name, &bytes, &package, &version));
            }
        }
    }
    Ok(found)
}

fn is_startup(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    name.ends_with(".pth") || name.ends_with(".start") || matches!(stem, "sitecustomize" | "usercustomize")
}

/// A file that needs the list.
fn entry(name: &str, bytes: &[u8], package: &str, version: &str) -> Option<Found> {
    matches!(classify(name.as_bytes(), bytes).class, ContentClass::Imports | ContentClass::Code).then(|| Found {
        name: name.to_owned(),
        sha256: Sha256::of(bytes),
        package: package.to_owned(),
        version: version.to_owned(),
    })
}

/// Name and version from METADATA.
fn identity(metadata: &[u8]) -> Result<(String, String)> {
    let text = String::from_utf8_lossy(metadata);
    let header = text.split("\n\n").next().unwrap_or_default();
    let value = |key: &str| header.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned());
    Ok((value("Name:").context("METADATA has no name")?, value("Version:").context("METADATA has no version")?))
}

/// Whether a RECORD lists a file with these bytes.
fn lists(record: &[u8], name: &str, bytes: &[u8]) -> bool {
    let line = format!("{name},sha256={},", base64(&Sha256::of(bytes).0));
    record.split(|byte| *byte == b'\n').any(|known| known.starts_with(line.as_bytes()))
}

/// As RECORD writes digests: the alphabet for addresses, no padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}
