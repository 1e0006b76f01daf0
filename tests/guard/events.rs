//! `pthguard events`: the running daemon's records as they come, and what becomes of those who look on.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use pthguard::fanotify::wire::Response;
use serde_json::Value;

use crate::harness::{Config, SOON, field};
use crate::site::{Done, Place, run, wait_for};
use crate::stage::copy_program;
use crate::sys;

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
    command.arg("events").args(words).arg("--config").arg(place.path().join("pthguard.toml"));
    command
}

fn events(place: &Place, words: &[&str]) -> Done {
    run(&mut command(place, words))
}

/// Somebody who looks on.
struct Follower {
    child: Child,
    out: PathBuf,
    said: PathBuf,
}

impl Follower {
    /// Starts one, and waits until the daemon has let him in: he is shown what was recorded before.
    fn start(place: &Place, name: &str, words: &[&str]) -> Follower {
        let (out, said) = (place.path().join(name), place.path().join(format!("{name}.stderr")));
        let mut command = command(place, &[&["--follow", "--count", "1000"], words].concat());
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&said).unwrap());
        let follower = Follower { child: sys::die_with_parent(&mut command).spawn().unwrap(), out, said };
        wait_for("the record of the start", SOON, || follower.shown().contains("start").then_some(()));
        follower
    }

    fn shown(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    fn wait_line(&self, part: &str) -> String {
        wait_for(&format!("a line with {part}"), SOON, || {
            let shown = self.shown();
            let complete = shown.rfind('\n').map_or("", |end| &shown[..=end]);
            complete.lines().find(|line| line.contains(part)).map(ToOwned::to_owned)
        })
    }

    /// Its exit status and what it said, once it has ended by itself.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = wait_for("the follower's end", SOON, || self.child.try_wait().unwrap());
        (status.code(), fs::read_to_string(&self.said).unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("our own child");
    }
}

fn deny(place: &Place, name: &[u8]) {
    let path = place.venvs[0].site.join(OsStr::from_bytes(name));
    assert_eq!(fs::write(path, "x").expect_err("enforcing").raw_os_error(), Some(libc::EPERM));
}

/// What is shown is what is in the log, line by line, until the daemon stops.
#[test]
fn followers_see_the_log_as_it_is_written() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    guard.wait_record("", &["start"], None);
    let mut json = Follower::start(&place, "json", &["--json"]);
    let mut text = Follower::start(&place, "text", &[]);
    deny(&place, b"evil.pth");
    deny(&place, b"a\n#stopped\n\x1b[2J\xff.pth");
    let line = text.wait_line("evil.pth");
    assert!(line.contains("Z deny write /") && line.contains(" uid=0 "), "{line}");
    text.wait_line(r"a\x0a#stopped\x0a\x1b[2J\xff.pth");
    json.wait_line("evil.pth");

    let last = events(&place, &["--count", "1"]);
    assert_eq!((last.status.code(), last.stdout.lines().count()), (Some(0), 1), "{}{}", last.stdout, last.stderr);
    let none = events(&place, &["--count", "0", "--json"]);
    assert_eq!((none.status.code(), none.stdout.as_str()), (Some(0), ""));

    assert_eq!(guard.stop().0.code(), Some(0));
    for follower in [&mut json, &mut text] {
        let (status, said) = follower.end();
        assert_eq!((status, said.as_str()), (Some(0), "pthguard: the daemon has stopped\n"));
    }
    let log = fs::read_to_string(place.path().join("events.ndjson")).unwrap();
    assert_eq!(json.shown(), log, "the stream is not the log");
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(field(&last, "event.action"), "stop");
    let text = text.shown();
    assert_eq!(text.lines().count(), log.lines().count());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

/// Whoever does not read is not waited for: not by those who are decided about, not by the log, not by other followers.
#[test]
fn who_does_not_read_holds_nobody_up() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let asleep = Follower::start(&place, "asleep", &["--json"]);
    let pid = sys::PidFd::open(asleep.child.id()).unwrap();
    pid.signal(libc::SIGSTOP);
    let others: Vec<_> = (1..8).map(|number| Follower::start(&place, &format!("f{number}"), &[])).collect();
    let turned_away = events(&place, &["--follow"]);
    assert_eq!(turned_away.status.code(), Some(2));
    assert!(turned_away.stderr.contains("8 others follow"), "{}", turned_away.stderr);
    deny(&place, b"evil.pth");
    for other in &others {
        other.wait_line("evil.pth");
    }
    guard.wait_record("deny", &["creation"], Some("evil.pth"));
    drop(others);
    // Who has gone makes room, and other commands come through.
    Follower::start(&place, "later", &[]).wait_line("evil.pth");
    pid.signal(libc::SIGCONT);
    asleep.wait_line("evil.pth");
    guard.assert_alive();
}

#[test]
fn a_killed_daemon_is_not_taken_for_one_that_has_stopped() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let mut follower = Follower::start(&place, "json", &["--json"]);
    drop(guard);
    let (status, said) = follower.end();
    assert!(status == Some(2) && said.contains("gone without a word"), "{status:?} {said}");
    let nobody = events(&place, &[]);
    assert!(nobody.status.code() == Some(2) && nobody.stderr.contains("does the daemon run?"), "{}", nobody.stderr);
}

#[test]
fn only_root_looks_on() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let _guard = Config::new(&place).start();
    let binary = place.path().join("pthguard");
    copy_program(env!("CARGO_BIN_EXE_pthguard"), &binary);
    let file = place.path().join("pthguard.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(&binary);
    let done = run(command.args(["events", "--config"]).arg(file).uid(65534).gid(65534));
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(2), ""));
    assert!(done.stderr.contains("this needs root"), "{}", done.stderr);
}

/// The guard's files under a name, the predecessor first, each record parsed.
fn logged(place: &Place) -> [Vec<Value>; 2] {
    ["events.ndjson.1", "events.ndjson"].map(|name| {
        let text = fs::read_to_string(place.path().join(name)).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends within a line");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    })
}

/// The file never grows beyond its size, both together hold the last records without a gap, and each rotation is a record.
#[test]
fn a_log_that_is_full_is_rotated_and_says_so() {
    const MAX: u64 = 64 << 10;
    let place = Place::new();
    // The baseline of the first start is a record for each file, which nothing limits.
    for number in 0..600 {
        fs::write(place.venvs[0].site.join(format!("{number:0100}.pth")), "").unwrap();
    }
    let guard = Config::new(&place).log("syslog = false\njson_max_size = \"64KiB\"").start();
    guard.wait_record("", &["start"], None);
    let follower = Follower::start(&place, "json", &["--json"]);
    deny(&place, b"evil.pth");
    follower.wait_line("evil.pth");
    assert_eq!(guard.stop().0.code(), Some(0));
    let [old, new] = logged(&place);
    for name in ["events.ndjson.1", "events.ndjson"] {
        let size = fs::metadata(place.path().join(name)).unwrap().len();
        assert!(size <= MAX && size > 0, "{name}: {size}");
    }
    let shown: Vec<Value> = follower.shown().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kept: Vec<Value> = old.into_iter().chain(new).collect();
    assert!(kept.len() > 100 && shown.ends_with(&kept), "records are missing between or in the two files");
    let rotations = shown.iter().filter(|record| field(record, "event.action") == "log-rotated").count();
    assert!(rotations >= 2, "{rotations}");
    let stop = field(kept.last().unwrap(), "pthguard.message");
    assert!(stop.contains(&format!("log rotations: {rotations}")), "{stop}");
    assert!(!stop.contains("records lost"), "{stop}");
}

/// What logrotate does: the file is moved away, the daemon is told, and the new file is there before any record.
#[test]
fn a_log_that_was_moved_away_is_opened_anew_when_a_signal_asks() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    guard.wait_record("", &["start"], None);
    let log = place.path().join("events.ndjson");
    for (number, signal) in [libc::SIGUSR1, libc::SIGHUP, libc::SIGUSR1].into_iter().enumerate() {
        let moved = place.path().join(format!("moved-{number}"));
        fs::rename(&log, &moved).unwrap();
        guard.signal(signal);
        wait_for("a new log file", SOON, || log.exists().then_some(()));
        let before = fs::read(&moved).unwrap();
        let name = format!("evil{number}.pth");
        deny(&place, name.as_bytes());
        guard.wait_record("deny", &["creation"], Some(&name));
        assert_eq!(fs::read(&moved).unwrap(), before, "the old file was written to");
    }
    assert_eq!(guard.stop().0.code(), Some(0));
}

/// Denials go to the kernel's audit records: the groups that can deny were made for it. What such a group is told of an
/// opener that nobody knows is ENOENT, any other takes no such answer at all.
#[test]
fn denials_are_for_the_kernels_audit_records_if_that_is_asked_for() {
    const FAN_CLASS_CONTENT: u32 = 0x4;
    const CAP_AUDIT_WRITE: u32 = 29;
    let place = Place::new();
    let plain = Config::new(&place);
    let audited = Config::new(&place).log("syslog = false\nkernel_audit = true");
    for (config, expected) in [(&audited, libc::ENOENT), (&plain, libc::EINVAL)] {
        let mut guard = config.start();
        let process = sys::PidFd::open(guard.pid()).unwrap();
        let mut groups = 0;
        for link in fs::read_dir(format!("/proc/{}/fdinfo", guard.pid())).unwrap().flatten() {
            let text = fs::read_to_string(link.path()).unwrap_or_default();
            let flags = text.lines().find_map(|line| line.strip_prefix("fanotify flags:")).unwrap_or("0 ");
            if u32::from_str_radix(flags.split(' ').next().unwrap(), 16).unwrap() & FAN_CLASS_CONTENT != 0 {
                let number = link.file_name().to_str().unwrap().parse().unwrap();
                let group = File::from(process.descriptor(number).unwrap());
                let answer = Response::without_rule(i32::MAX, false);
                let refused = (&group).write(answer.as_bytes()).unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(expected), "{refused}");
                groups += 1;
            }
        }
        assert!(groups >= 4, "{groups} groups");
        deny(&place, b"evil.pth");
        assert!(fs::read(place.venvs[0].site.join("keep.pth")).is_ok());
        guard.assert_alive();
    }
    let mut command = audited.command();
    let Err((status, said)) = audited.try_start(sys::without_capability(&mut command, CAP_AUDIT_WRITE)) else {
        panic!("the guard started");
    };
    assert!(status.code() == Some(2) && said.contains("CAP_AUDIT_WRITE"), "{status} {said}");
}
