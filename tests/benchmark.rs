//! The short form of `tests/bench/`: it has to run through. How long anything takes is not looked at.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

/// Where this test was built: the benchmark shares what is built for both.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

#[test]
fn the_short_form_runs_through() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/Cargo.toml");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]).arg(target());
    assert!(build.status().unwrap().success(), "the benchmark is not built");
    let dir = tempfile::tempdir().unwrap();
    let (json, plot) = (dir.path().join("raw.json"), dir.path().join("plot.svg"));
    let mut bench = Command::new(target().join("debug/pthguard-bench"));
    bench.arg("--short").args(["--program", env!("CARGO_BIN_EXE_pthguard")]);
    bench.arg("--json").arg(&json).arg("--plot").arg(&plot);
    let output = bench.output().unwrap();
    let (said, table) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{said}");
    for row in ["open approved ", "write denied ", "python3 -c pass ", "enforce ", "Targets"] {
        assert!(table.contains(row), "{row:?} is missing:\n{table}");
    }
    let raw: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(raw["measured"].as_array().unwrap().iter().all(|one| one["times"].as_u64() > Some(0)), "{raw}");
    assert!(std::fs::read_to_string(plot).unwrap().contains("polyline"));
}
