//! The file for node_exporter's textfile collector: a thread of its own writes it anew again and again.
//!
//! The directory often belongs to the collector's user. So nothing that is there is opened: a new file is made (`O_EXCL`)
//! and renamed over the old one, both in the directory that was opened, and what comes of it can only be a file whose
//! name ends in `.prom` and that says nothing which others have chosen. It is not waited for the disk: after a loss of
//! power the next version comes soon.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode as CreateMode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::audit::{Action, Audit, Counters, Record, escape_path};
use crate::config::Metrics;
use crate::gate::Guard;
use crate::status::write_metrics;

/// Everybody may read it.
const MODE: u32 = 0o644;

/// The thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Dropped when it is over.
    not_yet: Sender<()>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Ends it. The file goes with it: numbers that nobody keeps up are taken for those of a guard that runs.
    pub(super) fn stop(self) -> JoinHandle<()> {
        drop(self.not_yet);
        self.thread
    }
}

/// Starts the thread `pth-metrics`, if the policy names a file.
pub(super) fn start(metrics: &Metrics, guard: &Arc<Guard>, counters: &Arc<Counters>, audit: &Audit) -> Option<Writer> {
    let path = metrics.textfile.clone()?;
    let interval = metrics.interval;
    let (not_yet, over) = bounded(0);
    let (guard, counters, own_audit) = (Arc::clone(guard), Arc::clone(counters), audit.clone());
    let started = Builder::new().name("pth-metrics".into()).spawn(move || {
        guard.adopt_this_thread(); // nobody would answer an open of its own if that waited for it
        run(&path, interval, &over, &guard, &counters, &own_audit);
    });
    let cannot = |error: &io::Error| tell(audit, &format!("no thread to write metrics.textfile: {error}"));
    started.inspect_err(cannot).ok().map(|thread| Writer { not_yet, thread })
}

fn run(path: &Path, interval: Duration, over: &Receiver<()>, guard: &Guard, counters: &Counters, audit: &Audit) {
    let mut is_told = false;
    loop {
        let mut text = String::new();
        let _ = write_metrics(&guard.tell(), &mut text); // writing to a String cannot fail
        match replace(path, text.as_bytes()) {
            Ok(()) => is_told = false,
            Err(error) => {
                counters.textfile_failed();
                if !std::mem::replace(&mut is_told, true) {
                    tell(audit, &format!("metrics.textfile {} cannot be written: {error}", escape_path(path)));
                }
            }
        }
        if over.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    let _ = remove(path); // the alert for files that nobody writes any more remains
}

fn tell(audit: &Audit, message: &str) {
    eprintln!("pthguard: {message}");
    audit.record(Record::new(Action::Failure).saying(message.to_owned()));
}

/// Puts a file with these bytes in the place of the one that is there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (dir, name) = open_parent(path)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    unlink(&dir, &temporary)?; // of a guard that was killed
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&dir, temporary.as_os_str(), flags, CreateMode::S_IRUSR | CreateMode::S_IWUSR)?);
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(MODE)))
        .and_then(|()| Ok(renameat(&dir, temporary.as_os_str(), &dir, name)?));
    if written.is_err() {
        let _ = unlink(&dir, &temporary); // the next one tries again
    }
    written
}

fn remove(path: &Path) -> io::Result<()> {
    let (dir, name) = open_parent(path)?;
    unlink(&dir, name)
}

fn open_parent(path: &Path) -> io::Result<(File, &OsStr)> {
    let (directory, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    Ok((File::options().read(true).custom_flags(flags).open(directory)?, name))
}

fn unlink(dir: &File, name: &OsStr) -> io::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn what_is_in_its_place_is_replaced_and_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("pthguard.prom"), dir.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &path).unwrap();
        symlink(&precious, dir.path().join(".pthguard.prom.new")).unwrap();
        replace(&path, b"one 1\n").unwrap();
        let first = fs::symlink_metadata(&path).unwrap();
        assert!(first.is_file() && first.mode() & 0o7777 == MODE, "{:o}", first.mode());
        replace(&path, b"two 2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two 2\n");
        assert_ne!(fs::symlink_metadata(&path).unwrap().ino(), first.ino(), "it is another file");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink(dir.path().join("real"), &link).unwrap();
        assert!(replace(&link.join("x.prom"), b"").is_err());
        assert!(replace(&dir.path().join("absent/x.prom"), b"").is_err());
        // Nor does a directory in its place make it hang or go.
        fs::create_dir(dir.path().join("x.prom")).unwrap();
        assert!(replace(&dir.path().join("x.prom"), b"").is_err());
        assert!(!dir.path().join(".x.prom.new").exists());
    }
}
