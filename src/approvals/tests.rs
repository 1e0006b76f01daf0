//! The store on a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use std::fs;
use std::path::PathBuf;

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

/// A line as the first version wrote it.
fn line_v1(name: &str, bytes: &[u8]) -> String {
    let entry = format!(
        "{{\"directory\":\"/usr/lib/python3/dist-packages\",\"handle\":\"1:00ff\",\"name\":{name},\"sha256\":\"{}\",\
         \"origin\":{{\"writer\":\"pip\"}},\"approved\":\"2026-11-20T10:00:00Z\",\"uid\":0,\"gid\":50,\"mode\":420,\
         \"mtime\":1700000000,\"mtime_nsec\":5}}",
        Sha256::of(bytes)
    );
    let mut sum = Sha256::of(entry.as_bytes()).to_string();
    sum.truncate(32);
    format!("{{\"approve\":{entry},\"sum\":\"{sum}\"}}\n")
}

#[test]
fn a_journal_of_the_first_version_is_read_and_brought_up_to_date() {
    let (_dir, state) = state();
    prepare_directory(&state).unwrap();
    let old = "{\"pthguard\":\"approvals\",\"version\":1}\n".to_owned();
    let old = old + &line_v1("\"a.pth\"", b"a") + &line_v1("{\"hex\":\"ff2e707468\"}", b"b");
    let path = state.join("approvals.ndjson");
    fs::write(&path, &old).unwrap();
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&directory());
    assert_eq!(store.get(id, OsStr::new("a.pth")), Some(approval(b"a")));
    assert_eq!(store.get(id, OsStr::from_bytes(b"\xff.pth")), Some(approval(b"b")));
    assert_eq!(store.list()[0].approved_at, "2026-11-20T10:00:00Z");
    store.revoke(id, OsStr::new("a.pth")).unwrap();
    drop(store);
    assert!(fs::read_to_string(&path).unwrap().starts_with("{\"pthguard\":\"approvals\",\"version\":2}\n"));
    assert_eq!(Approvals::open(&state).unwrap().len(), 1);
    fs::write(&path, old.replacen("/usr/lib", "/usr/bin", 1)).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::Damaged { line: 2, .. })));
}

#[test]
fn a_journal_of_a_later_version_is_refused() {
    let (_dir, state) = state();
    drop(store_with_a_baseline(&state));
    let path = state.join("approvals.ndjson");
    let later = fs::read_to_string(&path).unwrap().replacen("\"version\":2", "\"version\":3", 1);
    fs::write(&path, &later).unwrap();
    let error = Approvals::open(&state).unwrap_err();
    assert!(matches!(error, StateError::Newer { version: 3, .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), later);
}

/// A store with a line of each kind.
fn store_with_everything(state: &Path) -> Approvals {
    let store = store_with_a_baseline(state);
    let id = store.directory(&directory());
    store.revoke(id, OsStr::new("b.pth")).unwrap();
    store.hold(id, OsStr::new("x.pth"), held(b"x")).unwrap();
    store.hold(id, OsStr::new("y.pth"), held(b"y")).unwrap();
    store.release(id, OsStr::new("y.pth")).unwrap();
    store.approve_everywhere(OsStr::new("z.pth"), Sha256::of(b"z"), Origin::Baseline).unwrap();
    store.approve_everywhere(OsStr::new("w.pth"), Sha256::of(b"w"), Origin::Baseline).unwrap();
    store.revoke_everywhere(OsStr::new("w.pth"), None).unwrap();
    store
}

#[test]
fn a_flipped_bit_anywhere_is_damage_and_never_another_state() {
    let (_dir, state) = state();
    let store = store_with_everything(&state);
    let whole = snapshot(&store);
    drop(store);
    let path = state.join("approvals.ndjson");
    let good = fs::read(&path).unwrap();
    let mut line = 1;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            match Approvals::open(&state) {
                Ok(store) => assert_eq!(snapshot(&store), whole, "byte {at} bit {bit}"),
                Err(StateError::Damaged { line: told, .. }) => {
                    assert!(told == line, "byte {at} bit {bit} is in line {line}, not {told}");
                }
                Err(StateError::Newer { .. }) => assert_eq!(line, 1),
                Err(other) => panic!("byte {at} bit {bit}: {other}"),
            }
        }
        line += usize::from(good[at] == b'\n');
    }
}

#[test]
fn a_journal_that_was_cut_anywhere_is_a_beginning_of_it_or_damage() {
    let (_dir, state) = state();
    let store = store_with_everything(&state);
    drop(store);
    let path = state.join("approvals.ndjson");
    let good = fs::read(&path).unwrap();
    let header = 1 + good.iter().position(|byte| *byte == b'\n').unwrap();
    let mut expected = None;
    for length in 0..=good.len() {
        fs::write(&path, &good[..length]).unwrap();
        let opened = Approvals::open(&state);
        if length < header {
            assert!(matches!(opened, Err(StateError::Damaged { line: 1, .. })), "cut to {length} bytes");
            continue;
        }
        let found = snapshot(&opened.unwrap());
        if good[length - 1] == b'\n' {
            expected = Some(found);
        } else if good.get(length) == Some(&b'\n') {
            // All of the line but its end: it counts.
            assert_ne!(Some(found), expected, "cut to {length} bytes");
        } else {
            assert_eq!(Some(found), expected, "cut to {length} bytes");
        }
    }
}

#[test]
fn links_and_special_files_in_the_place_of_the_journal_are_refused() {
    let (dir, state) = state();
    drop(store_with_a_baseline(&state));
    let path = state.join("approvals.ndjson");
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::NoFile { .. })));
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::NoFile { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::NoFile { .. })));
    fs::remove_dir(&path).unwrap();
    symlink("/nonexistent/approvals", &path).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::NoFile { .. })), "not a first start");
}

#[test]
fn files_that_others_could_have_written_are_refused() {
    let (_dir, state) = state();
    let store = store_with_a_baseline(&state);
    let sha256 = Sha256::of(b"/opt/a\n");
    let (journal, blob) = (state.join("approvals.ndjson"), state.join("blobs").join(sha256.to_string()));
    for path in [&journal, &blob] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o620)).unwrap();
    }
    assert!(matches!(Approvals::open(&state), Err(StateError::Unsafe { mode: 0o620, .. })));
    assert!(store.bytes(sha256).is_err());
    for path in [&journal, &blob] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(path, Some(1000), None).unwrap();
    }
    assert!(matches!(Approvals::open(&state), Err(StateError::Unsafe { owner: 1000, .. })));
    assert!(store.bytes(sha256).is_err());
    fs::rename(&blob, state.join("elsewhere")).unwrap();
    std::os::unix::fs::chown(state.join("elsewhere"), Some(0), None).unwrap();
    symlink(state.join("elsewhere"), &blob).unwrap();
    assert!(store.bytes(sha256).is_err(), "through a link");
    // Approving again makes it good.
    let id = store.directory(&directory());
    store.approve(id, OsStr::new("a.pth"), b"/opt/a\n", approval(b"/opt/a\n")).unwrap();
    assert_eq!(store.bytes(sha256).unwrap(), b"/opt/a\n");
    assert!(!fs::symlink_metadata(&blob).unwrap().is_symlink());
}

#[test]
fn a_missing_copy_does_not_take_the_approval_along() {
    let (_dir, state) = state();
    drop(store_with_a_baseline(&state));
    let sha256 = Sha256::of(b"/opt/a\n");
    fs::remove_file(state.join("blobs").join(sha256.to_string())).unwrap();
    let store = Approvals::open(&state).unwrap();
    let id = store.directory(&directory());
    assert!(store.is_approved(id, OsStr::new("a.pth"), sha256) && store.bytes(sha256).is_err());
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

#[test]
fn what_a_rewrite_has_left_is_no_first_start() {
    let (_dir, state) = state();
    drop(store_with_a_baseline(&state));
    let path = state.join("approvals.ndjson");
    fs::rename(&path, state.join("approvals.ndjson.part")).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::Missing { .. })));
}
