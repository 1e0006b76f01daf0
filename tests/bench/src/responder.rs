//! The null responder: it reads, answers "allow" and closes. Nobody who answers in user space can be quicker.
//!
//! It has the groups and the marks with which pthguard stops anybody, and none of those that only tell: one group for the
//! opens of a directory's children and of startup files, one for listings of the directory (`src/fanotify/group.rs`).

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use serde::{Deserialize, Serialize};

/// By which this program is told to be the responder; a file with the [`Marks`] follows.
pub(crate) const WORD: &str = "respond";

/// What is marked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) files: Vec<PathBuf>,
}

/// Marks, says so on standard output, and answers until it is killed.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let manifest = arguments.first().context("the file with the marks is missing")?;
    let marks: Marks = serde_json::from_reader(std::io::BufReader::new(File::open(manifest)?))?;
    let (opens, listings) = (group()?, group()?);
    for directory in &marks.directories {
        mark(&opens, MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_EVENT_ON_CHILD, directory)?;
        mark(&listings, MaskFlags::FAN_ACCESS_PERM | MaskFlags::FAN_ONDIR, directory)?;
    }
    for file in &marks.files {
        mark(&opens, MaskFlags::FAN_OPEN_PERM, file)?;
    }
    drop(marks);
    println!("ready");
    std::io::stdout().flush()?;
    std::thread::scope(|scope| {
        scope.spawn(|| answer(&listings));
        answer(&opens)
    })
}

fn group() -> Result<Fanotify> {
    const REPORT_FD_ERROR: u32 = 0x2000;
    let flags = InitFlags::FAN_CLASS_CONTENT
        | InitFlags::FAN_CLOEXEC
        | InitFlags::FAN_UNLIMITED_QUEUE
        | InitFlags::FAN_UNLIMITED_MARKS
        | InitFlags::FAN_REPORT_TID;
    let event_flags =
        EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK;
    // As the guard asks for it, where the kernel has it (Linux 6.13).
    Fanotify::init(flags | InitFlags::from_bits_retain(REPORT_FD_ERROR), event_flags)
        .or_else(|_| Fanotify::init(flags, event_flags))
        .context("cannot make a fanotify group")
}

fn mark(group: &Fanotify, mask: MaskFlags, path: &Path) -> Result<()> {
    group.mark(MarkFlags::FAN_MARK_ADD, mask, AT_FDCWD, Some(path)).with_context(|| path.display().to_string())
}

/// Answers whatever comes.
fn answer(group: &Fanotify) -> Result<()> {
    let mut buffer = [0_u8; 4096];
    loop {
        let len = match nix::unistd::read(group, &mut buffer) {
            Err(nix::errno::Errno::EINTR) => continue,
            len => len.context("cannot read events")?,
        };
        let mut rest = &buffer[..len];
        while let Some((number, after)) = next_event(rest) {
            rest = after;
            if number < 0 {
                continue; // the kernel could not open it, and has answered
            }
            // struct fanotify_response: the descriptor, FAN_ALLOW
            let mut response = [0; 8];
            response[..4].copy_from_slice(&number.to_ne_bytes());
            response[4..].copy_from_slice(&libc::FAN_ALLOW.to_ne_bytes());
            nix::unistd::write(group, &response).context("cannot answer")?;
            // SAFETY: the kernel has just made this descriptor for this event, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// The descriptor of the first event, and what follows it. `struct fanotify_event_metadata`: length at 0, descriptor at 16.
fn next_event(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let number = i32::from_ne_bytes(bytes.get(16..20)?.try_into().ok()?);
    Some((number, bytes.get(len.max(24)..)?))
}
