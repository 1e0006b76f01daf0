//! The unit files themselves.

use std::fs;
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
    for unit in ["pthguard.service", "pthguard-failed.service", "pthguard-mounts.socket", "pthguard-mounts@.service"] {
        let done = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(shipped(unit)));
        let about_settings = |line: &&str| !line.contains("/usr/sbin/pthguard is not executable");
        let complaints: Vec<_> = done.stderr.lines().filter(about_settings).collect();
        assert!(complaints.is_empty(), "{unit}: {complaints:?}");
    }
}

#[test]
fn every_unit_is_in_both_packages() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for unit in fs::read_dir(shipped("")).unwrap().flatten() {
        let name = unit.file_name().into_string().unwrap();
        assert!(manifest.contains(&format!("{{ source = \"systemd/{name}\"")), "rpm: {name}");
        // Debian has its own way with presets, and cargo-deb with the unit that is named after the package.
        let is_left_out = name.ends_with(".preset") || name == "pthguard.service";
        assert!(is_left_out || manifest.contains(&format!("[\"systemd/{name}\",")), "deb: {name}");
    }
}
