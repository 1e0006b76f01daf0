//! A guarded directory is moved away or removed, and another one stands in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, run, wait_for};
use crate::sys;

/// A directory beside the site directories' place with a harmless startup file, one that runs code, and what else an
/// interpreter finds in a site directory.
fn other_directory(place: &Place) -> PathBuf {
    let other = place.outside.join("site-packages");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("evil.pth"), place.payload()).unwrap();
    fs::write(other.join("comment.pth"), "# nothing\n").unwrap();
    fs::write(other.join("keep.pth"), place.keep()).unwrap();
    other
}

fn count(guard: &Guard, action: &str, path: &Path) -> usize {
    let is_it = |record: &Value| {
        field(record, "event.action") == action && field(record, "file.path") == path.to_str().unwrap()
    };
    guard.records().iter().filter(|record| is_it(record)).count()
}

/// What stands in a guarded directory's place is guarded: what runs code in it is unreadable and does not run, and
/// nobody may write there.
fn assert_guarded_again(place: &Place, guard: &Guard, lost: usize) {
    let venv = &place.venvs[0];
    let (site, evil) = (&venv.site, venv.site.join("evil.pth"));
    wait_for("the loss is recorded", SOON, || (count(guard, "site-lost", site) >= lost).then_some(()));
    wait_for("what stands in its place is guarded", SOON, || (count(guard, "site-guarded", site) > lost).then_some(()));
    let error = fs::read(&evil).expect_err("not approved");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    assert!(fs::read(site.join("comment.pth")).is_ok(), "what runs nothing is readable");
    let start = place.start(venv);
    assert!(!start.canary && start.clean, "{start:?}");
    let error = fs::write(site.join("more.pth"), place.payload()).expect_err("guarded");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    let other = place.start(place.venvs.last().unwrap());
    assert!(!other.canary && other.clean, "{other:?}");
}

/// `mv site-packages old; mv new site-packages`, by one process, at once.
#[test]
fn another_directory_moved_into_its_place() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (site, other) = (place.venvs[0].site.clone(), other_directory(&place));
    let swap = "mv \"$1\" \"$1.old\"; mv \"$2\" \"$1\"";
    run(Command::new("sh").args(["-c", swap, "sh"]).arg(&site).arg(&other)).result().unwrap();
    assert_guarded_again(&place, &guard, 1);
    guard.assert_alive();
}

/// The two exchanged in one step.
#[test]
fn another_directory_exchanged_with_it() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (site, other) = (place.venvs[0].site.clone(), other_directory(&place));
    sys::exchange(&other, &site).unwrap();
    assert_guarded_again(&place, &guard, 1);
    // And back: what was approved there is approved still.
    sys::exchange(&other, &site).unwrap();
    wait_for("the loss is recorded", SOON, || (count(&guard, "site-lost", &site) >= 2).then_some(()));
    wait_for("the first directory is guarded again", SOON, || {
        (count(&guard, "site-guarded", &site) >= 3).then_some(())
    });
    let start = place.start(&place.venvs[0]);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    guard.assert_alive();
}

/// What is above the directory is moved away: nothing tells of that in the directory itself.
#[test]
fn the_environment_moved_away_with_it() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (venv, other) = (&place.venvs[0], other_directory(&place));
    let lib = venv.site.parent().unwrap();
    let away = lib.with_extension("old");
    fs::rename(lib, &away).unwrap();
    // The directory itself is guarded wherever it lies.
    let error = fs::write(away.join("site-packages/evil.pth"), place.payload()).expect_err("guarded");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    fs::rename(&away, lib).unwrap();
    let start = place.start(venv);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    drop(other);
    guard.assert_alive();
}

/// Removed and made anew.
#[test]
fn removed_and_made_anew() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (site, other) = (place.venvs[0].site.clone(), other_directory(&place));
    let anew = "rm -r \"$1\"; mkdir \"$1\"; cp \"$2\"/*.pth \"$1\"";
    let done = run(Command::new("sh").args(["-c", anew, "sh"]).arg(&site).arg(&other));
    // Whether its files come before it is guarded or are denied afterwards is a matter of time.
    drop(done);
    wait_for("the loss is recorded", SOON, || (count(&guard, "site-lost", &site) == 1).then_some(()));
    wait_for("what stands in its place is guarded", SOON, || (count(&guard, "site-guarded", &site) == 2).then_some(()));
    let start = place.start(&place.venvs[0]);
    assert!(!start.canary && start.clean, "{start:?}");
    guard.assert_alive();
}

/// The same with as much time in between as it takes the guard to notice that there is nothing any more.
#[test]
fn made_anew_after_the_loss_was_noticed() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (site, other) = (place.venvs[0].site.clone(), other_directory(&place));
    fs::remove_dir_all(&site).unwrap();
    wait_for("the loss is recorded", SOON, || (count(&guard, "site-lost", &site) == 1).then_some(()));
    fs::rename(&other, &site).unwrap();
    assert_guarded_again(&place, &guard, 1);
    guard.assert_alive();
}
