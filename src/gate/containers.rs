//! Root file systems of running containers, as the host sees them.
//!
//! Docker, containerd and Podman of root mount an overlay for each container where the daemon sees it, before the
//! container's first process starts: the directories in it are guarded by the time that it runs, and marks on inodes gate
//! opens in every mount namespace. What is mounted only in a namespace of its own (engines of ordinary users,
//! systemd-nspawn) is not looked for: it would take a walk through file systems that any user can make and stop.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Guard;
use crate::provenance::{Target, TargetFinding};
use crate::watch::{Mounts, NotReached, Sites, Unguardable, Walk};

/// Most containers whose directories are guarded.
const MAX_ROOTS: usize = 4096;

/// The overlays that are mounted beside the daemon's own root.
pub(super) fn roots(mounts: &Mounts) -> Vec<PathBuf> {
    let is_root = |point: &[u8]| point.starts_with(b"/") && point != b"/";
    let overlays = mounts.iter().filter(|(_, mount)| mount.kind == "overlay" && is_root(&mount.point));
    let mut roots: Vec<_> =
        overlays.map(|(_, mount)| PathBuf::from(std::ffi::OsStr::from_bytes(&mount.point))).take(MAX_ROOTS).collect();
    roots.sort();
    roots.dedup();
    roots
}

impl Guard {
    /// The directories that the policy's globs match in containers; those that nobody can guard in `remote`.
    pub(super) fn sites_in_containers(
        &self,
        remote: &mut Vec<Unguardable>,
    ) -> Result<Vec<PathBuf>, glob::PatternError> {
        let Some(mounts) = self.parts.containers.then(|| Mounts::read().ok()).flatten() else { return Ok(Vec::new()) };
        let roots = roots(&mounts);
        self.mounts.set_containers(roots.clone());
        let mut paths = Vec::new();
        for root in roots {
            // Only the container's own file system: what is mounted into it is the host's, and named as such.
            let found = Mounts::read().map_err(NotReached::from).and_then(|mounts| Walk::below(&root, mounts, true));
            let Ok(walk) = found else { continue }; // unmounted meanwhile
            let (found, more) = Sites::expand_in(&walk, &self.parts.sites)?;
            paths.extend(found);
            remote.extend(more);
        }
        Ok(paths)
    }
}

/// Whether what was found out about a path line on the host holds within the root of the container, too. An absolute path,
/// or a link on the way, leads to another place there.
pub(super) fn holds_in(root: Option<&Path>, target: &Target) -> bool {
    let is_link = |finding: &TargetFinding| matches!(finding, TargetFinding::Link(_) | TargetFinding::ForeignLink(_));
    root.is_none_or(|root| target.path.starts_with(root) && !target.findings.iter().any(is_link))
}
