//! Attackers that wait for the moment: they watch site directories with inotify, have everything prepared, and act once in
//! each, when an interpreter has opened it, reads it, or has just finished reading it.
//!
//! A loop tries blindly, a hundred thousand times a second, and is seen doing it. An ambush is a single system call at the
//! moment that counts, in a directory in which nothing has happened before. So each of many directories is read once by
//! an interpreter and struck once.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{self, CUT};
use crate::attacker::{Attacker, gone};
use crate::calls::{self, Inotify};
use crate::directories;
use crate::harness::Config;
use crate::seed::Dice;
use crate::sighting::{Forker, Sightings};
use crate::site::{Place, Stopper};
use crate::sys;
use crate::table::Tally;
use crate::unseen;

/// What is done to a directory at that moment.
pub(crate) struct Ambush {
    pub(crate) name: &'static str,
    /// Whether it may never be executed.
    pub(crate) promised: bool,
    /// Whether each guarded directory is a mount of its own that follows no symbolic link (`nosymfollow`, Linux 5.10).
    mounted: bool,
    moment: u32,
    /// Everything that can be done before; what is then put over, or exchanged with, `victim.pth`.
    prepare: fn(&mut Attacker) -> io::Result<PathBuf>,
    strike: fn(&mut Attacker, &Path) -> io::Result<()>,
}

const OPENED: u32 = libc::IN_OPEN;
const READ: u32 = libc::IN_ACCESS;
const LISTED: u32 = libc::IN_CLOSE_NOWRITE;

pub(crate) const ALL: &[Ambush] = &[
    Ambush {
        name: "file renamed over, when listed",
        promised: true,
        mounted: false,
        moment: LISTED,
        prepare: file,
        strike: over,
    },
    Ambush {
        name: "file exchanged, when listed",
        promised: true,
        mounted: false,
        moment: LISTED,
        prepare: file,
        strike: exchanged,
    },
    Ambush {
        name: "symlink renamed over, when opened",
        promised: false,
        mounted: false,
        moment: OPENED,
        prepare: link,
        strike: over,
    },
    Ambush {
        name: "symlink renamed over, while read",
        promised: false,
        mounted: false,
        moment: READ,
        prepare: link,
        strike: over,
    },
    Ambush {
        name: "symlink renamed over, when listed",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: link,
        strike: over,
    },
    Ambush {
        name: "symlink to the same file system",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: link_near,
        strike: over,
    },
    Ambush {
        name: "symlink in a mount that follows none",
        promised: true,
        mounted: true,
        moment: LISTED,
        prepare: link_within,
        strike: over,
    },
    Ambush {
        name: "chain of symlinks, when listed",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: chain,
        strike: over,
    },
    Ambush {
        name: "symlink to memory, when listed",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: memory,
        strike: over,
    },
    Ambush {
        name: "symlink for a directory x.pth",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: link_for_directory,
        strike: |a, link| sys::exchange(link, &a.evil()),
    },
    Ambush {
        name: "FIFO renamed over, when listed",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: fifo,
        strike: |a, fifo| {
            over(a, fifo)?;
            hold();
            a.kept.clear(); // the reader comes to the end
            Ok(())
        },
    },
    Ambush {
        name: "truncate(2), when listed",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: |a| Ok(a.victim()),
        strike: |a, _| {
            a.pause();
            sys::truncate(&a.victim(), CUT)
        },
    },
    Ambush {
        name: "site directory exchanged, when listed",
        promised: false,
        mounted: false,
        moment: LISTED,
        prepare: directory,
        strike: |a, decoy| sys::exchange(decoy, &a.venv.site),
    },
];

/// Directories that are struck in one run.
const MOST_SITES: u64 = 400;
/// Beyond this an interpreter is stuck, or a guard is.
const LIMIT: Duration = Duration::from_secs(120);

fn over(a: &mut Attacker, weapon: &Path) -> io::Result<()> {
    fs::rename(weapon, a.victim())
}

fn exchanged(a: &mut Attacker, weapon: &Path) -> io::Result<()> {
    sys::exchange(weapon, &a.victim())
}

fn file(a: &mut Attacker) -> io::Result<PathBuf> {
    a.fresh(&a.payload)
}

fn link_to(a: &Attacker, target: &Path) -> io::Result<PathBuf> {
    let link = a.scratch.join("link");
    symlink(target, &link)?;
    Ok(link)
}

fn link(a: &mut Attacker) -> io::Result<PathBuf> {
    link_to(a, &a.elsewhere.join("payload"))
}

/// Nothing can be renamed into another mount, so it lies there already, under a name that means nothing.
fn link_within(a: &mut Attacker) -> io::Result<PathBuf> {
    let link = a.venv.site.join("link");
    symlink(a.elsewhere.join("payload"), &link)?;
    Ok(link)
}

fn link_near(a: &mut Attacker) -> io::Result<PathBuf> {
    link_to(a, &a.scratch.join("payload"))
}

fn chain(a: &mut Attacker) -> io::Result<PathBuf> {
    let mut end = a.elsewhere.join("payload");
    for step in 0..8 {
        let next = a.elsewhere.join(format!("step{step}"));
        gone(&next)?;
        symlink(&end, &next)?;
        end = next;
    }
    link_to(a, &end)
}

fn memory(a: &mut Attacker) -> io::Result<PathBuf> {
    let memory = calls::memory_file(&a.payload)?;
    let target = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    a.kept = vec![OwnedFd::from(memory)];
    link_to(a, Path::new(&target))
}

/// A directory of a startup name is no startup file, so it may be there; then it is a link. Nothing approved is needed.
fn link_for_directory(a: &mut Attacker) -> io::Result<PathBuf> {
    fs::create_dir(a.evil())?;
    link(a)
}

/// A FIFO with the payload in it, which its author keeps open.
fn fifo(a: &mut Attacker) -> io::Result<PathBuf> {
    let path = a.scratch.join("fifo");
    a.kept = vec![OwnedFd::from(unseen::fifo(&path, &a.payload)?)];
    Ok(path)
}

fn directory(a: &mut Attacker) -> io::Result<PathBuf> {
    let decoy = a.scratch.join("decoy");
    directories::make(a, &decoy)?;
    Ok(decoy)
}

/// How long an interpreter gets to open what it was given.
fn hold() {
    let until = Instant::now() + Duration::from_millis(2);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Who else runs where the attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Whoever the scheduler chooses.
    Ordinary,
    /// Nobody: what an attacker can have who is root.
    Root,
}

/// Strike each directory once.
fn lie_in_wait(ambush: &Ambush, haste: Haste, attackers: &mut [Attacker], stop: &AtomicBool) -> io::Result<u64> {
    let mut watch = Inotify::new()?;
    let mut prepared = Vec::new();
    for (number, attacker) in attackers.iter_mut().enumerate() {
        prepared.push(Some((ambush.prepare)(attacker)?));
        let id = watch.add(&attacker.venv.site, ambush.moment | libc::IN_ONLYDIR)?;
        assert_eq!(usize::try_from(id), Ok(number + 1), "watches are numbered from 1 on");
    }
    if haste == Haste::Root {
        calls::pin(1);
        calls::hurry();
    }
    let mut struck = 0;
    let begin = Instant::now();
    while !stop.load(Ordering::Relaxed) && begin.elapsed() < LIMIT {
        // Watched with the processor, not by sleeping.
        for id in watch.news() {
            let number = id - 1;
            let Some(weapon) = prepared[number].take() else { continue };
            struck += u64::from((ambush.strike)(&mut attackers[number], &weapon).is_ok());
        }
    }
    Ok(struck)
}

fn once(place: &Place, elsewhere: &Path, ambush: &Ambush, haste: Haste, seed: u64) -> Tally {
    let mut tally = Tally::default();
    let stop = AtomicBool::new(false);
    let mut attackers: Vec<_> = (0..)
        .zip(&place.venvs)
        .map(|(number, venv)| {
            let (scratch, elsewhere) = (place.outside.join(number.to_string()), elsewhere.join(number.to_string()));
            Attacker::new(venv, scratch, elsewhere, Dice::new(seed, number))
        })
        .collect();
    let begin = Instant::now();
    thread::scope(|scope| {
        let stopper = Stopper(&stop);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let waiting = scope.spawn(|| {
            let ready = ready;
            ready.send(()).expect("somebody listens");
            lie_in_wait(ambush, haste, &mut attackers, &stop).expect("directories of the test's own")
        });
        is_ready.recv().expect("the attacker");
        let forker = Forker::new(&place.venvs, &place.outside);
        let wanted = place.venvs.len() as u64;
        forker.count_until(&tally.forks, || Sightings::get(&tally.forks.count) >= wanted);
        drop(stopper);
        tally.done = waiting.join().expect("the attacker");
    });
    tally.attempts = tally.done;
    tally.took = begin.elapsed();
    tally
}

/// `MS_NOSYMFOLLOW`, `include/uapi/linux/mount.h`.
const NOSYMFOLLOW: u64 = 256;

/// `mount --bind SITE SITE; mount -o remount,bind,nosymfollow SITE`
fn follow_no_links(site: &Path) -> io::Result<()> {
    sys::mount(Some(site), site, None, libc::MS_BIND, "")?;
    sys::mount(None, site, None, libc::MS_REMOUNT | libc::MS_BIND | NOSYMFOLLOW, "")
}

/// One ambush, without a guard and with one.
pub(crate) fn compare(
    here: &Path,
    elsewhere: &Path,
    ambush: &Ambush,
    haste: Haste,
    seed: u64,
    starts: u64,
) -> (Tally, Tally) {
    let sites = starts.min(MOST_SITES) as usize;
    let place = arena::many(here, sites);
    let without = once(&place, elsewhere, ambush, haste, seed);
    drop(place);
    let place = arena::many(here, sites);
    if ambush.mounted {
        place.sites().iter().for_each(|site| follow_no_links(site).expect("a mount in a private namespace"));
    }
    let mut guard = Config::new(&place).limit(2 * LIMIT).start();
    let with = once(&place, elsewhere, ambush, haste, seed);
    guard.assert_alive();
    (without, with)
}
