//! The proof that a contestant stops nobody outside of the benchmark: the kernel's own list of its marks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

/// `FAN_OPEN_PERM`, `FAN_ACCESS_PERM`, `FAN_OPEN_EXEC_PERM`, `FAN_PRE_ACCESS`.
const STOPPING: u64 = 0x0001_0000 | 0x0002_0000 | 0x0004_0000 | 0x0010_0000;

/// Every mark of a process that stops anybody must be one on the file system at `root`, or on something in it
/// (proc_pid_fdinfo(5)).
pub(crate) fn stop_nobody_else(pid: Pid, root: &Path) -> Result<()> {
    let device = fs::metadata(root)?.dev();
    let own = format!("sdev:{:x}", u64::from(libc::major(device)) << 20 | u64::from(libc::minor(device)));
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue }; // closed meanwhile
        for line in info.lines().filter(|line| line.starts_with("fanotify ")) {
            let Some(mask) = line.split(' ').find_map(|field| field.strip_prefix("mask:")) else { continue };
            let mask = u64::from_str_radix(mask, 16).with_context(|| line.to_owned())?;
            if mask & STOPPING != 0 && !line.split(' ').any(|field| field == own) {
                bail!("a mark that stops others: {line}");
            }
        }
    }
    Ok(())
}
