//! What the kernel only tells afterwards: newcomers, closed files, removals, lost directories.
//!
//! Until a newcomer is judged here nobody can read it (its bytes are not approved), and nobody lists a directory in
//! which one waits. This thread opens guarded files; the triage thread answers it at once.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::content::Content;
use super::linked::Reached;
use super::remembered::{Known, Nobody};
use super::settle::Written;
use super::survey::Brought;
use super::verdict::with_inode;
use super::{Guard, Ruling};
use crate::approvals::Metadata;
use crate::audit::{Action, Record, escape_path};
use crate::fanotify::FileId;
use crate::model::{
    Access, ArrivalAction, ContentSet, Decision, Failure, Mode, Object, Reason, Request, Subject, Verdict,
};
use crate::watch::{Arrival, How, Lane, Notice, Permit, SiteDir, SiteId, Stage, Writer, reach};

const HEARTBEAT: Duration = Duration::from_millis(500);
/// The shortest time that poll(2) can be told.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// With more notices than this, nobody is looked up for what is only recorded.
const STORM: usize = 1024;

/// What is found under the name of a newcomer.
enum Found {
    /// Nothing, or not that file any more.
    Gone,
    /// Nothing to judge: a directory, or a plain creation, whose open is judged at the gate and which without one is an
    /// empty file that nobody can read.
    Settled,
    /// A newcomer.
    Newcomer(Newcomer),
}

pub(super) struct Newcomer {
    pub(super) access: Access,
    pub(super) object: Object,
}

impl Guard {
    pub(super) fn run_watch(&self, lane: Lane) {
        let mut purged = Instant::now();
        while !self.is_stopping() {
            self.heartbeats.watch[lane].fetch_add(1, Ordering::Relaxed);
            let changes = &self.parts.watch.groups(lane).changes;
            let mut fds = [changes.as_fd(), self.stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // One of the threads sees to it that nobody is looked at too seldom.
            let next_look = if lane == Lane::System { self.remembered.next_look() } else { None };
            let wait = next_look.map_or(HEARTBEAT, |wait| wait.clamp(MIN_WAIT, HEARTBEAT));
            let _ = poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO));
            self.remembered.look(); // before the queue is read: who is alive now has done what is in it
            self.parts.watch.drain(lane);
            if lane == Lane::System && purged.elapsed() >= HEARTBEAT {
                self.purge();
                purged = Instant::now();
            }
        }
    }

    pub(super) fn run_arrivals(&self, lane: Lane) {
        let notices = &self.parts.notices[lane];
        while !self.is_stopping() {
            self.heartbeats.arrivals[lane].fetch_add(1, Ordering::Relaxed);
            let Some(notice) = self.stop.receive(notices, HEARTBEAT) else { continue };
            match notice {
                Notice::Arrival(arrival) => {
                    let stays = self.arrived(&arrival);
                    let file =
                        self.parts.watch.tracker().get(&arrival.file).map(|file| (file.is_unseen, file.is_unknown));
                    if let Some((true, is_unknown)) = file.filter(|_| !stays) {
                        self.disturbed(arrival.site, !is_unknown);
                    }
                    self.settled(&arrival.file, arrival.site);
                }
                Notice::Closed { file, site } => {
                    self.closed(&file);
                    self.settled(&file, site);
                }
                Notice::Spoilt { file, site, author } => {
                    self.spoilt(&file, &author);
                    self.settled(&file, site);
                }
                Notice::Subdirectory { site, name, author, listed } => {
                    let mut inner = lane;
                    if let Some(site) = self.parts.watch.sites.get(site) {
                        self.guard_subdirectory(&site, &name, Brought::By(&author));
                        let path = site.path_of(&name);
                        let found = self.parts.watch.sites.by_path(&path).and_then(|id| self.parts.watch.sites.get(id));
                        inner = found.map_or(lane, |found| found.lane);
                    }
                    if !self.parts.watch.tell_read(inner, listed) {
                        self.listing_settled(listed);
                    }
                }
                Notice::SubdirectoryRead { listed } => self.listing_settled(listed),
                Notice::LinkChanged { site, name, file, author, listed } => {
                    self.link_changed(site, &name, &author);
                    self.listing_settled(listed);
                    if let Some(file) = file {
                        self.settled(&file, site);
                    }
                }
                Notice::Removed { site, name, author } => {
                    let Some(site) = self.parts.watch.sites.get(site) else { continue };
                    self.removed(&site, &name, &author);
                    let record = self.note(Action::Deletion, site.path_of(&name));
                    // In a storm newcomers come first.
                    let record = if notices.len() > STORM {
                        record.by_pid(author.pid)
                    } else {
                        with_author(record, self.author(&author).as_ref(), author.pid)
                    };
                    self.parts.audit.record(record);
                }
                Notice::SiteLost(site) => self.site_lost(site),
                Notice::SiteFilled => drop(self.guard_sites()),
                Notice::Overflow => self.read_again(lane),
            }
        }
    }

    pub(super) fn settled(&self, file: &FileId, site: SiteId) {
        let listed = self.parts.watch.tracker().settle_notice(file);
        self.remove_left_behind(file); // after that: from now on whoever leaves one behind sends a notice
        self.wake(file, listed.unwrap_or(site));
    }

    fn listing_settled(&self, (site, number): (SiteId, u64)) {
        self.parts.watch.tracker().settle_unseen(site, number);
        if let Some(site) = self.parts.watch.sites.get(site) {
            self.wake(&site.file(), site.id);
        }
    }

    /// A newcomer that raises no event when it is opened was not let stay. Before anybody is woken who waits for that.
    pub(super) fn disturbed(&self, site: SiteId, is_known: bool) {
        if let Some(site) = self.parts.watch.sites.get(self.parts.watch.sites.listed_for(site)) {
            self.parts.watch.tracker().disturb(site.file(), is_known);
        }
    }

    /// Judges a newcomer, and whether it stays.
    fn arrived(&self, arrival: &Arrival) -> bool {
        let Some(site) = self.parts.watch.sites.get(arrival.site) else { return false };
        let name = arrival.name.as_os_str();
        // What this thread has moved itself must not look as if it were somewhere else.
        self.parts.watch.drain(site.lane);
        if self.parts.watch.tracker().occupant(site.id, name) != Some(arrival.file) {
            self.superseded(&site, arrival);
            return false;
        }
        let newcomer = match self.examine(&site, arrival) {
            Found::Settled => return true, // the gate decides about what it stands in for, too
            Found::Gone => None,
            Found::Newcomer(newcomer) => Some(newcomer),
        };
        let displaced = self.parts.watch.tracker().take_displaced(site.id, name);
        let accepted = newcomer.is_some_and(|newcomer| self.judge_newcomer(&site, arrival, newcomer, displaced));
        if displaced && !accepted && self.ruling().mode == Mode::Enforce {
            self.put_back(&site, name);
        }
        accepted
    }

    /// It has the name no longer: taken away again, or replaced by another newcomer, whose notice follows. In a storm
    /// these are nearly all.
    fn superseded(&self, site: &SiteDir, arrival: &Arrival) {
        if arrival.how == How::Created && self.is_judged_at_the_gate(&arrival.file) {
            return;
        }
        let access = if arrival.how == How::Created { Access::Link } else { Access::Rename };
        let reason = Reason::Failure(Failure::UnresolvedArrival);
        let ruling = self.ruling();
        let decision = Decision { verdict: Verdict::Deny, rule: None, reason };
        self.count(&ruling, access, &decision);
        let record = ruling.decided(access, decision);
        let record = record.on(Object::at(site.path_of(&arrival.name))).by_pid(arrival.author.pid);
        self.parts.audit.record(record.saying("the name was another file's, or gone, before it could be judged"));
    }

    fn examine(&self, site: &SiteDir, arrival: &Arrival) -> Found {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let metadata = reach(site, &arrival.name, &arrival.file, flags).and_then(|file| File::from(file).metadata());
        let Some(metadata) = metadata.ok().filter(|metadata| metadata.nlink() > 0) else { return Found::Gone };
        let kind = metadata.file_type();
        let access = if kind.is_dir() {
            return Found::Settled;
        } else if kind.is_symlink() {
            Access::Symlink
        } else if !kind.is_file() {
            Access::Special
        } else if arrival.how != How::Created {
            Access::Rename
        } else if metadata.nlink() == 1 && (metadata.len() == 0 || self.is_judged_at_the_gate(&arrival.file)) {
            return Found::Settled;
        } else {
            Access::Link
        };
        let object = with_inode(Object::at(site.path_of(&arrival.name)), &metadata);
        Found::Newcomer(Newcomer { access, object })
    }

    /// Whether the open that created a file has been judged: its content, if any, came through that open.
    fn is_judged_at_the_gate(&self, file: &FileId) -> bool {
        self.parts.watch.tracker().get(file).is_none_or(|entry| !entry.fresh)
    }

    /// Whether the newcomer may stay.
    fn judge_newcomer(&self, site: &SiteDir, arrival: &Arrival, mut newcomer: Newcomer, displaced: bool) -> bool {
        let name = arrival.name.as_os_str();
        let is_regular = matches!(newcomer.access, Access::Rename | Access::Link);
        let content = is_regular.then(|| self.content_of(site, name, &arrival.file)).flatten();
        if let Some((content, _)) = &content {
            newcomer.object = content.describe(name, newcomer.object);
            let is_approved = |sha256| self.parts.approvals.is_approved(site.approvals, name, sha256);
            if content.sha256().is_some_and(is_approved) {
                self.mark_approved(&arrival.file, true); // where it leads is looked at when it is read
                return true; // whoever brought it
            }
        }
        let ruling = self.ruling();
        let author = self.author(&arrival.author);
        let decision = match &author {
            _ if newcomer.access == Access::Special => {
                Decision { verdict: Verdict::Deny, rule: None, reason: Reason::SpecialFile }
            }
            Ok(Known { subject, .. }) => {
                let request = Request::new(subject, &site.guarded.facts, name, newcomer.access);
                ruling.policy.decide(&request)
            }
            Err(_) => self.unresolved_newcomer(&ruling),
        };
        self.count(&ruling, newcomer.access, &decision);
        let record = ruling.decided(newcomer.access, decision.clone()).on(newcomer.object.clone());
        let mut record = with_author(record, author.as_ref(), arrival.author.pid);
        if let How::Renamed { from: Some((from, old)) } = &arrival.how
            && let Some(from) = self.parts.watch.sites.get(*from)
        {
            record = record.renamed_from(from.path_of(old));
        }
        self.parts.audit.record(record);
        let subject = author.as_ref().ok().map(|known| Arc::clone(&known.subject));
        // A link or a FIFO cannot be kept from being read where it is.
        let is_held = is_regular
            && decision.reason == Reason::Failure(Failure::UnresolvedArrival)
            && ruling.failure.unresolved_arrival == ArrivalAction::Hold;
        match decision.verdict {
            Verdict::Allow
                if self.accept(site, arrival, &newcomer, content, permit_for(&ruling, arrival, &decision, subject)) =>
            {
                true
            }
            Verdict::Allow | Verdict::Deny if ruling.mode == Mode::Audit || is_held => false,
            Verdict::Allow | Verdict::Deny => {
                if let Ok(author) = &author {
                    self.end_author(&ruling, &decision, author, &newcomer.object); // before it brings the next one
                }
                let author = describe(author.as_ref(), arrival.author.pid);
                self.expel(site, arrival, &newcomer, decision.reason, &author, displaced);
                false
            }
        }
    }

    pub(super) fn unresolved_newcomer(&self, ruling: &Ruling) -> Decision {
        self.parts.counters.failed(Failure::UnresolvedArrival);
        let verdict = match ruling.failure.unresolved_arrival {
            ArrivalAction::Allow => Verdict::Allow,
            ArrivalAction::Quarantine | ArrivalAction::Hold => Verdict::Deny,
        };
        Decision { verdict, rule: None, reason: Reason::Failure(Failure::UnresolvedArrival) }
    }

    /// A permitted newcomer: its content is judged now or, while its author still writes, when the author closes it.
    fn accept(
        &self,
        site: &SiteDir,
        arrival: &Arrival,
        newcomer: &Newcomer,
        content: Option<(Content, Metadata)>,
        permit: Permit,
    ) -> bool {
        let name = arrival.name.as_os_str();
        if newcomer.access == Access::Symlink {
            return self.accept_symlink(site, name, permit);
        }
        self.accept_file(site, name, &arrival.file, content, permit);
        true
    }

    pub(super) fn accept_file(
        &self,
        site: &SiteDir,
        name: &OsStr,
        file: &FileId,
        content: Option<(Content, Metadata)>,
        mut permit: Permit,
    ) {
        if let Some((content, metadata)) = content {
            let is_at_work = permit.is_at_work();
            let written = Written { site, name, file, content: &content, metadata, target: None };
            let Some(stage) = self.settle(written, &permit, is_at_work) else { return };
            permit.stage = stage;
        }
        if let Some(entry) = self.parts.watch.tracker().get_mut(file) {
            entry.permit = Some(permit.clone());
        }
        // Not before the permit is in its place: whoever looks for files to wait for passes over those without one.
        match permit.stage {
            Stage::Written => self.awaiting.add_for_later(*file, &permit),
            Stage::Unfinished | Stage::Beyond => self.awaiting.add(*file, &permit),
        }
    }

    /// A symbolic link of a permitted author: what it leads to is tracked and judged under the link's name. What cannot
    /// be kept unreadable for certain, because others can change where the link leads, does not stay.
    pub(super) fn accept_symlink(&self, site: &SiteDir, name: &OsStr, permit: Permit) -> bool {
        let why = match self.reach_target(site, name, false) {
            Ok(Reached { file, doubt: None, .. }) => {
                let content = self.content_of(site, name, &file);
                self.accept_file(site, name, &file, content, permit);
                return true;
            }
            Ok(Reached { doubt, .. }) => doubt.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let decision = Decision { verdict: Verdict::Deny, rule: Some(permit.rule), reason: Reason::NotApproved };
        let record = self.ruling().decided(Access::Symlink, decision).on(Object::at(site.path_of(name)));
        self.parts.audit.record(record.saying(format!("a link cannot stay that anybody may point elsewhere: {why}")));
        false
    }

    pub(super) fn failed(&self, failure: Failure, path: PathBuf, message: &str) {
        self.parts.counters.failed(failure);
        let record = self.ruling().sign(Record::failure(failure));
        self.parts.audit.record(record.on(Object::at(path)).saying(message));
    }
}

/// What a newcomer's author may bring.
fn permit_for(ruling: &Ruling, arrival: &Arrival, decision: &Decision, subject: Option<Arc<Subject>>) -> Permit {
    let rule = decision.rule.clone();
    Permit {
        content: rule.as_deref().map_or(ContentSet::ANY, |rule| ruling.policy.content_of(rule)),
        rule: rule.unwrap_or_else(|| Arc::from("unresolved-arrival")),
        writers: vec![Writer { pid: arrival.author.pid, process: arrival.author.pidfd.clone(), subject }],
        stage: Stage::Written,
        judged: None,
        places: vec![(arrival.site, arrival.name.clone())],
        tainted: false,
    }
}

/// Who brought a file, in a few words.
pub(super) fn describe(author: Result<&Known, &Nobody>, pid: u32) -> String {
    match author {
        Ok(Known { subject, .. }) => format!("process {}, {}", subject.pid, escape_path(&subject.exe.path)),
        Err(_) => format!("process {pid}, which is gone or has become another"),
    }
}

pub(super) fn with_author(record: Record, author: Result<&Known, &Nobody>, pid: u32) -> Record {
    match author {
        Ok(Known { subject, remark: None, .. }) => record.by(Arc::clone(subject)),
        Ok(Known { subject, remark: Some(remark), .. }) => {
            let said = record.message.as_ref().map_or_else(|| remark.clone(), |said| format!("{said}; {remark}"));
            record.by(Arc::clone(subject)).saying(said)
        }
        Err(Nobody::Gone) => record.by_pid(pid),
        Err(Nobody::Changed) => record.by_pid(pid).saying("its author may have become another program since"),
    }
}
