//! The modules that a startup file runs, held against the package that owns the file.
//!
//! A startup file that is byte for byte its package's runs whatever lies in the place of its package's module: a wheel can
//! write there without touching the startup file, and a failed installation leaves no RECORD that tells of it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::distinfo::{normalized, open};
use super::owner::{Ownership, recorded_owners};
use super::sites::{names, open_directory};
use crate::model::{Package, Sha256};

/// How much of a module is read.
const MAX_MODULE: u64 = 32 * 1024 * 1024;
/// How many words of a line are looked at: a known tool's line has a dozen.
const MAX_WORDS: usize = 64;

/// A module that is not what its package lists.
#[derive(Debug)]
pub struct ForeignModule {
    /// Its path below the site directory.
    pub path: OsString,
    /// What is known of its owner.
    pub ownership: Ownership,
}

/// The modules named in a line of a startup file of `package`'s that are not the package's own, or not as it lists them, in
/// the site directory open as `site`.
///
/// Every word of the line that is a module of the directory counts, so that it need not be understood. A word that is
/// another package's module only is none of them. For a file that RECORD gives an owner; reads the modules.
///
/// # Errors
/// A directory or module cannot be read.
pub fn foreign_modules(site: impl AsFd, package: &Package, line: &[u8]) -> io::Result<Vec<ForeignModule>> {
    let own = normalized(&package.name);
    let is_own = |ownership: &Ownership| match ownership {
        Ownership::Owned(owner) | Ownership::Unproven(owner) => normalized(&owner.name) == own,
        Ownership::Contested(_) | Ownership::HashDiffers(_) | Ownership::Nobody | Ownership::Unreadable(_) => false,
    };
    let mut words: Vec<&str> = line
        .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .filter_map(|word| str::from_utf8(word).ok().filter(|word| !word.is_empty()))
        .collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(MAX_WORDS);

    let mut foreign = Vec::new();
    let top = names(&open_directory(&site, OsStr::new("."))?)?;
    for word in words {
        let files = files_of(&site, &top, word)?;
        let asked: Vec<(&OsStr, Sha256)> = files.iter().map(|file| (file.path.as_os_str(), file.sha256)).collect();
        if asked.is_empty() {
            continue;
        }
        let found: Vec<_> = files.iter().zip(recorded_owners(&site, &asked)).collect();
        let has_own = found.iter().any(|(_, ownership)| is_own(ownership));
        for (file, ownership) in found {
            let bad = match &ownership {
                Ownership::Contested(_) | Ownership::HashDiffers(_) | Ownership::Unreadable(_) => true,
                Ownership::Owned(_) | Ownership::Unproven(_) => has_own && !is_own(&ownership),
                // An interpreter writes bytecode beside what it imports, with the time of the source in it. Bytecode that
                // no source is compared with was put there.
                Ownership::Nobody => has_own && (!file.is_bytecode || file.is_unchecked),
            };
            if bad {
                foreign.push(ForeignModule { path: file.path.clone(), ownership });
            }
        }
    }
    Ok(foreign)
}

struct ModuleFile {
    path: OsString,
    sha256: Sha256,
    is_bytecode: bool,
    /// Bytecode that is run whatever the source says (PEP 552).
    is_unchecked: bool,
}

/// The files that an interpreter could take for the module `word`.
fn files_of(site: &impl AsFd, top: &[OsString], word: &str) -> io::Result<Vec<ModuleFile>> {
    let mut paths = matching(top, word, "");
    paths.extend(entries(site, "__pycache__")?.iter().flat_map(|name| path_if(name, word, "__pycache__/")));
    if top.iter().any(|name| name == word) {
        paths.extend(matching(&entries(site, word)?, "__init__", &format!("{word}/")));
        let cache = format!("{word}/__pycache__");
        paths.extend(matching(&entries(site, &cache)?, "__init__", &format!("{cache}/")));
    }
    paths.into_iter().map(|path| read(site, path)).collect()
}

fn matching(names: &[OsString], module: &str, before: &str) -> Vec<OsString> {
    names.iter().filter_map(|name| path_if(name, module, before)).collect()
}

/// The path of an entry, if it is the module as source, bytecode or extension.
fn path_if(name: &OsStr, module: &str, before: &str) -> Option<OsString> {
    let rest = name.as_bytes().strip_prefix(module.as_bytes())?;
    let is_module = rest.starts_with(b".") && [&b".py"[..], b".pyc", b".so"].iter().any(|end| rest.ends_with(end));
    is_module.then(|| {
        let mut path = OsString::from(before);
        path.push(name);
        path
    })
}

fn entries(site: &impl AsFd, path: &str) -> io::Result<Vec<OsString>> {
    match open_directory(site, OsStr::new(path)) {
        Ok(dir) => names(&dir),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn read(site: &impl AsFd, path: OsString) -> io::Result<ModuleFile> {
    let mut bytes = Vec::new();
    open(site, &path)?.take(MAX_MODULE).read_to_end(&mut bytes)?;
    let is_bytecode = path.as_bytes().ends_with(b".pyc");
    // Magic number, then flags: 1 is "by hash", 2 is "compare it".
    let is_unchecked = is_bytecode && bytes.get(4..8).is_none_or(|flags| flags == [1, 0, 0, 0]);
    Ok(ModuleFile { sha256: Sha256::of(&bytes), path, is_bytecode, is_unchecked })
}
