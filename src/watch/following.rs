//! Standing guard over where symbolic links lead.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode as CreateMode;

use super::drain::{Author, Notice, State, Watch};
use super::lanes::Lane;
use super::links::Way;
use super::sites::SiteDir;
use super::tracked::Place;
use crate::fanotify::wire::{self, Event};
use crate::fanotify::{Changes, FileId, Opens};

impl Watch {
    /// Watches everything on the way of a link, and gates the directory in which its target lies. `passed`, `dir` and
    /// `target` are what `way` names, opened `O_PATH`. What changed before this returns is not told: look once more.
    ///
    /// # Errors
    /// A mark cannot be placed, or there are too many links.
    pub fn guard_link(
        &self,
        place: &Place,
        way: &Way,
        passed: &[impl AsFd],
        dir: impl AsFd,
        target: impl AsFd,
    ) -> io::Result<()> {
        let lane = self.lane_of(place);
        for (object, file) in passed.iter().zip(&way.passed) {
            if !self.is_site_of(file, lane) {
                self.mark_moves(lane, object)?; // a site directory tells of itself anyway
            }
        }
        if way.is_gated {
            self.lanes[lane].gate.mark(Opens::Children, dir.as_fd())?;
            if !self.is_site_of(&way.dir, lane) {
                self.lanes[lane].changes.mark(Changes::Names, dir)?;
            }
        } else {
            self.mark_moves(lane, target)?;
        }
        let is_new = self.links.insert(place.clone(), way.clone());
        is_new.then_some(()).ok_or_else(|| io::Error::other("too many symbolic links"))
    }

    /// What happens on a link's way is told where the link lies.
    fn lane_of(&self, (site, _): &Place) -> Lane {
        self.sites.get(*site).map_or(Lane::System, |site| site.lane)
    }

    fn mark_moves(&self, lane: Lane, object: impl AsFd) -> io::Result<()> {
        let changes = &self.lanes[lane].changes;
        match changes.mark(Changes::DirectoryMoves, object.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => changes.mark(Changes::FileMoves, object),
            marked => marked,
        }
    }

    /// Watches a link no longer. Marks on what was on its way stay, and tell nobody.
    pub fn forget_link(&self, place: &Place) {
        let Some(way) = self.links.remove(place) else { return };
        self.lock().tracker.unalias(place);
        let lane = self.lane_of(place);
        let is_needed = |dir: &FileId| self.is_site_of(dir, lane) || self.links.gates(dir);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        if let Ok(dir) = open(&way.dir_path, flags, CreateMode::empty())
            && FileId::of(&dir).is_ok_and(|file| file == way.dir && !is_needed(&file))
        {
            let _ = self.lanes[lane].gate.unmark(Opens::Children, &dir); // it may never have had it
        }
    }

    /// Where a link led when somebody last looked.
    #[must_use]
    pub fn link_way(&self, place: &Place) -> Option<Way> {
        self.links.way(place)
    }

    /// The links that lead to a file, or over it.
    #[must_use]
    pub fn links_over(&self, file: &FileId) -> Vec<Place> {
        self.links.over(file)
    }

    /// What changes on a link's way from here on is told again.
    pub fn look_at_link(&self, place: &Place) {
        self.links.look(place);
    }

    /// Puts the guard's marks on a tracked file through the descriptor of somebody who has just opened it.
    pub fn mark_opened(&self, lane: Lane, file: &FileId, opened: impl AsFd) {
        let placed = self.mark_file(lane, opened).is_ok();
        if let Some(entry) = self.lock().tracker.get_mut(file) {
            entry.marked[lane] |= placed;
        }
    }

    /// The marks of a site directory that is guarded no longer are those of links, too.
    pub(super) fn keep_link_marks(&self, site: &SiteDir) -> io::Result<()> {
        let groups = &self.lanes[site.lane];
        if self.links.gates(&site.file()) {
            groups.gate.mark(Opens::Children, &site.dir)?;
            groups.changes.mark(Changes::Names, &site.dir)?;
        }
        if self.links.needs(&site.file()) {
            groups.changes.mark(Changes::DirectoryMoves, &site.dir)?;
        }
        Ok(())
    }

    /// What an event means for the links: where one leads may have changed.
    pub(super) fn follow(&self, state: &mut State, event: &Event<'_>, author: &Author) {
        const ITSELF: u64 = libc::FAN_ATTRIB | libc::FAN_MOVE_SELF | libc::FAN_DELETE_SELF;
        let names = wire::Names::of(event);
        if event.mask & ITSELF != 0
            && let Some(object) = names.itself()
        {
            for place in self.links.over(&object) {
                self.tell_of_link(state, place, None, author);
            }
        }
        if event.mask & (libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_RENAME) == 0 {
            return;
        }
        let is_newcomer = event.mask & (libc::FAN_CREATE | libc::FAN_RENAME) != 0;
        for (entry, comes) in [(names.entry, is_newcomer), (names.old, false), (names.new, true)] {
            let Some(entry) = entry else { continue };
            for place in self.links.to_entry(entry.dir, entry.name) {
                // Judged under the link's name from now on, by whatever name it is opened.
                let newcomer = names.target.filter(|_| comes);
                if let Some(file) = newcomer {
                    state.tracker.alias(file, place.0, &place.1);
                }
                self.tell_of_link(state, place, newcomer, author);
            }
            self.link_itself(state, entry.dir, entry.name, author);
        }
    }

    /// A link lost its name, or something else has it.
    fn link_itself(&self, state: &mut State, dir: FileId, name: &OsStr, author: &Author) {
        let Some(site) = self.sites.by_file(&dir) else { return };
        let place = (site.id, name.to_owned());
        if self.links.way(&place).is_some() {
            self.tell_of_link(state, place, None, author);
        }
    }

    /// Nobody lists the link's directory before somebody has looked where the link leads, and a newcomer in its target's
    /// place waits for that, too.
    fn tell_of_link(&self, state: &mut State, place: Place, newcomer: Option<FileId>, author: &Author) {
        if !self.links.tell(&place) {
            return;
        }
        let lane = self.lane_of(&place);
        let (site, name) = place;
        let outermost = self.sites.listed_for(site);
        let listed = (outermost, state.tracker.queue_unseen(outermost));
        let notice = Notice::LinkChanged { site, name, file: newcomer, author: author.clone(), listed };
        if !self.send(lane, notice) {
            state.tracker.settle_unseen(listed.0, listed.1);
        } else if let Some(file) = newcomer {
            state.tracker.queue_notice(&file, outermost);
        }
    }
}

/// Whether it is still the same symbolic link.
#[must_use]
pub fn is_still_link(site: &SiteDir, name: &OsStr, link: &FileId) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let found = site.open(name, flags).map(fs::File::from);
    found.is_ok_and(|found| {
        found.metadata().is_ok_and(|metadata| metadata.is_symlink()) && FileId::of(&found).is_ok_and(|of| of == *link)
    })
}
