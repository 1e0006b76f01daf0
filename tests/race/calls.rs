//! The system calls that only the race needs. Safe wrappers: every `unsafe` of the race is here, with its reason.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;

use crate::sys;

fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A transfer between descriptors has moved all that it should.
fn whole(result: i64, length: usize) -> io::Result<()> {
    let moved = checked(result)?;
    if moved == length as i64 { Ok(()) } else { Err(io::Error::other(format!("{moved} of {length} bytes"))) }
}

/// fallocate(2): the file's first bytes become zero.
pub(crate) fn punch(file: &File, length: usize) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: integers only, on an open descriptor.
    checked(i64::from(unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, length as libc::off_t) })).map(drop)
}

/// copy_file_range(2), from the beginning of one file to the beginning of the other.
pub(crate) fn copy_range(from: &File, to: &File, length: usize) -> io::Result<()> {
    let (mut from_at, mut to_at) = (0_i64, 0_i64);
    // SAFETY: both offsets outlive the call.
    let moved =
        unsafe { libc::copy_file_range(from.as_raw_fd(), &raw mut from_at, to.as_raw_fd(), &raw mut to_at, length, 0) };
    whole(moved as i64, length)
}

/// sendfile(2), which writes where `to` stands.
pub(crate) fn send_file(from: &File, mut to: &File, length: usize) -> io::Result<()> {
    io::Seek::rewind(&mut to)?;
    let mut at: libc::off_t = 0;
    // SAFETY: the offset outlives the call.
    whole(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), &raw mut at, length) } as i64, length)
}

/// splice(2) through a pipe.
pub(crate) fn splice_into(bytes: &[u8], to: &File) -> io::Result<()> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(bytes)?;
    let (mut at, null) = (0_i64, ptr::null_mut());
    // SAFETY: the offset outlives the call; a pipe has none.
    let moved = unsafe { libc::splice(reader.as_raw_fd(), null, to.as_raw_fd(), &raw mut at, bytes.len(), 0) };
    whole(moved as i64, bytes.len())
}

/// FICLONE: the file's blocks become those of the other.
pub(crate) fn clone_file(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: the argument is a descriptor.
    checked(i64::from(unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) })).map(drop)
}

/// IORING_OP_WRITE.
pub(crate) fn uring_write(to: &File, bytes: &[u8]) -> io::Result<()> {
    whole(sys::uring_write(to, bytes)?? as i64, bytes.len())
}

/// Room for one control message with one descriptor, aligned as the kernel wants it.
type Control = [u64; 4];

fn message(data: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: msghdr is plain data; all zero is an empty message.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE computes from its argument.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(mem::size_of::<RawFd>() as u32) } as usize;
    message
}

/// SCM_RIGHTS.
pub(crate) fn send_descriptor(through: &UnixStream, file: &File) -> io::Result<()> {
    let (mut byte, mut control) = (0_u8, Control::default());
    let mut data = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let message = message(&mut data, &mut control);
    // SAFETY: the control buffer has room for the header and one descriptor, and is aligned; all buffers outlive the call.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(mem::size_of::<RawFd>() as u32) as usize;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(file.as_raw_fd());
        whole(libc::sendmsg(through.as_raw_fd(), &raw const message, 0) as i64, 1)
    }
}

/// The descriptor that [`send_descriptor`] sent.
pub(crate) fn receive_descriptor(through: &UnixStream) -> io::Result<OwnedFd> {
    let (mut byte, mut control) = (0_u8, Control::default());
    let mut data = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = message(&mut data, &mut control);
    // SAFETY: all buffers outlive the calls; the kernel has put one descriptor into the control buffer, which is ours now.
    unsafe {
        whole(libc::recvmsg(through.as_raw_fd(), &raw mut message, 0) as i64, 1)?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() {
            return Err(io::Error::other("no descriptor came"));
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    }
}

/// What happens to directories, without blocking.
#[derive(Debug)]
pub(crate) struct Inotify(File);

impl Inotify {
    pub(crate) fn new() -> io::Result<Inotify> {
        // SAFETY: integers only; the descriptor is new and nobody else's.
        unsafe {
            let fd = checked(i64::from(libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC)))?;
            Ok(Inotify(File::from_raw_fd(fd as RawFd)))
        }
    }

    /// Watch one more; its number is one more than the last one's.
    pub(crate) fn add(&self, directory: &Path, mask: u32) -> io::Result<i32> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        // SAFETY: the path is a NUL-terminated string that outlives the call.
        let number = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) };
        checked(i64::from(number)).map(|number| number as i32)
    }

    /// The numbers of the directories to which something has happened, in that order.
    pub(crate) fn news(&mut self) -> Vec<usize> {
        let mut buffer = [0; 4096];
        let read = self.0.read(&mut buffer).unwrap_or(0); // EAGAIN: nothing
        let (mut at, mut numbers) = (0, Vec::new());
        let word = |at: usize| u32::from_ne_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]]);
        while at + 16 <= read {
            numbers.push(word(at) as usize); // struct inotify_event: wd, mask, cookie, len
            at += 16 + word(at + 12) as usize;
        }
        numbers
    }
}

/// Give the calling thread a processor of its own choice.
pub(crate) fn pin(processor: usize) {
    // SAFETY: cpu_set_t is plain data, the size is its own; only the calling thread is changed. A processor that is not
    // there is an error that changes nothing.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set);
    }
}

/// Put the calling thread before all others: what an attacker who is root can do.
pub(crate) fn hurry() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call; only the calling thread is changed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
}

/// A file in memory that has no name but `/proc/self/fd/N`.
pub(crate) fn memory_file(bytes: &[u8]) -> io::Result<File> {
    // SAFETY: the name is a NUL-terminated string; the descriptor is new and nobody else's.
    let mut file = unsafe {
        let fd = checked(i64::from(libc::memfd_create(c"payload".as_ptr(), libc::MFD_CLOEXEC)))?;
        File::from_raw_fd(fd as RawFd)
    };
    file.write_all(bytes)?;
    Ok(file)
}
