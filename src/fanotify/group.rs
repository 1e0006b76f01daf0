//! Fanotify groups and their marks.
//!
//! Names and permission events exclude each other in one group (EINVAL, Linux 6.18), so there are two kinds: one that
//! holds openers until they are answered, one that tells which names come and go. All marks that stop anybody are inode
//! marks: a mark on a mount stops working in another mount namespace, a mark on a file system gates every process of the
//! host.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use parking_lot::Mutex;

use super::event::{Asking, PermissionEvent, Reply};
use super::file::queued_events;
use super::handle::{FileId, Handle};
use super::ledger::{BUFFER, Ledger, Left};
use super::wire::{Event, Events, Info, Response};

/// `FAN_REPORT_FD_ERROR` (Linux 6.13): an event whose file cannot be opened comes with the errno.
const REPORT_FD_ERROR: u32 = 0x2000;
/// `FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_TARGET_FID`.
const REPORT_DFID_NAME_TARGET: u32 = 0x0200 | 0x0400 | 0x0800 | 0x1000;

/// The descriptor that every event of a group shares, to be answered through.
#[derive(Debug)]
pub(super) struct GroupFd {
    group: Fanotify,
    /// What is written to it from now on may go nowhere.
    is_released: AtomicBool,
}

impl AsFd for GroupFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl GroupFd {
    fn new(group: Fanotify) -> Self {
        GroupFd { group, is_released: AtomicBool::new(false) }
    }

    /// Whether answers may have gone nowhere by now. Raised before the group goes, so that it says no only of those that
    /// the kernel has got.
    pub(super) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::SeqCst)
    }

    fn mark(&self, flags: MarkFlags, mask: MaskFlags, object: BorrowedFd<'_>) -> io::Result<()> {
        // fanotify_mark(2) refuses an O_PATH descriptor, its link in /proc it takes.
        let link = fd_link(object);
        self.group.mark(flags, mask, nix::fcntl::AT_FDCWD, Some(&link)).map_err(io::Error::from)
    }

    /// Reads once. `None` when nothing is queued.
    fn read<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        loop {
            match nix::unistd::read(self, buffer) {
                Ok(len) => return Ok(Some(&buffer[..len])),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// `/proc/self/fd/N`, through which an object can be reached again without its path.
#[must_use]
pub fn fd_link(object: BorrowedFd<'_>) -> PathBuf {
    let mut link = String::with_capacity(24);
    let _ = write!(link, "/proc/self/fd/{}", object.as_raw_fd()); // writing to a String cannot fail
    PathBuf::from(link)
}

/// Which opens a mark in a [`PermissionGroup`] stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// Of a directory's direct children that are no directories, in every mount namespace.
    Children,
    /// Of a directory, to be listed: no open, but each of its getdents(2), the last one included, which tells that
    /// there is nothing more.
    Listing,
    /// Of one file, through whatever name or mount.
    File,
}

impl Opens {
    fn mask(self) -> MaskFlags {
        match self {
            Opens::Children => MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_EVENT_ON_CHILD,
            Opens::Listing => MaskFlags::FAN_ACCESS_PERM | MaskFlags::FAN_ONDIR,
            Opens::File => MaskFlags::FAN_OPEN_PERM,
        }
    }
}

/// Of which changes a mark in a [`NotificationGroup`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Of a directory's entries, and of the directory's own end or move.
    Entries,
    /// Of one file's content, through whatever name, and of its end.
    File,
    /// Of a program's execution.
    Execution,
    /// Of the names that come to a directory, whatever gets them.
    Newcomers,
    /// Of which entries a directory has, and of its own end or move.
    Names,
    /// Of what moves a directory to another place, or ends it.
    DirectoryMoves,
    /// Of what moves a file or a symbolic link to another place, ends it, or takes a name from it.
    FileMoves,
}

impl Changes {
    fn mask(self) -> MaskFlags {
        let content = MaskFlags::FAN_MODIFY | MaskFlags::FAN_CLOSE_WRITE | MaskFlags::FAN_DELETE_SELF;
        match self {
            Changes::File => content,
            Changes::Execution => MaskFlags::FAN_OPEN_EXEC,
            Changes::Newcomers => MaskFlags::FAN_CREATE | MaskFlags::FAN_MOVED_TO | MaskFlags::FAN_ONDIR,
            Changes::Names => {
                MaskFlags::FAN_CREATE
                    | MaskFlags::FAN_RENAME
                    | MaskFlags::FAN_DELETE
                    | MaskFlags::FAN_DELETE_SELF
                    | MaskFlags::FAN_MOVE_SELF
                    | MaskFlags::FAN_ONDIR
            }
            // The end of what somebody holds open is told late; that it has lost a name (`FAN_ATTRIB`) is told at once.
            Changes::FileMoves => MaskFlags::FAN_ATTRIB | MaskFlags::FAN_DELETE_SELF | MaskFlags::FAN_MOVE_SELF,
            // An empty directory is replaced by a rename with nothing but `FAN_ATTRIB` on it. Files have no
            // `FAN_ONDIR` (ENOTDIR).
            Changes::DirectoryMoves => {
                MaskFlags::FAN_ATTRIB | MaskFlags::FAN_DELETE_SELF | MaskFlags::FAN_MOVE_SELF | MaskFlags::FAN_ONDIR
            }
            Changes::Entries => {
                content
                    | MaskFlags::FAN_CREATE
                    | MaskFlags::FAN_RENAME
                    | MaskFlags::FAN_DELETE
                    | MaskFlags::FAN_MOVE_SELF
                    | MaskFlags::FAN_ONDIR
                    | MaskFlags::FAN_EVENT_ON_CHILD
            }
        }
    }
}

/// A group whose events are openers waiting for an answer.
#[derive(Debug)]
pub struct PermissionGroup {
    fd: Arc<GroupFd>,
    tells_errors: bool,
    /// Whether denials go to the kernel's audit records.
    is_audited: bool,
    if_forgotten: Mutex<Reply>,
    ledger: Arc<Ledger>,
    /// Which one it is in the ledger.
    number: u32,
    /// Held by whoever reads.
    reading: Mutex<()>,
}

/// An object with an inode mark, as the kernel lists it (`/proc/PID/fdinfo/FD`, proc_pid_fdinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Major and minor number of its file system.
    pub device: (u32, u32),
    /// Its handle there.
    pub handle: Handle,
}

impl Marked {
    fn parse(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("fanotify ino:")?;
        let field = |key: &str| fields.split(' ').find_map(|field| field.strip_prefix(key)?.strip_prefix(':'));
        let device = u32::from_str_radix(field("sdev")?, 16).ok()?; // 12 bits and 20
        let kind = u32::from_str_radix(field("fhandle-type")?, 16).ok()?;
        let bytes = hex::decode(field("f_handle")?).ok()?;
        Some(Marked { device: (device >> 20, device & 0xf_ffff), handle: Handle::new(kind.cast_signed(), &bytes)? })
    }
}

/// What a permission group has to tell.
#[derive(Debug)]
pub enum Opening {
    /// An opener waits.
    Waiting(PermissionEvent),
    /// The kernel could not open the file for the event and has denied the opener; the errno says why.
    NotOpened(Errno),
}

/// Descriptors of permission groups have this number or a higher one, those of other groups a lower one.
const RELEASED_FIRST: i32 = 1024;

/// Sees to it that a group is the first to be released when the process is killed.
///
/// While somebody waits for an answer the kernel holds a mark of each kind on his way, the one on the file system included,
/// whoever's it is (`fsnotify_prepare_user_wait`), and the group that it belongs to is not released before he has been
/// answered. Where a process ends, its descriptors are released in one thread, the highest first (`task_work_run`, tried on
/// 6.18). With the group that everybody waits for behind one that waits for them, neither they nor the process would
/// ever come to an end, SIGKILL or not.
fn released_first(group: Fanotify) -> Fanotify {
    match fcntl(&group, FcntlArg::F_DUPFD_CLOEXEC(RELEASED_FIRST)) {
        // SAFETY: the kernel has just made this descriptor, another one of a group, and told nobody else of it.
        Ok(fd) => unsafe { Fanotify::from_owned_fd(OwnedFd::from_raw_fd(fd)) },
        Err(_) => group, // no such number is allowed
    }
}

impl PermissionGroup {
    /// Makes a group for open permission events, the one with that number in a ledger. `if_forgotten` answers an event
    /// that is dropped without an answer.
    ///
    /// The event descriptors are opened `O_NONBLOCK`: without it, a user who holds a write lease on a file of his own
    /// in a marked directory stops the reader, and with it every opener, for `fs.lease-break-time` (45 s).
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN in the initial user namespace, EMFILE (`fs.fanotify.max_user_groups`), ENOSYS or
    /// EINVAL on a kernel without fanotify permission events.
    pub fn new(if_forgotten: Reply, ledger: Arc<Ledger>, number: u32) -> io::Result<Self> {
        Self::init(InitFlags::empty()).map(|group| Self::with(group, if_forgotten, ledger, number))
    }

    /// Takes over a group that a process has left, with its marks and with those who wait. `is_audited` says that it was
    /// made by [`PermissionGroup::audited`]; of another one answers go without a rule.
    ///
    /// # Errors
    /// It is no such group: it does not answer FIONREAD.
    pub fn adopt(
        group: OwnedFd,
        is_audited: bool,
        if_forgotten: Reply,
        ledger: Arc<Ledger>,
        number: u32,
    ) -> io::Result<Self> {
        queued_events(&group)?;
        // SAFETY: the descriptor is owned, and that of a group. On one of anything else its calls fail.
        let group = unsafe { Fanotify::from_owned_fd(group) };
        let (_, tells_errors) = Self::init(InitFlags::empty())?; // it was made on this kernel
        Ok(Self { is_audited, ..Self::with((group, tells_errors), if_forgotten, ledger, number) })
    }

    /// Makes such a group whose denials go to the kernel's audit records, with the number of their rule.
    ///
    /// # Errors
    /// As [`PermissionGroup::new`]; EPERM without CAP_AUDIT_WRITE, EINVAL on a kernel without auditing.
    pub fn audited(if_forgotten: Reply, ledger: Arc<Ledger>, number: u32) -> io::Result<Self> {
        let group = Self::init(InitFlags::from_bits_retain(libc::FAN_ENABLE_AUDIT));
        group.map(|group| Self { is_audited: true, ..Self::with(group, if_forgotten, ledger, number) })
    }

    fn with((group, tells_errors): (Fanotify, bool), if_forgotten: Reply, ledger: Arc<Ledger>, number: u32) -> Self {
        let (fd, if_forgotten) = (Arc::new(GroupFd::new(released_first(group))), Mutex::new(if_forgotten));
        PermissionGroup { fd, tells_errors, is_audited: false, if_forgotten, ledger, number, reading: Mutex::new(()) }
    }

    fn init(more: InitFlags) -> io::Result<(Fanotify, bool)> {
        let flags = more
            | InitFlags::FAN_CLASS_CONTENT
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS
            | InitFlags::FAN_REPORT_TID;
        let event_flags =
            EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK;
        match Fanotify::init(flags | InitFlags::from_bits_retain(REPORT_FD_ERROR), event_flags) {
            Err(Errno::EINVAL) => Ok((Fanotify::init(flags, event_flags)?, false)),
            group => Ok((group?, true)),
        }
    }

    /// Whether an event whose file could not be opened says why (`FAN_REPORT_FD_ERROR`).
    #[must_use]
    pub fn tells_errors(&self) -> bool {
        self.tells_errors
    }

    /// What answers the events that are read from now on and dropped without an answer.
    pub fn set_if_forgotten(&self, reply: Reply) {
        *self.if_forgotten.lock() = reply;
    }

    /// Places a mark.
    ///
    /// # Errors
    /// EINVAL on a kernel without permission events; ENOSPC, ENOMEM.
    pub fn mark(&self, opens: Opens, object: impl AsFd) -> io::Result<()> {
        self.fd.mark(MarkFlags::FAN_MARK_ADD, opens.mask(), object.as_fd())
    }

    /// Takes a mark away again.
    ///
    /// # Errors
    /// ENOENT where there is none.
    pub fn unmark(&self, opens: Opens, object: impl AsFd) -> io::Result<()> {
        self.fd.mark(MarkFlags::FAN_MARK_REMOVE, opens.mask(), object.as_fd())
    }

    /// Reads once what is queued, at most a buffer full, into `openings`. Does not wait.
    ///
    /// # Errors
    /// What read(2) says; on kernels before 6.13 also the errno of an event that could not be opened.
    pub fn read(&self, openings: &mut Vec<Opening>) -> io::Result<()> {
        let _turn = self.reading.lock();
        // SAFETY: who holds the lock is the only one who reads this group, and each group has a number of its own.
        let buffer = unsafe { self.ledger.buffer(self.number) };
        let Some(bytes) = self.fd.read(buffer)? else { return Ok(()) };
        let len = bytes.len();
        let if_forgotten = *self.if_forgotten.lock();
        for event in Events::new(bytes) {
            // Bytes that cannot be parsed hold descriptors that cannot be known: without an answer their openers
            // stay frozen, so the caller must give up the group.
            let event = event.map_err(io::Error::other)?;
            if event.fd < 0 {
                openings.push(Opening::NotOpened(Errno::from_raw(event.fd.saturating_neg())));
                continue;
            }
            // SAFETY: the kernel made this descriptor for this event and told nobody else of it.
            let file = unsafe { OwnedFd::from_raw_fd(event.fd) };
            let thread = u32::try_from(event.pid).unwrap_or(0);
            openings.push(Opening::Waiting(self.waiting(file, thread, if_forgotten)));
        }
        buffer[..len].fill(0); // all of it is noted
        Ok(())
    }

    fn waiting(&self, file: OwnedFd, thread: u32, if_forgotten: Reply) -> PermissionEvent {
        let id = FileId::of(&file);
        self.ledger.note(self.number, file.as_raw_fd(), thread, id.as_ref().ok());
        let of = Asking {
            group: Arc::clone(&self.fd),
            ledger: Arc::clone(&self.ledger),
            thread,
            if_forgotten,
            is_audited: self.is_audited,
        };
        PermissionEvent::new(of, file, id)
    }

    /// Takes over somebody who waits since a process died that had read the event. `file` is what is opened, found anew;
    /// it takes the place that was kept for it, so that it has the number that the kernel waits for.
    ///
    /// # Errors
    /// It was not found, or its place was taken: the number itself, to be answered without an event.
    pub fn resume<'g>(
        &'g self,
        left: &Left,
        kept: Option<OwnedFd>,
        file: Option<impl AsFd>,
    ) -> Result<PermissionEvent, Unopened<'g>> {
        let unopened = |kept| Unopened { group: self, number: left.number, _kept: kept };
        let (kept, file) = match (kept, file) {
            (Some(kept), Some(file)) => (kept, file),
            (kept, _) => return Err(unopened(kept)),
        };
        // SAFETY: both are open descriptors; that of `kept` stays its own, and is of another file from now on.
        if unsafe { libc::dup3(file.as_fd().as_raw_fd(), kept.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(unopened(Some(kept)));
        }
        Ok(self.waiting(kept, left.thread, *self.if_forgotten.lock()))
    }

    /// Answers a number, whoever waits for that. Whether somebody did.
    pub fn answer_number(&self, number: i32, reply: Reply) -> bool {
        let response = Response::new(number, reply == Reply::Allow, None);
        let is_answered = nix::unistd::write(self.fd.as_fd(), response.as_bytes()).is_ok(); // else ENOENT
        self.ledger.clear(number);
        is_answered
    }

    /// What its marks lie on.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn marked(&self) -> io::Result<Vec<Marked>> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_fd().as_raw_fd()))?;
        Ok(info.lines().filter_map(Marked::parse).collect())
    }

    /// Its number in the ledger.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Lets everybody go: the group ends here and now, whichever threads still use its descriptor.
    ///
    /// The last reference to a group's file may belong to a thread that waits for a slow file system, and until it is
    /// gone the kernel keeps holding openers. So the descriptor's file is replaced, which ends the group at once, unless
    /// another process holds it, too: what is answered from now on stays in the ledger for that one.
    ///
    /// # Errors
    /// What open(2) of /dev/null or dup3(2) says.
    pub fn release(&self) -> io::Result<()> {
        let null = std::fs::File::open("/dev/null")?;
        self.fd.is_released.store(true, Ordering::SeqCst);
        // SAFETY: both descriptors are open; the target stays a valid descriptor owned by `self.fd`, of another file.
        let status = unsafe { libc::dup3(null.as_raw_fd(), self.fd.as_fd().as_raw_fd(), libc::O_CLOEXEC) };
        if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether no opener waits that has not been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        queued_events(&*self.fd).is_ok_and(|events| events == 0)
    }
}

/// Somebody who waits for an answer to a number, and whose file could not be opened again.
#[must_use]
#[derive(Debug)]
pub struct Unopened<'g> {
    group: &'g PermissionGroup,
    number: i32,
    /// Until it is answered: an event that got the same number would be answered in its stead.
    _kept: Option<OwnedFd>,
}

impl Unopened<'_> {
    /// Answers. Whether somebody waited.
    pub fn answer(self, reply: Reply) -> bool {
        self.group.answer_number(self.number, reply)
    }
}

impl AsFd for PermissionGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A group that tells what happened, with names and handles and a pidfd of the author.
#[derive(Debug)]
pub struct NotificationGroup {
    fd: GroupFd,
    /// Whether the kernel leaves out what happens to files, as far as that was asked for.
    leaves_out_files: AtomicU8,
}

/// Nobody has asked for it; it does; it cannot.
const NOT_ASKED: u8 = 0;
const LEAVES_OUT: u8 = 1;
const CANNOT: u8 = 2;

impl NotificationGroup {
    /// Makes the group.
    ///
    /// # Errors
    /// As [`PermissionGroup::new`]; EINVAL before Linux 5.17 (`FAN_RENAME`, `FAN_REPORT_TARGET_FID`).
    pub fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS
            | InitFlags::FAN_REPORT_PIDFD
            | InitFlags::from_bits_retain(REPORT_DFID_NAME_TARGET);
        let event_flags = EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC;
        let fd = GroupFd::new(Fanotify::init(flags, event_flags)?);
        Ok(NotificationGroup { fd, leaves_out_files: AtomicU8::new(NOT_ASKED) })
    }

    /// Takes over a group that a process has left, with its marks and with what it has to tell.
    ///
    /// # Errors
    /// It is no such group: it does not answer FIONREAD.
    pub fn adopt(group: OwnedFd) -> io::Result<Self> {
        queued_events(&group)?;
        // SAFETY: the descriptor is owned, and that of a group. On one of anything else its calls fail.
        let fd = GroupFd::new(unsafe { Fanotify::from_owned_fd(group) });
        Ok(NotificationGroup { fd, leaves_out_files: AtomicU8::new(NOT_ASKED) })
    }

    /// Places a mark.
    ///
    /// # Errors
    /// As [`PermissionGroup::mark`]; ENODEV, EXDEV, EOPNOTSUPP where the file system has no usable handles.
    pub fn mark(&self, changes: Changes, object: impl AsFd) -> io::Result<()> {
        self.fd.mark(MarkFlags::FAN_MARK_ADD, changes.mask(), object.as_fd())
    }

    /// Takes a mark away again.
    ///
    /// # Errors
    /// ENOENT where there is none.
    pub fn unmark(&self, changes: Changes, object: impl AsFd) -> io::Result<()> {
        self.fd.mark(MarkFlags::FAN_MARK_REMOVE, changes.mask(), object.as_fd())
    }

    /// Has every directory told of that is made on a file system, or moved to another place on it, wherever it is
    /// mounted. Nothing waits for that. What happens to files the kernel leaves out, where it can (Linux 6.0).
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; ENODEV, EXDEV, EOPNOTSUPP where the file system has no usable handles.
    pub fn mark_new_directories(&self, file_system: impl AsFd) -> io::Result<()> {
        let names = MaskFlags::FAN_CREATE | MaskFlags::FAN_MOVED_TO;
        let add = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        // Without FAN_ONDIR in the mask directories are not among what is left out.
        let leave_out = add | MarkFlags::FAN_MARK_IGNORE_SURV;
        let state = match self.fd.mark(leave_out, names, file_system.as_fd()) {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
            Err(_) => CANNOT,
            Ok(()) => LEAVES_OUT,
        };
        self.leaves_out_files.store(state, Ordering::Relaxed);
        self.fd.mark(add, names | MaskFlags::FAN_ONDIR, file_system.as_fd())
    }

    /// Whether the kernel leaves out what happens to files (`FAN_MARK_IGNORE`); `None` if nobody has asked it to.
    #[must_use]
    pub fn leaves_out_files(&self) -> Option<bool> {
        match self.leaves_out_files.load(Ordering::Relaxed) {
            LEAVES_OUT => Some(true),
            CANNOT => Some(false),
            _ => None,
        }
    }

    /// How many events are queued now.
    ///
    /// # Errors
    /// What ioctl(2) says.
    pub fn queued(&self) -> io::Result<usize> {
        queued_events(&self.fd)
    }

    /// Reads once, without waiting, and hands over each event with the pidfd of its author, if the kernel could make
    /// one. Returns how many events there were.
    ///
    /// # Errors
    /// What read(2) says, or bytes that are no events.
    pub fn read(&self, buffer: &mut Vec<u8>, mut each: impl FnMut(&Event<'_>, Option<OwnedFd>)) -> io::Result<usize> {
        buffer.resize(BUFFER, 0);
        let Some(bytes) = self.fd.read(buffer)? else { return Ok(0) };
        let mut count = 0;
        for event in Events::new(bytes) {
            let event = event.map_err(io::Error::other)?;
            count += 1;
            let pidfd = event.infos().find_map(|info| if let Info::Pidfd(number) = info { Some(number) } else { None });
            // SAFETY: the kernel made this descriptor for this event and told nobody else of it; each event is visited
            // once.
            let pidfd = pidfd.filter(|number| *number >= 0).map(|number| unsafe { OwnedFd::from_raw_fd(number) });
            each(&event, pidfd);
        }
        Ok(count)
    }
}

impl AsFd for NotificationGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fdinfo() {
        let line = "fanotify ino:4f969 sdev:800013 mflags:0 mask:8010000 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 \
                    f_handle:69f90400c275b5b4";
        let handle = Handle::new(1, &[0x69, 0xf9, 0x04, 0x00, 0xc2, 0x75, 0xb5, 0xb4]).unwrap();
        assert_eq!(Marked::parse(line), Some(Marked { device: (8, 19), handle }));
        for line in
            ["", "pos:\t0", "fanotify flags:1c event-flags:0", "fanotify ino:1 sdev:zz", "fanotify mnt_id:12 mask:1"]
        {
            assert_eq!(Marked::parse(line), None, "{line}");
        }
    }
}
