//! `quarantine`: list, show, restore, purge.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use pthguard::approvals::Xattrs;
use pthguard::model::Sha256;
use pthguard::quarantine::{Id, Kind, Note, Store, Why};

use crate::stage::{PAYLOAD, Stage};

const USER: u32 = 61_234;

/// Puts a file into quarantine as the guard does.
fn take(stage: &Stage, name: &str, bytes: &[u8], time: &str) -> Id {
    let path = stage.write(name, bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    chown(&path, Some(USER), Some(USER)).unwrap();
    let store = Store::open(&stage.state).unwrap();
    let (_, directory) = stage.directory(&stage.open_store());
    let author = serde_json::json!({"pid": 7, "executable": "/usr/bin/mv"});
    let why = Why { reason: "no-rule", class: None, author: &author };
    let metadata = fs::metadata(&path).unwrap();
    let note = Note::begin(Id::new(), directory, OsStr::new(name), &metadata, Xattrs::default(), None, &why);
    let note = Note { finished: true, sha256: Some(Sha256::of(bytes)), time: time.to_owned(), ..note };
    store.begin(&note).unwrap();
    fs::write(stage.state.join("quarantine").join(note.id.as_str()), bytes).unwrap();
    fs::remove_file(path).unwrap();
    note.id
}

fn take_now(stage: &Stage, name: &str) -> Id {
    take(stage, name, PAYLOAD.as_bytes(), "2026-11-22T00:00:00Z")
}

#[test]
fn what_lies_there_is_listed_and_shown() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["quarantine", "list"], &[]).expect(0).out, "nothing is in quarantine\n");
    assert!(!stage.state.join("quarantine").exists(), "looking changes nothing");
    let id = take_now(&stage, "evil.pth");
    let list = stage.run(&["quarantine", "list"], &[]).expect(0);
    assert!(
        list.out.contains(id.as_str()) && list.out.contains(stage.path("evil.pth").to_str().unwrap()),
        "{}",
        list.out
    );
    let shown = stage.run(&["quarantine", "show", id.as_str()], &[]).expect(0).out;
    for fact in ["no-rule", "/usr/bin/mv", "61234", "0604", "import os; os.kill(os.getpid(), 0)", "code: "] {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
    let items = stage.run(&["quarantine", "list", "--json"], &[]).expect(0).items();
    assert_eq!((&items[0]["id"], &items[0]["name"]), (&id.as_str().into(), &"evil.pth".into()));
    for bad in ["../approvals.ndjson", "1-0", "", "..", "a/b"] {
        for verb in ["show", "restore"] {
            stage.run(&["quarantine", verb, bad], &[]).expect(2);
        }
        stage.run(&["quarantine", "purge", "--yes", bad], &[]).expect(2);
    }
    fs::write(stage.state.join("quarantine").join(format!("{id}.json")), "{\x1b").unwrap();
    let list = stage.run(&["quarantine", "list"], &[]).expect(0);
    assert!(list.out.contains("no note") && !list.out.contains('\x1b'), "{}", list.out);
}

#[test]
fn a_file_comes_back_only_with_approved_bytes() {
    let stage = Stage::new();
    let id = take_now(&stage, "evil.pth");
    let path = stage.path("evil.pth");
    let done = stage.run(&["quarantine", "restore", id.as_str()], &[]).expect(2);
    assert!(done.said.contains("--approve") && !path.exists(), "{}", done.said);
    let done = stage.run(&["quarantine", "restore", "--approve", id.as_str()], &[]).expect(2);
    assert!(done.said.contains("import os") && done.said.contains("--yes") && !path.exists(), "{}", done.said);
    // Nothing that is there is replaced, and nothing is approved for a file that did not come.
    fs::write(&path, "precious").unwrap();
    stage.run(&["quarantine", "restore", "--approve", "--yes", id.as_str()], &[]).expect(2);
    assert!(fs::read_to_string(&path).unwrap() == "precious" && !stage.is_approved("evil.pth", PAYLOAD));
    fs::remove_file(&path).unwrap();
    stage.run(&["quarantine", "restore", "--approve", "--yes", id.as_str()], &[]).expect(0);
    assert!(stage.is_approved("evil.pth", PAYLOAD));
    let back = fs::metadata(&path).unwrap();
    assert_eq!((back.uid(), back.gid(), back.mode() & 0o7777), (USER, USER, 0o604));
    assert_eq!(fs::read_to_string(&path).unwrap(), PAYLOAD);
    assert_eq!((stage.records("approval").len(), stage.records("restore").len()), (1, 1));
    // Approved by now: without a question.
    fs::remove_file(&path).unwrap();
    stage.run(&["quarantine", "restore", id.as_str()], &[]).expect(0);
    assert!(path.exists());
}

#[test]
fn elsewhere_it_comes_back_as_it_is() {
    let stage = Stage::new();
    let id = take_now(&stage, "evil.pth");
    let sample = stage.root().join("sample");
    stage.run(&["quarantine", "restore", "--approve", "--yes", id.as_str(), "--to"], &[&sample]).expect(2);
    stage.run(&["quarantine", "restore", id.as_str(), "--to"], &[&sample]).expect(0);
    assert_eq!(fs::read_to_string(&sample).unwrap(), PAYLOAD);
    fs::create_dir(stage.root().join("samples")).unwrap();
    stage.run(&["quarantine", "restore", id.as_str(), "--to"], &[&stage.root().join("samples")]).expect(0);
    assert!(stage.root().join("samples/evil.pth").exists());
    stage.run(&["quarantine", "restore", id.as_str(), "--to"], &[&sample]).expect(2);
    symlink("/nowhere", stage.root().join("link")).unwrap();
    stage.run(&["quarantine", "restore", id.as_str(), "--to"], &[&stage.root().join("link")]).expect(2);
    assert!(!Path::new("/nowhere").exists());
    // Another name in the guarded directory that is a startup file's is under guard, too.
    stage.run(&["quarantine", "restore", id.as_str(), "--to"], &[&stage.path("other.pth")]).expect(2);
    assert!(!stage.is_approved("evil.pth", PAYLOAD) && !stage.path("other.pth").exists());
}

/// The bytes that are approved are those that were shown, although a file that was moved is still its owner's.
#[test]
fn a_copy_that_changed_is_not_approved() {
    let stage = Stage::new();
    let id = take_now(&stage, "evil.pth");
    let config = pthguard::config::load(Some(&stage.policy)).unwrap();
    let access = pthguard::control::Access::to(&config).unwrap();
    let shown = Sha256::of(PAYLOAD.as_bytes());
    fs::write(stage.state.join("quarantine").join(id.as_str()), "import worse\n").unwrap();
    let by = pthguard::control::Peer::this_process();
    let refused = access.desk().restore(&id, None, Some(shown), &by).unwrap_err();
    assert_eq!(refused.why, pthguard::control::Why::Changed);
    assert!(!stage.path("evil.pth").exists());
    access.finish().unwrap();
}

#[test]
fn links_and_unfinished_files_do_not_come_back_into_a_guarded_directory() {
    let stage = Stage::new();
    let id = take_now(&stage, "evil.pth");
    let store = Store::open(&stage.state).unwrap();
    let note = store.read_note(&id).unwrap();
    store.replace(&Note { finished: false, ..note.clone() }).unwrap();
    stage.run(&["quarantine", "restore", "--approve", "--yes", id.as_str()], &[]).expect(2);
    store.replace(&Note { kind: Kind::Symlink, ..note }).unwrap();
    let done = stage.run(&["quarantine", "restore", "--approve", "--yes", id.as_str()], &[]).expect(2);
    assert!(done.said.contains("symlink"), "{}", done.said);
    assert!(stage.path("evil.pth").symlink_metadata().is_err() && !stage.is_approved("evil.pth", PAYLOAD));
}

#[test]
fn purging_asks_and_is_recorded() {
    let stage = Stage::new();
    let old = take(&stage, "old-one.pth", b"x", "2020-01-01T00:00:00Z");
    let (one, two) = (take_now(&stage, "one.pth"), take_now(&stage, "two.pth"));
    let left = || {
        let items = stage.run(&["quarantine", "list", "--json"], &[]).expect(0).items();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    stage.run(&["quarantine", "purge"], &[]).expect(2);
    stage.run(&["quarantine", "purge", "--all"], &[]).expect(2);
    stage.run(&["quarantine", "purge", "--older-than", "soon", "--yes"], &[]).expect(2);
    assert_eq!(left().len(), 3);
    stage.run(&["quarantine", "purge", "--older-than", "365d", "--yes"], &[]).expect(0);
    assert!(left() == ["two.pth", "one.pth"], "{:?}", left());
    stage.run(&["quarantine", "purge", "--yes", one.as_str(), old.as_str()], &[]).expect(2);
    assert_eq!(left().len(), 2, "one of them was not there");
    stage.run(&["quarantine", "purge", "--yes", one.as_str()], &[]).expect(0);
    stage.run(&["quarantine", "purge", "--yes", "--all"], &[]).expect(0);
    assert_eq!(left(), [""; 0]);
    let purged: Vec<_> = stage.records("purge").iter().map(|record| record["file"]["name"].to_string()).collect();
    assert_eq!(purged, ["\"old-one.pth\"", "\"one.pth\"", "\"two.pth\""]);
    assert!(!stage.state.join("quarantine").join(two.as_str()).exists());
}
