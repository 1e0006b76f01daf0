//! The name under which a blocked opener asks for a file: the path that it has handed to the system call.
//!
//! What an event's descriptor shows is where the file lies. Through a symbolic link it was asked for by another name. An
//! opener can change the path while it waits, but why should it: who is asked about here is an interpreter that somebody
//! else wants to deceive, and whoever reads a file by another name is no interpreter that obeys it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use super::call::Call;

/// `PATH_MAX`.
const LONGEST: usize = 4096;
/// Memory is there or not by pages, and a path may end in the last one that is.
const PAGE: u64 = 4096;

/// The name that an opener asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The last component of its path.
    For(OsString),
    /// It asked for no name: the kernel opens a program's interpreter, or it used a handle.
    ForNone,
    /// It cannot be told.
    Unknown,
}

/// What thread `tid`, which waits for a file to be opened, asked for. It is given until `until` to go to sleep.
#[must_use]
pub fn asked(tid: u32, until: Instant) -> Asked {
    let Some(call) = Call::of(tid, until) else { return Asked::Unknown };
    if matches!(call.number, libc::SYS_execve | libc::SYS_execveat | libc::SYS_open_by_handle_at) {
        return Asked::ForNone;
    }
    path_in(tid, &call).and_then(|path| path.file_name().map(OsStr::to_owned)).map_or(Asked::Unknown, Asked::For)
}

/// The path that it has handed over; relative to what, it does not say.
#[must_use]
pub fn asked_path(tid: u32, until: Instant) -> Option<PathBuf> {
    path_in(tid, &Call::of(tid, until)?)
}

fn path_in(tid: u32, call: &Call) -> Option<PathBuf> {
    let pointer = match call.number {
        libc::SYS_openat | libc::SYS_openat2 => call.arg(1),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open | libc::SYS_creat => call.arg(0),
        _ => None,
    };
    string_at(tid, pointer?).map(|path| PathBuf::from(OsString::from_vec(path)))
}

/// The string that lies there in a thread's memory.
fn string_at(tid: u32, mut at: u64) -> Option<Vec<u8>> {
    let memory = File::open(format!("/proc/{tid}/mem")).ok()?;
    let mut string = Vec::new();
    while string.len() < LONGEST {
        let mut piece = vec![0; usize::try_from(PAGE - at % PAGE).ok()?];
        let read = memory.read_at(&mut piece, at).ok().filter(|read| *read > 0)?;
        if let Some(end) = piece[..read].iter().position(|byte| *byte == 0) {
            string.extend_from_slice(&piece[..end]);
            return Some(string);
        }
        string.extend_from_slice(&piece[..read]);
        at += read as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_in_our_own_memory() {
        let pid = std::process::id();
        let text = b"/site-packages/x.pth\0 and more";
        assert_eq!(string_at(pid, text.as_ptr() as u64).as_deref(), Some(&text[..20]));
        let endless = vec![b'x'; 3 * LONGEST];
        assert_eq!(string_at(pid, endless.as_ptr() as u64), None);
        assert_eq!(string_at(pid, 8), None, "nothing is mapped there");
    }
}
