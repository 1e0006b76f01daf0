//! The asking process, from /proc.
//!
//! A permission event's opener is blocked, so its process id cannot be reused while we look. The author of a
//! notification may be gone, and another process may have its id: there the notification's pidfd decides.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procfs::process::Process;

use super::environment::program_prefix;
use super::script::{Named, is_python, named_script};
use crate::model::{Ancestor, Exe, Script, Subject, Uids};

/// How many parents are looked up.
const MAX_ANCESTORS: usize = 12;
/// How much of a command line or environment is read.
const MAX_BLOCK: u64 = 128 * 1024;

/// The asking process could not be identified.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// It lives outside of the daemon's pid namespace (`--pid=host` was not given to the container).
    #[error("the process lives outside of the daemon's pid namespace")]
    OtherPidNamespace,
    /// It ended before it could be looked at.
    #[error("the process is gone")]
    Gone,
    /// /proc could not be read.
    #[error("cannot read {what} of process {pid}: {source}")]
    Proc {
        /// The file below `/proc/PID`.
        what: &'static str,
        /// The process.
        pid: u32,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Who a blocked opener is, by its thread id.
///
/// # Errors
/// [`Unresolved`], which has an action in the policy.
pub fn subject_of_thread(tid: u32) -> Result<Subject, Unresolved> {
    if tid == 0 {
        return Err(Unresolved::OtherPidNamespace);
    }
    resolve(tid)
}

/// Who the author of a notification is, by its process id and the pidfd that came with the notification.
///
/// # Errors
/// [`Unresolved`]; `Gone` is the usual one for a short-lived program like mv.
pub fn subject_of_author(pid: u32, pidfd: Option<BorrowedFd<'_>>) -> Result<Subject, Unresolved> {
    if pid == 0 {
        return Err(Unresolved::OtherPidNamespace);
    }
    let pidfd = pidfd.ok_or(Unresolved::Gone)?;
    let subject = resolve(pid);
    // A pidfd reads as ready once its process has ended: what was read belongs to it only if it has not, now.
    if is_alive(pidfd) { subject } else { Err(Unresolved::Gone) }
}

fn is_alive(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

fn resolve(tid: u32) -> Result<Subject, Unresolved> {
    let failed =
        |what| move |source: Box<dyn std::error::Error + Send + Sync>| Unresolved::Proc { what, pid: tid, source };
    let process = open(tid).map_err(|error| failed("the directory")(error.into()))?;
    let status = Status::read(&process).map_err(failed("status"))?;
    let start_time =
        open(status.tgid).and_then(|leader| leader.stat()).map_err(|error| failed("stat")(error.into()))?.starttime;
    let exe = read_exe(tid).map_err(|error| failed("exe")(error.into()))?;
    let argv = read_list(&process, "cmdline").map_err(failed("cmdline"))?;
    let mut subject = Subject {
        pid: status.tgid,
        start_time,
        exe,
        script: Script::None,
        environment: None,
        argv,
        uids: status.uids,
        parents: ancestors(status.ppid),
    };
    if is_python(subject.exe.path.file_name().unwrap_or_default()) {
        (subject.script, subject.environment) = read_script(&process, tid, &subject);
    } else {
        subject.environment = program_prefix(&subject.exe.path);
    }
    Ok(subject)
}

fn open(pid: u32) -> procfs::ProcResult<Process> {
    Process::new(pid.cast_signed())
}

fn read_exe(tid: u32) -> std::io::Result<Exe> {
    let link = format!("/proc/{tid}/exe");
    let path = fs::read_link(&link)?;
    let running = fs::metadata(&link)?;
    let at_path = fs::metadata(&path).is_ok_and(|ours| (ours.dev(), ours.ino()) == (running.dev(), running.ino()));
    Ok(Exe { path, dev: running.dev(), ino: running.ino(), at_path })
}

/// Script and environment of a Python process. What cannot be read is left out, so that no rule matches it.
fn read_script(process: &Process, tid: u32, subject: &Subject) -> (Script, Option<PathBuf>) {
    let interpreter_prefix = || program_prefix(&interpreter(process, tid, subject));
    match named_script(subject.argv.get(1..).unwrap_or_default()) {
        Named::Nothing => (Script::None, interpreter_prefix()),
        Named::Command => (Script::Command, interpreter_prefix()),
        Named::Stdin => (Script::Stdin, interpreter_prefix()),
        Named::Module(name) => {
            let script = name.into_string().map_or(Script::None, Script::Module);
            (script, interpreter_prefix())
        }
        // A script answers for the environment that it lies in: otherwise a copy called pip anywhere on the disk
        // would speak for the environment of the interpreter that it is run with.
        Named::Path(path) => match absolute(tid, &path).and_then(|path| fs::canonicalize(path).ok()) {
            Some(path) => {
                let prefix = program_prefix(&path);
                (Script::File(path), prefix)
            }
            None => (Script::None, None),
        },
    }
}

/// The interpreter as it was called, which tells a virtual environment's python from the base one that both run:
/// `argv[0]`, looked up as CPython does. Believed only if it is the very file that runs.
fn interpreter(process: &Process, tid: u32, subject: &Subject) -> PathBuf {
    let is_exe = |path: &Path| {
        fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == (subject.exe.dev, subject.exe.ino))
    };
    let called = match subject.argv.first() {
        Some(name) if name.as_bytes().contains(&b'/') => absolute(tid, name).filter(|path| is_exe(path)),
        Some(name) => {
            let search_path = read_list(process, "environ").ok().and_then(|list| {
                list.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=").map(<[u8]>::to_vec))
            });
            search_path.and_then(|list| {
                std::env::split_paths(OsStr::from_bytes(&list)).map(|dir| dir.join(name)).find(|path| is_exe(path))
            })
        }
        None => None,
    };
    // The directory's links are resolved, the program's own is not: a virtual environment's python is a link.
    called
        .and_then(|path| Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)))
        .unwrap_or_else(|| subject.exe.path.clone())
}

fn absolute(tid: u32, path: &OsStr) -> Option<PathBuf> {
    if Path::new(path).is_absolute() {
        return Some(path.into());
    }
    fs::read_link(format!("/proc/{tid}/cwd")).ok().map(|cwd| cwd.join(path))
}

/// A list of NUL-terminated strings: `cmdline`, `environ`. Any bytes.
fn read_list(process: &Process, name: &'static str) -> Result<Vec<OsString>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    process.open_relative(name)?.take(MAX_BLOCK).read_to_end(&mut bytes)?;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect())
}

fn ancestors(mut ppid: u32) -> Vec<Ancestor> {
    let mut chain = Vec::new();
    while ppid != 0 && chain.len() < MAX_ANCESTORS {
        let exe = fs::read_link(format!("/proc/{ppid}/exe")).ok();
        chain.push(Ancestor { pid: ppid, exe });
        ppid = open(ppid).ok().and_then(|process| Status::read(&process).ok()).map_or(0, |status| status.ppid);
    }
    chain
}

/// The lines of `/proc/PID/status` that identify a process. Read raw: the name line holds whatever bytes the process
/// chose.
struct Status {
    tgid: u32,
    ppid: u32,
    uids: Uids,
}

impl Status {
    fn read(process: &Process) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut bytes = Vec::new();
        process.open_relative("status")?.take(MAX_BLOCK).read_to_end(&mut bytes)?;
        Self::parse(&bytes).ok_or_else(|| "no Tgid, PPid and Uid lines".into())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut tgid, mut ppid, mut uids) = (None, None, None);
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((key, value)) = line.split_once(':') else { continue };
            let mut numbers = value.split_ascii_whitespace().map_while(|word| word.parse::<u32>().ok());
            match key {
                "Tgid" => tgid = numbers.next(),
                "PPid" => ppid = numbers.next(),
                "Uid" => {
                    uids = Some(Uids {
                        real: numbers.next()?,
                        effective: numbers.next()?,
                        saved: numbers.next()?,
                        fs: numbers.next()?,
                    });
                }
                _ => {}
            }
        }
        Some(Status { tgid: tgid?, ppid: ppid?, uids: uids? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves() {
        let subject = subject_of_thread(nix::unistd::gettid().as_raw().cast_unsigned()).unwrap();
        assert_eq!(subject.pid, std::process::id());
        assert_eq!(subject.exe.path, std::env::current_exe().unwrap());
        assert!(subject.exe.at_path);
        assert_eq!(subject.argv, std::env::args_os().collect::<Vec<_>>());
        assert_eq!(subject.uids.effective, nix::unistd::geteuid().as_raw());
        assert_eq!(subject.parents.first().unwrap().pid, nix::unistd::getppid().as_raw().cast_unsigned());
    }

    #[test]
    fn a_process_that_does_not_exist() {
        assert!(matches!(subject_of_thread(0), Err(Unresolved::OtherPidNamespace)));
        assert!(matches!(subject_of_thread(0x7fff_fff0), Err(Unresolved::Proc { .. })));
        assert!(matches!(subject_of_author(1, None), Err(Unresolved::Gone)));
    }

    #[test]
    fn a_name_line_of_any_bytes_hides_nothing() {
        let status = b"Name:\t\xff\\nUid: 9\nTgid:\t7\nPPid:\t1\nUid:\t1\t2\t3\t4\n";
        let status = Status::parse(status).unwrap();
        assert_eq!((status.tgid, status.ppid), (7, 1));
        assert_eq!(status.uids, Uids { real: 1, effective: 2, saved: 3, fs: 4 });
        assert!(Status::parse(b"Tgid:\t7\n").is_none());
    }
}
