//! Who asks for a change.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::socket::{getsockopt, sockopt};

use crate::model::{Program, Script, Subject, Uids, Writers};

/// `/proc/PID/loginuid` of a process that nobody's login has started.
const NO_LOGIN: u32 = u32::MAX;
/// Bytes of a command line that are kept.
const MAX_ARGV: u64 = 16 * 1024;

/// The process at the other end of a connection, or this one.
///
/// The user id is what is decided by: the kernel took it when the peer connected, and translates it. A daemon lives in
/// the initial user namespace (it could not make its fanotify groups elsewhere), so root of a container with user ids
/// of its own shows as the id that it has outside. The rest is for the record, read from /proc while the peer waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: u32,
    /// Effective user id when it connected.
    pub uid: u32,
    /// Who had logged in, where the kernel keeps that.
    pub login_uid: Option<u32>,
    /// Its executable, as the kernel calls it.
    pub exe: Option<PathBuf>,
    /// Its command line.
    pub argv: Vec<OsString>,
}

impl Peer {
    /// Whoever has connected.
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = getsockopt(stream, sockopt::PeerCredentials)?;
        Ok(Peer::look_up(credentials.pid().cast_unsigned(), credentials.uid()))
    }

    /// The calling process.
    #[must_use]
    pub fn this_process() -> Self {
        Peer::look_up(std::process::id(), nix::unistd::geteuid().as_raw())
    }

    fn look_up(pid: u32, uid: u32) -> Self {
        let login_uid = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok();
        let login_uid = login_uid.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != NO_LOGIN);
        let mut argv = Vec::new();
        // Of root's processes alone: anybody's could lie in memory that a file server of his own never hands out.
        if uid == 0
            && let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline"))
        {
            let _ = file.take(MAX_ARGV).read_to_end(&mut argv); // what could be read is shown
        }
        let argv = argv.strip_suffix(b"\0").unwrap_or(&argv);
        let argv = argv.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_owned())).collect();
        Peer { pid, uid, login_uid, exe: fs::read_link(format!("/proc/{pid}/exe")).ok(), argv }
    }

    /// Whether it may ask for anything.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// As a record names it. Nothing is decided by it.
    #[must_use]
    pub fn subject(&self) -> Arc<Subject> {
        let exe = Program {
            path: self.exe.clone().unwrap_or_default(),
            dev: 0,
            ino: 0,
            at_path: false,
            seen_as: None,
            writers: Writers::Others,
        };
        let uids = Uids { real: self.uid, effective: self.uid, saved: self.uid, fs: self.uid };
        Arc::new(Subject {
            pid: self.pid,
            argv: self.argv.clone(),
            uids,
            ..Subject::supposed(exe, Script::None, self.uid)
        })
    }
}
