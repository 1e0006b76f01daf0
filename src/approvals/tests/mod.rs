//! The store on a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::os::unix::ffi::OsStrExt;

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::model::ContentClass;

mod damage;
mod model;

fn directory() -> Directory {
    Directory { path: "/usr/lib/python3/dist-packages".into(), handle: "1:00ff".into() }
}

fn approval(bytes: &[u8]) -> Approval {
    let mtime = 1_700_000_000;
    let metadata = Metadata { uid: 0, gid: 50, mode: 0o644, mtime, mtime_nsec: 5, xattrs: Xattrs::default() };
    Approval::new(Sha256::of(bytes), Origin::Writer("pip".into()), metadata)
}

fn store_with_a_baseline(state: &Path) -> Approvals {
    prepare_directory(state).unwrap();
    let store = Approvals::open(state).unwrap();
    assert!(store.is_first_start());
    let id = store.directory(&directory());
    for (name, bytes) in [("a.pth", "/opt/a\n"), ("b.pth", "/opt/b\n"), ("c.pth", "/opt/c\n")] {
        store.approve(id, OsStr::new(name), bytes.as_bytes(), approval(bytes.as_bytes())).unwrap();
    }
    store.baseline_complete().unwrap();
    store
}

fn state() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    (dir, path)
}

#[test]
fn approvals_survive_a_restart_with_their_bytes_and_metadata() {
    let (_dir, state) = state();
    let name = OsStr::from_bytes(b"\xff\n\".pth");
    let store = store_with_a_baseline(&state);
    let id = store.directory(&directory());
    store.approve(id, name, b"import x\n", approval(b"import x\n")).unwrap();
    store.approve(id, OsStr::new("a.pth"), b"/opt/new\n", approval(b"/opt/new\n")).unwrap();
    drop(store);
    let store = Approvals::open(&state).unwrap();
    assert!(!store.is_first_start());
    let id = store.directory(&directory());
    assert_eq!(store.len(), 4);
    assert_eq!(store.get(id, name), Some(approval(b"import x\n")));
    assert!(store.is_approved(id, OsStr::new("a.pth"), Sha256::of(b"/opt/new\n")));
    assert!(!store.is_approved(id, OsStr::new("a.pth"), Sha256::of(b"/opt/a\n")), "one approval per name");
    assert_eq!(store.bytes(Sha256::of(b"/opt/new\n")).unwrap(), b"/opt/new\n");
    let moved = Directory { handle: "1:00fe".into(), ..directory() };
    let other = store.directory(&moved);
    assert!(store.get(other, OsStr::new("a.pth")).is_none(), "another directory in its place");
}

fn held(bytes: &[u8]) -> Held {
    Held {
        sha256: Some(Sha256::of(bytes)),
        class: ContentClass::Code,
        line: Some("import os; os.system(\\\"id\\\")".into()),
        package: None,
        author: "pip (4711)".into(),
        reason: "content".into(),
        since: "2026-11-22T00:00:00Z".into(),
        size: bytes.len() as u64,
    }
}

/// What the store says, without the times.
fn snapshot(store: &Approvals) -> (Vec<Listed>, Vec<(Directory, OsString, Held)>) {
    let untimed = |listed| Listed { approved_at: String::new(), ..listed };
    (store.list().into_iter().map(untimed).collect(), store.held())
}

#[test]
fn what_is_revoked_is_not_approved_at_once_and_after_a_restart() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let (id, name, sha256) = (store.directory(&directory()), OsStr::new("a.pth"), Sha256::of(b"/opt/a\n"));
    assert_eq!(store.revoke(id, name).unwrap(), Some(approval(b"/opt/a\n")));
    assert!(!store.is_approved(id, name, sha256) && !store.is_approved_anywhere(name, sha256));
    assert_eq!(store.revoke(id, name).unwrap(), None);
    drop(store);
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&directory());
    assert!(!store.is_approved(id, name, sha256) && store.get(id, name).is_none());
    assert_eq!(store.len(), 2);
}

#[test]
fn an_approval_everywhere_holds_in_directories_that_nobody_knew() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let (name, one, two) = (OsStr::new("x.pth"), Sha256::of(b"1"), Sha256::of(b"2"));
    let by = Origin::Administrator { uid: 1000 };
    store.approve_everywhere(name, one, by.clone()).unwrap();
    store.approve_everywhere(name, two, by.clone()).unwrap();
    store.approve_everywhere(name, two, by).unwrap();
    drop(store);
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&Directory { path: "/srv/new".into(), handle: "1:11".into() });
    assert!(store.is_approved(id, name, one) && store.is_approved(id, name, two));
    assert!(!store.is_approved(id, OsStr::new("y.pth"), one) && !store.is_approved(id, name, Sha256::of(b"3")));
    let everywhere: Vec<_> = store.list().into_iter().filter(|listed| listed.directory.is_none()).collect();
    assert_eq!(everywhere.len(), 2);
    assert_eq!(everywhere[0].origin, Origin::Administrator { uid: 1000 });
    assert_eq!(store.revoke_everywhere(name, Some(one)).unwrap(), [one]);
    assert!(!store.is_approved(id, name, one) && store.is_approved(id, name, two));
    assert_eq!(store.revoke_everywhere(name, None).unwrap(), [two]);
    assert!(store.revoke_everywhere(name, None).unwrap().is_empty());
    drop(store);
    assert_eq!(Approvals::open(&state).unwrap().len(), 3);
}

#[test]
fn a_held_file_is_listed_until_it_is_approved_or_released() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let id = store.directory(&directory());
    for name in ["x.pth", "y.pth", "z.pth"] {
        assert_eq!(store.hold(id, OsStr::new(name), held(name.as_bytes())).unwrap(), None);
    }
    let lines = || fs::read_to_string(state.join("approvals.ndjson")).unwrap().lines().count();
    let before = lines();
    let again = Held { since: "2026-11-23T00:00:00Z".into(), ..held(b"x.pth") };
    store.hold(id, OsStr::new("x.pth"), again).unwrap();
    assert_eq!(lines(), before, "no news, no line");
    assert!(!store.is_approved(id, OsStr::new("x.pth"), Sha256::of(b"x.pth")), "held is not approved");
    drop(store);
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&directory());
    let names = |store: &Approvals| store.held().into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&store), ["x.pth", "y.pth", "z.pth"]);
    assert_eq!(store.get_held(id, OsStr::new("x.pth")), Some(held(b"x.pth")));
    store.approve(id, OsStr::new("x.pth"), b"x.pth", approval(b"x.pth")).unwrap();
    assert_eq!(store.release(id, OsStr::new("y.pth")).unwrap(), Some(held(b"y.pth")));
    assert_eq!(store.release(id, OsStr::new("y.pth")).unwrap(), None);
    assert_eq!(names(&store), ["z.pth"]);
    store.approve_everywhere(OsStr::new("z.pth"), Sha256::of(b"another"), Origin::Found).unwrap();
    assert_eq!(names(&store), ["z.pth"], "these are not its bytes");
    store.approve_everywhere(OsStr::new("z.pth"), Sha256::of(b"z.pth"), Origin::Found).unwrap();
    assert!(names(&store).is_empty());
    drop(store);
    assert!(Approvals::open(&state).unwrap().held().is_empty());
}

#[test]
fn held_files_are_bounded_in_number_and_size_and_the_oldest_goes() {
    let (_dir, state) = state();
    prepare_directory(&state).unwrap();
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&directory());
    let long = Held { line: Some("ä".repeat(MAX_TEXT)), author: "x".repeat(1 << 20), ..held(b"x") };
    for number in 0..MAX_HELD {
        let name = format!("{number}.pth");
        assert_eq!(store.hold(id, OsStr::new(&name), held(name.as_bytes())).unwrap(), None);
    }
    let (_, gone, _) = store.hold(id, OsStr::new("long.pth"), long).unwrap().unwrap();
    assert_eq!(gone, "0.pth");
    store.baseline_complete().unwrap();
    drop(store);
    let store = Approvals::open(&state).unwrap();
    let all = store.held();
    assert_eq!(all.len(), MAX_HELD);
    assert_eq!(all.first().unwrap().1, "1.pth");
    let (_, name, long) = all.last().unwrap();
    assert_eq!(name, "long.pth");
    assert!(long.line.as_ref().unwrap().len() <= MAX_TEXT && long.author.len() == MAX_TEXT);
}

#[test]
fn companion_class_and_attributes_survive_a_restart() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let id = store.directory(&directory());
    let file = tempfile::NamedTempFile::new().unwrap();
    xattr::set(file.path(), "user.note", b"\xff\x00").unwrap();
    xattr::set(file.path(), "trusted.note", b"t").unwrap();
    let metadata = Metadata::of(file.as_file()).unwrap();
    assert_eq!(metadata.xattrs.iter().count(), 2);
    let rich = Approval {
        companion: Some(Sha256::of(b"start")),
        class: Some(ContentClass::Imports),
        ..Approval::new(Sha256::of(b"x"), Origin::Found, metadata)
    };
    store.approve(id, OsStr::new("x.pth"), b"x", rich.clone()).unwrap();
    drop(store);
    let store = Approvals::open(&state).unwrap();
    assert_eq!(store.get(store.directory(&directory()), OsStr::new("x.pth")), Some(rich));
}

#[test]
fn an_approval_of_other_bytes_than_it_says_is_refused() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let id = store.directory(&directory());
    let before = snapshot(&store);
    store.approve(id, OsStr::new("a.pth"), b"evil", approval(b"good")).unwrap_err();
    assert_eq!(snapshot(&store), before);
}

#[test]
fn a_journal_of_replaced_lines_is_written_anew_and_unneeded_copies_go() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let id = store.directory(&directory());
    store.revoke(id, OsStr::new("b.pth")).unwrap();
    for number in 0..1100_u32 {
        let bytes = (number % 2).to_le_bytes();
        store.approve(id, OsStr::new("a.pth"), &bytes, approval(&bytes)).unwrap();
    }
    let before = snapshot(&store);
    let lines = fs::read_to_string(state.join("approvals.ndjson")).unwrap().lines().count();
    assert!(lines < 200, "{lines} lines");
    let copies: std::collections::BTreeSet<_> =
        fs::read_dir(state.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!copies.contains(OsStr::new(&Sha256::of(b"/opt/b\n").to_string())), "nobody needs it");
    assert!(copies.contains(OsStr::new(&Sha256::of(b"/opt/c\n").to_string())));
    drop(store);
    assert_eq!(snapshot(&Approvals::open(&state).unwrap()), before);
}
