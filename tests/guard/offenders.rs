//! `on_violation = "kill"`: whoever did it is ended, and nobody else. And what a stubborn offender leaves in the trail.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::harness::{Config, Guard, SOON, field, lookup};
use crate::site::{Done, Place, run, wait_for};

fn killing(place: &Place) -> Config {
    Config::new(place).rules("[response]\non_violation = \"kill\"\n")
}

/// What an attacker's Python program comes to: `code` finds the startup file's path in `target`, a payload outside in
/// `source`, and calls `done()` if it comes so far.
fn attack(place: &Place, name: &str, code: &str) -> (Done, bool) {
    let (source, marker) = (place.outside.join("payload.txt"), place.outside.join("marker"));
    fs::write(&source, place.payload()).unwrap();
    match fs::remove_file(&marker) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.unwrap(),
    }
    let venv = place.venvs.first().unwrap();
    let prologue = "import os, sys, time, threading, ctypes\n\
                    target, source, marker = sys.argv[1:4]\n\
                    def done(): open(marker, 'w').close()\n";
    let mut python = Command::new(&venv.python);
    python.args(["-I", "-S", "-c"]).arg(format!("{prologue}{code}"));
    let done = run(python.arg(venv.site.join(name)).arg(source).arg(&marker));
    (done, marker.exists())
}

fn was_killed(done: &Done) -> bool {
    done.status.signal() == Some(libc::SIGKILL)
}

fn kills(guard: &Guard) -> usize {
    guard.records().iter().filter(|record| field(record, "event.action") == "kill").count()
}

/// It is ended while it waits for the answer: it never learns of the denial, nor does any other thread of it.
#[test]
fn a_writer_is_ended_before_its_next_instruction() {
    let place = Place::new();
    let mut guard = killing(&place).start();
    for code in [
        "try: open(target, 'w')\nfinally: done()",
        "t = threading.Thread(target=lambda: open(target, 'w')); t.start(); t.join(); done()",
        "threading.Thread(target=lambda: time.sleep(60)).start()\ntry: open(target, 'w')\nfinally: done()",
        "try: os.open(os.path.dirname(target) + '/victim.pth', os.O_RDWR)\nfinally: done()",
    ] {
        let (done, went_on) = attack(&place, "evil.pth", code);
        assert!(was_killed(&done) && !went_on, "{code}: {}, {}", done.status, done.stderr);
        assert!(!place.venvs[0].site.join("evil.pth").exists(), "the empty file was left behind");
    }
    let record = wait_for("its records", SOON, || (kills(&guard) == 4).then(|| guard.records()));
    let record = record.iter().find(|record| field(record, "event.action") == "kill").unwrap();
    let exe = fs::canonicalize(&place.venvs[0].python).unwrap();
    assert_eq!(field(record, "process.executable"), exe.to_str().unwrap());
    assert!(field(record, "file.path").ends_with("/evil.pth"));
    guard.wait_record("deny", &["creation"], Some("evil.pth"));
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.victim && start.clean && !start.canary, "{start:?}");
    guard.assert_alive();
}

/// What is noticed afterwards is undone and its author ended, if it is still there.
#[test]
fn an_author_is_ended() {
    let place = Place::new();
    let mut guard = killing(&place).start();
    let attacks = [
        "os.rename(source + str(i), target)",
        "os.link(source, target)",
        "os.symlink(source, target)",
        "os.mkfifo(target)",
    ];
    for (number, code) in attacks.iter().enumerate() {
        // Whether a program was executed since is not known of one that was never seen before: it is the next time.
        let again = format!(
            "for i in range(100):\n  open(source + str(i), 'w').write('import os')\n  try: {code}\n  \
             except FileExistsError: pass\n  time.sleep(0.05)\ndone()"
        );
        let (done, went_on) = attack(&place, "evil.pth", &again);
        assert!(was_killed(&done) && !went_on, "{code}: {}, {}", done.status, done.stderr);
        wait_for("the newcomer is gone", SOON, || {
            place.venvs[0].site.join("evil.pth").symlink_metadata().is_err().then_some(())
        });
        wait_for("its record", SOON, || (kills(&guard) == number + 1).then_some(()));
    }
    assert!(!place.start(&place.venvs[0]).canary);
    guard.assert_alive();
}

/// UPSTYLE writes its file again when it has vanished.
#[test]
fn a_re_writer_is_ended_at_once() {
    let place = Place::new();
    let guard = killing(&place).start();
    let again = "while True:\n  try: open(target, 'w').write('import os')\n  except OSError: pass\n  time.sleep(0.001)";
    assert!(was_killed(&attack(&place, "evil.pth", again).0));
    wait_for("its record", SOON, || (kills(&guard) == 1).then_some(()));
}

/// Reading is what interpreters do; and who cannot be told from a reader is denied, as ever.
#[test]
fn readers_and_those_who_may_be_readers_are_not_ended() {
    let place = Place::new();
    let mut guard =
        killing(&place).allow_content("tee", "exe = [\"/usr/bin/tee\"]\nuid = \"any\"", "[\"empty\"]").start();
    let held = place.venvs[0].site.join("held.pth");
    let tee = run(Command::new("sh").args(["-c", "echo 'import os' | /usr/bin/tee \"$1\"", "sh"]).arg(&held));
    assert!(tee.status.success(), "a permitted writer of what is held: {}", tee.stderr);
    guard.wait_record("deny", &["held"], Some("held.pth"));
    // openat2 shows its flags to nobody; os.open with O_CREAT alone opens for reading.
    let openat2 = "how = (ctypes.c_uint64 * 3)(os.O_WRONLY | os.O_CREAT, 0o644, 0)\n\
                   fd = ctypes.CDLL(None).syscall(437, -100, target.encode(), how, ctypes.c_size_t(24))\n\
                   if fd < 0: done()";
    let refused = |call: &str| format!("try: {call}\nexcept PermissionError: done()");
    for (name, code) in [
        ("held.pth", refused("open(target)")),
        ("new.pth", openat2.to_owned()),
        ("new.pth", refused("os.open(target, os.O_RDONLY | os.O_CREAT)")),
    ] {
        let (done, went_on) = attack(&place, name, &code);
        assert!(done.status.success() && went_on, "{code}: {}, {}", done.status, done.stderr);
    }
    wait_for("no empty file is left", SOON, || (!place.venvs[0].site.join("new.pth").exists()).then_some(()));
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.clean, "{start:?}");
    assert_eq!(kills(&guard), 0);
    guard.assert_alive();
}

#[test]
fn audit_mode_ends_nobody() {
    let place = Place::new();
    let guard = killing(&place).audit().start();
    for code in ["open(target, 'w').close(); done()", "os.rename(source, target); done()"] {
        let (done, went_on) = attack(&place, "evil.pth", code);
        assert!(done.status.success() && went_on, "{code}: {}", done.stderr);
    }
    guard.wait_record("would-deny", &["creation", "modification"], Some("evil.pth"));
    guard.wait_record("would-deny", &["rename"], Some("evil.pth"));
    assert_eq!(kills(&guard), 0);
}

/// Denied two hundred times, by one process or by many of one program: some lines, then counts that say who.
#[test]
fn repeated_offenders_are_reported_with_a_count() {
    const TIMES: u64 = 200;
    let place = Place::new();
    let guard = Config::new(&place).start();
    let again =
        format!("for i in range({TIMES}):\n  try: open(target, 'w')\n  except PermissionError: pass\n  else: done()");
    let (done, went_on) = attack(&place, "evil.pth", &again);
    assert!(done.status.success() && !went_on, "{}", done.stderr);
    let report = wait_for("a report", SOON, || {
        guard.records().into_iter().find(|record| field(record, "event.action") == "repeated")
    });
    assert!(field(&report, "pthguard.message").contains("was denied 20 times in"), "{report}");
    assert!(lookup(&report, "process.pid").is_some_and(|pid| pid.is_u64()), "{report}");
    assert!(guard.stop().0.success());
    let text = fs::read_to_string(place.path().join("events.ndjson")).unwrap();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let denied = records.iter().filter(|record| field(record, "pthguard.access") == "write");
    let count = |record: &serde_json::Value| lookup(record, "pthguard.suppressed").and_then(serde_json::Value::as_u64);
    let (mut lines, mut counted) = (0, 0);
    for record in denied {
        match count(record) {
            Some(count) => counted += count,
            None => lines += 1,
        }
    }
    println!("{lines} lines, {counted} counted of {TIMES}");
    assert_eq!(lines + counted, TIMES);
    assert!(lines <= 20, "{lines} lines");
}
