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

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use super::event::{PermissionEvent, Reply};
use super::file::queued_events;
use super::wire::{Event, Events, Info};

/// `FAN_REPORT_FD_ERROR` (Linux 6.13): an event whose file cannot be opened comes with the errno.
const REPORT_FD_ERROR: u32 = 0x2000;
/// `FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_TARGET_FID`.
const REPORT_DFID_NAME_TARGET: u32 = 0x0200 | 0x0400 | 0x0800 | 0x1000;

/// Room for the events of one read(2).
const BUFFER: usize = 16 * 1024;

/// The descriptor that every event of a group shares, to be answered through.
#[derive(Debug)]
pub(super) struct GroupFd(Fanotify);

impl AsFd for GroupFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl GroupFd {
    fn mark(&self, flags: MarkFlags, mask: MaskFlags, object: BorrowedFd<'_>) -> io::Result<()> {
        // fanotify_mark(2) refuses an O_PATH descriptor, its link in /proc it takes.
        let link = fd_link(object);
        self.0.mark(flags, mask, nix::fcntl::AT_FDCWD, Some(&link)).map_err(io::Error::from)
    }

    /// Reads once. `None` when nothing is queued.
    fn read<'b>(&self, buffer: &'b mut Vec<u8>) -> io::Result<Option<&'b [u8]>> {
        buffer.resize(BUFFER, 0);
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
    if_forgotten: Reply,
    is_audited: bool,
}

/// What a permission group has to tell.
#[derive(Debug)]
pub enum Opening {
    /// An opener waits.
    Waiting(PermissionEvent),
    /// The kernel could not open the file for the event and has denied the opener; the errno says why.
    NotOpened(Errno),
}

impl PermissionGroup {
    /// Makes a group for open permission events. `if_forgotten` answers an event that is dropped without an answer.
    ///
    /// The event descriptors are opened `O_NONBLOCK`: without it, a user who holds a write lease on a file of his own
    /// in a marked directory stops the reader, and with it every opener, for `fs.lease-break-time` (45 s).
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN in the initial user namespace, EMFILE (`fs.fanotify.max_user_groups`), ENOSYS or
    /// EINVAL on a kernel without fanotify permission events.
    pub fn new(if_forgotten: Reply) -> io::Result<Self> {
        Self::with(InitFlags::empty(), if_forgotten)
    }

    /// Makes such a group whose denials go to the kernel's audit records, with the number of their rule.
    ///
    /// # Errors
    /// As [`PermissionGroup::new`]; EPERM without CAP_AUDIT_WRITE, EINVAL on a kernel without auditing.
    pub fn audited(if_forgotten: Reply) -> io::Result<Self> {
        Self::with(InitFlags::from_bits_retain(libc::FAN_ENABLE_AUDIT), if_forgotten)
    }

    fn with(more: InitFlags, if_forgotten: Reply) -> io::Result<Self> {
        let flags = more
            | InitFlags::FAN_CLASS_CONTENT
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS
            | InitFlags::FAN_REPORT_TID;
        let event_flags =
            EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK;
        let group = match Fanotify::init(flags | InitFlags::from_bits_retain(REPORT_FD_ERROR), event_flags) {
            Err(Errno::EINVAL) => Fanotify::init(flags, event_flags)?,
            group => group?,
        };
        Ok(PermissionGroup { fd: Arc::new(GroupFd(group)), if_forgotten, is_audited: !more.is_empty() })
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
    pub fn read(&self, buffer: &mut Vec<u8>, openings: &mut Vec<Opening>) -> io::Result<()> {
        let Some(bytes) = self.fd.read(buffer)? else { return Ok(()) };
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
            openings.push(Opening::Waiting(PermissionEvent::new(
                Arc::clone(&self.fd),
                file,
                u32::try_from(event.pid).unwrap_or(0),
                self.if_forgotten,
                self.is_audited,
            )));
        }
        Ok(())
    }

    /// Lets everybody go: the group ends here and now, whoever still holds a descriptor of it.
    ///
    /// The last reference to a group's file may belong to a thread that waits for a slow file system, and until it is
    /// gone the kernel keeps holding openers. So the descriptor's file is replaced, which ends the group at once.
    ///
    /// # Errors
    /// What open(2) of /dev/null or dup3(2) says.
    pub fn release(&self) -> io::Result<()> {
        let null = std::fs::File::open("/dev/null")?;
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

impl AsFd for PermissionGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A group that tells what happened, with names and handles and a pidfd of the author.
#[derive(Debug)]
pub struct NotificationGroup(GroupFd);

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
        Ok(NotificationGroup(GroupFd(Fanotify::init(flags, event_flags)?)))
    }

    /// Places a mark.
    ///
    /// # Errors
    /// As [`PermissionGroup::mark`]; ENODEV, EXDEV, EOPNOTSUPP where the file system has no usable handles.
    pub fn mark(&self, changes: Changes, object: impl AsFd) -> io::Result<()> {
        self.0.mark(MarkFlags::FAN_MARK_ADD, changes.mask(), object.as_fd())
    }

    /// Takes a mark away again.
    ///
    /// # Errors
    /// ENOENT where there is none.
    pub fn unmark(&self, changes: Changes, object: impl AsFd) -> io::Result<()> {
        self.0.mark(MarkFlags::FAN_MARK_REMOVE, changes.mask(), object.as_fd())
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
        match self.0.mark(leave_out, names, file_system.as_fd()) {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
            _ => {}
        }
        self.0.mark(add, names | MaskFlags::FAN_ONDIR, file_system.as_fd())
    }

    /// How many events are queued now.
    ///
    /// # Errors
    /// What ioctl(2) says.
    pub fn queued(&self) -> io::Result<usize> {
        queued_events(&self.0)
    }

    /// Reads once, without waiting, and hands over each event with the pidfd of its author, if the kernel could make
    /// one. Returns how many events there were.
    ///
    /// # Errors
    /// What read(2) says, or bytes that are no events.
    pub fn read(&self, buffer: &mut Vec<u8>, mut each: impl FnMut(&Event<'_>, Option<OwnedFd>)) -> io::Result<usize> {
        let Some(bytes) = self.0.read(buffer)? else { return Ok(0) };
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
        self.0.as_fd()
    }
}
