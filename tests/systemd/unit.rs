//! The unit files themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::run;

fn shipped(unit: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit)
}

#[test]
fn the_sandbox_scores_2_0_or_better() {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(shipped("pthguard.service"));
    let done = run(&mut analyze);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn every_setting_is_known_to_systemd_252() {
    for unit in ["pthguard.service", "pthguard-failed.service"] {
        let done = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(shipped(unit)));
        let about_settings = |line: &&str| !line.contains("/usr/sbin/pthguard is not executable");
        let complaints: Vec<_> = done.stderr.lines().filter(about_settings).collect();
        assert!(complaints.is_empty(), "{unit}: {complaints:?}");
    }
}
