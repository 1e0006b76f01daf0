//! Late writes: the file has approved bytes when it gets its name, and somebody goes on writing it through what was
//! opened before.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use crate::arena::{CUT, Fs, HOLE};
use crate::attacker::{Attacker, Kind};
use crate::calls;
use crate::sys::{self, Mapping};

/// Those of another file system than the one that can share blocks.
pub(crate) const KINDS: &[Kind] = &[
    Kind::promised("late write: write", |a| through(a, |a, file| (&*file).write_all(&a.payload))),
    Kind::promised("late write: pwrite", |a| through(a, |a, file| file.write_all_at(&a.payload, 0))),
    Kind::promised("late write: pwrite, descriptor closed at once", |a| {
        closing(a, |a, file| file.write_all_at(&a.payload, 0))
    }),
    Kind::promised("late write: shared mapping, descriptor closed", mapping),
    Kind::promised("late write: ftruncate", |a| closing(a, |_, file| file.set_len(CUT as u64))),
    Kind::promised("late write: fallocate", |a| closing(a, |_, file| calls::punch(file, HOLE))),
    Kind::promised("late write: copy_file_range", |a| {
        closing(a, |a, file| calls::copy_range(&payload(a)?, file, a.payload.len()))
    }),
    Kind::promised("late write: sendfile", |a| {
        closing(a, |a, file| calls::send_file(&payload(a)?, file, a.payload.len()))
    }),
    Kind::promised("late write: splice", |a| closing(a, |a, file| calls::splice_into(&a.payload, file))),
    Kind::promised("late write: FICLONE", |a| closing(a, |a, file| calls::clone_file(&payload(a)?, file)))
        .on(Fs::clones),
    Kind::promised("late write: io_uring", |a| closing(a, |a, file| calls::uring_write(file, &a.payload))),
    Kind::promised("late write: descriptor on its way through a socket", socket),
    Kind::shown("truncate(2) by path", truncate),
];

fn payload(a: &Attacker) -> io::Result<File> {
    File::open(a.scratch.join("payload"))
}

/// The descriptor stays open until the next attempt: the file never becomes final.
fn through(a: &mut Attacker, write: fn(&mut Attacker, &File) -> io::Result<()>) -> io::Result<()> {
    let (path, mut file) = a.fresh_approved()?;
    file.rewind()?;
    fs::rename(path, a.victim())?;
    a.pause();
    let written = write(a, &file);
    a.kept = vec![OwnedFd::from(file)];
    written
}

/// The descriptor is closed after the write, so that nothing keeps the file from being final but what it has become.
fn closing(a: &mut Attacker, write: fn(&mut Attacker, &File) -> io::Result<()>) -> io::Result<()> {
    let (path, file) = a.fresh_approved()?;
    fs::rename(path, a.victim())?;
    a.pause();
    write(a, &file)?;
    drop(file);
    a.pause();
    Ok(())
}

fn mapping(a: &mut Attacker) -> io::Result<()> {
    let (path, file) = a.fresh_approved()?;
    let mapping = Mapping::new(&OwnedFd::from(file), a.payload.len(), 0)?;
    fs::rename(path, a.victim())?;
    a.pause();
    mapping.fill(&a.payload);
    a.pause();
    Ok(())
}

/// While it is in the socket no process has the file open.
fn socket(a: &mut Attacker) -> io::Result<()> {
    let (path, file) = a.fresh_approved()?;
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    calls::send_descriptor(&one, &file)?;
    drop(file);
    fs::rename(path, a.victim())?;
    a.pause();
    File::from(calls::receive_descriptor(&other)?).write_all_at(&a.payload, 0)
}

/// Nothing is opened, so nothing can be denied.
fn truncate(a: &mut Attacker) -> io::Result<()> {
    fs::rename(a.fresh(&a.approved)?, a.victim())?;
    a.pause();
    sys::truncate(&a.victim(), CUT)
}
