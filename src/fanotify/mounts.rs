//! News of mounts, and what can be asked of a place without waiting for the file system that is mounted there.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

/// `FAN_REPORT_MNT` (Linux 6.14, `include/uapi/linux/fanotify.h`).
const REPORT_MNT: u32 = 0x4000;
/// `FAN_MARK_MNTNS` (Linux 6.14).
const MARK_MNTNS: u32 = 0x110;
/// `FAN_MNT_ATTACH | FAN_MNT_DETACH` (Linux 6.14).
const ATTACH_DETACH: u64 = 0x0100_0000 | 0x0200_0000;

const OPEN_TREE_CLONE: libc::c_uint = 1;
const RESOLVE_NO_XDEV: u64 = 0x01;
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_CACHED: u64 = 0x20;

/// Tells that something was mounted or unmounted in the caller's mount namespace.
#[derive(Debug)]
pub enum MountNews {
    /// By a fanotify group on the mount namespace (Linux 6.14).
    Group(OwnedFd),
    /// By `/proc/self/mountinfo`, which is readable with priority after a change (proc_pid_mountinfo(5)).
    Table(File),
}

impl MountNews {
    /// Opens the best source that the kernel has.
    ///
    /// # Errors
    /// /proc is not there, or no descriptor is left.
    pub fn open() -> io::Result<Self> {
        Self::group().map(MountNews::Group).or_else(|_| Self::table())
    }

    /// The source that older kernels have.
    ///
    /// # Errors
    /// As [`MountNews::open`].
    pub fn table() -> io::Result<Self> {
        Ok(MountNews::Table(File::open("/proc/self/mountinfo")?))
    }

    fn group() -> nix::Result<OwnedFd> {
        let flags = InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | InitFlags::from_bits_retain(REPORT_MNT);
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY)?;
        // The thread's namespace: the threads of a program may live in different ones.
        let namespace = File::open("/proc/thread-self/ns/mnt").map_err(|_| Errno::ENOENT)?;
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::from_bits_retain(MARK_MNTNS);
        group.mark(flags, MaskFlags::from_bits_retain(ATTACH_DETACH), &namespace, None::<&Path>)?;
        Ok(group.into())
    }

    /// Which poll(2) events mean that there is something to [`MountNews::take`].
    #[must_use]
    pub fn poll_events(&self) -> nix::poll::PollFlags {
        match self {
            MountNews::Group(_) => nix::poll::PollFlags::POLLIN,
            MountNews::Table(_) => nix::poll::PollFlags::POLLPRI,
        }
    }

    /// Takes what is there to be told, without waiting. What it was is found in the table of mounts.
    pub fn take(&self) {
        let MountNews::Group(group) = self else { return }; // poll(2) itself has taken it
        let mut buffer = [0_u8; 4096];
        while nix::unistd::read(group, &mut buffer).is_ok_and(|read| read > 0) {}
    }
}

impl AsFd for MountNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            MountNews::Group(group) => group.as_fd(),
            MountNews::Table(table) => table.as_fd(),
        }
    }
}

/// What is known of an object without asking its file system's server (`AT_STATX_DONT_SYNC`, statx(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// `S_IFMT` bits.
    pub kind: u32,
    /// Device, major and minor.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// The mount's number, as in the first field of mountinfo.
    pub mount: u64,
}

impl Known {
    /// Looks at an open object; an `O_PATH` descriptor will do. Neither FUSE nor NFS is asked.
    ///
    /// # Errors
    /// What statx(2) says; EOPNOTSUPP before Linux 5.8, which does not tell the mount.
    pub fn of(object: impl AsFd) -> io::Result<Self> {
        const WANTED: libc::c_uint = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_MNT_ID;
        let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
        let mut stat = MaybeUninit::<libc::statx>::zeroed();
        let fd = object.as_fd().as_raw_fd();
        // SAFETY: the path is a constant C string and `stat` has room for the `struct statx` that the call fills in.
        if unsafe { libc::statx(fd, c"".as_ptr(), flags, WANTED, stat.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded; all bit patterns of the structure's integers are valid, and it was zeroed before.
        let stat = unsafe { stat.assume_init() };
        if stat.stx_mask & libc::STATX_MNT_ID == 0 {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        Ok(Known {
            kind: u32::from(stat.stx_mode) & libc::S_IFMT,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mount: stat.stx_mnt_id,
        })
    }
}

/// How a directory is found below another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// On the same mount, reading from the disk what is not in the kernel's cache.
    Disk,
    /// On whatever mount, from the kernel's cache alone, so that neither a disk nor a FUSE server is waited for
    /// (`RESOLVE_CACHED`, Linux 5.12).
    Cache,
}

/// Opens a directory by a relative path that goes through no symbolic link (openat2(2)). With [`Lookup::Cache`] it is opened `O_PATH`, else for reading.
///
/// # Errors
/// EXDEV or ELOOP where the path does; EAGAIN where a part is not in the cache; and what open(2) says.
pub fn open_within(dir: impl AsFd, path: &Path, lookup: Lookup) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let (flags, resolve) = match lookup {
        Lookup::Disk => (libc::O_RDONLY, RESOLVE_NO_XDEV),
        Lookup::Cache => (libc::O_PATH, RESOLVE_CACHED),
    };
    // SAFETY: `open_how` consists of integers only, for which zero is valid.
    let mut how = unsafe { MaybeUninit::<libc::open_how>::zeroed().assume_init() };
    how.flags = u64::from((flags | libc::O_DIRECTORY | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = resolve | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: path and `how` outlive the call; the size is that of `how`.
    owned(unsafe { libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), &raw const how, size_of::<libc::open_how>()) })
}

/// Opens, `O_PATH`, a copy of the mount of a directory that is attached nowhere and begins with that directory. What is
/// open in it does not keep the file system from being unmounted, and what is mounted below is not in it.
///
/// # Errors
/// EINVAL where the directory lies in another mount namespace.
pub fn copy_mount(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::AT_EMPTY_PATH.cast_unsigned() | libc::O_CLOEXEC.cast_unsigned();
    // SAFETY: the path is a constant C string; the other arguments are integers.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), c"".as_ptr(), flags) })
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the system call succeeded and told nobody else of this new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_known_is_what_stat_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(dir.path()).unwrap();
        let (known, stat) = (Known::of(&file).unwrap(), file.metadata().unwrap());
        assert_eq!((known.inode, known.kind), (stat.ino(), libc::S_IFDIR));
        let root = Known::of(File::open("/proc").unwrap()).unwrap();
        assert_ne!(root.mount, known.mount);
    }

    #[test]
    fn a_path_stays_on_its_mount_and_off_symbolic_links() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let at = File::open(dir.path()).unwrap();
        let open = |at: &File, path: &str, lookup| {
            let errno = |error: io::Error| error.raw_os_error();
            open_within(at, Path::new(path), lookup).map(|opened| Known::of(opened).unwrap().inode).map_err(errno)
        };
        let inode = std::fs::metadata(dir.path().join("a/b")).unwrap().ino();
        assert_eq!(open(&at, "a/b", Lookup::Disk), Ok(inode));
        assert_eq!(open(&at, "a/b", Lookup::Cache), Ok(inode));
        assert_eq!(open(&at, "link/b", Lookup::Disk), Err(Some(libc::ELOOP)));
        let root = File::open("/").unwrap();
        assert_eq!(open(&root, "proc/self", Lookup::Disk), Err(Some(libc::EXDEV)));
    }
}
