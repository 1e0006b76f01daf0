//! The thread that reads permission events. It never waits for a disk, for another process or for a thread that might
//! wait for it; what needs more goes to a worker.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::content::InCache;
use super::leases::Answered;
use super::parked::On;
use super::{Guard, Purpose, Waiting};
use crate::audit::Outcome;
use crate::fanotify::file::{hold_writers, release_writers};
use crate::fanotify::group::Opening;
use crate::fanotify::{FileId, PermissionEvent, PermissionGroup, Reply, WriteProbe, probe_writers};
use crate::model::{Access, Failure, Mode};
use crate::resolve::OpenedAs;
use crate::watch::{Felt, Lane};

/// How long the thread sleeps at most, so that it is seen to be alive; milliseconds.
const HEARTBEAT: u16 = 500;

/// With more requests than this in the queue, makers of other files are not looked at.
const MAKERS: usize = 64;

/// What triage needs to know of a tracked file.
#[derive(Clone, Copy)]
struct Tracked {
    grants: u64,
    is_marked: bool,
    was_startup: bool,
    is_target: bool,
    is_loose: bool,
}

impl Guard {
    pub(super) fn run_triage(&self, lane: Lane) {
        let groups = self.parts.watch.groups(lane);
        let mut openings = Vec::new();
        let stop = &self.readers_stop[lane];
        while !stop.is_now() {
            self.heartbeats.triage[lane].fetch_add(1, Ordering::Relaxed);
            let mut fds = [groups.gate.as_fd(), groups.listing.as_fd(), stop.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::from(HEARTBEAT));
            let [gate, listing, _] = fds.map(|fd| fd.any() != Some(false)); // what poll does not know is looked at
            if gate {
                self.read_group(&groups.gate, &mut openings);
                self.judge_all(lane, &mut openings, Guard::judge_open);
            }
            if listing {
                self.read_group(&groups.listing, &mut openings);
                self.judge_all(lane, &mut openings, Guard::judge_listing);
            }
        }
    }

    fn read_group(&self, group: &PermissionGroup, openings: &mut Vec<Opening>) {
        if let Err(error) = group.read(openings) {
            self.parts.counters.failed(Failure::NoDescriptor);
            if error.raw_os_error().is_none() {
                // Bytes that make no sense: openers behind them could never be answered. The end of the process
                // releases them.
                std::process::abort();
            }
        }
    }

    /// Whether a file or a directory is opened the group tells: the kernel does not say it in the event (`FAN_ONDIR`
    /// is not reported to groups without file identifiers).
    fn judge_all(&self, lane: Lane, openings: &mut Vec<Opening>, judge: fn(&Guard, Lane, PermissionEvent, Instant)) {
        let received = Instant::now();
        for opening in openings.drain(..) {
            self.heartbeats.triage[lane].fetch_add(1, Ordering::Relaxed);
            match opening {
                Opening::Waiting(event) if self.own.contains(event.thread()) => {
                    event.answer(Reply::Allow);
                }
                Opening::Waiting(event) => {
                    if let Some(event) = self.early.hold(lane, judge, event) {
                        judge(self, lane, event, received);
                    }
                }
                Opening::NotOpened(_) => self.parts.counters.failed(Failure::NoDescriptor),
            }
        }
    }

    pub(super) fn judge_open(&self, lane: Lane, event: PermissionEvent, received: Instant) {
        let ruling = self.ruling();
        let Ok(file) = event.id() else {
            self.parts.counters.failed(Failure::Content);
            event.answer(ruling.reply(ruling.failure.unresolved));
            self.waited(received);
            return;
        };
        // The entry's name must be read before the notifications are: whatever name it had earlier, the rename that
        // took that name away needed the directory's lock, so the notification of the one before is in the queue.
        let opened = OpenedAs::of(&event);
        let watch = &self.parts.watch;
        let looks_like_startup = opened.as_ref().is_none_or(|opened| watch.may_be_startup(opened.dir(), opened.name()));
        let looks_like_target = opened.as_ref().is_some_and(|opened| watch.is_led_to(opened.dir(), opened.name()));
        let due = received + ruling.failure.budget;
        let mut is_told = watch.drain_until(lane, due);
        let mut entry = self.look_up(lane, &file);
        if is_told && entry.is_some() != (looks_like_startup || looks_like_target) {
            // A startup name that no notification told of, or a tracked file without one: a rename may be under way.
            watch.barrier(lane, file.fsid);
            is_told = watch.drain_until(lane, due);
            entry = self.look_up(lane, &file);
        }
        if !is_told {
            // A storm: what this file was called a moment ago is not known in time.
            let waiting = Waiting { lane, ruling, event, received, due, file, opened, purpose: Purpose::Startup };
            return self.fail(&waiting, Access::Read, Failure::Timeout);
        }
        if entry.is_none() && !looks_like_startup && !looks_like_target {
            if is_being_made(&event) {
                self.hand_over_maker(Waiting {
                    lane,
                    ruling,
                    event,
                    received,
                    due,
                    file,
                    opened,
                    purpose: Purpose::Maker,
                });
            } else {
                event.answer(Reply::Allow);
                self.waited(received);
            }
            return;
        }
        if entry.is_some_and(|entry| !entry.is_marked) {
            // It has come into the place of a link's target: whoever writes it by another name must pass the gate.
            watch.mark_opened(lane, &file, &event);
        }
        // A hard link outside of the site directories is opened like any file, unless for writing; so is what a symbolic
        // link leads to, by its own name.
        let purpose = if looks_like_startup || entry.is_some_and(|entry| entry.was_startup) {
            Purpose::Startup
        } else if looks_like_target || entry.is_some_and(|entry| entry.is_target) {
            Purpose::Target
        } else {
            Purpose::OtherLink
        };
        if hold_writers(&event) == WriteProbe::NoWriters {
            if let Some(entry) = entry {
                watch.tracker().probed(&file, entry.grants);
            }
            let is_loose = entry.is_some_and(|entry| entry.is_loose);
            let is_approved = |sha256| !is_loose && self.is_approved(&file, opened.as_ref(), sha256);
            if purpose == Purpose::OtherLink
                || matches!(self.digest_in_cache(&event), InCache::Read(sha256) if is_approved(sha256))
            {
                event.answer(Reply::Allow);
                self.waited(received);
                if purpose == Purpose::OtherLink {
                    self.parts.counters.answered(Access::Read, Outcome::Allow);
                } else {
                    self.parts.counters.approved(Access::Read);
                }
                if ruling.mode == Mode::Enforce && purpose != Purpose::OtherLink {
                    self.leases.keep(file, Answered::AtOnce { _event: event });
                }
                return;
            }
            release_writers(&event);
        }
        self.hand_to_worker(Waiting { lane, ruling, event, received, due, file, opened, purpose });
    }

    fn look_up(&self, lane: Lane, file: &FileId) -> Option<Tracked> {
        let tracker = self.parts.watch.tracker();
        let entry = tracker.get(file)?;
        Some(Tracked {
            grants: entry.grants,
            is_marked: entry.marked[lane],
            was_startup: entry.was_startup(),
            is_target: entry.is_target,
            is_loose: entry.is_loose,
        })
    }

    fn hand_to_worker(&self, waiting: Waiting) {
        let waiting = Arc::new(waiting);
        let is_watched = self.deadlines.try_send(Arc::downgrade(&waiting));
        if !is_watched || !self.work[waiting.lane].try_send(Arc::clone(&waiting)) {
            self.fail(&waiting, Access::Read, Failure::QueueFull);
        }
    }

    /// A worker has a look at who makes a file, before it goes on and perhaps renames the file and ends. Where there is
    /// no room it goes on at once: requests come first.
    fn hand_over_maker(&self, waiting: Waiting) {
        let waiting = Arc::new(waiting);
        let is_handed_over = self.work[waiting.lane].len() < MAKERS
            && self.deadlines.try_send(Arc::downgrade(&waiting))
            && self.work[waiting.lane].try_send(Arc::clone(&waiting));
        if !is_handed_over {
            self.answer(&waiting, Reply::Allow);
        }
    }

    /// An interpreter lists the directory before it opens startup files. Newcomers that raise no event when they are
    /// opened (symbolic links, FIFOs) are dealt with first, before it gets the first names and before it is told that
    /// there are no more: what it has got by then was in the directory before, and is known of.
    pub(super) fn judge_listing(&self, lane: Lane, event: PermissionEvent, received: Instant) {
        let _ = self.listers.try_send((event.thread(), lane)); // whom there is no room for is not remembered
        let ruling = self.ruling();
        if ruling.mode == Mode::Audit {
            event.answer(Reply::Allow);
            self.waited(received);
            return;
        }
        let due = received + ruling.failure.budget;
        let dir = event.id().ok();
        let Some((dir, site)) = dir.and_then(|dir| Some((dir, self.parts.watch.sites.by_file(&dir)?.id))) else {
            event.answer(Reply::Allow);
            self.waited(received);
            return;
        };
        let waiting = Arc::new(Waiting {
            lane,
            ruling,
            event,
            received,
            due,
            file: dir,
            opened: None,
            purpose: Purpose::Listing,
        });
        // In a storm of them the answer is known before all of it is read.
        if self.parts.watch.tracker().unrest(&dir) == Felt::ByAll {
            return self.refuse_listing(&waiting);
        }
        if !self.parts.watch.drain_until(lane, due) {
            return self.fail(&waiting, Access::List, Failure::Timeout);
        }
        // Before anybody can answer it.
        if !self.deadlines.try_send(Arc::downgrade(&waiting)) {
            return self.fail(&waiting, Access::List, Failure::QueueFull);
        }
        let newcomers = self.parts.watch.tracker().unseen_newcomers(site);
        if !self.park(&waiting, On::Site(site, newcomers)) {
            self.answer_listing(waiting);
        }
    }
}

/// Whether a file is empty and somebody writes it. What is not empty, as modules are, costs one fstat.
pub(super) fn is_being_made(event: &PermissionEvent) -> bool {
    nix::sys::stat::fstat(event).is_ok_and(|file| file.st_size == 0) && probe_writers(event) == WriteProbe::Writers
}
