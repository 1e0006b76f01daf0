//! `docs/coverage.md`: what the rules and the guard say of the same plantings, by technique, by place and by program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::document;
use crate::engines::{Opinion, ask_about, lines};
use crate::examples::{linux, with};
use crate::fapolicyd;
use crate::plant::{Expect, Way};
use crate::replay;

const NOTHING: &str = "-";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coverage.md")
}

fn said(opinions: &[Opinion], rules: &[&str]) -> &'static str {
    let fires = opinions.iter().any(|opinion| rules.iter().any(|rule| opinion.has(rule)));
    if fires { "reports" } else { NOTHING }
}

fn seed(opinions: &[Opinion]) -> &'static str {
    said(opinions, &["elastic-seed"])
}

fn current(opinions: &[Opinion]) -> &'static str {
    said(opinions, &["elastic-current"])
}

fn sigma(opinions: &[Opinion]) -> &'static str {
    said(opinions, &["sigma-linux"])
}

fn enforced(expect: Expect) -> &'static str {
    match expect {
        Expect::Refused => "refused",
        Expect::Undone => "undone",
        Expect::Restored => "undone, the file is back",
        Expect::Unreadable => "unreadable",
        Expect::Harmless => "does not run",
    }
}

/// Every planting, with what the engines say of the records of it that a guard in audit mode wrote.
pub(crate) fn techniques(seen: &[(&'static Way, &[Opinion])]) {
    let stopped = fapolicyd::stops(&seen.iter().map(|(way, _)| *way).collect::<Vec<_>>());
    let before = column(&document::table(&file(), "techniques"), 7);
    let mut table = "| planting | what it is | Elastic, April 2025 | Elastic, December 2025 | Sigma | Elastic Defend | \
                     fapolicyd | pthguard, audit | pthguard, enforce |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for (way, opinions) in seen {
        // Where fapolicyd is not at hand the column stays as it was.
        let fapolicyd = match stopped.get(way.name) {
            Some(true) => "refused",
            Some(false) => NOTHING,
            None => before.get(way.name).map_or("not tried", String::as_str),
        };
        table += &format!(
            "| `{}` | {} | {} | {} | {} | documented only | {fapolicyd} | reports | {} |\n",
            way.name,
            way.why.replace('|', "\\|"),
            seed(opinions),
            current(opinions),
            sigma(opinions),
            enforced(way.expect),
        );
    }
    // What the rules say of some plantings changes with the interpreter, and with how soon a short-lived author is gone.
    if document::is_written() {
        return document::says(&file(), "techniques", &table);
    }
    let held = |table: &str| -> Vec<_> { table.lines().map(|row| [1, 2, 9].map(|number| cell(row, number))).collect() };
    assert_eq!(held(&document::table(&file(), "techniques")), held(&table), "PTHGUARD_DETECTION_WRITE=1 writes it");
}

/// A column of a table, by what stands in the first.
fn column(table: &str, number: usize) -> BTreeMap<String, String> {
    table.lines().skip(2).map(|row| (cell(row, 1), cell(row, number))).collect()
}

/// What stands in a row, from 1.
fn cell(row: &str, number: usize) -> String {
    row.split(" | ").nth(number - 1).unwrap_or_default().trim_matches(['|', ' ', '`']).to_owned()
}

/// Where a file can be planted.
const PLACES: &[(&str, &str)] = &[
    ("Debian's own", "/usr/lib/python3/dist-packages/evil.pth"),
    ("Debian's, what an administrator installs", "/usr/local/lib/python3.11/dist-packages/evil.pth"),
    ("other distributions' own", "/usr/lib/python3.13/site-packages/evil.pth"),
    ("the same, 64 bit", "/usr/lib64/python3.13/site-packages/evil.pth"),
    ("built from source", "/usr/local/lib/python3.14/site-packages/evil.pth"),
    ("PyPy", "/usr/lib/pypy3.9/dist-packages/evil.pth"),
    ("a user's", "/home/alice/.local/lib/python3.11/site-packages/evil.pth"),
    ("root's", "/root/.local/lib/python3.11/site-packages/evil.pth"),
    ("an application in /opt", "/opt/app/lib/python3.11/site-packages/evil.pth"),
    ("conda in /opt", "/opt/conda/envs/ml/lib/python3.11/site-packages/evil.pth"),
    ("an application in /srv", "/srv/app/venv/lib/python3.11/site-packages/evil.pth"),
    ("a project's environment", "/home/alice/project/.venv/lib/python3.11/site-packages/evil.pth"),
    ("pyenv", "/home/alice/.pyenv/versions/3.12.4/lib/python3.12/site-packages/evil.pth"),
    ("uv's tools", "/home/alice/.local/share/uv/tools/ruff/lib/python3.12/site-packages/evil.pth"),
    ("where nobody looks for it", "/data/jobs/7/lib/python3.11/site-packages/evil.pth"),
    ("Python 3.15's .start file", "/usr/lib/python3.15/site-packages/evil.start"),
    ("sitecustomize", "/usr/lib/python3.13/site-packages/sitecustomize.py"),
    ("usercustomize as a package", "/home/alice/.local/lib/python3.11/site-packages/usercustomize/__init__.py"),
    ("no startup file: a model of PyTorch", "/usr/lib/python3.13/site-packages/torch/weights.pth"),
];

#[test]
fn places() {
    let events: Vec<Value> = PLACES.iter().map(|(_, path)| linux("/usr/bin/cp", path)).collect();
    let mut table =
        "| place | file, made by `/usr/bin/cp` | Elastic, April 2025 | Elastic, December 2025 | Sigma | pthguard |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for (((what, path), opinion), guard) in PLACES.iter().zip(ask_about(&events, &[])).zip(judged(&events)) {
        let one = [opinion];
        table += &format!("| {what} | `{path}` | {} | {} | {} | {guard} |\n", seed(&one), current(&one), sigma(&one));
    }
    document::says(&file(), "places", &table);
}

/// Who plants it, and what a guard's own record knows of what the file says.
fn programs() -> Vec<(&'static str, Value)> {
    const SITE: &str = "/usr/lib/python3.11/site-packages/evil.pth";
    let runs = |exe: &str, args: &[&str]| with(linux(exe, SITE), "/process/args", json!(args));
    let python = |args: &[&str]| runs("/usr/bin/python3.11", args);
    let of_content = |mut event: Value, class: &str| {
        event["pthguard"] = json!({"access": "write", "content": class, "script": "/usr/bin/pip"});
        event
    };
    let pip = || python(&["/usr/bin/python3", "/usr/bin/pip", "install", "litellm"]);
    vec![
        ("a shell", runs("/usr/bin/bash", &["bash", "-c", "echo"])),
        ("UPSTYLE: a script of root's", python(&["python3", "/tmp/update.py"])),
        ("a command line for Python", python(&["python3", "-c", "open(…)"])),
        ("a program of one's own called pip", runs("/tmp/pip", &["/tmp/pip"])),
        ("a script of one's own called pip", python(&["python3", "/tmp/pip", "install"])),
        ("pip, a file that runs nothing", of_content(pip(), "empty")),
        ("litellm 1.82.8: pip, a file that runs code", of_content(pip(), "code")),
        ("dpkg", runs("/usr/bin/dpkg", &["dpkg", "--unpack"])),
        ("dnf", runs("/usr/bin/python3.9", &["/usr/bin/python3.9", "/usr/bin/dnf", "install"])),
        ("rpm", runs("/usr/bin/rpm", &["rpm", "-U"])),
        ("dockerd", runs("/usr/bin/dockerd", &["dockerd"])),
        ("restic", runs("/usr/bin/restic", &["restic", "restore"])),
        ("a Go backup that nobody knows", runs("/usr/local/bin/backup", &["backup"])),
    ]
}

#[test]
fn programs_that_write() {
    let programs = programs();
    let events: Vec<Value> =
        programs.iter().map(|(_, event)| with(event.clone(), "/user", json!({"id": "0"}))).collect();
    let mut table = "| who | executable | Elastic, April 2025 | Elastic, December 2025 | Sigma | pthguard |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for (((what, event), opinion), guard) in programs.iter().zip(ask_about(&events, &[])).zip(judged(&events)) {
        let (one, exe) = ([opinion], event["process"]["executable"].as_str().unwrap());
        table += &format!("| {what} | `{exe}` | {} | {} | {} | {guard} |\n", seed(&one), current(&one), sigma(&one));
    }
    document::says(&file(), "programs", &table);
}

/// What the built-in policy says of each event.
fn judged(events: &[Value]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let (file, policy) = (directory.path().join("events.ndjson"), directory.path().join("built-in.toml"));
    std::fs::write(&file, lines(events)).unwrap();
    std::fs::write(&policy, "").unwrap();
    let answers = replay::each_under(&policy, &file);
    assert_eq!(answers.len(), events.len(), "one answer for each event");
    let of = |answer: replay::Answer| match (answer.verdict.as_str(), answer.reason.as_deref(), answer.rule) {
        ("allow", Some("not-guarded"), _) => "not guarded".to_owned(),
        ("allow", _, Some(rule)) => format!("allowed by rule {rule}"),
        ("held", _, Some(rule)) => format!("held, beyond rule {rule}"),
        ("deny", Some(reason), None) => format!("denied, {reason}"),
        (verdict, reason, rule) => format!("{verdict}, {reason:?}, {rule:?}"),
    };
    answers.into_iter().map(of).collect()
}
