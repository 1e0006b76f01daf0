//! Directories to which unapproved files were renamed from a guarded one.
//!
//! Whether an open raises a permission event is decided by the marks of the directory in which the entry lies *at that
//! moment*. An opener that has looked a startup name up, and is overtaken by a rename that takes the entry to an unmarked
//! directory, raises none: 6 of 400 interpreter starts beside 1.8 million exchanges in and out of a guarded directory
//! ran the planted line. So the directory on the other side is gated, too, for a while. An attacker who uses a new
//! directory for each attempt still has that moment.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode as CreateMode;

use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Opens, PermissionGroup};

/// How long after the last rename a neighbour stays gated.
const KEEP: Duration = Duration::from_secs(60);
/// Beyond this the one that was used longest ago is let go.
const MAX: usize = 256;

#[derive(Debug)]
struct Neighbour {
    dir: OwnedFd,
    used: Instant,
}

/// The neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<FileId, Neighbour>);

impl Neighbours {
    /// Gates the directory in which `file`, opened `O_PATH`, lies now, unless `is_site` says that it is guarded anyway.
    /// Opens nothing but by `O_PATH`, which raises no event.
    pub(super) fn gate(&mut self, gate: &PermissionGroup, file: impl AsFd, is_site: impl Fn(&FileId) -> bool) {
        let Ok(path) = fs::read_link(fd_link(file.as_fd())) else { return };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Some(Ok(dir)) = path.parent().map(|parent| open(parent, flags, CreateMode::empty())) else { return };
        let Ok(id) = FileId::of(&dir) else { return };
        let used = Instant::now();
        if let Some(known) = self.0.get_mut(&id) {
            known.used = used;
        } else if !is_site(&id) && gate.mark(Opens::Children, &dir).is_ok() {
            if self.0.len() >= MAX {
                let oldest = self.0.iter().min_by_key(|(_, neighbour)| neighbour.used).map(|(id, _)| *id);
                oldest
                    .and_then(|oldest| self.0.remove(&oldest))
                    .map(|oldest| gate.unmark(Opens::Children, &oldest.dir));
            }
            self.0.insert(id, Neighbour { dir, used });
        }
    }

    /// Lets go of those that have not been used for a while, and of those that have become site directories.
    pub(super) fn release_unused(&mut self, gate: &PermissionGroup, is_site: impl Fn(&FileId) -> bool) {
        self.0.retain(|id, neighbour| {
            if is_site(id) {
                return false; // its mark is the site's now
            }
            let keep = neighbour.used.elapsed() < KEEP;
            if !keep {
                let _ = gate.unmark(Opens::Children, &neighbour.dir); // gone with the directory, perhaps
            }
            keep
        });
    }
}
