//! What lay in a directory before it was taken under guard, while the guard was running.
//!
//! A directory is told of when it has been made, so its maker may have written files into it before anybody stood guard:
//! `uv venv` does it within a tenth of a millisecond. If the maker was permitted to write them, they are its files like any
//! others; if not, what runs nothing is approved and the rest is held.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::Guard;
use super::settle::Written;
use crate::fanotify::FileId;
use crate::model::{Access, Request, Verdict};
use crate::watch::{Author, Permit, SiteDir, SiteId, Stage, Writer};

/// How long a file that is being written by somebody without a permit is kept in view.
const KEEP: Duration = Duration::from_secs(60);
/// Such files, at most.
const MAX: usize = 1024;

/// A file that somebody still wrote when its directory was taken under guard.
#[derive(Debug)]
pub(super) struct Unfinished {
    site: SiteId,
    name: OsString,
    file: FileId,
    since: Instant,
}

impl Guard {
    /// The permit under which the maker of a directory may have written a file that was found in it: the file must be
    /// that user's own.
    pub(super) fn permit_of_maker(
        &self,
        site: &SiteDir,
        name: &OsStr,
        file: &Metadata,
        maker: &Author,
    ) -> Option<Permit> {
        let known = self.author(maker).ok()?;
        if known.subject.uids.effective != file.uid() {
            return None;
        }
        let request = Request::new(&known.subject, &site.guarded.facts, name, Access::Write);
        let policy = Arc::clone(&self.ruling().policy);
        let decision = policy.decide(&request);
        if decision.verdict != Verdict::Allow {
            return None;
        }
        let rule = decision.rule?;
        Some(Permit {
            content: policy.content_of(&rule),
            rule,
            writers: vec![Writer {
                pid: maker.pid,
                process: maker.pidfd.clone(),
                subject: Some(Arc::clone(&known.subject)),
            }],
            stage: Stage::Written,
            judged: None,
            places: vec![(site.id, name.to_owned())],
            tainted: false,
        })
    }

    /// Keeps a file in view until nobody writes it any more.
    pub(super) fn keep_in_view(&self, site: &SiteDir, name: &OsStr, file: FileId) {
        let mut unfinished = self.discovery.unfinished();
        if unfinished.len() < MAX && !unfinished.iter().any(|known| known.file == file) {
            unfinished.push(Unfinished { site: site.id, name: name.to_owned(), file, since: Instant::now() });
        }
        drop(unfinished);
        self.discovery.wake();
    }

    /// Files that came between the first look at a directory and the closing of its gate were opened before anybody was
    /// asked. Those that their arrival does not settle, because they are still empty, are looked at when they are written.
    pub(super) fn look_behind(&self, site: &SiteDir, maker: Option<&Author>) {
        for name in site.startup_names().unwrap_or_default() {
            let Ok(entry) = site.open(&name, OFlag::O_PATH).map(std::fs::File::from) else { continue };
            let (Ok(file), Ok(metadata)) = (FileId::of(&entry), entry.metadata()) else { continue };
            // Told of by now: it was there before the gate stood.
            self.parts.watch.drain(site.lane);
            let known = self.parts.watch.tracker().get(&file).cloned();
            let is_new = known.is_some_and(|known| known.fresh && known.permit.is_none() && !known.approved);
            if !metadata.is_file() || !is_new {
                continue;
            }
            match maker.and_then(|maker| self.permit_of_maker(site, &name, &metadata, maker)) {
                Some(permit) => self.accept_file(site, &name, &file, self.content_of(site, &name, &file), permit),
                None => self.keep_in_view(site, &name, file),
            }
        }
    }

    /// Judges the files that nobody writes any more.
    pub(super) fn finish_unfinished(&self) {
        let due = std::mem::take(&mut *self.discovery.unfinished());
        for file in due {
            if self.is_unfinished(&file) && file.since.elapsed() < KEEP {
                self.discovery.unfinished().push(file);
            }
        }
    }

    /// Whether there is still something to wait for; if there is not, it is judged.
    fn is_unfinished(&self, unfinished: &Unfinished) -> bool {
        let Unfinished { site, name, file, .. } = unfinished;
        let Some(site) = self.parts.watch.sites.get(*site) else { return false };
        let known = self.parts.watch.tracker().get(file).cloned();
        if known.is_none_or(|known| known.permit.is_some() || known.approved) || !site.holds(name, file) {
            return false;
        }
        let Some((content, metadata)) = self.content_of(&site, name, file) else { return true };
        let super::content::Content::Bytes(bytes) = &content else { return false };
        let judgement = self.judge(&site, name, bytes, None, true);
        let written = Written { site: &site, name, file, content: &content, metadata, target: None };
        self.settle_found(&written, judgement);
        self.wake(file, site.id);
        false
    }
}
