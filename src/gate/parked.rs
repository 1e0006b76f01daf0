//! Openers that wait for something to be finished: content that is still being written, a newcomer that is still
//! being judged. They occupy no thread; the deadline has them in view.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Guard, Waiting};
use crate::fanotify::{FileId, Reply};
use crate::model::{Access, Decision, Object, Reason, Verdict};
use crate::watch::{Felt, SiteId};

/// Beyond this nobody is parked and the failure's action is taken.
const MAX_PARKED: usize = 8192;

/// What an opener waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// News of a file.
    File(FileId),
    /// That this many newcomers of a directory have been dealt with, those that opens do not show: it is listed as it
    /// was when the opener came, however many come after.
    Site(SiteId, u64),
}

/// The parked openers.
#[derive(Debug, Default)]
pub(super) struct Parked(Mutex<Vec<(On, Arc<Waiting>)>>);

impl Guard {
    /// Parks an opener, unless what it waits for has happened.
    pub(super) fn park(&self, waiting: &Arc<Waiting>, on: On) -> bool {
        // The lock is taken before the condition is looked at, and the condition is changed before `wake` takes the
        // lock: whatever the order, nobody is parked for what has happened already.
        let mut parked = self.parked.0.lock().unwrap_or_else(PoisonError::into_inner);
        let must_wait = match on {
            On::Site(site, count) => !self.parts.watch.tracker().has_settled(site, count),
            On::File(file) => {
                self.parts.watch.tracker().get(&file).is_some_and(|entry| entry.is_unsettled() || !entry.is_final())
            }
        };
        if must_wait && parked.len() < MAX_PARKED {
            parked.push((on, Arc::clone(waiting)));
        }
        must_wait
    }

    /// Something about this file, in this directory, was dealt with.
    pub(super) fn wake(&self, file: &FileId, site: SiteId) {
        let is_done = |on: &On| match on {
            On::File(other) => other == file,
            On::Site(other, count) => *other == site && self.parts.watch.tracker().has_settled(site, *count),
        };
        let woken: Vec<_> = {
            let mut parked = self.parked.0.lock().unwrap_or_else(PoisonError::into_inner);
            parked.extract_if(.., |(on, waiting)| waiting.event.is_answered() || is_done(on)).collect()
        };
        for (on, waiting) in woken {
            match on {
                On::Site(..) => self.answer_listing(waiting),
                // A full queue leaves it to the deadline.
                On::File(_) => _ = self.work[waiting.lane].try_send(waiting),
            }
        }
    }

    /// Answers whoever wants to list a directory when the newcomers that came before it are dealt with.
    pub(super) fn answer_listing(&self, waiting: Arc<Waiting>) {
        match self.parts.watch.tracker().unrest(&waiting.file) {
            Felt::ByNobody => drop(self.answer(&waiting, Reply::Allow)),
            Felt::ByAll => self.refuse_listing(&waiting),
            // A worker looks whether it has begun already. A full queue leaves it to the deadline.
            Felt::UnderWay => _ = self.work[waiting.lane].try_send(waiting),
        }
    }

    /// A newcomer was refused whose name it may have got from the kernel, or more of them come.
    pub(super) fn refuse_listing(&self, waiting: &Waiting) {
        let decision = Decision { verdict: Verdict::Deny, rule: None, reason: Reason::Unrest };
        let object = Object::at(self.path_of(waiting));
        self.conclude(waiting, Access::List, decision, None, |record| record.on(object));
    }

    /// Whether an opener is parked; then its deadline means that the content did not become final in time.
    pub(super) fn unpark(&self, waiting: &Arc<Waiting>) -> bool {
        let mut parked = self.parked.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = parked.len();
        parked.retain(|(_, other)| !Arc::ptr_eq(other, waiting));
        parked.len() < before
    }
}
