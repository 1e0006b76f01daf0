//! The store in memory: what the journal's changes come to.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};

use super::by_name::ByName;
use super::change::{Change, Place};
use super::{Approval, Directory, DirectoryId, Held, Listed};
use crate::model::{Origin, Sha256};

#[derive(Debug, Default)]
pub(super) struct Table {
    directories: Vec<(Directory, Names)>,
    /// Where each of them is, by a number that stands for it: a host may have thousands. Of two with one number the second
    /// has the next that is free; none is ever taken out.
    positions: HashMap<u64, usize>,
    keys: RandomState,
    everywhere: BTreeMap<OsString, Vec<Everywhere>>,
    /// How many there are in all directories.
    approved: usize,
    held: usize,
    /// Counts the files that were ever held, so that the oldest is known.
    ordinal: u64,
}

#[derive(Debug, Default)]
struct Names {
    approved: ByName<Approved>,
    held: ByName<HeldAs>,
}

/// A held file and the how manyth it was.
type HeldAs = (u64, Held);

#[derive(Clone, Debug)]
struct Approved {
    approval: Approval,
    time: String,
}

/// An approval of a name and digest in every directory.
#[derive(Clone, Debug)]
struct Everywhere {
    sha256: Sha256,
    origin: Origin,
    time: String,
}

/// What a change has overwritten.
#[derive(Debug, Default)]
pub(super) struct Undo {
    approved: Option<(usize, OsString, Option<Approved>)>,
    held: Vec<(usize, OsString, Option<HeldAs>)>,
    everywhere: Option<(OsString, Option<Vec<Everywhere>>)>,
}

impl Table {
    /// The number of a directory, which it gets when it is first named.
    pub(super) fn directory(&mut self, directory: &Directory) -> DirectoryId {
        let mut number = self.keys.hash_one(directory);
        while let Some(at) = self.positions.get(&number) {
            if self.directories.get(*at).is_some_and(|(known, _)| known == directory) {
                return DirectoryId(*at);
            }
            number = number.wrapping_add(1);
        }
        let at = self.directories.len();
        self.positions.insert(number, at);
        self.directories.push((directory.clone(), Names::default()));
        DirectoryId(at)
    }

    pub(super) fn place(&self, id: DirectoryId, name: &OsStr) -> Option<Place> {
        let (directory, _) = self.directories.get(id.0)?;
        Some(Place { directory: directory.clone(), name: name.to_owned() })
    }

    pub(super) fn approval(&self, id: DirectoryId, name: &OsStr) -> Option<&Approval> {
        self.directories.get(id.0)?.1.approved.get(name).map(|approved| &approved.approval)
    }

    pub(super) fn is_approved(&self, id: DirectoryId, name: &OsStr, sha256: Sha256) -> bool {
        self.approval(id, name).is_some_and(|approval| approval.sha256 == sha256)
            || self.is_approved_everywhere(name, sha256)
    }

    pub(super) fn is_approved_anywhere(&self, name: &OsStr, sha256: Sha256) -> bool {
        let is_it = |approved: &Approved| approved.approval.sha256 == sha256;
        self.directories.iter().any(|(_, names)| names.approved.get(name).is_some_and(is_it))
            || self.is_approved_everywhere(name, sha256)
    }

    pub(super) fn is_approved_everywhere(&self, name: &OsStr, sha256: Sha256) -> bool {
        self.everywhere.get(name).is_some_and(|all| all.iter().any(|one| one.sha256 == sha256))
    }

    /// The digests that are approved under a name in every directory.
    pub(super) fn everywhere(&self, name: &OsStr) -> Vec<Sha256> {
        self.everywhere.get(name).map(|all| all.iter().map(|one| one.sha256).collect()).unwrap_or_default()
    }

    pub(super) fn held_file(&self, id: DirectoryId, name: &OsStr) -> Option<&Held> {
        self.directories.get(id.0)?.1.held.get(name).map(|(_, held)| held)
    }

    pub(super) fn count_held(&self) -> usize {
        self.held
    }

    pub(super) fn count_approved(&self) -> usize {
        self.approved + self.everywhere.values().map(Vec::len).sum::<usize>()
    }

    /// How many changes [`Table::changes`] are.
    pub(super) fn len(&self) -> usize {
        self.count_approved() + self.held
    }

    pub(super) fn oldest_held(&self) -> Option<(Place, Held)> {
        let all = self.directories.iter().flat_map(|(directory, names)| {
            names.held.iter().map(move |(name, (ordinal, held))| (ordinal, directory, name, held))
        });
        let (_, directory, name, held) = all.min_by_key(|(ordinal, ..)| **ordinal)?;
        Some((Place { directory: directory.clone(), name: name.to_owned() }, held.clone()))
    }

    /// All held files, the oldest first.
    pub(super) fn all_held(&self) -> Vec<(Place, &Held)> {
        let mut all: Vec<_> = self
            .directories
            .iter()
            .flat_map(|(directory, names)| names.held.iter().map(move |(name, held)| (directory, name, held)))
            .collect();
        all.sort_by_key(|(_, _, (ordinal, _))| *ordinal);
        let place = |directory: &Directory, name: &OsStr| Place { directory: directory.clone(), name: name.to_owned() };
        all.into_iter().map(|(directory, name, (_, held))| (place(directory, name), held)).collect()
    }

    pub(super) fn all_approved(&self) -> Vec<Listed> {
        let mut all = Vec::with_capacity(self.count_approved());
        for (directory, names) in &self.directories {
            for (name, Approved { approval, time }) in names.approved.iter() {
                all.push(Listed {
                    directory: Some(directory.clone()),
                    name: name.to_owned(),
                    sha256: approval.sha256,
                    origin: approval.origin.clone(),
                    class: approval.class,
                    companion: approval.companion,
                    metadata: Some(approval.metadata.clone()),
                    approved_at: time.clone(),
                });
            }
        }
        for (name, digests) in &self.everywhere {
            all.extend(digests.iter().map(|one| Listed {
                directory: None,
                name: name.clone(),
                sha256: one.sha256,
                origin: one.origin.clone(),
                class: None,
                companion: None,
                metadata: None,
                approved_at: one.time.clone(),
            }));
        }
        all.sort_by(|a, b| (&a.directory, &a.name, a.sha256).cmp(&(&b.directory, &b.name, b.sha256)));
        all
    }

    /// The shortest sequence of changes that comes to this table.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (directory, names) in &self.directories {
            changes.extend(names.approved.iter().map(|(name, Approved { approval, time })| Change::Approve {
                file: Place { directory: directory.clone(), name: name.to_owned() },
                approval: approval.clone(),
                time: time.clone(),
            }));
        }
        for (name, digests) in &self.everywhere {
            changes.extend(digests.iter().cloned().map(|Everywhere { sha256, origin, time }| {
                Change::ApproveEverywhere { name: name.clone(), sha256, origin, time }
            }));
        }
        // Last: an approval releases.
        changes.extend(self.all_held().into_iter().map(|(file, held)| Change::Hold { file, held: held.clone() }));
        changes
    }

    pub(super) fn apply(&mut self, change: &Change) -> Undo {
        let mut undo = Undo::default();
        match change {
            Change::Approve { file, approval, time } => {
                let approved = Approved { approval: approval.clone(), time: time.clone() };
                self.set_approved(file, Some(approved), &mut undo);
                self.set_held(file, None, &mut undo);
            }
            Change::Revoke { file, .. } => self.set_approved(file, None, &mut undo),
            Change::Hold { file, held } => {
                self.ordinal += 1;
                self.set_held(file, Some((self.ordinal, held.clone())), &mut undo);
            }
            Change::Release { file, .. } => self.set_held(file, None, &mut undo),
            Change::ApproveEverywhere { name, sha256, origin, time } => {
                undo.everywhere = Some((name.clone(), self.everywhere.get(name).cloned()));
                let digests = self.everywhere.entry(name.clone()).or_default();
                digests.retain(|one| one.sha256 != *sha256);
                digests.push(Everywhere { sha256: *sha256, origin: origin.clone(), time: time.clone() });
                let is_it = |held: &Held| held.sha256 == Some(*sha256);
                let released: Vec<Place> = self
                    .all_held()
                    .into_iter()
                    .filter_map(|(file, held)| (file.name == *name && is_it(held)).then_some(file))
                    .collect();
                for file in released {
                    self.set_held(&file, None, &mut undo);
                }
            }
            Change::RevokeEverywhere { name, sha256, .. } => {
                undo.everywhere = Some((name.clone(), self.everywhere.get(name).cloned()));
                let digests = self.everywhere.entry(name.clone()).or_default();
                digests.retain(|one| sha256.is_some_and(|sha256| one.sha256 != sha256));
                if digests.is_empty() {
                    self.everywhere.remove(name);
                }
            }
        }
        undo
    }

    /// Makes the table what it was before the latest change.
    pub(super) fn undo(&mut self, undo: Undo) {
        let Undo { approved, held, everywhere } = undo;
        if let Some((at, name, before)) = approved {
            self.put_approved(at, name, before);
        }
        for (at, name, before) in held {
            self.put_held(at, name, before);
        }
        match everywhere {
            Some((name, Some(before))) => drop(self.everywhere.insert(name, before)),
            Some((name, None)) => drop(self.everywhere.remove(&name)),
            None => {}
        }
    }

    fn set_approved(&mut self, file: &Place, approved: Option<Approved>, undo: &mut Undo) {
        let at = self.directory(&file.directory).0;
        let before = self.put_approved(at, file.name.clone(), approved);
        undo.approved = Some((at, file.name.clone(), before));
    }

    fn put_approved(&mut self, at: usize, name: OsString, approved: Option<Approved>) -> Option<Approved> {
        let is_approved = approved.is_some();
        let before = self.directories.get_mut(at)?.1.approved.put(name, approved);
        self.approved = self.approved + usize::from(is_approved) - usize::from(before.is_some());
        before
    }

    fn set_held(&mut self, file: &Place, held: Option<HeldAs>, undo: &mut Undo) {
        let at = self.directory(&file.directory).0;
        let before = self.put_held(at, file.name.clone(), held);
        undo.held.push((at, file.name.clone(), before));
    }

    fn put_held(&mut self, at: usize, name: OsString, held: Option<HeldAs>) -> Option<HeldAs> {
        let is_held = held.is_some();
        let before = self.directories.get_mut(at)?.1.held.put(name, held);
        self.held = self.held + usize::from(is_held) - usize::from(before.is_some());
        before
    }
}
