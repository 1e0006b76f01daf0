//! Taking a directory under guard, and reading again what is in it after notifications were lost.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode as CreateMode;

use super::Guard;
use super::content::Content;
use super::settle::Written;
use crate::approvals::Directory;
use crate::audit::{Action, escape_path};
use crate::content::classify;
use crate::fanotify::group::fd_link;
use crate::fanotify::{FileId, Known};
use crate::model::{ContentClass, Failure, Mode, Object, Origin, Reason, Sha256, Site};
use crate::resolve::site_prefix;
use crate::watch::{
    Author, Guarded, Lane, NotReached, Quarantined, Reached, Role, SiteDir, SiteId, Sites, Unguardable, Walk, Walks,
    is_layered, reach_local,
};

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
    /// Of these, the ones with further names: whoever writes one of those passes the gate, too.
    pub linked: usize,
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
        self.linked += other.linked;
    }
}

/// How what lies in a directory that is taken under guard came there.
#[derive(Clone, Copy)]
pub(super) enum Brought<'a> {
    /// It may have been there when the guard started: it becomes the baseline at the first start, as long as that is
    /// being recorded.
    Before,
    /// The same, found after the baseline was recorded: its age tells.
    BeforeStart,
    /// It came while the guard was running, before anybody stood guard.
    Found {
        /// Who made the directory.
        maker: Option<&'a Author>,
    },
    /// Somebody has just brought it: it is judged like any newcomer.
    By(&'a Author),
}

impl Guard {
    /// Takes a directory under guard. At the first start what is in it becomes the baseline; later, what is not
    /// approved stays unreadable and is reported. A directory that is guarded already counts nothing.
    ///
    /// # Errors
    /// [`NotGuarded`]: it cannot be opened, its file system has no handles, each look at it could wait for somebody (FUSE,
    /// the network), a mark cannot be placed.
    pub fn guard_site(&self, path: &Path) -> Result<Survey, NotGuarded> {
        self.guard_directory(path, Brought::Before)
    }

    /// The same, if it is known how what is in it came there.
    pub(super) fn guard_directory(&self, path: &Path, brought: Brought<'_>) -> Result<Survey, NotGuarded> {
        self.guard_reached(path, reach_local(path), brought)
    }

    pub(super) fn guard_reached(
        &self,
        path: &Path,
        place: Result<Reached, NotReached>,
        brought: Brought<'_>,
    ) -> Result<Survey, NotGuarded> {
        let guarded = Guarded {
            path: path.to_owned(),
            role: Role::Site,
            startup: self.parts.startup.clone(),
            facts: Site { path: path.to_owned(), prefix: site_prefix(path), owner: 0 },
        };
        let looked = place.map_err(io::Error::from).and_then(|place| self.take_place(guarded, &place, brought));
        looked.map_err(|why| NotGuarded { path: path.to_owned(), why })
    }

    /// The same for any directory.
    pub(super) fn take_under_guard(&self, guarded: Guarded, brought: Brought<'_>) -> io::Result<Survey> {
        let place = reach_local(&guarded.path)?;
        self.take_place(guarded, &place, brought)
    }

    fn take_place(&self, mut guarded: Guarded, place: &Reached, brought: Brought<'_>) -> io::Result<Survey> {
        let dir = self.mounts.open(place)?;
        let file = FileId::of(&dir)?;
        if guarded.role == Role::Site {
            guarded.facts.owner = dir.metadata()?.uid();
        }
        let path = guarded.path.clone();
        let directory = Directory { path: path.clone(), handle: file.handle.to_string() };
        let id = self.parts.approvals.directory(&directory);
        // First the watch: what changes from here on is told.
        let known = Known::of(&dir)?;
        let Some(site) = self.parts.watch.add_site(guarded, dir, file, id)? else {
            return self.is_that_one(&file, known).map(|()| Survey::default());
        };
        self.mounts.lies_on(site.id, place.mount);
        self.recover(&site);
        let looked = match brought {
            Brought::Before if self.parts.approvals.is_first_start() => self.survey_first(&site),
            Brought::Before | Brought::BeforeStart | Brought::Found { .. } => {
                self.survey_behind_the_gate(&site, brought)
            }
            Brought::By(author) => self.survey_arrivals(&site, author),
        };
        let survey = match looked {
            Ok(survey) => survey,
            Err(error) => {
                self.parts.watch.remove_site(&site);
                return Err(error);
            }
        };
        if let Brought::Found { maker } = brought {
            self.look_behind(&site, maker);
        }
        if site.guarded.role == Role::Site {
            self.parts.guarded.add(&path);
            self.discovery.watch_way(path.clone());
        }
        self.parts.audit.record(self.note(Action::SiteGuarded, path));
        for subdirectory in site.guarded.startup.subdirectories() {
            self.guard_subdirectory(&site, OsStr::from_bytes(subdirectory), brought);
        }
        Ok(survey)
    }

    /// A copy of a file system (a snapshot, an image) has the identifier of the original, and its files have the same
    /// handles: events of the two could not be told apart.
    fn is_that_one(&self, file: &FileId, known: Known) -> io::Result<()> {
        let Some(other) = self.parts.watch.sites.by_file(file) else { return Ok(()) };
        if Known::of(&other.dir)?.device == known.device || self.is_lost(&other) {
            return Ok(()); // the one that takes the place of a lost one is guarded when that is dealt with
        }
        let why = format!(
            "it lies on a file system with the same identifier as that of {}: give one of them another",
            escape_path(&other.guarded.path)
        );
        Err(io::Error::other(why))
    }

    /// At the first start the gate comes last: until it stands nobody waits for us, and a host's startup files are many.
    fn survey_first(&self, site: &SiteDir) -> io::Result<Survey> {
        let mut survey = Survey { directories: 1, ..Survey::default() };
        for name in site.startup_names()? {
            self.survey_file(site, &name, Brought::Before, &mut survey);
        }
        self.parts.watch.close_gate(site)?;
        Ok(survey)
    }

    /// Later it comes first: what is there may just have been brought. Who opens one of the files waits until that one has
    /// been looked at.
    fn survey_behind_the_gate(&self, site: &SiteDir, brought: Brought<'_>) -> io::Result<Survey> {
        let mut survey = Survey { directories: 1, ..Survey::default() };
        let names = site.startup_names()?;
        let announced: Vec<_> = names.iter().map(|name| self.announce(site, name)).collect();
        self.parts.watch.close_gate(site)?;
        for (name, announced) in names.iter().zip(announced) {
            self.survey_file(site, name, brought, &mut survey);
            if let Some(file) = announced {
                self.settled(&file, site.id);
            }
        }
        Ok(survey)
    }

    fn announce(&self, site: &SiteDir, name: &OsStr) -> Option<FileId> {
        let file = site.open(name, OFlag::O_PATH).and_then(FileId::of).ok()?;
        self.parts.watch.track(site, name, file);
        self.parts.watch.tracker().queue_notice(&file, site.id);
        Some(file)
    }

    /// What is there came by somebody: it is judged like any newcomer.
    fn survey_arrivals(&self, site: &SiteDir, author: &Author) -> io::Result<Survey> {
        for name in site.startup_names()? {
            if let Ok(file) = site.open(&name, OFlag::O_PATH).and_then(FileId::of) {
                self.parts.watch.track_arrival(site, &name, file, author.clone());
            }
        }
        self.parts.watch.close_gate(site)?;
        Ok(Survey { directories: 1, ..Survey::default() })
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

    fn survey_file(&self, site: &SiteDir, name: &OsStr, brought: Brought<'_>, survey: &mut Survey) {
        let Ok(entry) = site.open(name, OFlag::O_PATH) else { return }; // removed meanwhile
        let entry = File::from(entry);
        let (Ok(file), Ok(status)) = (FileId::of(&entry), entry.metadata()) else { return };
        let kind = status.file_type();
        if kind.is_dir() {
            return;
        }
        self.parts.watch.track(site, name, file);
        let entry_id = file;
        survey.files += 1;
        survey.linked += usize::from(kind.is_file() && status.nlink() > 1);
        let wanted = self.is_baseline(brought, &status) || self.is_wanted(site, name);
        let reached = match kind.is_symlink().then(|| self.reach_target(site, name, wanted)) {
            Some(Err(error)) => {
                survey.held += 1;
                return self.refuse_found_link(site, name, &file, &error.to_string());
            }
            Some(Ok(reached)) => Some(reached),
            None => None,
        };
        let permit = || match brought {
            Brought::Found { maker: Some(maker) } if kind.is_file() => self.permit_of_maker(site, name, &status, maker),
            Brought::Before | Brought::BeforeStart | Brought::Found { .. } | Brought::By(_) => None,
        };
        let found = match &reached {
            Some(reached) => self.content_of_target(site, name, reached).map(|found| (reached.file, found)),
            None if kind.is_file() => self.content_of(site, name, &file).map(|found| (file, found)),
            None => None,
        };
        let Some((file, (content, metadata))) = found else {
            match permit() {
                Some(permit) => return self.accept_file(site, name, &file, None, permit),
                None if kind.is_file() => self.keep_in_view(site, name, file),
                None => {}
            }
            // Somebody waits to be told whether he may make it, since before there was anybody to tell.
            let is_new = status.len() == 0
                && self.early.is_on(site.lane)
                && self.parts.approvals.get(site.approvals, name).is_none();
            if let Some(entry) = self.parts.watch.tracker().get_mut(&file).filter(|_| is_new) {
                entry.fresh = true;
            }
            survey.held += 1;
            let record = self.note(Action::Held, site.path_of(name));
            self.parts.audit.record(record.saying("not approved: being written, or a special file"));
            return;
        };
        let target = reached.as_ref().map(|reached| reached.path.clone());
        let written = Written { site, name, file: &file, content: &content, metadata, target };
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
        if let Some(permit) = permit() {
            let metadata = written.metadata;
            return self.accept_file(site, name, &file, Some((content, metadata)), permit);
        }
        let judgement = self.judge(site, name, bytes, None, true);
        survey.executing += usize::from(judgement.class.executes());
        let target = reached.as_ref().map(|reached| std::fs::symlink_metadata(&reached.path));
        let is_baseline = self.is_baseline(brought, &status)
            && target.is_none_or(|target| target.is_ok_and(|target| self.is_baseline(brought, &target)));
        if is_baseline && judgement.class != ContentClass::Broken {
            self.approve(&written, Origin::Baseline, judgement);
        } else if let Some(reached) = reached.as_ref().filter(|reached| !reached.is_watched) {
            survey.held += 1;
            self.refuse_found_link(site, name, &entry_id, reached.doubt.as_deref().unwrap_or_default());
        } else if let Some(doubt) = reached.and_then(|reached| reached.doubt) {
            survey.held += 1;
            self.hold(&written, Some(judgement), Reason::NotApproved, &doubt, None);
        } else if !self.settle_found(&written, judgement) {
            survey.held += 1;
        }
    }

    /// Whether a file of this status belongs to what was there at the first start.
    fn is_baseline(&self, brought: Brought<'_>, status: &std::fs::Metadata) -> bool {
        match brought {
            Brought::Before => self.parts.approvals.is_first_start(),
            Brought::BeforeStart => {
                // The time of the last change is the kernel's: neither utimes(2) nor a rename makes a file older. Whole
                // seconds: the clock of files lags behind.
                let start = self.discovery.first_start.and_then(|start| start.duration_since(UNIX_EPOCH).ok());
                let changed = u64::try_from(status.ctime()).ok();
                changed.zip(start).is_some_and(|(changed, start)| changed < start.as_secs())
            }
            Brought::Found { .. } | Brought::By(_) => false,
        }
    }

    /// A link that was found, and that cannot be kept unreadable where it is: to nothing that is there, or to what is not
    /// looked at.
    fn refuse_found_link(&self, site: &SiteDir, name: &OsStr, link: &FileId, why: &str) {
        let record = self.note(Action::Held, site.path_of(name));
        self.parts.audit.record(record.saying(format!("not approved, a link that cannot be held: {why}")));
        if self.ruling().mode == Mode::Enforce {
            self.expel_link(site, name, link, Object::at(site.path_of(name)), "nobody knows");
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
                if !self.discovery.covers(&site.guarded.path) {
                    self.vacant.add(site.guarded.path.clone());
                }
                self.look_where_it_leads(&site.guarded.path);
                self.discovery.look_for(site.file());
            }
            Role::Inside { of, name } => {
                if let Some(of) = self.parts.watch.sites.get(*of) {
                    self.guard_subdirectory(&of, name, Brought::By(&Author::unknown()));
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
        let _turn = self.mounts.turn();
        let (paths, mut remote) = match Walk::new() {
            Ok(walk) => Sites::expand_in(&walk, &self.parts.sites)?,
            Err(error) => (Vec::new(), vec![Unguardable { path: "/".into(), kind: error.to_string() }]),
        };
        let in_containers = self.sites_in_containers(&mut remote)?;
        let mut walks = Walks::default();
        let mut overlays = Vec::new();
        let mut guard = |path: &Path, place| match self.guard_reached(path, place, Brought::Before) {
            Ok(survey) => sum += survey,
            Err(error) => failed.push(error),
        };
        for path in paths.into_iter().chain(in_containers) {
            let place = walks.reach(&path);
            match &place {
                Ok(reached) if is_layered(&reached.dir).unwrap_or(false) => overlays.push(path),
                _ => guard(&path, place),
            }
        }
        self.take_over_layers();
        for path in overlays {
            let place = walks.reach(&path);
            guard(&path, place);
        }
        failed.extend(
            remote.into_iter().map(|place| NotGuarded { path: place.path.clone(), why: io::Error::other(place) }),
        );
        // The globs are matched again at every change of mounts: what is known is not told again.
        for error in self.mounts.news_of(&failed) {
            self.failed(Failure::Mark, error.path.clone(), &error.to_string());
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
