//! Site directories that come to be while the guard runs, and those that nobody has named.
//!
//! ```text
//! discovery ×1: a directory was made or moved ─▶ is it one, is one in it? ──────────▶ guarded, scanned
//!               a name came on the way to one ─▶ where does the way lead now? ──────▶ guarded, scanned
//! search ×1:    once, after the start, and where a look was cut short ──────────────▶ guarded, scanned
//! ```
//!
//! Groups and threads of their own: whatever is made or moved elsewhere, and however slow its disk is, no decision waits
//! for it.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Guard;
use super::found::Unfinished;
use super::judgement::is_vital;
use super::survey::Brought;
use crate::audit::Action;
use crate::backlog::Backlog;
use crate::discovery::{
    Anchor, Anchors, Found, Limits, Scope, Search, Ways, is_inside_site, is_site_name, leads_to, path_of,
    site_directories,
};
use crate::fanotify::group::fd_link;
use crate::fanotify::wire::Info;
use crate::fanotify::{Changes, FileId, NotificationGroup, Pidfd};
use crate::model::Failure;
use crate::watch::{Author, Lane, Walk, reach_local};

/// How often it is looked whether it is over.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How soon a file that somebody still writes is looked at again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long the thread that is told looks below a moved directory. What is left is the other thread's.
const GLANCE: Duration = Duration::from_millis(10);
/// How long the search works at a time, and rests after that.
const TURN: Duration = Duration::from_millis(10);
/// Deeper than directories lie.
const DEPTH: usize = 64;
/// More directories than a disk has that can be searched in a day.
const DIRECTORIES: usize = 100_000_000;
/// Moved directories that wait to be looked below, and library directories, at most.
const WAITING: usize = 16_384;
/// Ways that are taken up before the queue is looked at again.
const AT_ONCE: usize = 16;
/// How often the queue is read before the other things are looked at.
const TURNS: usize = 8;
/// Searches that wait.
const SEARCHES: usize = 1024;
/// The shortest time between two searches of a file system; or so many times as long as the last search took.
const REST: Duration = Duration::from_millis(500);
const REST_FACTOR: u32 = 50;
/// The queue of the executions by which makers are told from those who became them: each has them all.
const TOLD_IN: Lane = Lane::System;
/// How often paths that are gone are forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// What discovery works with.
#[derive(Debug)]
pub(super) struct Discovery {
    /// Nothing outside of it is found; `None` where only the policy's directories are guarded.
    scope: Option<Scope>,
    /// Tells of directories, and of the executions of programs that may make them.
    group: NotificationGroup,
    work: Mutex<Work>,
    wake: EventFd,
    is_begun: AtomicBool,
    is_searching: AtomicBool,
    search_took_ms: AtomicU64,
    have_mounts_changed: AtomicBool,
    /// Directories that are guarded from now on, for their ways.
    guarded: Sender<PathBuf>,
    news: Receiver<PathBuf>,
    /// Directories that were guarded and do not lie where they did.
    lost: Sender<FileId>,
    strays: Receiver<FileId>,
    searches: Backlog<Quest>,
    quests: Receiver<Quest>,
    /// Files that somebody still wrote when their directory was taken under guard.
    pub(super) unfinished: Mutex<Vec<Unfinished>>,
    /// When the guard started, if for the first time: what is older is part of the baseline.
    pub(super) first_start: Option<SystemTime>,
}

#[derive(Debug)]
struct Work {
    anchors: Anchors,
    ways: Ways,
    buffer: Vec<u8>,
    /// When its queue was last known to be empty.
    emptied: Instant,
    /// Directories called `python3.12` and the like whose names are not watched yet.
    libraries: VecDeque<FileId>,
    /// Moved directories that have not been looked below yet.
    moved: VecDeque<FileId>,
    /// File systems on which too much happened to be looked at one by one, or of which nothing is told.
    unseen: HashMap<u64, Unseen>,
}

/// Whether a file system is to be searched, and when it was searched last for that.
#[derive(Clone, Copy, Debug, Default)]
struct Unseen {
    is_due: bool,
    /// Nothing is told of it: it is searched for ever.
    is_always: bool,
    searched: Option<Instant>,
}

/// What the search is to look for, and where.
#[derive(Debug)]
enum Quest {
    /// Everything below a directory.
    Below(PathBuf, Since),
    /// The site directories that interpreters say they use.
    Interpreters,
}

/// Since when what is found may have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// The start.
    Start,
    /// Later.
    Later,
}

/// A directory that was made or moved.
struct Told {
    dir: FileId,
    name: OsString,
    is_moved: bool,
    author: Author,
}

impl Discovery {
    pub(super) fn new(
        scope: Option<Scope>,
        globs: &[String],
        is_first_start: bool,
        told: [NotificationGroup; 2],
    ) -> io::Result<Self> {
        let [group, ways] = told;
        let (guarded, news) = unbounded();
        let (lost, strays) = unbounded();
        let (searches, quests) = Backlog::new(SEARCHES);
        Ok(Discovery {
            group,
            work: Mutex::new(Work {
                anchors: Anchors::of_scope(scope.clone().unwrap_or_default()),
                ways: Ways::new(globs, ways),
                buffer: Vec::new(),
                emptied: Instant::now(),
                libraries: VecDeque::new(),
                moved: VecDeque::new(),
                unseen: HashMap::new(),
            }),
            scope,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            is_begun: AtomicBool::new(false),
            is_searching: AtomicBool::new(false),
            search_took_ms: AtomicU64::new(0),
            have_mounts_changed: AtomicBool::new(false),
            guarded,
            news,
            lost,
            strays,
            searches,
            quests,
            unfinished: Mutex::default(),
            first_start: is_first_start.then(SystemTime::now),
        })
    }

    /// What a successor takes its groups over by.
    pub(super) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.group.as_fd().try_clone_to_owned()?, self.work().ways.as_fd().try_clone_to_owned()?])
    }

    /// Whether new directories of that path are noticed without anybody looking.
    pub(super) fn covers(&self, path: &Path) -> bool {
        let has_name = path.file_name().is_some_and(is_site_name);
        has_name && self.scope.as_ref().is_some_and(|scope| scope.contains(path))
    }

    /// What it is at.
    pub(super) fn state(&self) -> crate::status::Discovery {
        use crate::status::Discovery as State;
        if self.scope.is_none() {
            State::Off
        } else if !self.is_begun.load(Ordering::Acquire) {
            State::Waiting
        } else if self.is_searching.load(Ordering::Acquire) || !self.searches.is_empty() {
            State::Searching
        } else {
            State::Done
        }
    }

    /// Whether the kernel tells of directories without telling of files; `None` where nothing is watched.
    pub(super) fn leaves_out_files(&self) -> Option<bool> {
        self.group.leaves_out_files()
    }

    /// Has the way to a guarded directory watched.
    pub(super) fn watch_way(&self, path: PathBuf) {
        let _ = self.guarded.send(path); // the other end is part of the same struct
        if self.is_begun.load(Ordering::Acquire) {
            self.wake(); // else the beginning does
        }
    }

    /// A guarded directory was lost. It is guarded again where it lies now.
    pub(super) fn look_for(&self, dir: FileId) {
        if self.scope.is_some() {
            let _ = self.lost.send(dir);
            self.wake();
        }
    }

    /// File systems were mounted or unmounted: those that are new are watched and searched.
    pub(super) fn mounts_changed(&self) {
        self.have_mounts_changed.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the executions of a program told of here, too: they must be told before what the program makes.
    pub(super) fn watch_program(&self, file: &fs::File) {
        if self.scope.is_some() {
            let _ = self.group.mark(Changes::Execution, file); // then what it makes is nobody's
        }
    }

    pub(super) fn wake(&self) {
        let _ = self.wake.write(1); // can only fail when it has been written 2^64 - 2 times
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// From now on it is told which directories are made and moved. Nothing is done about it before
    /// [`Guard::begin_discovery`], so that nothing that is made meanwhile becomes part of the baseline that would not
    /// have been found there.
    pub fn prepare_discovery(&self) {
        if self.discovery.scope.is_some() {
            self.look_at_mounts(&mut self.discovery.work(), Since::Start);
        }
    }

    /// The baseline is complete: what is found from now on came later.
    pub fn begin_discovery(&self) {
        // Those that are asked lie on the system's own file system.
        if self.discovery.scope.as_ref().is_some_and(|scope| scope.contains(Path::new("/usr"))) {
            let _ = self.discovery.searches.try_send(Quest::Interpreters); // without room there is enough to do
        }
        self.discovery.is_begun.store(true, Ordering::Release);
        self.discovery.wake();
    }

    pub(super) fn run_discovery(&self) {
        let discovery = &self.discovery;
        let (mut has_begun, mut forgot) = (false, Instant::now());
        while !self.is_stopping() {
            self.wait_for_discoveries();
            let _ = discovery.wake.read();
            if !discovery.is_begun.load(Ordering::Acquire) {
                continue;
            }
            let work = &mut *discovery.work();
            if !std::mem::replace(&mut has_begun, true) {
                self.follow_ways(work);
            }
            if discovery.have_mounts_changed.swap(false, Ordering::AcqRel) {
                if discovery.scope.is_some() {
                    self.look_at_mounts(work, Since::Later);
                }
                self.follow_ways(work);
            }
            self.read_directories(work);
            self.watch_libraries(work);
            self.look_below_moved(work);
            self.search_unseen(work);
            self.guard_strays(work);
            self.watch_new_ways(work);
            self.read_ways(work);
            self.finish_unfinished();
            if forgot.elapsed() >= FORGET {
                forgot = Instant::now();
                if let Ok(walk) = Walk::new() {
                    work.ways.forget(&walk, |path| self.parts.watch.sites.by_path(path).is_some());
                }
                if work.ways.is_full() {
                    let message =
                        "more names lead to site directories than are watched: symbolic links may go unnoticed";
                    self.failed(Failure::Mark, "/".into(), message);
                }
            }
        }
    }

    fn wait_for_discoveries(&self) {
        let discovery = &self.discovery;
        let mut wait = if discovery.unfinished().is_empty() { HEARTBEAT } else { AGAIN };
        let own = [discovery.wake.as_fd(), self.stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if !discovery.is_begun.load(Ordering::Acquire) {
            let _ = poll(&mut own.clone(), PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO));
            return;
        }
        let work = discovery.work();
        if !work.moved.is_empty()
            || !work.libraries.is_empty()
            || !discovery.news.is_empty()
            || !discovery.strays.is_empty()
        {
            wait = Duration::ZERO;
        }
        let told = [discovery.group.as_fd(), work.ways.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut [own, told].concat(), PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO));
    }

    /// Directories that were guarded are guarded where they lie now.
    fn guard_strays(&self, work: &mut Work) {
        for stray in self.discovery.strays.try_iter().take(AT_ONCE) {
            if let Ok(dir) = work.anchors.reach(&stray) {
                self.guard_found(&dir, Brought::Found { maker: None });
            }
        }
        work.anchors.release();
    }

    fn watch_new_ways(&self, work: &mut Work) {
        let paths: Vec<PathBuf> = self.discovery.news.try_iter().take(AT_ONCE).collect();
        if paths.is_empty() {
            return;
        }
        let Ok(walk) = Walk::new() else { return };
        for path in paths {
            work.ways.add(&walk, &path);
            self.look_along(&walk, &path); // what came before the way was watched
        }
    }

    /// Watches the ways of the policy anew, and guards where they lead.
    fn follow_ways(&self, work: &mut Work) {
        let Ok(walk) = Walk::new() else { return };
        let paths = work.ways.follow(&walk);
        paths.iter().for_each(|path| self.look_where_it_leads(path));
    }

    /// Marks the file systems that are new, and has them searched.
    fn look_at_mounts(&self, work: &mut Work, since: Since) {
        let walk = match Walk::new() {
            Ok(walk) => walk,
            Err(error) => return self.failed(Failure::Mark, "/proc/self/mountinfo".into(), &error.to_string()),
        };
        for (anchor, root) in work.anchors.refresh(&walk) {
            if let Err(error) = self.discovery.group.mark_new_directories(&root) {
                // Whose handles cannot be opened (overlayfs), of that nothing is told (EOPNOTSUPP).
                let message = format!("searched now and then for new site directories ({}): {error}", anchor.kind);
                self.failed(Failure::Mark, anchor.point.clone(), &message);
                let unseen = Unseen { is_due: true, is_always: true, searched: Some(Instant::now()) };
                work.unseen.insert(anchor.mount, unseen);
            }
            self.search_anchor(work, &anchor, since);
        }
    }

    fn search_anchor(&self, work: &Work, anchor: &Anchor, since: Since) {
        work.anchors.roots(anchor).into_iter().for_each(|root| self.search(root, since));
    }

    fn search(&self, below: PathBuf, since: Since) {
        if !self.discovery.searches.try_send(Quest::Below(below, since)) {
            // More directories are moved than can be searched. What is in them is not guarded.
            self.parts.counters.failed(Failure::WatchOverflow);
        }
    }

    /// Reads which directories were made and moved. Those that have the name of one, or of a directory that has one in it,
    /// come first; moved ones are many in a storm, and are left for [`Guard::look_below_moved`].
    fn read_directories(&self, work: &mut Work) {
        let group = &self.discovery.group;
        for _ in 0..TURNS {
            // An execution that was told before this is no sign of a maker that became a permitted program afterwards.
            let is_drained = self.parts.watch.drain(TOLD_IN);
            let now = Instant::now();
            let mut due = group.queued().unwrap_or(0);
            if due == 0 {
                work.emptied = if is_drained { now } else { work.emptied };
                break;
            }
            let (mut told, mut is_lost) = (Vec::new(), false);
            while due > 0 {
                let read = group.read(&mut work.buffer, |event, pidfd| {
                    is_lost |= event.mask & libc::FAN_Q_OVERFLOW != 0;
                    told.extend(told_by(event, pidfd, work.emptied));
                });
                due = read.ok().filter(|read| *read > 0).map_or(0, |read| due.saturating_sub(read));
            }
            told.iter().for_each(|told| self.look_at(work, told));
            self.bound_what_waits(work);
            if is_lost {
                self.search_everything(work);
            }
        }
        work.anchors.release();
    }

    /// Too much has happened to be looked at one by one.
    fn search_everything(&self, work: &mut Work) {
        self.parts.counters.failed(Failure::WatchOverflow);
        let all: Vec<u64> = work.anchors.all().iter().map(|anchor| anchor.mount).collect();
        all.into_iter().for_each(|mount| work.unseen.entry(mount).or_default().is_due = true);
    }

    /// A directory was made or moved that may be a site directory, or may have one in it.
    fn look_at(&self, work: &mut Work, told: &Told) {
        if is_site_name(&told.name) {
            if let Ok(dir) = work.anchors.reach(&told.dir) {
                self.guard_found(&dir, Brought::Found { maker: Some(&told.author) }); // else it is gone again
            }
        } else if is_library(&told.name) {
            work.libraries.push_back(told.dir); // a site directory that was made in it comes first
        }
        if told.is_moved && !is_site_name(&told.name) {
            // Moved again and again, it is where it is now.
            if work.moved.back() != Some(&told.dir) {
                work.moved.push_back(told.dir);
            }
        }
    }

    /// What waits is bounded, whatever a storm makes.
    fn bound_what_waits(&self, work: &mut Work) {
        if work.moved.len().max(work.libraries.len()) > WAITING {
            work.moved.clear();
            work.libraries.clear();
            self.search_everything(work);
        }
    }

    /// A link called site-packages that comes into a library directory nobody tells of, unless names in there are watched.
    fn watch_libraries(&self, work: &mut Work) {
        let some: Vec<FileId> = work.libraries.drain(..work.libraries.len().min(AT_ONCE)).collect();
        if some.is_empty() {
            return;
        }
        let Ok(walk) = Walk::new() else { return };
        let paths: Vec<PathBuf> =
            some.iter().filter_map(|library| path_of(work.anchors.reach(library).ok()?).ok()).collect();
        for path in paths.iter().flat_map(|path| ["site-packages", "dist-packages"].map(|name| path.join(name))) {
            if self.discovery.covers(&path) && !is_inside_site(&path) {
                work.ways.add(&walk, &path);
                self.look_where_it_leads(&path);
            }
        }
        work.anchors.release();
    }

    /// Looks below the directories that were moved, for a while.
    fn look_below_moved(&self, work: &mut Work) {
        let until = Instant::now() + GLANCE;
        while Instant::now() < until {
            let Some(moved) = work.moved.pop_front() else { break };
            if let Ok(dir) = work.anchors.reach(&moved) {
                self.glance_below(dir, until); // else it is gone again
            }
        }
        work.anchors.release();
    }

    /// Searches the file systems on which something happened that could not be looked at, each not too often.
    fn search_unseen(&self, work: &mut Work) {
        if self.discovery.is_searching.load(Ordering::Acquire) || !self.discovery.quests.is_empty() {
            return; // what is made meanwhile is looked for after that
        }
        let took = Duration::from_millis(self.discovery.search_took_ms.load(Ordering::Acquire));
        let rest = REST.max(took.saturating_mul(REST_FACTOR));
        let is_due = |unseen: &Unseen| unseen.is_due && unseen.searched.is_none_or(|at| at.elapsed() >= rest);
        let due: Vec<u64> = work.unseen.iter().filter(|(_, unseen)| is_due(unseen)).map(|(mount, _)| *mount).collect();
        for mount in due {
            let Some(anchor) = work.anchors.all().iter().find(|anchor| anchor.mount == mount).cloned() else {
                work.unseen.remove(&mount);
                continue;
            };
            if let Some(unseen) = work.unseen.get_mut(&mount) {
                (unseen.is_due, unseen.searched) = (unseen.is_always, Some(Instant::now()));
            }
            self.search_anchor(work, &anchor, Since::Later);
        }
    }

    /// What a moved directory has in it came with it. A large one is left to the thread that searches.
    fn glance_below(&self, dir: OwnedFd, until: Instant) {
        let Ok(mut search) = Search::below(&dir, Limits { depth: DEPTH, directories: DIRECTORIES }) else { return };
        let is_more = search.go_on(until, |found| self.guard_what(found, Since::Later));
        if is_more && let Ok(path) = path_of(&dir) {
            self.search(path, Since::Later);
        }
    }

    fn guard_what(&self, found: Found, since: Since) {
        let brought = match since {
            Since::Start => Brought::BeforeStart,
            Since::Later => Brought::Found { maker: None },
        };
        match found {
            Found::Directory(dir) => self.guard_found(&dir, brought),
            Found::Link(link) => {
                let Ok(path) = fs::read_link(fd_link(link.as_fd())) else { return };
                if self.discovery.scope.as_ref().is_some_and(|scope| scope.contains(&path)) && !is_inside_site(&path) {
                    self.discovery.watch_way(path);
                }
            }
        }
    }

    /// Guards a directory that was found, unless it is a package's own or lies where nothing is looked for.
    fn guard_found(&self, dir: &OwnedFd, brought: Brought<'_>) {
        let Ok(path) = path_of(dir) else { return };
        let is_wanted = self.discovery.covers(&path) && !is_inside_site(&path);
        if is_wanted && FileId::of(dir).is_ok_and(|file| self.parts.watch.sites.by_file(&file).is_none()) {
            self.guard_path(&path, brought);
        }
    }

    fn guard_path(&self, path: &Path, brought: Brought<'_>) {
        match self.guard_directory(path, brought) {
            Err(error) if error.why.kind() != io::ErrorKind::NotFound => {
                self.failed(Failure::Mark, path.to_owned(), &error.to_string());
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Looks where a path leads that led to a site directory, or would if there were one.
    pub(super) fn look_where_it_leads(&self, path: &Path) {
        if let Ok(walk) = Walk::new() {
            self.look_along(&walk, path);
        }
    }

    fn look_along(&self, walk: &Walk, path: &Path) {
        let Some(target) = leads_to(walk, path) else { return };
        let Ok(dir) = target.file() else { return };
        if let Some(site) = self.parts.watch.sites.by_path(&target.path).and_then(|id| self.parts.watch.sites.get(id)) {
            if site.identity.is(&dir) {
                return;
            }
            if self.is_lost(&site) {
                self.parts.watch.tell_lost(&site);
            }
        }
        if self.parts.watch.sites.by_file(&dir).is_none() && !is_vital(&target.path) {
            self.guard_path(&target.path, Brought::Found { maker: None });
        }
    }

    fn read_ways(&self, work: &mut Work) {
        let news = match work.ways.read(&mut work.buffer) {
            Ok(news) => news,
            Err(_) => {
                self.parts.counters.failed(Failure::WatchOverflow);
                return self.follow_ways(work);
            }
        };
        news.paths.iter().for_each(|path| self.look_where_it_leads(path));
        if news.is_below_rest {
            drop(self.guard_sites());
        }
    }

    /// Searches what there is to search, one after the other and slowly.
    pub(super) fn run_search(&self) {
        while !self.is_stopping() {
            match self.stop.receive(&self.discovery.quests, HEARTBEAT) {
                None => {}
                Some(Quest::Interpreters) => self.ask_interpreters(),
                Some(Quest::Below(path, since)) => {
                    self.discovery.is_searching.store(true, Ordering::Release);
                    self.search_below(&path, since);
                    self.discovery.is_searching.store(false, Ordering::Release);
                }
            }
        }
    }

    fn search_below(&self, path: &Path, since: Since) {
        while !self.discovery.is_begun.load(Ordering::Acquire) && !self.is_stopping() {
            self.stop.sleep(HEARTBEAT / 10);
        }
        let Ok(place) = reach_local(path) else { return };
        let limits = Limits { depth: DEPTH, directories: DIRECTORIES };
        let Ok(mut search) = Search::below(&place.dir, limits) else { return };
        let begun = Instant::now();
        let mut found = 0;
        while search.go_on(Instant::now() + TURN, |one| {
            found += 1;
            self.guard_what(one, since);
        }) && !self.is_stopping()
        {
            self.stop.sleep(TURN);
        }
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.discovery.search_took_ms.store(took, Ordering::Release);
        if since == Since::Start {
            let said = format!("searched for site directories: {found} in {took} ms");
            self.parts.audit.record(self.note(Action::Search, path.to_owned()).saying(said));
        }
    }

    /// Guards what the host's interpreters say that they use.
    fn ask_interpreters(&self) {
        let mut remarks = Vec::new();
        for path in site_directories(&mut remarks) {
            if self.discovery.scope.as_ref().is_some_and(|scope| scope.contains(&path)) {
                let target = Walk::new().ok().and_then(|walk| leads_to(&walk, &path)).map(|target| target.path);
                if let Some(target) = target.filter(|target| !is_vital(target)) {
                    self.guard_path(&target, Brought::BeforeStart);
                }
                self.discovery.watch_way(path);
            }
        }
    }
}

impl Discovery {
    pub(super) fn unfinished(&self) -> MutexGuard<'_, Vec<Unfinished>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event tells of a directory that may be, or may have, a site directory.
fn told_by(event: &crate::fanotify::wire::Event<'_>, pidfd: Option<OwnedFd>, after: Instant) -> Option<Told> {
    if event.mask & libc::FAN_ONDIR == 0 {
        return None; // a kernel that cannot leave files out
    }
    let (mut dir, mut name) = (None, None);
    for info in event.infos() {
        match info {
            Info::Target(file) => dir = Some(file),
            Info::Entry(place) => name = Some(place.name),
            Info::Dir(_) | Info::OldEntry(_) | Info::NewEntry(_) | Info::Pidfd(_) | Info::Other(_) => {}
        }
    }
    let (dir, name) = dir.zip(name)?;
    let is_moved = event.mask & libc::FAN_MOVED_TO != 0;
    if !is_moved && !is_site_name(name) && !is_library(name) {
        return None;
    }
    let pidfd = pidfd.map(|pidfd| Arc::new(Pidfd::from(pidfd)));
    let author = Author { pid: event.pid.cast_unsigned(), pidfd, read: Instant::now(), after, lane: TOLD_IN };
    Some(Told { dir, name: name.to_owned(), is_moved, author })
}

/// `python3.12`, `python3`, `pypy3.10`: a site directory lies in it, or a symbolic link to one, of which nobody is told.
fn is_library(name: &std::ffi::OsStr) -> bool {
    name.as_bytes().starts_with(b"python") || name.as_bytes().starts_with(b"pypy")
}
