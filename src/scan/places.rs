//! Which directories are looked at.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::ScanError;
use crate::config::Config;
use crate::discovery::site_directories;
use crate::watch::Sites;

/// The given directories; if none are given, those that the policy names and those that the interpreters use. Canonical,
/// in order, each once.
pub(super) fn find(given: &[PathBuf], config: &Config, remarks: &mut Vec<String>) -> Result<Vec<PathBuf>, ScanError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    if !given.is_empty() {
        for path in given {
            let fault = |source| ScanError::Directory { path: path.clone(), source };
            // Below /proc/PID/root lies a container. The link's text reads as if it led to the host's root.
            let is_inside = path.starts_with("/proc");
            let real = if is_inside { path.clone() } else { fs::canonicalize(path).map_err(fault)? };
            let directory = fs::metadata(&real).map_err(fault)?;
            if !directory.is_dir() {
                return Err(fault(io::ErrorKind::NotADirectory.into()));
            }
            if seen.insert((directory.dev(), directory.ino())) {
                found.push(real);
            }
        }
        return Ok(found);
    }
    let named = Sites::expand(&config.protect.sites)?;
    let used = site_directories(remarks).into_iter().filter_map(|path| fs::canonicalize(path).ok());
    for path in named.into_iter().chain(used) {
        let Ok(directory) = fs::metadata(&path) else { continue };
        if directory.is_dir() && seen.insert((directory.dev(), directory.ino())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
