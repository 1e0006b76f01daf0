//! What can be asked of an open file without waiting for anybody: does somebody write it, what does the page cache
//! hold of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;

use super::wire::METADATA_LEN;

/// Whether a file is open for writing somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProbe {
    /// No descriptor and no shared mapping has the file open for writing.
    NoWriters,
    /// Some descriptor or mapping has; an opener that waits for an answer counts already.
    Writers,
    /// The file system cannot tell (no leases).
    Unknown,
}

/// Asks for a read lease and gives it back: the kernel grants one exactly when nobody has the inode open for writing
/// (`F_SETLEASE`, fcntl(2)).
pub fn probe_writers(file: impl AsFd) -> WriteProbe {
    let probe = hold_writers(file.as_fd());
    if probe == WriteProbe::NoWriters {
        release_writers(file);
    }
    probe
}

/// Asks for a read lease and, if there are no writers, keeps it until [`release_writers`] or the end of the descriptor:
/// until then whoever opens the file for writing, or truncates it, waits.
///
/// Needs CAP_LEASE for files of other owners. A writer who comes sends the holder SIGIO; the daemon blocks that signal.
pub fn hold_writers(file: impl AsFd) -> WriteProbe {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: fcntl with an open descriptor and an integer argument touches no memory of ours.
    if unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) } == 0 {
        return WriteProbe::NoWriters;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => WriteProbe::Writers,
        _ => WriteProbe::Unknown,
    }
}

/// Gives a lease back, if there is one.
pub fn release_writers(file: impl AsFd) {
    // SAFETY: fcntl with an open descriptor and an integer argument touches no memory of ours.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}

/// Reads from the start of the file what the page cache holds, without waiting for a disk or a FUSE server
/// (`RWF_NOWAIT`, preadv2(2)). `None` if it would have to wait or the file system cannot promise not to.
pub fn read_cached(file: impl AsFd, buffer: &mut [u8]) -> Option<usize> {
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `part` describes `buffer`, which is writable, as long as it says, and outlives the call.
    let read = unsafe { libc::preadv2(file.as_fd().as_raw_fd(), &raw const part, 1, 0, libc::RWF_NOWAIT) };
    usize::try_from(read).ok()
}

/// Our own `/proc/self/fd`, open: from there a descriptor's path is read in two thirds of the time that it takes from `/`
/// (1.5 and 2.5 us, Linux 6.18).
static DESCRIPTORS: OnceLock<io::Result<File>> = OnceLock::new();

/// Reads the path of an open file into `path` (readlink(2) in `/proc/self/fd`), without asking anybody for memory. Returns
/// its length; one that is as long as `path` may have been cut.
///
/// # Errors
/// ENAMETOOLONG where it is longer than a page; /proc is not there.
pub fn read_path(file: impl AsFd, path: &mut [u8]) -> io::Result<usize> {
    let descriptors = DESCRIPTORS.get_or_init(|| File::open("/proc/self/fd"));
    let descriptors = descriptors.as_ref().map_err(|error| io::Error::from(error.kind()))?;
    let mut number = [0; 12];
    write!(&mut number[..11], "{}", file.as_fd().as_raw_fd())?; // ten digits at most: it ends with a zero
    // SAFETY: `number` is a C string; `path` is writable, as long as it says; both outlive the call.
    let len = unsafe {
        libc::readlinkat(descriptors.as_raw_fd(), number.as_ptr().cast(), path.as_mut_ptr().cast(), path.len())
    };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// How many events lie in a group's queue now.
///
/// `FIONREAD` says it in bytes, but counts only the metadata of each event and not its information records
/// (`fanotify_ioctl`, Linux 6.18): taken for the bytes that read(2) will return, it leaves most of a full queue unread.
///
/// # Errors
/// What ioctl(2) says.
pub fn queued_events(group: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the pointer it is given.
    if unsafe { libc::ioctl(group.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0).div_ceil(METADATA_LEN))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_writer_is_seen_for_as_long_as_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pth");
        std::fs::write(&path, "x").unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(probe_writers(&reader), WriteProbe::NoWriters);
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert_eq!(probe_writers(&reader), WriteProbe::Writers);
        drop(writer);
        assert_eq!(probe_writers(&reader), WriteProbe::NoWriters);
    }

    #[test]
    fn truncation_waits_for_the_lease() {
        // A writer who comes has the holder of the lease sent SIGIO, which ends a process that does nothing about it.
        // SAFETY: a disposition without a handler.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pth");
        std::fs::write(&path, "import x").unwrap();
        let held = File::open(&path).unwrap();
        assert_eq!(hold_writers(&held), WriteProbe::NoWriters);
        let truncating = std::thread::spawn(move || nix::unistd::truncate(&path, 2));
        // It cannot be seen from here whether it has come to wait; the length can.
        for _ in 0..50 {
            assert_eq!(held.metadata().unwrap().len(), 8);
            std::thread::yield_now();
        }
        release_writers(&held);
        assert_eq!(truncating.join().unwrap(), Ok(()));
        assert_eq!(held.metadata().unwrap().len(), 2);
    }

    #[test]
    fn the_path_of_an_open_file() {
        let (dir, mut path) = (tempfile::tempdir().unwrap(), [0; 4096]);
        let place = dir.path().canonicalize().unwrap().join("x.pth");
        let file = File::create(&place).unwrap();
        let len = read_path(&file, &mut path).unwrap();
        assert_eq!(&path[..len], place.as_os_str().as_encoded_bytes());
        assert_eq!(read_path(&file, &mut path[..4]).unwrap(), 4, "cut");
    }

    #[test]
    fn a_directory_has_no_leases() {
        assert_eq!(probe_writers(File::open("/").unwrap()), WriteProbe::Unknown);
    }

    #[test]
    fn what_was_just_written_is_in_the_page_cache() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"/srv/app\n").unwrap();
        let mut buffer = [0; 64];
        if let Some(read) = read_cached(&file, &mut buffer) {
            assert_eq!(&buffer[..read], b"/srv/app\n"); // a file system without RWF_NOWAIT answers None
        }
    }
}
