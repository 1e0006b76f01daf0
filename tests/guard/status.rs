//! What the running guard tells of itself: `pthguard status`, `pthguard metrics`, the file for the textfile collector.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::{Config, Guard, SOON, lookup};
use crate::site::{Done, Place, Stopper, run, wait_for};

const TEE: &str = "exe = [\"/usr/bin/tee\"]\nuid = \"any\"";
/// An ordinary user whom nothing else runs as.
const USER: u32 = 61_234;

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
    command.args(words).arg("--config").arg(place.path().join("pthguard.toml"));
    command
}

fn fine(done: Done) -> String {
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout, done.stderr);
    done.stdout
}

pub(crate) fn status(place: &Place) -> Value {
    serde_json::from_str(&fine(run(&mut command(place, &["status", "--json"])))).unwrap()
}

fn number(status: &Value, path: &str) -> u64 {
    lookup(status, path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {status:#}"))
}

/// A count in one of the lists: `count(status, "rules", "rule", "tee", "allow")`.
pub(crate) fn count(status: &Value, list: &str, key: &str, word: &str, counter: &str) -> u64 {
    let rows = status[list].as_array().unwrap_or_else(|| panic!("{list} in {status:#}"));
    let row = rows.iter().find(|row| row[key] == word).unwrap_or_else(|| panic!("{word} in {list} of {status:#}"));
    row[counter].as_u64().unwrap()
}

fn write_as_tee(file: &Path, content: &[u8]) {
    let mut tee = Command::new("/usr/bin/tee").arg(file).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    tee.stdin.take().unwrap().write_all(content).unwrap();
    assert!(tee.wait().unwrap().success(), "tee {file:?}");
}

fn guard(place: &Place) -> Guard {
    Config::new(place).allow_content("tee", TEE, "[\"empty\", \"paths\"]").start()
}

#[test]
fn counts_go_up_by_what_happens() {
    let place = Place::new();
    let guard = guard(&place);
    let site = &place.venvs[0].site;
    let before = status(&place);
    assert_eq!((number(&before, "version"), number(&before, "pid")), (1, u64::from(guard.pid())));
    assert_eq!(
        (&before["mode"], &before["rename_gate"], &before["discovery"]),
        (&"enforce".into(), &"off".into(), &"off".into())
    );
    assert_eq!(before["policy_generation"].as_str().unwrap().len(), 12);
    assert_eq!(number(&before, "directories.sites"), place.venvs.len() as u64);
    let lanes: u64 =
        ["system", "users", "layered"].map(|lane| number(&before, &format!("directories.{lane}"))).iter().sum();
    let roles: u64 =
        ["sites", "inside", "targets"].map(|role| number(&before, &format!("directories.{role}"))).iter().sum();
    assert_eq!(lanes, roles, "{before:#}");
    assert_eq!(number(&before, "held"), 0);

    // A write by nobody whom the policy names.
    let error = fs::write(site.join("planted.pth"), place.payload()).expect_err("denied");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    // An approved read.
    assert_eq!(fs::read(site.join("keep.pth")).unwrap(), place.keep());
    // A file beyond its writer's rule.
    write_as_tee(&site.join("held.pth"), &place.payload());
    guard.wait_record("deny", &["held"], Some("held.pth"));
    let after = status(&place);
    let more =
        |list, key, word, counter| count(&after, list, key, word, counter) - count(&before, list, key, word, counter);
    assert_eq!((more("verdicts", "access", "write", "deny"), more("verdicts", "access", "write", "allow")), (1, 1));
    assert!(more("verdicts", "access", "read", "allow") >= 1, "{after:#}");
    assert_eq!((more("rules", "rule", "tee", "allow"), more("rules", "rule", "tee", "deny")), (1, 0));
    assert_eq!((more("reasons", "reason", "no-rule", "deny"), more("reasons", "reason", "rule", "allow")), (1, 1));
    assert!(more("reasons", "reason", "approved", "allow") >= 1, "{after:#}");
    assert_eq!(number(&after, "held"), 1);
    assert!(number(&after, "tracked_files") > number(&before, "tracked_files"), "{after:#}");
    for failed in after["failures"].as_array().unwrap() {
        assert_eq!(failed["count"], 0, "{failed}");
    }
    assert_eq!((&after["threads"]["well"], number(&after, "records.dropped")), (&true.into(), 0), "{after:#}");

    // Each event once: three opens at least, and a maximum that is no less than what is below it.
    for latency in ["latency", "latency_last_minute"] {
        let [p50, p90, p99, max] =
            ["p50_ns", "p90_ns", "p99_ns", "max_ns"].map(|key| number(&after, &format!("{latency}.{key}")));
        assert!(0 < p50 && p50 <= p90 && p90 <= p99 && p99 <= max && max < 120_000_000_000, "{latency}: {after:#}");
    }
    let answered = |status| number(status, "latency.count");
    assert!(answered(&after) >= answered(&before) + 3, "{} {}", answered(&before), answered(&after));
    assert_eq!(number(&after, "latency.count"), number(&after, "latency_last_minute.count"));
}

#[test]
fn text_and_metrics_say_the_same() {
    let place = Place::new();
    let _guard = guard(&place);
    fs::write(place.venvs[0].site.join("planted.pth"), place.payload()).expect_err("denied");
    let text = fine(run(&mut command(&place, &["status"])));
    assert!(text.starts_with("mode          enforce\n"), "{text}");
    assert!(text.contains("threads       well\n") && text.contains("no-rule"), "{text}");
    let metrics = fine(run(&mut command(&place, &["metrics"])));
    let status = status(&place);
    let denied = count(&status, "verdicts", "access", "write", "deny");
    for line in [
        format!("pthguard_decisions_total{{access=\"write\",outcome=\"deny\"}} {denied}"),
        format!("pthguard_policy_info{{generation=\"{}\"}} 1", status["policy_generation"].as_str().unwrap()),
        format!("pthguard_tracked_files {}", number(&status, "tracked_files")),
        "pthguard_mode{mode=\"enforce\"} 1".to_owned(),
        "pthguard_rule_decisions_total{rule=\"tee\",outcome=\"allow\"} 0".to_owned(),
        "pthguard_threads_well 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|written| written == line), "{line}\n{metrics}");
    }
    lint("a running guard's metrics", &metrics);
}

/// Asks promtool, where it is at hand (`PTHGUARD_PROMTOOL`). The rules of naming are tested without it, too.
fn lint(what: &str, metrics: &str) {
    let Some(promtool) = std::env::var_os("PTHGUARD_PROMTOOL") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("blocked: promtool, which PTHGUARD_PROMTOOL names");
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success() && said.is_empty(), "{what}: {said}");
}

#[test]
fn nobody_is_asked_where_none_runs_and_only_root_asks() {
    let place = Place::new();
    let guard = guard(&place);
    let done = run(command(&place, &["status"]).uid(USER).gid(USER));
    assert_eq!(done.status.code(), Some(2), "{}{}", done.stdout, done.stderr);
    assert_eq!(done.stdout, "");
    assert!(guard.stop().0.success());
    for words in [&["status"][..], &["status", "--json"], &["metrics"]] {
        let done = run(&mut command(&place, words));
        assert_eq!((done.status.code(), done.stdout.as_str()), (Some(2), ""), "{}", done.stderr);
        assert!(done.stderr.contains("no guard runs"), "{}", done.stderr);
    }
}

/// Whoever reads the file finds a whole page, whatever moment he comes at.
#[test]
fn the_textfile_is_replaced_as_a_whole() {
    let place = Place::new();
    let directory = place.path().join("collector");
    fs::create_dir(&directory).unwrap();
    let file = directory.join("pthguard.prom");
    let guard = Config::new(&place).rules(&format!("[metrics]\ntextfile = {file:?}\ninterval = \"1s\"\n")).start();
    let first = wait_for("the file is there", SOON, || fs::metadata(&file).ok());
    assert_eq!((first.mode() & 0o7777, first.uid()), (0o644, 0));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut pages = 0;
            while !is_over.load(Ordering::SeqCst) {
                let page = fs::read_to_string(&file).expect("it is never gone");
                assert!(page.starts_with("# HELP pthguard_build_info ") && page.ends_with('\n'), "{page}");
                assert!(page.contains("\npthguard_kernel_info{"), "the last family: {page}");
                pages += 1;
            }
            pages
        });
        let stopper = Stopper(&is_over);
        wait_for("it is another file", SOON, || (fs::metadata(&file).ok()?.ino() != first.ino()).then_some(()));
        drop(stopper);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing beside it");
    lint("the textfile", &fs::read_to_string(&file).unwrap());

    // Where it cannot be written that is counted each time, told once, and nobody is worse off.
    fs::rename(&directory, place.path().join("elsewhere")).unwrap();
    wait_for("two failures", SOON, || (number(&status(&place), "textfile_errors") >= 2).then_some(()));
    let told = |record: &&Value| record.to_string().contains("metrics.textfile");
    assert_eq!(guard.records().iter().filter(told).count(), 1);
    fs::write(place.venvs[0].site.join("planted.pth"), place.payload()).expect_err("denied");
    fs::create_dir(&directory).unwrap();
    wait_for("it is written again", SOON, || fs::metadata(&file).ok());
    assert!(guard.stop().0.success());
    assert!(!file.exists(), "numbers that nobody keeps up");
}

#[test]
fn doctor_knows_the_guard() {
    let place = Place::new();
    let guard = guard(&place);
    let ask = || {
        let done = run(&mut command(&place, &["doctor", "--json"]));
        let document: Value = serde_json::from_str(&done.stdout).unwrap();
        let items = document["items"].as_array().unwrap();
        items.iter().find(|item| item["check"] == "guard").unwrap().clone()
    };
    let check = ask();
    assert_eq!(check["state"], "ok", "{check}");
    assert!(check["found"].as_str().unwrap().starts_with(&format!("process {}, mode enforce", guard.pid())), "{check}");
    // The files have changed since.
    let policy = place.path().join("pthguard.toml");
    fs::write(&policy, format!("{}# changed\n", fs::read_to_string(&policy).unwrap())).unwrap();
    let check = ask();
    assert!(check["state"] == "warn" && check["advice"].as_str().unwrap().contains("SIGHUP"), "{check}");
    assert!(guard.stop().0.success());
    let check = ask();
    assert!(check["state"] == "warn" && check["found"].as_str().unwrap().contains("none answers"), "{check}");
}
