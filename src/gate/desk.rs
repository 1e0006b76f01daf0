//! What an administrator changes while the guard runs. On the control socket's thread, which is one of the guard's own.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Guard;
use super::content::Content;
use super::judgement::Judgement;
use super::settle::Written;
use crate::approvals::{Directory, Metadata};
use crate::audit::Record;
use crate::control::putback::{self, PutBack};
use crate::control::record::Approving;
use crate::control::{
    Approved, Desk, HeldFile, Looked, Peer, Place, Refusal, Restored, Revoked, Seen, Shown, Why, ledger, record,
};
use crate::fanotify::FileId;
use crate::model::{Mode, Sha256};
use crate::quarantine::Id;
use crate::status::Status;
use crate::watch::SiteDir;

impl Guard {
    /// The guarded directory of a path, and the name in it. The directory is the one that is open since it is guarded.
    fn desk_place(&self, path: &Path) -> Result<(Arc<SiteDir>, Place), Refusal> {
        let (directory, name) = path.parent().zip(path.file_name()).unwrap_or((path, OsStr::new("")));
        let site = self.parts.watch.sites.by_path(directory).and_then(|id| self.parts.watch.sites.get(id));
        let site = site.ok_or_else(|| Refusal::not_guarded(path))?;
        if !site.is_startup(name) {
            return Err(Refusal::not_startup(path));
        }
        let dir = site.dir.try_clone().map_err(|error| Refusal::system(path, error))?;
        let directory = Directory { path: site.guarded.path.clone(), handle: site.file().handle.to_string() };
        Ok((site, Place { dir, directory, name: name.to_owned() }))
    }

    fn desk_look(&self, path: &Path) -> Result<(Arc<SiteDir>, Place, Looked), Refusal> {
        let (site, place) = self.desk_place(path)?;
        let looked = Looked::at(&place, self.parts.max_size)?;
        Ok((site, place, looked))
    }

    /// What is shown of a file: what the guard judges it to be, and no less than what it was held as.
    fn desk_seen(&self, site: &SiteDir, place: &Place, looked: &Looked) -> (Seen, Judgement) {
        let judgement = self.judge(site, &place.name, &looked.bytes, None, true);
        let seen = looked.seen(place, &self.parts.approvals, site.approvals, self.parts.max_size);
        let held = seen.held.as_ref().filter(|held| held.sha256 == Some(seen.sha256));
        let seen = Seen {
            class: held.map_or(judgement.class, |held| held.class.max(judgement.class)),
            package: judgement.package.clone().or(seen.package),
            remark: judgement.remark.clone(),
            ..seen
        };
        (seen, judgement)
    }

    fn desk_record(&self, record: Record) {
        self.parts.audit.record(self.ruling().sign(record));
    }

    /// Approves a file as it was read, records it, and wakes whoever waits for that.
    fn desk_approve(&self, site: &SiteDir, place: &Place, looked: Looked, by: &Peer) -> io::Result<Seen> {
        let (seen, judgement) = self.desk_seen(site, place, &looked);
        let before = self.parts.approvals.get(site.approvals, &place.name).map(|approval| approval.sha256);
        let file = FileId::of(&looked.file)?;
        let reached = looked.target.is_some().then(|| self.reach_target(site, &place.name, true)).transpose()?;
        if reached.as_ref().is_some_and(|reached| reached.file != file) {
            return Err(io::Error::other("the link leads to another file since it was read"));
        }
        let target = reached.map(|reached| reached.path);
        let metadata = Metadata::of(&looked.file)?;
        let (content, name) = (Content::Bytes(looked.bytes), place.name.as_os_str());
        let written = Written { site, name, file: &file, content: &content, metadata, target };
        if let Content::Bytes(bytes) = &content {
            self.keep(&written, bytes, &ledger::administrator(by), &judgement)?;
        }
        self.wake(&file, site.id);
        let Seen { path, sha256, size, class, .. } = seen.clone();
        self.desk_record(record::approved(&Approving { path, sha256, size, class, before }, by));
        let approved = Some((sha256, ledger::administrator(by)));
        Ok(Seen { is_approved: true, approved, held: None, ..seen })
    }

    /// The file of that name is approved no longer, unless another name of its own has an approval: it does not come
    /// back when it is replaced.
    fn desk_revoked(&self, revoked: Revoked, by: &Peer, all: &mut Vec<Revoked>) {
        self.desk_record(record::revoked(&revoked, by));
        let (sites, path) = (&self.parts.watch.sites, &revoked.path);
        let place = path.parent().zip(path.file_name());
        let place = place.and_then(|(directory, name)| Some((sites.by_path(directory)?, name)));
        let occupant = place.and_then(|(site, name)| self.parts.watch.tracker().occupant(site, name));
        if let Some(file) = occupant {
            let names = self.parts.watch.tracker().current_names(&file);
            let has_approval = names.iter().any(|(site, name)| {
                sites.get(*site).is_some_and(|site| self.parts.approvals.get(site.approvals, name).is_some())
            });
            if let Some(entry) = self.parts.watch.tracker().get_mut(&file) {
                entry.approved = has_approval;
            }
        }
        all.push(revoked);
    }
}

impl Desk for Guard {
    fn read(&self, path: &Path) -> Result<Seen, Refusal> {
        let (site, place, looked) = self.desk_look(path)?;
        Ok(self.desk_seen(&site, &place, &looked).0)
    }

    fn approve(&self, shown: &Shown, by: &Peer) -> Result<Seen, Refusal> {
        let (site, place, looked) = self.desk_look(&shown.path)?;
        ledger::check(&place, &looked, shown)?;
        let approved = self.desk_approve(&site, &place, looked, by);
        approved.map_err(|error| ledger::cannot_keep(&shown.path, &error))
    }

    fn approve_everywhere(&self, name: &OsStr, sha256: Sha256, by: &Peer) -> Result<(), Refusal> {
        let path = Path::new(name);
        if !self.parts.startup.matches(name.as_bytes()) {
            return Err(Refusal::not_startup(path));
        }
        let approved = self.parts.approvals.approve_everywhere(name, sha256, ledger::administrator(by));
        approved.map_err(|error| ledger::cannot_keep(path, &error))?;
        self.desk_record(record::approved_everywhere(path, sha256, by));
        for site in self.parts.watch.sites.all() {
            let occupant = self.parts.watch.tracker().occupant(site.id, name);
            if let Some(file) = occupant {
                self.wake(&file, site.id);
            }
        }
        Ok(())
    }

    fn revoke(&self, path: &Path, by: &Peer) -> Result<Vec<Revoked>, Refusal> {
        let mut all = Vec::new();
        ledger::revoke(&self.parts.approvals, path, |revoked| self.desk_revoked(revoked, by, &mut all))?;
        Ok(all)
    }

    fn revoke_everywhere(&self, name: &OsStr, sha256: Sha256, by: &Peer) -> Result<Vec<Revoked>, Refusal> {
        let mut all = Vec::new();
        let revoked = |revoked| self.desk_revoked(revoked, by, &mut all);
        ledger::revoke_everywhere(&self.parts.approvals, name, sha256, revoked)?;
        Ok(all)
    }

    fn approvals(&self) -> Result<Vec<Approved>, Refusal> {
        Ok(ledger::approvals(&self.parts.approvals))
    }

    fn held(&self) -> Result<Vec<HeldFile>, Refusal> {
        Ok(ledger::held(&self.parts.approvals))
    }

    fn restore(&self, id: &Id, to: Option<&Path>, approve: Option<Sha256>, by: &Peer) -> Result<Restored, Refusal> {
        let putback = PutBack::new(self.parts.quarantine.store(), id, to)?;
        let path = putback.path();
        match self.desk_place(path) {
            Ok((site, place)) => {
                let (approvals, max_size) = (&self.parts.approvals, self.parts.max_size);
                let approve = approve.map(|sha256| (sha256, by));
                let approving =
                    putback.put_under_guard(approvals, site.approvals, &place, max_size, approve, |file| {
                        self.parts.watch.tracker().expect_approved(FileId::of(file)?);
                        Ok(())
                    })?;
                if let Some(approving) = approving {
                    self.desk_record(record::approved(&approving, by));
                }
            }
            Err(Refusal { why: Why::NotGuarded | Why::NotStartup, .. }) => putback.put_elsewhere(approve)?,
            Err(refusal) => return Err(refusal),
        }
        self.desk_record(record::restored(path, id.as_str(), by));
        Ok(Restored { path: path.to_owned() })
    }

    fn purge(&self, ids: &[Id], by: &Peer) -> Result<(), Refusal> {
        ids.iter().try_for_each(|id| {
            let path = putback::purge(self.parts.quarantine.store(), id)?;
            self.desk_record(record::purged(&path, id.as_str(), by));
            Ok(())
        })
    }

    fn switch_mode(&self, mode: Mode, limit: Option<Duration>, by: &Peer) -> Result<(), Refusal> {
        Guard::switch_mode(self, mode, limit, by).map_err(|why| Refusal::new(Why::Policy, why))
    }

    fn status(&self) -> Result<Status, Refusal> {
        Ok(self.tell())
    }

    fn refused(&self, by: &Peer) {
        self.desk_record(record::refused(by));
    }
}
