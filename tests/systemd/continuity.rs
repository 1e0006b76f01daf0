//! No gap across a crash, an upgrade, a restart: the service manager keeps the groups, and whoever opens a file meanwhile
//! waits for the next process. Nobody waits for one that does not come.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hardened::{VENV, is_denied, plant};
use crate::host::{self, Host, Image, SOON};
use crate::opener::{APP, Opener};
use crate::site::wait_for;

/// Longer than the guard takes to start again, on a machine that is busy with other tests.
const RESTART: Duration = Duration::from_secs(20);
const OPENERS: usize = 8;

/// A program that is run with `python3 -S -c`, until the file that it is told of is there.
const READ_ON: &str = r#"
import json, os, sys, time
file, over = sys.argv[1:]
reads, failures, slowest = 0, [], 0.0
while not os.path.exists(over):
    begin = time.monotonic()
    try:
        with open(file) as opened: opened.read()
    except OSError as error:
        failures.append(repr(error))
    slowest = max(slowest, time.monotonic() - begin)
    reads += 1
    time.sleep(0.001)
print(json.dumps({"reads": reads, "failures": failures[:5], "failed": len(failures), "slowest": slowest}))
"#;

/// Plants a line by renaming and by linking, again and again.
const PLANT_ON: &str = r#"
import os, sys
site, canary, over, way = sys.argv[1:]
beside = os.path.join(os.path.dirname(site), way)
tries = 0
while not os.path.exists(over):
    name = os.path.join(site, "%s%d.pth" % (way, tries % 4))
    with open(beside, "w") as file: file.write("import os; open(%r, 'w')\n" % canary)
    try:
        if way == "link": os.link(beside, name); os.unlink(beside)
        else: os.rename(beside, name)
    except OSError: pass
    try: os.unlink(name)
    except OSError: pass
    tries += 1
print(tries)
"#;

fn prepare(image: &Image) {
    image.site("srv/app");
    image.site("opt/late");
    // Starts that a test asks for are no crash loop; one that sets its own limit means it.
    image.drop_in("[Unit]\nStartLimitIntervalSec=0\n[Service]\nTimeoutStopSec=1s\n");
    let seed = format!(
        "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\nBefore=pthguard.service\n[Service]\nType=oneshot\n\
         ExecStart={VENV} /srv/venv\n",
        VENV = VENV.replacen("python3", "/usr/bin/python3", 1)
    );
    image.write("etc/systemd/system/seed.service", &seed);
    image.enable("seed.service");
}

#[test]
fn a_guard_is_followed_by_another_without_a_gap() {
    host::booted(prepare, |host| {
        who_waits_is_judged_by_the_next_guard(host);
        what_was_read_and_not_answered_is_answered(host);
        an_upgrade_is_not_noticed(host);
        a_reload_takes_what_is_good(host);
        a_crash_under_attack_lets_nothing_through(host);
        a_successor_that_cannot_start_lets_go(host);
        a_stop_lets_go(host);
    });
}

fn who_waits_is_judged_by_the_next_guard(host: &Host) {
    let before = host.guard();
    host.signal_guard("SIGSTOP");
    let openers: Vec<_> = (0..OPENERS).map(|_| Opener::of_good(host)).collect();
    let planter = Opener::of(host, &["sh", "-c", &format!("echo 'import os' >{APP}/evil.pth")]);
    openers.iter().for_each(Opener::is_blocked);
    planter.is_blocked();
    let begin = Instant::now();
    host.signal_guard("SIGKILL");
    openers.into_iter().for_each(|opener| opener.has_read(RESTART));
    planter.was_denied(RESTART);
    eprintln!("who waited had the answer of the next guard after {:?}", begin.elapsed());
    assert_ne!(host.guard(), before);
    assert!(!host.path(&format!("{APP}/evil.pth")).exists(), "the empty file of the denied create");
}

/// A file that somebody has open for writing since before the guard's start: its readers wait as long as a verdict may
/// take, and longer than it takes to kill the guard.
fn what_was_read_and_not_answered_is_answered(host: &Host) {
    let dirty = format!("{APP}/dirty.pth");
    host.manage(&["stop", "pthguard"]);
    let writer = Opener::of(host, &["sh", "-c", &format!("exec 3>>{dirty}; echo '# nothing' >&3; exec sleep 1000")]);
    wait_for("the writer has it open", SOON, || host.path(&dirty).metadata().ok().filter(|file| file.len() > 0));
    let slow = host.path("/etc/pthguard/pthguard.d/slow.toml");
    fs::create_dir_all(slow.parent().unwrap()).unwrap();
    fs::write(&slow, "[failure]\nbudget_ms = 5000\n").unwrap();
    host.manage(&["start", "pthguard"]);
    let before = host.guard();
    let reader = Opener::of(host, &["cat", &dirty]);
    reader.is_blocked();
    Opener::of_good(host).has_read(SOON); // so the reader's event, which came earlier, was read
    reader.is_blocked();
    host.signal_guard("SIGKILL");
    let (status, text, error) = reader.finish(RESTART);
    eprintln!("the reader of what is being written got {status} {text:?} {error:?}");
    wait_for("another guard", RESTART, || (host.guard() != before).then_some(()));
    Opener::of_good(host).has_read(SOON);
    host.ask("pkill -x sleep || kill $(pidof sleep)");
    writer.finish(SOON);
    fs::remove_file(slow).unwrap();
    host.manage(&["stop", "pthguard"]);
    host.ask(&format!("rm {dirty}"));
    host.manage(&["start", "pthguard"]);
}

/// Those who read an approved file all the while.
struct Readers<'a>(&'a Host, Vec<Opener>);

impl Readers<'_> {
    const OVER: &'static str = "/run/readers-over";

    fn start(host: &Host) -> Readers<'_> {
        let _ = fs::remove_file(host.path(Self::OVER));
        let read = format!("{APP}/good.pth");
        let reader = |_| Opener::of(host, &["/usr/bin/python3", "-S", "-c", READ_ON, &read, Self::OVER]);
        Readers(host, (0..OPENERS).map(reader).collect())
    }

    /// They stop, and each read has given the file. How many there were, and how long the slowest took.
    fn finish(self) -> (u64, Duration) {
        fs::write(self.0.path(Self::OVER), "").unwrap();
        let (mut reads, mut slowest) = (0, 0.0_f64);
        for reader in self.1 {
            let (status, text, error) = reader.finish(RESTART);
            assert!(status.success(), "{status} {error}");
            let told: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(told["failed"], 0, "{told}\n{}", self.0.journal());
            reads += told["reads"].as_u64().unwrap();
            slowest = slowest.max(told["slowest"].as_f64().unwrap());
        }
        (reads, Duration::from_secs_f64(slowest))
    }
}

fn an_upgrade_is_not_noticed(host: &Host) {
    let before = host.guard();
    let readers = Readers::start(host);
    host.ask("cp /usr/sbin/pthguard /usr/sbin/new && mv /usr/sbin/new /usr/sbin/pthguard");
    host.manage(&["restart", "pthguard"]);
    assert!(is_denied(plant(host, APP)));
    let after = host.guard();
    let (reads, slowest) = readers.finish();
    eprintln!("an upgrade: {reads} reads, the slowest took {slowest:?}");
    assert_ne!(before, after);
    assert_eq!(host.ask(&format!("readlink /proc/{after}/exe")), "/usr/sbin/pthguard", "the new program");
}

fn a_reload_takes_what_is_good(host: &Host) {
    let before = host.guard();
    let site = "/opt/other/python/site-packages";
    host.ask(&format!("mkdir -p {site}"));
    let more = host.path("/etc/pthguard/pthguard.d/more.toml");
    fs::write(&more, format!("[protect]\nextra_sites = [{site:?}]\n")).unwrap();
    host.manage(&["reload", "pthguard"]);
    wait_for("the new directory is guarded", SOON, || {
        let denied = is_denied(plant(host, site));
        let _ = fs::remove_file(host.path(&format!("{site}/evil.pth")));
        denied.then_some(())
    });
    assert_eq!(host.guard(), before, "a reload is no restart");
    fs::write(&more, "mode = \"whatever\"\n").unwrap();
    host.manage(&["reload", "pthguard"]);
    assert!(is_denied(plant(host, APP)) && is_denied(plant(host, site)), "the old policy stays");
    assert_eq!(host.guard(), before);
    assert_eq!(host.alarms(), [""; 0]);
    fs::remove_file(&more).unwrap();
    host.manage(&["reload", "pthguard"]);
}

/// How often the guard is killed; `PTHGUARD_SYSTEMD_KILLS`.
fn kills() -> usize {
    std::env::var("PTHGUARD_SYSTEMD_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5)
}

/// Planters, and interpreters that start beside them, all the while.
struct Attack<'a> {
    host: &'a Host,
    planters: [Opener; 2],
    starts: Opener,
}

impl Attack<'_> {
    const OVER: &'static str = "/run/attack-over";
    /// What the planted line makes.
    const CANARY: &'static str = "/run/canary";

    fn start(host: &Host) -> Attack<'_> {
        let _ = fs::remove_file(host.path(Self::OVER));
        let site = host.ask("echo /srv/venv/lib/python3*/site-packages");
        let plant =
            |way| Opener::of(host, &["/usr/bin/python3", "-S", "-c", PLANT_ON, &site, Self::CANARY, Self::OVER, way]);
        let starts = format!("while [ ! -e {} ]; do /srv/venv/bin/python3 -c pass; echo started; done", Self::OVER);
        Attack { host, planters: ["rename", "link"].map(plant), starts: Opener::of(host, &["sh", "-c", &starts]) }
    }

    fn has_won(&self) -> bool {
        self.host.path(Self::CANARY).exists()
    }

    /// How often it was planted, and how many interpreters were started.
    fn finish(self) -> (u64, usize) {
        fs::write(self.host.path(Self::OVER), "").unwrap();
        let tries = self.planters.map(|planter| planter.finish(RESTART).1.trim().parse::<u64>().unwrap());
        (tries.iter().sum(), self.starts.finish(RESTART).1.lines().count())
    }
}

fn a_crash_under_attack_lets_nothing_through(host: &Host) {
    host.manage(&["stop", "pthguard"]);
    let unguarded = Attack::start(host);
    wait_for("a planted line runs where nobody guards", SOON, || unguarded.has_won().then_some(()));
    unguarded.finish();
    host.ask(&format!("rm {}", Attack::CANARY));
    host.manage(&["start", "pthguard"]);

    let attack = Attack::start(host);
    let readers = Readers::start(host);
    let begin = Instant::now();
    for _ in 0..kills() {
        let before = host.guard();
        host.signal_guard("SIGKILL");
        wait_for("another guard runs", RESTART, || (host.guard() != before).then_some(()));
    }
    let took = begin.elapsed();
    let (reads, slowest) = readers.finish();
    let has_won = attack.has_won();
    let (tries, starts) = attack.finish();
    eprintln!(
        "{} kills in {took:?}: {starts} starts of Python beside {tries} plants, {reads} reads, the slowest took {slowest:?}",
        kills()
    );
    assert!(!has_won, "a planted line ran\n{}", host.journal());
    assert!(tries > 0 && starts > 0 && reads > 0);
    assert!(slowest < RESTART, "{slowest:?}");
}

fn a_successor_that_cannot_start_lets_go(host: &Host) {
    let bad = host.path("/etc/pthguard/pthguard.d/bad.toml");
    host.signal_guard("SIGSTOP");
    let opener = Opener::of_good(host);
    opener.is_blocked();
    fs::write(&bad, "mode = \"whatever\"\n").unwrap();
    host.signal_guard("SIGKILL");
    opener.has_read(RESTART);
    wait_for("the unit has failed", SOON, || (host.show("pthguard", "ActiveState") == "failed").then_some(()));
    assert_eq!(host.show("pthguard", "ExecMainStatus"), "2");
    assert_eq!(host.show("pthguard", "NFileDescriptorStore"), "0");
    wait_for("the alarm", SOON, || (host.alarms().len() == 1).then_some(()));
    fs::remove_file(&bad).unwrap();
    host.manage(&["start", "pthguard"]);
    assert!(is_denied(plant(host, APP)));
}

fn a_stop_lets_go(host: &Host) {
    host.signal_guard("SIGSTOP");
    let opener = Opener::of_good(host);
    opener.is_blocked();
    host.manage(&["stop", "pthguard"]);
    opener.has_read(SOON);
    plant(host, APP).unwrap();
    assert_eq!(host.show("pthguard", "NFileDescriptorStore"), "0");
}
