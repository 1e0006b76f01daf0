//! A guard that takes over from one that has ended: nobody slips through in between, nobody is lost, nobody hangs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, SOON, field, records_in};
use crate::keeper::Keeper;
use crate::late::on_overlay;
use crate::life::Openers;
use crate::site::{Place, Stopper, wait_for};

/// Everything that is kept of a guard: three groups for each of three lanes, two of discovery, the ledger, the list.
const KEPT: usize = 13;

struct Stage {
    keeper: Keeper,
    place: Place,
    config: Config,
}

impl Stage {
    fn new(change: impl FnOnce(Config) -> Config) -> Stage {
        Stage::at(Place::new(), change)
    }

    fn at(place: Place, change: impl FnOnce(Config) -> Config) -> Stage {
        let config = change(Config::new(&place));
        let mut keeper = Keeper::new(&config);
        keeper.start(config.command());
        assert_eq!(keeper.kept.len(), KEPT);
        Stage { place, config, keeper }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.venvs[0].site.join(name)
    }

    /// Stop the guard in the middle, with these waiting for its answer.
    fn with_waiting(&self, count: usize, file: &Path) -> Openers {
        crate::sys::PidFd::open(self.keeper.pid()).unwrap().signal(libc::SIGSTOP);
        wait_for("all threads of the guard are stopped", SOON, || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.keeper.pid())).unwrap().flatten();
            let stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
            tasks.into_iter().all(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(stopped)).then_some(())
        });
        let openers = Openers::start(count, file);
        openers.wait_until_blocked();
        openers
    }

    fn says(&self, action: &str) -> bool {
        records_in(&self.config.events()).iter().any(|record| field(record, "event.action") == action)
    }
}

fn is_denied<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

/// Who waited when the guard was killed is judged by the next one, as if nothing had been.
#[test]
fn those_who_waited_when_it_was_killed_are_judged_by_the_next() {
    let mut stage = Stage::new(|config| config);
    let approved = stage.with_waiting(8, &stage.file("keep.pth"));
    let planted = stage.file("evil.pth");
    let writers: Vec<_> =
        (0..4).map(|_| planted.clone()).map(|path| thread::spawn(move || fs::write(path, "x"))).collect();
    stage.keeper.end(libc::SIGKILL);
    // Nobody guards, and nobody goes on.
    let (victim, site) = (stage.file("victim.pth"), stage.place.venvs[0].site.clone());
    thread::scope(|scope| {
        let late = scope.spawn(|| fs::read(victim));
        let listed = scope.spawn(|| fs::read_dir(site).map(Iterator::count));
        stage.keeper.start(stage.config.command());
        assert!(late.join().unwrap().is_ok());
        assert!(listed.join().unwrap().is_ok());
    });
    let results = approved.finish(SOON);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    for writer in writers {
        assert!(is_denied(&writer.join().unwrap()));
    }
    assert!(!planted.exists(), "what was denied is left behind");
    let start = stage.place.start(&stage.place.venvs[0]);
    assert!(start.keep && start.victim && start.clean && !start.canary, "{start:?}");
    wait_for("a record of the takeover", SOON, || stage.says("takeover").then_some(()));
}

/// An event that had been read and not answered: nobody but who knows its number can answer it.
#[test]
fn an_event_that_was_read_and_not_answered() {
    let place = Place::new();
    let script = place.path().join("writer.py");
    let subject = format!("exe = [{:?}]\nscript = [{script:?}]\nowner = \"any\"", place.venvs[0].interpreter.exe);
    let config = Config::new(&place).budget_ms(9_000).allow("writer", &subject);
    let mut keeper = Keeper::new(&config);
    keeper.start(config.command());
    let (file, go_on) = (place.venvs[0].site.join("new.pth"), place.path().join("go-on"));
    let text = format!(
        "import os, time\nfile = open({file:?}, 'w')\nfile.write('# nothing\\n')\nfile.flush()\nopen({ready:?}, 'w').close()\n\
         while not os.path.exists({go_on:?}):\n    time.sleep(0.01)\nfile.close()\n",
        ready = place.path().join("ready"),
    );
    fs::write(&script, text).unwrap();
    let mut writer = std::process::Command::new(&place.venvs[0].interpreter.exe);
    let mut writer = writer.arg(&script).env_remove("LD_LIBRARY_PATH").spawn().unwrap();
    wait_for("the permitted writer has the file open", SOON, || place.path().join("ready").exists().then_some(()));
    // Whoever reads it waits for the end of the writing: read by the guard, and parked.
    let readers = Openers::start(4, &file);
    readers.wait_until_blocked();
    wait_for("the guard has read them", SOON, || {
        fs::read_dir(format!("/proc/{}/fd", keeper.pid()))
            .unwrap()
            .flatten()
            .filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file))
            .nth(3)
            .map(drop)
    });
    keeper.end(libc::SIGKILL);
    fs::write(&go_on, "").unwrap();
    assert!(writer.wait().unwrap().success());
    keeper.start(config.command());
    let results = readers.finish(SOON);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let took_over = wait_for("a record of the takeover", SOON, || {
        let records = records_in(&config.events());
        let record = records.iter().find(|record| field(record, "event.action") == "takeover")?;
        Some(field(record, "pthguard.message").to_owned())
    });
    assert!(took_over.contains("4 had been read"), "{took_over}");
}

#[test]
fn killed_again_and_again_beside_attackers() {
    ended_again_and_again(libc::SIGKILL, Stage::new(with_time));
}

/// What is read while the guard stops is answered, too: by itself, or by the next one.
#[test]
fn stopped_again_and_again_beside_attackers() {
    ended_again_and_again(libc::SIGTERM, Stage::new(with_time));
}

/// Where the layer is guarded, too, the kernel asks about its file while it hands over the event of the one above: whoever
/// answers that must not be the first to stop.
#[test]
fn stopped_again_and_again_on_overlayfs() {
    on_overlay(|merged| {
        let place = Place::within(merged);
        let upper = merged.with_file_name("upper");
        let below = |site: &PathBuf| upper.join(site.strip_prefix(merged).unwrap());
        let sites = place.sites().iter().flat_map(|site| [site.clone(), below(site)]).collect();
        ended_again_and_again(libc::SIGTERM, Stage::at(place, |config| with_time(config).sites(sites)));
    })
    .unwrap();
}

fn with_time(config: Config) -> Config {
    config.limit(Duration::from_secs(600))
}

/// With honest openers beside the attackers: no start runs what is planted, and no open is lost.
fn ended_again_and_again(signal: i32, mut stage: Stage) {
    let kills = std::env::var("PTHGUARD_KILLS").map_or(10, |text| text.parse().expect("PTHGUARD_KILLS is a number"));
    let (stop, lost, opened) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let (longest, errors) = (Mutex::new(Duration::ZERO), Mutex::new(Vec::new()));
    let (keep, evil) = (stage.file("keep.pth"), stage.file("evil.pth"));
    let payload = stage.place.payload();
    let mut restarts = Vec::new();
    thread::scope(|scope| {
        let _stopper = Stopper(&stop);
        for number in 0..2 {
            let (source, evil, stop, payload) =
                (stage.place.outside.join(format!("{number}.txt")), &evil, &stop, &payload);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let _ = fs::write(&source, payload);
                    let _ = if number == 0 { fs::rename(&source, evil) } else { fs::hard_link(&source, evil) };
                }
            });
        }
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let begin = Instant::now();
                    if let Err(error) = fs::read(&keep) {
                        lost.fetch_add(1, Ordering::SeqCst);
                        errors.lock().unwrap().push(error.to_string());
                    }
                    opened.fetch_add(1, Ordering::SeqCst);
                    let mut longest = longest.lock().unwrap();
                    *longest = longest.max(begin.elapsed());
                }
            });
        }
        let (place, stop) = (&stage.place, &stop);
        let starter = scope.spawn(move || {
            let mut canaries = 0;
            while !stop.load(Ordering::SeqCst) {
                canaries += u32::from(place.start(&place.venvs[0]).canary);
            }
            canaries
        });
        for _ in 0..kills {
            let before = opened.load(Ordering::SeqCst);
            wait_for("openers go on", SOON, || (opened.load(Ordering::SeqCst) > before + 50).then_some(()));
            let begin = Instant::now();
            stage.keeper.end(signal);
            stage.keeper.start(stage.config.command());
            restarts.push(begin.elapsed());
        }
        stop.store(true, Ordering::SeqCst);
        assert_eq!(starter.join().unwrap(), 0, "the planted line ran");
    });
    let (lost, opened, longest) = (lost.into_inner(), opened.into_inner(), *longest.lock().unwrap());
    let restart = restarts.iter().max().copied().unwrap_or_default();
    println!(
        "{kills} ends by signal {signal}: {lost} of {opened} opens lost, the longest took {longest:?}, the longest restart {restart:?}"
    );
    let records = records_in(&stage.config.events());
    let of = |action| records.iter().filter(move |record| field(record, "event.action") == action);
    let unjudged = of("takeover").filter(|record| !field(record, "pthguard.message").contains("; 0 could only"));
    let denied = of("read").filter(|record| field(record, "file.name") == "keep.pth");
    assert_eq!(
        lost,
        0,
        "of {opened}: {:?}, {:?}",
        errors.lock().unwrap(),
        unjudged.chain(denied).map(|record| field(record, "pthguard.message")).collect::<Vec<_>>()
    );
    assert!(longest < restart + Duration::from_secs(1), "an open took {longest:?}, a restart {restart:?}");
}

/// Who takes over and cannot start gives everything up.
#[test]
fn a_guard_that_cannot_start_lets_everybody_go() {
    let mut stage = Stage::new(|config| config);
    let openers = stage.with_waiting(4, &stage.file("keep.pth"));
    stage.keeper.end(libc::SIGKILL);
    let policy = stage.config.write();
    fs::write(&policy, "mode = \"enforced\"\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pthguard"));
    command.arg("run").arg("--config").arg(&policy);
    stage.keeper.begin(command);
    assert_eq!(stage.keeper.wait_for_end().code(), Some(2));
    assert!(stage.keeper.kept.is_empty(), "{:?}", stage.keeper.kept);
    assert!(openers.finish(SOON).iter().all(Result::is_ok));
    assert!(fs::write(stage.file("free.pth"), "x").is_ok(), "nobody guards any more");
}

/// A guard that is stopped to be started again (an upgrade): its manager keeps the groups, and nothing opens in between.
#[test]
fn stopped_and_started_again() {
    let mut stage = Stage::new(|config| config);
    assert_eq!(stage.keeper.end(libc::SIGTERM).code(), Some(0));
    assert_eq!(stage.keeper.kept.len(), KEPT);
    let planted = stage.file("evil.pth");
    let writer = thread::spawn(move || fs::write(planted, "x"));
    let honest = Openers::start(4, &stage.file("keep.pth"));
    honest.wait_until_blocked();
    stage.keeper.start(stage.config.command());
    assert!(is_denied(&writer.join().unwrap()));
    assert!(honest.finish(SOON).iter().all(Result::is_ok));
    // And for good: its manager lets go.
    assert_eq!(stage.keeper.end(libc::SIGTERM).code(), Some(0));
    let openers = Openers::start(4, &stage.file("keep.pth"));
    openers.wait_until_blocked();
    stage.keeper.kept.clear();
    assert!(openers.finish(SOON).iter().all(Result::is_ok));
    assert!(stage.says("stop"));
}

/// What an earlier release has left, or something that is no group at all, does not stop a guard from starting.
#[test]
fn what_is_not_understood_is_not_taken_over() {
    let place = Place::new();
    let config = Config::new(&place);
    let mut keeper = Keeper::new(&config);
    let nothing = || fs::File::open("/dev/null").unwrap().into();
    keeper.kept.push(("pthguard-gate-usr".to_owned(), nothing()));
    keeper.kept.push(("pthguard-ledger".to_owned(), nothing()));
    keeper.kept.push(("pthguard-of-the-future".to_owned(), nothing()));
    keeper.start(config.command());
    assert_eq!(keeper.kept.len(), KEPT + 1, "what was not understood is not kept beside what takes its place");
    assert!(is_denied(&fs::write(place.venvs[0].site.join("evil.pth"), "x")));
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.clean, "{start:?}");
}
