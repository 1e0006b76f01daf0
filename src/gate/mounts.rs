//! What is mounted where: guarded as soon as it is there, let go of as soon as it is not.
//!
//! A mount over a guarded directory, or over one above it, puts another directory in its place. The one below is covered,
//! and still there for whoever has it open, lives in another mount namespace, or comes after the unmount: it stays
//! guarded. No guarded directory is held open in a mount that somebody may want to unmount.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Guard;
use super::survey::NotGuarded;
use crate::fanotify::{Known, Lookup, MountNews, open_within};
use crate::watch::{NotReached, Reached, Role, SiteDir, SiteId, Walk};

/// After a change it is looked again so many milliseconds later each: a file system that was unmounted and mounted anew has
/// the same identity, and is taken for guarded until the loss of the first one has been dealt with.
const LOOKS_AFTER: [u16; 3] = [20, 200, 1000];
/// Directories of which it was told that they are not guarded.
const MAX_TOLD: usize = 1024;

/// On which mounts the guarded directories lie.
#[derive(Debug)]
pub(super) struct Mounted {
    news: MountNews,
    state: Mutex<State>,
    one_at_a_time: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    lies_on: HashMap<SiteId, u64>,
    /// A copy of each of these mounts, attached nowhere.
    copies: HashMap<u64, Arc<OwnedFd>>,
    told: BTreeSet<PathBuf>,
    containers: Vec<PathBuf>,
}

/// What is found at the path of a guarded directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The directory.
    Own,
    /// Something that was mounted over it.
    Covered,
    /// Something else, or nothing.
    Lost,
}

impl Mounted {
    /// Whether the kernel tells of mounts by a fanotify group.
    pub(super) fn is_told_by_group(&self) -> bool {
        matches!(self.news, MountNews::Group(_))
    }

    /// Listens from here on.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Mounted { news: MountNews::open()?, state: Mutex::default(), one_at_a_time: Mutex::default() })
    }

    /// Held by the thread that guards what the policy names. At the first start what is there becomes the baseline; another
    /// thread that is still at it when that is complete would hold the rest.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a directory so that it can be unmounted.
    pub(super) fn open(&self, place: &Reached) -> io::Result<File> {
        let known = self.state().copies.get(&place.mount).cloned();
        if let Some(dir) = known.and_then(|copy| place.open_in(&copy).ok()) {
            return Ok(dir);
        }
        let opened = place.copy_mount().and_then(|copy| Ok((place.open_in(&copy)?, copy)));
        match opened {
            Ok((dir, copy)) => {
                self.state().copies.insert(place.mount, Arc::new(copy));
                Ok(dir)
            }
            // In another mount namespace: its mounts end with it, whoever holds them.
            Err(_) => place.open(),
        }
    }

    /// Remembers the mount of a directory that is guarded from here on.
    pub(super) fn lies_on(&self, site: SiteId, mount: u64) {
        self.state().lies_on.insert(site, mount);
    }

    /// Those of which it was not told yet; what is not among them any more is told when it comes again.
    pub(super) fn news_of<'a>(&self, failed: &'a [NotGuarded]) -> Vec<&'a NotGuarded> {
        let mut state = self.state();
        let news = failed.iter().filter(|error| !state.told.contains(&error.path)).collect();
        state.told = failed.iter().take(MAX_TOLD).map(|error| error.path.clone()).collect();
        news
    }

    /// The root directories of the containers that run now.
    pub(super) fn set_containers(&self, roots: Vec<PathBuf>) {
        self.state().containers = roots;
    }

    /// The root directory of the container in which a path lies.
    pub(super) fn container_of(&self, path: &Path) -> Option<PathBuf> {
        self.state().containers.iter().find(|root| path.starts_with(root)).cloned()
    }

    fn mount_of(&self, site: SiteId) -> Option<u64> {
        self.state().lies_on.get(&site).copied()
    }

    /// Lets go of mounts that are gone, and of what was remembered of directories that are.
    fn forget(&self, walk: &Walk, sites: &BTreeSet<SiteId>) {
        let mut state = self.state();
        state.copies.retain(|mount, _| walk.mounts().contains(*mount));
        state.lies_on.retain(|site, _| sites.contains(site));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Waits for changes of the mounts. A disk that does not answer holds up this thread only.
    pub(super) fn run_mounts(&self) {
        let mut looks = [].iter();
        while !self.is_stopping() {
            let news = &self.mounts.news;
            let mut fds =
                [PollFd::new(news.as_fd(), news.poll_events()), PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
            let next = looks.next();
            let ready = poll(&mut fds, next.map_or(PollTimeout::NONE, |wait| PollTimeout::from(*wait)));
            if self.is_stopping() || (ready == Ok(0) && next.is_none()) {
                continue;
            }
            if ready.is_ok_and(|ready| ready > 0) {
                news.take();
                looks = LOOKS_AFTER.iter();
            }
            self.mounts_changed();
        }
    }

    /// Something was mounted or unmounted: what the policy names and is there now is guarded, what is gone is let go.
    pub(super) fn mounts_changed(&self) {
        drop(self.guard_sites());
        self.tell_lost_places();
        self.discovery.mounts_changed();
    }

    /// Looks at the place of every guarded directory, and tells of those that do not lie there any more.
    pub(super) fn tell_lost_places(&self) {
        let sites = self.parts.watch.sites.all();
        let walk = self.tell_lost_among(&sites);
        if let Some(walk) = walk.or_else(|| Walk::new().ok()) {
            self.mounts.forget(&walk, &sites.iter().map(|site| site.id).collect());
        }
    }

    /// The same for some of them, from a number on; the number to go on from.
    pub(super) fn tell_lost_some(&self, from: usize, count: usize) -> usize {
        let (some, next) = self.parts.watch.sites.some(from, count);
        self.tell_lost_among(&some);
        next
    }

    fn tell_lost_among(&self, sites: &[Arc<SiteDir>]) -> Option<Walk> {
        let mut walk = None;
        for site in sites {
            match self.place_of(site, &mut walk) {
                Place::Own => {}
                Place::Covered if self.is_open(site, walk.as_ref()) => self.parts.watch.tell_filled(),
                Place::Covered => {}
                Place::Lost => self.parts.watch.tell_lost(site),
            }
        }
        walk
    }

    /// Whether a guarded directory does not lie in its place any more.
    pub(super) fn is_lost(&self, site: &SiteDir) -> bool {
        self.place_of(site, &mut None) == Place::Lost
    }

    fn place_of(&self, site: &SiteDir, walk: &mut Option<Walk>) -> Place {
        let Ok(known) = Known::of(&site.dir) else { return Place::Own };
        let is_it = |there: Known| (there.device, there.inode) == (known.device, known.inode);
        // Nearly always all of the path is in the kernel's cache, and the directory is there.
        if look(&site.guarded.path).is_some_and(is_it) {
            return Place::Own;
        }
        if walk.is_none() {
            *walk = Walk::new().ok();
        }
        let Some(look) = walk.as_ref() else { return Place::Own };
        match look.reach(&site.guarded.path).map(|place| Known::of(place.dir)) {
            Ok(Ok(there)) if is_it(there) => return Place::Own,
            Ok(Err(_)) => return Place::Own, // what cannot be looked at counts as unchanged
            Err(NotReached::System(error)) if !is_absence(&error) => return Place::Own,
            Ok(Ok(_)) | Err(_) => {}
        }
        let own = self.mounts.mount_of(site.id).filter(|own| look.mounts().contains(*own));
        let is_covered = own.is_some() && look.mount_at(&site.guarded.path) != own;
        match &site.guarded.role {
            Role::Site if is_covered => Place::Covered,
            // As long as the directory that it is in.
            Role::Inside { of, .. } if is_covered => match self.parts.watch.sites.get(*of) {
                Some(of) if self.place_of(&of, walk) == Place::Covered => Place::Covered,
                Some(_) | None => Place::Lost,
            },
            Role::Site | Role::Inside { .. } | Role::Target { .. } => Place::Lost,
        }
    }

    /// Whether something stands over a covered directory that nobody guards and that can be guarded.
    fn is_open(&self, site: &SiteDir, walk: Option<&Walk>) -> bool {
        let covering = walk.and_then(|walk| walk.reach(&site.guarded.path).ok()?.file().ok());
        covering.is_some_and(|covering| self.parts.watch.sites.by_file(&covering).is_none())
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is at an absolute path, if that is known without waiting for anybody.
fn look(path: &Path) -> Option<Known> {
    let root = File::open("/").ok()?;
    let dir = open_within(root, path.strip_prefix("/").ok()?, Lookup::Cache).ok()?;
    Known::of(dir).ok()
}
