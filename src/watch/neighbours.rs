//! Directories to which unapproved files were renamed from a guarded one.
//!
//! Whether an open raises a permission event is decided by the marks of the directory in which the entry lies *at that
//! moment*. An opener that has looked a startup name up, and is overtaken by a rename that takes the entry to an unmarked
//! directory, raises none: 6 of 400 interpreter starts beside 1.8 million exchanges in and out of a guarded directory
//! ran the planted line. So the directory on the other side is gated, too, for a while. An attacker who uses a new
//! directory for each attempt still has that moment.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::sites::SiteDir;
use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Known, Lookup, Opens, PermissionGroup, open_within};

/// How long after the last rename a neighbour stays gated.
const KEEP: Duration = Duration::from_secs(60);
/// How often the path is looked up: a rename of a directory in it makes the kernel look again, which takes a lock that the
/// cache alone is read without.
const LOOKS: usize = 3;
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
    /// Gates the directory in which `file`, which left `site` and was opened `O_PATH` through its mount, lies now, unless
    /// `is_site` says that it is guarded anyway.
    ///
    /// Whoever renamed the file may go on and mount a file system of his own over the directory, or over one above it,
    /// that answers nobody. So the path is looked up on the site's own file system, where nothing is mounted, and only in
    /// the kernel's cache, which the rename has just filled. Opens by `O_PATH`, which raises no event.
    pub(super) fn gate(
        &mut self,
        gate: &PermissionGroup,
        site: &SiteDir,
        file: impl AsFd,
        is_site: impl Fn(&FileId) -> bool,
    ) {
        let Ok(path) = fs::read_link(fd_link(file.as_fd())) else { return };
        let Some(parent) = path.parent().and_then(|parent| parent.strip_prefix("/").ok()) else { return };
        // From the root of the mount, at which `..` leads nowhere.
        let up = "../".repeat(site.guarded.path.components().count());
        let parent = Path::new(&up).join(parent);
        let open = || open_within(&site.dir, &parent, Lookup::Cache).ok();
        let Some(dir) = (0..LOOKS).find_map(|_| open()) else { return };
        // Only a site that lies in another mount namespace is held open where something may be mounted.
        let device = |dir: BorrowedFd<'_>| Known::of(dir).ok().map(|known| known.device);
        if device(dir.as_fd()) != device(site.dir.as_fd()) {
            return;
        }
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
