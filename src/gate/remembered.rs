//! Who was seen at the gate shortly before: for the author of a rename or link who is gone when it is noticed.
//!
//! A notification of a process that has been waited for comes with its number and without a descriptor, and /proc says
//! nothing any more. A process that came to the gate before, to make the file that it then renames say, was identified
//! there. Its number alone does not prove that the author is that process: the number may have been given to another
//! one, before or since. It is believed under two conditions.
//!
//! 1. *Not before.* The notification was read after the queue had been emptied with the remembered process at hand, so
//!    it tells of something that happened while that process had the number, or later.
//! 2. *Not since.* The process is still there, or so little time has passed between the last look at it, when it was
//!    alive, and the reading of the notification, that its number cannot have come round again. The kernel gives
//!    numbers out in a circle (`alloc_pid`, Linux 6.18) and skips those in use, so the number comes back only after
//!    every free one has been given away. Calls of clone(2) that fail use numbers up without a trace in /proc/stat, so
//!    they cannot be counted; what bounds them is time, see [`soonest_reuse`].
//!
//! Whoever may choose numbers (`ns_last_pid`, clone3 with `set_tid`: CAP_CHECKPOINT_RESTORE) is as good as root.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use super::Guard;
use crate::audit::escape_path;
use crate::fanotify::Pidfd;
use crate::fanotify::process::alive;
use crate::model::{Subject, Writers};
use crate::resolve::{Unresolved, open_path, runs_python};
use crate::watch::{Author, Lane, PerLane};

/// How many processes are remembered; the oldest is forgotten first.
const CAPACITY: usize = 256;
/// How long a process is remembered after it was last seen at the gate.
const KEEP: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long after it was at the gate a process is looked at again and again.
const LIVELY: Duration = Duration::from_secs(10);

/// How soon a process that lists directories again and again is identified again.
const AGAIN: Duration = Duration::from_secs(1);

/// Numbers given out in a second, by the whole machine, and given back as fast: each takes the kernel's one lock for
/// them. Some twenty times what two processors did in a loop of clone(2) that fails late (80,000 to 90,000).
const NUMBERS_PER_SECOND: u64 = 2_000_000;
/// Numbers below this are not given out again (`RESERVED_PIDS`).
const RESERVED: u64 = 300;
/// What one thread can keep in use: its own number, its process group's and its session's, whose leaders may be gone.
const NUMBERS_OF_A_THREAD: u64 = 3;

/// How long after a look at a living process its number cannot be another's: the soonest that every free number can
/// have been given out.
///
/// Numbers in use are skipped, so somebody who holds most of them makes the circle short. `threads` is how many there
/// were at that look. Those that were started since have been counted among the numbers given out; holding numbers at
/// the look's time and giving them back before they are counted again is limited by the same rate. Hence half of the
/// time that the free numbers last.
fn soonest_reuse(pid_max: u32, threads: u32) -> Duration {
    let free = u64::from(pid_max).saturating_sub(RESERVED + NUMBERS_OF_A_THREAD * u64::from(threads));
    Duration::from_nanos(free * (1_000_000_000 / NUMBERS_PER_SECOND) / 2)
}

/// The kernel's process numbers.
#[derive(Debug)]
struct Numbers {
    pid_max: u32,
    loadavg: File,
}

impl Numbers {
    fn open() -> io::Result<Self> {
        // That of the daemon's own pid namespace (Linux 6.14), whose numbers it is told.
        let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max")?;
        // What cannot be read leaves no time in which the dead are believed.
        Ok(Numbers { pid_max: pid_max.trim().parse().unwrap_or(0), loadavg: File::open("/proc/loadavg")? })
    }

    /// How many threads the machine has.
    fn threads(&self) -> Option<u32> {
        let mut bytes = [0; 128];
        let read = self.loadavg.read_at(&mut bytes, 0).ok()?;
        let line = std::str::from_utf8(&bytes[..read]).ok()?;
        line.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
    }

    fn soonest_reuse(&self) -> Duration {
        self.threads().map_or(Duration::ZERO, |threads| soonest_reuse(self.pid_max, threads))
    }
}

#[derive(Debug)]
struct Entry {
    subject: Arc<Subject>,
    process: Pidfd,
    /// When the queues of notifications had been emptied with this process at hand, those that were.
    since: PerLane<Option<Instant>>,
    /// When it was last seen at the gate.
    seen: Instant,
    /// When it was last found alive, and for how long from then its number is its own.
    alive: Instant,
    own_for: Duration,
    ended: bool,
}

impl Entry {
    /// Whether what was read then and names this number was done by this process.
    fn is_author(&self, lane: Lane, read: Instant) -> bool {
        let not_before = self.since[lane].is_some_and(|since| read > since);
        let not_since = || read.saturating_duration_since(self.alive) < self.own_for;
        not_before && (self.process.is_alive() || not_since())
    }
}

/// The author of something that was noticed.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) subject: Arc<Subject>,
    /// A hold on that process, if it is still there.
    pub(super) process: Option<Arc<Pidfd>>,
    /// What a record says if the author is gone and was seen before.
    pub(super) remark: Option<String>,
}

/// Why an author cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nobody {
    /// It is gone, and was not seen before.
    Gone,
    /// It has executed the program that it is now only afterwards, as far as can be told.
    Changed,
}

/// The remembered processes. The lock is held for no more than a few system calls that do not wait, and no other lock
/// is taken meanwhile.
#[derive(Debug)]
pub(super) struct Remembered {
    entries: Mutex<VecDeque<Entry>>,
    numbers: Numbers,
}

impl Remembered {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Remembered { entries: Mutex::default(), numbers: Numbers::open()? })
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a process. The queues of notifications that `is_told` says must have been emptied since it was taken hold
    /// of.
    fn remember(&self, subject: Arc<Subject>, process: Pidfd, is_told: PerLane<bool>) {
        let mut entries = self.entries();
        let own_for = self.numbers.soonest_reuse();
        let now = Instant::now();
        if !process.is_alive() {
            return; // killed while it waited
        }
        let known = entries.iter().position(|entry| entry.subject.pid == subject.pid);
        let known = known.and_then(|at| entries.remove(at));
        // The same process as before, doing the same: what was noticed in between is its work, too.
        let is_same = |known: &Entry| known.process.is_alive() && known.subject == subject;
        let before = known.filter(is_same).map(|known| known.since).unwrap_or_default();
        let since = PerLane::new(|lane| before[lane].or(is_told[lane].then_some(now)));
        if entries.len() == CAPACITY {
            entries.pop_front();
        }
        entries.push_back(Entry { subject, process, since, seen: now, alive: now, own_for, ended: false });
    }

    /// Whether a process with this number was at the gate a moment ago.
    fn knows(&self, pid: u32) -> bool {
        self.entries().iter().any(|entry| entry.subject.pid == pid && !entry.ended && entry.seen.elapsed() < AGAIN)
    }

    /// Looks which of the remembered processes are still alive.
    pub(super) fn look(&self) {
        let mut entries = self.entries();
        if entries.is_empty() {
            return;
        }
        let own_for = self.numbers.soonest_reuse();
        let now = Instant::now();
        entries.retain(|entry| now.saturating_duration_since(entry.seen) < KEEP);
        let alive = alive(entries.iter().map(|entry| entry.process.as_fd()));
        for (entry, alive) in entries.iter_mut().zip(alive) {
            entry.ended = !alive;
            if alive {
                (entry.alive, entry.own_for) = (now, own_for);
            }
        }
    }

    /// When to look again: soon enough that a process which ends meanwhile is believed afterwards.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let entries = self.entries();
        let lively = entries.iter().filter(|entry| !entry.ended && entry.seen.elapsed() < LIVELY);
        lively.map(|entry| entry.own_for / 2).min()
    }

    /// Who had this number when a notification was read at `read`, and how long before it had been seen at the gate.
    fn recall(&self, pid: u32, lane: Lane, read: Instant) -> Option<(Arc<Subject>, Duration)> {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry.subject.pid == pid)?;
        entry.is_author(lane, read).then(|| (Arc::clone(&entry.subject), read.saturating_duration_since(entry.seen)))
    }
}

impl Guard {
    /// Who a blocked opener is; remembered from then on, for what it does where it was seen, and elsewhere if nothing is
    /// unread there.
    pub(super) fn identify(&self, thread: u32, lane: Lane) -> Result<Arc<Subject>, Unresolved> {
        let (subject, process) = self.parts.resolver.identify(thread)?;
        let subject = Arc::new(subject);
        self.watch_program_of(&subject);
        if let Some(process) = process {
            let watch = &self.parts.watch;
            let is_told = PerLane::new(|other| if other == lane { watch.drain(lane) } else { watch.is_drained(other) });
            self.remembered.remember(Arc::clone(&subject), process, is_told);
        }
        Ok(subject)
    }

    /// Identifies who lists site directories, uv say before it links files into one; after they were let through. Not
    /// interpreters: each lists them at its start, and those that install make their files at the gate.
    pub(super) fn run_listers(&self) {
        while !self.is_stopping() {
            let Some((thread, lane)) = self.stop.receive(&self.listed, HEARTBEAT) else { continue };
            if !self.remembered.knows(thread) && !runs_python(thread) {
                let _ = self.identify(thread, lane); // whoever is gone already is not remembered
            }
        }
    }

    /// Who did what a notification tells: the process as it is now or, if it is gone, as it was at the gate.
    pub(super) fn author(&self, author: &Author) -> Result<Known, Nobody> {
        let known = match self.parts.resolver.subject_of_author(author.pid, author.pidfd.as_ref().map(AsFd::as_fd)) {
            Ok(subject) => {
                let process = author.pidfd.as_ref().map(Arc::clone);
                Known { subject: Arc::new(subject), process, remark: None }
            }
            Err(_) => {
                let (subject, before) =
                    self.remembered.recall(author.pid, author.lane, author.read).ok_or(Nobody::Gone)?;
                let (before, exe) = (before.as_millis(), escape_path(&subject.exe.path));
                let remark = Some(format!("its author is gone; seen {before} ms before as {exe}"));
                Known { subject, process: None, remark }
            }
        };
        let exe = &known.subject.exe;
        // A user's own program is his to be; who else can change it the policy asks.
        if exe.writers == Writers::Root && !self.parts.watch.is_unchanged(author, (exe.dev, exe.ino)) {
            self.watch_program_of(&known.subject);
            return Err(Nobody::Changed);
        }
        Ok(known)
    }

    /// Has the executions of a process's program told of, for the next time.
    fn watch_program_of(&self, subject: &Subject) {
        let exe = &subject.exe;
        if exe.writers != Writers::Root {
            return;
        }
        // Not by its path, which in a container is another file's.
        let Ok(file) = open_path(Path::new(&format!("/proc/{}/exe", subject.pid))) else { return };
        if file.metadata().is_ok_and(|file| (file.dev(), file.ino()) == (exe.dev, exe.ino)) {
            let _ = self.parts.watch.watch_program((exe.dev, exe.ino), &file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::model::Script;

    /// Only one of the queues had been emptied.
    const TOLD: PerLane<bool> = PerLane::each(true, false, false);

    fn subject(pid: u32) -> Arc<Subject> {
        Arc::new(Subject { pid, ..Subject::running("/usr/bin/sed", Script::None) })
    }

    fn remember(table: &Remembered) -> Child {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        table.remember(subject(child.id()), Pidfd::open(child.id()).unwrap(), TOLD);
        child
    }

    fn end(mut child: Child) -> u32 {
        drop(child.stdin.take());
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn how_soon_a_number_may_be_anothers() {
        assert_eq!(soonest_reuse(32_768, 0), Duration::from_micros(8_117));
        assert_eq!(soonest_reuse(32_768, 500), Duration::from_micros(7_742));
        assert_eq!(soonest_reuse(4_194_304, 2_000), Duration::from_micros(1_047_001));
        assert_eq!(soonest_reuse(32_768, 10_822), Duration::from_nanos(500), "nearly all numbers are in use");
        assert_eq!(soonest_reuse(32_768, 10_823), Duration::ZERO);
        assert_eq!(soonest_reuse(32_768, u32::MAX), Duration::ZERO);
        assert_eq!(soonest_reuse(0, 0), Duration::ZERO);
    }

    #[test]
    fn the_living_are_believed_however_late() {
        let table = Remembered::new().unwrap();
        let child = remember(&table);
        let late = Instant::now() + Duration::from_millis(1);
        assert!(table.recall(child.id(), Lane::System, late).is_some());
        assert!(table.recall(child.id() + 1, Lane::System, late).is_none(), "another number");
        assert!(table.recall(child.id(), Lane::Users, late).is_none(), "a queue that had not been emptied");
        end(child);
    }

    #[test]
    fn the_dead_are_believed_for_a_moment() {
        let table = Remembered::new().unwrap();
        let pid = end(remember(&table));
        let (alive, own_for) = {
            let entries = table.entries();
            (entries[0].alive, entries[0].own_for)
        };
        let (little, enough) = (Duration::from_nanos(1), own_for);
        assert!(own_for > little);
        assert!(table.recall(pid, Lane::System, alive + little).is_some());
        assert!(table.recall(pid, Lane::System, alive + enough - little).is_some());
        assert!(table.recall(pid, Lane::System, alive + enough).is_none(), "the number may be another's");
        table.look();
        assert!(
            table.recall(pid, Lane::System, alive + enough).is_none(),
            "looking at the dead does not bring them back"
        );
        assert_eq!(table.next_look(), None);
    }

    #[test]
    fn what_was_noticed_before_is_not_its_work() {
        let table = Remembered::new().unwrap();
        let before = Instant::now();
        let child = remember(&table);
        assert!(table.recall(child.id(), Lane::System, before).is_none(), "another process may have had the number");
        let since = table.entries()[0].since[Lane::System].unwrap();
        assert!(table.recall(child.id(), Lane::System, since).is_none());
        table.remember(subject(child.id()), Pidfd::open(child.id()).unwrap(), TOLD);
        assert_eq!(table.entries()[0].since[Lane::System], Some(since), "the same process, seen again");
        assert_eq!(table.entries().len(), 1);
        end(child);
    }

    #[test]
    fn who_is_dead_already_is_not_remembered() {
        let table = Remembered::new().unwrap();
        let child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let process = Pidfd::open(child.id()).unwrap();
        table.remember(subject(end(child)), process, TOLD);
        assert!(table.entries().is_empty());
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let table = Remembered::new().unwrap();
        let ourselves = || Pidfd::open(std::process::id()).unwrap();
        let count = u32::try_from(CAPACITY).unwrap();
        for pid in 1..=count + 10 {
            table.remember(subject(pid), ourselves(), TOLD);
        }
        let entries = table.entries();
        assert_eq!(entries.len(), CAPACITY);
        assert_eq!((entries[0].subject.pid, entries[CAPACITY - 1].subject.pid), (11, count + 10));
    }
}
