//! The thread that reads permission events. It never waits for a disk, for another process or for a thread that might
//! wait for it; what needs more goes to a worker.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::content::InCache;
use super::parked::On;
use super::{Guard, Waiting};
use crate::fanotify::group::Opening;
use crate::fanotify::{FileId, PermissionEvent, PermissionGroup, Reply, WriteProbe, probe_writers};
use crate::model::{Access, Failure, Mode, Verdict};
use crate::resolve::OpenedAs;

/// How long the thread sleeps at most, so that it is seen to be alive; milliseconds.
const HEARTBEAT: u16 = 500;

/// What triage needs to know of a tracked file.
#[derive(Clone, Copy)]
struct Tracked {
    grants: u64,
    may_be_startup: bool,
}

impl Guard {
    pub(super) fn run_triage(&self) {
        let mut buffer = Vec::new();
        let mut openings = Vec::new();
        while !self.is_stopping() {
            self.heartbeats.triage.fetch_add(1, Ordering::Relaxed);
            let mut fds = [self.parts.gate.as_fd(), self.parts.listing.as_fd(), self.stop.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::from(HEARTBEAT));
            for group in [&self.parts.gate, &self.parts.listing] {
                self.read_group(group, &mut buffer, &mut openings);
            }
        }
    }

    fn read_group(&self, group: &PermissionGroup, buffer: &mut Vec<u8>, openings: &mut Vec<Opening>) {
        if let Err(error) = group.read(buffer, openings) {
            if self.is_stopping() {
                return; // the group has been released
            }
            self.parts.counters.failed(Failure::NoDescriptor);
            if error.raw_os_error().is_none() {
                // Bytes that make no sense: openers behind them could never be answered. The end of the process
                // releases them.
                std::process::abort();
            }
        }
        for opening in openings.drain(..) {
            match opening {
                Opening::Waiting(event) if event.on_directory() => self.judge_listing(event),
                Opening::Waiting(event) => self.judge_open(event),
                Opening::NotOpened(_) => self.parts.counters.failed(Failure::NoDescriptor),
            }
        }
    }

    fn judge_open(&self, event: PermissionEvent) {
        if self.own.contains(event.thread()) {
            event.answer(Reply::Allow);
            return;
        }
        let received = Instant::now();
        let Ok(file) = FileId::of(&event) else {
            self.parts.counters.failed(Failure::Content);
            event.answer(self.reply(self.parts.failure.unresolved.into()));
            return;
        };
        // The entry's name must be read before the notifications are: whatever name it had earlier, the rename that
        // took that name away needed the directory's lock, so the notification of the one before is in the queue.
        let opened = OpenedAs::of(&event);
        let looks_like_startup = opened.as_ref().is_none_or(|opened| self.parts.watch.may_be_startup(opened.name()));
        self.parts.watch.drain();
        let mut entry = self.look_up(&file);
        if entry.is_none() && !looks_like_startup {
            event.answer(Reply::Allow);
            return;
        }
        if entry.is_some() != looks_like_startup {
            // A startup name that no notification told of, or a tracked file without one: a rename may be under way.
            self.parts.watch.barrier(file.fsid);
            self.parts.watch.drain();
            entry = self.look_up(&file);
        }
        // A hard link outside of the site directories is opened like any file, unless for writing.
        let as_startup = looks_like_startup || entry.is_some_and(|entry| entry.may_be_startup);
        if probe_writers(&event) == WriteProbe::NoWriters {
            if let Some(entry) = entry {
                self.parts.watch.tracker().probed(&file, entry.grants);
            }
            let is_approved = |sha256| self.is_approved(&file, opened.as_ref(), sha256);
            if !as_startup || matches!(self.digest_in_cache(&event), InCache::Read(sha256) if is_approved(sha256)) {
                event.answer(Reply::Allow);
                self.count(Access::Read, Verdict::Allow);
                return;
            }
        }
        let due = received + self.parts.failure.budget;
        self.hand_to_worker(Waiting { event, received, due, file, opened, as_startup });
    }

    fn look_up(&self, file: &FileId) -> Option<Tracked> {
        let tracker = self.parts.watch.tracker();
        let entry = tracker.get(file)?;
        Some(Tracked { grants: entry.grants, may_be_startup: entry.may_be_opened_as_startup() })
    }

    fn hand_to_worker(&self, waiting: Waiting) {
        let waiting = Arc::new(waiting);
        let is_watched = self.deadlines.try_send(Arc::downgrade(&waiting)).is_ok();
        if !is_watched || self.work.try_send(Arc::clone(&waiting)).is_err() {
            self.fail(&waiting, Access::Read, Failure::QueueFull);
        }
    }

    /// An interpreter lists the directory before it opens startup files. Newcomers that raise no event when they are
    /// opened (symbolic links, FIFOs) are dealt with first.
    fn judge_listing(&self, event: PermissionEvent) {
        if self.own.contains(event.thread()) || self.parts.mode == Mode::Audit {
            event.answer(Reply::Allow);
            return;
        }
        let received = Instant::now();
        self.parts.watch.drain();
        let dir = FileId::of(event.as_fd()).ok();
        let Some((dir, site)) = dir.and_then(|dir| Some((dir, self.parts.watch.sites.by_file(&dir)?.id))) else {
            event.answer(Reply::Allow);
            return;
        };
        let due = received + self.parts.failure.budget;
        let waiting = Arc::new(Waiting { event, received, due, file: dir, opened: None, as_startup: false });
        if !self.park(&waiting, On::Site(site)) {
            waiting.event.answer(Reply::Allow);
        } else if self.deadlines.try_send(Arc::downgrade(&waiting)).is_err() {
            self.fail(&waiting, Access::List, Failure::QueueFull);
        }
    }
}
