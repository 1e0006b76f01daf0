//! Directories that are guarded because of another: where the code of `sitecustomize` and `usercustomize` may lie, and
//! where approved path lines lead.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::Guard;
use super::containers::holds_in;
use super::judgement::{is_extension, is_vital};
use super::survey::{Brought, NotGuarded, Survey};
use crate::content::Findings;
use crate::fanotify::FileId;
use crate::model::{ContentClass, Failure, Origin, StartupNames, is_module_source};
use crate::provenance::{TargetKind, examine};
use crate::resolve::open_path;
use crate::watch::{Guarded, Role, SiteDir, SiteId};

/// Most directories that are guarded because of others. Who may write startup files can name as many as he likes.
const MAX_SURROUNDINGS: usize = 1024;

impl Guard {
    /// Guards what a file that is about to be approved depends on. `false` if a path line leads to where nobody can stand
    /// guard, because nothing is there yet.
    pub(super) fn guard_around(&self, site: &SiteDir, name: &OsStr, paths: &[Vec<u8>]) -> bool {
        if is_module_source(name.as_bytes()) {
            for subdirectory in site.guarded.startup.subdirectories() {
                self.guard_subdirectory(site, OsStr::from_bytes(subdirectory), Brought::Before);
            }
        }
        // Not a short circuit: each of them counts.
        paths.iter().filter(|line| !self.guard_target(site, line)).count() == 0
    }

    /// Guards where a path line leads. Python looks for `sitecustomize` and `usercustomize` there.
    fn guard_target(&self, site: &SiteDir, line: &[u8]) -> bool {
        if !self.parts.customize {
            return true;
        }
        let facts = &site.guarded.facts;
        let target = examine(&site.guarded.path, facts.owner, line);
        if !holds_in(self.mounts.container_of(&site.guarded.path).as_deref(), &target) {
            return false;
        }
        match target.kind {
            TargetKind::Directory => {}
            TargetKind::Archive => return true, // nobody can add to it without replacing it: its judgement was made
            TargetKind::Missing | TargetKind::Other => return false,
        }
        let Ok(path) = target.path.canonicalize() else { return false };
        if self.is_guarded(&path) {
            return true;
        }
        // What only root can change is none of the site owner's doing.
        let is_roots = target.harmless && facts.owner != 0 && std::fs::metadata(&path).is_ok_and(|dir| is_root(&dir));
        if is_roots {
            return true;
        }
        if is_vital(&path) {
            return false;
        }
        let guarded = Guarded {
            path,
            role: Role::Target { of: site.id },
            startup: StartupNames::customize(),
            facts: facts.clone(),
        };
        self.guard_because_of_another(guarded, Brought::Before).is_some()
    }

    /// Guards a subdirectory in which code of a startup module may lie, if it is there. What Python compiled counts where
    /// there is a source: without one it is not looked at. To read the directory for that is the last thing to be done: most
    /// have no such subdirectory, and our own listing of a guarded one is a question to be answered, too.
    pub(super) fn guard_subdirectory(&self, site: &SiteDir, name: &OsStr, brought: Brought<'_>) {
        let Some(startup) = site.guarded.startup.inside(name.as_bytes()) else { return };
        let is_there = site.open(name, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok();
        if !is_there || (startup.is_cache() && !has_source(site)) {
            return;
        }
        let guarded = Guarded {
            path: site.path_of(name),
            role: Role::Inside { of: site.id, name: name.to_owned() },
            startup,
            facts: site.guarded.facts.clone(),
        };
        self.guard_because_of_another(guarded, brought);
    }

    fn guard_because_of_another(&self, guarded: Guarded, brought: Brought<'_>) -> Option<Survey> {
        let path = guarded.path.clone();
        let why = if self.parts.watch.sites.count_because_of_others() < MAX_SURROUNDINGS {
            match self.take_under_guard(guarded, brought) {
                Ok(survey) => return Some(survey),
                Err(why) => why,
            }
        } else {
            std::io::Error::other("too many directories are guarded because of startup files")
        };
        let error = NotGuarded { path: path.clone(), why };
        self.failed(Failure::Mark, path, &error.to_string());
        None
    }

    /// Looks again at what an approved file depends on that nobody guards. Whether the file can be read now: nobody is kept
    /// from a path line that leads nowhere, and what is there by now is guarded, unless it cannot be. A namespace that has
    /// become an extension module since would be loaded.
    pub(super) fn tighten(&self, site: &SiteDir, name: &OsStr, file: &FileId, findings: &Findings) -> bool {
        let approval = self.parts.approvals.get(site.approvals, name);
        let is_known = approval.as_ref().is_some_and(|approval| approval.class == Some(ContentClass::Known));
        if is_known && findings.namespaces.iter().any(|namespace| is_extension(site, namespace)) {
            return false;
        }
        let paths = &findings.paths;
        let is_tight = self.guard_around(site, name, paths);
        if let Some(entry) = self.parts.watch.tracker().get_mut(file) {
            entry.is_loose = !is_tight || !findings.namespaces.is_empty();
        }
        let origin = approval.map(|approval| approval.origin);
        let is_wanted = matches!(origin, Some(Origin::Baseline | Origin::Administrator { .. }));
        let owner = site.guarded.facts.owner;
        is_tight
            || is_wanted
            || paths.iter().all(|line| {
                let target = examine(&site.guarded.path, owner, line);
                target.kind == TargetKind::Missing || self.is_guarded(&target.path)
            })
    }

    /// A directory is gone that path lines lead to. What stands in its place is looked at when one of these files is read.
    pub(super) fn target_lost(&self, of: SiteId, path: &Path) {
        let Some(site) = self.parts.watch.sites.get(of) else { return };
        self.parts.watch.tracker().loosen(of);
        if path.exists() {
            self.guard_target(&site, path.as_os_str().as_bytes());
        }
    }

    fn is_guarded(&self, path: &Path) -> bool {
        // By what is there now: another directory may stand in the place of a guarded one.
        let dir = open_path(path).and_then(FileId::of);
        dir.is_ok_and(|dir| self.parts.watch.sites.by_file(&dir).is_some())
    }
}

fn has_source(site: &SiteDir) -> bool {
    site.startup_names().is_ok_and(|names| names.iter().any(|name| is_module_source(name.as_bytes())))
}

fn is_root(dir: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(dir) == 0
}
