//! Taking a file to quarantine and putting it back, cut short anywhere.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::Path;

use nix::fcntl::OFlag;
use pthguard::approvals::{Approvals, Directory, prepare_directory};
use pthguard::fanotify::{FileId, Kept};
use pthguard::model::{Site, StartupNames};
use pthguard::quarantine::{Note, Why};
use pthguard::watch::{Guarded, Lane, Quarantine, Quarantined, Role, SiteDir, SiteId, restore_quarantined};

use crate::fault::{Fault, count, place, run};

const MAX_SIZE: u64 = 64;
const NAME: &str = "x.pth";
const BYTES: &[u8] = b"import evil # the whole of it\n";
const LARGE: &[u8] = b"larger than what is copied ....................................................\n";

fn site(place: &Path) -> SiteDir {
    let path = place.join("site");
    let dir = File::open(&path).unwrap();
    let file = FileId::of(&dir).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let directory = Directory { path: path.clone(), handle: file.handle.to_string() };
    let approvals = Approvals::open(scratch.path()).unwrap().directory(&directory);
    let facts = Site { path: path.clone(), prefix: place.into(), owner: 0 };
    let startup = StartupNames::new(&["*.pth"]).unwrap();
    SiteDir {
        id: SiteId(0),
        guarded: Guarded { path, role: Role::Site, startup, facts },
        dir,
        identity: Kept::from(&file),
        approvals,
        lane: Lane::System,
    }
}

fn quarantine(place: &Path) -> Quarantine {
    prepare_directory(&place.join("state")).unwrap();
    Quarantine::open(&place.join("state"), MAX_SIZE).unwrap()
}

fn prepare(bytes: &[u8]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("site")).unwrap();
    fs::write(place.path().join("site").join(NAME), bytes).unwrap();
    drop(quarantine(place.path()));
    place
}

fn take(site: &SiteDir, quarantine: &Quarantine) -> std::io::Result<Quarantined> {
    let file = site.open(OsStr::new(NAME), OFlag::O_PATH).and_then(FileId::of)?;
    let author = serde_json::Value::from("somebody");
    quarantine.take(site, OsStr::new(NAME), &file, &Why { reason: "no-rule", class: None, author: &author })
}

/// Everything of that content that lies in quarantine, finished.
fn kept(quarantine: &Quarantine) -> Vec<Note> {
    let notes = quarantine.store().list().unwrap().into_iter().filter_map(|item| item.note.ok());
    notes.filter(|note| note.finished && quarantine.store().content(note).is_ok()).collect()
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn take_script() {
    let place = place();
    let Ok(quarantine) = Quarantine::open(&place.join("state"), MAX_SIZE) else { return };
    let site = site(&place);
    // What cannot be taken must be where it was, or lie aside with its note.
    if take(&site, &quarantine).is_err() {
        let is_whole = place.join("site").join(NAME).exists();
        assert!(is_whole || !quarantine.recover(&site).unwrap().is_empty());
    }
}

/// Cut short anywhere, and gone on with as a guard does that starts.
fn goes_through(bytes: &[u8], faults: &[Fault]) {
    const CHILD: &str = "quarantine::take_script";
    let changes = count(CHILD, || prepare(bytes));
    for (fault, at) in faults.iter().flat_map(|fault| (1..=changes).map(move |at| (*fault, at))) {
        let dir = prepare(bytes);
        let place = dir.path();
        run(CHILD, place, fault, at);
        let what = format!("{fault:?} at {at}");
        let (site, quarantine) = (site(place), quarantine(place));
        let recovered = quarantine.recover(&site).unwrap();
        assert!(recovered.iter().all(|(_, result)| result.is_ok()), "{what}: {recovered:?}");
        let left = names(place);
        let all = kept(&quarantine);
        if left.is_empty() {
            assert!(all.iter().any(|note| note.name == NAME), "{what}: it is lost, or where it was: {all:?}");
        } else {
            assert_eq!(left, [NAME], "{what}");
            assert_eq!(fs::read(place.join("site").join(NAME)).unwrap(), bytes, "{what}");
        }
        for note in &all {
            assert_eq!(quarantine.store().bytes(note, 1000).unwrap(), bytes, "{what}");
        }
    }
}

#[test]
fn a_newcomer_is_in_its_place_or_in_quarantine_whenever_the_guard_is_killed() {
    goes_through(BYTES, &[Fault::Die, Fault::Half]);
    goes_through(LARGE, &[Fault::Die, Fault::Half]);
}

#[test]
fn a_newcomer_is_in_its_place_or_in_quarantine_whatever_fails() {
    goes_through(BYTES, &[Fault::Fail, Fault::Full]);
    goes_through(LARGE, &[Fault::Fail, Fault::Full]);
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn restore_script() {
    let place = place();
    let Ok(quarantine) = Quarantine::open(&place.join("state"), MAX_SIZE) else { return };
    let note = kept(&quarantine).remove(0);
    let _ = restore_quarantined(&quarantine, &note, &site(&place), OsStr::new("back.pth"), |_| {});
}

/// Under its name there is the whole file or none, and what lies in quarantine stays.
#[test]
fn putting_back_is_whole_or_not_at_all() {
    const CHILD: &str = "quarantine::restore_script";
    let taken = || {
        let dir = prepare(BYTES);
        take(&site(dir.path()), &quarantine(dir.path())).unwrap();
        dir
    };
    let changes = count(CHILD, taken);
    for fault in [Fault::Die, Fault::Half, Fault::Fail, Fault::Full] {
        for at in 1..=changes {
            let dir = taken();
            let place = dir.path();
            run(CHILD, place, fault, at);
            let what = format!("{fault:?} at {at}");
            let back = fs::read(place.join("site/back.pth"));
            assert!(back.as_ref().is_ok_and(|bytes| bytes == BYTES) || back.is_err(), "{what}: {back:?}");
            let (site, quarantine) = (site(place), quarantine(place));
            assert!(kept(&quarantine).iter().any(|note| note.name == NAME), "{what}");
            quarantine.recover(&site).unwrap();
            let left = names(place);
            assert!(left.is_empty() || left == ["back.pth"], "{what}: {left:?}");
        }
    }
}

fn names(place: &Path) -> Vec<OsString> {
    fs::read_dir(place.join("site")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}
