//! From the boot on: READY, hang, crash, failure, stop. One host for all of it, in this order.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use crate::hardened::{self, ENVIRONMENTS, VENV, is_denied, plant};
use crate::host::{self, Host, Image, SOON};
use crate::opener::{APP, Opener};
use crate::site::wait_for;

/// Longer than the guard takes to start again, on a machine that is busy with other tests.
const RESTART: Duration = Duration::from_secs(20);
/// A crash loop has ended by then.
const LOOP: Duration = Duration::from_secs(60);

/// What the boot itself brings, before the guard: directories that do not outlive a boot.
fn seed() -> String {
    let made = ["tmp/env", "dev/shm/env"].map(|environment| {
        let site = format!("/{environment}/lib/python3.11/site-packages");
        format!("mkdir -p {site} && echo \"import sys; sys.good = 1\" >{site}/good.pth")
    });
    format!(
        "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target systemd-tmpfiles-setup.service\nBefore=pthguard.service\n\
         [Service]\nType=oneshot\nExecStart=/bin/sh -c '{} && {VENV} /srv/venv'\n",
        made.join(" && ")
    )
}

fn prepare(image: &Image) {
    for environment in ENVIRONMENTS.into_iter().filter(|path| !path.starts_with("tmp") && !path.starts_with("dev")) {
        image.site(environment);
    }
    image.site("usr/local/env");
    image.write(
        "etc/pthguard/pthguard.d/local.toml",
        "[protect]\nextra_sites = [\"/usr/local/env/lib/python3*/site-packages\"]\n",
    );
    let owned = "home/user/env/lib/python3.11/site-packages/owned.pth";
    image.write(owned, "import sys; sys.owned = 1\n");
    fs::set_permissions(image.path(owned), fs::Permissions::from_mode(0o640)).unwrap();
    for path in [owned, "home/user/env/lib/python3.11/site-packages", "home/user"] {
        chown(image.path(path), Some(1234), Some(1234)).unwrap();
    }
    image.write("etc/systemd/system/seed.service", &seed());
    // An ordinary service, started as early as one can be: nothing but the defaults.
    let first = format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo \"import os\" >{APP}/first.pth'\n");
    image.write("etc/systemd/system/first.service", &first);
    for unit in ["seed.service", "first.service"] {
        image.enable(unit);
    }
}

#[test]
fn a_host_with_its_guard() {
    host::booted(prepare, |host| {
        begins_before_ordinary_services(host);
        hardened::nobody_plants_anywhere(host);
        hardened::pip_installs(host);
        hardened::newcomers_go_to_quarantine(host);
        hardened::what_is_replaced_comes_back(host);
        hardened::later_mounts_are_guarded(host);
        hardened::no_privilege_is_left_over(host, host.guard());
        hardened::nothing_failed(host);

        is_ready_when_it_guards(host);
        a_hung_guard_is_replaced(host);
        a_killed_guard_is_replaced(host);
        a_bad_policy_lets_go_and_is_loud(host);
        a_crash_loop_ends(host);
        only_a_stop_lets_go(host);
    });
}

fn begins_before_ordinary_services(host: &Host) {
    assert_eq!(host.state(), "degraded", "{}", host.journal()); // by first.service alone
    assert_eq!(host.show("first.service", "Result"), "exit-code", "{}", host.journal());
    assert!(!host.path(&format!("{APP}/first.pth")).exists());
    let began = |unit| host.show(unit, "ActiveEnterTimestampMonotonic").parse::<u64>().unwrap();
    assert!(began("pthguard.service") <= began("basic.target"));
    assert!(began("local-fs.target") <= began("pthguard.service"));
    assert_eq!(host.show("pthguard.service", "NRestarts"), "0");
    assert_eq!(host.alarms(), [""; 0]);
}

fn restart(host: &Host) {
    host.manage(&["reset-failed"]); // so that the test's own starts do not count as a crash loop
    host.manage(&["restart", "pthguard"]);
}

fn is_ready_when_it_guards(host: &Host) {
    for _ in 0..3 {
        host.manage(&["reset-failed"]);
        host.manage(&["stop", "pthguard"]);
        host.sh(&format!("rm -f {APP}/evil.pth")).unwrap();
        let planted = host.sh(&format!("systemctl start pthguard && echo 'import os' >{APP}/evil.pth"));
        assert!(is_denied(planted), "{}", host.journal());
    }
}

fn a_hung_guard_is_replaced(host: &Host) {
    host.drop_in("[Service]\nWatchdogSec=2s\n");
    restart(host);
    let before = host.guard();
    host.signal_guard("SIGSTOP");
    let opener = Opener::of_good(host);
    opener.is_blocked();
    opener.has_read(RESTART);
    wait_for("another guard runs", RESTART, || (host.guard() != before).then_some(()));
    assert_eq!(host.show("pthguard.service", "NRestarts"), "1", "{}", host.journal());
    assert!(is_denied(plant(host, APP)));
    host.drop_in("");
    restart(host);
}

fn a_killed_guard_is_replaced(host: &Host) {
    // A clean end that nobody has asked the service manager for is no reason to go without a guard either.
    for signal in ["SIGKILL", "SIGTERM"] {
        let before = host.guard();
        host.signal_guard(signal);
        wait_for("another guard runs", RESTART, || (host.guard() != before).then_some(()));
        assert!(is_denied(plant(host, APP)), "{signal}");
        Opener::of_good(host).has_read(SOON);
    }
}

fn a_bad_policy_lets_go_and_is_loud(host: &Host) {
    let bad = host.path("/etc/pthguard/pthguard.d/bad.toml");
    fs::write(&bad, "mode = \"whatever\"\n").unwrap();
    host.manage(&["reset-failed"]);
    assert!(!host.systemctl(&["restart", "pthguard"]).status.success());
    assert_eq!(host.show("pthguard.service", "ActiveState"), "failed");
    assert_eq!(host.show("pthguard.service", "ExecMainStatus"), "2");
    assert_eq!(host.show("pthguard.service", "NRestarts"), "0", "{}", host.journal());
    alarm_was_given(host, 1, "exit-code, exited 2");
    Opener::of_good(host).has_read(SOON);
    plant(host, APP).unwrap();
    host.ask(&format!("rm {APP}/evil.pth"));
    fs::remove_file(&bad).unwrap();
    restart(host);
    assert!(is_denied(plant(host, APP)));
}

fn a_crash_loop_ends(host: &Host) {
    host.manage(&["reset-failed"]);
    let begin = Instant::now();
    let mut kills = 0;
    wait_for("the service manager gives up", LOOP, || {
        kills += usize::from(host.systemctl(&["kill", "--signal=SIGKILL", "pthguard"]).status.success());
        (host.show("pthguard.service", "ActiveState") == "failed").then_some(())
    });
    assert_eq!(host.show("pthguard.service", "Result"), "start-limit-hit", "{}", host.journal());
    eprintln!("a crash loop ended after {:?} and {kills} kills", begin.elapsed());
    alarm_was_given(host, 2, "");
    Opener::of_good(host).has_read(SOON);
    plant(host, APP).unwrap();
    host.ask(&format!("rm {APP}/evil.pth"));
    restart(host);
    assert!(is_denied(plant(host, APP)));
}

fn only_a_stop_lets_go(host: &Host) {
    let before = host.count("stop");
    host.manage(&["stop", "pthguard"]);
    assert_eq!(host.count("stop"), before + 1);
    Opener::of_good(host).has_read(SOON);
    plant(host, APP).unwrap();
    assert_eq!(host.show("pthguard.service", "Result"), "success");
    assert_eq!(host.alarms().len(), 2, "a stop that was asked for is no alarm");
}

fn alarm_was_given(host: &Host, count: usize, why: &str) {
    let alarms = wait_for("the alarm", SOON, || Some(host.alarms()).filter(|alarms| alarms.len() >= count));
    assert_eq!(alarms.len(), count, "{alarms:?}");
    assert!(alarms[count - 1].contains(why), "{alarms:?}");
}
