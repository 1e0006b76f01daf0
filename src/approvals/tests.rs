//! The store on a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::model::ContentClass;

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

#[test]
fn a_baseline_that_was_cut_short_is_recorded_anew() {
    let (_dir, state) = state();
    prepare_directory(&state).unwrap();
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&directory());
    store.approve(id, OsStr::new("a.pth"), b"x", approval(b"x")).unwrap();
    drop(store);
    let store = Approvals::open(&state).unwrap();
    assert!(store.is_first_start() && store.is_empty());
}

#[test]
fn damage_is_an_error_with_file_and_line_and_changes_nothing() {
    let (_dir, state) = state();
    drop(store_with_a_baseline(&state));
    let path = state.join("approvals.ndjson");
    let good = fs::read_to_string(&path).unwrap();
    let flipped = good.replacen("b.pth", "d.pth", 1);
    let headless = good.split_once('\n').unwrap().1.to_owned();
    for (text, line) in [(&flipped, 3), (&headless, 1), (&String::new(), 1)] {
        fs::write(&path, text).unwrap();
        let error = Approvals::open(&state).unwrap_err();
        assert!(matches!(&error, StateError::Damaged { line: at, .. } if *at == line), "{error}");
        assert!(error.to_string().contains("approvals.ndjson"));
        assert_eq!(&fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::Missing { .. })));
}

#[test]
fn a_last_line_that_was_cut_short_is_dropped() {
    let (_dir, state) = state();
    drop(store_with_a_baseline(&state));
    let path = state.join("approvals.ndjson");
    let mut text = fs::read_to_string(&path).unwrap();
    text.truncate(text.len() - 10);
    fs::write(&path, &text).unwrap();
    let store = Approvals::open(&state).unwrap();
    assert_eq!(store.len(), 2);
    let id = store.directory(&directory());
    store.approve(id, OsStr::new("e.pth"), b"e", approval(b"e")).unwrap();
    drop(store);
    assert_eq!(Approvals::open(&state).unwrap().len(), 3, "what follows starts on a line of its own");
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let (_dir, state) = state();
    prepare_directory(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o722)).unwrap();
    assert!(matches!(prepare_directory(&state), Err(StateError::Unsafe { mode: 0o722, .. })));
}

#[test]
fn a_damaged_copy_is_not_handed_out() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let sha256 = Sha256::of(b"/opt/a\n");
    fs::write(state.join("blobs").join(sha256.to_string()), "/opt/x\n").unwrap();
    assert!(store.bytes(sha256).is_err());
}
