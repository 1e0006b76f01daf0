//! What comes from outside: wheels of the Python package index and a CPython that Debian stable does not have, fetched
//! once and kept below the build directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::site::run_for;

/// Downloads, on a bad day.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// The wheels of an ordinary run, for Debian's interpreter.
const WHEELS: &[&str] = &[
    "autowrapt==2.0.0",
    "clusop==0.0.17",
    "coloredlogs==15.0.1",
    "coverage==7.17.3",
    "pip==26.3",
    "setuptools==84.2.1",
    "uv==0.13.9",
    "zope.event==4.6",
];
/// The same for CPython 3.15, where they differ.
const WHEELS_315: &[&str] = &["coverage==7.17.3"];

fn kept() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The directory with the wheels.
pub(crate) fn wheels() -> PathBuf {
    fetch("wheels", WHEELS, &[])
}

/// The directory with the wheels that CPython 3.15 needs in addition.
pub(crate) fn wheels_315() -> PathBuf {
    let options = ["--python-version", "3.15", "--platform", "manylinux_2_28_x86_64"];
    fetch("wheels-3.15", WHEELS_315, &options)
}

fn fetch(name: &str, requirements: &[&str], options: &[&str]) -> PathBuf {
    try_fetch(name, requirements, options)
        .unwrap_or_else(|said| panic!("blocked: one of {requirements:?} cannot be downloaded: {said}"))
}

/// Download what is not there yet. Several test binaries may ask at once, one of them fetches.
///
/// # Errors
///
/// What pip said.
pub(crate) fn try_fetch(name: &str, requirements: &[&str], options: &[&str]) -> Result<PathBuf, String> {
    let directory = kept().join(name);
    fs::create_dir_all(&directory).unwrap();
    let lock = File::create(kept().join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let missing: Vec<&str> = requirements.iter().copied().filter(|one| find(&directory, one).is_none()).collect();
    if !missing.is_empty() {
        let mut pip = Command::new("/usr/bin/python3");
        pip.args(["-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "-d"]).arg(&directory).args(options).args(&missing);
        let done = run_for(&mut pip, DOWNLOAD_LIMIT);
        if !done.status.success() {
            return Err(done.stdout + &done.stderr);
        }
    }
    Ok(directory)
}

/// The wheel of a requirement `NAME==VERSION` in a directory.
pub(crate) fn find(directory: &Path, requirement: &str) -> Option<PathBuf> {
    let (name, version) = requirement.split_once("==").expect("a requirement with its version");
    // Wheels spell names with underscores, some with the dots of old.
    let start = |name: &str| format!("{}-{version}-", name.replace('-', "_")).to_lowercase();
    let [dotted, plain] = [start(name), start(&name.replace('.', "_"))];
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).find(|path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        file.starts_with(&dotted) || file.starts_with(&plain)
    })
}

/// The root directory of a CPython of Debian's development branch.
pub(crate) fn debian_python(version: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debian-python.sh");
    let directory = kept().join("debian-python").join(version);
    let done = run_for(Command::new(script).arg(version).arg(&directory), DOWNLOAD_LIMIT);
    assert!(done.status.success(), "{}", done.stderr);
    directory
}
