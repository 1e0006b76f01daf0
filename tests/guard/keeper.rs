//! A service manager's descriptor store (sd_notify(3), `FDSTORE=1`), and guards that are started with what is in it.

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::harness::{Config, SOON};
use crate::site::wait_for;
use crate::sys::{self, PidFd};

/// What a service manager keeps of a service, and the process that it runs at the time.
pub(crate) struct Keeper {
    socket: UnixDatagram,
    path: PathBuf,
    said: PathBuf,
    pub(crate) kept: Vec<(String, OwnedFd)>,
    /// What the service said, one message after the other.
    pub(crate) messages: Vec<String>,
    process: Option<(Child, PidFd)>,
}

impl Keeper {
    pub(crate) fn new(config: &Config) -> Keeper {
        let path = config.home_dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let said = config.home_dir().join("guard.stderr");
        Keeper { socket, path, said, kept: Vec::new(), messages: Vec::new(), process: None }
    }

    /// Start a guard with all that is kept. It is not ready yet.
    pub(crate) fn begin(&mut self, mut guard: Command) {
        let mut command = Command::new("/bin/sh");
        // The number of the process that is told is its own.
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(guard.get_program()).args(guard.get_args());
        guard.env_remove("NOTIFY_SOCKET");
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        command.env("NOTIFY_SOCKET", &self.path);
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        let numbers: Vec<i32> = self.kept.iter().map(|(_, descriptor)| descriptor.as_raw_fd()).collect();
        sys::pass_from_three(&mut command, numbers);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().append(true).create(true).open(&self.said).unwrap());
        let child = sys::die_with_parent(&mut command).spawn().unwrap();
        let handle = PidFd::open(child.id()).unwrap();
        self.process = Some((child, handle));
    }

    /// Start a guard and wait until it is ready.
    pub(crate) fn start(&mut self, guard: Command) {
        self.begin(guard);
        self.wait_for("READY=1");
    }

    /// Wait for a message with this word.
    pub(crate) fn wait_for(&mut self, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.listen(word) {
            assert!(Instant::now() < deadline, "no {word} within 30 s\n{}", self.said());
            if let Some(status) = self.ended() {
                assert!(self.listen(word), "the guard ended without {word}: {status}\n{}", self.said());
                return;
            }
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|(child, _)| child.try_wait().unwrap())
    }

    /// Do what the next messages ask for, until one has this word or there is none.
    pub(crate) fn listen(&mut self, word: &str) -> bool {
        let mut buffer = [0; 4096];
        loop {
            let mut descriptors = cmsg_space!([i32; 4]);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let Ok(message) = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut descriptors), flags) else {
                return false;
            };
            let mut received = Vec::new();
            for part in message.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(numbers) = part {
                    received.extend(numbers.into_iter().map(sys::own));
                }
            }
            let len = message.bytes;
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default().to_owned();
            if text.lines().any(|line| line == "FDSTORE=1") {
                self.kept.extend(received.into_iter().map(|descriptor| (name.clone(), descriptor)));
            } else if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
                self.kept.retain(|(kept, _)| *kept != name);
            }
            let is_it = text.contains(word);
            self.messages.push(text);
            if is_it {
                return true;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().0.id()
    }

    pub(crate) fn signal(&self, signal: i32) {
        self.process.as_ref().unwrap().1.signal(signal);
    }

    /// End the guard with this signal, as its manager sees it end.
    pub(crate) fn end(&mut self, signal: i32) -> ExitStatus {
        self.signal(signal);
        self.wait_for_end()
    }

    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let status = wait_for("the guard has ended", SOON, || {
            self.listen("no such word"); // who does not listen holds it up
            self.ended()
        });
        self.listen("no such word");
        self.process = None;
        status
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some((child, handle)) = &mut self.process {
            handle.signal(libc::SIGKILL);
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the guard said:\n{}", self.said());
        }
    }
}
