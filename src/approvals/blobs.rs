//! The copies of approved files, each under its digest.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::state::{self, StateError, prepare_directory};
use crate::model::Sha256;

/// Largest copy that is read back, in bytes; `protect.max_size` is far below.
const MAX_SIZE: u64 = 256 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Blobs {
    path: PathBuf,
}

impl Blobs {
    pub(super) fn open(state: &Path) -> Result<Self, StateError> {
        let path = state.join("blobs");
        prepare_directory(&path)?;
        Ok(Blobs { path })
    }

    /// Keeps a copy, unless a good one is there. One that was written is returned, to be waited for.
    pub(super) fn keep(&self, sha256: Sha256, bytes: &[u8]) -> io::Result<Option<File>> {
        match self.read(sha256) {
            Ok(_) => Ok(None),
            Err(_) => state::write_whole(&self.path_of(sha256), bytes).map(Some),
        }
    }

    pub(super) fn read(&self, sha256: Sha256) -> io::Result<Vec<u8>> {
        let file = state::open_file(&self.path_of(sha256), OpenOptions::new().read(true))?;
        let mut bytes = Vec::new();
        file.take(MAX_SIZE).read_to_end(&mut bytes)?;
        if Sha256::of(&bytes) != sha256 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the copy {sha256} is damaged")));
        }
        Ok(bytes)
    }

    /// Waits until the disk has the names of the copies.
    pub(super) fn sync(&self) -> io::Result<()> {
        state::sync_directory(&self.path)
    }

    /// Removes the copies that nobody needs any more.
    pub(super) fn keep_only(&self, needed: &HashSet<Sha256>) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)?.flatten() {
            let name = entry.file_name();
            let is_needed = |name: &str| name.parse().is_ok_and(|sha256| needed.contains(&sha256));
            if !name.to_str().is_some_and(is_needed) {
                let _ = fs::remove_file(entry.path()); // one that stays is only room that is lost
            }
        }
        Ok(())
    }

    fn path_of(&self, sha256: Sha256) -> PathBuf {
        self.path.join(sha256.to_string())
    }
}
