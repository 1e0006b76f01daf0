//! What becomes of a permitted writer's file: approved, waited for, or held.
//!
//! ```text
//! closed, nobody else touched it ──▶ within its rule's content ─────────────────▶ approved
//!                                 ├─▶ beyond it, the installation goes on ──────▶ waited for: whose is it, what else came?
//!                                 └─▶ beyond it ────────────────────────────────▶ held: in place, unreadable, listed
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::Guard;
use super::content::Content;
use super::judgement::Judgement;
use crate::approvals::{Approval, Held, Metadata, Target, now};
use crate::audit::{Action, Record, escape_path};
use crate::fanotify::{FileId, WriteProbe, probe_writers};
use crate::model::{
    Access, ContentClass, ContentSet, Decision, Failure, Object, Origin, Reason, Sha256, Subject, Verdict, switch_of,
    switched_off_by,
};
use crate::watch::{Permit, SiteDir, Stage, reach};

/// How often a file that is waited for is judged anew at most, whoever asks: it takes a look at every package.
const PATIENCE: Duration = Duration::from_millis(50);

/// A file's content, with what makes it this file.
pub(super) struct Written<'a> {
    pub(super) site: &'a SiteDir,
    pub(super) name: &'a OsStr,
    pub(super) file: &'a FileId,
    pub(super) content: &'a Content,
    pub(super) metadata: Metadata,
    /// Where the link leads that has the name, if it is one that is not watched.
    pub(super) target: Option<PathBuf>,
}

impl Written<'_> {
    fn object(&self) -> Object {
        let mut object = Object::at(self.site.path_of(self.name));
        object.sha256 = self.content.sha256();
        object.size = self.content.size();
        object
    }
}

impl Guard {
    /// A file that was open for writing was closed, or its writer has ended: if its writers were permitted and nobody
    /// else touched it, it is judged.
    pub(super) fn closed(&self, file: &FileId) {
        let Some(entry) = self.parts.watch.tracker().get(file).cloned() else { return };
        let Some(permit) = entry.permit else { return };
        let is_at_work = permit.is_at_work();
        if is_at_work && permit.judged.is_some_and(|at| at.elapsed() < PATIENCE) {
            return;
        }
        let mut stage = None;
        for (id, name) in &permit.places {
            let is_its_name = self.parts.watch.tracker().leads_to(*id, name, file);
            let Some(site) = self.parts.watch.sites.get(*id).filter(|_| is_its_name) else { continue };
            let Some((content, metadata)) = self.content_of(&site, name, file) else {
                return self.awaiting.add_for_later(*file, &permit);
            };
            if entry.approved && !permit.tainted && self.is_as_approved(&site, name, &content, &metadata) {
                continue;
            }
            let written = Written { site: &site, name, file, content: &content, metadata, target: None };
            let waits = self.settle(written, &permit, is_at_work);
            stage = stage.max(waits);
        }
        let mut tracker = self.parts.watch.tracker();
        let Some(now) = tracker.get_mut(file).filter(|now| now.grants == entry.grants) else { return };
        match (stage, &mut now.permit) {
            (None, permit) => *permit = None,
            (Some(stage), Some(permit)) => (permit.stage, permit.judged) = (stage, Some(Instant::now())),
            (Some(_), None) => {}
        }
        drop(tracker);
        if stage.is_some() {
            self.awaiting.add(*file, &permit);
        }
    }

    /// Whether it is what was approved, to the time of its last change: somebody had it open and wrote nothing, say.
    fn is_as_approved(&self, site: &SiteDir, name: &OsStr, content: &Content, metadata: &Metadata) -> bool {
        let approval = self.parts.approvals.get(site.approvals, name);
        approval.is_some_and(|approval| {
            content.sha256() == Some(approval.sha256)
                && *metadata == approval.metadata
                && !self.parts.approvals.is_held(site.approvals, name, approval.sha256)
        })
    }

    /// Judges a file under one of its names. Tells what is waited for, if it is not decided.
    pub(super) fn settle(&self, written: Written<'_>, permit: &Permit, is_at_work: bool) -> Option<Stage> {
        let Content::Bytes(bytes) = written.content else {
            self.hold(&written, None, Reason::TooLarge, "larger than protect.max_size", Some(permit));
            return None;
        };
        if permit.tainted {
            let message = "a process without a permit changed it too";
            self.hold(&written, None, Reason::NotFinal, message, Some(permit));
            return None;
        }
        let judgement = self.judge(written.site, written.name, bytes, Some(&permit.rule), !is_at_work);
        if permit.content.contains(judgement.at_worst) {
            self.approve(&written, Origin::Writer(Arc::clone(&permit.rule)), judgement);
            return None;
        }
        if is_at_work && permit.content.contains(judgement.at_best) {
            return Some(Stage::Unfinished);
        }
        // Nothing can approve it any more. Whose it is will be told once RECORD is there.
        if is_at_work && judgement.package.is_none() {
            return Some(Stage::Beyond);
        }
        let message = format!("{} is more than rule {} lets in", judgement.class, permit.rule);
        self.hold(&written, Some(judgement), Reason::Held, &message, Some(permit));
        None
    }

    /// A file that nobody watched, or that the guard did not see being written: approved if it is harmless.
    pub(super) fn settle_found(&self, written: &Written<'_>, judgement: Judgement) -> bool {
        let is_harmless = ContentSet::HARMLESS.contains(judgement.class);
        if is_harmless {
            self.approve(written, Origin::Found, judgement);
        } else {
            self.hold(written, Some(judgement), Reason::NotApproved, "it came or changed while nobody watched", None);
        }
        is_harmless
    }

    /// Leaves a file where it is, unreadable, and says so.
    pub(super) fn hold(
        &self,
        written: &Written<'_>,
        judgement: Option<Judgement>,
        reason: Reason,
        why: &str,
        permit: Option<&Permit>,
    ) {
        let mut object = written.object();
        if let Some(judgement) = &judgement {
            object = judgement.describe(object);
        }
        let remark = judgement.as_ref().and_then(|judgement| judgement.remark.as_deref());
        let message = remark.map_or_else(|| why.to_owned(), |remark| format!("{why}; {remark}"));
        let writer = permit.and_then(|permit| permit.writers.last());
        let held = Held {
            sha256: object.sha256,
            class: object.content.unwrap_or(ContentClass::Code),
            line: object.line.clone(),
            package: object.package.clone(),
            author: writer.map_or_else(String::new, |writer| author_of(writer.pid, writer.subject.as_deref())),
            reason: reason.as_str().to_owned(),
            since: now(),
            size: object.size.unwrap_or_default(),
        };
        let path = object.path.clone();
        if let Err(error) = self.parts.approvals.hold(written.site.approvals, written.name, held) {
            self.failed(Failure::State, path.clone(), &format!("held, but cannot be listed: {error}"));
        }
        let rule = permit.map(|permit| Arc::clone(&permit.rule));
        let decision = Decision { verdict: Verdict::Deny, rule, reason };
        let record = self.ruling().decided(Access::Write, decision).as_action(Action::Held).on(object);
        let record = match writer {
            Some(writer) => match &writer.subject {
                Some(subject) => record.by(Arc::clone(subject)),
                None => record.by_pid(writer.pid),
            },
            None => record,
        };
        self.parts.audit.record(record.saying(format!("held, interpreters cannot read it: {message}")));
    }

    /// A file's content, if nobody writes it.
    pub(super) fn content_of(&self, site: &SiteDir, name: &OsStr, file: &FileId) -> Option<(Content, Metadata)> {
        let entry = self.parts.watch.tracker().get(file).map(|entry| (entry.grants, entry.is_target));
        let opened = match entry {
            Some((_, true)) => {
                self.follow(site, name).filter(|opened| FileId::of(opened).is_ok_and(|of| of == *file))?
            }
            _ => File::from(reach(site, name, file, OFlag::O_RDONLY).ok()?),
        };
        if probe_writers(&opened) == WriteProbe::Writers {
            return None;
        }
        if let Some((grants, _)) = entry {
            self.parts.watch.tracker().probed(file, grants);
        }
        let metadata = Metadata::of(&opened).ok()?;
        Some((Content::read(&opened, self.parts.max_size).ok()?, metadata))
    }

    /// Approves bytes under a name, and records it.
    pub(super) fn approve(&self, written: &Written<'_>, origin: Origin, judgement: Judgement) {
        let Content::Bytes(bytes) = written.content else {
            return self.hold(written, None, Reason::TooLarge, "larger than protect.max_size", None);
        };
        if let Err(error) = self.keep(written, bytes, &origin, &judgement) {
            let message = format!("cannot be approved, it stays unreadable: {error}");
            return self.failed(Failure::State, written.site.path_of(written.name), &message);
        }
        let object = judgement.describe(written.object());
        self.parts.audit.record(self.approval_record(&origin, object));
    }

    /// Approves bytes under a name.
    pub(super) fn keep(
        &self,
        written: &Written<'_>,
        bytes: &[u8],
        origin: &Origin,
        judgement: &Judgement,
    ) -> io::Result<()> {
        let Written { site, name, file, metadata, .. } = written;
        // First those who could change what the file does, then the file.
        let is_loose = !self.guard_around(site, name, &judgement.paths) || !judgement.namespaces.is_empty();
        let companion = switch_of(name).and_then(|switch| self.approved_here(site, &switch));
        let place = (site.id, name.to_os_string());
        let target = self.parts.watch.link_way(&place).filter(|way| way.target == **file);
        let link = target.as_ref().map(|way| way.link);
        let approval = Approval {
            companion,
            class: Some(judgement.class),
            target: target.map(|way| way.path()).or_else(|| written.target.clone()).map(Target),
            ..Approval::new(Sha256::of(bytes), origin.clone(), metadata.clone())
        };
        self.parts.approvals.approve(site.approvals, name, bytes, approval)?;
        if let Some(other) = switched_off_by(name) {
            self.set_companion(site, &other, Some(Sha256::of(bytes)));
        }
        self.mark_approved(file, is_loose);
        if let Some(link) = link {
            self.mark_approved(&link, false); // what it stands for comes back where it is replaced
        }
        Ok(())
    }

    fn approval_record(&self, origin: &Origin, object: Object) -> Record {
        let executes = object.content.is_some_and(ContentClass::executes);
        let action = match origin {
            Origin::Baseline => Action::Baseline,
            Origin::Writer(_) | Origin::Found | Origin::Administrator { .. } => Action::Approval,
        };
        let record = self.note(action, object.path.clone()).on(object);
        match origin {
            Origin::Baseline if executes => record.saying("was here at the first start; executes code at start-up"),
            Origin::Baseline => record.saying("was here at the first start"),
            Origin::Writer(rule) => record.saying(format!("written under rule {rule}")),
            Origin::Found => record.saying("harmless, found where nobody had watched"),
            Origin::Administrator { uid } => record.saying(format!("approved by user {uid}")),
        }
    }

    /// The digest of a file that is there and approved.
    fn approved_here(&self, site: &SiteDir, name: &OsStr) -> Option<Sha256> {
        let is_there = {
            let tracker = self.parts.watch.tracker();
            tracker.occupant(site.id, name).and_then(|file| tracker.get(&file).map(|entry| entry.approved))
        };
        is_there.filter(|approved| *approved)?;
        self.parts.approvals.get(site.approvals, name).map(|approval| approval.sha256)
    }

    /// Remembers which `.start` file belongs to an approved `.pth` file: without that one it is not read.
    pub(super) fn set_companion(&self, site: &SiteDir, name: &OsStr, companion: Option<Sha256>) {
        let Some(approval) = self.parts.approvals.get(site.approvals, name) else { return };
        if approval.companion == companion {
            return;
        }
        let bytes = self.parts.approvals.bytes(approval.sha256);
        let approval = Approval { companion, ..approval };
        let changed = bytes.and_then(|bytes| self.parts.approvals.approve(site.approvals, name, &bytes, approval));
        if let Err(error) = changed {
            let message = format!("its .start file cannot be remembered: {error}");
            self.failed(Failure::State, site.path_of(name), &message);
        }
    }

    pub(super) fn mark_approved(&self, file: &FileId, is_loose: bool) {
        if let Some(entry) = self.parts.watch.tracker().get_mut(file) {
            entry.approved = true;
            entry.is_loose = is_loose;
        }
    }
}

/// Who brought a file, in one line.
fn author_of(pid: u32, subject: Option<&Subject>) -> String {
    let Some(subject) = subject else { return format!("process {pid}, which had gone") };
    let exe = escape_path(&subject.exe.path);
    let script =
        subject.script.display().map(|script| format!(" {}", escape_path(script.as_ref()))).unwrap_or_default();
    format!("{exe}{script}, process {pid}, user {}", subject.uids.effective)
}
