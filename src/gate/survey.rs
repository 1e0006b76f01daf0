//! Taking a directory under guard, and reading again what is in it after notifications were lost.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode as CreateMode;

use super::Guard;
use super::content::Content;
use super::settle::Written;
use crate::approvals::Directory;
use crate::audit::Action;
use crate::content::classify;
use crate::fanotify::FileId;
use crate::fanotify::group::fd_link;
use crate::model::{ContentClass, Failure, Origin, Reason, Sha256, Site};
use crate::resolve::site_prefix;
use crate::watch::{Author, Guarded, Lane, Quarantined, Role, SiteDir, SiteId, Sites};

/// `FUSE_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
const FUSE: i64 = 0x6573_5546;

/// What was found in a directory when it was taken under guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Directories.
    pub directories: usize,
    /// Startup files.
    pub files: usize,
    /// Of these, the ones that execute code when an interpreter starts.
    pub executing: usize,
    /// Of these, the ones that are not approved and so cannot be read.
    pub held: usize,
}

/// Why a directory is not guarded.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not guarded: {why}")]
pub struct NotGuarded {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub why: io::Error,
}

impl std::ops::AddAssign for Survey {
    fn add_assign(&mut self, other: Self) {
        self.directories += other.directories;
        self.files += other.files;
        self.executing += other.executing;
        self.held += other.held;
    }
}

impl Guard {
    /// Takes a directory under guard. At the first start what is in it becomes the baseline; later, what is not
    /// approved stays unreadable and is reported. A directory that is guarded already counts nothing.
    ///
    /// # Errors
    /// [`NotGuarded`]: it cannot be opened, its file system has no handles or is a user's own (FUSE: each look at it
    /// would wait for that user), a mark cannot be placed.
    pub fn guard_site(&self, path: &Path) -> Result<Survey, NotGuarded> {
        let guarded = Guarded {
            path: path.to_owned(),
            role: Role::Site,
            startup: self.parts.startup.clone(),
            facts: Site { path: path.to_owned(), prefix: site_prefix(path), owner: 0 },
        };
        self.take_under_guard(guarded, None).map_err(|why| NotGuarded { path: path.to_owned(), why })
    }

    /// The same for any directory. What is in it came by `author`, if somebody is known to have brought it: then it is
    /// judged like any newcomer.
    pub(super) fn take_under_guard(&self, mut guarded: Guarded, author: Option<&Author>) -> io::Result<Survey> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let dir = File::options().read(true).custom_flags(flags).open(&guarded.path)?;
        if nix::sys::statfs::fstatfs(&dir)?.filesystem_type().0 as i64 == FUSE {
            return Err(io::Error::other("it lies on a FUSE file system, which its owner can stop at will"));
        }
        let file = FileId::of(&dir)?;
        if guarded.role == Role::Site {
            guarded.facts.owner = dir.metadata()?.uid();
        }
        let path = guarded.path.clone();
        let directory = Directory { path: path.clone(), handle: file.handle.to_string() };
        let id = self.parts.approvals.directory(&directory);
        // First the watch, then the look, then the gate: what changes in between is told, and until the gate stands
        // nobody waits for us.
        let Some(site) = self.parts.watch.add_site(guarded, dir, file, id)? else { return Ok(Survey::default()) };
        self.recover(&site);
        let mut survey = Survey { directories: 1, ..Survey::default() };
        for name in site.startup_names()? {
            match author {
                None => self.survey_file(&site, &name, &mut survey),
                Some(author) => {
                    if let Ok(file) = site.open(&name, OFlag::O_PATH).and_then(FileId::of) {
                        self.parts.watch.track_arrival(&site, &name, file, author.clone());
                    }
                }
            }
        }
        if let Err(error) = self.parts.watch.close_gate(&site) {
            self.parts.watch.remove_site(&site);
            return Err(error);
        }
        self.parts.audit.record(self.note(Action::SiteGuarded, path));
        for subdirectory in self.subdirectories_of(&site) {
            self.guard_subdirectory(&site, subdirectory, author);
        }
        Ok(survey)
    }

    /// Finishes what a guard that was killed has left aside.
    fn recover(&self, site: &SiteDir) {
        let Ok(recovered) = self.parts.quarantine.recover(site) else { return }; // it cannot be listed: the survey says so
        for (name, outcome) in recovered {
            match outcome {
                Ok(Quarantined::Kept(id)) => {
                    let record = self.note(Action::Quarantine, site.path_of(&name));
                    self.parts.audit.record(record.saying(format!("left aside by an earlier run, now {id}")));
                }
                Ok(Quarantined::Removed | Quarantined::Elsewhere) => {}
                Err(error) => {
                    let message = format!("left aside by an earlier run, and cannot be moved to quarantine: {error}");
                    self.failed(Failure::Quarantine, site.path_of(&name), &message);
                }
            }
        }
    }

    fn survey_file(&self, site: &SiteDir, name: &OsStr, survey: &mut Survey) {
        let Ok(entry) = site.open(name, OFlag::O_PATH) else { return }; // removed meanwhile
        let entry = File::from(entry);
        let (Ok(file), Ok(kind)) = (FileId::of(&entry), entry.metadata().map(|metadata| metadata.file_type())) else {
            return;
        };
        if kind.is_dir() {
            return;
        }
        self.parts.watch.track(site, name, file);
        let entry_id = file;
        survey.files += 1;
        let (reached, why) = match kind.is_symlink().then(|| self.reach_target(site, name)) {
            Some(Ok(reached)) => (Some(reached), String::new()),
            Some(Err(error)) => (None, format!("a link that cannot be followed: {error}")),
            None => (None, String::from("being written, or a special file")),
        };
        let found = match &reached {
            Some(reached) => self.content_of(site, name, &reached.file).map(|found| (reached.file, found)),
            None if kind.is_file() => self.content_of(site, name, &file).map(|found| (file, found)),
            None => None,
        };
        let Some((file, (content, metadata))) = found else {
            survey.held += 1;
            let record = self.note(Action::Held, site.path_of(name));
            self.parts.audit.record(record.saying(format!("not approved: {why}")));
            return;
        };
        let written = Written { site, name, file: &file, content: &content, metadata };
        let Content::Bytes(bytes) = &content else {
            survey.held += 1;
            return self.hold(&written, None, Reason::TooLarge, "larger than protect.max_size", None);
        };
        let sha256 = Sha256::of(bytes);
        let is_approved = match &reached {
            Some(reached) => self.is_approved_link(site, name, reached, sha256),
            None => self.parts.approvals.is_approved(site.approvals, name, sha256),
        };
        if is_approved {
            let findings = classify(name.as_bytes(), bytes);
            survey.executing += usize::from(findings.class.executes());
            let is_loose = !self.guard_around(site, name, &findings.paths) || !findings.namespaces.is_empty();
            self.mark_approved(&entry_id, false); // a link, perhaps
            return self.mark_approved(&file, is_loose);
        }
        let judgement = self.judge(site, name, bytes, None, true);
        survey.executing += usize::from(judgement.class.executes());
        if self.parts.approvals.is_first_start() && judgement.class != ContentClass::Broken {
            self.approve(&written, Origin::Baseline, judgement);
        } else if let Some(doubt) = reached.and_then(|reached| reached.doubt) {
            survey.held += 1;
            self.hold(&written, Some(judgement), Reason::NotApproved, &doubt, None);
        } else if !self.settle_found(&written, judgement) {
            survey.held += 1;
        }
    }

    /// Opens what a symbolic link leads to, if that is a regular file.
    pub(super) fn follow(&self, site: &SiteDir, name: &OsStr) -> Option<File> {
        // Looked at first: opening a device can do things. O_NONBLOCK for who holds a lease on it.
        let found = openat(site.dir.as_fd(), name, OFlag::O_PATH | OFlag::O_CLOEXEC, CreateMode::empty()).ok()?;
        let found = File::from(found);
        if !found.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return None;
        }
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fd_link(found.as_fd())).ok()
    }

    /// A guarded directory is gone, or lies somewhere else now. What stands in its place is guarded from here on.
    pub(super) fn site_lost(&self, id: SiteId) {
        let Some(site) = self.parts.watch.sites.get(id) else { return };
        self.parts.watch.remove_site(&site);
        for other in self.parts.watch.sites.because_of(id) {
            self.site_lost(other.id);
        }
        let record = self.note(Action::SiteLost, site.guarded.path.clone());
        self.parts.audit.record(record.saying("removed or moved away"));
        match &site.guarded.role {
            Role::Site => {
                // Before the look: what comes after it must be noticed.
                self.vacant.add(site.guarded.path.clone());
                drop(self.guard_sites());
            }
            Role::Inside { of, name } => {
                if let Some(of) = self.parts.watch.sites.get(*of) {
                    self.guard_subdirectory(&of, name, Some(&Author::unknown()));
                }
            }
            Role::Target { of } => self.target_lost(*of, &site.guarded.path),
        }
    }

    /// Guards every directory that the policy's globs match now and that is not guarded yet.
    ///
    /// # Errors
    /// A glob that does not compile. Directories that cannot be guarded are recorded and returned.
    pub fn guard_sites(&self) -> Result<(Survey, Vec<NotGuarded>), glob::PatternError> {
        let mut sum = Survey::default();
        let mut failed = Vec::new();
        for path in Sites::expand(&self.parts.sites)? {
            match self.guard_site(&path) {
                Ok(survey) => sum += survey,
                Err(error) => {
                    self.failed(Failure::Mark, path, &error.to_string());
                    failed.push(error);
                }
            }
        }
        Ok((sum, failed))
    }

    /// Notifications were lost: what has a startup name now and was not told of is judged as if it had just come from
    /// an unknown author.
    pub(super) fn read_again(&self, lane: Lane) {
        for site in self.parts.watch.sites.all().iter().filter(|site| site.lane == lane) {
            let Ok(names) = site.startup_names() else { continue };
            let names: HashSet<_> = names.into_iter().collect();
            for name in &names {
                let Ok(file) = site.open(name, OFlag::O_PATH).and_then(FileId::of) else { continue };
                if !self.parts.watch.tracker().is_dealt_with(site.id, name, &file) {
                    self.parts.watch.track_arrival(site, name, file, Author::unknown());
                }
            }
            self.parts.watch.tracker().keep_names(site.id, &names);
        }
    }
}
