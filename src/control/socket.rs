//! The socket: where it lies, and how lines come and go within limits of size and time.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::TimeVal;

use crate::fanotify::group::fd_link;

const NAME: &str = "control";
/// Connections that wait to be accepted; commands beyond wait in connect(2).
const BACKLOG: i32 = 128;

/// A state directory, open. Names in it are reached through the descriptor: it cannot be exchanged meanwhile, and a
/// socket address has room for no more than 108 bytes of path.
#[derive(Debug)]
pub(super) struct StateDir(File);

impl StateDir {
    /// Opens it, if nobody but root can put a socket of his own there.
    ///
    /// # Errors
    /// What open(2) says, or PermissionDenied for one that others can change.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let dir = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        let metadata = dir.metadata()?;
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
            let why = format!("it belongs to user {owner} with mode {mode:o}, others could change it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(StateDir(dir))
    }

    fn socket_path(&self) -> PathBuf {
        fd_link(self.0.as_fd()).join(NAME)
    }

    /// Makes the socket, 0600, in place of one that a daemon left behind. Only for the holder of the lock.
    ///
    /// # Errors
    /// Something else has the name, or what socket(2), bind(2) and listen(2) say.
    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        let path = self.socket_path();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other(format!("{NAME} is no socket; remove it"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = stream_socket()?;
        // A bound socket takes its mode from the one that it has before (unix(7)): it is never open to others.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        socket::bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        socket::listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(UnixListener::from(socket))
    }

    /// Removes the socket.
    pub(super) fn unlink(&self) {
        let _ = fs::remove_file(self.socket_path()); // a stale one is replaced at the next start
    }

    /// Connects to the daemon, within `limit`.
    ///
    /// # Errors
    /// ENOENT, ECONNREFUSED: nobody listens. EAGAIN: too many wait.
    pub(super) fn connect(&self, limit: Duration) -> io::Result<UnixStream> {
        let socket = stream_socket()?;
        // The time that connect(2) may wait for room in the queue.
        let limit = TimeVal::new(limit.as_secs().cast_signed(), limit.subsec_micros().into());
        socket::setsockopt(&socket, sockopt::SendTimeout, &limit)?;
        socket::connect(socket.as_raw_fd(), &UnixAddr::new(&self.socket_path())?)?;
        Ok(UnixStream::from(socket))
    }
}

fn stream_socket() -> io::Result<OwnedFd> {
    Ok(socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Reads one line, at most `limit` bytes long, until `deadline`. A peer that sends a byte now and then gains nothing.
///
/// # Errors
/// UnexpectedEof: it ended before its line feed; InvalidData: it is too long; TimedOut.
pub(super) fn read_line(stream: &UnixStream, limit: usize, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    let mut stream = stream;
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        };
        let end = buffer[..read].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&buffer[..end.unwrap_or(read)]);
        if line.len() > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {limit} bytes")));
        }
        if end.is_some() {
            return Ok(line); // what follows is nobody's: a connection is for one request
        }
    }
}

/// Writes one line, line feed included, until `deadline`.
///
/// # Errors
/// TimedOut, or the peer has gone.
pub(super) fn write_line(stream: &UnixStream, line: &[u8], deadline: Instant) -> io::Result<()> {
    let mut stream = stream;
    let mut rest = line;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

fn timed_out() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}
