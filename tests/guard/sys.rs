//! The system calls that an attacker has and the standard library has not. Safe wrappers only: every `unsafe` of the
//! tests is here, with its reason.

use std::ffi::{CString, c_int};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::time::Duration;

fn cpath(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in a test's path")
}

fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: i64) -> io::Result<OwnedFd> {
    let fd = checked(result)? as RawFd;
    // SAFETY: the kernel has just returned this descriptor to us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the tests run as root; everything here needs it.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// open(2), with the flags exactly as given.
pub(crate) fn open(path: &Path, flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    let path = cpath(path);
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    owned(i64::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) }))
}

/// creat(2), a system call of its own.
pub(crate) fn creat(path: &Path) -> io::Result<OwnedFd> {
    let path = cpath(path);
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_creat, path.as_ptr(), 0o644) })
}

/// openat2(2): its flags lie behind a pointer, so /proc/TID/syscall does not show them.
pub(crate) fn openat2(path: &Path, flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    let path = cpath(path);
    let how: [u64; 3] = [(flags | libc::O_CLOEXEC) as u64, u64::from(mode), 0];
    // SAFETY: `path` and `how` (struct open_how: flags, mode, resolve) outlive the call, the size is `how`'s own.
    owned(unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how.as_ptr(), mem::size_of_val(&how))
    })
}

/// open_by_handle_at(2): no path is walked, so the file's directory is not consulted.
pub(crate) fn open_by_handle(path: &Path, flags: c_int) -> io::Result<OwnedFd> {
    const ROOM: u32 = 128;
    let mount = open(path.parent().expect("a file in a directory"), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let path = cpath(path);
    // struct file_handle: handle_bytes, handle_type, then the bytes; u32s keep it aligned.
    let mut handle = [0_u32; 2 + ROOM as usize / 4];
    handle[0] = ROOM;
    let mut mount_id: c_int = 0;
    // SAFETY: `handle` has room for ROOM bytes as its first word says; all pointers outlive the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount_id,
            0,
        )
    })?;
    // SAFETY: `handle` was filled in by the kernel above.
    owned(unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), handle.as_ptr(), flags | libc::O_CLOEXEC)
    })
}

/// Give the file behind `fd` (an O_TMPFILE, say) the name `to`.
pub(crate) fn link_fd(fd: &OwnedFd, to: &Path) -> io::Result<()> {
    let from = cpath(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())));
    let to = cpath(to);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let result =
        unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    checked(i64::from(result)).map(drop)
}

/// Exchange two names atomically.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    let (a, b) = (cpath(a), cpath(b));
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let result =
        unsafe { libc::renameat2(libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE) };
    checked(i64::from(result)).map(drop)
}

pub(crate) fn mkfifo(path: &Path) -> io::Result<()> {
    let path = cpath(path);
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    checked(i64::from(unsafe { libc::mkfifo(path.as_ptr(), 0o644) })).map(drop)
}

/// mknod(2): `kind` is `S_IFBLK` or `S_IFCHR`, `device` what stat calls `st_rdev`.
pub(crate) fn mknod(path: &Path, kind: u32, device: u64) -> io::Result<()> {
    let path = cpath(path);
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    checked(i64::from(unsafe { libc::mknod(path.as_ptr(), kind | 0o644, device) })).map(drop)
}

/// truncate(2) by path: nothing is opened.
pub(crate) fn truncate(path: &Path, length: usize) -> io::Result<()> {
    let path = cpath(path);
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    checked(i64::from(unsafe { libc::truncate(path.as_ptr(), length as libc::off_t) })).map(drop)
}

/// One IORING_OP_OPENAT. The inner error is the open's; the outer one says that the kernel has no io_uring for us.
pub(crate) fn uring_open(path: &Path, flags: c_int, mode: u32) -> io::Result<io::Result<OwnedFd>> {
    const OP_OPENAT: u8 = 18;
    let path = cpath(path);
    // SAFETY: `path` lives until the completion has been read.
    let result = unsafe { uring(OP_OPENAT, libc::AT_FDCWD, path.as_ptr() as u64, mode, flags | libc::O_CLOEXEC) }?;
    Ok(if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { owned(i64::from(result)) })
}

/// One IORING_OP_WRITE at the beginning of a file: a kernel thread may do it. Errors as in [`uring_open`].
#[allow(dead_code, reason = "only the race writes so")]
pub(crate) fn uring_write(file: &impl AsRawFd, bytes: &[u8]) -> io::Result<io::Result<usize>> {
    const OP_WRITE: u8 = 23;
    // SAFETY: `bytes` lives until the completion has been read.
    let result = unsafe { uring(OP_WRITE, file.as_raw_fd(), bytes.as_ptr() as u64, bytes.len() as u32, 0) }?;
    Ok(usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)))
}

/// A ring for one request, at offset 0, and its result.
///
/// # Safety
/// What `address` and `length` mean to the operation must be valid until this returns.
unsafe fn uring(operation: u8, fd: RawFd, address: u64, length: u32, flags: c_int) -> io::Result<i32> {
    const ENTER_GETEVENTS: u32 = 1;
    const OFF_SQES: libc::off_t = 0x1000_0000;
    let mut params = [0_u32; 30]; // struct io_uring_params: sq_off from word 10, cq_off from word 20
    // SAFETY: `params` has the size of struct io_uring_params and outlives the call.
    let ring = owned(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) })?;
    let (sq_tail, sq_array) = (params[11] as usize, params[16] as usize);
    let (cq_head, cq_tail, cqes) = (params[20] as usize, params[21] as usize, params[25] as usize);
    let size = (sq_array + 4 * params[0] as usize).max(cqes + 16 * params[1] as usize);
    let rings = Mapping::new(&ring, size, 0)?;
    let sqes = Mapping::new(&ring, 64 * params[0] as usize, OFF_SQES)?;
    // SAFETY: all offsets come from the kernel and lie within the two mappings made with the sizes it gave; this
    // thread is the ring's only user; the caller answers for `address`.
    unsafe {
        let sqe = sqes.at;
        sqe.write(operation);
        sqe.add(4).cast::<i32>().write(fd);
        sqe.add(16).cast::<u64>().write(address);
        sqe.add(24).cast::<u32>().write(length);
        sqe.add(28).cast::<i32>().write(flags);
        rings.at.add(sq_array).cast::<u32>().write(0);
        rings.at.add(sq_tail).cast::<u32>().write_volatile(1);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let null = ptr::null_mut::<u8>();
        checked(libc::syscall(libc::SYS_io_uring_enter, ring.as_raw_fd(), 1, 1, ENTER_GETEVENTS, null, 0))?;
        let head = rings.at.add(cq_head).cast::<u32>().read_volatile();
        let tail = rings.at.add(cq_tail).cast::<u32>().read_volatile();
        assert_eq!(tail.wrapping_sub(head), 1, "one completion");
        Ok(rings.at.add(cqes + 8).cast::<i32>().read_volatile())
    }
}

/// A shared, writable mapping of a file; it keeps the file open for writing after its descriptor is closed.
pub(crate) struct Mapping {
    at: *mut u8,
    length: usize,
}

// SAFETY: the memory is not bound to a thread, and only the owner of the value touches it.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(crate) fn new(fd: &OwnedFd, length: usize, offset: libc::off_t) -> io::Result<Mapping> {
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, fd.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { at: at.cast(), length })
    }

    /// Overwrite the file's first bytes, and the rest of the mapping with newlines.
    pub(crate) fn fill(&self, bytes: &[u8]) {
        for i in 0..self.length {
            // SAFETY: `i` is within the mapping, which lives as long as `self`.
            unsafe { self.at.add(i).write_volatile(bytes.get(i).copied().unwrap_or(b'\n')) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody uses it any more.
        unsafe { libc::munmap(self.at.cast(), self.length) };
    }
}

/// Run `work` on a thread with a mount namespace of its own: what it mounts is gone when it returns.
pub(crate) fn with_private_mounts<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: affects this thread only: CLONE_NEWNS implies CLONE_FS, which gives it a cwd of its own.
                checked(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS) }))?;
                mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")?;
                work()
            })
            .join()
            .expect("the thread in the private mount namespace")
    })
}

/// Has the page cache forget a file that has been written back (posix_fadvise(2)).
#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) fn forget_pages(file: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no memory of ours is involved.
    let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// mount(2); call it within [`with_private_mounts`] only.
pub(crate) fn mount(from: Option<&Path>, on: &Path, kind: Option<&str>, flags: u64, data: &str) -> io::Result<()> {
    let from = from.map(cpath);
    let on = cpath(on);
    let kind = kind.map(|kind| CString::new(kind).expect("no NUL"));
    let data = CString::new(data).expect("no NUL");
    let or_null = |string: &Option<CString>| string.as_ref().map_or(ptr::null(), |string| string.as_ptr());
    // SAFETY: every pointer is NULL or a NUL-terminated string that outlives the call.
    let result = unsafe { libc::mount(or_null(&from), on.as_ptr(), or_null(&kind), flags, data.as_ptr().cast()) };
    checked(i64::from(result)).map(drop)
}

/// Unmount what somebody may still use; call it within [`with_private_mounts`] only.
#[allow(dead_code, reason = "only the guard's tests have use for it")]
pub(crate) fn umount_lazily(at: &Path) -> io::Result<()> {
    let at = cpath(at);
    // SAFETY: the string is NUL-terminated and outlives the call.
    checked(i64::from(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) })).map(drop)
}

/// pivot_root(2) and a lazy unmount of the old root, which must be seen at `old` within `new`; call it within
/// [`with_private_mounts`] only.
#[allow(dead_code, reason = "only the installers' tests have a root of their own")]
pub(crate) fn pivot_root(new: &Path, old: &Path) -> io::Result<()> {
    let inside = Path::new("/").join(old.strip_prefix(new).expect("the old root below the new one"));
    let (new, old, inside) = (cpath(new), cpath(old), cpath(&inside));
    // SAFETY: all strings are NUL-terminated and outlive the calls; the calling thread has a mount namespace, and with it
    // a root and a working directory, of its own.
    unsafe {
        checked(libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()))?;
        checked(i64::from(libc::chdir(c"/".as_ptr())))?;
        checked(i64::from(libc::umount2(inside.as_ptr(), libc::MNT_DETACH))).map(drop)
    }
}

/// Make the calling *thread* an ordinary user, without a way back.
pub(crate) fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: the raw system calls change this thread's credentials only, unlike the C library's functions.
    unsafe {
        checked(libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()))?;
        checked(libc::syscall(libc::SYS_setresgid, uid, uid, uid))?;
        checked(libc::syscall(libc::SYS_setresuid, uid, uid, uid)).map(drop)
    }
}

/// Take a write lease. The signal of the lease break is turned into one that is ignored by default.
pub(crate) fn write_lease(fd: &OwnedFd) -> io::Result<()> {
    const F_SETSIG: c_int = 10; // the libc crate has no name for it here
    // SAFETY: fcntl with integer arguments on an open descriptor.
    unsafe {
        checked(i64::from(libc::fcntl(fd.as_raw_fd(), F_SETSIG, libc::SIGURG)))?;
        checked(i64::from(libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK))).map(drop)
    }
}

pub(crate) fn thread_id() -> i32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

/// A process that can be signalled and waited for without mistaking another one of the same number for it.
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    pub(crate) fn open(pid: u32) -> io::Result<PidFd> {
        // SAFETY: pidfd_open takes two integers.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(PidFd)
    }

    /// A copy of one of the process's descriptors.
    #[allow(dead_code, reason = "only the guard's tests have use for it")]
    pub(crate) fn descriptor(&self, number: c_int) -> io::Result<OwnedFd> {
        // SAFETY: pidfd_getfd takes three integers.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), number, 0) })
    }

    pub(crate) fn signal(&self, signal: c_int) {
        // SAFETY: pidfd_send_signal with a null siginfo is kill(2) on the process behind the descriptor. It fails only
        // when the process has ended, and then there is nothing left to signal.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, ptr::null::<u8>(), 0) };
    }

    /// Whether the process ends within `limit`.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, as the count says.
        unsafe { libc::poll(&raw mut poll, 1, limit.as_millis() as c_int) == 1 }
    }
}

/// The child is killed when the thread that started it ends, however that comes about.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: prctl with integers is async-signal-safe, nothing is allocated between fork and exec.
    unsafe { command.pre_exec(|| checked(i64::from(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))).map(drop)) }
}

/// The child, though it stays root, has lost a capability for good.
pub(crate) fn without_capability(command: &mut Command, capability: u32) -> &mut Command {
    // SAFETY: as in `die_with_parent`; root's exec takes its capabilities from the bounding set.
    unsafe { command.pre_exec(move || checked(i64::from(libc::prctl(libc::PR_CAPBSET_DROP, capability))).map(drop)) }
}

/// Take over a descriptor that the kernel has handed out.
pub(crate) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the caller has just received it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Have a command started with these descriptors as numbers 3, 4 and so on.
pub(crate) fn pass_from_three(command: &mut Command, numbers: Vec<RawFd>) {
    let pass = move || {
        // Out of the way first: a number may be one of those that are to be taken.
        let mut copies = [0; 32];
        for (copy, number) in copies.iter_mut().zip(&numbers) {
            // SAFETY: fcntl touches no memory of ours.
            *copy = checked(i64::from(unsafe { libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, 100) }))? as RawFd;
        }
        for (number, copy) in (3..).zip(copies.iter().take(numbers.len())) {
            // SAFETY: dup2 touches no memory of ours.
            checked(i64::from(unsafe { libc::dup2(*copy, number) }))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only fcntl and dup2, which are safe there; nothing is allocated.
    unsafe { command.pre_exec(pass) };
}
