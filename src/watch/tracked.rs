//! The table of tracked files: every inode that has, or lately had, a startup name. Pure data, no I/O.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lanes::{Lane, PerLane};
use super::permit::{Permit, Stage};
use super::sites::SiteId;
use super::unrest::{Felt, Unrest};
use crate::fanotify::{ByFile, FileId, Kept};

/// How long a file without a startup name stays tracked. An opener that looked the name up before it went must have
/// reached the gate by then.
const GRACE: Duration = Duration::from_secs(60);
/// With more nameless files than this, the shorter time counts.
const CROWD: usize = 65_536;
const CROWDED_GRACE: Duration = Duration::from_secs(2);
/// How long after a process took an approved file away a denied newcomer of its own at that name counts as the
/// replacement. An exchange is told as a departure and an arrival; an installer removes the old version of a package
/// before it writes the new one, which takes as long as the package is large.
const REPLACEMENT: Duration = Duration::from_secs(600);
/// Names remembered for one file; more are a storm of renames or links.
const MAX_NAMES: usize = 32;

/// A site directory and a name in it.
pub type Place = (SiteId, OsString);

/// What is known of a tracked file.
#[derive(Clone, Debug, Default)]
pub struct TrackedFile {
    /// The startup names that it has, or had since it is tracked. Shared with whoever judges an open of it meanwhile.
    pub names: Arc<Vec<Place>>,
    /// Opens for writing that were let through and have not been closed, as each lane counts them. Never too low in the
    /// lane that marked the file first; too high where the kernel merged two closes, until a probe of the inode says that
    /// nobody writes.
    pub writers: PerLane<u32>,
    /// A probe has said that nobody writes, since when every writer has passed the gate. Until then a writer from
    /// before may be at work.
    pub probed: bool,
    /// The permit under which it is being written, until its content has been judged for good.
    pub permit: Option<Permit>,
    /// Opens for writing that were let through, ever: tells a probe whose answer has been overtaken.
    pub grants: u64,
    /// It was created, and the open that created it, if one did, has not been judged yet.
    pub fresh: bool,
    /// The open that created it, as it seems, was denied by a thread that must not touch directories. It is removed,
    /// unless somebody turns out to be permitted to write it.
    pub is_left_behind: bool,
    /// It is about to be removed: nobody is permitted to write it any more.
    pub is_condemned: bool,
    /// Its content was approved under one of its names, and nobody has changed it since who had no permit.
    pub approved: bool,
    /// A path line of it leads to where nobody stands guard, because nothing was there yet. It is looked at again when
    /// the file is read.
    pub is_loose: bool,
    /// Notices about it that the gate has not dealt with.
    pub pending: u32,
    /// Whether it is a symbolic link or a special file: opening it raises no event that could be answered.
    pub is_unseen: bool,
    /// Whether it had gone before anybody saw what it is, and so counts as such.
    pub is_unknown: bool,
    unseen_pending: VecDeque<(SiteId, u64)>,
    /// Whether its inode carries the marks of a lane.
    pub marked: PerLane<bool>,
    /// A symbolic link of a startup name leads to it: it is opened as a startup file under a name of its own.
    pub is_target: bool,
    /// When somebody last renamed it away from a startup name.
    renamed_away: Option<Instant>,
    nameless_since: Option<Instant>,
}

impl TrackedFile {
    /// Whether its content cannot change any more without passing the gate first: every writer since the last successful
    /// probe had to, which the inode's own mark sees to, and none of them is left. A probe that finds writers finds only
    /// those that wait at the gate.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.marked.iter().any(|marked| *marked) && self.probed && !self.has_writers()
    }

    /// Whether somebody who was let through writes it.
    #[must_use]
    pub fn has_writers(&self) -> bool {
        self.writers.iter().any(|writers| *writers > 0)
    }

    /// Somebody who was let through, or counted so, writes it no longer.
    pub fn lose_writer(&mut self, lane: Lane) {
        self.writers[lane] = self.writers[lane].saturating_sub(1);
    }

    /// Whether a judgement of its content is under way that may still approve it.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.pending > 0 || self.permit.as_ref().is_some_and(|permit| permit.stage != Stage::Beyond)
    }

    fn is_due(&self, now: Instant, grace: Duration) -> bool {
        self.pending == 0 && self.nameless_since.is_some_and(|since| now.saturating_duration_since(since) >= grace)
    }

    /// Whether an opener that shows with a name that is no startup file's may have opened it as one, before it was renamed
    /// away. A hard link elsewhere says nothing of that kind.
    #[must_use]
    pub fn was_startup(&self) -> bool {
        self.renamed_away.is_some_and(|at| at.elapsed() < GRACE)
    }
}

/// Newcomers of a directory that raise no event when they are opened, since the guard started.
#[derive(Clone, Debug, Default)]
struct Line {
    came: u64,
    /// The numbers of those that have not been dealt with.
    waiting: BTreeSet<u64>,
}

impl Line {
    fn join(&mut self) -> u64 {
        self.came += 1;
        self.waiting.insert(self.came);
        self.came
    }
}

/// How an approved file lost its name.
#[derive(Clone, Copy, Debug)]
struct Departure {
    at: Instant,
    /// The process that took it away, 0 for one that is not known.
    by: u32,
}

/// The table.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Each apart: a table has up to twice the room that it needs.
    files: ByFile<Box<TrackedFile>>,
    occupants: HashMap<Place, Kept>,
    /// Names whose approved file was replaced by a newcomer that has not been accepted.
    displaced: HashSet<Place>,
    /// Names whose approved file went away.
    departed: HashMap<Place, Departure>,
    unseen: HashMap<SiteId, Line>,
    /// By the directory itself: one that is moved away and back again is another site, and as restless as before.
    unrest: HashMap<FileId, Unrest>,
}

impl Tracker {
    /// A tracked file.
    #[must_use]
    pub fn get(&self, file: &FileId) -> Option<&TrackedFile> {
        self.files.get(file).map(Box::as_ref)
    }

    /// A tracked file, to be changed.
    pub fn get_mut(&mut self, file: &FileId) -> Option<&mut TrackedFile> {
        self.files.get_mut(file).map(Box::as_mut)
    }

    /// How many files are tracked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file that has this name now, as far as notifications tell.
    #[must_use]
    pub fn occupant(&self, site: SiteId, name: &OsStr) -> Option<FileId> {
        self.occupants.get(&(site, name.to_owned())).map(Kept::file)
    }

    /// Whether a file that was found under a name is known there and was accepted, or is about to be judged.
    #[must_use]
    pub fn is_dealt_with(&self, site: SiteId, name: &OsStr, file: &FileId) -> bool {
        self.occupant(site, name) == Some(*file) && !self.needs_judgement(file)
    }

    /// Whether nobody has judged a file, and nobody is about to.
    #[must_use]
    pub fn needs_judgement(&self, file: &FileId) -> bool {
        let is_settled = |entry: &TrackedFile| entry.approved || entry.pending > 0 || entry.permit.is_some();
        !self.get(file).is_some_and(is_settled)
    }

    /// A file is about to be put under a startup name, with approved bytes.
    pub fn expect_approved(&mut self, file: FileId) {
        let entry = self.files.get_or_insert_with(&file, Box::default);
        entry.approved = true;
        entry.nameless_since = Some(Instant::now());
    }

    /// A file got a startup name, from process `by` (0: not known). Returns the file that had it.
    pub fn appear(&mut self, file: FileId, site: SiteId, name: &OsStr, by: u32) -> Option<FileId> {
        let place = (site, name.to_owned());
        let before = self.occupants.insert(place.clone(), Kept::from(&file));
        let replaced = before.map(|before| before.file()).filter(|before| *before != file);
        if let Some(before) = replaced {
            if self.files.get(&before).is_some_and(|before| before.approved) {
                self.displaced.insert(place.clone());
            }
            self.lose_name(&before);
        }
        // What one process removed is not for another's newcomer to bring back: an administrator may have deleted a
        // file on purpose that an attacker's watcher then writes anew.
        let is_replacement =
            |departure: &&Departure| by != 0 && departure.by == by && departure.at.elapsed() < REPLACEMENT;
        if self.departed.get(&place).filter(is_replacement).is_some() {
            self.departed.remove(&place);
            self.displaced.insert(place.clone());
        }
        let entry = self.files.get_or_insert_with(&file, Box::default);
        entry.nameless_since = None;
        let names = Arc::make_mut(&mut entry.names);
        names.retain(|known| *known != place);
        if names.len() == MAX_NAMES {
            names.remove(0);
        }
        if names.is_empty() {
            names.reserve_exact(1); // nearly every file has one
        }
        names.push(place);
        replaced
    }

    /// A file was found in a directory. If it was known before, its file system may have been mounted anew since, with the
    /// same handles and other inodes: these carry no marks yet, and who writes them has not been asked.
    pub fn know_nothing_of(&mut self, file: &FileId, lane: Lane) {
        if let Some(entry) = self.files.get_mut(file) {
            entry.marked[lane] = false;
            entry.probed = false;
        }
    }

    /// A file is reached through a symbolic link of that name.
    pub fn alias(&mut self, file: FileId, site: SiteId, name: &OsStr) {
        let entry = self.files.get_or_insert_with(&file, Box::default);
        entry.is_target = true;
        entry.nameless_since = None;
        let place = (site, name.to_owned());
        if !entry.names.contains(&place) {
            Arc::make_mut(&mut entry.names).push(place);
        }
    }

    /// No symbolic link of that name leads anywhere any more. Who asked for a file by it may not have reached the gate yet,
    /// so it is still known as what a link leads to until it is forgotten.
    pub fn unalias(&mut self, place: &Place) {
        for entry in self.files.values_mut().filter(|entry| entry.is_target && entry.names.contains(place)) {
            if entry.names.len() > 1 {
                Arc::make_mut(&mut entry.names).retain(|name| name != place);
            } else {
                entry.nameless_since = Some(Instant::now());
            }
        }
    }

    /// Somebody renamed a file away from a startup name.
    pub fn rename_away(&mut self, file: &FileId) {
        if let Some(entry) = self.files.get_mut(file) {
            entry.renamed_away = Some(Instant::now());
        }
    }

    /// A probe of the file, begun when it had `grants`, found that nobody writes it.
    pub fn probed(&mut self, file: &FileId, grants: u64) {
        if let Some(entry) = self.files.get_mut(file)
            && entry.grants == grants
        {
            entry.probed = true;
            entry.writers = PerLane::default();
        }
    }

    /// An open for writing is let through. `permit` is the rule that allows it; without one it is somebody whom only
    /// audit mode or a failure's action lets through, and what is written is nobody's.
    pub fn grant(&mut self, lane: Lane, file: &FileId, permit: Option<Permit>) {
        let Some(entry) = self.files.get_mut(file) else { return };
        entry.grants += 1;
        entry.writers[lane] += 1;
        entry.fresh = false;
        match (&mut entry.permit, permit) {
            (Some(old), Some(new)) => {
                for writer in new.writers {
                    if !old.is_writer(writer.pid) {
                        old.writers.push(writer);
                    }
                }
                old.content = old.content.and(new.content);
                (old.stage, old.judged) = (Stage::Written, None);
                // An installer may open a file again and again before it is judged, and each place is judged.
                new.places.into_iter().for_each(|place| {
                    if !old.places.contains(&place) {
                        old.places.push(place);
                    }
                });
                old.tainted |= new.tainted;
                old.rule = new.rule;
            }
            (Some(old), None) => old.tainted = true,
            (slot @ None, permit) => *slot = permit,
        }
    }

    /// An open that seems to have created a file was denied without a look at the directory. Whether there is something
    /// to be removed.
    pub fn leave_behind(&mut self, file: FileId) -> bool {
        // It may not have been told of yet; without a name it is forgotten after a while.
        let entry = self.files.get_or_insert_with(&file, || {
            let nameless_since = Some(Instant::now());
            Box::new(TrackedFile { fresh: true, nameless_since, ..TrackedFile::default() })
        });
        entry.is_left_behind = entry.fresh && !entry.has_writers();
        entry.is_left_behind && !entry.names.is_empty()
    }

    /// Whether a file is to be removed because its creation was denied; from then on nobody is permitted to write it.
    pub fn condemn_leftover(&mut self, file: &FileId) -> bool {
        let Some(entry) = self.files.get_mut(file) else { return false };
        if entry.names.is_empty() {
            return false; // not told of yet
        }
        let is_leftover = std::mem::take(&mut entry.is_left_behind) && entry.fresh && !entry.has_writers();
        entry.is_condemned |= is_leftover;
        is_leftover
    }

    /// A name is gone, by process `by` (0: not known); with `file`, only if that file had it.
    pub fn vanish(&mut self, site: SiteId, name: &OsStr, file: Option<&FileId>, by: u32) -> Option<FileId> {
        let place = (site, name.to_owned());
        let occupant = self.lose_occupant(&place, file)?;
        self.displaced.remove(&place);
        if self.files.get(&occupant).is_some_and(|occupant| occupant.approved) {
            self.departed.insert(place, Departure { at: Instant::now(), by });
        }
        Some(occupant)
    }

    /// The guard itself has taken a file from its name: what has to come back there still has to.
    pub fn taken_aside(&mut self, site: SiteId, name: &OsStr, file: Option<&FileId>) {
        self.lose_occupant(&(site, name.to_owned()), file);
    }

    fn lose_occupant(&mut self, place: &Place, file: Option<&FileId>) -> Option<FileId> {
        let occupant = self.occupants.get(place)?.file();
        if file.is_some_and(|file| *file != occupant) {
            return None;
        }
        self.occupants.remove(place);
        self.lose_name(&occupant);
        Some(occupant)
    }

    fn is_occupant(&self, place: &Place, file: &FileId) -> bool {
        self.occupants.get(place).is_some_and(|occupant| occupant.is(file))
    }

    /// The names that a file has now.
    #[must_use]
    pub fn current_names(&self, file: &FileId) -> Vec<Place> {
        let Some(entry) = self.files.get(file) else { return Vec::new() };
        entry.names.iter().filter(|place| self.is_occupant(place, file)).cloned().collect()
    }

    /// Whether somebody who opens that name gets this file: it has the name, or a symbolic link of the name leads to it.
    #[must_use]
    pub fn leads_to(&self, site: SiteId, name: &OsStr, file: &FileId) -> bool {
        let place = (site, name.to_owned());
        self.is_occupant(&place, file)
            || self.files.get(file).is_some_and(|entry| entry.is_target && entry.names.contains(&place))
    }

    /// Has the path lines of every file in a directory looked at again when it is read.
    pub fn loosen(&mut self, site: SiteId) {
        for entry in self.files.values_mut().filter(|entry| entry.names.iter().any(|(of, _)| *of == site)) {
            entry.is_loose = true;
        }
    }

    /// Starts the clock for a file that lost its last name. It stays tracked for a while: an opener may have looked
    /// it up under that name and not have reached the gate yet.
    fn lose_name(&mut self, file: &FileId) {
        if self.current_names(file).is_empty()
            && let Some(entry) = self.files.get_mut(file)
        {
            entry.nameless_since = Some(Instant::now());
        }
    }

    /// A notice about a file is on its way to the gate. `listed` is the directory that an interpreter lists before it
    /// opens the file.
    pub fn queue_notice(&mut self, file: &FileId, listed: SiteId) {
        let Some(entry) = self.files.get_mut(file) else { return };
        entry.pending += 1;
        if entry.is_unseen {
            let number = self.unseen.entry(listed).or_default().join();
            entry.unseen_pending.push_back((listed, number));
        }
    }

    /// A notice about a directory in a directory is on its way to the gate; returns its number there.
    pub fn queue_unseen(&mut self, listed: SiteId) -> u64 {
        self.unseen.entry(listed).or_default().join()
    }

    /// That notice was dealt with, or did not find its way.
    pub fn settle_unseen(&mut self, listed: SiteId, number: u64) {
        if let Some(line) = self.unseen.get_mut(&listed) {
            line.waiting.remove(&number);
        }
    }

    /// A notice about a file was dealt with. Returns the directory whose listings may have waited for that.
    pub fn settle_notice(&mut self, file: &FileId) -> Option<SiteId> {
        let entry = self.files.get_mut(file)?;
        entry.pending = entry.pending.saturating_sub(1);
        let (listed, number) = entry.unseen_pending.pop_front()?;
        self.settle_unseen(listed, number);
        Some(listed)
    }

    /// What a listing has to wait for: this many newcomers of a directory that raise no event when they are opened.
    /// Others are stopped there.
    #[must_use]
    pub fn unseen_newcomers(&self, site: SiteId) -> u64 {
        self.unseen.get(&site).map_or(0, |line| line.came)
    }

    /// Whether the first `count` of them have been dealt with.
    #[must_use]
    pub fn has_settled(&self, site: SiteId, count: u64) -> bool {
        self.unseen.get(&site).and_then(|line| line.waiting.first()).is_none_or(|first| *first > count)
    }

    /// A newcomer of a directory that raises no event when it is opened was not let stay.
    /// One whose kind is not known makes a disturbance last, and is none by itself: files that tools make and rename in
    /// haste are gone as soon.
    pub fn disturb(&mut self, dir: FileId, is_known: bool) {
        let now = Instant::now();
        if !is_known {
            if let Some(unrest) = self.unrest.get_mut(&dir).filter(|unrest| unrest.is_recent(now)) {
                unrest.disturb(now);
            }
            return;
        }
        self.unrest.entry(dir).and_modify(|unrest| unrest.disturb(now)).or_insert_with(|| Unrest::new(now));
    }

    /// What such newcomers mean for those who want to list a directory.
    #[must_use]
    pub fn unrest(&self, dir: &FileId) -> Felt {
        let (unrest, now) = (self.unrest.get(dir), Instant::now());
        match unrest {
            Some(unrest) if unrest.is_felt(now) => Felt::ByAll,
            Some(unrest) if unrest.is_recent(now) => Felt::UnderWay,
            Some(_) | None => Felt::ByNobody,
        }
    }

    /// A thread begins to list a directory.
    pub fn begin_listing(&mut self, dir: &FileId, thread: u32) {
        if let Some(unrest) = self.unrest.get_mut(dir) {
            unrest.begin(thread);
        }
    }

    /// Whether a thread has begun to list a directory since a newcomer was refused there.
    #[must_use]
    pub fn has_begun_listing(&self, dir: &FileId, thread: u32) -> bool {
        self.unrest.get(dir).is_none_or(|unrest| unrest.has_begun(thread))
    }

    /// Remembers that an approved file has still to come back under this name.
    pub fn displace(&mut self, site: SiteId, name: &OsStr) {
        self.displaced.insert((site, name.to_owned()));
    }

    /// Whether an approved file has to come back under this name; asks once.
    pub fn take_displaced(&mut self, site: SiteId, name: &OsStr) -> bool {
        self.displaced.remove(&(site, name.to_owned()))
    }

    /// Forgets a directory: its names mean nothing any more.
    pub fn forget_site(&mut self, site: SiteId) {
        self.unseen.remove(&site);
        self.keep_names(site, &HashSet::new());
    }

    /// Forgets the names in a directory that are not among those that were found there.
    pub fn keep_names(&mut self, site: SiteId, found: &HashSet<OsString>) {
        let is_gone = |(of, name): &&Place| *of == site && !found.contains(name);
        let gone: Vec<OsString> = self.occupants.keys().filter(is_gone).map(|(_, name)| name.clone()).collect();
        for name in gone {
            self.vanish(site, &name, None, 0);
        }
    }

    /// The files that have had no name for a while and can be forgotten. In a storm of newcomers, which would fill the
    /// memory otherwise, after a shorter while.
    ///
    /// To be called only when no permission event waits unread: its file may be one of them.
    pub fn due(&mut self, now: Instant) -> Vec<FileId> {
        self.departed.retain(|_, departure| now.saturating_duration_since(departure.at) < REPLACEMENT);
        self.unrest.retain(|_, unrest| !unrest.is_forgiven(now));
        let nameless = self.files.values().filter(|entry| entry.nameless_since.is_some()).count();
        let grace = if nameless > CROWD { CROWDED_GRACE } else { GRACE };
        self.files.iter().filter(|(_, entry)| entry.is_due(now, grace)).map(|(file, _)| file.file()).collect()
    }

    /// Forgets a file that was due, unless it has got a name or a notice since.
    pub fn forget(&mut self, file: &FileId) -> Option<TrackedFile> {
        let is_idle = self.files.get(file).is_some_and(|entry| entry.is_due(Instant::now(), Duration::ZERO));
        if is_idle { self.files.remove(file).map(|entry| *entry) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::permit::Writer;
    use super::*;
    use crate::fanotify::Handle;
    use crate::model::ContentSet;

    const SITE: SiteId = SiteId(0);
    const PID: u32 = 7;

    fn file(number: u8) -> FileId {
        FileId { fsid: 1, handle: Handle::new(1, &[number; 8]).unwrap() }
    }

    #[test]
    fn a_rename_over_an_approved_file_and_back() {
        let mut tracker = Tracker::default();
        let name = OsStr::new("x.pth");
        assert_eq!(tracker.appear(file(1), SITE, name, PID), None);
        assert_eq!(tracker.appear(file(2), SITE, name, PID), Some(file(1)));
        assert_eq!(tracker.current_names(&file(1)), []);
        assert!(tracker.get(&file(1)).is_some(), "an opener may still come with it");
        assert_eq!(tracker.vanish(SITE, name, Some(&file(1)), PID), None, "it is not that file's name any more");
        assert_eq!(tracker.vanish(SITE, name, Some(&file(2)), PID), Some(file(2)));
        assert_eq!(tracker.occupant(SITE, name), None);
    }

    #[test]
    fn an_exchange_swaps_the_names_whatever_the_order() {
        let mut tracker = Tracker::default();
        let (a, b) = (OsStr::new("a.pth"), OsStr::new("b.pth"));
        tracker.appear(file(1), SITE, a, PID);
        tracker.appear(file(2), SITE, b, PID);
        tracker.vanish(SITE, a, Some(&file(1)), PID);
        tracker.appear(file(1), SITE, b, PID);
        tracker.vanish(SITE, b, Some(&file(2)), PID);
        tracker.appear(file(2), SITE, a, PID);
        assert_eq!((tracker.occupant(SITE, a), tracker.occupant(SITE, b)), (Some(file(2)), Some(file(1))));
    }

    #[test]
    fn a_file_is_forgotten_only_after_the_grace_time_and_never_while_it_has_a_name() {
        let mut tracker = Tracker::default();
        let later = Instant::now() + GRACE + Duration::from_secs(1);
        tracker.appear(file(1), SITE, OsStr::new("x.pth"), PID);
        assert!(tracker.due(later).is_empty());
        tracker.vanish(SITE, OsStr::new("x.pth"), None, PID);
        assert!(tracker.due(Instant::now()).is_empty());
        tracker.queue_notice(&file(1), SITE);
        assert!(tracker.due(later).is_empty(), "a notice about it is under way");
        tracker.settle_notice(&file(1));
        assert_eq!(tracker.due(later), [file(1)]);
        tracker.appear(file(1), SITE, OsStr::new("x.pth"), PID);
        assert!(tracker.forget(&file(1)).is_none(), "it has come back");
        tracker.vanish(SITE, OsStr::new("x.pth"), None, PID);
        assert!(tracker.forget(&file(1)).is_some());
        assert!(tracker.is_empty());
    }

    #[test]
    fn a_displaced_file_comes_back_once_and_not_after_a_removal() {
        let mut tracker = Tracker::default();
        let name = OsStr::new("x.pth");
        tracker.appear(file(1), SITE, name, PID);
        tracker.appear(file(2), SITE, name, PID);
        assert!(!tracker.take_displaced(SITE, name), "it was not approved");
        tracker.get_mut(&file(2)).unwrap().approved = true;
        tracker.appear(file(3), SITE, name, PID);
        tracker.appear(file(4), SITE, name, PID);
        assert!(tracker.take_displaced(SITE, name), "however many newcomers there were");
        assert!(!tracker.take_displaced(SITE, name));
        tracker.displace(SITE, name);
        tracker.taken_aside(SITE, name, None);
        assert!(tracker.take_displaced(SITE, name), "the guard's own doing is no removal");
        tracker.appear(file(4), SITE, name, PID);
        tracker.displace(SITE, name);
        tracker.vanish(SITE, name, None, PID);
        assert!(!tracker.take_displaced(SITE, name));
    }

    #[test]
    fn what_is_removed_comes_back_only_when_its_remover_is_denied_a_replacement() {
        let name = OsStr::new("x.pth");
        for (remover, newcomer, comes_back) in [(7, 7, true), (7, 8, false), (0, 0, false)] {
            let mut tracker = Tracker::default();
            tracker.appear(file(1), SITE, name, 1);
            tracker.get_mut(&file(1)).unwrap().approved = true;
            tracker.vanish(SITE, name, None, remover);
            tracker.appear(file(2), SITE, name, newcomer);
            assert_eq!(tracker.take_displaced(SITE, name), comes_back, "{remover} {newcomer}");
        }
    }

    #[test]
    fn content_is_final_when_every_writer_passed_the_gate_and_is_gone() {
        let mut tracker = Tracker::default();
        tracker.appear(file(1), SITE, OsStr::new("x.pth"), PID);
        let is_final = |tracker: &Tracker| tracker.get(&file(1)).unwrap().is_final();
        tracker.probed(&file(1), 0);
        assert!(!is_final(&tracker), "without a mark a writer may come unseen");
        tracker.get_mut(&file(1)).unwrap().marked[Lane::System] = true;
        assert!(is_final(&tracker));
        tracker.grant(Lane::System, &file(1), None);
        tracker.probed(&file(1), 0);
        assert!(!is_final(&tracker), "the writer came after the probe had begun");
        tracker.probed(&file(1), 1);
        assert!(is_final(&tracker));
    }

    #[test]
    fn a_permit_is_tainted_by_whoever_has_none() {
        let mut tracker = Tracker::default();
        tracker.appear(file(1), SITE, OsStr::new("x.pth"), PID);
        let writer = || Writer { pid: 7, process: None, subject: None };
        let permit = || Permit {
            rule: "pip".into(),
            content: ContentSet::ANY,
            writers: vec![writer()],
            stage: Stage::Written,
            judged: None,
            places: vec![(SITE, "x.pth".into())],
            tainted: false,
        };
        tracker.grant(Lane::System, &file(1), Some(permit()));
        tracker.grant(Lane::System, &file(1), Some(permit()));
        let granted = tracker.get(&file(1)).unwrap().permit.as_ref().unwrap();
        assert_eq!((granted.writers.len(), granted.places.len()), (1, 1), "it has opened the file twice");
        assert!(!granted.tainted);
        tracker.grant(Lane::System, &file(1), None);
        assert!(tracker.get(&file(1)).unwrap().permit.as_ref().unwrap().tainted);
        assert_eq!(tracker.get(&file(1)).unwrap().writers[Lane::System], 3);
    }

    #[test]
    fn the_names_of_one_file_are_bounded() {
        let mut tracker = Tracker::default();
        for number in 0..100 {
            tracker.appear(file(1), SITE, OsStr::new(&format!("{number}.pth")), PID);
        }
        assert_eq!(tracker.get(&file(1)).unwrap().names.len(), MAX_NAMES);
    }
}
