//! What the kernel gave no chance to deny is undone: newcomers and spoilt files go to quarantine, approved files come
//! back.

use std::ffi::OsStr;
use std::fs::File;

use nix::fcntl::OFlag;

use super::Guard;
use super::arrivals::{Newcomer, describe, with_author};
use super::content::Content;
use crate::audit::Action;
use crate::fanotify::FileId;
use crate::model::{Access, Decision, Failure, Mode, Object, Reason, Verdict};
use crate::quarantine::Why;
use crate::watch::{Arrival, Author, Quarantined, SiteDir, reach, restore};

impl Guard {
    /// A denied newcomer goes to quarantine.
    pub(super) fn expel(
        &self,
        site: &SiteDir,
        arrival: &Arrival,
        newcomer: &Newcomer,
        reason: Reason,
        author: &str,
        displaced: bool,
    ) {
        let name = arrival.name.as_os_str();
        let object = newcomer.object.clone();
        let taken = self.to_quarantine(site, name, &arrival.file, object, reason, author);
        // Another newcomer may have the name already; its notice follows and must know what it stands in for.
        if taken == Some(Quarantined::Elsewhere)
            && displaced
            && self.parts.watch.tracker().occupant(site.id, name).is_some()
        {
            self.parts.watch.tracker().displace(site.id, name);
        }
    }

    /// A symbolic link that may not stay goes to quarantine. Whether its name is free then.
    pub(super) fn expel_link(&self, site: &SiteDir, name: &OsStr, link: &FileId, object: Object, author: &str) -> bool {
        let taken = self.to_quarantine(site, name, link, object, Reason::NotApproved, author);
        matches!(taken, Some(Quarantined::Kept(_) | Quarantined::Removed))
    }

    fn to_quarantine(
        &self,
        site: &SiteDir,
        name: &OsStr,
        file: &FileId,
        object: Object,
        reason: Reason,
        author: &str,
    ) -> Option<Quarantined> {
        let author = serde_json::Value::from(author);
        let why = Why { reason: reason.as_str(), class: object.content, author: &author };
        let taken = self.parts.quarantine.take(site, name, file, &why);
        match &taken {
            Ok(Quarantined::Kept(id)) => {
                let record = self.note(Action::Quarantine, site.path_of(name)).on(object);
                self.parts.audit.record(record.saying(format!("moved to quarantine as {id}")));
            }
            Ok(Quarantined::Removed | Quarantined::Elsewhere) => {}
            Err(error) => {
                let message = format!("could not be moved to quarantine: {error}");
                self.failed(Failure::Quarantine, site.path_of(name), &message);
            }
        }
        taken.ok()
    }

    /// An approved file was changed by somebody without a permit: what it has become goes to quarantine, and what was
    /// approved comes back.
    pub(super) fn spoilt(&self, file: &FileId, author: &Author) {
        for (site, name) in self.parts.watch.links_over(file) {
            self.link_changed(site, &name, author);
        }
        let names = self.parts.watch.tracker().current_names(file);
        for (id, name) in names {
            let Some(site) = self.parts.watch.sites.get(id) else { continue };
            let Some(approval) = self.parts.approvals.get(site.approvals, &name) else { continue };
            let opened = reach(&site, &name, file, OFlag::O_RDONLY).map(File::from);
            let content = opened.and_then(|opened| Content::read(&opened, self.parts.max_size)).ok();
            if content.as_ref().and_then(Content::sha256) == Some(approval.sha256) {
                self.mark_approved(file, true); // where it leads is looked at when it is read
                continue;
            }
            let mut object = Object::at(site.path_of(&name));
            if let Some(content) = &content {
                object = content.describe(&name, object);
            }
            let decision = Decision { verdict: Verdict::Deny, rule: None, reason: Reason::NotApproved };
            let record = self.ruling().decided(Access::Write, decision).on(object.clone());
            let known = self.author(author);
            let record = with_author(record, known.as_ref(), author.pid);
            self.parts.audit.record(record.saying("changed by a process without a permit"));
            let by = describe(known.as_ref(), author.pid);
            if self.ruling().mode == Mode::Enforce
                && matches!(
                    self.to_quarantine(&site, &name, file, object, Reason::NotApproved, &by),
                    Some(Quarantined::Kept(_) | Quarantined::Removed)
                )
            {
                self.put_back(&site, &name);
            }
        }
    }

    /// Puts an approved file back that a denied newcomer replaced.
    pub(super) fn put_back(&self, site: &SiteDir, name: &OsStr) {
        let Some(approval) = self.parts.approvals.get(site.approvals, name) else { return };
        let restored = self.parts.approvals.bytes(approval.sha256).and_then(|bytes| {
            let announce = |file| self.parts.watch.tracker().expect_approved(file);
            restore(site, name, &bytes, &approval.metadata, announce)
        });
        match restored {
            Ok(true) => {
                let record = self.note(Action::Restore, site.path_of(name));
                self.parts.audit.record(record.saying("put back as it was approved"));
            }
            Ok(false) => self.parts.watch.tracker().displace(site.id, name),
            Err(error) => {
                self.failed(Failure::Quarantine, site.path_of(name), &format!("could not be put back: {error}"))
            }
        }
    }
}
