//! Taking files out of a directory and putting them back, with all that belongs to them.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;

use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::*;
use crate::approvals::{Approvals, prepare_directory};
use crate::model::{ContentClass, Site, StartupNames};
use crate::watch::{Guarded, Lane, Role, SiteId, restore_quarantined};

struct Stage {
    _dir: tempfile::TempDir,
    path: PathBuf,
    state: PathBuf,
    site: SiteDir,
    quarantine: Quarantine,
}

const MAX_SIZE: u64 = 4096;

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let (path, state) = (dir.path().join("site-packages"), dir.path().join("state"));
    fs::create_dir(&path).unwrap();
    prepare_directory(&state).unwrap();
    let open = File::open(&path).unwrap();
    let file = FileId::of(&open).unwrap();
    let directory = Directory { path: path.clone(), handle: file.handle.to_string() };
    let approvals = Approvals::open(&state).unwrap().directory(&directory);
    let facts = Site { path: path.clone(), owner: 0, prefix: dir.path().to_owned() };
    let startup = StartupNames::new(&["*.pth"]).unwrap();
    let guarded = Guarded { path: path.clone(), role: Role::Site, startup, facts };
    let site = SiteDir {
        id: SiteId(0),
        guarded,
        dir: open,
        identity: crate::fanotify::Kept::from(&file),
        approvals,
        lane: Lane::System,
    };
    let quarantine = Quarantine::open(&state, MAX_SIZE).unwrap();
    Stage { _dir: dir, path, state, site, quarantine }
}

impl Stage {
    fn take(&self, name: &OsStr) -> Note {
        let file = self.site.open(name, OFlag::O_PATH).and_then(FileId::of).unwrap();
        let author = serde_json::json!({ "pid": 4711, "executable": "/usr/bin/sed" });
        let why = Why { reason: "no-rule", class: Some(ContentClass::Code), author: &author };
        match self.quarantine.take(&self.site, name, &file, &why).unwrap() {
            Quarantined::Kept(id) => self.note(&id),
            other @ (Quarantined::Removed | Quarantined::Elsewhere) => panic!("{other:?}"),
        }
    }

    fn note(&self, id: &str) -> Note {
        self.quarantine.store().show(&id.parse().unwrap()).unwrap().note.unwrap()
    }

    fn restore(&self, note: &Note, name: &OsStr) -> io::Result<bool> {
        let mut announced = None;
        let restored = restore_quarantined(&self.quarantine, note, &self.site, name, |file| announced = Some(file));
        if matches!(restored, Ok(true)) {
            assert!(self.site.holds(name, &announced.unwrap()), "another one was announced");
        }
        restored
    }

    fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    fn items(&self) -> Vec<Result<Note, String>> {
        self.quarantine.store().list().unwrap().into_iter().map(|item| item.note).collect()
    }
}

fn set_times(path: &Path, atime: i64, mtime: i64) {
    let (atime, mtime) = (TimeSpec::new(atime, 123_456_789), TimeSpec::new(mtime, 987_654_321));
    utimensat(nix::fcntl::AT_FDCWD, path, &atime, &mtime, UtimensatFlags::NoFollowSymlink).unwrap();
}

/// An access list that lets user 1001 read and write: version 2, then tag, permissions and id of each entry.
fn access_list() -> Vec<u8> {
    let entries =
        [(0x01_u16, 6_u16, u32::MAX), (0x02, 6, 1001), (0x04, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// All that a file is, as stat(2) and listxattr(2) tell it.
#[derive(Debug, PartialEq)]
struct Whole {
    owner: (u32, u32),
    mode: u32,
    times: [i64; 4],
    xattrs: BTreeMap<OsString, Vec<u8>>,
    bytes: Vec<u8>,
    target: Option<PathBuf>,
}

fn whole(path: &Path) -> Whole {
    let stat = fs::symlink_metadata(path).unwrap();
    let xattrs = xattr::list(path).unwrap().map(|name| (name.clone(), xattr::get(path, &name).unwrap().unwrap()));
    Whole {
        owner: (stat.uid(), stat.gid()),
        mode: stat.mode(),
        times: [stat.atime(), stat.atime_nsec(), stat.mtime(), stat.mtime_nsec()],
        xattrs: xattrs.collect(),
        bytes: if stat.is_file() { fs::read(path).unwrap() } else { Vec::new() },
        target: fs::read_link(path).ok(),
    }
}

#[test]
fn a_file_comes_back_with_all_that_belongs_to_it() {
    let stage = stage();
    let name = OsStr::from_bytes(b"\xff\n.pth");
    let path = stage.path.join(name);
    fs::write(&path, "import evil\n").unwrap();
    chown(&path, Some(1234), Some(567)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4711)).unwrap();
    xattr::set(&path, "user.note", b"\x00\xff").unwrap();
    xattr::set(&path, "trusted.note", b"t").unwrap();
    xattr::set(&path, "system.posix_acl_access", &access_list()).unwrap();
    set_times(&path, 1_600_000_000, -5);
    let before = whole(&path);
    set_times(&path, 1_600_000_000, -5); // reading it was a reading
    assert_eq!(before.xattrs.len(), 3, "{before:?}");

    let note = stage.take(name);
    assert_eq!(stage.names(), [] as [&OsStr; 0]);
    assert_eq!((note.path(), note.kind, note.finished, note.moved), (path.clone(), Kind::File, true, false));
    assert_eq!((note.sha256, note.class), (Some(Sha256::of(b"import evil\n")), Some(ContentClass::Code)));
    assert_eq!((note.reason.as_str(), note.author["pid"].as_u64()), ("no-rule", Some(4711)));
    assert_eq!(note.directory, directory_of(&stage.site));
    assert_eq!(stage.quarantine.store().bytes(&note, 7).unwrap(), b"import ");
    let mode = |name: String| fs::metadata(stage.state.join("quarantine").join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode(note.id.to_string()), mode(format!("{}.json", note.id))), (0o600, 0o600));

    assert!(stage.restore(&note, name).unwrap());
    let stat = fs::metadata(&path).unwrap();
    let times = [stat.atime(), stat.atime_nsec(), stat.mtime(), stat.mtime_nsec()];
    assert_eq!(times, [1_600_000_000, 123_456_789, -5, 987_654_321]);
    assert_eq!(Whole { times: before.times, ..whole(&path) }, before);
    assert_eq!(stage.items(), [Ok(note)], "what lies there stays");
}

#[test]
fn a_symbolic_link_comes_back_as_one() {
    let stage = stage();
    let path = stage.path.join("x.pth");
    symlink(OsStr::from_bytes(b"/srv/\xff/payload"), &path).unwrap();
    lchown(&path, Some(1234), Some(567)).unwrap();
    xattr::set(&path, "trusted.note", b"t").unwrap();
    set_times(&path, 1_500_000_000, 1_600_000_000);
    let mut before = whole(&path);
    let note = stage.take(OsStr::new("x.pth"));
    assert_eq!(stage.quarantine.store().content(&note).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(stage.restore(&note, OsStr::new("y.pth")).unwrap());
    let mut after = whole(&stage.path.join("y.pth"));
    // Looking where it leads has changed when it was read last.
    (before.times[0], before.times[1], after.times[0], after.times[1]) = (0, 0, 0, 0);
    assert_eq!(after, before);
}

#[test]
fn nothing_is_written_over_and_nothing_left_behind() {
    let stage = stage();
    let (path, name) = (stage.path.join("x.pth"), OsStr::new("x.pth"));
    fs::write(&path, "evil").unwrap();
    let note = stage.take(name);
    fs::write(&path, "good").unwrap();
    assert!(!stage.restore(&note, name).unwrap());
    assert_eq!((fs::read(&path).unwrap(), stage.names()), (b"good".to_vec(), vec![name.to_owned()]));
    for name in ["", ".", "..", "a/b", "../x.pth", ".pthguard-1-0"] {
        assert!(stage.restore(&note, OsStr::new(name)).is_err(), "{name:?}");
    }
    // An attribute that cannot be set: an access list that is none.
    let text = serde_json::to_string(&note).unwrap();
    let values = "\"xattrs\":{\"values\":[{\"name\":\"system.posix_acl_access\",\"hex\":\"00\"}]},\"inode\"";
    let other: Note = serde_json::from_str(&text.replacen("\"inode\"", values, 1)).unwrap();
    let error = stage.restore(&other, OsStr::new("y.pth")).unwrap_err();
    assert!(error.to_string().contains("system.posix_acl_access"), "{error}");
    assert_eq!(stage.names(), [name]);
}

#[test]
fn special_files_are_taken_but_not_put_back() {
    let stage = stage();
    nix::unistd::mkfifo(&stage.path.join("x.pth"), Mode::S_IRWXU).unwrap();
    let note = stage.take(OsStr::new("x.pth"));
    assert_eq!((note.kind, note.content()), (Kind::Fifo, None));
    let error = stage.restore(&note, OsStr::new("x.pth")).unwrap_err();
    assert!(error.to_string().contains("fifo"), "{error}");
    assert_eq!(stage.names(), [] as [&OsStr; 0]);
}

#[test]
fn a_giant_is_moved_and_comes_back_with_its_holes() {
    let stage = stage();
    let path = stage.path.join("x.pth");
    fs::write(&path, "import evil\n").unwrap();
    let size = 40 * 1024 * 1024 * 1024;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
    let note = stage.take(OsStr::new("x.pth"));
    assert!(note.moved && note.sha256.is_none() && note.finished);
    assert!(stage.restore(&note, OsStr::new("x.pth")).unwrap());
    let stat = fs::metadata(&path).unwrap();
    assert_eq!(stat.len(), size);
    assert!(stat.blocks() * 512 < 1024 * 1024, "{} blocks", stat.blocks());
    let mut head = [0; 13];
    File::open(&path).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head, b"import evil\n\0");
}

#[test]
fn numbers_are_no_paths() {
    for text in ["", "-", "1", "1-", "-1", "../1-0", "1-0/..", "1-0.json", "1-G", "1-0\n", "18C2-0", "1-0-0", "/1-0"] {
        assert!(text.parse::<Id>().is_err(), "{text:?}");
        assert!(serde_json::from_value::<Id>(text.into()).is_err());
    }
    assert_eq!(Id::new().to_string().parse::<Id>().unwrap().as_str().matches('-').count(), 1);
}

#[test]
fn a_damaged_note_is_listed_and_can_be_purged() {
    let stage = stage();
    let notes: Vec<Note> = ["a.pth", "b.pth", "c.pth", "d.pth"]
        .map(|name| {
            fs::write(stage.path.join(name), name).unwrap();
            stage.take(OsStr::new(name))
        })
        .into();
    let place = stage.state.join("quarantine");
    let path = |at: usize| place.join(format!("{}.json", notes[at].id));
    fs::write(path(0), "{").unwrap();
    fs::set_permissions(path(1), fs::Permissions::from_mode(0o602)).unwrap();
    fs::rename(path(2), stage.state.join("note")).unwrap();
    symlink(stage.state.join("note"), path(2)).unwrap();
    let text = fs::read_to_string(path(3)).unwrap();
    fs::write(path(3), text.replacen("\"version\": 1", "\"version\": 2", 1)).unwrap();
    fs::write(place.join("1-0"), "no note").unwrap();
    fs::write(place.join(".pthguard-2-0"), "no note").unwrap();
    fs::write(place.join("README"), "nothing of ours").unwrap();
    let items = stage.quarantine.store().list().unwrap();
    assert_eq!(items.len(), 6);
    assert!(items.iter().all(|item| item.note.is_err()), "{items:?}");
    for item in items {
        assert!(stage.quarantine.store().purge(&item.id).unwrap());
        assert!(!stage.quarantine.store().purge(&item.id).unwrap());
        assert!(stage.quarantine.store().show(&item.id).is_err());
    }
    let left: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["README"]);
    assert!(stage.state.join("note").exists(), "a link was followed");
}

#[test]
fn a_link_in_the_place_of_the_content_is_not_followed() {
    let stage = stage();
    fs::write(stage.path.join("x.pth"), "evil").unwrap();
    let note = stage.take(OsStr::new("x.pth"));
    let content = stage.state.join("quarantine").join(note.id.as_str());
    fs::remove_file(&content).unwrap();
    symlink("/etc/passwd", &content).unwrap();
    assert!(stage.quarantine.store().content(&note).is_err());
    assert!(stage.restore(&note, OsStr::new("x.pth")).is_err());
}

#[test]
fn what_is_old_is_purged_and_the_newest_comes_first() {
    let stage = stage();
    let taken: Vec<Note> = ["a.pth", "b.pth"]
        .map(|name| {
            fs::write(stage.path.join(name), name).unwrap();
            stage.take(OsStr::new(name))
        })
        .into();
    let names: Vec<_> = stage.items().into_iter().map(|note| note.unwrap().name).collect();
    assert_eq!(names, ["b.pth", "a.pth"]);
    let parsed =
        |note: &Note| time::OffsetDateTime::parse(&note.time, &time::format_description::well_known::Rfc3339).unwrap();
    let store = stage.quarantine.store();
    assert_eq!(store.purge_before(parsed(&taken[0])).unwrap(), []);
    assert_eq!(store.purge_before(parsed(&taken[1])).unwrap(), [taken[0].id.clone()]);
    assert_eq!(stage.items().len(), 1);
}

#[test]
fn what_was_left_aside_is_finished() {
    let stage = stage();
    let path = stage.path.join("x.pth");
    fs::write(&path, "import evil\n").unwrap();
    // As a guard leaves it that is killed after the rename.
    let found = File::from(stage.site.open(OsStr::new("x.pth"), OFlag::O_PATH).unwrap());
    let author = serde_json::Value::from("somebody");
    let why = Why { reason: "no-rule", class: None, author: &author };
    let note = stage.quarantine.describe(&stage.site, OsStr::new("x.pth"), &found, &why).unwrap();
    stage.quarantine.store().begin(&note).unwrap();
    let aside = aside_name(note.id.as_str());
    fs::rename(&path, stage.path.join(&aside)).unwrap();
    fs::write(stage.state.join("quarantine").join(note.id.as_str()), "a part, and more than the whole").unwrap();
    assert!(stage.restore(&note, OsStr::new("y.pth")).unwrap_err().to_string().contains("not all here"));

    let recovered = stage.quarantine.recover(&stage.site).unwrap();
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0].1.as_ref().unwrap(), &Quarantined::Kept(note.id.to_string()));
    assert_eq!(stage.names(), [] as [&OsStr; 0]);
    let note = stage.note(note.id.as_str());
    assert!(note.finished && note.name == "x.pth" && note.reason == "no-rule");
    assert_eq!(stage.quarantine.store().bytes(&note, 100).unwrap(), b"import evil\n");
}

/// Whoever can write the directory can make files of such names, and may know the number of what lies in quarantine.
#[test]
fn a_name_of_ours_does_not_overwrite_what_lies_there() {
    let stage = stage();
    fs::write(stage.path.join("x.pth"), "the evidence").unwrap();
    let first = stage.take(OsStr::new("x.pth"));
    fs::write(stage.path.join(aside_name(first.id.as_str())), "something else").unwrap();
    fs::write(stage.path.join(".pthguard-mine"), "mine").unwrap();
    fs::write(stage.path.join(".pthguard-empty"), "").unwrap();
    symlink("/etc/passwd", stage.path.join(".pthguard-1-1")).unwrap();
    fs::write(stage.path.join("pthguard-x"), "").unwrap();
    let recovered = stage.quarantine.recover(&stage.site).unwrap();
    assert!(recovered.iter().all(|(_, result)| result.is_ok()), "{recovered:?}");
    assert_eq!(stage.names(), ["pthguard-x"]);
    assert_eq!(stage.quarantine.store().bytes(&first, 100).unwrap(), b"the evidence");
    assert_eq!(stage.note(first.id.as_str()), first);
    let notes: Vec<Note> = stage.items().into_iter().map(Result::unwrap).collect();
    assert_eq!(notes.len(), 4);
    assert_eq!(notes.iter().filter(|note| note.reason == LEFT_BEHIND).count(), 3);
}

#[test]
fn another_file_of_the_name_is_left_where_it_is() {
    let stage = stage();
    let (path, name) = (stage.path.join("x.pth"), OsStr::new("x.pth"));
    fs::write(&path, "evil").unwrap();
    let file = stage.site.open(name, OFlag::O_PATH).and_then(FileId::of).unwrap();
    fs::rename(&path, stage.path.join("elsewhere")).unwrap();
    fs::write(&path, "another").unwrap();
    let why = Why { reason: "no-rule", class: None, author: &serde_json::Value::Null };
    let taken = stage.quarantine.take(&stage.site, name, &file, &why).unwrap();
    assert_eq!(taken, Quarantined::Elsewhere);
    assert_eq!(fs::read(&path).unwrap(), b"another");
    assert!(stage.items().is_empty());
}

#[test]
fn a_directory_stays_where_it_is() {
    let stage = stage();
    fs::create_dir(stage.path.join("x.pth")).unwrap();
    let file = stage.site.open(OsStr::new("x.pth"), OFlag::O_PATH).and_then(FileId::of).unwrap();
    let why = Why { reason: "no-rule", class: None, author: &serde_json::Value::Null };
    assert!(stage.quarantine.take(&stage.site, OsStr::new("x.pth"), &file, &why).is_err());
    assert_eq!((stage.names(), stage.items()), (vec!["x.pth".into()], vec![]));
}
