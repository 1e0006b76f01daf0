//! No boot waits for a guard that is missing, fails or hangs.

use crate::host::{self, Image, SOON};
use crate::site::wait_for;

/// Boot, and look what became of the guard in the end: how the boot went, with what result, how often it was started again, how many alarms. That the boot
/// comes to its end is the point.
fn boot(prepare: impl FnOnce(&Image) + Send) -> (String, String, String, usize) {
    host::booted(prepare, |host| {
        assert_eq!(host.show("multi-user.target", "ActiveState"), "active", "{}", host.journal());
        wait_for("no guard is started again", SOON, || {
            (host.show("pthguard.service", "ActiveState") == "failed").then_some(())
        });
        wait_for("the alarm", SOON, || (!host.alarms().is_empty()).then_some(()));
        let shown = |property| host.show("pthguard.service", property);
        (host.state(), shown("Result"), shown("NRestarts"), host.alarms().len())
    })
}

#[test]
fn the_boot_goes_on_without_a_guard() {
    let missing = boot(|image| std::fs::remove_file(image.path("usr/sbin/pthguard")).unwrap());
    assert_eq!(missing, ("degraded".into(), "exit-code".into(), "5".into(), 1), "there is no program");

    let policy = boot(|image| image.write("etc/pthguard/pthguard.toml", "mode = 1\n"));
    assert_eq!(policy, ("degraded".into(), "exit-code".into(), "0".into(), 1), "the policy is bad");

    let hangs =
        boot(|image| image.drop_in("[Service]\nTimeoutStartSec=300ms\nExecStart=\nExecStart=/bin/sleep 1000\n"));
    assert_eq!(hangs, ("degraded".into(), "timeout".into(), "5".into(), 1), "it never becomes ready");

    let off = host::booted_with(
        &["pthguard=off"],
        |_| {},
        |host| (host.state(), host.show("pthguard.service", "ActiveState"), host.alarms().len()),
    );
    assert_eq!(off, ("running".into(), "inactive".into(), 0), "switched off on the kernel's command line");
}
