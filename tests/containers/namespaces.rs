//! Pid namespaces and chroots, without an engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Config, SOON, field};
use crate::image;
use crate::site::{Place, run, wait_for};
use crate::sys::PidFd;

const WRITES: &[&str] = &["creation", "modification"];

/// A program that the rules of these tests permit. It is no interpreter, so its name is enough.
const CP: &str = "exe = [\"/usr/bin/cp\"]\nuid = [0]";

/// `unshare` with a new pid namespace in which `command` runs as process 1.
fn in_new_pid_namespace(options: &[&str], command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child"]).args(options);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// A guard in a container without `--pid=host` is told pid 0 of everybody outside: nobody can be identified, so nobody
/// writes, and this is counted.
#[test]
fn who_lives_outside_of_the_guards_pid_namespace_is_unresolved() {
    let place = Place::new();
    let site = &place.venvs[0].site;
    let evil = site.join("evil.pth");
    let config = Config::new(&place).allow("cp", CP);
    let mut command = in_new_pid_namespace(&["--mount-proc"], &config.command());
    let guard = config.start_with(command.env_remove("WATCHDOG_USEC"));

    let error = run(Command::new("cp").arg(site.join("keep.pth")).arg(&evil)).result().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    assert!(evil.symlink_metadata().is_err());
    let record = guard.wait_record("deny", WRITES, Some("evil.pth"));
    assert_eq!(field(&record, "pthguard.reason"), "unresolved", "{record}");
    assert_eq!(record["process"], serde_json::json!({ "pid": 0 }), "{record}");
    assert_eq!(field(&record, "file.path"), evil.to_str().unwrap());
    assert!(fs::read(site.join("keep.pth")).is_ok(), "reading what is approved needs no identity");

    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", guard.pid())).unwrap();
    let inner = PidFd::open(children.trim().parse().unwrap()).unwrap();
    inner.signal(libc::SIGTERM);
    assert!(inner.ends_within(SOON), "{}", guard.said());
    let stop = wait_for("the last record", SOON, || {
        guard.records().into_iter().find(|record| field(record, "event.action") == "stop")
    });
    assert!(field(&stop, "pthguard.message").contains("failures: unresolved=1"), "{stop}");
}

/// Below the guard's own pid namespace every process has a pid that the guard knows.
#[test]
fn a_process_in_a_pid_namespace_below_is_resolved() {
    let place = Place::new();
    let site = &place.venvs[0].site;
    let guard = Config::new(&place).allow("cp", CP).start();
    let copy = |program: &str, name: &str| {
        let mut command = Command::new(program);
        run(&mut in_new_pid_namespace(&[], command.arg(site.join("keep.pth")).arg(site.join(name))))
    };
    let good = copy("cp", "good.pth");
    assert!(good.status.success(), "{}", good.stderr);
    let record = guard.wait_record("allow", WRITES, Some("good.pth"));
    assert_eq!(field(&record, "process.executable"), "/usr/bin/cp", "{record}");

    assert!(!copy("install", "evil.pth").status.success());
    let record = guard.wait_record("deny", WRITES, Some("evil.pth"));
    assert_eq!(field(&record, "process.executable"), "/usr/bin/install", "{record}");
    assert_eq!(field(&record, "process.parent.executable"), "/usr/bin/unshare", "{record}");
    assert_eq!(field(&record, "pthguard.reason"), "no-rule", "{record}");
    // The pid is the guard's, not the 1 that the process itself sees.
    assert!(record["process"]["pid"].as_u64().unwrap() > 1, "{record}");
}

/// A program of the same name in a chroot is another program: its path begins with the directory.
#[test]
fn a_program_in_a_chroot_is_not_the_hosts() {
    let place = Place::new();
    let root = place.outside.join("jail");
    let tee = Path::new("/usr/bin/tee");
    image::copy_program(tee, &root);
    let site = root.join("site");
    fs::create_dir_all(&site).unwrap();
    let guard =
        Config::new(&place).sites(vec![site.clone()]).allow("tee", "exe = [\"/usr/bin/tee\"]\nuid = [0]").start();

    let from_host = run(Command::new(tee).arg(site.join("good.pth")));
    assert!(from_host.status.success(), "{}", from_host.stderr);
    guard.wait_record("allow", WRITES, Some("good.pth"));

    let jailed = run(Command::new("chroot").arg(&root).args(["/usr/bin/tee", "/site/evil.pth"]));
    assert!(!jailed.status.success() && jailed.stderr.contains("not permitted"), "{}", jailed.stderr);
    let record = guard.wait_record("deny", WRITES, Some("evil.pth"));
    assert_eq!(field(&record, "process.executable"), root.join("usr/bin/tee").to_str().unwrap());
    assert_eq!(field(&record, "file.path"), site.join("evil.pth").to_str().unwrap());
}
