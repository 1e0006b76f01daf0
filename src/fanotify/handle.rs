//! File handles: the identity of a file that a name, a mount namespace or a reused inode number cannot forge.
//!
//! A handle is inode plus generation (open_by_handle_at(2)); with the file system's id it is what fanotify reports,
//! so the file behind a permission event and the file that a notification told of can be compared.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `MAX_HANDLE_SZ`.
const MAX_HANDLE: usize = 128;

/// `AT_HANDLE_FID` (Linux 6.5): a handle for comparison only. overlayfs gives no other kind.
const AT_HANDLE_FID: libc::c_int = 0x200;

/// A file handle, by value.
#[derive(Clone, Copy)]
pub struct Handle {
    kind: i32,
    len: u8,
    bytes: [u8; MAX_HANDLE],
}

impl Handle {
    /// A handle of the given type and bytes, `None` if it is longer than the kernel allows.
    #[must_use]
    pub fn new(kind: i32, source: &[u8]) -> Option<Self> {
        (source.len() <= MAX_HANDLE).then(|| Handle::of_file(kind, source))
    }

    /// The same for bytes that were a handle's.
    pub(super) fn of_file(kind: i32, source: &[u8]) -> Self {
        let len = source.len().min(MAX_HANDLE);
        let mut bytes = [0; MAX_HANDLE];
        bytes[..len].copy_from_slice(&source[..len]);
        Handle { kind, len: len as u8, bytes }
    }

    /// The handle's type, which the file system chose.
    #[must_use]
    pub fn kind(&self) -> i32 {
        self.kind
    }

    /// The handle's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.bytes() == other.bytes()
    }
}

impl Eq for Handle {}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.bytes().hash(state);
    }
}

impl fmt::Display for Handle {
    /// `TYPE:HEX`, as it is kept on disk.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind)?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One file on one file system: the file system's id as statfs(2) tells it, and the handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// `f_fsid` of statfs(2), the eight bytes as one word.
    pub fsid: u64,
    /// The handle.
    pub handle: Handle,
}

/// `struct file_handle` with room for the largest handle.
#[repr(C)]
struct RawHandle {
    handle_bytes: libc::c_uint,
    handle_type: libc::c_int,
    f_handle: [u8; MAX_HANDLE],
}

impl FileId {
    /// The identity of an open file; an `O_PATH` descriptor will do.
    ///
    /// # Errors
    /// EOPNOTSUPP where the file system has no handles, EOVERFLOW where one is too long, or what fstatfs(2) says.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let fd = file.as_fd().as_raw_fd();
        let handle = match name_to_handle(fd, libc::AT_EMPTY_PATH | AT_HANDLE_FID) {
            // Linux before 6.5 does not know the flag.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => name_to_handle(fd, libc::AT_EMPTY_PATH)?,
            handle => handle?,
        };
        Ok(FileId { fsid: fsid(fd)?, handle })
    }

    /// Whether the kernel gives handles that are for comparison only (`AT_HANDLE_FID`), as [`FileId::of`] asks for first.
    ///
    /// # Errors
    /// What name_to_handle_at(2) says.
    pub fn has_comparison_handles(file: impl AsFd) -> io::Result<bool> {
        match name_to_handle(file.as_fd().as_raw_fd(), libc::AT_EMPTY_PATH | AT_HANDLE_FID) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            handle => handle.map(|_| true),
        }
    }

    /// Opens the file by its handle. `same_file_system` is any open file of its file system that is not `O_PATH`.
    ///
    /// # Errors
    /// ESTALE where the file is gone, EPERM without CAP_DAC_READ_SEARCH, and what open(2) says; EWOULDBLOCK with
    /// `O_NONBLOCK` where somebody holds a write lease.
    pub fn open(&self, same_file_system: impl AsFd, flags: libc::c_int) -> io::Result<OwnedFd> {
        let mut raw = RawHandle {
            handle_bytes: libc::c_uint::from(self.handle.len),
            handle_type: self.handle.kind,
            f_handle: self.handle.bytes,
        };
        // SAFETY: `raw` has the layout of `struct file_handle`, with `handle_bytes` bytes behind its header, and
        // outlives the call, which only reads it.
        let fd = unsafe {
            libc::open_by_handle_at(
                same_file_system.as_fd().as_raw_fd(),
                (&raw mut raw).cast::<libc::file_handle>(),
                flags | libc::O_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so `fd` is a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn name_to_handle(fd: libc::c_int, flags: libc::c_int) -> io::Result<Handle> {
    let mut raw = RawHandle { handle_bytes: MAX_HANDLE as libc::c_uint, handle_type: 0, f_handle: [0; MAX_HANDLE] };
    let mut mount_id = 0;
    // SAFETY: the path is a constant C string; `raw` has the layout of `struct file_handle` with room for the
    // `handle_bytes` bytes that it announces; both out-pointers outlive the call.
    let status = unsafe {
        libc::name_to_handle_at(fd, c"".as_ptr(), (&raw mut raw).cast::<libc::file_handle>(), &raw mut mount_id, flags)
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = raw.f_handle.get(..raw.handle_bytes as usize).unwrap_or_default();
    Handle::new(raw.handle_type, bytes).ok_or_else(|| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

fn fsid(fd: libc::c_int) -> io::Result<u64> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `stat` is large enough for the `struct statfs` that the call fills in.
    if unsafe { libc::fstatfs(fd, stat.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and filled the whole structure (it was zeroed before).
    let id = unsafe { stat.assume_init() }.f_fsid;
    // SAFETY: `fsid_t` is two 32-bit words without padding; libc keeps them private, the kernel's layout does not.
    Ok(unsafe { std::mem::transmute_copy::<libc::fsid_t, u64>(&id) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn two_names_of_one_file_have_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, other) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        std::fs::write(&a, "x").unwrap();
        std::fs::hard_link(&a, &b).unwrap();
        std::fs::write(&other, "x").unwrap();
        let id = |path| FileId::of(File::open(path).unwrap()).unwrap();
        assert_eq!(id(&a), id(&b));
        assert_ne!(id(&a), id(&other));
    }

    #[test]
    fn a_handle_too_long_for_the_kernel_is_refused() {
        assert!(Handle::new(1, &[0; MAX_HANDLE]).is_some());
        assert!(Handle::new(1, &[0; MAX_HANDLE + 1]).is_none());
    }
}
