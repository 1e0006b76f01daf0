//! Many at once, too much, too large, held for too long: decisions stay right, and nobody waits who need not.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, SOON, field};
use crate::site::{Place, Stopper, wait_for};
use crate::sys;

const NOBODY: u32 = 65534;
const GIANT: u64 = 10 << 30;
/// Far above anything that is right, far below what is waited for in vain: a lease breaks after 45 s, ten gigabytes
/// take a minute to hash.
const UNDELAYED: Duration = Duration::from_secs(5);

fn is_denied(result: &io::Result<Vec<u8>>) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::EPERM))
}

/// Open approved files again and again until `done`: none may fail, none may take longer than [`UNDELAYED`].
fn assert_undelayed(place: &Place, mut done: impl FnMut(u32) -> bool) {
    for round in 0.. {
        for venv in &place.venvs {
            let begin = Instant::now();
            let start = place.start(venv);
            assert!(start.keep && !start.canary && start.clean, "{start:?}");
            assert!(begin.elapsed() < UNDELAYED, "an interpreter start took {:?}", begin.elapsed());
        }
        if done(round) {
            return;
        }
    }
}

#[test]
fn sixty_four_threads_open_an_approved_file_at_once() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (keep, line_up) = (place.venvs[0].site.join("keep.pth"), Barrier::new(64));
    let failed: Vec<io::Error> = thread::scope(|scope| {
        let open = || {
            line_up.wait();
            (0..50).filter_map(|_| fs::read(&keep).err()).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(open)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of 3,200 opens failed: {:?}", failed.len(), failed.first());
    guard.assert_alive();
}

/// 20,000 opens and as many creations of files that do not matter, and the guard still knows those that do.
#[test]
fn event_storm() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let site = &place.venvs[0].site;
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for i in 0..2500 {
                    let file = site.join(format!("module_{thread}_{i}.py"));
                    fs::write(&file, "pass").unwrap();
                    fs::read(&file).unwrap();
                }
            });
        }
        for i in 0..20 {
            let evil = site.join(format!("evil{i}.pth"));
            assert!(is_denied(&fs::write(&evil, place.payload()).map(|()| Vec::new())), "{evil:?}");
            let source = place.outside.join("payload.txt");
            fs::write(&source, place.payload()).unwrap();
            fs::rename(&source, &evil).unwrap();
            let read = fs::read(&evil);
            assert!(read.is_err(), "in the storm, {evil:?} was readable");
            fs::read(site.join("keep.pth")).expect("in the storm, an approved file");
        }
    });
    assert!(place.start(&place.venvs[0]) == place.start(&place.venvs[0]), "two starts differ");
    let start = place.start(&place.venvs[0]);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    guard.assert_alive();
}

/// An ordinary user's write lease makes every other open of that file wait until the lease breaks, 45 s later: the
/// guard's own, too, when the kernel opens the event's descriptor for it. Nobody else may wait for that.
#[test]
fn a_write_lease_delays_nobody() {
    for leased in ["theirs.pth", "junk.txt"] {
        let place = Place::new();
        let site = &place.venvs[0].site;
        fs::set_permissions(site, fs::Permissions::from_mode(0o777)).unwrap();
        let file = site.join(leased);
        fs::write(&file, "# a comment\n").unwrap();
        std::os::unix::fs::chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        let mut guard = Config::new(&place).start();
        let (ready, is_ready) = mpsc::channel();
        let (give_up, until) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let file = &file;
            scope.spawn(move || {
                sys::become_user(NOBODY).unwrap();
                let held = sys::open(file, libc::O_RDONLY, 0).unwrap();
                // Not to be had while anybody else has the file open: the guard is about to close its own.
                let lease = || sys::write_lease(&held).ok();
                wait_for("the lease", SOON, lease);
                ready.send(()).unwrap();
                // Held until the sender is gone.
                let _ = until.recv();
            });
            // Whatever fails below, the lease's holder must be let go or the scope would never end.
            let give_up = give_up;
            is_ready.recv().expect("the lease");
            let opener = scope.spawn(move || {
                let begin = Instant::now();
                (fs::read(file), begin.elapsed())
            });
            assert_undelayed(&place, |round| round > 5);
            drop(give_up);
            let (read, took) = opener.join().unwrap();
            println!("{leased}: the open of the leased file itself: {read:?} after {took:?}");
        });
        guard.assert_alive();
    }
}

fn giant(path: &Path) {
    File::create(path).unwrap().set_len(GIANT).unwrap();
}

/// Ten gigabytes of nothing take a minute to hash: size is looked at first.
#[test]
fn a_giant_file_is_never_read() {
    let place = Place::new();
    let site = place.venvs[0].site.clone();
    giant(&site.join("before.pth"));
    let begin = Instant::now();
    let mut guard = Config::new(&place).start();
    assert!(begin.elapsed() < UNDELAYED * 2, "the start took {:?}", begin.elapsed());
    let source = place.outside.join("giant.txt");
    giant(&source);
    fs::rename(&source, site.join("after.pth")).unwrap();
    for name in ["before.pth", "after.pth"] {
        let begin = Instant::now();
        assert!(File::open(site.join(name)).is_err(), "{name} is readable");
        assert!(begin.elapsed() < UNDELAYED, "{name}: {:?}", begin.elapsed());
    }
    assert_undelayed(&place, |_| true);
    wait_for("the newcomer is in quarantine", SOON, || (!site.join("after.pth").exists()).then_some(()));
    assert_undelayed(&place, |_| true);
    guard.assert_alive();
}

/// Quarantine on another file system than the site directory: moving means copying, and a giant with no content would
/// fill the disk of the state directory and keep the guard busy.
#[test]
fn a_giant_file_on_another_file_system_does_not_fill_the_state_disk() {
    let here = Place::new();
    let there = here.elsewhere();
    let place = Place::within(there.path());
    let config = Config::new(&here).sites(place.sites());
    let mut guard = config.start();
    let source = place.outside.join("giant.txt");
    giant(&source);
    let target = place.venvs[0].site.join("evil.pth");
    fs::rename(&source, &target).unwrap();
    assert!(File::open(&target).is_err(), "readable");
    assert_undelayed(&place, |_| true);
    guard.wait_record("deny", &["rename", "read"], Some("evil.pth"));
    assert_undelayed(&place, |round| round > 20);
    assert!(File::open(&target).is_err(), "readable");
    let used = blocks(config.state());
    assert!(used < 64 << 20, "the state directory has grown to {used} bytes");
    guard.assert_alive();
}

/// A small one has to be moved across file systems all the same, with its bytes.
#[test]
fn quarantine_and_restoring_work_across_file_systems() {
    let here = Place::new();
    let there = here.elsewhere();
    let place = Place::within(there.path());
    let guard = Config::new(&here).sites(place.sites()).start();
    let (victim, source) = (place.venvs[0].site.join("victim.pth"), place.outside.join("payload.txt"));
    let before = crate::plant::Identity::of(&victim).unwrap();
    fs::write(&source, place.payload()).unwrap();
    fs::rename(&source, &victim).unwrap();
    assert!(!place.start(&place.venvs[0]).canary);
    wait_for("the approved file is back", SOON, || {
        crate::plant::Identity::of(&victim).is_ok_and(|now| now == before).then_some(())
    });
    let same = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes == place.payload());
    wait_for("the planted file is in quarantine", SOON, || guard.quarantine().iter().any(same).then_some(()));
}

fn blocks(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => blocks(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Whoever is denied again and again makes the file look open for writing (the opener counts before it is answered):
/// that must not get readers denied.
#[test]
fn a_storm_of_denied_writers_denies_no_reader() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (keep, stop) = (place.venvs[0].site.join("keep.pth"), AtomicBool::new(false));
    let (failed, attempts) = thread::scope(|scope| {
        let storm = || {
            let mut attempts = 0_u32;
            while !stop.load(Ordering::SeqCst) {
                let result = sys::open(&keep, libc::O_WRONLY, 0);
                assert!(result.is_err(), "a writer got through");
                attempts += 1;
            }
            attempts
        };
        let writers = [scope.spawn(storm), scope.spawn(storm)];
        let stopper = Stopper(&stop);
        let failed = (0..2500).filter(|_| fs::read(&keep).is_err()).count();
        drop(stopper);
        (failed, writers.into_iter().map(|writer| writer.join().unwrap()).sum::<u32>())
    });
    println!("{attempts} denied opens for writing beside 2,500 reads");
    assert!(attempts > 100, "the storm was none: {attempts}");
    let why = |record: &serde_json::Value| {
        let access = field(record, "pthguard.access") == "read";
        access.then(|| format!("{} {}", field(record, "event.action"), field(record, "pthguard.reason")))
    };
    let reasons: std::collections::BTreeSet<_> = guard.records().iter().filter_map(why).collect();
    assert_eq!(failed, 0, "of 2,500 reads, beside {attempts} denied writers; reads denied for {reasons:?}");
    guard.assert_alive();
}

/// Out of descriptors the kernel denies: the guard must not leak one per event, whatever the event is.
#[test]
fn no_descriptor_is_leaked() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let site = place.venvs[0].site.clone();
    let open_files = || fs::read_dir(format!("/proc/{}/fd", guard.pid())).unwrap().count();
    let attack = |i: u32| {
        let source = place.outside.join(format!("payload{i}"));
        fs::write(&source, place.payload()).unwrap();
        fs::rename(source, site.join("evil.pth")).unwrap();
        assert!(fs::write(site.join("other.pth"), "x").is_err());
        fs::read(site.join("keep.pth")).unwrap();
        fs::read_dir(&site).unwrap().for_each(drop);
    };
    (0..50).for_each(attack);
    let settled = || (!site.join("evil.pth").exists()).then_some(());
    wait_for("the last one is dealt with", SOON, settled);
    let before = open_files();
    (50..550).for_each(attack);
    wait_for("the last one is dealt with", SOON, settled);
    wait_for("no more than 20 descriptors are left over", SOON, || (open_files() <= before + 20).then_some(()));
    guard.assert_alive();
}
