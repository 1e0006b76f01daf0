//! Where everything happens: a process with a mount namespace and a file system of its own, and a time limit.
//!
//! The outer process waits, kills when the time is up or somebody presses Ctrl-C, and removes what is left. The inner one
//! mounts; with it and its children the mount namespace ends, and with that the mount and its loop device.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount as mount_at};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::process::die_with_parent;

/// In the environment of the inner process: its directory.
const INSIDE: &str = "PTHGUARD_BENCH_INSIDE";
/// Sparse: it takes what is written.
const SIZE: u64 = 3 << 30;

/// The directory of this process, if it is the inner one.
pub(crate) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs this same command line in an inner process.
pub(crate) fn run_inside(limit: Duration) -> Result<()> {
    let directory = Directory::make()?;
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(INSIDE, &directory.0);
    let mut inner = die_with_parent(&mut command).spawn().context("cannot start the inner process")?;
    // After the fork, so that the child is not deaf.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = inner.try_wait()? {
            return if status.success() { Ok(()) } else { bail!("it has not run through: {status}") };
        }
        let is_late = Instant::now() > deadline;
        if is_late || signals.read_signal()?.is_some() {
            inner.kill()?;
            inner.wait()?;
            bail!("{}", if is_late { "it took too long, and was killed" } else { "interrupted" });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory that is removed with what is in it.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Directory> {
        let path = std::env::temp_dir().join(format!("pthguard-bench-{}", std::process::id()));
        DirBuilder::new().mode(0o755).create(&path).with_context(|| path.display().to_string())?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // No recursion: whatever went wrong, nothing of a file system that is still mounted is removed.
        let _ = std::fs::remove_file(self.0.join("image"));
        let _ = std::fs::remove_dir(self.0.join("disk"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Gives this process a mount namespace of its own, and in it a new ext4 file system in an image; returns where it is.
pub(crate) fn mount(directory: &Path) -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let everything = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount_at(None::<&str>, "/", None::<&str>, everything, None::<&str>).context("cannot make the mounts private")?;
    let (image, disk) = (directory.join("image"), directory.join("disk"));
    File::create(&image)?.set_len(SIZE)?;
    std::fs::create_dir(&disk)?;
    // Nothing is left to be done later, in the background.
    let eager = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    must(Command::new("mkfs.ext4").args(eager).arg(&image))?;
    must(Command::new("mount").args(["-o", "loop,noatime"]).arg(&image).arg(&disk))?;
    std::fs::remove_file(&image)?; // the loop device keeps it
    Ok(disk)
}

/// Runs a program that has to succeed.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("blocked: {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
