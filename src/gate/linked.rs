//! Symbolic links under startup names: where they lead, and what becomes of them when that changes.
//!
//! An approval of a link is for the path that it leads to and for the bytes there. Everything on the way is watched. When
//! something on it has changed the link is looked at again, before anybody lists its directory: it stays if it leads to the
//! same path with the same bytes, or if who changed that may write there; otherwise the link goes to quarantine, and the
//! bytes that were approved take its place as a file. So there is one attempt for each link, not a loop. What lies outside of
//! guarded directories is left as it is.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::Guard;
use super::arrivals::{describe, with_author};
use super::content::Content;
use super::judgement::is_vital;
use crate::approvals::Metadata;
use crate::audit::escape_path;
use crate::fanotify::FileId;
use crate::model::{Access, Mode, Object, Origin, Request, Sha256, Verdict};
use crate::provenance::{LinkWay, follow_link};
use crate::watch::{Author, Permit, SiteDir, SiteId, Stage, Way, Writer, is_still_link};

/// How often a way is gone that changes while it is gone.
const ATTEMPTS: usize = 4;

/// What a link leads to, with everything on the way watched.
pub(super) struct Reached {
    /// The file.
    pub(super) file: FileId,
    /// Its path.
    pub(super) path: PathBuf,
    /// Why nobody but an administrator may approve the link.
    pub(super) doubt: Option<String>,
    /// Whether anybody is told when that changes. Not what only root can change, under the link of an ordinary user.
    pub(super) is_watched: bool,
}

impl Guard {
    /// Goes the way of a link. What it leads to is tracked under the link's name, and everything on the way watched, unless
    /// there is a doubt that nobody `wanted`: whoever may make links must not have the guard look at other people's files.
    ///
    /// # Errors
    /// The doubt; what openat(2) and fanotify_mark(2) say.
    pub(super) fn reach_target(&self, site: &SiteDir, name: &OsStr, wanted: bool) -> io::Result<Reached> {
        let place = (site.id, name.to_owned());
        for _ in 0..ATTEMPTS {
            self.parts.watch.look_at_link(&place);
            let (found, way) = self.way_of(site, name)?;
            let owner = site.guarded.facts.owner;
            let is_foreign = owner != 0 && found.owner != owner;
            let doubt =
                if is_foreign { Some("it leads to somebody else's file".to_owned()) } else { doubt(&found, &way) };
            if let Some(doubt) = doubt.clone().filter(|_| !wanted || is_foreign && !found.is_roots) {
                self.parts.watch.forget_link(&place);
                return Err(io::Error::other(doubt));
            }
            if is_foreign {
                return Ok(Reached { file: way.target, path: way.path(), doubt, is_watched: false });
            }
            self.parts.watch.guard_link(&place, &way, &found.passed, &found.dir, &found.file)?;
            self.parts.watch.track_target(site, name, &found.file)?;
            // What changed while the marks were placed was not told.
            let (_, again) = self.way_of(site, name)?;
            if again == way {
                return Ok(Reached { file: way.target, path: way.path(), doubt, is_watched: true });
            }
        }
        Err(io::Error::other("what is on its way changes all the time"))
    }

    /// Whether somebody wants what has this name although there are doubts: it was there from the first, or an
    /// administrator has said so.
    pub(super) fn is_wanted(&self, site: &SiteDir, name: &OsStr) -> bool {
        let approval = self.parts.approvals.get(site.approvals, name);
        approval.is_some_and(|approval| matches!(approval.origin, Origin::Baseline | Origin::Administrator { .. }))
    }

    /// What a link leads to says, if nobody writes it.
    pub(super) fn content_of_target(
        &self,
        site: &SiteDir,
        name: &OsStr,
        reached: &Reached,
    ) -> Option<(Content, Metadata)> {
        if reached.is_watched {
            return self.content_of(site, name, &reached.file);
        }
        let opened = self.follow(site, name).filter(|opened| FileId::of(opened).is_ok_and(|of| of == reached.file))?;
        Some((Content::read(&opened, self.parts.max_size).ok()?, Metadata::of(&opened).ok()?))
    }

    fn way_of(&self, site: &SiteDir, name: &OsStr) -> io::Result<(LinkWay, Way)> {
        let found = follow_link(&site.dir, &site.guarded.path, site.guarded.facts.owner, name)?;
        let way = Way {
            link: site.open(name, OFlag::O_PATH).and_then(FileId::of)?,
            passed: found.passed.iter().map(FileId::of).collect::<io::Result<_>>()?,
            dir: FileId::of(&found.dir)?,
            dir_path: found.dir_path.clone(),
            name: found.name.clone(),
            target: FileId::of(&found.file)?,
            is_gated: !is_vital(&found.dir_path),
        };
        Ok((found, way))
    }

    /// Whether a link leads to where it led when it was approved, with these bytes.
    pub(super) fn is_approved_link(&self, site: &SiteDir, name: &OsStr, reached: &Reached, sha256: Sha256) -> bool {
        if !self.parts.approvals.is_approved(site.approvals, name, sha256) {
            return false;
        }
        let approval = self.parts.approvals.get(site.approvals, name).filter(|approval| approval.sha256 == sha256);
        let Some(approval) = approval else { return reached.doubt.is_none() }; // in every directory
        let is_wanted = matches!(approval.origin, Origin::Baseline | Origin::Administrator { .. });
        let led_there = approval.target.is_some_and(|target| target.0 == reached.path);
        led_there && (is_wanted || reached.doubt.is_none())
    }

    /// Where a link leads may have changed.
    pub(super) fn link_changed(&self, site: SiteId, name: &OsStr, author: &Author) {
        let Some(site) = self.parts.watch.sites.get(site) else { return };
        let place = (site.id, name.to_owned());
        self.parts.watch.look_at_link(&place);
        let Some(before) = self.parts.watch.link_way(&place) else { return };
        if !is_still_link(&site, name, &before.link) {
            return self.parts.watch.forget_link(&place); // what has the name now is judged on its own
        }
        let reached = self.reach_target(&site, name, self.is_wanted(&site, name));
        let is_unchanged = self.parts.watch.link_way(&place).as_ref() == Some(&before) && reached.is_ok();
        let approval = self.parts.approvals.get(site.approvals, name);
        if is_unchanged && approval.is_none() {
            return; // held before, held now
        }
        let mut object = Object::at(site.path_of(name));
        if let Ok(reached) = &reached
            && let Some((content, _)) = self.content_of(&site, name, &reached.file)
        {
            object = content.describe(name, object);
            if content.sha256().is_some_and(|sha256| self.is_approved_link(&site, name, reached, sha256)) {
                return self.mark_approved(&reached.file, true); // where it leads is looked at when it is read
            }
        }
        let leads_to = match &reached {
            Ok(reached) => format!("it leads to another file now: {}", escape_path(&reached.path)),
            Err(error) => format!("it does not lead to {} any more: {error}", escape_path(&before.path())),
        };
        self.judge_changed_link(&site, name, &before.link, object, author, &leads_to);
    }

    fn judge_changed_link(
        &self,
        site: &SiteDir,
        name: &OsStr,
        link: &FileId,
        object: Object,
        author: &Author,
        leads_to: &str,
    ) {
        let ruling = self.ruling();
        let known = self.author(author);
        let decision = match &known {
            Ok(known) => {
                let access = Access::Rename;
                let request = Request::new(&known.subject, &site.guarded.facts, name, access);
                ruling.policy.decide(&request)
            }
            Err(_) => self.unresolved_newcomer(&ruling),
        };
        self.count(&ruling, Access::Symlink, &decision);
        let record = ruling.decided(Access::Symlink, decision.clone()).on(object.clone()).saying(leads_to);
        self.parts.audit.record(with_author(record, known.as_ref(), author.pid));
        if decision.verdict == Verdict::Allow {
            let rule = decision.rule.unwrap_or_else(|| Arc::from("unresolved-arrival"));
            let subject = known.as_ref().ok().map(|known| Arc::clone(&known.subject));
            let permit = Permit {
                content: ruling.policy.content_of(&rule),
                rule,
                writers: vec![Writer { pid: author.pid, process: author.pidfd.clone(), subject }],
                stage: Stage::Written,
                judged: None,
                places: vec![(site.id, name.to_owned())],
                tainted: false,
            };
            if self.accept_symlink(site, name, permit) {
                return;
            }
        }
        if ruling.mode == Mode::Audit {
            return;
        }
        let by = describe(known.as_ref(), author.pid);
        self.disturbed(site.id, true);
        let is_out = self.expel_link(site, name, link, object, &by);
        if is_out {
            self.put_back(site, name);
        }
    }
}

fn doubt(found: &LinkWay, way: &Way) -> Option<String> {
    if let Some(path) = &found.writable {
        return Some(format!("others can change where it leads: {}", escape_path(path)));
    }
    let path = escape_path(&way.dir_path);
    (!way.is_gated).then(|| format!("it leads to {path}, where every process opens files all the time"))
}
