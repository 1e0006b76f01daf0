//! What raises no permission event when it is opened: symbolic links to files elsewhere, and FIFOs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::attacker::{Attacker, Kind, gone};
use crate::sys;

pub(crate) const KINDS: &[Kind] = &[
    Kind::shown("symlink in, unlink", symlink_in_and_unlink),
    Kind::shown("symlink in, unlink, to ever new targets", symlink_to_new_targets),
    Kind::shown("symlink in, unlink, to another file system", symlink_to_elsewhere),
    Kind::shown("symlink exchanged with an approved file", symlink_exchange),
    Kind::shown("symlink exchanged, to ever new targets", symlink_exchange_anew),
    Kind::shown("symlink renamed over an approved file", symlink_over),
    Kind::shown("FIFO in, fed, unlink", fifo_in),
    Kind::shown("FIFO exchanged with an approved file", fifo_exchange),
];

fn symlink_in_and_unlink(a: &mut Attacker) -> io::Result<()> {
    symlink(a.scratch.join("payload"), a.evil())?;
    fs::remove_file(a.evil())
}

/// A target that nobody has seen before.
fn target(a: &mut Attacker) -> io::Result<PathBuf> {
    let target = a.unused();
    fs::write(&target, &a.payload)?;
    Ok(target)
}

fn symlink_to_new_targets(a: &mut Attacker) -> io::Result<()> {
    let target = target(a)?;
    let linked = symlink(&target, a.evil()).and_then(|()| fs::remove_file(a.evil()));
    fs::remove_file(target)?;
    linked
}

fn symlink_to_elsewhere(a: &mut Attacker) -> io::Result<()> {
    symlink(a.elsewhere.join("payload"), a.evil())?;
    fs::remove_file(a.evil())
}

/// The interpreter has listed a name that was a regular file; when it opens it, it is a symbolic link.
fn symlink_exchange(a: &mut Attacker) -> io::Result<()> {
    let payload = a.scratch.join("payload");
    exchange_with(a, |link| symlink(&payload, link))
}

fn symlink_exchange_anew(a: &mut Attacker) -> io::Result<()> {
    let target = target(a)?;
    gone(&a.scratch.join("link"))?;
    let exchanged = exchange_with(a, |link| symlink(&target, link));
    fs::remove_file(target)?;
    exchanged
}

/// There and back. What the guard has put in the link's place meanwhile is not the link any more.
fn exchange_with(a: &mut Attacker, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let link = a.scratch.join("link");
    if link.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        gone(&link)?;
    }
    if link.symlink_metadata().is_err() {
        make(&link)?;
    }
    sys::exchange(&link, &a.victim())?;
    a.pause();
    sys::exchange(&link, &a.victim())
}

/// The approved file comes back by rename: over the link, which the guard need not have removed yet.
fn symlink_over(a: &mut Attacker) -> io::Result<()> {
    let link = a.scratch.join("link");
    gone(&link)?;
    symlink(a.scratch.join("payload"), &link)?;
    fs::rename(link, a.victim())?;
    a.pause();
    fs::rename(a.fresh(&a.approved)?, a.victim())
}

/// A FIFO with the payload in it. Its author has both ends open, so that nobody waits for him; the reader comes to the
/// end when he closes them.
pub(crate) fn fifo(path: &Path, payload: &[u8]) -> io::Result<File> {
    gone(path)?;
    sys::mkfifo(path)?;
    let mut file = File::from(sys::open(path, libc::O_RDWR | libc::O_NONBLOCK, 0)?);
    file.write_all(payload)?;
    Ok(file)
}

fn fifo_in(a: &mut Attacker) -> io::Result<()> {
    let path = a.scratch.join("fifo");
    let author = fifo(&path, &a.payload)?;
    fs::rename(path, a.evil())?;
    a.pause();
    fs::remove_file(a.evil())?;
    drop(author);
    Ok(())
}

/// The author closes his end one attempt later: whoever has opened it has time to read.
fn fifo_exchange(a: &mut Attacker) -> io::Result<()> {
    let path = a.scratch.join("fifo");
    let author = fifo(&path, &a.payload)?;
    sys::exchange(&path, &a.victim())?;
    a.pause();
    let back = sys::exchange(&path, &a.victim());
    a.kept = vec![OwnedFd::from(author)];
    back
}
