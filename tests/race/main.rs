//! Attackers in a tight loop against interpreters in a loop: no start may ever run the planted line.
//!
//! What a name means changes between the moment an interpreter opens it and the moment a guard looks: whoever judges
//! the name loses. Each loop first runs without a guard, where some starts have to run the line (else the loop tests
//! nothing), then with one, where none may. A binary of its own, so that nothing else runs beside it.
//!
//! `tests/README.md` names the variables that make it longer, or run it on other file systems.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the numbers are the result")]
#![allow(dead_code, reason = "the modules are shared with the other privileged tests")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ambush::Haste;
use arena::Fs;
use attacker::{Attacker, Kind};
use harness::{Config, SOON};
use seed::Dice;
use sighting::{Forker, Sightings};
use site::{Place, Stopper};
use table::Tally;

#[path = "../guard/harness.rs"]
mod harness;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;

mod ambush;
mod arena;
mod arrivals;
mod attacker;
mod calls;
mod directories;
mod late;
mod seed;
mod sighting;
mod storms;
mod table;
mod unlisted;
mod unseen;

/// Interpreters that are started beside each loop, with the guard, in an ordinary `cargo test`.
const STARTS: u64 = 8;
/// How often a loop has to win without a guard.
const WINS: u64 = 5;
/// Directories that are struck once each.
const STRIKES: u64 = 40;
/// How many attempts an attacker makes at once, and how long he rests after them, at the most. Both are chosen by their
/// magnitude, so that one attempt and a thousand are as likely. Who never rests has the listings of his own directory
/// refused, and the interpreters that he waits for with them.
const LONGEST_BURST: u64 = 1 << 10;
const LONGEST_REST_US: u64 = 1 << 15;
/// A loop that does not win within this many starts proves nothing.
const HOPELESS: u64 = 400;

/// How many starts are made for one that could list its directory and read what is approved, at the most. Where that is not
/// promised, one is one.
const PATIENCE: u64 = 10;

/// How long a run goes on.
struct Until {
    /// Starts that were not refused: one that may not list its directory reads nothing of the attacker's, and proves
    /// nothing.
    starts: u64,
    /// Starts in all.
    most: u64,
    executed: u64,
}

impl Until {
    fn is_reached(&self, tally: &Tally) -> bool {
        tally.starts.served() >= self.starts
            || Sightings::get(&tally.starts.count) >= self.most
            || tally.executed() >= self.executed
    }
}

/// One attacker on each environment; on each an interpreter that is started and one that forks, at the same time.
fn race(place: &Place, elsewhere: &Path, kind: &Kind, seed: u64, until: &Until) -> Tally {
    let (stop, attempts, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (starts, forks) = (Sightings::default(), Sightings::default());
    let mut tally = Tally { starts, forks, ..Tally::default() };
    let begin = Instant::now();
    thread::scope(|scope| {
        let stopper = Stopper(&stop);
        for (number, venv) in place.venvs.iter().enumerate() {
            let (scratch, elsewhere) = (place.outside.join(number.to_string()), elsewhere.join(number.to_string()));
            let mut attacker = Attacker::new(venv, scratch, elsewhere, Dice::new(seed, number as u64));
            let (stop, attempts, done) = (&stop, &attempts, &done);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let burst = attacker.dice.magnitude(LONGEST_BURST);
                    for _ in 0..burst {
                        // The guard undoes things in between: that an attempt fails is no surprise.
                        let is_done = (kind.attempt)(&mut attacker).is_ok();
                        attempts.fetch_add(1, Ordering::Relaxed);
                        done.fetch_add(u64::from(is_done), Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_micros(attacker.dice.magnitude(LONGEST_REST_US)));
                }
            });
        }
        for number in 0..place.venvs.len() {
            let (stop, tally) = (&stop, &tally);
            let forker = Forker::new(&place.venvs[number..=number], &place.outside);
            scope.spawn(move || forker.count_until(&tally.forks, || stop.load(Ordering::Relaxed)));
            scope.spawn(move || {
                sighting::start_in_a_loop(&place.venvs, &place.outside, number, stop, &tally.starts);
            });
        }
        while !until.is_reached(&tally) {
            thread::sleep(Duration::from_millis(5)); // polls a condition
        }
        drop(stopper);
    });
    tally.took = begin.elapsed();
    tally.attempts = attempts.load(Ordering::Relaxed);
    tally.done = done.load(Ordering::Relaxed);
    tally
}

/// A place in which the loop can begin.
fn prepared(here: &Path, elsewhere: &Path, kind: &Kind) -> Place {
    let place = arena::place(here);
    for (number, venv) in place.venvs.iter().enumerate() {
        let (scratch, elsewhere) = (place.outside.join(number.to_string()), elsewhere.join(number.to_string()));
        (kind.prepare)(&mut Attacker::new(venv, scratch, elsewhere, Dice::new(0, 0))).unwrap();
    }
    place
}

/// The loop has ended: what it fought over comes back, and what it brought is gone.
fn settles(place: &Place, kind: &Kind) -> Result<(), String> {
    let deadline = Instant::now() + SOON;
    for venv in &place.venvs {
        loop {
            let seen = sighting::start(venv, &place.outside);
            if seen.is_whole() || !kind.restored && seen.is_sound() {
                break;
            }
            if Instant::now() > deadline {
                let names: Vec<_> = std::fs::read_dir(&venv.site).unwrap().flatten().map(|e| e.file_name()).collect();
                return Err(format!("{SOON:?} after the loop not all is as it was: {seen:?} {names:?}"));
            }
        }
    }
    Ok(())
}

/// One loop, without a guard and with one; what is wrong with it.
fn compare(here: &Path, elsewhere: &Path, kind: &Kind, seed: u64, starts: u64) -> (Tally, Vec<String>) {
    let place = prepared(here, elsewhere, kind);
    let hopeless = if kind.promised { HOPELESS.max(starts) } else { starts };
    let most = if kind.promised { PATIENCE * starts } else { starts };
    let without = race(&place, elsewhere, kind, seed, &Until { starts: hopeless, most: hopeless, executed: WINS });
    drop(place);

    let place = prepared(here, elsewhere, kind);
    let mut guard = Config::new(&place).limit(Duration::from_secs(120 + starts)).start();
    let with = race(&place, elsewhere, kind, seed, &Until { starts, most, executed: u64::MAX });
    table::row(kind.name, kind.promised, &without, &with);
    guard.assert_alive();

    let mut wrong = Vec::new();
    let mut demand = |is_so: bool, what: String| {
        if !is_so {
            wrong.push(format!("{}: {what}", kind.name));
        }
    };
    if kind.promised {
        demand(
            without.executed() >= WINS,
            format!("ran {} times without a guard: it proves nothing", without.executed()),
        );
        demand(with.executed() == 0, format!("ran in {} starts", with.executed()));
        // In a storm some decisions come too late, and are denials; how many, the table says. How many are depends on what
        // the machine gives to whom: of a few starts it can be nearly all, so only the long form asks.
        let served = with.starts.served();
        demand(starts <= STARTS || served >= starts, format!("only {served} starts could read what is approved"));
        demand(with.broken() == 0, format!("{} starts ended with an error", with.broken()));
        let left = settles(&place, kind);
        demand(left.is_ok(), left.err().unwrap_or_default());
    }
    (with, wrong)
}

/// What one run of this binary is asked for.
struct Asked {
    fs: Fs,
    seed: u64,
    /// Starts beside each loop; none: an ordinary `cargo test`.
    starts: Option<u64>,
    only: String,
}

impl Asked {
    fn from_environment() -> Asked {
        let starts = std::env::var("PTHGUARD_RACE_STARTS").ok();
        let starts = starts.map(|text| text.parse().expect("PTHGUARD_RACE_STARTS is a number"));
        let only = std::env::var("PTHGUARD_RACE_ONLY").unwrap_or_default();
        Asked { fs: Fs::from_environment(), seed: seed::from_environment(), starts, only }
    }

    fn is_chosen(&self, name: &str, promised: bool, always: bool) -> bool {
        let is_asked_for = name.contains(&self.only) || promised && self.only == "promised";
        is_asked_for && (always || self.starts.is_some() || !self.only.is_empty())
    }

    fn starts(&self) -> u64 {
        self.starts.unwrap_or(STARTS)
    }
}

/// The tests of this binary run one after the other: they measure who is first.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn no_start_runs_what_a_loop_plants() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = Asked::from_environment();
    let begin = Instant::now();
    let failures = arena::with_file_systems(asked.fs, |here, elsewhere| {
        table::head(&format!("loops, {}, PTHGUARD_RACE_SEED={}", asked.fs.name(), asked.seed));
        let mut failures = Vec::new();
        let (mut attempts, mut executed, mut started) = (0, 0, 0);
        let all = [arrivals::KINDS, late::KINDS, directories::KINDS, unseen::KINDS].concat();
        for kind in
            all.iter().filter(|kind| asked.is_chosen(kind.name, kind.promised, kind.always) && (kind.on)(asked.fs))
        {
            let (with, wrong) = compare(here, elsewhere, kind, asked.seed, asked.starts());
            failures.extend(wrong);
            if kind.promised {
                attempts += with.attempts;
                executed += with.executed();
                started += Sightings::get(&with.starts.count) + Sightings::get(&with.forks.count);
            }
        }
        println!("{}", table::LEGEND);
        println!(
            "promised rows: {executed} executions in {started} starts and forks beside {attempts} attempts, {:.0?}",
            begin.elapsed()
        );
        failures
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_strike_at_the_right_moment() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = Asked::from_environment();
    let failures = arena::with_file_systems(asked.fs, |here, elsewhere| {
        table::head(&format!("ambushes, {}, PTHGUARD_RACE_SEED={}", asked.fs.name(), asked.seed));
        let mut failures = Vec::new();
        for ambush in ambush::ALL.iter().filter(|ambush| asked.is_chosen(ambush.name, ambush.promised, ambush.promised))
        {
            for (haste, who) in [(Haste::Ordinary, ""), (Haste::Root, ", before all others")] {
                let (without, with) =
                    ambush::compare(here, elsewhere, ambush, haste, asked.seed, asked.starts().max(STRIKES));
                table::row(&format!("{}{who}", ambush.name), ambush.promised, &without, &with);
                if ambush.promised && with.executed() > 0 {
                    failures.push(format!("{}: ran in {} starts", ambush.name, with.executed()));
                }
            }
        }
        failures
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_storm_in_a_users_directory_refuses_nobody_elsewhere() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = Asked::from_environment();
    // The long form with the budget that users have; an ordinary run, on a machine that does other things, with more.
    let (during, crowds, budget_ms) = match asked.starts {
        Some(_) => (Duration::from_secs(2), &[1, 2, 8][..], 50),
        None => (Duration::from_millis(100), &[8][..], 500),
    };
    let refused = arena::with_file_systems(asked.fs, |here, _| storms::all(here, during, crowds, budget_ms));
    // With the long form's budget a busy machine refuses some without any help: its figures are for reading.
    assert!(
        asked.starts.is_some() || refused == 0,
        "{refused} opens of approved files in root's directory were refused"
    );
}

#[test]
fn an_interpreter_that_may_not_list_its_directory_starts() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    arena::with_file_systems(Fs::Tmpfs, unlisted::every_interpreter_starts);
}
