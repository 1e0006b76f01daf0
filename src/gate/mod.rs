//! The hot path: from a blocked opener to its answer.
//!
//! ```text
//! kernel ─▶ triage ── not tracked, own thread, approved bytes in the page cache ─────────▶ answer
//! layered     │ the same for overlayfs; bounded queue; full is a Failure
//!             ▼
//!           worker ×N: write or read? who? what? ─▶ policy, approvals ─▶ answer ─▶ record
//!             │ content not final yet, newcomer not judged yet
//!             ▼
//!           parked ── woken by arrivals ─▶ worker
//!
//! watch ──▶ arrivals ×1: newcomers judged, quarantined; written files approved or held; replaced ones put back
//! awaiting ×1: has written files judged again while their writer is at work, and for good when it has ended
//! places ×1: has what stands in the place of a lost directory guarded
//! discovery ×1, search ×1: site directories that come to be, and those that nobody has named
//! mounts ×1: the same for what was mounted
//! deadline ×1: answers what is overdue
//! offenders: ends who did it, where the policy says so
//! ruling: rules and mode, exchanged at once; takeover: those who waited for an earlier guard
//! remembered: who was at the gate, for newcomers whose author is gone
//! ```
//!
//! *Owns* every permission event from the moment that it is read. *Must not*, between reading and answering, open a
//! guarded file by its path, look up a user or group name, or write to a log. *Hands to* the auditor what it decided,
//! after the answer.

#![forbid(unsafe_code)]

mod arrivals;
mod awaiting;
mod containers;
mod content;
mod deadline;
mod desk;
mod discovery;
mod found;
mod judgement;
mod leases;
mod linked;
mod mounts;
mod offenders;
mod pair;
mod parked;
mod places;
mod remembered;
mod ruling;
mod settle;
mod status;
mod stop;
mod surroundings;
mod survey;
mod takeover;
mod threads;
mod triage;
mod undo;
mod verdict;
mod worker;

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};

pub use ruling::Ruling;
pub use survey::{NotGuarded, Survey};
pub use takeover::{GuardedList, Inherited};
pub use threads::{Heartbeats, Threads};

use crate::approvals::Approvals;
use crate::audit::{Audit, Counters};
use crate::backlog::Backlog;
use crate::content::KnownFiles;
use crate::discovery::Scope;
use crate::fanotify::{FileId, NotificationGroup, PermissionEvent};
use crate::model::StartupNames;
use crate::resolve::{OpenedAs, Resolver};
use crate::status::Reload;
use crate::watch::{Lane, Notice, PerLane, Quarantine, Watch};
use awaiting::Awaiting;
use discovery::Discovery;
use leases::Leases;
use mounts::Mounted;
use parked::Parked;
use parking_lot::Mutex;
use places::Vacant;
use remembered::Remembered;
use ruling::Switch;
use status::Looks;
use stop::Stop;
use takeover::Early;
use threads::OwnThreads;

/// Requests that wait for a worker.
const QUEUE: usize = 4096;
/// Events that the deadline thread has in view.
const DEADLINES: usize = 16_384;

/// Threads that have listed a site directory and have not been identified yet.
const LISTERS: usize = 64;

/// What the gate is made of.
#[derive(Debug)]
pub struct Parts {
    /// Finds out who asks.
    pub resolver: Resolver,
    /// The globs of the directories to guard.
    pub sites: Vec<String>,
    /// Where other site directories are looked for; `None` if only those are guarded.
    pub discover: Option<Scope>,
    /// Which names make a startup file in them.
    pub startup: StartupNames,
    /// Whether `sitecustomize` and `usercustomize` are startup files.
    pub customize: bool,
    /// Whether the same directories are guarded in running containers.
    pub containers: bool,
    /// Larger files are never approved; bytes.
    pub max_size: u64,
    /// The site directories, what is opened in them, and what comes and goes there.
    pub watch: Watch,
    /// What the watch tells.
    pub notices: PerLane<Receiver<Notice>>,
    /// Which bytes are fine.
    pub approvals: Approvals,
    /// Where denied newcomers go.
    pub quarantine: Quarantine,
    /// Where records go.
    pub audit: Audit,
    /// How often what happened.
    pub counters: Arc<Counters>,
    /// What a successor guards at once.
    pub guarded: GuardedList,
}

/// The running gate.
#[derive(Debug)]
pub struct Guard {
    parts: Parts,
    ruling: ArcSwap<Ruling>,
    switch: Mutex<Option<Switch>>,
    early: Early,
    groups_taken_over: AtomicUsize,
    last_reload: Mutex<Option<Reload>>,
    own: OwnThreads,
    heartbeats: Heartbeats,
    looks: Looks,
    since: SystemTime,
    parked: Parked,
    remembered: Remembered,
    awaiting: Awaiting,
    vacant: Vacant,
    discovery: Discovery,
    leases: Leases,
    mounts: Mounted,
    known: KnownFiles,
    work: PerLane<Backlog<Arc<Waiting>>>,
    queue: PerLane<Receiver<Arc<Waiting>>>,
    deadlines: Backlog<Weak<Waiting>>,
    overdue: Receiver<Weak<Waiting>>,
    listers: Sender<(u32, Lane)>,
    listed: Receiver<(u32, Lane)>,
    stop: Stop,
    /// The same for those who read what openers ask: the others' own opens are to be answered until they have ended.
    readers_stop: PerLane<Stop>,
}

/// An opener whose answer was not given at once.
#[derive(Debug)]
struct Waiting {
    lane: Lane,
    ruling: Arc<Ruling>,
    event: PermissionEvent,
    received: Instant,
    due: Instant,
    file: FileId,
    opened: Option<OpenedAs>,
    purpose: Purpose,
}

/// Why an opener waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It may have opened a startup file as such.
    Startup,
    /// It has opened what a symbolic link of a startup name leads to, by that link or by the file's own name.
    Target,
    /// It has opened a startup file, but only through another hard link.
    OtherLink,
    /// It wants to list the directory.
    Listing,
    /// It makes a file that may get a startup name later. It is looked at, and let through in any case.
    Maker,
}

impl Guard {
    /// Puts the gate together; `told` are the groups of discovery and of the ways to site directories. Nothing is answered
    /// before [`Guard::start`] and, with groups of an earlier guard, nobody but ourselves before [`Guard::take_over`].
    ///
    /// # Errors
    /// No descriptor or fanotify group is left (EMFILE, ENFILE), or /proc is not there.
    pub fn new(
        parts: Parts,
        ruling: Ruling,
        told: [NotificationGroup; 2],
        inherited: Inherited,
    ) -> io::Result<Arc<Self>> {
        let queues = PerLane::new(|_| Backlog::new(QUEUE));
        let (work, queue) = (PerLane::new(|lane| queues[lane].0.clone()), PerLane::new(|lane| queues[lane].1.clone()));
        let (deadlines, overdue) = Backlog::new(DEADLINES);
        let (listers, listed) = bounded(LISTERS);
        let is_first_start = parts.approvals.is_first_start();
        parts.counters.expect_rules(ruling.policy.rules().iter().map(|rule| Arc::clone(&rule.name)));
        let discovery = Discovery::new(parts.discover.clone(), &parts.sites, is_first_start, told)?;
        Ok(Arc::new(Guard {
            parts,
            ruling: ArcSwap::from_pointee(ruling),
            switch: Mutex::default(),
            early: Early::new(inherited),
            groups_taken_over: AtomicUsize::new(0),
            last_reload: Mutex::default(),
            discovery,
            own: OwnThreads::default(),
            heartbeats: Heartbeats::default(),
            looks: Looks::new(),
            since: SystemTime::now(),
            parked: Parked::default(),
            remembered: Remembered::new()?,
            awaiting: Awaiting::new()?,
            vacant: Vacant::new(),
            leases: Leases::new(),
            mounts: Mounted::new()?,
            known: KnownFiles::built_in(),
            work,
            queue,
            deadlines,
            overdue,
            listers,
            listed,
            stop: Stop::new()?,
            readers_stop: PerLane::try_new(|_| Stop::new())?,
        }))
    }

    /// The guarded directories and tracked files.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.parts.watch
    }

    /// The approvals.
    #[must_use]
    pub fn approvals(&self) -> &Approvals {
        &self.parts.approvals
    }

    /// Whether the threads make progress.
    #[must_use]
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.heartbeats
    }

    /// Looks which files the programs of the policy are, and has their execution told of.
    pub fn watch_programs(&self) {
        self.parts.resolver.refresh(|file, program| {
            // Where it cannot be told, its renames are nobody's (see `author`).
            let _ = self.parts.watch.watch_program(program, file);
            self.discovery.watch_program(file);
        });
        // An author is believed to have been such a program if its queue has been empty since.
        for lane in Lane::ALL {
            self.parts.watch.drain(lane);
        }
    }

    /// Declares the calling thread one of the daemon's own: its opens are answered at once.
    pub fn adopt_this_thread(&self) {
        self.own.adopt();
    }

    /// Forgets files that lost their startup name a while ago, unless an opener of one may still be unread.
    fn purge(&self) {
        if Lane::ALL.iter().all(|lane| self.parts.watch.groups(*lane).gate.is_empty()) {
            self.parts.watch.purge();
        }
    }

    /// Whether those are still kept waiting whom an earlier guard has left.
    #[must_use]
    pub fn takes_over(&self) -> bool {
        Lane::ALL.iter().any(|lane| self.early.is_on(*lane))
    }

    /// Lets everybody go, whatever the threads are at. Those of groups that somebody else holds, too, go on waiting.
    pub fn release(&self) {
        // Without the groups the kernel lets every opener through that waits now or comes later.
        let groups = Lane::ALL.map(|lane| self.parts.watch.groups(lane));
        for group in groups.iter().flat_map(|groups| [&groups.gate, &groups.listing]) {
            if group.release().is_err() {
                std::process::abort(); // the end of the process ends the groups, too
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.is_now()
    }
}
