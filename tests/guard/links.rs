//! Approved symbolic links under startup names, and what others make of their targets and of the way there.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, Stopper, Venv, wait_for};
use crate::stage::{USER, as_user, own, system_python};
use crate::sys;

/// A place whose `victim.pth` is a symbolic link, over another link and two directories.
///
/// ```text
/// site/victim.pth -> outside/current/deep/lines   outside/current -> cache   outside/cache/deep/lines
/// ```
struct Linked {
    place: Place,
    cache: PathBuf,
    target: PathBuf,
    payload: PathBuf,
}

impl Linked {
    fn new() -> Linked {
        let place = Place::new();
        let cache = place.outside.join("cache");
        let target = cache.join("deep/lines");
        fs::create_dir_all(cache.join("deep")).unwrap();
        fs::write(&target, place.victim()).unwrap();
        symlink("cache", place.outside.join("current")).unwrap();
        for venv in &place.venvs {
            fs::remove_file(venv.site.join("victim.pth")).unwrap();
            symlink(place.outside.join("current/deep/lines"), venv.site.join("victim.pth")).unwrap();
        }
        let payload = place.outside.join("payload");
        fs::write(&payload, place.payload()).unwrap();
        Linked { place, cache, target, payload }
    }

    fn venv(&self) -> &Venv {
        &self.place.venvs[0]
    }

    fn link(&self) -> PathBuf {
        self.venv().site.join("victim.pth")
    }

    fn tool(&self) -> PathBuf {
        self.place.path().join("tool.py")
    }

    /// A guard that lets a script in. The script opens a startup file first, so that the guard has noticed that it was
    /// started before it does anything else, and is there until it has been looked at.
    fn permit(&self) -> Config {
        const TOOL: &str = "import os, sys\nopen(sys.argv[1]).read()\ngetattr(os, sys.argv[2])(*sys.argv[3:])\n\
                            print('done', flush=True)\nsys.stdin.read()\n";
        fs::write(self.tool(), TOOL).unwrap();
        let (python, tool) = (system_python(), self.tool());
        Config::new(&self.place).rules(&format!(
            "[[allow]]\nname = \"mover\"\nexe = [{python:?}]\nscript = [{tool:?}]\nuid = \"any\"\nowner = \"any\"\n\
             scope = \"any\"\naccess = [\"write\", \"rename\", \"link\", \"symlink\"]\ncontent = \"any\"\n"
        ))
    }

    /// The script has done that; it ends when what is given back is dropped.
    fn run_permitted(&self, mut command: Command, arguments: &[&OsStr]) -> Lingering {
        command.arg(self.tool()).arg(self.venv().site.join("keep.pth")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = sys::die_with_parent(&mut command).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{arguments:?}");
        Lingering(child)
    }

    /// A directory like the cache, with the payload in it.
    fn other_cache(&self) -> PathBuf {
        let other = self.place.outside.join("other");
        fs::create_dir_all(other.join("deep")).unwrap();
        fs::copy(&self.payload, other.join("deep/lines")).unwrap();
        other
    }
}

struct Lingering(Child);

impl Drop for Lingering {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("our own child");
    }
}

/// What somebody does who may write where the link leads, but not in the site directory.
type Attack = (&'static str, fn(&Linked) -> io::Result<()>);

const ATTACKS: &[Attack] = &[
    ("the target replaced by a rename", |l| fs::rename(&l.payload, &l.target)),
    ("the target exchanged", |l| sys::exchange(&l.payload, &l.target)),
    ("the target removed, and another linked in its place", |l| {
        fs::remove_file(&l.target)?;
        fs::hard_link(&l.payload, &l.target)
    }),
    ("a link in the target's place", |l| {
        let link = l.cache.join("link");
        symlink(&l.payload, &link)?;
        fs::rename(link, &l.target)
    }),
    ("the target's directory exchanged", |l| sys::exchange(&l.other_cache().join("deep"), &l.cache.join("deep"))),
    ("a directory above exchanged", |l| sys::exchange(&l.other_cache(), &l.cache)),
    ("a directory above moved away, and another into its place", |l| {
        fs::rename(&l.cache, l.place.outside.join("away"))?;
        fs::rename(l.other_cache(), &l.cache)
    }),
    ("everything removed and made anew", |l| {
        fs::remove_dir_all(&l.cache)?;
        fs::rename(l.other_cache(), &l.cache)
    }),
    ("a link on the way replaced", |l| {
        let link = l.place.outside.join("link");
        symlink(l.other_cache(), &link)?;
        fs::rename(link, l.place.outside.join("current"))
    }),
    ("a link on the way removed and made anew", |l| {
        let current = l.place.outside.join("current");
        fs::remove_file(&current)?;
        symlink(l.other_cache(), current)
    }),
    ("the target cut short", |l| sys::truncate(&l.target, l.place.cut())),
    // It is not refused: who uses a file by its own name must not be locked out by a link of somebody else's.
    ("the target written", |l| fs::write(&l.target, l.place.payload())),
    ("the target written by another name", |l| {
        let other = l.place.outside.join("other-name");
        fs::hard_link(&l.target, &other)?;
        fs::write(&other, l.place.payload())
    }),
];

/// Without a guard each of them is code in every start.
#[test]
fn unguarded_what_a_link_leads_to_is_what_runs() {
    for (name, attack) in ATTACKS {
        let linked = Linked::new();
        attack(&linked).unwrap_or_else(|error| panic!("{name}: {error}"));
        let start = linked.place.start(linked.venv());
        assert!(start.canary && start.keep, "{name}: {start:?}");
    }
}

/// The link goes, and what was approved takes its place.
#[test]
fn what_takes_the_place_of_a_links_target_does_not_run() {
    for (name, attack) in ATTACKS {
        let linked = Linked::new();
        let mut guard = Config::new(&linked.place).start();
        let before = linked.place.start(linked.venv());
        assert!(before.victim && before.clean, "{name}: an approved link is followed: {before:?}");
        let done = attack(&linked);
        let is_denied = matches!(&done, Err(error) if error.raw_os_error() == Some(libc::EPERM));
        assert!(done.is_ok() || is_denied, "{name}: {done:?}");
        for _ in 0..2 {
            // Who was listing when the link was refused finds no startup file at all.
            let start = linked.place.start(linked.venv());
            assert!(!start.canary && start.clean, "{name}: {start:?}");
        }
        assert_put_back(name, &linked, &mut guard);
    }
}

fn assert_put_back(name: &str, linked: &Linked, guard: &mut Guard) {
    wait_for(&format!("{name}: the approved bytes stand in the link's place"), SOON, || {
        let is_file = linked.link().symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        (is_file && fs::read(linked.link()).is_ok_and(|bytes| bytes == linked.place.victim())).then_some(())
    });
    guard.wait_record("deny", &["symlink"], Some("victim.pth"));
    for venv in &linked.place.venvs {
        wait_for(&format!("{name}: everything approved is obeyed"), SOON, || {
            let start = linked.place.start(venv);
            assert!(!start.canary && start.clean, "{name}, after it: {start:?}");
            (start.victim && start.keep).then_some(())
        });
    }
    guard.assert_alive();
}

/// A permitted program may replace what a link leads to: the link stays.
#[test]
fn a_permitted_program_replaces_the_target() {
    let linked = Linked::new();
    let guard = linked.permit().start();
    let new = linked.place.outside.join("new");
    let text = [linked.place.victim(), b"# the next version\n".to_vec()].concat();
    fs::write(&new, &text).unwrap();
    let arguments = ["rename".as_ref(), new.as_os_str(), linked.target.as_os_str()];
    let mover = linked.run_permitted(Command::new(system_python()), &arguments);
    wait_for("the new lines are approved", SOON, || (fs::read(linked.link()).ok()? == text).then_some(()));
    drop(mover);
    assert!(linked.link().symlink_metadata().unwrap().is_symlink(), "the link is a link still");
    let start = linked.place.start(linked.venv());
    assert!(start.victim && start.clean, "{start:?}");
    // And by somebody else again: what comes back is the version that was approved last.
    fs::rename(&linked.payload, &linked.target).unwrap();
    let start = linked.place.start(linked.venv());
    assert!(!start.canary && start.clean, "{start:?}");
    wait_for("the new version is back", SOON, || (fs::read(linked.link()).ok()? == text).then_some(()));
    drop(guard);
}

/// While the guard is down anything may happen: at the next start a link is approved only if it leads where it led.
#[test]
fn a_link_that_leads_elsewhere_after_a_restart_is_held() {
    let linked = Linked::new();
    let config = Config::new(&linked.place);
    let (status, _) = config.start().stop();
    assert!(status.success());
    let start = linked.place.start(linked.venv());
    assert!(start.victim);
    // The same bytes elsewhere.
    let other = linked.other_cache();
    fs::copy(&linked.target, other.join("deep/lines")).unwrap();
    sys::exchange(&other, &linked.cache).unwrap();
    let guard = config.start();
    let start = linked.place.start(linked.venv());
    assert!(start.victim && start.clean, "the same path and the same bytes: {start:?}");
    drop(guard);
    fs::remove_file(linked.link()).unwrap();
    symlink(other.join("deep/lines"), linked.link()).unwrap();
    let guard = config.start();
    let held = |record: &serde_json::Value| {
        field(record, "event.action") == "held" && field(record, "file.path") == linked.link().to_str().unwrap()
    };
    wait_for("it is held", SOON, || guard.records().iter().any(held).then_some(()));
}

/// Nobody but an administrator approves a link whose way others can change.
#[test]
fn a_link_over_what_others_can_write_does_not_stay() {
    let linked = Linked::new();
    let open = linked.place.outside.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(open.join("lines"), "# nothing\n").unwrap();
    let guard = linked.permit().start();
    let make = |target: &Path, name: &str| {
        let link = linked.venv().site.join(name);
        let arguments = ["symlink".as_ref(), target.as_os_str(), link.as_os_str()];
        let linker = linked.run_permitted(Command::new(system_python()), &arguments);
        (link, linker)
    };
    let (link, _linker) = make(&open.join("lines"), "open.pth");
    wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
    let record = guard.wait_record("deny", &["symlink"], Some("open.pth"));
    let message = field(&record, "pthguard.message");
    assert!(message.contains("others can change"), "{message}");
    let vital = linked.place.outside.join("vital");
    fs::create_dir(&vital).unwrap();
    fs::write(vital.join("passwd"), "").unwrap();
    fs::write(vital.join("lines"), "# nothing\n").unwrap();
    let (link, _linker) = make(&vital.join("lines"), "vital.pth");
    wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
    let (link, _linker) = make(&linked.target, "fine.pth");
    wait_for("it is approved", SOON, || fs::read(&link).ok());
    assert!(link.symlink_metadata().unwrap().is_symlink());
}

/// Names that a file has beside its own are counted when the guard starts, and each of them is gated.
#[test]
fn names_from_before_the_start_are_counted_and_gated() {
    let place = Place::new();
    let config = Config::new(&place);
    assert!(config.start().stop().0.success());
    // Made while the guard was down.
    let other = place.outside.join("other.txt");
    fs::hard_link(place.venvs[0].site.join("victim.pth"), &other).unwrap();
    let mut guard = config.start();
    let said = guard.said();
    assert!(said.contains("1 have further names"), "{said}");
    let error = fs::OpenOptions::new().append(true).open(&other).expect_err("gated");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    // What opens nothing is undone.
    sys::truncate(&other, place.cut()).unwrap();
    for _ in 0..2 {
        let start = place.start(&place.venvs[0]);
        assert!(!start.canary && start.keep && start.clean, "{start:?}");
    }
    wait_for("the approved file is back", SOON, || {
        fs::read(place.venvs[0].site.join("victim.pth")).is_ok_and(|bytes| bytes == place.victim()).then_some(())
    });
    guard.assert_alive();
}

/// A user's links lock nobody out: what is not his is never looked at, and the link does not stay.
#[test]
fn a_users_link_to_what_is_not_his() {
    let linked = Linked::new();
    let libraries = linked.place.outside.join("libraries");
    fs::create_dir(&libraries).unwrap();
    for name in ["sh", "libc.so.6", "os.py", "theirs"] {
        fs::write(libraries.join(name), linked.place.payload()).unwrap();
    }
    own(&libraries.join("theirs"), USER + 1);
    own(&linked.venv().site, USER);
    let guard = linked.permit().start();
    for (number, name) in ["libc.so.6", "os.py", "theirs"].into_iter().enumerate() {
        let (target, link) = (libraries.join(name), linked.venv().site.join(format!("link{number}.pth")));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut read = 0;
                while !stop.load(Ordering::SeqCst) {
                    fs::read(&target).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
                    read += 1;
                }
                read
            });
            let stopper = Stopper(&stop);
            let arguments = ["symlink".as_ref(), target.as_os_str(), link.as_os_str()];
            let _linker = linked.run_permitted(as_user(system_python()), &arguments);
            for _ in 0..3 {
                let start = linked.place.start(linked.venv());
                assert!(!start.canary, "{name}: {start:?}");
            }
            wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
            drop(stopper);
            assert!(reader.join().unwrap() > 0);
        });
        guard.wait_record("deny", &["symlink"], Some(&format!("link{number}.pth")));
    }
}

/// A link to nothing can be filled at any time, in a directory that nobody watches.
#[test]
fn a_link_to_nothing_does_not_outlive_the_start() {
    let linked = Linked::new();
    let (nothing, link) = (linked.place.outside.join("later"), linked.venv().site.join("later.pth"));
    symlink(&nothing, &link).unwrap();
    let _guard = Config::new(&linked.place).start();
    fs::copy(&linked.payload, &nothing).unwrap();
    let start = linked.place.start(linked.venv());
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    assert!(link.symlink_metadata().is_err());
}
