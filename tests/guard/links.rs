//! Approved symbolic links under startup names, and what others make of their targets and of the way there.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, Venv, wait_for};
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

    /// A directory like the cache, with the payload in it.
    fn other_cache(&self) -> PathBuf {
        let other = self.place.outside.join("other");
        fs::create_dir_all(other.join("deep")).unwrap();
        fs::copy(&self.payload, other.join("deep/lines")).unwrap();
        other
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
            let start = linked.place.start(linked.venv());
            assert!(!start.canary && start.keep && start.clean, "{name}: {start:?}");
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
        let start = linked.place.start(venv);
        assert!(!start.canary && start.victim && start.keep && start.clean, "{name}, after it: {start:?}");
    }
    guard.assert_alive();
}

/// What is approved under the link's name cannot be opened for writing by where it leads.
#[test]
fn the_target_is_gated_like_the_link() {
    let linked = Linked::new();
    let guard = Config::new(&linked.place).start();
    let error = fs::write(&linked.target, "x").expect_err("gated");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    let other = linked.place.outside.join("other-name");
    fs::hard_link(&linked.target, &other).unwrap();
    let error = fs::write(&other, "x").expect_err("gated by its inode");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    fs::write(linked.cache.join("deep/neighbour"), "x").expect("what no link leads to is nobody's business");
    guard.wait_record("deny", &["modification"], Some("victim.pth"));
}

/// A permitted program may replace what a link leads to: the link stays.
#[test]
fn a_permitted_program_replaces_the_target() {
    let linked = Linked::new();
    let tool = fs::canonicalize("/usr/bin/mv").unwrap();
    let guard = Config::new(&linked.place).allow("mover", &format!("exe = [{tool:?}]\nuid = \"any\"")).start();
    let new = linked.place.outside.join("new");
    let text = [linked.place.victim(), b"# the next version\n".to_vec()].concat();
    fs::write(&new, &text).unwrap();
    crate::site::run(std::process::Command::new(&tool).arg(&new).arg(&linked.target)).result().unwrap();
    wait_for("the new lines are approved", SOON, || (fs::read(linked.link()).ok()? == text).then_some(()));
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
    let ln = fs::canonicalize("/usr/bin/ln").unwrap();
    let open = linked.place.outside.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(open.join("lines"), "# nothing\n").unwrap();
    let guard = Config::new(&linked.place).allow("linker", &format!("exe = [{ln:?}]\nuid = \"any\"")).start();
    let make = |target: &Path, name: &str| {
        let link = linked.venv().site.join(name);
        let mut command = std::process::Command::new(&ln);
        crate::site::run(command.arg("-s").arg(target).arg(&link)).result().unwrap();
        link
    };
    let link = make(&open.join("lines"), "open.pth");
    wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
    let record = guard.wait_record("deny", &["symlink"], Some("open.pth"));
    let message = field(&record, "pthguard.message");
    assert!(message.contains("others can change"), "{message}");
    let vital = linked.place.outside.join("vital");
    fs::create_dir(&vital).unwrap();
    fs::write(vital.join("passwd"), "").unwrap();
    fs::write(vital.join("lines"), "# nothing\n").unwrap();
    let link = make(&vital.join("lines"), "vital.pth");
    wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
    let link = make(&linked.target, "fine.pth");
    wait_for("it is approved", SOON, || fs::read(&link).ok());
    assert!(link.symlink_metadata().unwrap().is_symlink());
}
