//! The gate's threads: started, named, known by id, and seen to make progress.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::Guard;
use crate::watch::{Lane, PerLane};

/// How many decisions that need more than a look-up are made at a time, in each lane.
const WORKERS: usize = 4;

/// How often it is looked whether threads have ended.
const TURN: Duration = Duration::from_millis(1);

/// How often it is looked which files the programs are that the policy names.
const REFRESH: Duration = Duration::from_secs(60);

/// The kernel's ids of the daemon's own threads. Their opens must be answered before anything else: the thread that
/// would judge them may be the one that waits.
#[derive(Debug, Default)]
pub(super) struct OwnThreads(RwLock<Vec<u32>>);

impl OwnThreads {
    pub(super) fn adopt(&self) {
        let id = nix::unistd::gettid().as_raw().cast_unsigned();
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

/// Counters that threads advance each time round their loop, at least once a second.
#[derive(Debug, Default)]
pub struct Heartbeats {
    pub(super) triage: PerLane<AtomicU64>,
    pub(super) deadline: AtomicU64,
    pub(super) watch: PerLane<AtomicU64>,
    pub(super) arrivals: PerLane<AtomicU64>,
}

impl Heartbeats {
    /// The counters of the threads without which openers freeze: triage, layered, deadline.
    #[must_use]
    pub fn vital(&self) -> Vec<u64> {
        self.triage.iter().chain([&self.deadline]).map(|counter| counter.load(Ordering::Relaxed)).collect()
    }

    /// The counters of the threads without which newcomers stay unjudged, and so unreadable: watch, arrivals.
    #[must_use]
    pub fn others(&self) -> Vec<u64> {
        self.watch.iter().chain(self.arrivals.iter()).map(|counter| counter.load(Ordering::Relaxed)).collect()
    }
}

/// The gate's threads, while they run.
#[derive(Debug)]
#[must_use = "they are to be ended"]
pub struct Threads {
    guard: Arc<Guard>,
    others: Vec<JoinHandle<()>>,
    readers: PerLane<JoinHandle<()>>,
}

impl Threads {
    /// Has them end, and those of `more`, and waits for that, at most for `limit`. Who waits in the kernel goes on waiting.
    ///
    /// The readers come last: what the others open is asked about, too. And the one of what lies on overlayfs comes before the
    /// rest: it may be inside read(2), where the kernel opens the layer's file for it, and asks another one about that. A
    /// process that ends there has the opener denied whose event it was to get.
    pub fn end(self, more: impl IntoIterator<Item = JoinHandle<()>>, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.guard.stop.now();
        let others: Vec<_> = self.others.into_iter().chain(more).collect();
        wait_for_end(others.iter(), deadline);
        for lanes in [&[Lane::Layered][..], &[Lane::System, Lane::Users]] {
            lanes.iter().for_each(|lane| self.guard.readers_stop[*lane].now());
            wait_for_end(lanes.iter().map(|lane| &self.readers[*lane]), deadline);
        }
    }
}

fn wait_for_end<'a>(threads: impl Iterator<Item = &'a JoinHandle<()>> + Clone, deadline: Instant) {
    while threads.clone().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        std::thread::park_timeout(TURN);
    }
}

impl Guard {
    /// Starts the threads; from then on events are answered.
    ///
    /// # Errors
    /// A thread cannot be started (EAGAIN).
    pub fn start(self: &Arc<Self>) -> io::Result<Threads> {
        let mut others = vec![
            self.thread("pth-deadline", Guard::run_deadline)?,
            self.thread("pth-leases", Guard::run_leases)?,
            self.thread("pth-awaiting", Guard::run_awaiting)?,
            self.thread("pth-places", Guard::run_places)?,
            self.thread("pth-discovery", Guard::run_discovery)?,
            self.thread("pth-search", Guard::run_search)?,
            self.thread("pth-mounts", Guard::run_mounts)?,
            self.thread("pth-programs", Guard::run_programs)?,
            self.thread("pth-listers", Guard::run_listers)?,
        ];
        for lane in Lane::ALL {
            let name = lane.as_str();
            others.push(self.thread(&format!("pth-watch-{name}"), move |guard| guard.run_watch(lane))?);
            others.push(self.thread(&format!("pth-arrive-{name}"), move |guard| guard.run_arrivals(lane))?);
            for number in 0..WORKERS {
                others.push(self.thread(&format!("pth-work-{name}-{number}"), move |guard| guard.run_worker(lane))?);
            }
        }
        let readers = PerLane::try_new(|lane| {
            self.thread(&format!("pth-triage-{}", lane.as_str()), move |guard| guard.run_triage(lane))
        })?;
        Ok(Threads { guard: Arc::clone(self), others, readers })
    }

    /// Keeps in view which files the programs of the policy are. Looking may take long (a slow disk), and nobody waits
    /// for it.
    fn run_programs(&self) {
        while !self.is_stopping() {
            self.stop.sleep(REFRESH);
            self.watch_programs();
        }
    }

    fn thread(self: &Arc<Self>, name: &str, run: impl FnOnce(&Guard) + Send + 'static) -> io::Result<JoinHandle<()>> {
        let guard = Arc::clone(self);
        Builder::new().name(name.to_owned()).spawn(move || {
            guard.own.adopt();
            run(&guard);
        })
    }
}
