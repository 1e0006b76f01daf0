//! Permission events, which must be answered: a forgotten one is a frozen process.
//!
//! The kernel matches answers by bare descriptor number, so only the owner of the descriptor may answer, once, and
//! the number must not be reused before. [`PermissionEvent`] keeps both rules: whoever comes first answers, and the
//! descriptor is closed only when the last holder lets go, by when the event has been answered.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::group::GroupFd;
use super::handle::FileId;
use super::ledger::Ledger;
use super::wire::{AuditRule, Response};

/// What the kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The opener goes on.
    Allow,
    /// The opener gets EPERM.
    Deny,
}

/// An opener that waits in the kernel for an answer.
#[derive(Debug)]
pub struct PermissionEvent {
    of: Asking,
    file: OwnedFd,
    id: io::Result<FileId>,
    answered: AtomicBool,
}

/// Who waits, for whom.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) group: Arc<GroupFd>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) thread: u32,
    pub(super) if_forgotten: Reply,
    /// Whether denials go to the kernel's audit records.
    pub(super) is_audited: bool,
}

/// What the kernel is told of trust in subject and object: nothing.
const UNKNOWN: u32 = 2;

impl PermissionEvent {
    pub(super) fn new(of: Asking, file: OwnedFd, id: io::Result<FileId>) -> Self {
        PermissionEvent { of, file, id, answered: AtomicBool::new(false) }
    }

    /// The identity of the file that is being opened.
    ///
    /// # Errors
    /// What [`FileId::of`] says.
    pub fn id(&self) -> Result<FileId, &io::Error> {
        self.id.as_ref().map(|id| *id)
    }

    /// Thread id of the opener; 0 where it lives outside of the daemon's pid namespace.
    #[must_use]
    pub fn thread(&self) -> u32 {
        self.of.thread
    }

    /// Whether the event has been answered, by whomever.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Answers, unless somebody has. Returns whether this was the answer.
    pub fn answer(&self, reply: Reply) -> bool {
        self.answer_after(reply, 0, || ())
    }

    /// The same, by a rule: a denial of a group made by [`crate::fanotify::PermissionGroup::audited`] carries its number
    /// to the kernel's audit records, 0 for none.
    pub fn answer_by_rule(&self, reply: Reply, rule: u32) -> bool {
        self.answer_after(reply, rule, || ())
    }

    /// The same, after something that must not happen unless this is the answer, while the opener still waits.
    pub fn answer_after(&self, reply: Reply, rule: u32, before: impl FnOnce()) -> bool {
        let is_first = !self.answered.swap(true, Ordering::AcqRel);
        if is_first {
            before();
            // ENOENT: the opener was killed meanwhile, or the group is being closed; nobody waits any more.
            let _ = match reply {
                Reply::Deny if self.of.is_audited => {
                    self.write_audited(reply, AuditRule { number: rule, subject_trust: UNKNOWN, object_trust: UNKNOWN })
                }
                Reply::Deny | Reply::Allow => self.write(reply, None),
            };
        }
        is_first
    }

    /// Answers with a rule for the kernel's audit records, whatever the group.
    pub fn answer_audited(&self, reply: Reply, rule: AuditRule) -> bool {
        let is_first = !self.answered.swap(true, Ordering::AcqRel);
        if is_first {
            let _ = self.write_audited(reply, rule); // as in `answer_after`
        }
        is_first
    }

    /// On a kernel that takes no rule (before 6.3) the answer goes without; of a group that is not audited, as any other.
    fn write_audited(&self, reply: Reply, rule: AuditRule) -> nix::Result<usize> {
        let is_allowed = reply == Reply::Allow;
        match self.write(reply, Some(rule)) {
            Err(Errno::EINVAL) => match self.send(Response::without_rule(self.file.as_raw_fd(), is_allowed)) {
                Err(Errno::EINVAL) => self.write(reply, None),
                done => done,
            },
            done => done,
        }
    }

    fn write(&self, reply: Reply, audit: Option<AuditRule>) -> nix::Result<usize> {
        self.send(Response::new(self.file.as_raw_fd(), reply == Reply::Allow, audit))
    }

    fn send(&self, response: Response) -> nix::Result<usize> {
        let written = nix::unistd::write(self.of.group.as_fd(), response.as_bytes());
        let is_said_anew = written == Err(Errno::EINVAL); // in other words
        if !is_said_anew && !self.of.group.is_released() {
            self.of.ledger.clear(self.file.as_raw_fd()); // else whoever holds the group answers
        }
        written
    }
}

impl AsFd for PermissionEvent {
    /// The file that is being opened, open for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PermissionEvent {
    fn drop(&mut self) {
        self.answer(self.of.if_forgotten); // before the descriptor, and with it the number, is given back
    }
}
