//! Whoever can read records can ask: no privilege is needed, and nothing of the host is looked at.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::place::{Place, error, status};
use super::records::{self, BASH, DPKG};

const USER: u32 = 1234;

/// A copy that another user can execute, and records that he can read.
fn guard(place: &Place) -> PathBuf {
    assert!(nix::unistd::geteuid().is_root(), "blocked: needs root, to become another user");
    let guard = place.root.join("pthguard");
    // By a process of its own: a child that another test forks meanwhile would inherit the descriptor, and keep the copy
    // from being executed.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_pthguard")).arg(&guard).status().unwrap().success());
    fs::set_permissions(&guard, fs::Permissions::from_mode(0o755)).unwrap();
    place.file("records", records::all(&[records::ecs(BASH), records::ecs(DPKG)]));
    guard
}

fn run(guard: &Path, place: &Place, uid: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(guard);
    command.args(arguments).current_dir(&place.root).uid(uid).gid(uid);
    command.output().unwrap()
}

#[test]
fn with_the_policy_in_force() {
    let place = Place::new();
    let guard = guard(&place);
    let output = run(&guard, &place, USER, &["replay", "records"]);
    // On a machine whose policy only root can read the answer is an error, never another policy's.
    let is_readable = fs::symlink_metadata("/etc/pthguard").is_err();
    assert!(status(&output) == 1 || !is_readable, "{}", error(&output));
}

#[test]
fn with_a_policy_of_ones_own() {
    let place = Place::new();
    let guard = guard(&place);
    let home = place.root.join("home");
    fs::create_dir(&home).unwrap();
    let policy = home.join("own.toml");
    fs::write(&policy, "[[deny]]\nname = \"no-dpkg\"\nexe = [\"/usr/bin/dpkg\"]\naccess = [\"write\"]\n").unwrap();
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o644)).unwrap();
    for path in [&home, &policy] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    for arguments in [
        &["replay", "--config", "home/own.toml", "records"][..],
        &["replay", "--diff", "home/own.toml", "records"],
        &["check", "--config", "home/own.toml"],
        &[
            "explain",
            "--config",
            "home/own.toml",
            "--path",
            "/usr/lib/python3/dist-packages/x.pth",
            "--exe",
            "/usr/bin/dpkg",
        ],
    ] {
        let output = run(&guard, &place, USER, arguments);
        assert_eq!(status(&output), i32::from(arguments[0] != "check"), "{arguments:?}: {}", error(&output));
        // It could not have been changed by anybody but him, and so it is a policy for him alone.
        for other in [USER + 1, 0] {
            let output = run(&guard, &place, other, arguments);
            assert_eq!(status(&output), 2, "{arguments:?}");
            assert!(error(&output).contains("belongs to user 1234"), "{}", error(&output));
        }
    }
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o664)).unwrap();
    let output = run(&guard, &place, USER, &["replay", "--config", "home/own.toml", "records"]);
    assert_eq!(status(&output), 2);
    assert!(error(&output).contains("chmod go-w"), "{}", error(&output));
}

#[test]
fn records_that_one_may_not_read() {
    let place = Place::new();
    let guard = guard(&place);
    fs::set_permissions(place.root.join("records"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = run(&guard, &place, USER, &["replay", "records"]);
    assert_eq!(status(&output), 2);
    assert!(error(&output).contains("cannot read records: Permission denied"), "{}", error(&output));
}
