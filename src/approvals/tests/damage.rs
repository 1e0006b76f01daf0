//! Damaged, cut, forged and foreign files in the state directory.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

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
fn what_a_rewrite_has_left_is_no_first_start() {
    let (_dir, state) = state();
    drop(store_with_a_baseline(&state));
    let path = state.join("approvals.ndjson");
    fs::rename(&path, state.join("approvals.ndjson.part")).unwrap();
    assert!(matches!(Approvals::open(&state), Err(StateError::Missing { .. })));
}
