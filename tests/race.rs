//! Attackers in a tight loop against interpreters in a loop: no start may ever run the planted line.
//!
//! What a name means changes between the moment an interpreter opens it and the moment a guard looks: whoever judges
//! the name loses. Each loop first runs without a guard, where some starts have to run the line (else the loop tests
//! nothing), then with one, where none may. A binary of its own, so that nothing else runs beside it.
//!
//! `PTHGUARD_RACE_STARTS=1000` is the long form: that many starts in all, with the guard; `PTHGUARD_RACE_ONLY=exchange`
//! gives them all to the loops whose name contains that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the numbers are the result")]
#![allow(dead_code, reason = "the modules are shared with the other privileged tests")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Config, SOON};
use site::{Place, Stopper, Venv};

#[path = "guard/harness.rs"]
mod harness;
#[path = "guard/site.rs"]
mod site;
#[path = "guard/sys.rs"]
mod sys;

/// Starts with the guard, over all loops, in an ordinary `cargo test`.
const STARTS: u64 = 150;

/// One attacker's loop body.
struct Loop {
    name: &'static str,
    /// `false`: the kernel raises no permission event for it, or not in time (`docs/threat-model.md`). The number is
    /// shown, and nothing is demanded of it.
    promised: bool,
    /// Whether `victim.pth` has to be what it was once the loop has ended.
    restored: bool,
    attempt: fn(&Attacker) -> io::Result<()>,
}

const LOOPS: &[Loop] = &[
    Loop { name: "rename in", promised: true, restored: true, attempt: rename_in },
    Loop { name: "rename in, rename away", promised: true, restored: true, attempt: rename_in_and_away },
    Loop { name: "hard link in, unlink", promised: true, restored: true, attempt: link_in_and_unlink },
    Loop { name: "rename within the directory", promised: true, restored: true, attempt: rename_within },
    Loop { name: "exchange with an approved file", promised: true, restored: true, attempt: exchange },
    Loop { name: "rename over an approved file", promised: true, restored: true, attempt: rename_over },
    Loop { name: "O_TMPFILE, link, unlink", promised: true, restored: true, attempt: tmpfile_link },
    Loop { name: "approved bytes in, then written", promised: true, restored: false, attempt: approved_then_written },
    Loop { name: "exchange from ever new directories", promised: false, restored: true, attempt: exchange_from_anew },
    Loop { name: "symlink in, unlink", promised: false, restored: true, attempt: symlink_in_and_unlink },
    Loop {
        name: "symlink exchanged with an approved file",
        promised: false,
        restored: false,
        attempt: symlink_exchange,
    },
];

struct Attacker<'a> {
    site: &'a Path,
    /// A directory of this attacker's own on the same file system.
    scratch: PathBuf,
    payload: &'a [u8],
    approved: &'a [u8],
}

impl Attacker<'_> {
    /// A new file with the payload: a new inode each time, so that none is known from the last attempt.
    fn fresh(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.scratch.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::write(&path, self.payload)?;
        Ok(path)
    }

    fn evil(&self) -> PathBuf {
        self.site.join("evil.pth")
    }

    fn victim(&self) -> PathBuf {
        self.site.join("victim.pth")
    }
}

fn rename_in(a: &Attacker) -> io::Result<()> {
    fs::rename(a.fresh("fresh")?, a.evil())
}

fn rename_in_and_away(a: &Attacker) -> io::Result<()> {
    fs::rename(a.fresh("fresh")?, a.evil())?;
    fs::rename(a.evil(), a.scratch.join("away"))
}

fn link_in_and_unlink(a: &Attacker) -> io::Result<()> {
    fs::hard_link(a.fresh("fresh")?, a.evil())?;
    fs::remove_file(a.evil())
}

fn rename_within(a: &Attacker) -> io::Result<()> {
    let harmless = a.site.join("evil.txt");
    if !harmless.exists() {
        fs::rename(a.fresh("fresh")?, &harmless)?;
    }
    fs::rename(&harmless, a.evil())?;
    fs::rename(a.evil(), &harmless)
}

fn exchange(a: &Attacker) -> io::Result<()> {
    let fresh = a.fresh("fresh")?;
    sys::exchange(&fresh, &a.victim())?;
    sys::exchange(&fresh, &a.victim())
}

/// An opener that looks the name up and is overtaken by the exchange back raises an event only if the directory that the
/// payload went to is gated: here it never is.
fn exchange_from_anew(a: &Attacker) -> io::Result<()> {
    let dir = tempfile::tempdir_in(&a.scratch)?;
    let fresh = dir.path().join("fresh");
    fs::write(&fresh, a.payload)?;
    sys::exchange(&fresh, &a.victim())?;
    sys::exchange(&fresh, &a.victim())
}

fn rename_over(a: &Attacker) -> io::Result<()> {
    fs::rename(a.fresh("fresh")?, a.victim())
}

fn tmpfile_link(a: &Attacker) -> io::Result<()> {
    let fd = sys::open(a.site, libc::O_TMPFILE | libc::O_RDWR, 0o644)?;
    File::from(fd.try_clone()?).write_all(a.payload)?;
    sys::link_fd(&fd, &a.evil())?;
    fs::remove_file(a.evil())
}

/// The newcomer is what it should be when it comes, and something else a moment later.
fn approved_then_written(a: &Attacker) -> io::Result<()> {
    let fresh = a.fresh("fresh")?;
    fs::write(&fresh, a.approved)?;
    let file = File::from(sys::open(&fresh, libc::O_RDWR, 0)?);
    fs::rename(fresh, a.victim())?;
    std::os::unix::fs::FileExt::write_all_at(&file, a.payload, 0)?;
    file.set_len(a.payload.len() as u64)
}

fn symlink_in_and_unlink(a: &Attacker) -> io::Result<()> {
    symlink(a.scratch.join("payload"), a.evil())?;
    fs::remove_file(a.evil())
}

/// The interpreter has listed a name that was a regular file; when it opens it, it is a symbolic link, and opening its
/// target elsewhere raises no event.
fn symlink_exchange(a: &Attacker) -> io::Result<()> {
    let link = a.scratch.join("link");
    if link.symlink_metadata().is_ok_and(|meta| !meta.is_symlink()) {
        fs::remove_file(&link)?;
    }
    if link.symlink_metadata().is_err() {
        symlink(a.scratch.join("payload"), &link)?;
    }
    sys::exchange(&link, &a.victim())?;
    sys::exchange(&link, &a.victim())
}

/// What a loop beside some interpreter starts came to.
struct Tally {
    starts: u64,
    canaries: u64,
    attempts: u64,
    spoilt: u64,
    took: Duration,
}

/// Run interpreters, one after the other, beside two attackers; one per site directory or both on the only one.
fn race(place: &Place, one: &Loop, enough: impl Fn(&Tally) -> bool) -> Tally {
    let (stop, attempts) = (AtomicBool::new(false), AtomicU64::new(0));
    let (payload, approved) = (place.payload(), place.victim());
    let mut tally = Tally { starts: 0, canaries: 0, attempts: 0, spoilt: 0, took: Duration::ZERO };
    thread::scope(|scope| {
        for (number, venv) in place.venvs.iter().enumerate() {
            let scratch = place.outside.join(number.to_string());
            fs::create_dir_all(&scratch).unwrap();
            fs::write(scratch.join("payload"), &payload).unwrap();
            let attacker = Attacker { site: &venv.site, scratch, payload: &payload, approved: &approved };
            let (stop, attempts) = (&stop, &attempts);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // The guard undoes things in between: that an attempt fails is no surprise.
                    let _ = (one.attempt)(&attacker);
                    attempts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let stopper = Stopper(&stop);
        let begin = Instant::now();
        while !enough(&tally) {
            let venv: &Venv = &place.venvs[tally.starts as usize % place.venvs.len()];
            let start = place.start(venv);
            tally.starts += 1;
            tally.canaries += u64::from(start.canary);
            // `victim.pth` is what some loops fight over; `keep.pth` is nobody's business.
            tally.spoilt += u64::from(!start.keep || !start.clean);
        }
        tally.took = begin.elapsed();
        drop(stopper);
    });
    tally.attempts = attempts.load(Ordering::Relaxed);
    tally
}

/// The loop has ended: what it fought over comes back, and what it brought is gone.
fn settles(place: &Place, one: &Loop) -> Result<(), String> {
    let deadline = Instant::now() + SOON;
    for venv in &place.venvs {
        loop {
            let start = place.start(venv);
            if start.keep && !start.canary && (start.victim || !one.restored) {
                break;
            }
            if Instant::now() > deadline {
                let victim = venv.site.join("victim.pth");
                let (meta, read) =
                    (victim.symlink_metadata().map(|meta| (meta.file_type(), meta.len())), fs::read(victim));
                return Err(format!("{SOON:?} after the loop not all is as it was: {start:?}; {meta:?} {read:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn no_start_runs_what_a_loop_plants() {
    let wanted = std::env::var("PTHGUARD_RACE_STARTS").map_or(STARTS, |text| text.parse().expect("a number"));
    let each = wanted.div_ceil(LOOPS.iter().filter(|one| one.promised).count() as u64);
    println!(
        "{:<42}{:>18}{:>12}{:>9}{:>9}{:>12}{:>9}{:>9}",
        "attack", "without: starts", "canaries", "with:", "starts", "attempts", "canaries", "spoilt"
    );
    let mut failures = Vec::new();
    let (mut starts, mut attempts, mut canaries) = (0, 0, 0);
    let only = std::env::var("PTHGUARD_RACE_ONLY").unwrap_or_default();
    let each = if only.is_empty() { each } else { wanted };
    for one in LOOPS.iter().filter(|one| one.name.contains(&only)) {
        // Enough to show that the loop wins without a guard, and no longer.
        let place = Place::new();
        let without =
            race(&place, one, |tally| tally.canaries >= 2 || tally.starts >= if one.promised { 2000 } else { 100 });

        let place = Place::new();
        let mut guard = Config::new(&place).limit(Duration::from_secs(120 + each)).start();
        let enough = if one.promised || !only.is_empty() { each } else { each.div_ceil(4) };
        let with = race(&place, one, |tally| tally.starts >= enough);
        println!(
            "{:<42}{:>18}{:>12}{:>9}{:>9}{:>12}{:>9}{:>9}  {:.1?}{}",
            one.name,
            without.starts,
            without.canaries,
            "",
            with.starts,
            with.attempts,
            with.canaries,
            with.spoilt,
            with.took,
            if one.promised { "" } else { "  (not promised)" }
        );
        guard.assert_alive();
        if one.promised && without.canaries == 0 {
            failures.push(format!("{}: never ran without a guard, so the loop proves nothing", one.name));
        }
        if one.promised && with.canaries > 0 {
            failures.push(format!("{}: ran in {} of {} starts", one.name, with.canaries, with.starts));
        }
        if one.promised && with.spoilt > 0 {
            failures.push(format!("{}: keep.pth did not work in {} of {} starts", one.name, with.spoilt, with.starts));
        }
        if one.promised {
            (starts, attempts) = (starts + with.starts, attempts + with.attempts);
            canaries += with.canaries;
            if let Err(left) = settles(&place, one) {
                failures.push(format!("{}: {left}", one.name));
            }
        }
    }
    println!("{canaries} canaries in {starts} starts beside {attempts} attempts");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
