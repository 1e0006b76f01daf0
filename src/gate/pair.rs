//! `x.pth` and `x.start` (PEP 829): from Python 3.15 on a `.start` file that can be opened switches off the import lines
//! of the `.pth` file of the same stem.
//!
//! An unapproved `.start` file cannot be opened, so it switches off nothing. An approved one must stay: its removal would
//! switch on what it had switched off.

use std::ffi::OsStr;
use std::fs::File;

use nix::fcntl::OFlag;

use super::Guard;
use crate::approvals::Metadata;
use crate::model::{Access, Failure, Mode, Request, Sha256, Verdict, switch_of, switched_off_by};
use crate::watch::{Author, SiteDir, SiteId};

impl Guard {
    /// A startup file was removed. An approved `.start` file comes back, if who removed it may not write there and the
    /// `.pth` file that it belongs to is still approved.
    pub(super) fn removed(&self, site: &SiteDir, name: &OsStr, author: &Author) {
        // Asked first, because in a storm of removals the journal's lock would be taken for each.
        if self.parts.approvals.get_held(site.approvals, name).is_some()
            && let Err(error) = self.parts.approvals.release(site.approvals, name)
        {
            let message = format!("is gone, but still listed as held: {error}");
            self.failed(Failure::State, site.path_of(name), &message);
        }
        let Some(pth) = switched_off_by(name) else { return };
        let approval = self.parts.approvals.get(site.approvals, &pth);
        if approval.is_none_or(|approval| approval.companion.is_none()) {
            return;
        }
        if self.may_remove(site, name, author) {
            self.set_companion(site, &pth, None);
        } else if self.ruling().mode == Mode::Enforce {
            self.put_back(site, name);
        }
    }

    fn may_remove(&self, site: &SiteDir, name: &OsStr, author: &Author) -> bool {
        let Ok(known) = self.author(author) else { return false };
        let ruling = self.ruling();
        [Access::Write, Access::Rename].into_iter().any(|access| {
            let request = Request::new(&known.subject, &site.guarded.facts, name, access);
            ruling.policy.decide(&request).verdict == Verdict::Allow
        })
    }

    /// Whether the `.start` file with which a `.pth` file was approved is there, approved as well.
    pub(super) fn has_companion(&self, site: SiteId, name: &OsStr, companion: Option<Sha256>) -> bool {
        let Some(switch) = companion.and_then(|_| switch_of(name)) else { return true };
        let is_approved = {
            let tracker = self.parts.watch.tracker();
            let start = tracker.occupant(site, &switch).and_then(|file| tracker.get(&file).map(|entry| entry.approved));
            start == Some(true)
        };
        is_approved && self.parts.watch.sites.get(site).is_some_and(|site| self.can_be_opened(&site, &switch))
    }

    /// Whether those can still open an approved file who could when it was approved: one without the right to counts it
    /// as absent.
    fn can_be_opened(&self, site: &SiteDir, name: &OsStr) -> bool {
        let Some(approval) = self.parts.approvals.get(site.approvals, name) else { return false };
        let now = site.open(name, OFlag::O_PATH).and_then(|file| File::from(file).metadata());
        now.is_ok_and(|now| {
            let (now, then) = (Metadata::from(&now), approval.metadata);
            (now.uid, now.gid, now.mode) == (then.uid, then.gid, then.mode)
        })
    }
}
