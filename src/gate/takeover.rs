//! Those who were waiting when an earlier guard ended, and those who have come since.
//!
//! Its groups, kept by the service manager or handed over when the daemon executes itself anew, hold everybody back who
//! opens something in the directories that it guarded. Nobody can be judged before those directories are known again: so
//! who comes meanwhile is kept waiting, and judged as soon as they are. Nothing waits for that without a limit: the
//! daemon lets everybody go if it does not come about.
//!
//! An event that the earlier guard had read and not answered is found again in the [`Ledger`]. Its file is opened once
//! more, by its handle, and takes the number that the event had; from there on it is an event like any other.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use parking_lot::Mutex;

use super::Guard;
use super::survey::Brought;
use crate::audit::{Action, Outcome, Record};
use crate::fanotify::group::Marked;
use crate::fanotify::ledger::{NUMBERS, reserve};
use crate::fanotify::{FileId, Ledger, Left, Opens, PermissionEvent, PermissionGroup, Reply};
use crate::model::{Access, Verdict};
use crate::resolve::{Asked, asked, asked_path};
use crate::watch::{Groups, Lane, Mounts, PerLane, Walks, is_layered, reach, reach_local};

/// An opener at the gate of that lane, or a listing.
type Judge = fn(&Guard, Lane, PermissionEvent, Instant);

/// The paths of the guarded site directories, for a successor: it finds those again at once that no glob names. In memory
/// that outlives the process, one after the other, each with a zero byte behind it.
#[derive(Debug)]
pub struct GuardedList(Mutex<File>);

/// Whoever can make site directories cannot fill the memory with their names; bytes.
const LONGEST_LIST: u64 = 4 << 20;

impl GuardedList {
    /// An empty one.
    ///
    /// # Errors
    /// What memfd_create(2) says.
    pub fn new() -> io::Result<Self> {
        Ok(GuardedList(Mutex::new(File::from(memfd_create(c"pthguard-guarded", MFdFlags::MFD_CLOEXEC)?))))
    }

    /// Takes over one, and what it says: it is empty then.
    #[must_use]
    pub fn adopt(list: OwnedFd) -> (Self, Vec<PathBuf>) {
        let mut file = File::from(list);
        let mut bytes = Vec::new();
        let _ = file.rewind().and_then(|()| Read::by_ref(&mut file).take(LONGEST_LIST).read_to_end(&mut bytes)); // what there is
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let whole = bytes.iter().rposition(|byte| *byte == 0).map_or(&bytes[..0], |end| &bytes[..end]);
        let paths = whole.split(|byte| *byte == 0).filter(|path| path.starts_with(b"/"));
        let paths = paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect();
        (GuardedList(Mutex::new(file)), paths)
    }

    pub(super) fn add(&self, path: &Path) {
        let mut file = self.0.lock();
        if file.metadata().is_ok_and(|metadata| metadata.len() < LONGEST_LIST) {
            let line = [path.as_os_str().as_bytes(), b"\0"].concat();
            let _ = file.write_all(&line); // it is found by the search, then
        }
    }

    /// What a successor takes it over by.
    ///
    /// # Errors
    /// No descriptor is left (EMFILE).
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.lock().as_fd().try_clone_to_owned()
    }
}

/// What an earlier guard has left.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Which site directories it guarded.
    guarded: Vec<PathBuf>,
    /// Each with its number kept free, unless something else had taken it before.
    left: Vec<(Left, Option<OwnedFd>)>,
    /// Numbers up to this one may be waited for that nobody has noted.
    highest: i32,
    /// How many groups were taken over.
    groups: usize,
    sums: Sums,
}

/// How many have been taken over.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Had been read.
    read: usize,
    /// Have come since.
    waited: usize,
    /// Were answered without being judged.
    unjudged: usize,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.waited += more.waited;
        self.unjudged += more.unjudged;
    }
}

impl Inherited {
    /// Looks what is left, and keeps the numbers free. Before anything else is opened: a number that is taken can only be
    /// answered, not judged.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let left = ledger.left().into_iter().map(|left| (left, reserve(left.number))).collect();
        Inherited { left, highest: ledger.highest(), ..Inherited::default() }
    }

    /// Nobody has noted who waits, or not in a way that is understood here: any number may be waited for.
    #[must_use]
    pub fn unknown() -> Self {
        Inherited { highest: i32::try_from(NUMBERS).unwrap_or(i32::MAX), ..Inherited::default() }
    }

    /// The same, with so many groups and these guarded directories.
    #[must_use]
    pub fn with(self, groups: usize, guarded: Vec<PathBuf>) -> Self {
        Inherited { groups, guarded, ..self }
    }

    /// Whether there is anything to take over.
    #[must_use]
    pub fn is_something(&self) -> bool {
        self.groups > 0
    }
}

/// Those who wait in one lane.
type Held = Vec<(Judge, PermissionEvent)>;

/// What is taken over, and those who have come before the directories are known again.
#[derive(Debug)]
pub(super) struct Early {
    is_on: PerLane<AtomicBool>,
    held: PerLane<Mutex<Option<Held>>>,
    inherited: Mutex<Inherited>,
}

impl Early {
    pub(super) fn new(inherited: Inherited) -> Self {
        let is_on = inherited.is_something();
        Early {
            is_on: PerLane::new(|_| AtomicBool::new(is_on)),
            held: PerLane::new(|_| Mutex::new(is_on.then(Held::new))),
            inherited: Mutex::new(inherited),
        }
    }

    /// Keeps somebody waiting, or gives him back to be judged now.
    pub(super) fn hold(&self, lane: Lane, judge: Judge, event: PermissionEvent) -> Option<PermissionEvent> {
        if !self.is_on(lane) {
            return Some(event);
        }
        let mut held = self.held[lane].lock();
        let Some(held) = held.as_mut() else { return Some(event) };
        held.push((judge, event));
        None
    }

    /// Whether somebody may have come in this lane before its directories are known again.
    pub(super) fn is_on(&self, lane: Lane) -> bool {
        self.is_on[lane].load(Ordering::Acquire)
    }

    fn end(&self, lane: Lane) -> Held {
        let held = self.held[lane].lock().take();
        self.is_on[lane].store(false, Ordering::Release);
        held.unwrap_or_default()
    }
}

impl Guard {
    /// What a successor takes over beside the groups of the lanes: those of discovery, and the list of what is guarded.
    ///
    /// # Errors
    /// No descriptor is left (EMFILE).
    pub fn others_to_keep(&self) -> io::Result<[OwnedFd; 3]> {
        let [discovery, ways] = self.discovery.descriptors()?;
        Ok([discovery, ways, self.parts.guarded.descriptor()?])
    }

    /// Answers numbers that somebody may wait for and that nobody has noted: an earlier guard of another version had read
    /// them. Before anything is read: a later event could have such a number.
    pub fn answer_unknown(&self) {
        /// As many as one read(2) can have brought.
        const MORE: i32 = 1024;
        let mut inherited = self.early.inherited.lock();
        if !inherited.is_something() {
            return;
        }
        let ruling = self.ruling();
        let reply = ruling.reply(ruling.failure.unresolved);
        let noted: HashSet<i32> = inherited.left.iter().map(|(left, _)| left.number).collect();
        for number in (0..inherited.highest.saturating_add(MORE)).filter(|number| !noted.contains(number)) {
            for Groups { gate, listing, .. } in Lane::ALL.map(|lane| self.parts.watch.groups(lane)) {
                inherited.sums.unjudged += usize::from(gate.answer_number(number, reply));
                inherited.sums.unjudged += usize::from(listing.answer_number(number, reply));
            }
        }
    }

    /// Judges those who have waited at directories that are no overlay's: all of these are guarded, but for those that no
    /// glob names. Whoever lists an overlay has it locked while he waits at the layer's directory; without his answer the
    /// overlay cannot be looked at.
    pub(super) fn take_over_layers(&self) {
        if !self.early.is_on(Lane::System) {
            return;
        }
        let mut guarded = std::mem::take(&mut self.early.inherited.lock().guarded);
        let mut walks = Walks::default();
        guarded.retain(|path| self.discovery.covers(path));
        guarded.retain(|path| {
            let place = walks.reach(path);
            let is_below = place.as_ref().is_ok_and(|place| !is_layered(&place.dir).unwrap_or(true));
            if is_below {
                let _ = self.guard_reached(path, place, Brought::Before); // why not is told by whoever finds it again
            }
            !is_below
        });
        self.early.inherited.lock().guarded = guarded;
        self.judge_who_waited(&[Lane::System, Lane::Users]);
    }

    /// Judges everybody who has waited until now. The directories are known again.
    pub fn take_over(&self) {
        self.take_over_layers();
        let (guarded, groups) = {
            let mut inherited = self.early.inherited.lock();
            (std::mem::take(&mut inherited.guarded), inherited.groups)
        };
        for path in guarded.iter().filter(|path| self.discovery.covers(path)) {
            let _ = self.guard_site(path); // it may be gone by now; why not is told by whoever finds it again
        }
        self.judge_who_waited(&[Lane::Layered]);
        self.groups_taken_over.store(groups, Ordering::Relaxed);
        if groups > 0 {
            self.take_old_marks_away();
            let Sums { read, waited, unjudged } = self.early.inherited.lock().sums;
            let said = format!(
                "took over {groups} groups of a guard that had ended; {read} had been read by it and not answered, {waited} \
                 have come since; {unjudged} could only be answered as what cannot be resolved is"
            );
            self.parts.audit.record(self.ruling().sign(Record::new(Action::Takeover)).saying(said));
        }
    }

    fn judge_who_waited(&self, lanes: &[Lane]) {
        let mut sums = Sums::default();
        for lane in lanes {
            for (judge, event) in self.early.end(*lane) {
                sums.waited += 1;
                self.judge_early(*lane, judge, event, &mut sums.unjudged);
            }
        }
        let is_theirs = |left: &Left| {
            lanes
                .iter()
                .map(|lane| self.parts.watch.groups(*lane))
                .any(|groups| [groups.gate.number(), groups.listing.number()].contains(&left.group))
        };
        let left: Vec<_> = self.early.inherited.lock().left.extract_if(.., |(left, _)| is_theirs(left)).collect();
        for (left, kept) in left {
            sums.read += 1;
            sums.unjudged += usize::from(!self.resume(&left, kept));
        }
        self.early.inherited.lock().sums += sums;
    }

    /// Marks of directories that are not guarded any more, and of files in them: whoever opens those is not to be asked
    /// about. New ones stand by now.
    fn take_old_marks_away(&self) {
        let Ok(mounts) = Mounts::read() else { return };
        let is_wanted = |file: &FileId| {
            self.parts.watch.sites.by_file(file).is_some() || self.parts.watch.tracker().get(file).is_some()
        };
        let mut anchors: HashMap<(u32, u32), Option<File>> = HashMap::new();
        for Groups { gate, listing, .. } in Lane::ALL.map(|lane| self.parts.watch.groups(lane)) {
            for Marked { device, handle } in gate.marked().unwrap_or_default() {
                let anchor = anchors.entry(device).or_insert_with(|| {
                    let mut on_it = mounts
                        .iter()
                        .filter(|(number, mount)| mount.device == device && mounts.remote(*number).is_none());
                    on_it.find_map(|(_, mount)| File::open(OsStr::from_bytes(&mount.point)).ok())
                });
                let Some(anchor) = anchor else { continue };
                let Ok(object) = (FileId { fsid: 0, handle }).open(&*anchor, libc::O_PATH) else { continue }; // it is gone
                let Ok(file) = FileId::of(&object) else { continue };
                if is_wanted(&file) {
                    continue;
                }
                let _ = gate.unmark(Opens::Children, &object); // and with it that of a file
                let _ = listing.unmark(Opens::Listing, &object);
                if is_wanted(&file) {
                    let _ = gate.mark(Opens::File, &object); // it has got a startup name in this moment
                }
            }
        }
    }

    /// A file may have had a startup name when it was opened and have lost it while nobody watched: what it is called now
    /// says nothing. By which name it was asked for does.
    fn judge_early(&self, lane: Lane, judge: Judge, event: PermissionEvent, unjudged: &mut usize) {
        let is_known = match event.id() {
            Ok(file) => {
                self.parts.watch.sites.by_file(&file).is_some() || self.parts.watch.tracker().get(&file).is_some()
            }
            Err(_) => true, // that is dealt with like any other
        };
        if is_known {
            return judge(self, lane, event, Instant::now());
        }
        let reply = self.reply_to_stranger(event.thread());
        *unjudged += usize::from(reply == Reply::Deny);
        event.answer(reply);
    }

    /// Whether it could be judged.
    fn resume(&self, left: &Left, kept: Option<OwnedFd>) -> bool {
        for lane in Lane::ALL {
            let Groups { gate, listing, .. } = self.parts.watch.groups(lane);
            if gate.number() == left.group {
                return self.resume_open(lane, gate, left, kept);
            }
            if listing.number() == left.group {
                return self.resume_listing(lane, listing, left, kept);
            }
        }
        false
    }

    fn resume_listing(&self, lane: Lane, group: &PermissionGroup, left: &Left, kept: Option<OwnedFd>) -> bool {
        let site = left.file.and_then(|file| self.parts.watch.sites.by_file(&file));
        match group.resume(left, kept, site.as_ref().map(|site| &site.dir)) {
            Ok(event) => self.judge_listing(lane, event, Instant::now()),
            Err(number) => return !number.answer(self.ruling().reply(Verdict::Allow)), // not guarded any more
        }
        true
    }

    fn resume_open(&self, lane: Lane, group: &PermissionGroup, left: &Left, kept: Option<OwnedFd>) -> bool {
        let file = left.file.or_else(|| self.file_asked_for(left.thread));
        let opened = file.and_then(|file| self.reach_again(&file));
        match group.resume(left, kept, opened) {
            Ok(event) => self.judge_open(lane, event, Instant::now()),
            Err(number) => {
                let reply = self.reply_to_stranger(left.thread);
                return !number.answer(reply) || reply == Reply::Allow;
            }
        }
        true
    }

    /// A file that has or had a startup name, open.
    fn reach_again(&self, file: &FileId) -> Option<OwnedFd> {
        let names = self.parts.watch.tracker().get(file).map(|entry| entry.names.clone())?;
        names.iter().find_map(|(site, name)| {
            let site = self.parts.watch.sites.get(*site)?;
            reach(&site, name, file, OFlag::O_RDONLY).ok()
        })
    }

    /// What somebody who waits has asked for, if that lies in a guarded directory.
    fn file_asked_for(&self, thread: u32) -> Option<FileId> {
        let path = asked_path(thread, Instant::now() + self.ruling().patience())?;
        let (dir, name) = (path.parent().filter(|dir| dir.is_absolute())?, path.file_name()?);
        let site = self.parts.watch.sites.by_file(&FileId::of(reach_local(dir).ok()?.dir).ok()?)?;
        site.open(name, OFlag::O_PATH).and_then(FileId::of).ok()
    }

    /// What is not known as a startup file now is none, unless whoever waits has asked for it as such.
    fn reply_to_stranger(&self, thread: u32) -> Reply {
        let ruling = self.ruling();
        match asked(thread, Instant::now() + ruling.patience()) {
            Asked::For(name) if !self.parts.startup.matches(name.as_encoded_bytes()) => Reply::Allow,
            Asked::ForNone => Reply::Allow,
            Asked::For(_) | Asked::Unknown => {
                self.parts.counters.answered(Access::Read, Outcome::of(ruling.failure.unresolved.into(), ruling.mode));
                ruling.reply(ruling.failure.unresolved)
            }
        }
    }
}
