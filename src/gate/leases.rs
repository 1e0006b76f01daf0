//! Approved files that somebody is reading: nobody changes them meanwhile.
//!
//! Whoever opens a file for writing passes the gate. truncate(2) by path opens nothing: it came between the answer and the
//! read, and the beginning of a file can run what the whole does not (9 of 29 interpreter starts beside a loop of it). The
//! read lease that tells that nobody writes holds truncate(2) up, too (`vfs_truncate` breaks leases, Linux 6.18), so it is
//! kept for as long as an interpreter needs to read the file, together with the descriptor that it lies on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Guard, Waiting};
use crate::fanotify::PermissionEvent;

/// For how long. An interpreter reads a startup file in the next moment after it has opened it; whoever may write the file
/// waits for that long at most.
const KEEP: Duration = Duration::from_millis(50);
/// Descriptors kept; beyond that they are given back at once.
const MOST: usize = 2048;
const HEARTBEAT: Duration = Duration::from_millis(500);

/// An answered event whose descriptor carries a lease.
#[derive(Debug)]
pub(super) enum Answered {
    AtOnce { _event: PermissionEvent },
    ByWorker { _waiting: Arc<Waiting> },
}

/// The leases that are kept, in the order in which they are given back.
#[derive(Debug)]
pub(super) struct Leases {
    keep: Sender<(Instant, Answered)>,
    kept: Receiver<(Instant, Answered)>,
}

impl Leases {
    pub(super) fn new() -> Self {
        let (keep, kept) = bounded(MOST);
        Leases { keep, kept }
    }

    /// Keeps the lease that lies on an answered event's descriptor.
    pub(super) fn keep(&self, answered: Answered) {
        let _ = self.keep.try_send((Instant::now() + KEEP, answered)); // closed if there is no room
    }
}

impl Guard {
    /// Gives leases back when their time is up.
    pub(super) fn run_leases(&self) {
        while !self.is_stopping() {
            let Some((until, answered)) = self.stop.receive(&self.leases.kept, HEARTBEAT) else { continue };
            self.stop.sleep(until.saturating_duration_since(Instant::now()));
            drop(answered); // closes the descriptor
        }
    }
}
