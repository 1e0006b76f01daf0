//! Newcomers that are no regular files, and directories under startup names.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Config, SOON, field};
use crate::site::{Interpreter, Place, Venv, run, wait_for};
use crate::sys;

/// A block device whose content is the payload; given back when dropped.
struct Loop(String);

impl Loop {
    fn of(place: &Place) -> Loop {
        let image = place.outside.join("image");
        let mut bytes = place.payload();
        bytes.resize(4096, b'\n');
        fs::write(&image, bytes).unwrap();
        let made = run(Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(&image));
        assert!(made.status.success(), "blocked: no loop device: {}", made.stderr);
        Loop(made.stdout.trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run(Command::new("losetup").args(["--detach", &self.0]));
    }
}

fn assert_gone(file: &Path) {
    wait_for(&format!("{file:?} is gone"), SOON, || file.symlink_metadata().is_err().then_some(()));
}

/// For a while after a newcomer of these kinds nobody lists the directory, and interpreters start without it.
fn assert_calm(place: &Place, venv: &Venv) {
    wait_for("a start with approved files", SOON, || {
        let start = place.start(venv);
        assert!(!start.canary && start.clean, "{start:?}");
        (start.keep && start.victim).then_some(())
    });
}

/// What a device holds an interpreter reads like a file, and opening it raises no event.
#[test]
fn a_block_device_is_executed_without_a_guard_and_goes_with_one() {
    let place = Place::new();
    let device = Loop::of(&place);
    let number = fs::metadata(&device.0).unwrap().rdev();
    let (venv, evil) = (&place.venvs[0], place.venvs[0].site.join("evil.pth"));
    sys::mknod(&evil, libc::S_IFBLK, number).unwrap();
    assert!(place.start(venv).canary, "the payload did not run");
    fs::remove_file(&evil).unwrap();
    let mut guard = Config::new(&place).start();
    for plant in [
        |evil: &Path, _: &Path, number| sys::mknod(evil, libc::S_IFBLK, number),
        |evil: &Path, outside: &Path, number| {
            sys::mknod(&outside.join("device"), libc::S_IFBLK, number)?;
            fs::rename(outside.join("device"), evil)
        },
    ] {
        plant(&evil, &place.outside, number).unwrap();
        for _ in 0..2 {
            let start = place.start(venv);
            assert!(!start.canary && start.clean, "{start:?}");
        }
        assert_gone(&evil);
        assert_calm(&place, venv);
    }
    let record = guard.wait_record("deny", &["special"], Some("evil.pth"));
    assert_eq!(field(&record, "pthguard.reason"), "special-file");
    guard.assert_alive();
}

#[test]
fn devices_and_sockets_go_to_quarantine_and_approved_files_come_back() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let site = &place.venvs[0].site;
    let null = fs::metadata("/dev/null").unwrap().rdev();
    let before = crate::plant::Identity::of(&site.join("victim.pth")).unwrap();
    sys::mknod(&site.join("character.pth"), libc::S_IFCHR, null).unwrap();
    let _listener = UnixListener::bind(site.join("socket.pth")).unwrap();
    let aside = place.outside.join("aside");
    sys::mknod(&aside, libc::S_IFCHR, null).unwrap();
    fs::rename(&aside, site.join("victim.pth")).unwrap();
    for name in ["character.pth", "socket.pth"] {
        assert_gone(&site.join(name));
        guard.wait_record("deny", &["special"], Some(name));
    }
    wait_for("the approved file is back", SOON, || {
        let victim = site.join("victim.pth");
        // Not opened before: the device is anybody's to read.
        let is_file = victim.symlink_metadata().is_ok_and(|now| !now.file_type().is_char_device());
        (is_file && crate::plant::Identity::of(&victim).is_ok_and(|now| now == before)).then_some(())
    });
    let notes: Vec<String> = fs::read_dir(place.path().join("state/quarantine"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let of_kind = |kind: &str| notes.iter().filter(|note| note.contains(&format!("\"kind\": {kind:?}"))).count();
    assert_eq!((of_kind("device"), of_kind("socket")), (2, 1), "{notes:?}");
}

/// Exchanges with what is no regular file, both ways.
#[test]
fn exchanges_of_an_approved_file_with_a_link_a_fifo_and_a_directory() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (venv, outside) = (&place.venvs[0], &place.outside);
    let (victim, payload) = (venv.site.join("victim.pth"), outside.join("payload.txt"));
    fs::write(&payload, place.payload()).unwrap();
    let before = crate::plant::Identity::of(&victim).unwrap();
    for swap in [false, true] {
        for make in [|at: &Path, payload: &Path| symlink(payload, at), |at: &Path, _: &Path| sys::mkfifo(at)] {
            let other = outside.join("other");
            make(&other, &payload).unwrap();
            let (one, two) = if swap { (&other, &victim) } else { (&victim, &other) };
            sys::exchange(one, two).unwrap();
            let start = place.start(venv);
            assert!(!start.canary && start.clean, "{start:?}");
            wait_for("the approved file is back", SOON, || {
                let is_file = victim.symlink_metadata().is_ok_and(|now| now.is_file());
                (is_file && crate::plant::Identity::of(&victim).is_ok_and(|now| now == before)).then_some(())
            });
            fs::remove_file(&other).unwrap();
        }
    }
    assert_calm(&place, venv);
    // A directory of that name is no startup file: the approved one has been taken away, which is recorded.
    let directory = outside.join("directory");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("evil.pth"), place.payload()).unwrap();
    sys::exchange(&directory, &victim).unwrap();
    let start = place.start(venv);
    assert!(!start.canary && !start.victim && start.keep && start.clean, "{start:?}");
    wait_for("a record of the removal", SOON, || {
        guard.records().into_iter().find(|record| field(record, "event.action") == "deletion")
    });
    // And back: the file comes as a newcomer whose bytes are approved.
    sys::exchange(&victim, &directory).unwrap();
    let start = place.start(venv);
    assert!(start.victim && start.keep && start.clean, "{start:?}");
    guard.assert_alive();
}

fn all_interpreters() -> Vec<Interpreter> {
    let versions =
        std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".pyenv/versions");
    let Ok(entries) = fs::read_dir(versions) else { return Vec::new() };
    let mut found: Vec<Interpreter> = entries
        .flatten()
        .filter_map(|entry| {
            let minor = entry.file_name().to_str()?.strip_prefix("3.")?.split('.').next()?.parse().ok()?;
            let exe = fs::canonicalize(entry.path().join(format!("bin/python3.{minor}"))).ok()?;
            Some(Interpreter { exe, version: (3, minor) })
        })
        .collect();
    found.sort_by_key(|interpreter| interpreter.version);
    found.dedup_by_key(|interpreter| interpreter.version);
    found
}

/// `x.pth` that is a directory is nothing to any interpreter, so it stays; a `sitecustomize.py` likewise.
#[test]
fn a_directory_called_like_a_startup_file_is_nothing() {
    let place = Place::new();
    let mut venvs: Vec<Venv> = Vec::new();
    for interpreter in all_interpreters() {
        let root = place.path().join(format!("every{}", interpreter.version.1));
        let venv = Venv::make(&root, &interpreter);
        fs::write(venv.site.join("keep.pth"), place.keep()).unwrap();
        venvs.push(venv);
    }
    let sites = venvs.iter().map(|venv| venv.site.clone()).chain(place.sites()).collect();
    let mut guard = Config::new(&place).sites(sites).start();
    for venv in venvs.iter().chain(&place.venvs) {
        for name in ["x.pth", "sitecustomize.py"] {
            fs::create_dir(venv.site.join(name)).unwrap();
            fs::write(venv.site.join(name).join("__init__.py"), place.payload()).unwrap();
            fs::write(venv.site.join(name).join("evil.pth"), place.payload()).unwrap();
        }
        let start = place.start(venv);
        assert!(!start.canary && start.keep && start.clean, "{:?}: {start:?}", venv.interpreter);
        assert!(venv.site.join("x.pth/evil.pth").exists(), "somebody's directory was touched");
    }
    println!("{} interpreters, from {:?}", venvs.len(), venvs.first().map(|venv| venv.interpreter.version));
    guard.assert_alive();
}

/// Makes something at a place.
type Make = fn(&Place, &Path) -> io::Result<()>;

/// Makes the code of a package: a file, a link to one outside, a FIFO that somebody feeds.
const CODE: [(&str, Make); 3] = [
    ("file", |place, at| fs::write(at, place.payload())),
    ("link", |place, at| {
        let payload = place.outside.join("payload.py");
        fs::write(&payload, place.payload())?;
        symlink(payload, at)
    }),
    ("fifo", |_, at| sys::mkfifo(at)),
];

/// `mv package site-packages/sitecustomize`: no event tells of what is in it.
#[test]
fn a_package_moved_into_place() {
    let place = Place::new();
    let venv = place.venvs.last().unwrap();
    let (package, aside) = (venv.site.join("sitecustomize"), place.outside.join("package"));
    let plant = |make: Make| {
        fs::create_dir(&aside).unwrap();
        make(&place, &aside.join("__init__.py")).unwrap();
        fs::rename(&aside, &package).unwrap();
    };
    plant(CODE[0].1);
    assert!(place.start(venv).canary, "blocked: another sitecustomize comes first");
    fs::remove_dir_all(&package).unwrap();
    let mut guard = Config::new(&place).start();
    for (kind, make) in CODE {
        plant(make);
        let start = place.start(venv);
        assert!(!start.canary && start.clean, "{kind}: {start:?}");
        assert_gone(&package.join("__init__.py"));
        fs::remove_dir_all(&package).unwrap();
    }
    guard.assert_alive();
}

/// An interpreter lists the site directory, then opens what lies in the package: what raises no event when it is opened
/// must be gone by then.
#[test]
fn a_link_in_a_package_is_gone_before_the_site_directory_is_listed() {
    const ROUNDS: usize = 30;
    let place = Place::new();
    let venv = place.venvs.last().unwrap();
    let (package, aside) = (venv.site.join("sitecustomize"), place.outside.join("package"));
    let code = package.join("__init__.py");
    let mut guard = Config::new(&place).start();
    let payload = place.outside.join("payload.py");
    fs::write(&payload, place.payload()).unwrap();
    let is_listed_and_read = || {
        // An interpreter that is refused the list imports nothing from there.
        let is_listed = fs::read_dir(&venv.site).unwrap().all(|entry| entry.is_ok());
        is_listed && fs::read(&code).is_ok()
    };
    let mut moved_in = 0;
    for _ in 0..ROUNDS {
        fs::create_dir(&aside).unwrap();
        symlink(&payload, aside.join("__init__.py")).unwrap();
        fs::rename(&aside, &package).unwrap();
        moved_in += usize::from(is_listed_and_read());
        assert_gone(&code);
        fs::remove_dir_all(&package).unwrap();
    }
    fs::create_dir(&package).unwrap();
    let mut made_inside = 0;
    for _ in 0..ROUNDS {
        symlink(&payload, &code).unwrap();
        made_inside += usize::from(is_listed_and_read());
        assert_gone(&code);
    }
    assert_eq!((moved_in, made_inside), (0, 0), "of {ROUNDS} links each were read");
    guard.assert_alive();
}
