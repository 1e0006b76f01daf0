//! Reading the watch group: from notifications to the table of tracked files, and to notices for the gate.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use parking_lot::{Mutex, MutexGuard};

use super::neighbours::Neighbours;
use super::programs::{ProgramId, Programs};
use super::sites::{Guarded, Role, SiteDir, SiteId, Sites, reach};
use super::tracked::Tracker;
use crate::approvals::DirectoryId;
use crate::audit::Counters;
use crate::fanotify::wire::{Event, Info, Place};
use crate::fanotify::{Changes, FileId, NotificationGroup, Opens, PermissionGroup, Pidfd};
use crate::model::{Failure, StartupNames};
use crate::quarantine::is_aside;

/// How long a thread that nobody waits for reads notifications at a time, while others want the table.
const TURN: Duration = Duration::from_millis(20);
/// How many files are forgotten while the table is held.
const PURGE: usize = 64;

/// Who did it, as far as the notification tells.
#[derive(Clone, Debug)]
pub struct Author {
    /// Process id; 0 outside of the daemon's pid namespace.
    pub pid: u32,
    /// What tells that process from a later one with the same id; none if it was gone when the notification was read.
    pub pidfd: Option<Arc<Pidfd>>,
    /// When the notification had been read: what it tells happened before.
    pub read: Instant,
    /// When the queue was empty before: it happened after.
    pub after: Instant,
}

impl Author {
    fn is_ours(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Somebody, before now.
    #[must_use]
    pub fn unknown() -> Self {
        let now = Instant::now();
        Author { pid: 0, pidfd: None, read: now, after: now }
    }
}

/// How a newcomer came to its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// open, creat, mknod, link, symlink, linkat: the file itself tells which.
    Created,
    /// Renamed or exchanged; with the startup name that it had before in a guarded directory.
    Renamed {
        /// Its former place.
        from: Option<(SiteId, OsString)>,
    },
}

/// A file got a startup name.
#[derive(Debug)]
pub struct Arrival {
    /// Where.
    pub site: SiteId,
    /// Under which name.
    pub name: OsString,
    /// Which file.
    pub file: FileId,
    /// How.
    pub how: How,
    /// By whom.
    pub author: Author,
}

/// What the gate has to deal with.
#[derive(Debug)]
pub enum Notice {
    /// A newcomer.
    Arrival(Arrival),
    /// A file that somebody, perhaps a permitted writer, had open for writing was closed.
    Closed {
        /// Which file.
        file: FileId,
        /// A directory where it has a name.
        site: SiteId,
    },
    /// Somebody without a permit changed an approved file.
    Spoilt {
        /// Which file.
        file: FileId,
        /// A directory where it has a name.
        site: SiteId,
        /// Who.
        author: Author,
    },
    /// A directory appeared in which code of a startup module may lie.
    Subdirectory {
        /// In which directory.
        site: SiteId,
        /// Under which name.
        name: OsString,
        /// By whom.
        author: Author,
    },
    /// A startup file was removed.
    Removed {
        /// Where.
        site: SiteId,
        /// Which name.
        name: OsString,
        /// By whom.
        author: Author,
    },
    /// A guarded directory was removed or moved away.
    SiteLost(SiteId),
    /// There is a directory again where a guarded one was lost.
    SiteFilled,
    /// The kernel lost notifications: what is in the directories must be read again.
    Overflow,
}

/// The watch group and everything that it feeds.
#[derive(Debug)]
pub struct Watch {
    /// The guarded directories.
    pub sites: Sites,
    group: NotificationGroup,
    gate: Arc<PermissionGroup>,
    listing: Arc<PermissionGroup>,
    startup: StartupNames,
    notices: Sender<Notice>,
    counters: Arc<Counters>,
    /// A fair lock: in a storm the threads that read and judge newcomers take it again and again, and std's may let the
    /// one that has just released it have it before the thread that answers.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tracker: Tracker,
    neighbours: Neighbours,
    programs: Programs,
    /// When the queue was last known to be empty.
    emptied: Instant,
    buffer: Vec<u8>,
    /// Notices that found the queue full were dropped: the directories must be read again.
    lost_notices: bool,
}

impl Watch {
    /// `notices` is where the gate listens.
    #[must_use]
    pub fn new(
        group: NotificationGroup,
        gate: Arc<PermissionGroup>,
        listing: Arc<PermissionGroup>,
        startup: StartupNames,
        notices: Sender<Notice>,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        let state = Mutex::new(State {
            tracker: Tracker::default(),
            neighbours: Neighbours::default(),
            programs: Programs::new(now),
            emptied: now,
            buffer: Vec::new(),
            lost_notices: false,
        });
        Watch { sites: Sites::default(), group, gate, listing, startup, notices, counters, state }
    }

    /// The table of tracked files. Nobody may open a guarded file or wait for anything while holding it: the thread
    /// that answers the daemon's own opens needs it.
    pub fn tracker(&self) -> impl std::ops::DerefMut<Target = Tracker> + '_ {
        Held(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether an entry that has this name now, in a directory that seems to be this one, may have been opened as a
    /// startup file: it has a startup name there, or has been taken aside by the guard.
    #[must_use]
    pub fn may_be_startup(&self, dir: &Path, name: &OsStr) -> bool {
        let site = self.sites.by_path(dir).and_then(|site| self.sites.get(site));
        is_aside(name) || site.map_or_else(|| self.startup.matches(name.as_bytes()), |site| site.is_startup(name))
    }

    /// Starts to watch a directory's entries. The gate does not stand yet, so the files in it can be read without an
    /// answer from ourselves. `None` if it is guarded already.
    ///
    /// # Errors
    /// The mark cannot be placed.
    pub fn add_site(
        &self,
        guarded: Guarded,
        dir: File,
        file: FileId,
        approvals: DirectoryId,
    ) -> io::Result<Option<Arc<SiteDir>>> {
        let Some(site) = self.sites.add(guarded, dir, file, approvals) else { return Ok(None) };
        if let Err(error) = self.group.mark(Changes::Entries, &site.dir) {
            self.sites.remove(site.id);
            return Err(error);
        }
        Ok(Some(site))
    }

    /// Closes the gate of a watched directory: from now on opens in it wait for an answer.
    ///
    /// # Errors
    /// A mark cannot be placed.
    pub fn close_gate(&self, site: &SiteDir) -> io::Result<()> {
        self.gate.mark(Opens::Children, &site.dir)?;
        self.listing.mark(Opens::Listing, &site.dir)
    }

    /// Makes the kernel finish every rename, link or creation in a directory that has begun, and queue its
    /// notification: reading the directory takes its lock, which the kernel holds from the change of the name to the
    /// notification (`vfs_rename`, Linux 6.18).
    pub fn barrier(&self, fsid: u64) {
        for site in self.sites.all().iter().filter(|site| site.file.fsid == fsid) {
            let Ok(copy) = site.dir.try_clone() else { continue };
            if let Ok(mut dir) = nix::dir::Dir::from_fd(copy.into()) {
                let _ = dir.iter().next(); // rewinds, then reads
            }
        }
    }

    /// Reads what is queued now and brings the table up to date. What arrives meanwhile is left to the next call, so
    /// that a storm cannot hold a decision. Whether all of it was read: not if there is too much for one turn.
    pub fn drain(&self) -> bool {
        self.drain_until(Instant::now() + TURN)
    }

    /// The same, until then at most.
    pub fn drain_until(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        let before = Instant::now();
        let queued = self.group.queued().ok();
        let had_none = queued == Some(0);
        let mut due = queued.unwrap_or(0);
        let mut buffer = std::mem::take(&mut state.buffer);
        while due > 0 && Instant::now() < deadline {
            match self.group.read(&mut buffer, |event, pidfd| self.apply(&mut state, event, pidfd)) {
                Ok(0) => due = 0,
                Ok(read) => due = due.saturating_sub(read),
                Err(_) => {
                    state.lost_notices = true;
                    due = 0;
                }
            }
        }
        if state.lost_notices && self.notices.try_send(Notice::Overflow).is_ok() {
            state.lost_notices = false;
        }
        state.buffer = buffer;
        let then = if had_none { before } else { Instant::now() };
        if had_none || self.group.queued().is_ok_and(|queued| queued == 0) {
            state.emptied = then;
        }
        due == 0
    }

    /// Has the executions of a program told of, from now on.
    ///
    /// # Errors
    /// The mark cannot be placed: its file system has no handles, say.
    pub fn watch_program(&self, program: ProgramId, file: &File) -> io::Result<()> {
        if self.lock().programs.wants(program) {
            self.group.mark(Changes::Execution, file)?;
            self.lock().programs.watch(program, Instant::now());
        }
        Ok(())
    }

    /// Whether a process that is this program now was that already when it did what a notification tells.
    #[must_use]
    pub fn is_unchanged(&self, author: &Author, program: ProgramId) -> bool {
        // What it executed before it was looked at is told by now.
        self.drain() && self.lock().programs.is_unchanged(author.pid, program, author.after)
    }

    fn apply(&self, state: &mut State, event: &Event<'_>, pidfd: Option<OwnedFd>) {
        let pid = event.pid.cast_unsigned();
        let author = Author {
            pid,
            pidfd: pidfd.map(|pidfd| Arc::new(pidfd.into())),
            read: Instant::now(),
            after: state.emptied,
        };
        let has = |flag: u64| event.mask & flag != 0;
        if has(libc::FAN_OPEN_EXEC) {
            state.programs.execute(pid, author.read);
        }
        if has(libc::FAN_Q_OVERFLOW) {
            self.counters.failed(Failure::WatchOverflow);
            state.lost_notices = true;
            return;
        }
        let (mut target, mut entry, mut old, mut new) = (None, None, None, None);
        for info in event.infos() {
            match info {
                Info::Target(file) => target = Some(file),
                Info::Entry(place) => entry = Some(place),
                Info::OldEntry(place) => old = Some(place),
                Info::NewEntry(place) => new = Some(place),
                Info::Dir(_) | Info::Pidfd(_) | Info::Other(_) => {}
            }
        }
        if has(libc::FAN_DELETE_SELF | libc::FAN_MOVE_SELF)
            && let Some(site) = itself(target, entry).and_then(|file| self.sites.by_file(&file))
        {
            // Whoever reads a file with a path line that led here is judged after this, and looks where it leads now.
            if let Role::Target { of } = site.guarded.role {
                state.tracker.loosen(of);
            }
            self.send(state, Notice::SiteLost(site.id));
        }
        if has(libc::FAN_ONDIR) {
            // A directory called x.pth is no startup file.
            if let Some(place) = new.or(entry.filter(|_| has(libc::FAN_CREATE))) {
                self.subdirectory(state, &place, author);
            }
            return;
        }
        let startup_place = |place: Option<Place<'_>>| {
            let place = place?;
            let site = self.sites.by_file(&place.dir)?;
            site.is_startup(place.name).then(|| (site, place.name.to_owned()))
        };
        if has(libc::FAN_RENAME) {
            let (from, to) = (startup_place(old), startup_place(new));
            self.renamed(state, from, to, target, author);
            return;
        }
        if let Some(file) = target {
            self.written(state, event.mask, &file, &author);
        }
        let Some((site, name)) = startup_place(entry) else { return };
        if has(libc::FAN_CREATE)
            && let Some(file) = target
        {
            // Two changes of one name by one process may come merged; what is there now says which was the last.
            let gone = has(libc::FAN_DELETE) && !site.holds(&name, &file);
            self.appeared(state, &site, &name, file, How::Created, author);
            if gone {
                state.tracker.vanish(site.id, &name, Some(&file), pid);
            }
        } else if has(libc::FAN_DELETE) {
            state.tracker.vanish(site.id, &name, target.as_ref(), pid);
            if pid != std::process::id() {
                self.send(state, Notice::Removed { site: site.id, name, author });
            }
        }
    }

    /// A directory got a name under which code of a startup module may lie in it. Nobody lists the directory that it
    /// is in before it is guarded, too.
    fn subdirectory(&self, state: &mut State, place: &Place<'_>, author: Author) {
        let Some(site) = self.sites.by_file(&place.dir) else { return };
        if site.guarded.startup.inside(place.name.as_bytes()).is_none() {
            return;
        }
        let notice = Notice::Subdirectory { site: site.id, name: place.name.to_owned(), author };
        if self.send(state, notice) {
            state.tracker.queue_unseen(site.id);
        }
    }

    fn renamed(
        &self,
        state: &mut State,
        from: Option<(Arc<SiteDir>, OsString)>,
        to: Option<(Arc<SiteDir>, OsString)>,
        target: Option<FileId>,
        author: Author,
    ) {
        let is_ours = author.is_ours();
        let from = from.map(|(site, name)| {
            if is_ours {
                state.tracker.taken_aside(site.id, &name, target.as_ref());
            } else {
                state.tracker.vanish(site.id, &name, target.as_ref(), author.pid);
                if let Some(file) = &target {
                    state.tracker.rename_away(file);
                }
            }
            (site.id, name)
        });
        match (from, to, target) {
            (from, Some((site, name)), Some(file)) => {
                self.appeared(state, &site, &name, file, How::Renamed { from }, author);
            }
            (Some((site, name)), None, Some(file)) if !is_ours => {
                self.gate_neighbour(state, site, &file);
                self.send(state, Notice::Removed { site, name, author });
            }
            _ => {}
        }
    }

    /// An unapproved file left for a directory that is not guarded.
    fn gate_neighbour(&self, state: &mut State, site: SiteId, file: &FileId) {
        let is_approved = state.tracker.get(file).is_some_and(|entry| entry.approved);
        let Some(site) = self.sites.get(site).filter(|_| !is_approved) else { return };
        if let Ok(opened) = file.open(&site.dir, (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits()) {
            state.neighbours.gate(&self.gate, opened, |dir| self.sites.by_file(dir).is_some());
        }
    }

    /// Changes to the content of a tracked file.
    fn written(&self, state: &mut State, mask: u64, file: &FileId, author: &Author) {
        let Some(entry) = state.tracker.get_mut(file) else { return };
        let site = entry.names.last().map_or(SiteId(0), |(site, _)| *site);
        let is_permitted = author.is_ours() || entry.permit.as_ref().is_some_and(|permit| permit.is_writer(author.pid));
        let mut is_spoilt = false;
        if mask & libc::FAN_MODIFY != 0 && !is_permitted {
            // truncate(2) passes no gate, nor does a descriptor from before the file was tracked: a file that has such
            // a writer counts as not approved. One notice of it at a time, as its author may go on for ever.
            let is_from_before = !entry.probed && entry.permit.is_none() && entry.pending == 0;
            is_spoilt = std::mem::take(&mut entry.approved) || is_from_before;
            if let Some(permit) = &mut entry.permit {
                permit.tainted = true;
            }
        }
        let mut is_closed = false;
        if mask & libc::FAN_CLOSE_WRITE != 0 {
            entry.writers = entry.writers.saturating_sub(1);
            is_closed = entry.permit.is_some() || !entry.probed;
        }
        if is_closed {
            self.queue(state, file, site, Notice::Closed { file: *file, site });
        }
        if is_spoilt {
            self.queue(state, file, site, Notice::Spoilt { file: *file, site, author: author.clone() });
        }
    }

    fn appeared(&self, state: &mut State, site: &SiteDir, name: &OsStr, file: FileId, how: How, author: Author) {
        state.tracker.appear(file, site.id, name, author.pid);
        self.mark(&mut state.tracker, site, name, &file);
        if how == How::Created
            && let Some(entry) = state.tracker.get_mut(&file)
        {
            entry.fresh = true;
        }
        let mut author = author;
        if author.is_ours() {
            // We have put it there: an approved file that was replaced, or one that we took by mistake. That one has a
            // notice of its own, unless it was dealt with while the name was gone.
            if !state.tracker.needs_judgement(&file) {
                return;
            }
            author = Author::unknown();
        }
        let arrival = Arrival { site: site.id, name: name.to_owned(), file, how, author };
        self.queue(state, &file, site.id, Notice::Arrival(arrival));
    }

    /// Puts the guard's marks on a file's own inode. They are part of the decision: without them a write through
    /// another hard link, or through another mount of the file, goes unseen.
    fn mark(&self, tracker: &mut Tracker, site: &SiteDir, name: &OsStr, file: &FileId) {
        let Some(entry) = tracker.get_mut(file) else { return };
        if entry.marked {
            return;
        }
        let placed = reach(site, name, file, OFlag::O_PATH | OFlag::O_NOFOLLOW).and_then(|opened| {
            let kind = fstat(&opened)?.st_mode & libc::S_IFMT;
            entry.is_unseen = !matches!(kind, libc::S_IFREG | libc::S_IFDIR);
            if entry.is_unseen {
                return Ok(()); // marks on it would tell nothing
            }
            self.gate.mark(Opens::File, opened.as_fd())?;
            self.group.mark(Changes::File, opened.as_fd())
        });
        match placed {
            Ok(()) => entry.marked = true,
            // Gone again: there is nothing left to mark, and nobody can reach it by another name either.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESTALE | libc::ENOENT)) => {}
            Err(_) => self.counters.failed(Failure::Mark),
        }
    }

    /// Tracks a file that was found in a directory, rather than told of.
    pub fn track(&self, site: &SiteDir, name: &OsStr, file: FileId) {
        let mut state = self.lock();
        state.tracker.appear(file, site.id, name, 0);
        self.mark(&mut state.tracker, site, name, &file);
    }

    /// Tracks the file that a symbolic link in a directory leads to, under the link's name.
    pub fn track_target(&self, site: &SiteDir, name: &OsStr, target: &File) -> io::Result<FileId> {
        let file = FileId::of(target)?;
        let mut state = self.lock();
        state.tracker.alias(file, site.id, name);
        self.gate.mark(Opens::File, target)?;
        self.group.mark(Changes::File, target)?;
        if let Some(entry) = state.tracker.get_mut(&file) {
            entry.marked = true;
        }
        Ok(file)
    }

    /// Has a file looked at again whose permitted writer seems to have gone without a notification of its close.
    pub fn ask_to_settle(&self, file: &FileId) {
        let mut state = self.lock();
        let Some(entry) = state.tracker.get(file) else { return };
        if entry.pending == 0 {
            let site = entry.names.last().map_or(SiteId(0), |(site, _)| *site);
            self.queue(&mut state, file, site, Notice::Closed { file: *file, site });
        }
    }

    /// A guarded directory does not lie where it did.
    pub fn tell_lost(&self, site: SiteId) {
        let mut state = self.lock();
        if self.send(&mut state, Notice::SiteLost(site)) {
            // Whoever reads a file with a path line that led here looks where it leads now.
            if let Some(Role::Target { of }) = self.sites.get(site).map(|site| site.guarded.role.clone()) {
                state.tracker.loosen(of);
            }
        }
    }

    /// There is a directory again where a guarded one was lost.
    pub fn tell_filled(&self) {
        let mut state = self.lock();
        self.send(&mut state, Notice::SiteFilled);
    }

    /// Has a file that was found in a directory judged as if it had just come from this author.
    pub fn track_arrival(&self, site: &SiteDir, name: &OsStr, file: FileId, author: Author) {
        let mut state = self.lock();
        self.appeared(&mut state, site, name, file, How::Renamed { from: None }, author);
    }

    /// Forgets files that have had no startup name for a while, and takes their marks away. To be called when no
    /// permission event is unread.
    pub fn purge(&self) {
        let due = {
            let mut state = self.lock();
            state.neighbours.release_unused(&self.gate, |dir| self.sites.by_file(dir).is_some());
            state.tracker.due(std::time::Instant::now())
        };
        for some in due.chunks(PURGE) {
            // The marks go under the lock: a file that comes back meanwhile must not lose those that it then gets.
            let mut state = self.lock();
            for file in some {
                let Some(entry) = state.tracker.forget(file).filter(|entry| entry.marked) else { continue };
                let site = entry.names.iter().find_map(|(site, _)| self.sites.get(*site));
                let opened = site.map(|site| file.open(&site.dir, (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits()));
                if let Some(Ok(opened)) = opened {
                    let _ = self.gate.unmark(Opens::File, opened.as_fd()); // it may never have had them
                    let _ = self.group.unmark(Changes::File, opened.as_fd());
                }
            }
        }
    }

    /// Ends the watch over a directory that is gone or has been moved away.
    pub fn remove_site(&self, site: &SiteDir) {
        self.lock().tracker.forget_site(site.id);
        // Marks on a removed directory are gone already. As long as it is in the table nobody else takes it under guard,
        // whose marks would go here.
        let _ = self.gate.unmark(Opens::Children, &site.dir);
        let _ = self.listing.unmark(Opens::Listing, &site.dir);
        let _ = self.group.unmark(Changes::Entries, &site.dir);
        self.sites.remove(site.id);
    }

    fn queue(&self, state: &mut State, file: &FileId, site: SiteId, notice: Notice) {
        if self.send(state, notice) {
            state.tracker.queue_notice(file, site);
        }
    }

    /// Hands a notice to the gate; where there is no room for it, the directories are read again instead.
    fn send(&self, state: &mut State, notice: Notice) -> bool {
        let is_sent = self.notices.try_send(notice).is_ok();
        if !is_sent {
            self.counters.failed(Failure::WatchOverflow);
            state.lost_notices = true;
        }
        is_sent
    }
}

/// What an event about an object itself is about. A directory is told as its own entry `.` (fanotify(7)).
fn itself(target: Option<FileId>, entry: Option<Place<'_>>) -> Option<FileId> {
    entry.filter(|place| place.name == ".").map(|place| place.dir).or(target)
}

impl AsFd for Watch {
    /// Readable when there is something to [`Watch::drain`].
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.group.as_fd()
    }
}

struct Held<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Held<'_> {
    type Target = Tracker;

    fn deref(&self) -> &Tracker {
        &self.0.tracker
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Tracker {
        &mut self.0.tracker
    }
}
