//! What a storm in one directory does to those who open approved files in another: how long they wait, whether they are
//! refused, and how much memory the guard takes.

use std::fs;
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::arena;
use crate::attacker::{Attacker, gone};
use crate::harness::{Config, Guard};
use crate::seed::Dice;
use crate::site::{Place, Stopper, Venv};
use crate::sys;

/// What each thread of a storm does, in a name of its own.
type Gust = fn(&Attacker, &str) -> io::Result<()>;

const KINDS: &[(&str, Gust)] = &[
    ("rename", |a, name| {
        let (fresh, evil) = (a.scratch.join(name), a.venv.site.join(name));
        if !fresh.exists() {
            fs::write(&fresh, &a.payload)?;
        }
        fs::rename(&fresh, &evil)?;
        fs::rename(&evil, &fresh)
    }),
    ("symlink", |a, name| {
        let evil = a.venv.site.join(name);
        symlink(a.scratch.join("payload"), &evil)?;
        fs::remove_file(evil)
    }),
    ("mkdir", |a, name| {
        let evil = a.venv.site.join(name);
        fs::create_dir(&evil)?;
        fs::remove_dir(evil)
    }),
    ("link", |a, name| {
        let evil = a.venv.site.join(name);
        fs::hard_link(a.scratch.join("payload"), &evil)?;
        fs::remove_file(evil)
    }),
    ("denied writers", |a, name| {
        let evil = a.venv.site.join(name);
        let written = fs::write(&evil, &a.payload);
        gone(&evil)?;
        written
    }),
    ("ever new files", |a, name| {
        let (fresh, evil) = (a.scratch.join(name), a.venv.site.join(name));
        fs::write(&fresh, &a.payload)?;
        fs::rename(fresh, evil)
    }),
];

/// The user whose environment the storm is in, if not root's.
const USER: u32 = 1000;

/// How long approved opens took.
struct Waits {
    micros: Vec<u64>,
    refused: u64,
}

impl Waits {
    fn quantile(&self, share: f64) -> u64 {
        let last = self.micros.len().saturating_sub(1);
        self.micros.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    }

    /// Opens, one after the other, for a while.
    fn measure(file: &Path, during: Duration) -> Waits {
        let mut waits = Waits { micros: Vec::new(), refused: 0 };
        let begin = Instant::now();
        while begin.elapsed() < during {
            let before = Instant::now();
            let opened = fs::File::open(file);
            waits.micros.push(before.elapsed().as_micros() as u64);
            waits.refused += u64::from(opened.is_err());
        }
        waits.micros.sort_unstable();
        waits
    }
}

/// Resident memory of the guard, MiB.
fn memory(guard: &Guard) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", guard.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has it");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

/// These directories, and what is in the first of them, belong to the user. Before the guard starts.
fn give(place: &Place, scratch: &Path, user: u32) -> io::Result<()> {
    let venv = &place.venvs[1];
    for entry in fs::read_dir(&venv.site)?.flatten() {
        chown(entry.path(), Some(user), Some(user))?;
    }
    for above in venv.site.ancestors().take_while(|above| *above != place.path()) {
        chown(above, Some(user), Some(user))?;
    }
    chown(scratch.join("payload"), Some(user), Some(user))?;
    chown(scratch, Some(user), Some(user))
}

fn attackers<'a>(venv: &'a Venv, scratch: &Path, threads: usize) -> Vec<Attacker<'a>> {
    let attacker = |thread| Attacker::new(venv, scratch.to_owned(), scratch.join("elsewhere"), Dice::new(0, thread));
    (0..threads as u64).map(attacker).collect()
}

/// What opens elsewhere met in a storm.
struct Weather {
    approved: Waits,
    /// Of a file that nobody guards: what the processors alone make of it.
    unguarded: Waits,
    gusts: u64,
}

/// A storm in an environment, and opens in another one meanwhile.
fn storm(calm: &Path, control: &Path, owner: u32, attackers: &[Attacker], gust: Gust, during: Duration) -> Weather {
    let (stop, gusts) = (AtomicBool::new(false), AtomicU64::new(0));
    let (approved, unguarded) = thread::scope(|scope| {
        let stopper = Stopper(&stop);
        for (thread, attacker) in attackers.iter().enumerate() {
            let (stop, gusts) = (&stop, &gusts);
            scope.spawn(move || {
                sys::become_user(owner).expect("root may");
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // The guard undoes things in between.
                    let _ = gust(attacker, &format!("storm{thread}-{}.pth", number % 1000));
                    gusts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let waits = (Waits::measure(calm, during), Waits::measure(control, during));
        drop(stopper);
        waits
    });
    Weather { approved, unguarded, gusts: gusts.load(Ordering::Relaxed) }
}

/// Print a table of all storms, with these numbers of threads, in a directory of a user's and in one of root's.
/// `budget_ms` is what the guard has for a decision. Returns how many approved opens were refused while a *user's*
/// directory was stormed.
pub(crate) fn all(here: &Path, during: Duration, crowds: &[usize], budget_ms: u32) -> u64 {
    println!(
        "\nopens of an approved file in root's directory, and of an unguarded one, beside a storm in another; µs\n\
         {:<16}{:>8}{:>7}{:>10}{:>9}{:>8}{:>9}{:>9}{:>9}{:>18}{:>9}{:>12}",
        "storm", "threads", "owner", "gusts", "opens", "p50", "p99", "max", "refused", "unguarded: p99", "max", "MiB"
    );
    let mut refused = 0;
    for (name, gust) in KINDS {
        for owner in [USER, 0] {
            let place = arena::place(here);
            let scratch = place.outside.join("storm");
            let control = place.path().join("control");
            fs::write(&control, "").expect("a new directory");
            let threads = crowds.iter().max().copied().unwrap_or(0);
            let attackers = attackers(&place.venvs[1], &scratch, threads);
            give(&place, &scratch, owner).expect("root may");
            let mut guard = Config::new(&place).budget_ms(budget_ms).start();
            for threads in crowds {
                let before = memory(&guard);
                let calm = place.venvs[0].site.join("keep.pth");
                let weather = storm(&calm, &control, owner, &attackers[..*threads], *gust, during);
                let Weather { approved, unguarded, gusts } = weather;
                println!(
                    "{name:<16}{threads:>8}{owner:>7}{gusts:>10}{:>9}{:>8}{:>9}{:>9}{:>9}{:>18}{:>9}{before:>6} → {}",
                    approved.micros.len(),
                    approved.quantile(0.5),
                    approved.quantile(0.99),
                    approved.quantile(1.0),
                    approved.refused,
                    unguarded.quantile(0.99),
                    unguarded.quantile(1.0),
                    memory(&guard)
                );
                refused += if owner == USER { approved.refused } else { 0 };
            }
            guard.assert_alive();
        }
    }
    refused
}
