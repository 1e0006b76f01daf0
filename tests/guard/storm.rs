//! Denied writers in a loop, as processes of their own: nobody else's approved reads are denied for them, and nothing of
//! theirs is left.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, SOON, field};
use crate::site::{Place, Stopper, wait_for};
use crate::sys;

/// A process that tries again and again until `stop` is there, and prints how often.
struct Storm(Child);

/// Opens an approved file for writing.
const WRITE: &str = "open(target, O_WRONLY)";
/// Creates files of ever new names.
const CREATE: &str = "open(f'{target}.{getpid()}.{n}.pth', O_WRONLY | O_CREAT | O_EXCL)";

impl Storm {
    fn start(place: &Place, attempt: &str, target: &Path, stop: &Path) -> Storm {
        let code = format!(
            "import sys\nfrom os import *\ntarget, stop = sys.argv[1:3]\nn = 0\nwhile not path.exists(stop):\n  \
             n += 1\n  try: {attempt}\n  except PermissionError: pass\n  else: sys.exit(1)\nprint(n)"
        );
        let mut python = Command::new(&place.venvs[0].python);
        python.args(["-I", "-S", "-c", &code]).arg(target).arg(stop).stdout(Stdio::piped());
        Storm(sys::die_with_parent(&mut python).spawn().unwrap())
    }

    fn attempts(self) -> u64 {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "an attempt got through");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p90 {:?}, p99 {:?}, most {:?}", at(50), at(90), at(99), at(100))
}

/// Reads an approved file for so long; how long each took, and how many failed.
fn read(file: &Path, long: Duration) -> (Vec<Duration>, usize) {
    let (start, mut times, mut failed) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < long {
        let begin = Instant::now();
        failed += usize::from(fs::read(file).is_err());
        times.push(begin.elapsed());
    }
    (times, failed)
}

#[test]
fn storms_of_denied_writers_and_creators_deny_no_reader() {
    const LONG: Duration = Duration::from_millis(700);
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let site = &place.venvs[0].site;
    let (keep, target) = (site.join("keep.pth"), site.join("storm"));
    let (calm, failed) = read(&keep, LONG);
    assert_eq!(failed, 0);
    println!("reads without a storm: {}", percentiles(calm));
    for (what, attempt, target) in [("writers", WRITE, &keep), ("creators", CREATE, &target)] {
        for processes in [1_u64, 4, 16] {
            let stop = place.outside.join(format!("stop-{what}-{processes}"));
            let storms: Vec<Storm> = (0..processes).map(|_| Storm::start(&place, attempt, target, &stop)).collect();
            let denied = |record: &serde_json::Value| field(record, "pthguard.verdict") == "deny";
            wait_for("the storm", SOON, || guard.records().iter().any(denied).then_some(()));
            let (times, failed) = read(&keep, LONG);
            fs::write(&stop, "").unwrap();
            let attempts: u64 = storms.into_iter().map(Storm::attempts).sum();
            let reads = times.len();
            println!("{processes} {what}, {attempts} attempts, beside {reads} reads: {}", percentiles(times));
            assert!(attempts > processes, "the storm was none");
            assert_eq!(failed, 0, "of {reads} reads, beside {processes} denied {what}");
        }
    }
    let is_left =
        || fs::read_dir(site).unwrap().flatten().any(|file| file.file_name().as_encoded_bytes().starts_with(b"storm"));
    wait_for("nothing is left of them", SOON, || (!is_left()).then_some(()));
    guard.assert_alive();
}

/// With next to no budget denials come from the thread that keeps the time, which must not touch the disk: the empty
/// files are removed afterwards. What a permitted writer makes meanwhile stays.
#[test]
fn what_denials_in_haste_leave_behind_is_removed() {
    const ROUNDS: usize = 200;
    let place = Place::new();
    let tee = "exe = [\"/usr/bin/tee\"]\nuid = \"any\"";
    let mut guard = Config::new(&place).budget_ms(1).allow("tee", tee).start();
    let (site, stop) = (&place.venvs[0].site, AtomicBool::new(false));
    let is_late = |record: &serde_json::Value| {
        field(record, "pthguard.reason") == "timeout" && field(record, "file.path").contains("/haste")
    };
    thread::scope(|scope| {
        let stopper = Stopper(&stop);
        for creator in 0..16 {
            let stop = &stop;
            scope.spawn(move || {
                for round in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let file = site.join(format!("haste-{creator}-{round}.pth"));
                    assert!(fs::write(file, "import os").is_err(), "a writer got through");
                }
            });
        }
        for _ in 0..ROUNDS {
            // As a reader that is late it must not take away what somebody else is making.
            let _ = fs::read(site.join("haste-0-0.pth"));
            if guard.records().iter().filter(|record| is_late(record)).count() >= 20 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        drop(stopper);
    });
    let late = guard.records().iter().filter(|record| is_late(record)).count();
    println!("{late} records of denials in haste");
    assert!(late > 0, "nobody was denied in haste");
    let left = || {
        let names = fs::read_dir(site).unwrap().flatten().map(|file| file.file_name());
        names.filter(|name| name.as_encoded_bytes().starts_with(b"haste")).collect::<Vec<_>>()
    };
    wait_for("none is left", SOON, || left().is_empty().then_some(()));
    guard.assert_alive();
}
