//! Approved files that somebody is reading: nobody changes them meanwhile.
//!
//! Whoever opens a file for writing passes the gate. truncate(2) by path opens nothing: it came between the answer and the
//! read, and the beginning of a file can run what the whole does not (9 of 29 interpreter starts beside a loop of it). The
//! read lease that tells that nobody writes holds truncate(2) up, too (`vfs_truncate` breaks leases, Linux 6.18), so it is
//! kept for as long as an interpreter needs to read the file, together with the descriptor that it lies on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::{Guard, Waiting};
use crate::fanotify::{FileId, PermissionEvent};

/// For how long at least. An interpreter reads a startup file in the next moment after it has opened it; whoever may write
/// the file waits for that long, and for a [`TURN`].
const KEEP: Duration = Duration::from_millis(50);
/// How much longer one is kept, so that the thread gives back many at a time.
const TURN: Duration = Duration::from_millis(10);
/// Descriptors kept; beyond that they are given back at once.
const MOST: usize = 2048;
const HEARTBEAT: Duration = Duration::from_millis(500);

/// An answered event whose descriptor carries a lease.
#[derive(Debug)]
pub(super) enum Answered {
    AtOnce { _event: PermissionEvent },
    ByWorker { _waiting: Arc<Waiting> },
}

/// The leases that are kept, the latest of each file: the kernel looks at all that a file has whenever it is opened (of
/// 20,000 opens a second each took 28 us longer).
#[derive(Debug)]
pub(super) struct Leases {
    kept: Mutex<HashMap<FileId, (Instant, Answered)>>,
    /// Told when there is one, after none.
    some: Sender<()>,
    are_some: Receiver<()>,
}

impl Leases {
    pub(super) fn new() -> Self {
        let (some, are_some) = bounded(1);
        Leases { kept: Mutex::default(), some, are_some }
    }

    /// Keeps the lease that lies on an answered event's descriptor. It was taken before the one that is kept of this file,
    /// if there is one, is given back.
    pub(super) fn keep(&self, file: FileId, answered: Answered) {
        let mut kept = self.kept.lock();
        let is_first = kept.is_empty();
        let before = if kept.len() < MOST || kept.contains_key(&file) {
            kept.insert(file, (Instant::now() + KEEP, answered))
        } else {
            None // closed: there is no room
        };
        drop(kept);
        drop(before); // closes the descriptor
        if is_first {
            let _ = self.some.try_send(()); // or it has been told
        }
    }

    /// Those whose time is up, and when that of the next one is.
    fn due(&self, now: Instant) -> (Vec<Answered>, Option<Instant>) {
        let mut kept = self.kept.lock();
        let due = kept.extract_if(|_, (until, _)| *until <= now).map(|(_, (_, answered))| answered).collect();
        (due, kept.values().map(|(until, _)| *until).min())
    }
}

impl Guard {
    /// Gives leases back when their time is up.
    pub(super) fn run_leases(&self) {
        while !self.is_stopping() {
            let mut next = self.stop.receive(&self.leases.are_some, HEARTBEAT).map(|()| Instant::now() + KEEP);
            while let Some(at) = next.filter(|_| !self.is_stopping()) {
                self.stop.sleep(at.saturating_duration_since(Instant::now()) + TURN);
                let (due, later) = self.leases.due(Instant::now());
                drop(due); // closes the descriptors
                next = later;
            }
        }
    }
}
