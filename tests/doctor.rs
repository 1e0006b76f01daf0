//! `pthguard doctor`: what it says of this machine, to root and to an ordinary user. It only looks. What it says beside a
//! guard that runs is in `tests/guard/status.rs`.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// An ordinary user whom nothing else runs as.
const USER: u32 = 61_234;

/// A directory with a site directory and a policy that guards only that, whose state and log are not there.
fn stage(more: &str) -> TempDir {
    assert!(nix::unistd::geteuid().is_root(), "blocked: these tests need root");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.path().join("lib/python3.11/site-packages")).unwrap();
    let path = dir.path().display();
    let text = format!(
        "include_default = false\nmode = \"enforce\"\n[protect]\nsites = [\"{path}/lib/python3*/site-packages\"]\n\
         [log]\nsyslog = false\njson = \"{path}/log/events.ndjson\"\n[state]\ndir = \"{path}/state\"\n{more}"
    );
    let policy = dir.path().join("pthguard.toml");
    fs::write(&policy, text).unwrap();
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o644)).unwrap();
    dir
}

fn doctor(dir: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(env!("CARGO_BIN_EXE_pthguard")).arg("doctor").arg("--config").arg(dir.join("pthguard.toml"));
    command.env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

fn items(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["version"], 1);
    document["items"].as_array().unwrap().clone()
}

fn state<'a>(items: &'a [Value], check: &str) -> (&'a str, &'a str) {
    let item = items.iter().find(|item| item["check"] == check).unwrap_or_else(|| panic!("{check} in {items:#?}"));
    (item["state"].as_str().unwrap(), item["found"].as_str().unwrap())
}

#[test]
fn it_tells_of_this_machine_and_changes_nothing() {
    let dir = stage("");
    let output = doctor(dir.path()).arg("--json").output().unwrap();
    let items = items(&output);
    for check in ["kernel", "fanotify-groups", "capabilities", "user-namespace", "policy", "state-directory", "log"] {
        assert_eq!(state(&items, check).0, "ok", "{:?}", state(&items, check));
    }
    let (is_ok, found) = state(&items, "site-directories");
    assert!(is_ok == "ok" && found.starts_with("1 match: "), "{found}");
    // The policy leaves out what this machine's own interpreter uses.
    let (uncovered, found) = state(&items, "interpreters");
    assert_eq!((uncovered, output.status.code()), ("fail", Some(1)), "{found}");
    assert!(found.contains("/usr/"), "{found}");
    let (none, found) = state(&items, "guard");
    assert!(none == "warn" && found.starts_with("none answers"), "{found}");
    for item in &items {
        assert_eq!(
            item["state"] == "ok",
            item["advice"].is_null(),
            "whoever reads of trouble is told what to do: {item}"
        );
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn an_ordinary_user_is_told_what_he_may_not_look_at() {
    let dir = stage("");
    let output = doctor(dir.path()).uid(USER).gid(USER).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for check in ["fanotify-groups", "guard"] {
        let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(check));
        assert!(
            line.is_some_and(|line| line.starts_with("warn") && line.contains("not looked at")),
            "{line:?}\n{text}"
        );
    }
    assert!(text.contains("run it as root") && text.lines().any(|line| line.starts_with("ok    kernel")), "{text}");
}

#[test]
fn the_built_in_policy_covers_the_interpreters_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("pthguard.toml");
    fs::write(&policy, format!("[state]\ndir = \"{}/state\"\n", dir.path().display())).unwrap();
    let items = items(&doctor(dir.path()).arg("--json").output().unwrap());
    let (covered, found) = state(&items, "interpreters");
    assert_ne!(covered, "fail", "{found}");
    assert_eq!(state(&items, "policy").0, "warn", "it only watches, as it is shipped");
}

#[test]
fn what_is_wrong_with_the_policy_or_its_places_fails() {
    let dir = stage("[metrics]\ntextfile = \"/nonexistent/x.prom\"\n");
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::set_permissions(dir.path().join("state"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir_all(dir.path().join("log/events.ndjson")).unwrap();
    let output = doctor(dir.path()).arg("--json").output().unwrap();
    let answers = items(&output);
    for check in ["state-directory", "log", "textfile"] {
        assert_eq!(state(&answers, check).0, "fail", "{:?}", state(&answers, check));
    }
    assert_eq!(output.status.code(), Some(1));
    fs::write(dir.path().join("pthguard.toml"), "mode = \"x\"\n").unwrap();
    let output = doctor(dir.path()).arg("--json").output().unwrap();
    assert_eq!((state(&items(&output), "policy").0, output.status.code()), ("fail", Some(1)));
    let output = doctor(dir.path()).arg("--sarif").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "usage");
}
