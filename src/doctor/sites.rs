//! The site directories: those of the policy, and those that the host's interpreters use.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Check, Question};
use crate::audit::escape_path;
use crate::config::Config;
use crate::discovery::{Scope, is_site_name, site_directories};
use crate::fanotify::{FileId, Known};
use crate::watch::{Lane, Sites, Walk, reach_local};

/// So many are named.
const NAMED: usize = 8;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let walk = match Walk::new() {
        Ok(walk) => walk,
        Err(error) => {
            let fail = |name| Question(name).fail(format!("cannot be looked for: {error}"), "mount /proc");
            return vec![fail("site-directories"), fail("interpreters")];
        }
    };
    let (named, remote) = match Sites::expand_in(&walk, &config.protect.sites) {
        Ok(found) => found,
        Err(error) => {
            let found = format!("a glob of protect.sites: {error}");
            return vec![Question("site-directories").fail(found, "correct the policy")];
        }
    };
    let remote: Vec<String> = remote.iter().map(|place| escape_text(&place.to_string())).collect();
    vec![site_directories_of_policy(&named, &remote), directories_in_use(config, &named)]
}

/// Whether somebody can stand guard over each. Nothing is marked: what is looked at is what marking needs.
fn site_directories_of_policy(named: &[PathBuf], remote: &[String]) -> Check {
    let question = Question("site-directories");
    let (mut lanes, mut bad, mut unseen) = ([0_usize; 3], Vec::new(), 0);
    for path in named {
        match lane_of(path) {
            Ok(lane) => lanes[lane as usize] += 1,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => unseen += 1,
            Err(error) => bad.push(format!("{}: {error}", escape_path(path))),
        }
    }
    let [system, users, layered] = lanes;
    let mut found =
        format!("{} match: {system} that only root can write, {users} of users, {layered} on overlayfs", named.len());
    if unseen > 0 {
        found.push_str(&format!("; {unseen} could not be looked at"));
    }
    if !bad.is_empty() {
        return question.fail(
            format!("{found}; cannot be guarded: {}", listed(&bad)),
            "move them to a local file system with file handles (ext4, xfs, btrfs, tmpfs), or expect nothing of the guard there",
        );
    }
    if !remote.is_empty() {
        return question.warn(
            format!("{found}; not guarded: {}", listed(remote)),
            "whoever serves such a file system can change files behind the guard; keep environments on local disks",
        );
    }
    if named.is_empty() {
        return question.warn("none matches protect.sites", "name those of this host: `pthguard scan` finds them");
    }
    if unseen > 0 {
        return question.warn(found, "run it as root");
    }
    question.ok(found)
}

fn lane_of(path: &Path) -> std::io::Result<Lane> {
    let dir: File = reach_local(path)?.open()?;
    if FileId::of(&dir)?.fsid == 0 {
        return Err(std::io::Error::other(
            "its file system has no identity, so that nothing can be told of it (ENODEV)",
        ));
    }
    Lane::of(&dir)
}

/// Directories that an interpreter uses and nobody guards.
fn directories_in_use(config: &Config, named: &[PathBuf]) -> Check {
    let question = Question("interpreters");
    let identity = |path: &Path| Known::of(reach_local(path).ok()?.dir).ok().map(|known| (known.device, known.inode));
    let guarded: HashSet<_> = named.iter().filter_map(|path| identity(path)).collect();
    let protect = &config.protect;
    let scope =
        protect.discover.then(|| Scope::new(protect.discover_below.clone(), &protect.discover_except).ok()).flatten();
    let is_found = |path: &Path| {
        path.file_name().is_some_and(is_site_name) && scope.as_ref().is_some_and(|scope| scope.contains(path))
    };
    let (mut remarks, mut seen, mut uncovered) = (Vec::new(), HashSet::new(), Vec::new());
    for path in site_directories(&mut remarks) {
        // What is not there yet is guarded when it is made, if its name is one that is looked for.
        let Ok(place) = reach_local(&path) else { continue };
        let Ok(known) = Known::of(&place.dir) else { continue };
        let is_new = seen.insert((known.device, known.inode));
        if is_new && !guarded.contains(&(known.device, known.inode)) && !is_found(&place.path) {
            uncovered.push(escape_path(&place.path).into_owned());
        }
    }
    if !uncovered.is_empty() {
        return question.fail(
            format!("they use directories that nobody guards: {}", listed(&uncovered)),
            "add them to protect.extra_sites, or set protect.discover = true",
        );
    }
    if !remarks.is_empty() {
        let remarks: Vec<String> = remarks.iter().map(|remark| escape_text(remark)).collect();
        return question.warn(
            format!("the directories of {} are guarded; {}", seen.len(), listed(&remarks)),
            "see whether what these interpreters use is among the site directories",
        );
    }
    question.ok(format!("all {} directories that those of this host use are guarded", seen.len()))
}

fn escape_text(text: &str) -> String {
    crate::audit::escape(text.as_bytes()).into_owned()
}

fn listed(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if more == 0 { named } else { format!("{named}; and {more} more") }
}
