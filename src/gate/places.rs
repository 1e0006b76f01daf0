//! Whether the guarded directories still lie where they did.
//!
//! A directory tells when it is moved or removed itself, and says nothing of one above it, nor of another file system
//! mounted over it. What comes into the place of one that is gone tells nobody. So the places are looked at.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Guard;

/// How often they are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How soon after one was lost; then after twice that time, and so on. Who moves a directory away often moves another
/// one into its place in the next moment.
const SOON: Duration = Duration::from_millis(1);
/// Places in view where nothing stands any more. Who may make site directories can make and remove as many as he likes.
const MAX_VACANT: usize = 1024;

/// The places where a site directory stood and none does.
#[derive(Debug)]
pub(super) struct Vacant {
    places: Mutex<BTreeSet<PathBuf>>,
    added: Sender<()>,
    news: Receiver<()>,
}

impl Vacant {
    pub(super) fn new() -> Self {
        let (added, news) = bounded(1);
        Vacant { places: Mutex::default(), added, news }
    }

    /// Keeps a place in view.
    pub(super) fn add(&self, place: PathBuf) {
        let mut places = self.places();
        if places.len() < MAX_VACANT {
            places.insert(place);
        }
        drop(places);
        let _ = self.added.try_send(()); // full: told already
    }

    /// Takes out the places where there is a directory now. Whether there are any.
    fn take_filled(&self) -> bool {
        let places: Vec<PathBuf> = self.places().iter().cloned().collect();
        let filled: Vec<PathBuf> = places.into_iter().filter(|place| place.is_dir()).collect();
        let mut places = self.places();
        filled.iter().filter(|place| places.remove(*place)).count() > 0
    }

    fn places(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Looks at the places. A disk that does not answer holds up this thread only.
    pub(super) fn run_places(&self) {
        let mut wait = TICK;
        while !self.is_stopping() {
            let is_new = self.stop.receive(&self.vacant.news, wait).is_some();
            wait = if is_new { SOON } else { TICK.min(wait * 2) };
            self.tell_lost_places();
            if self.vacant.take_filled() {
                self.parts.watch.tell_filled();
            }
        }
    }
}
