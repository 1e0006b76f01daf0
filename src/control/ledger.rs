//! What both desks do with the approvals alone, whoever has the files in view.

use std::ffi::OsStr;
use std::path::Path;

use super::Peer;
use super::desk::{Approved, HeldFile, Name, Refusal, Revoked, Seen, Shown, Why};
use super::look::{Looked, Place};
use super::record::Approving;
use crate::approvals::{Approval, Approvals, DirectoryId, Metadata, Target};
use crate::audit::{escape, escape_path};
use crate::model::{Origin, Sha256, switched_off_by};

/// All approvals, in order.
#[must_use]
pub fn approvals(store: &Approvals) -> Vec<Approved> {
    let mut all: Vec<Approved> = store
        .list()
        .into_iter()
        .map(|listed| Approved {
            directory: listed.directory.map(|directory| Name(directory.path.into_os_string())),
            name: listed.name,
            sha256: listed.sha256,
            origin: listed.origin,
            class: listed.class,
            since: listed.approved_at,
        })
        .collect();
    all.sort_by_cached_key(Approved::key);
    all
}

/// All held files, in order.
#[must_use]
pub fn held(store: &Approvals) -> Vec<HeldFile> {
    let files = store.held().into_iter();
    let mut all: Vec<HeldFile> =
        files.map(|(directory, name, held)| HeldFile { directory: directory.path, name, held }).collect();
    all.sort_by_cached_key(HeldFile::key);
    all
}

/// Refuses what is not what was shown any more.
///
/// # Errors
/// [`Refusal`]: the directory or the bytes have changed.
pub fn check(place: &Place, looked: &Looked, shown: &Shown) -> Result<(), Refusal> {
    let path = place.path();
    let changed = |what: &str| {
        let message = format!("{}: {what} since it was shown; nothing was approved. Look again", escape_path(&path));
        Err(Refusal::new(Why::Changed, message))
    };
    if place.directory.handle != shown.directory {
        return changed("another directory has been put in its directory's place");
    }
    if looked.sha256 != shown.sha256 {
        return changed("it has changed");
    }
    Ok(())
}

/// Approves a file as it was seen.
///
/// # Errors
/// [`Refusal`]: the change could not be written.
pub fn approve(
    store: &Approvals,
    id: DirectoryId,
    place: &Place,
    looked: &Looked,
    seen: &Seen,
    by: &Peer,
) -> Result<Approving, Refusal> {
    let path = place.path();
    let metadata = Metadata::of(&looked.file).map_err(|error| Refusal::system(&path, error))?;
    let (sha256, class, companion) = (looked.sha256, seen.class, seen.companion);
    let target = looked.leads_to().map_err(|error| Refusal::system(&path, error))?.map(Target);
    let approval = Approval { sha256, origin: administrator(by), metadata, companion, class: Some(class), target };
    let before = store.get(id, &place.name).map(|approval| approval.sha256);
    store.approve(id, &place.name, &looked.bytes, approval).map_err(|error| cannot_keep(&path, &error))?;
    if let Some(pth) = switched_off_by(&place.name) {
        set_companion(store, id, &pth, sha256).map_err(|error| cannot_keep(&path, &error))?;
    }
    Ok(Approving { path, sha256, size: looked.bytes.len() as u64, class, before })
}

/// Remembers which `.start` file belongs to an approved `.pth` file: the approval of the one must not outlive the other's.
fn set_companion(store: &Approvals, id: DirectoryId, pth: &OsStr, start: Sha256) -> std::io::Result<()> {
    match store.get(id, pth) {
        Some(approval) if approval.companion != Some(start) => {
            let bytes = store.bytes(approval.sha256)?;
            store.approve(id, pth, &bytes, Approval { companion: Some(start), ..approval })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whoever had logged in: that all who change approvals are root says little.
#[must_use]
pub fn administrator(by: &Peer) -> Origin {
    Origin::Administrator { uid: by.login_uid.unwrap_or(by.uid) }
}

/// Takes back what is approved under a path, in the directory that has it now and in those that had it before.
/// `revoked` is told of each as it has happened: a later one may fail.
///
/// # Errors
/// [`Refusal`]: nothing is approved there, or a change could not be written.
pub fn revoke(store: &Approvals, path: &Path, mut revoked: impl FnMut(Revoked)) -> Result<(), Refusal> {
    let mut found = false;
    for listed in store.list() {
        let Some(directory) = listed.directory.filter(|directory| directory.path.join(&listed.name) == path) else {
            continue;
        };
        let taken = store.revoke(store.directory(&directory), &listed.name);
        if let Some(approval) = taken.map_err(|error| cannot_keep(path, &error))? {
            let still_approved = store.is_approved_everywhere(&listed.name, approval.sha256);
            revoked(Revoked { path: path.to_owned(), sha256: approval.sha256, still_approved });
            found = true;
        }
    }
    if found {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default();
    let everywhere = store.list().into_iter().find(|listed| listed.directory.is_none() && listed.name == name);
    let hint = everywhere.map_or(String::new(), |listed| {
        format!(
            "; in every directory there is: revoke --sha256 {} --name {}",
            listed.sha256,
            escape(name.as_encoded_bytes())
        )
    });
    Err(Refusal::new(Why::NotFound, format!("{}: nothing is approved under this path{hint}", escape_path(path))))
}

/// Takes back every approval of these bytes under this name: that for every directory, and those for one.
///
/// # Errors
/// As [`revoke`].
pub fn revoke_everywhere(
    store: &Approvals,
    name: &OsStr,
    sha256: Sha256,
    mut revoked: impl FnMut(Revoked),
) -> Result<(), Refusal> {
    let path = Path::new(name);
    let mut found = false;
    for sha256 in store.revoke_everywhere(name, Some(sha256)).map_err(|error| cannot_keep(path, &error))? {
        revoked(Revoked { path: path.to_owned(), sha256, still_approved: false });
        found = true;
    }
    for listed in store.list() {
        let Some(directory) = listed.directory.filter(|_| listed.name == name && listed.sha256 == sha256) else {
            continue;
        };
        let path = directory.path.join(name);
        let taken = store.revoke(store.directory(&directory), name).map_err(|error| cannot_keep(&path, &error))?;
        if taken.is_some() {
            revoked(Revoked { path, sha256, still_approved: false });
            found = true;
        }
    }
    if !found {
        let message = format!("{}: {sha256} is approved under this name nowhere", escape_path(path));
        return Err(Refusal::new(Why::NotFound, message));
    }
    Ok(())
}

/// The change could not be written to the state.
pub fn cannot_keep(path: &Path, error: &std::io::Error) -> Refusal {
    let message =
        format!("{}: the change cannot be written to the state, and was not made: {error}", escape_path(path));
    Refusal::new(Why::System, message)
}
