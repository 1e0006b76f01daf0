//! Many commands at once, commands that are killed, a state that cannot be used.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pthguard::approvals::Instance;

use crate::stage::{Done, PAYLOAD, Stage};

const SOON: Duration = Duration::from_secs(20);

fn spawn(stage: &Stage, words: &[&str], path: &std::path::Path) -> Child {
    stage.command(words, &[path]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn twenty_at_once_are_all_carried_out() {
    let stage = Stage::new();
    let names: Vec<String> = (0..20).map(|number| format!("many-{number}.pth")).collect();
    let start = |name: &String| spawn(&stage, &["approve", "--yes"], &stage.write(name, name));
    let children: Vec<Child> = names.iter().map(start).collect();
    for child in children {
        Done::of(child.wait_with_output().unwrap()).expect(0);
    }
    assert!(names.iter().all(|name| stage.is_approved(name, name)));
    assert_eq!(stage.records("approval").len(), 20);
}

/// Wherever it is killed, the store opens, and holds everything that was acknowledged.
#[test]
fn a_command_that_is_killed_leaves_a_state_that_opens() {
    let stage = Stage::new();
    let mut acknowledged = Vec::new();
    let mut killed = 0;
    for round in 0..40_u32 {
        let name = format!("round-{round}.pth");
        let mut child = spawn(&stage, &["approve", "--yes"], &stage.write(&name, &name));
        // Spread over the time that a command takes, however fast the machine is.
        let end = Instant::now() + Duration::from_micros(u64::from(round) * 400);
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        if child.wait_with_output().unwrap().status.success() {
            acknowledged.push(name);
        } else {
            killed += 1;
        }
    }
    assert!(killed > 0, "none was killed in time");
    for name in &acknowledged {
        assert!(stage.is_approved(name, name), "{name} was acknowledged and is lost");
    }
    assert!(stage.is_approved("old.pth", "/opt/old\n"));
    stage.run(&["approve", "--yes"], &[&stage.write("after.pth", PAYLOAD)]).expect(0);
}

/// A command waits for another one, and says who it is if that does not end.
#[test]
fn the_lock_is_waited_for() {
    let stage = Stage::new();
    let lock = Instance::lock_now(&stage.state).unwrap();
    let mut waiting = spawn(&stage, &["approve", "--yes"], &stage.write("x.pth", PAYLOAD));
    let has_lock_open = |command: &Child| {
        let fds = fs::read_dir(format!("/proc/{}/fd", command.id())).into_iter().flatten().flatten();
        fds.map(|fd| fs::read_link(fd.path())).any(|path| path.is_ok_and(|path| path.ends_with("lock")))
    };
    let end = Instant::now() + SOON;
    while !has_lock_open(&waiting) {
        assert!(Instant::now() < end, "it does not try to take the lock");
        // On a busy machine one may have given up before anybody has looked.
        if waiting.try_wait().unwrap().is_some() {
            waiting = spawn(&stage, &["approve", "--yes"], &stage.write("x.pth", PAYLOAD));
        }
    }
    assert!(waiting.try_wait().unwrap().is_none());
    let done = stage.run(&["approvals"], &[]).expect(2);
    assert!(done.said.contains(&std::process::id().to_string()), "{}", done.said);
    drop(lock);
    // The one that waits may have given up meanwhile, too.
    let waiting = Done::of(waiting.wait_with_output().unwrap());
    assert!(waiting.status == 0 || waiting.said.contains("lock"), "{waiting:#?}");
    stage.run(&["approvals"], &[]).expect(0);
}

#[test]
fn a_state_that_is_not_roots_alone_is_refused() {
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    for (owner, mode) in [(61_234, 0o700), (0, 0o770), (0, 0o707)] {
        fs::set_permissions(&stage.state, fs::Permissions::from_mode(mode)).unwrap();
        chown(&stage.state, Some(owner), None).unwrap();
        for words in [&["approve", "--yes"][..], &["revoke"]] {
            let done = stage.run(words, &[&path]).expect(2);
            assert!(done.said.contains(stage.state.to_str().unwrap()), "{}", done.said);
        }
        stage.run(&["approvals"], &[]).expect(2);
        stage.run(&["quarantine", "list"], &[]).expect(2);
    }
    fs::set_permissions(&stage.state, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&stage.state, Some(0), None).unwrap();
    stage.run(&["approve", "--yes"], &[&path]).expect(0);
}

#[test]
fn a_state_that_is_not_there_is_not_made() {
    let stage = Stage::without_baseline();
    let path = stage.write("x.pth", PAYLOAD);
    for words in [&["approve", "--yes"][..], &["revoke"], &["baseline", "--yes"]] {
        let done = stage.run(words, &[if words[0] == "baseline" { &stage.site } else { &path }]).expect(2);
        assert!(done.said.contains("state.dir"), "{}", done.said);
    }
    stage.run(&["approvals"], &[]).expect(2);
    assert!(!stage.state.exists());
    // What is approved before the first start has ended would be forgotten with it.
    drop(stage.open_store());
    let done = stage.run(&["approve", "--yes"], &[&path]).expect(2);
    assert!(done.said.contains("baseline"), "{}", done.said);
}

#[test]
fn an_ordinary_user_gets_nowhere() {
    use std::os::unix::process::CommandExt;
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    // As far as file modes go he can see all of it.
    for path in [&stage.root(), &stage.state] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&stage.policy, fs::Permissions::from_mode(0o644)).unwrap();
    let binary = stage.root().join("pthguard");
    // By a process of its own: a child that another test forks meanwhile would inherit the descriptor, and keep the copy
    // from being executed (ETXTBSY).
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_pthguard")).arg(&binary).status().unwrap().success());
    let mut command = Command::new(&binary);
    command.args(["approve", "--yes", "--config"]).arg(&stage.policy).arg(&path).uid(61_234).gid(61_234);
    Done::of(command.output().unwrap()).expect(2);
    assert!(!stage.is_approved("x.pth", PAYLOAD));
}

/// A change that cannot be recorded is not made.
#[test]
fn without_an_audit_trail_nothing_is_changed() {
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    fs::create_dir(stage.root().join("events.ndjson")).unwrap();
    let done = stage.run(&["approve", "--yes"], &[&path]).expect(2);
    assert!(done.said.contains("log.json"), "{}", done.said);
    assert!(!stage.is_approved("x.pth", PAYLOAD));
}
