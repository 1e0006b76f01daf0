//! The engines: Python packages in an environment of their own below the build directory, made once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::site::{Done, run_for};

/// Packages come over the network.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
/// Many times what an ordinary run takes.
const LIMIT: Duration = Duration::from_secs(600);

/// The names of the published rules in what [`ask`] answers.
pub(crate) const PUBLISHED: [&str; 5] =
    ["elastic-seed", "elastic-current", "sigma-windows", "sigma-linux", "sigma-macos"];

/// What the engines say of one event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Opinion {
    /// The rules that fire.
    pub(crate) fires: BTreeSet<String>,
}

impl Opinion {
    pub(crate) fn has(&self, rule: &str) -> bool {
        self.fires.contains(rule)
    }

    /// The published rules that fire, as the engines compare if nothing is said.
    pub(crate) fn published(&self) -> Vec<&str> {
        PUBLISHED.into_iter().filter(|rule| self.has(rule)).collect()
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/detection")
}

/// A detection rule of ours.
pub(crate) fn content(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detection").join(name)
}

/// The interpreter of the environment. Several tests may ask at once; one of them makes it, and makes it anew when other
/// versions are asked for.
fn python() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (venv, wanted) = (kept.join("detection"), fs::read_to_string(here().join("requirements.txt")).unwrap());
    let lock = File::create(kept.join("detection.lock")).unwrap();
    lock.lock().unwrap();
    // Written last: an environment that has it is complete.
    let (complete, python) = (venv.join("requirements.txt"), venv.join("bin/python3"));
    if fs::read_to_string(&complete).is_ok_and(|has| has == wanted) {
        return python;
    }
    let made = run_for(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv), DOWNLOAD_LIMIT);
    prepared("python3 -m venv", &made);
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-r",
    ]);
    prepared("pip install", &run_for(pip.arg(here().join("requirements.txt")), DOWNLOAD_LIMIT));
    fs::write(complete, wanted).unwrap();
    python
}

fn prepared(what: &str, done: &Done) {
    assert!(done.status.success(), "blocked: {what}: {}\n{}{}", done.status, done.stdout, done.stderr);
}

/// Events as they are in a file, one a line.
pub(crate) fn lines(events: &[Value]) -> String {
    events.iter().fold(String::new(), |mut text, event| {
        writeln!(text, "{event}").expect("a String takes it");
        text
    })
}

/// What the engines say of the events in `file`, with the published rules and those in the files `more`.
pub(crate) fn ask(file: &Path, more: &[PathBuf]) -> Vec<Opinion> {
    // The shell opens the file: children of the tests have no standard input.
    let mut command = Command::new("sh");
    command.args(["-c", "events=$1; shift; exec \"$@\" < \"$events\"", "sh"]).arg(file);
    command.arg(python()).args(["-I", "-B"]).arg(here().join("engines.py")).args(more);
    let done = run_for(&mut command, LIMIT);
    assert!(done.status.success(), "engines.py: {}\n{}", done.status, done.stderr);
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same for events that are in no file yet.
pub(crate) fn ask_about(events: &[Value], more: &[PathBuf]) -> Vec<Opinion> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    fs::write(&file, lines(events)).unwrap();
    let opinions = ask(&file, more);
    assert_eq!(opinions.len(), events.len(), "one answer for each event");
    opinions
}
