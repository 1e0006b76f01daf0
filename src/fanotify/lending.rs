//! Copies of mounts, for a daemon whose sandbox refuses open_tree(2): the call is one of those that mount. Somebody else
//! makes the copy, who does nothing else (`pthguard lend-mount`, started by the service manager for each connection), and
//! hands its descriptor over.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, sockopt,
};
use nix::sys::time::TimeVal;

use super::mounts::{Lookup, copy_mount, open_within};

/// Where the service manager listens for those who want a copy. Root's alone.
const SOCKET: &str = "/run/pthguard-mounts";
/// A copy takes a few milliseconds and a process; who waits for it holds up nobody who opens a file.
const PATIENCE: TimeVal = TimeVal::new(2, 0);
/// `PATH_MAX`.
const LONGEST: usize = 4096;

/// Asks for a copy of what is mounted at an absolute path. It may be another mount than the caller thinks of: what is
/// opened in it has to be compared.
///
/// # Errors
/// Nobody listens, or what [`lend`] has met.
pub fn borrow_mount(point: &Path) -> io::Result<OwnedFd> {
    let socket = socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
    socket::setsockopt(&socket, sockopt::SendTimeout, &PATIENCE)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(SOCKET)?)?;
    socket::send(socket.as_raw_fd(), point.as_os_str().as_bytes(), MsgFlags::MSG_NOSIGNAL)?;

    let mut errno = [0; 4];
    let mut room = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut errno)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = socket::recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
    let is_whole = message.bytes == size_of::<i32>();
    let mut lent = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and told nobody else of them.
            lent = descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).next_back();
        }
    }
    match (lent, i32::from_ne_bytes(errno)) {
        (Some(lent), 0) => Ok(lent),
        (_, errno) if is_whole && errno > 0 => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Answers the one who is connected to `socket`: a copy of the mount whose path he gives, or the errno that it came to.
/// Only root is answered, and nobody is waited for: neither a file system's server nor a disk.
///
/// # Errors
/// He is not root, says nothing, or does not listen any more.
pub fn lend_mount(socket: &impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    if socket::getsockopt(&socket, sockopt::PeerCredentials)?.uid() != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
    let mut asked = [0; LONGEST];
    let length = socket::recv(socket.as_raw_fd(), &mut asked, MsgFlags::empty())?;
    let copy = copy_at(Path::new(std::ffi::OsStr::from_bytes(&asked[..length])));
    let errno = copy.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL)).to_ne_bytes();
    let descriptors: Vec<_> = copy.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let controls = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&errno)], controls, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn copy_at(point: &Path) -> io::Result<OwnedFd> {
    let below = point.strip_prefix("/").map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // What is mounted somewhere is in the kernel's cache, with the way there.
    copy_mount(open_within(File::open("/")?, &below.join("."), Lookup::Cache)?)
}

#[cfg(test)]
mod tests {
    use super::super::mounts::Known;
    use super::*;

    fn ask(path: &str) -> (io::Result<()>, [u8; 4], usize) {
        let kind = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, kind).unwrap();
        socket::send(ours.as_raw_fd(), path.as_bytes(), MsgFlags::empty()).unwrap();
        let lent = lend_mount(&theirs);
        let (mut errno, mut room) = ([0; 4], nix::cmsg_space!([i32; 1]));
        let mut parts = [IoSliceMut::new(&mut errno)];
        let message =
            socket::recvmsg::<()>(ours.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
        let mut found = 0;
        for control in message.cmsgs().unwrap() {
            let ControlMessageOwned::ScmRights(descriptors) = control else { continue };
            for fd in descriptors {
                // SAFETY: as in `borrow_mount`.
                let copy = unsafe { OwnedFd::from_raw_fd(fd) };
                let (copy, own) = (Known::of(copy).unwrap(), Known::of(File::open(path).unwrap()).unwrap());
                assert_eq!((copy.device, copy.inode), (own.device, own.inode));
                assert_ne!(copy.mount, own.mount, "another mount of the same");
                found += 1;
            }
        }
        (lent, errno, found)
    }

    #[test]
    fn what_is_mounted_is_lent_and_nothing_else() {
        for point in ["/", "/proc"] {
            let (lent, errno, found) = ask(point);
            assert!(lent.is_ok() && errno == [0; 4] && found == 1, "{point}: {lent:?} {errno:?} {found}");
        }
        for path in ["", "proc", "/nowhere", "/proc/self/root", &"/x".repeat(2000)] {
            let (lent, errno, found) = ask(path);
            assert!(lent.is_ok() && errno != [0; 4] && found == 0, "{path}: {lent:?} {errno:?} {found}");
        }
    }
}
