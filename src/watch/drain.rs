//! Reading the watch group: from notifications to the table of tracked files, and to notices for the gate.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use parking_lot::{Mutex, MutexGuard};

use super::lanes::{Lane, PerLane};
use super::links::Links;
use super::neighbours::Neighbours;
use super::programs::{ProgramId, Programs};
use super::sites::{Guarded, Role, SiteDir, SiteId, Sites, reach};
use super::tracked::Tracker;
use crate::approvals::DirectoryId;
use crate::audit::Counters;
use crate::backlog::Backlog;
use crate::fanotify::wire::{Event, Names, Place};
use crate::fanotify::{Changes, FileId, NotificationGroup, Opens, PermissionGroup, Pidfd};
use crate::model::{Failure, StartupNames};
use crate::quarantine::{aside_name, is_aside};

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
    /// Which queue.
    pub lane: Lane,
}

impl Author {
    fn is_ours(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Somebody, before now.
    #[must_use]
    pub fn unknown() -> Self {
        let now = Instant::now();
        Author { pid: 0, pidfd: None, read: now, after: now, lane: Lane::System }
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
        /// Listings of that directory wait for this number.
        listed: (SiteId, u64),
    },
    /// What was found in such a directory has been dealt with: the notices of it came before this one.
    SubdirectoryRead {
        /// Listings that wait for this can go on.
        listed: (SiteId, u64),
    },
    /// Where a symbolic link under a startup name leads may have changed, or the link is gone.
    LinkChanged {
        /// In which directory the link is.
        site: SiteId,
        /// Under which name.
        name: OsString,
        /// What has come into its target's place, where that is known.
        file: Option<FileId>,
        /// By whom.
        author: Author,
        /// Listings of that directory wait for this number.
        listed: (SiteId, u64),
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

/// The groups of a lane, and where what its watch group tells goes.
#[derive(Debug)]
pub struct Groups {
    /// Tells what comes and goes.
    pub changes: NotificationGroup,
    /// Stops opens of direct children of site directories and of tracked files.
    pub gate: Arc<PermissionGroup>,
    /// Stops listings of site directories.
    pub listing: Arc<PermissionGroup>,
    /// Where the gate listens.
    pub notices: Backlog<Notice>,
}

/// The watch groups and everything that they feed.
#[derive(Debug)]
pub struct Watch {
    /// The guarded directories.
    pub sites: Sites,
    pub(super) links: Links,
    startup: StartupNames,
    counters: Arc<Counters>,
    pub(super) lanes: PerLane<Groups>,
    /// Locked by whoever reads; before `state`.
    queues: PerLane<Mutex<Queue>>,
    /// Notices that found no room were dropped: the directories must be read again.
    lost_notices: PerLane<AtomicBool>,
    /// Fair locks, all of these: in a storm the threads that read and judge newcomers take them again and again, and
    /// std's may let the one that has just released it have it before the thread that answers.
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) tracker: Tracker,
    neighbours: PerLane<Neighbours>,
    programs: PerLane<Programs>,
}

/// A queue of notifications.
#[derive(Debug)]
struct Queue {
    buffer: Vec<u8>,
    /// Events that were read, ever.
    read: u64,
    /// When it was last known to be empty.
    emptied: Instant,
}

impl Watch {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(lanes: PerLane<Groups>, startup: StartupNames, counters: Arc<Counters>) -> Self {
        let now = Instant::now();
        let state = Mutex::new(State {
            tracker: Tracker::default(),
            neighbours: PerLane::default(),
            programs: PerLane::new(|_| Programs::new(now)),
        });
        let queues = PerLane::new(|_| Mutex::new(Queue { buffer: Vec::new(), read: 0, emptied: now }));
        Watch {
            sites: Sites::default(),
            links: Links::default(),
            startup,
            counters,
            lanes,
            queues,
            lost_notices: PerLane::default(),
            state,
        }
    }

    /// The groups of a lane.
    #[must_use]
    pub fn groups(&self, lane: Lane) -> &Groups {
        &self.lanes[lane]
    }

    /// The table of tracked files. Nobody may open a guarded file or wait for anything while holding it: the thread
    /// that answers the daemon's own opens needs it.
    pub fn tracker(&self) -> impl std::ops::DerefMut<Target = Tracker> + '_ {
        Held(self.lock())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether an entry that has this name now, in a directory that seems to be this one, may have been opened as a
    /// startup file: it has a startup name there, or has been taken aside by the guard.
    #[must_use]
    pub fn may_be_startup(&self, dir: &Path, name: &OsStr) -> bool {
        let site = self.sites.by_path(dir).and_then(|site| self.sites.get(site));
        is_aside(name) || site.map_or_else(|| self.startup.matches(name.as_bytes()), |site| site.is_startup(name))
    }

    /// Whether a symbolic link of a startup name leads to what seems to be this path.
    #[must_use]
    pub fn is_led_to(&self, dir: &Path, name: &OsStr) -> bool {
        self.links.leads_to(dir, name)
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
        let lane = Lane::of(&dir)?;
        let Some(site) = self.sites.add(guarded, dir, file, approvals, lane) else { return Ok(None) };
        if let Err(error) = self.lanes[lane].changes.mark(Changes::Entries, &site.dir) {
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
        self.lanes[site.lane].gate.mark(Opens::Children, &site.dir)?;
        self.lanes[site.lane].listing.mark(Opens::Listing, &site.dir)
    }

    /// Makes the kernel finish every rename, link or creation in a directory that has begun, and queue its
    /// notification: looking up a name that nobody has looked up before takes the directory's lock, which the kernel
    /// holds from the change of the name to the notification (`lookup_slow`, `vfs_rename`, Linux 6.18). Reading the
    /// directory would, too, but wait for an answer from the thread that does this.
    pub fn barrier(&self, lane: Lane, fsid: u64) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        for site in self.sites.all().iter().filter(|site| site.identity.fsid() == fsid && site.lane == lane) {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = aside_name(&format!("{}-{number}", std::process::id()));
            let _ = site.open(&name, OFlag::O_PATH); // it is not there
        }
    }

    /// Reads what is queued now and brings the table up to date. What arrives meanwhile is left to the next call, so
    /// that a storm cannot hold a decision. Whether all of it was read: not if there is too much for one turn.
    pub fn drain(&self, lane: Lane) -> bool {
        self.drain_until(lane, Instant::now() + TURN)
    }

    /// The same, until then at most. Others who read have their turn after each buffer full.
    pub fn drain_until(&self, lane: Lane, deadline: Instant) -> bool {
        let changes = &self.lanes[lane].changes;
        let mut queue = self.queues[lane].lock();
        let before = Instant::now();
        let queued = changes.queued().ok();
        let goal = queue.read + queued.unwrap_or(0) as u64;
        while queue.read < goal && Instant::now() < deadline {
            if !self.read_once(lane, &mut queue) {
                queue.read = goal; // there is less than was said
            }
            MutexGuard::bump(&mut queue);
        }
        if self.lost_notices[lane].load(Ordering::Relaxed) && self.lanes[lane].notices.try_send(Notice::Overflow) {
            self.lost_notices[lane].store(false, Ordering::Relaxed);
        }
        if queued == Some(0) {
            queue.emptied = queue.emptied.max(before);
        } else if changes.queued().is_ok_and(|queued| queued == 0) {
            queue.emptied = Instant::now();
        }
        queue.read >= goal
    }

    /// Whether nothing is queued in a lane now.
    pub fn is_drained(&self, lane: Lane) -> bool {
        self.drain_until(lane, Instant::now())
    }

    /// Reads and applies a buffer full. Whether there was anything.
    fn read_once(&self, lane: Lane, queue: &mut Queue) -> bool {
        let after = queue.emptied;
        let mut state = self.lock();
        let applied = self.lanes[lane].changes.read(&mut queue.buffer, |event, pidfd| {
            let author = Author {
                pid: event.pid.cast_unsigned(),
                pidfd: pidfd.map(|pidfd| Arc::new(pidfd.into())),
                read: Instant::now(),
                after,
                lane,
            };
            self.apply(&mut state, event, author);
        });
        if applied.is_err() {
            self.lost_notices[lane].store(true, Ordering::Relaxed);
        }
        let read = applied.unwrap_or(0);
        queue.read += read as u64;
        read > 0
    }

    /// Has the executions of a program told of, from now on.
    ///
    /// # Errors
    /// The mark cannot be placed: its file system has no handles, say.
    pub fn watch_program(&self, program: ProgramId, file: &File) -> io::Result<()> {
        for lane in Lane::ALL {
            if self.lock().programs[lane].wants(program) {
                self.lanes[lane].changes.mark(Changes::Execution, file)?;
                self.lock().programs[lane].watch(program, Instant::now());
            }
        }
        Ok(())
    }

    /// Whether a process that is this program now was that already when it did what a notification tells.
    #[must_use]
    pub fn is_unchanged(&self, author: &Author, program: ProgramId) -> bool {
        // What it executed before it was looked at is told by now.
        self.drain(author.lane) && self.lock().programs[author.lane].is_unchanged(author.pid, program, author.after)
    }

    fn apply(&self, state: &mut State, event: &Event<'_>, author: Author) {
        let (pid, lane) = (author.pid, author.lane);
        let has = |flag: u64| event.mask & flag != 0;
        if has(libc::FAN_OPEN_EXEC) {
            state.programs[lane].execute(pid, author.read);
        }
        if has(libc::FAN_Q_OVERFLOW) {
            self.counters.failed(Failure::WatchOverflow);
            self.lost_notices[lane].store(true, Ordering::Relaxed);
            return;
        }
        self.follow(state, event, &author);
        let names = Names::of(event);
        let Names { target, entry, old, new } = names;
        if has(libc::FAN_DELETE_SELF | libc::FAN_MOVE_SELF)
            && let Some(site) = names.itself().and_then(|file| self.sites.by_file(&file))
        {
            // Whoever reads a file with a path line that led here is judged after this, and looks where it leads now.
            if let Role::Target { of } = site.guarded.role {
                state.tracker.loosen(of);
            }
            self.send(site.lane, Notice::SiteLost(site.id));
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
                self.send(site.lane, Notice::Removed { site: site.id, name, author });
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
        let outermost = self.sites.listed_for(site.id);
        let listed = (outermost, state.tracker.queue_unseen(outermost));
        let notice = Notice::Subdirectory { site: site.id, name: place.name.to_owned(), author, listed };
        if !self.send(site.lane, notice) {
            state.tracker.settle_unseen(listed.0, listed.1);
        }
    }

    /// Tells, behind all notices of what is in a directory, that these are all. Whether there was room for that.
    pub fn tell_read(&self, lane: Lane, listed: (SiteId, u64)) -> bool {
        self.send(lane, Notice::SubdirectoryRead { listed })
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
                self.send(author.lane, Notice::Removed { site, name, author });
            }
            _ => {}
        }
    }

    /// An unapproved file left for a directory that is not guarded.
    fn gate_neighbour(&self, state: &mut State, site: SiteId, file: &FileId) {
        let is_approved = state.tracker.get(file).is_some_and(|entry| entry.approved);
        let Some(site) = self.sites.get(site).filter(|_| !is_approved) else { return };
        if let Ok(opened) = file.open(&site.dir, (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits()) {
            let lane = site.lane;
            let gate = &self.lanes[lane].gate;
            state.neighbours[lane].gate(gate, &site, opened, |dir| self.is_gated(dir, lane));
        }
    }

    /// Whether opens in a directory are judged in this lane anyway.
    fn is_gated(&self, dir: &FileId, lane: Lane) -> bool {
        self.is_site_of(dir, lane) || self.links.gates(dir)
    }

    /// Whether this is a guarded directory of this lane.
    pub(super) fn is_site_of(&self, dir: &FileId, lane: Lane) -> bool {
        self.sites.by_file(dir).is_some_and(|site| site.lane == lane)
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
            entry.lose_writer(author.lane);
            is_closed = entry.permit.is_some() || !entry.probed;
        }
        if is_closed {
            self.queue(state, author.lane, file, site, Notice::Closed { file: *file, site });
        }
        if is_spoilt {
            self.queue(state, author.lane, file, site, Notice::Spoilt { file: *file, site, author: author.clone() });
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
        self.queue(state, site.lane, &file, site.id, Notice::Arrival(arrival));
    }

    /// Puts the guard's marks on a file's own inode. They are part of the decision: without them a write through
    /// another hard link, or through another mount of the file, goes unseen.
    fn mark(&self, tracker: &mut Tracker, site: &SiteDir, name: &OsStr, file: &FileId) {
        let Some(entry) = tracker.get_mut(file) else { return };
        if entry.marked[site.lane] {
            return;
        }
        let placed = reach(site, name, file, OFlag::O_PATH | OFlag::O_NOFOLLOW).and_then(|opened| {
            let kind = fstat(&opened)?.st_mode & libc::S_IFMT;
            entry.is_unseen = !matches!(kind, libc::S_IFREG | libc::S_IFDIR);
            entry.is_unknown = false;
            if entry.is_unseen {
                return Ok(()); // marks on it would tell nothing
            }
            self.mark_file(site.lane, opened.as_fd())
        });
        match placed {
            Ok(()) => entry.marked[site.lane] = true,
            // Gone again: there is nothing left to mark, and nobody can reach it by another name either. Who has listed
            // the directory meanwhile may have its name, and it may have been a link: links are never marked.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESTALE | libc::ENOENT)) => {
                entry.is_unknown = !entry.marked.iter().any(|marked| *marked);
                entry.is_unseen = entry.is_unknown;
            }
            Err(_) => self.counters.failed(Failure::Mark),
        }
    }

    pub(super) fn mark_file(&self, lane: Lane, file: impl AsFd) -> io::Result<()> {
        self.lanes[lane].gate.mark(Opens::File, file.as_fd())?;
        self.lanes[lane].changes.mark(Changes::File, file.as_fd())
    }

    /// Tracks a file that was found in a directory, rather than told of.
    pub fn track(&self, site: &SiteDir, name: &OsStr, file: FileId) {
        let mut state = self.lock();
        state.tracker.appear(file, site.id, name, 0);
        state.tracker.know_nothing_of(&file, site.lane);
        self.mark(&mut state.tracker, site, name, &file);
    }

    /// Tracks the file that a symbolic link in a directory leads to, under the link's name.
    pub fn track_target(&self, site: &SiteDir, name: &OsStr, target: impl AsFd) -> io::Result<FileId> {
        let target = target.as_fd();
        let file = FileId::of(target)?;
        let mut state = self.lock();
        state.tracker.alias(file, site.id, name);
        self.mark_file(site.lane, target)?;
        if let Some(entry) = state.tracker.get_mut(&file) {
            entry.marked[site.lane] = true;
        }
        Ok(file)
    }

    /// Has a file looked at again whose permitted writer seems to have gone without a notification of its close.
    pub fn ask_to_settle(&self, file: &FileId) {
        let mut state = self.lock();
        let Some(entry) = state.tracker.get(file) else { return };
        if entry.pending == 0 {
            let site = entry.names.last().map_or(SiteId(0), |(site, _)| *site);
            let lane = self.sites.get(site).map_or(Lane::System, |site| site.lane);
            self.queue(&mut state, lane, file, site, Notice::Closed { file: *file, site });
        }
    }

    /// A guarded directory does not lie where it did.
    pub fn tell_lost(&self, site: &SiteDir) {
        let mut state = self.lock();
        if self.send(site.lane, Notice::SiteLost(site.id)) {
            // Whoever reads a file with a path line that led here looks where it leads now.
            if let Role::Target { of } = site.guarded.role {
                state.tracker.loosen(of);
            }
        }
    }

    /// There is a directory again where a guarded one was lost.
    pub fn tell_filled(&self) {
        self.send(Lane::System, Notice::SiteFilled);
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
            for lane in Lane::ALL {
                let gate = &self.lanes[lane].gate;
                state.neighbours[lane].release_unused(gate, |dir| self.is_gated(dir, lane));
            }
            state.tracker.due(std::time::Instant::now())
        };
        for some in due.chunks(PURGE) {
            // The marks go under the lock: a file that comes back meanwhile must not lose those that it then gets.
            let mut state = self.lock();
            for file in some {
                let Some(entry) = state.tracker.forget(file) else { continue };
                let site = entry.names.iter().find_map(|(site, _)| self.sites.get(*site));
                let opened = site.map(|site| file.open(&site.dir, (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits()));
                if let Some(Ok(opened)) = opened {
                    for lane in Lane::ALL.into_iter().filter(|lane| entry.marked[*lane]) {
                        let _ = self.lanes[lane].gate.unmark(Opens::File, opened.as_fd()); // gone with it, perhaps
                        let _ = self.lanes[lane].changes.unmark(Changes::File, opened.as_fd());
                    }
                }
            }
        }
    }

    /// Ends the watch over a directory that is gone or has been moved away.
    pub fn remove_site(&self, site: &SiteDir) {
        self.lock().tracker.forget_site(site.id);
        // Marks on a removed directory are gone already. As long as it is in the table nobody else takes it under guard,
        // whose marks would go here.
        let groups = &self.lanes[site.lane];
        let _ = groups.gate.unmark(Opens::Children, &site.dir);
        let _ = groups.listing.unmark(Opens::Listing, &site.dir);
        let _ = groups.changes.unmark(Changes::Entries, &site.dir);
        self.sites.remove(site.id);
        if self.keep_link_marks(site).is_err() {
            self.counters.failed(Failure::Mark);
        }
    }

    fn queue(&self, state: &mut State, lane: Lane, file: &FileId, site: SiteId, notice: Notice) {
        if self.send(lane, notice) {
            state.tracker.queue_notice(file, self.sites.listed_for(site));
        }
    }

    /// Hands a notice to the gate; where there is no room for it, the directories are read again instead.
    pub(super) fn send(&self, lane: Lane, notice: Notice) -> bool {
        let is_sent = self.lanes[lane].notices.try_send(notice);
        if !is_sent {
            self.counters.failed(Failure::WatchOverflow);
            self.lost_notices[lane].store(true, Ordering::Relaxed);
        }
        is_sent
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
