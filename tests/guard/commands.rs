//! The commands that change approvals, while the guard runs: at once, for root, and for nobody else.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Done, Place, run, wait_for};
use crate::stage::copy_program;
use crate::sys;

/// An ordinary user whom nothing else runs as.
const USER: u32 = 61_234;

fn command(place: &Place, words: &[&str], path: Option<&Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
    command.args(words).args(path).arg("--config").arg(place.path().join("pthguard.toml"));
    command
}

fn pthguard(place: &Place, words: &[&str], path: Option<&Path>) -> Done {
    run(&mut command(place, words, path))
}

fn expect(done: Done, status: i32) -> Done {
    assert_eq!(done.status.code(), Some(status), "{}{}", done.stdout, done.stderr);
    done
}

fn items(done: &Done) -> Vec<Value> {
    let document: Value = serde_json::from_str(&done.stdout).unwrap();
    document["items"].as_array().unwrap().clone()
}

fn is_denied(path: &Path) -> bool {
    match fs::read(path) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{path:?}: {error}");
            true
        }
    }
}

/// A guard that has been started twice: what came in between is not approved.
fn guard_with_planted(place: &Place, names: &[&str]) -> Guard {
    let config = Config::new(place);
    config.start().stop();
    for name in names {
        fs::write(place.venvs[0].site.join(name), place.payload()).unwrap();
    }
    config.start()
}

#[test]
fn approved_is_readable_at_once_and_revoked_is_not() {
    let place = Place::new();
    let guard = guard_with_planted(&place, &["new.pth"]);
    let (venv, path) = (&place.venvs[0], place.venvs[0].site.join("new.pth"));
    assert!(is_denied(&path) && !place.start(venv).canary);
    let held = expect(pthguard(&place, &["approvals", "--held", "--json"], None), 1);
    assert_eq!(items(&held)[0]["path"], path.to_str().unwrap());

    let done = expect(pthguard(&place, &["approve"], Some(&path)), 2);
    assert!(done.stderr.contains("--yes") && is_denied(&path), "{}", done.stderr);
    let done = expect(pthguard(&place, &["approve", "--yes"], Some(&path)), 0);
    assert!(done.stderr.contains("import os; os.close"), "{}", done.stderr);
    assert!(!is_denied(&path) && place.start(venv).canary);
    expect(pthguard(&place, &["approvals", "--held"], None), 0);
    expect(pthguard(&place, &["revoke"], Some(&path)), 0);
    assert!(is_denied(&path) && !place.start(venv).canary);
    for _ in 0..10 {
        expect(pthguard(&place, &["approve", "--yes"], Some(&path)), 0);
        assert!(!is_denied(&path));
        expect(pthguard(&place, &["revoke"], Some(&path)), 0);
        assert!(is_denied(&path));
    }
    // Everywhere: by name and digest.
    let seen = expect(pthguard(&place, &["approve", "--yes", "--json"], Some(&path)), 0);
    let digest = items(&seen)[0]["sha256"].as_str().unwrap().to_owned();
    let everywhere = ["--sha256", &digest, "--name", "new.pth"];
    expect(pthguard(&place, &["revoke"], Some(&path)), 0);
    expect(pthguard(&place, &[&["approve", "--yes"], &everywhere[..]].concat(), None), 0);
    assert!(!is_denied(&path));
    expect(pthguard(&place, &[&["revoke"], &everywhere[..]].concat(), None), 0);
    assert!(is_denied(&path));

    let record = guard.wait_record("", &["approval"], Some("new.pth"));
    assert_eq!((field(&record, "user.id"), field(&record, "file.hash.sha256")), ("0", digest.as_str()));
    assert_eq!(field(&record, "process.executable"), env!("CARGO_BIN_EXE_pthguard"));
    guard.wait_record("", &["revocation"], Some("new.pth"));
    let (status, _) = guard.stop();
    assert_eq!(status.code(), Some(0));
    assert!(!place.path().join("state/control").exists(), "the socket is left behind");
}

/// `scan` cannot open what the guard holds back, and asks the daemon; an ordinary user learns no more than that it cannot be
/// read.
#[test]
fn scan_tells_of_held_files() {
    /// The SHA-256 of `import tool` and a line feed, as a RECORD has it.
    const DIGEST: &str = "wO-iD3W28WLYx-9eSEE2CwKqV-LW6pfZfzHyLvADppw";
    let place = Place::new();
    let config = Config::new(&place);
    config.start().stop();
    let (site, path) = (&place.venvs[0].site, place.venvs[0].site.join("tool.pth"));
    fs::write(&path, "import tool\n").unwrap();
    let info = site.join("tool-1.0.dist-info");
    fs::create_dir(&info).unwrap();
    fs::write(info.join("METADATA"), "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n").unwrap();
    let rows = format!("tool.pth,sha256={DIGEST},12\ntool-1.0.dist-info/METADATA,,\ntool-1.0.dist-info/RECORD,,\n");
    fs::write(info.join("RECORD"), rows).unwrap();
    let _guard = config.start();
    assert!(is_denied(&path));

    let scan = |status: i32| {
        let done = expect(pthguard(&place, &["scan", "--json"], Some(site)), status);
        items(&done).into_iter().find(|item| item["name"] == "tool.pth").unwrap()
    };
    let told = scan(1);
    assert_eq!((&told["finding"], &told["note"]), (&json!(["held"]), &json!([])), "{told}");
    assert_eq!((&told["content"], &told["owner"]), (&json!("imports"), &json!("tool 1.0")), "{told}");
    assert_eq!((&told["lines"], &told["approval"]), (&json!([{"number": 1, "text": "import tool"}]), &json!("none")));
    assert_eq!(told["sha256"], pthguard::model::Sha256::of(b"import tool\n").to_string());
    let why = told["detail"][0]["text"].as_str().unwrap();
    assert!(why.contains("not-approved, since ") && why.contains("nobody saw who brought it"), "{why}");
    let text = expect(pthguard(&place, &["scan"], Some(site)), 1).stdout;
    assert!(text.contains("held: nobody can read it") && text.contains("line 1: import tool"), "{text}");
    assert!(is_denied(&path), "it was looked at, not approved");

    let (binary, policy) = (place.path().join("pthguard"), place.path().join("pthguard.toml"));
    copy_program(env!("CARGO_BIN_EXE_pthguard"), &binary);
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o644)).unwrap();
    let mut as_user = Command::new(binary);
    as_user.args(["scan", "--json"]).arg(site).arg("--config").arg(policy).uid(USER).gid(USER);
    let told = items(&expect(run(&mut as_user), 1)).into_iter().find(|item| item["name"] == "tool.pth").unwrap();
    assert_eq!((&told["finding"], &told["sha256"]), (&json!(["unreadable"]), &Value::Null), "{told}");

    expect(pthguard(&place, &["approve", "--yes"], Some(&path)), 0);
    let told = items(&pthguard(&place, &["scan", "--json"], Some(site)));
    let told = told.iter().find(|item| item["name"] == "tool.pth").unwrap();
    assert_eq!((&told["finding"], &told["approval"]), (&json!([]), &json!("approved")), "{told}");
    expect(pthguard(&place, &["revoke"], Some(&path)), 0);
    assert_eq!(scan(1)["finding"], json!(["held"]));
}

/// A `.pth` file that was approved beside a `.start` file does something else without it, and is not read then.
#[test]
fn revoking_one_of_a_pair_does_not_switch_on_the_other() {
    let place = Place::new();
    let _guard = guard_with_planted(&place, &["pair.pth", "pair.start"]);
    let [pth, start] = ["pair.pth", "pair.start"].map(|name| place.venvs[0].site.join(name));
    expect(pthguard(&place, &["approve", "--yes"], Some(&pth)), 0);
    assert!(!is_denied(&pth) && is_denied(&start));
    expect(pthguard(&place, &["approve", "--yes"], Some(&start)), 0);
    assert!(!is_denied(&pth) && !is_denied(&start));
    expect(pthguard(&place, &["revoke"], Some(&start)), 0);
    assert!(is_denied(&pth) && is_denied(&start));
    let done = expect(pthguard(&place, &["approve"], Some(&pth)), 2);
    assert!(!done.stderr.contains("is approved as it is"), "{}", done.stderr);
    expect(pthguard(&place, &["approve", "--yes"], Some(&pth)), 0);
    assert!(!is_denied(&pth) && is_denied(&start));
}

/// A revoked file does not come back when somebody replaces it.
#[test]
fn revoked_stays_revoked() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let (venv, victim) = (&place.venvs[0], place.venvs[0].site.join("victim.pth"));
    expect(pthguard(&place, &["revoke"], Some(&victim)), 0);
    assert!(is_denied(&victim));
    let evil = place.outside.join("evil");
    fs::write(&evil, place.payload()).unwrap();
    fs::rename(&evil, &victim).unwrap();
    wait_for("the newcomer is in quarantine", SOON, || (guard.quarantine().len() == 1).then_some(()));
    let start = place.start(venv);
    assert!(!start.canary && !start.victim && start.keep && start.clean, "{start:?}");
    guard.assert_alive();
    drop(guard);
    let _guard = Config::new(&place).start();
    assert!(!place.start(venv).victim);
}

#[test]
fn baseline_accepts_what_is_held_while_the_guard_runs() {
    let place = Place::new();
    let _guard = guard_with_planted(&place, &["one.pth", "two.pth"]);
    let site = &place.venvs[0].site;
    expect(pthguard(&place, &["baseline"], Some(site)), 2);
    assert!(is_denied(&site.join("one.pth")));
    expect(pthguard(&place, &["baseline", "--yes"], Some(site)), 0);
    assert!(!is_denied(&site.join("one.pth")) && !is_denied(&site.join("two.pth")));
    expect(pthguard(&place, &["approvals", "--held"], None), 0);
}

#[test]
fn what_is_not_guarded_is_refused() {
    let place = Place::new();
    let _guard = Config::new(&place).start();
    let outside = place.outside.join("x.pth");
    fs::write(&outside, "").unwrap();
    let done = expect(pthguard(&place, &["approve", "--yes"], Some(&outside)), 2);
    assert!(done.stderr.contains("protect.extra_sites"), "{}", done.stderr);
    let text = place.venvs[0].site.join("x.txt");
    fs::write(&text, "").unwrap();
    let done = expect(pthguard(&place, &["approve", "--yes"], Some(&text)), 2);
    assert!(done.stderr.contains("protect.startup"), "{}", done.stderr);
}

#[test]
fn a_quarantined_file_comes_back_when_it_is_approved() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let (evil, path) = (place.outside.join("evil"), place.venvs[0].site.join("evil.pth"));
    fs::write(&evil, place.payload()).unwrap();
    fs::rename(&evil, &path).unwrap();
    wait_for("the newcomer is in quarantine", SOON, || {
        (guard.quarantine().len() == 1 && path.symlink_metadata().is_err()).then_some(())
    });
    let list = items(&expect(pthguard(&place, &["quarantine", "list", "--json"], None), 0));
    let id = list[0]["id"].as_str().unwrap();
    expect(pthguard(&place, &["quarantine", "restore", id], None), 2);
    assert!(path.symlink_metadata().is_err());
    expect(pthguard(&place, &["quarantine", "restore", "--approve", "--yes", id], None), 0);
    assert_eq!(fs::read(&path).unwrap(), place.payload());
    assert!(place.start(&place.venvs[0]).canary);
    guard.wait_record("", &["restore"], Some("evil.pth"));
    // It has come to stay, and leaves when it is told to.
    expect(pthguard(&place, &["revoke"], Some(&path)), 0);
    assert!(is_denied(&path) && path.symlink_metadata().is_ok());
    expect(pthguard(&place, &["quarantine", "purge", "--all", "--yes"], None), 0);
    assert_eq!(guard.quarantine(), [] as [&Path; 0]);
}

/// Whoever else reaches the socket is told so and recorded, whatever he asks for.
#[test]
fn only_root_is_listened_to() {
    let place = Place::new();
    let guard = guard_with_planted(&place, &["new.pth"]);
    let path = place.venvs[0].site.join("new.pth");
    let (state, socket) = (place.path().join("state"), place.path().join("state/control"));
    assert_eq!(fs::symlink_metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |socket: std::path::PathBuf, request: String| {
        thread::spawn(move || {
            sys::become_user(USER).unwrap();
            let mut stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(SOON)).unwrap();
            let _ = stream.write_all(request.as_bytes()); // it may be refused before it is read
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).map(|_| answer)
        })
        .join()
        .unwrap()
    };
    let request = format!(
        "{{\"version\":1,\"body\":{{\"approve-everywhere\":{{\"name\":\"new.pth\",\"sha256\":\"{}\"}}}}}}\n",
        pthguard::model::Sha256::of(&place.payload())
    );
    assert_eq!(ask(socket.clone(), request.clone()).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    // Without the modes there is still the check of who it is.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = ask(socket.clone(), request.clone()).unwrap();
    assert!(answer.contains("\"not-root\""), "{answer}");
    assert!(is_denied(&path));
    let record = wait_for("a record of the refusal", SOON, || {
        guard.records().into_iter().find(|record| field(record, "event.action") == "refused")
    });
    assert_eq!(field(&record, "user.id"), USER.to_string());
    let binary = place.path().join("pthguard");
    copy_program(env!("CARGO_BIN_EXE_pthguard"), &binary);
    fs::set_permissions(place.path().join("pthguard.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut as_user = Command::new(binary);
    as_user
        .args(["approve", "--yes", "--config"])
        .arg(place.path().join("pthguard.toml"))
        .arg(&path)
        .uid(USER)
        .gid(USER);
    expect(run(&mut as_user), 2);
    assert!(is_denied(&path));
    // The same words from root are a request.
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("done") && !is_denied(&path), "{answer}");
}

/// Clients that hang, lie or flood keep neither openers nor other commands waiting for long.
#[test]
fn bad_clients_hold_up_nobody() {
    let place = Place::new();
    let mut guard = guard_with_planted(&place, &["new.pth"]);
    let socket = place.path().join("state/control");
    let keep = place.venvs[0].site.join("keep.pth");
    let mut silent: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    silent[1].write_all(b"{\"version\":1,\"bo").unwrap();
    for _ in 0..50 {
        let begin = Instant::now();
        fs::read(&keep).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
    for bytes in [&[b'x'; 100_000][..], b"\n", b"\xff\n", b"{\"version\":99}\n", b"[[[[[[\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    expect(pthguard(&place, &["approve", "--yes"], Some(&place.venvs[0].site.join("new.pth"))), 0);
    guard.assert_alive();
}

fn spawn_approvals(place: &Place, names: &[String]) -> Vec<Child> {
    let spawn = |name: &String| {
        let path = place.venvs[0].site.join(name);
        let mut command = command(place, &["approve", "--yes"], Some(&path));
        sys::die_with_parent(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())).spawn().unwrap()
    };
    names.iter().map(spawn).collect()
}

#[test]
fn twenty_commands_at_once() {
    let place = Place::new();
    let names: Vec<String> = (0..20).map(|number| format!("many-{number}.pth")).collect();
    let _guard = guard_with_planted(&place, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for mut child in spawn_approvals(&place, &names) {
        assert!(child.wait().unwrap().success());
    }
    for name in &names {
        assert!(!is_denied(&place.venvs[0].site.join(name)), "{name}");
    }
    expect(pthguard(&place, &["approvals", "--held"], None), 0);
}

/// What was acknowledged holds, whether the daemon did it or, when it was gone, the command itself.
#[test]
fn the_daemon_is_killed_while_commands_run() {
    let place = Place::new();
    let names: Vec<String> = (0..20).map(|number| format!("many-{number}.pth")).collect();
    let guard = guard_with_planted(&place, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut children = spawn_approvals(&place, &names);
    assert!(children[0].wait().unwrap().success());
    drop(guard); // SIGKILL
    let acknowledged: Vec<bool> = children.iter_mut().map(|child| child.wait().unwrap().success()).collect();
    let mut guard = Config::new(&place).start();
    for (name, acknowledged) in names.iter().zip(&acknowledged) {
        assert!(!acknowledged || !is_denied(&place.venvs[0].site.join(name)), "{name} was acknowledged and is lost");
    }
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.clean, "{start:?}");
    // The socket that was left behind has been replaced.
    expect(pthguard(&place, &["approvals"], None), 0);
    guard.assert_alive();
}
