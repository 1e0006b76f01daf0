//! A storm in a directory of an ordinary user, and decisions about one that only root can write.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, SOON};
use crate::site::{Place, Stopper, wait_for};
use crate::sys;

const NOBODY: u32 = 65534;
const STORMERS: usize = 8;
const OPENS: usize = 400;

/// A loop's body: the user's site directory, a directory of this attacker's own beside it, a number.
type Attempt = fn(&Path, &Path, u64) -> io::Result<()>;

fn rename_in_and_out(site: &Path, own: &Path, _: u64) -> io::Result<()> {
    let (file, evil) = (own.join("file"), site.join(format!("{}.pth", own.file_name().unwrap().display())));
    if !file.exists() {
        fs::write(&file, "import evil\n")?;
    }
    fs::rename(&file, &evil)?;
    fs::rename(&evil, &file)
}

fn link_and_unlink(site: &Path, own: &Path, number: u64) -> io::Result<()> {
    let (file, evil) = (own.join("file"), site.join(format!("{}{number}.pth", own.file_name().unwrap().display())));
    fs::write(&file, "import evil\n")?;
    fs::hard_link(&file, &evil)?;
    fs::remove_file(&file)?;
    fs::remove_file(&evil)
}

fn symlink_and_unlink(site: &Path, own: &Path, number: u64) -> io::Result<()> {
    let evil = site.join(format!("{}{number}.pth", own.file_name().unwrap().display()));
    symlink(own.join("payload"), &evil)?;
    fs::remove_file(&evil)
}

fn denied_create(site: &Path, own: &Path, number: u64) -> io::Result<()> {
    File::create(site.join(format!("{}{number}.pth", own.file_name().unwrap().display()))).map(drop)
}

/// Lists a directory and opens an approved file in it, again and again: how long each took, sorted.
fn opens(site: &Path) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..OPENS)
        .map(|number| {
            let begin = Instant::now();
            let listed = fs::read_dir(site).and_then(|mut entries| entries.find_map(Result::err).map_or(Ok(()), Err));
            listed.unwrap_or_else(|error| panic!("listing number {number}: {error}"));
            fs::read(site.join("keep.pth")).unwrap_or_else(|error| panic!("open number {number}: {error}"));
            begin.elapsed()
        })
        .collect();
    took.sort();
    took
}

fn percentiles(took: &[Duration]) -> String {
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    format!("p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, max {:.1?}", at(50), at(90), at(99), at(100))
}

/// No listing and no open fails; how long they take is printed.
fn storm_delays_nobody_elsewhere(what: &str, attempt: Attempt) {
    let place = Place::new();
    let (system, users) = (&place.venvs[0].site, &place.venvs[1].site);
    chown(users, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut guard = Config::new(&place).start();
    let before = opens(system);
    let (stop, attempts) = (AtomicBool::new(false), AtomicU64::new(0));
    let beside = thread::scope(|scope| {
        let _stopper = Stopper(&stop);
        for number in 0..STORMERS {
            let own = place.outside.join(format!("attacker{number}"));
            fs::create_dir(&own).unwrap();
            chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
            let (stop, attempts) = (&stop, &attempts);
            scope.spawn(move || {
                sys::become_user(NOBODY).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let number = attempts.fetch_add(1, Ordering::Relaxed);
                    let _ = attempt(users, &own, number); // the guard undoes things in between
                }
            });
        }
        wait_for("a storm", SOON, || (attempts.load(Ordering::Relaxed) > 100).then_some(()));
        opens(system)
    });
    let attempts = attempts.load(Ordering::Relaxed);
    println!("{what}: alone {}; beside {attempts} attempts {}", percentiles(&before), percentiles(&beside));
    guard.assert_alive();
}

#[test]
fn a_storm_of_renames() {
    storm_delays_nobody_elsewhere("renames", rename_in_and_out);
}

#[test]
fn a_storm_of_hard_links() {
    storm_delays_nobody_elsewhere("hard links", link_and_unlink);
}

#[test]
fn a_storm_of_symbolic_links() {
    storm_delays_nobody_elsewhere("symbolic links", symlink_and_unlink);
}

#[test]
fn a_storm_of_denied_creations() {
    storm_delays_nobody_elsewhere("denied creations", denied_create);
}
