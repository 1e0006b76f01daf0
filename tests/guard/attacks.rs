//! Tries a row of [`crate::ways`] without a guard, with an auditing one and with an enforcing one.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Config, Guard, SOON};
use crate::plant::{Expect, Identity, Spot, VICTIM, Way};
use crate::site::{Place, Stopper, wait_for};
use crate::ways::WAYS;

fn way(name: &str) -> &'static Way {
    WAYS.iter().find(|way| way.name == name).expect("a row of the table")
}

/// Whether any interpreter at hand can be got to run this file: `.start` files are for 3.15 on, and hidden files are
/// skipped from some 3.12 on.
fn can_run(place: &Place, way: &Way) -> bool {
    let oldest = place.venvs.first().unwrap().interpreter.version;
    let newest = place.venvs.last().unwrap().interpreter.version;
    match way.file {
        b"evil.start" => newest >= (3, 15),
        b".hidden.pth" | b".pth" => oldest < (3, 12),
        _ => true,
    }
}

/// Plant in every site directory; fail if that does not work.
fn plant_all(place: &Place, way: &Way) -> Vec<Spot> {
    let plant = |venv| {
        let spot = Spot::new(place, venv, way.file);
        (way.plant)(&spot).unwrap_or_else(|error| panic!("{} ({}) failed: {error}", way.name, way.why));
        spot
    };
    place.venvs.iter().map(plant).collect()
}

fn assert_payload_runs(place: &Place, way: &Way) {
    let starts: Vec<_> = place.venvs.iter().map(|venv| place.start(venv)).collect();
    if can_run(place, way) {
        assert!(starts.iter().any(|start| start.canary), "{}: nobody ran the payload: {starts:?}", way.name);
    } else {
        println!("no interpreter at hand obeys such a file; only the rest is checked");
    }
    assert!(starts.iter().all(|start| start.keep), "keep.pth was not obeyed: {starts:?}");
}

pub(crate) fn unguarded(name: &str) {
    let (place, way) = (Place::new(), way(name));
    let _spots = plant_all(&place, way);
    assert_payload_runs(&place, way);
}

pub(crate) fn audited(name: &str) {
    let (place, way) = (Place::new(), way(name));
    let mut guard = Config::new(&place).audit().start();
    let spots = plant_all(&place, way);
    assert_payload_runs(&place, way);
    guard.wait_record("would-deny", way.actions, None);
    for spot in &spots {
        assert!(spot.target.symlink_metadata().is_ok(), "audit mode removed {:?}", spot.target);
    }
    assert_payload_runs(&place, way);
    let verdicts = |record| crate::harness::field(&record, "pthguard.verdict") == "deny";
    assert!(!guard.records().into_iter().any(verdicts), "audit mode denied something");
    assert_eq!(guard.quarantine(), [] as [&Path; 0], "audit mode moved something to quarantine");
    guard.assert_alive();
}

pub(crate) fn enforced(name: &str) {
    let (place, way) = (Place::new(), way(name));
    let mut guard = Config::new(&place).start();
    let mut spots = Vec::new();
    for venv in &place.venvs {
        let spot = Spot::new(&place, venv, way.file);
        let before = Identity::of(&spot.site.join("victim.pth")).unwrap();
        let got = (way.plant)(&spot);
        at_once(way, &spot, &got, &before);
        // The attacker still holds what it holds: a start right now, and once more.
        for _ in 0..2 {
            let start = place.start(venv);
            assert!(!start.canary, "{}: the payload ran ({})", way.name, way.why);
            assert!(start.keep && start.clean, "{}: an untouched file was not obeyed: {start:?}", way.name);
        }
        settled(way, &spot, &guard, &before);
        spots.push((spot, before));
    }
    guard.wait_record("deny", way.actions, None);
    for (venv, (spot, before)) in place.venvs.iter().zip(&spots) {
        let start = place.start(venv);
        assert!(!start.canary && start.keep && start.clean, "{}, after it was dealt with: {start:?}", way.name);
        let back = Identity::of(&spot.site.join("victim.pth")).is_ok_and(|now| now == *before);
        assert_eq!(start.victim, back, "an approved file is obeyed exactly when it is there: {start:?}");
    }
    guard.assert_alive();
}

/// What has to hold the moment the attacker's call returns.
fn at_once(way: &Way, spot: &Spot, got: &io::Result<()>, before: &Identity) {
    let refused = matches!(got, Err(error) if error.raw_os_error() == Some(libc::EPERM));
    match way.expect {
        Expect::Refused => {
            assert!(refused, "{}: expected EPERM, got {got:?} ({})", way.name, way.why);
            // What O_TMPFILE + linkat made was made by the link and is undone like one.
            let linked = way.name == "o_tmpfile_reopened";
            assert!(
                way.file == VICTIM || linked || spot.target.symlink_metadata().is_err(),
                "a leftover was left behind"
            );
            if way.file == VICTIM {
                assert_eq!(Identity::of(&spot.target).unwrap(), *before, "the approved file has changed");
            }
        }
        Expect::Undone | Expect::Restored | Expect::Unreadable | Expect::Harmless => {
            // What was spoilt is taken away at once, perhaps before the attacker's next step.
            let is_gone =
                matches!(got, Err(error) if error.kind() == io::ErrorKind::NotFound) && way.expect == Expect::Restored;
            assert!(refused || is_gone || got.is_ok(), "{}: {got:?}", way.name);
            unreadable(way, spot, before);
        }
    }
}

/// Nobody gets to see bytes that are not approved. Links and special files are judged by the interpreter's start.
fn unreadable(way: &Way, spot: &Spot, before: &Identity) {
    if !spot.target.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        return;
    }
    match fs::read(&spot.target) {
        Ok(bytes) => assert!(
            bytes == spot.approved && Identity::of(&spot.target).is_ok_and(|now| now == *before) || bytes.is_empty(),
            "{}: read {:?}",
            way.name,
            String::from_utf8_lossy(&bytes)
        ),
        Err(error) => assert!(
            matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOENT)),
            "{}: reading the planted file: {error}",
            way.name
        ),
    }
}

/// What has to hold soon afterwards.
fn settled(way: &Way, spot: &Spot, guard: &Guard, before: &Identity) {
    let gone = || spot.target.symlink_metadata().is_err().then_some(());
    match way.expect {
        Expect::Refused if way.file != VICTIM => wait_for("the leftover is gone", SOON, gone),
        Expect::Undone => wait_for("the planted file is out of the directory", SOON, gone),
        Expect::Restored => wait_for("the approved file is back, byte for byte", SOON, || {
            Identity::of(&spot.target).is_ok_and(|now| now == *before).then_some(())
        }),
        Expect::Refused | Expect::Unreadable | Expect::Harmless => unreadable(way, spot, before),
    }
    // A held descriptor may have changed the bytes after the move; a link or FIFO has none.
    let kept =
        matches!(way.name, "mv" | "hard_link" | "o_tmpfile" | "rename_over_approved" | "rename_within_directory");
    if kept {
        let same = |path: &std::path::PathBuf| fs::read(path).is_ok_and(|bytes| bytes == spot.payload);
        wait_for("the planted bytes are in quarantine", SOON, || guard.quarantine().iter().any(same).then_some(()));
    }
}

/// A name that is matched must not depend on what else is in it: every spelling that interpreters obey is refused.
#[test]
fn every_spelling_of_the_suffix_that_interpreters_obey() {
    let place = Place::new();
    let _guard = Config::new(&place).start();
    for name in
        [&b"a.pth"[..], b"A B.pth", b"a.pth.pth", b"-rf.pth", b"*.pth", b"a\tb.pth", b"\x80\xfe.pth", b"~a.start"]
    {
        let path = place.venvs[0].site.join(std::ffi::OsStr::from_bytes(name));
        let error = fs::write(&path, "x").expect_err("a startup file");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{path:?}");
        assert!(path.symlink_metadata().is_err(), "{path:?} was left behind");
    }
}

/// What no interpreter obeys is nobody's business: a deeper directory, another suffix, another case.
#[test]
fn other_files_are_not_gated() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let site = &place.venvs[0].site;
    fs::create_dir_all(site.join("torch/hub")).unwrap();
    for name in ["torch/model.pth", "torch/hub/model.pth", "torch/sitecustomize.py", "six.py", "evil.PTH", "a.pth.txt"]
    {
        fs::write(site.join(name), "weights").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fs::read(site.join(name)).unwrap(), b"weights", "{name}");
        fs::rename(site.join(name), site.join(format!("{name}.moved"))).unwrap();
        fs::rename(site.join(format!("{name}.moved")), site.join(name)).unwrap();
    }
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.victim && start.clean, "{start:?}");
    assert_eq!(guard.quarantine(), [] as [&Path; 0]);
    guard.assert_alive();
}

/// A user may link other people's files into his own site directory. That must make none of them unreadable or
/// unwritable for those who use them under their own names: it would be a way to stop the whole machine.
#[test]
fn a_hard_link_locks_nobody_out() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let theirs = place.outside.join("theirs.conf");
    fs::write(&theirs, "setting").unwrap();
    let link = place.venvs[0].site.join("theirs.pth");
    for round in 0..50 {
        fs::hard_link(&theirs, &link).unwrap();
        assert_eq!(fs::read(&theirs).unwrap_or_else(|error| panic!("round {round}: {error}")), b"setting");
        wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
        fs::write(&theirs, "setting").unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    wait_for("each is in quarantine", SOON, || (guard.quarantine().len() == 50).then_some(()));
}

/// A newcomer is opened while it is on its way to quarantine, where it has another name: what was opened is a startup
/// file all the same. A file that is too large to be copied is moved there itself.
#[test]
fn a_newcomer_cannot_be_read_on_its_way_to_quarantine() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let (source, newcomer) = (place.outside.join("source.txt"), place.venvs[0].site.join("newcomer.pth"));
    let mut opened = 0;
    for round in 0..200 {
        let size = if round % 2 == 0 { 1 } else { (1 << 20) + 1 };
        fs::write(&source, vec![b'x'; size]).unwrap();
        fs::rename(&source, &newcomer).unwrap();
        loop {
            match fs::File::open(&newcomer) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM), "round {round}"),
                Ok(_) => opened += 1,
            }
        }
    }
    assert_eq!(opened, 0, "of a newcomer in 200 rounds");
    wait_for("each is in quarantine", SOON, || (guard.quarantine().len() == 200).then_some(()));
}

/// Opening a symbolic link's target raises no event, so nobody may list the directory before the link is gone.
#[test]
fn a_symbolic_link_is_gone_before_the_directory_is_listed() {
    const ROUNDS: usize = 100;
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (site, payload) = (&place.venvs[0].site, place.outside.join("payload"));
    fs::write(&payload, place.payload()).unwrap();
    let mut listed = 0;
    for round in 0..ROUNDS {
        let link = site.join(format!("evil{round}.pth"));
        std::os::unix::fs::symlink(&payload, &link).unwrap();
        listed += usize::from(fs::read_dir(site).unwrap().flatten().any(|entry| entry.path() == link));
    }
    assert_eq!(listed, 0, "of {ROUNDS} links were listed");
    guard.assert_alive();
}

/// Whoever has got a refused link's name from the kernel is not told that the listing is complete. If more links come nobody
/// lists the directory for a while: an interpreter does without its startup files then, and another directory is listed.
#[test]
fn nobody_lists_a_directory_in_which_a_link_was_refused() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (restless, other) = (&place.venvs[0], &place.venvs[1]);
    let payload = place.outside.join("payload");
    fs::write(&payload, place.payload()).unwrap();

    let mut listing = fs::read_dir(&restless.site).unwrap();
    assert!(listing.next().is_some_and(|first| first.is_ok()), "the first names are there already");
    let link = |name| std::os::unix::fs::symlink(&payload, restless.site.join(name)).unwrap();
    let list = || fs::read_dir(&restless.site).unwrap().find_map(Result::err).and_then(|error| error.raw_os_error());
    link("evil.pth");
    let end = listing.find_map(Result::err).expect("an error at the end");
    assert_eq!(end.raw_os_error(), Some(libc::EPERM));
    assert_eq!(list(), None, "who begins now has not got the link's name");
    link("again.pth");
    wait_for("the second one is refused", SOON, || (list() == Some(libc::EPERM)).then_some(()));
    assert!(fs::read_dir(&other.site).unwrap().all(|entry| entry.is_ok()), "another directory is listed");

    let record = guard.wait_record("deny", &["listing"], None);
    assert_eq!(crate::harness::field(&record, "pthguard.reason"), "unrest");
    wait_for("the directory can be listed again", SOON, || {
        fs::read_dir(&restless.site).unwrap().all(|entry| entry.is_ok()).then_some(())
    });
    let start = place.start(restless);
    assert!(start.keep && start.victim && !start.canary, "{start:?}");
    guard.assert_alive();
}

/// Every interpreter starts where nobody can list its site directory, and says nothing about it.
#[test]
fn interpreters_start_without_a_directory_that_cannot_be_listed() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let payload = place.outside.join("payload");
    fs::write(&payload, place.payload()).unwrap();
    for venv in &place.venvs {
        // A storm is one disturbance; until it ends nobody lists the directory.
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stopper = Stopper(&stop);
            scope.spawn(|| {
                let link = venv.site.join("evil.pth");
                while !stop.load(Ordering::Relaxed) {
                    let _ = std::os::unix::fs::symlink(&payload, &link);
                    let _ = fs::remove_file(&link); // the guard may have been quicker
                }
            });
            wait_for("the directory is in unrest", SOON, || {
                fs::read_dir(&venv.site).unwrap().any(|entry| entry.is_err()).then_some(())
            });
            let start = place.start(venv);
            assert!(start.clean && !start.canary && !start.keep, "{start:?}");
        });
    }
    guard.assert_alive();
}

/// A link cannot be held: it is read through where it lies.
#[test]
fn a_link_of_an_unknown_author_is_not_held_in_place() {
    let place = Place::new();
    let mut guard = Config::new(&place).unresolved_arrival("hold").start();
    let site = &place.venvs[0].site;
    let payload = place.outside.join("payload");
    fs::write(&payload, place.payload()).unwrap();
    for round in 0..20 {
        let link = site.join(format!("evil{round}.pth"));
        let status = std::process::Command::new("ln").arg("-s").arg(&payload).arg(&link).status().unwrap();
        assert!(status.success());
        wait_for("the link is gone", SOON, || link.symlink_metadata().is_err().then_some(()));
    }
    guard.assert_alive();
}
