//! A rename that takes nobody's place, for every C library that the program is linked with.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

/// renameat2(2) with `RENAME_NOREPLACE`.
///
/// # Errors
/// EEXIST where the new name is taken, and what else the system says.
pub fn rename_new(from: impl AsFd, old: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    {
        Ok(nix::fcntl::renameat2(from, old, to, new, nix::fcntl::RenameFlags::RENAME_NOREPLACE)?)
    }
    // nix has it for glibc alone.
    #[cfg(not(target_env = "gnu"))]
    {
        Ok(rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::NOREPLACE)?)
    }
}
