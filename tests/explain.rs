//! `pthguard explain`: the same answer as the guard's, with the reasons.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const POLICY: &str = "include_default = false\n[protect]\nsites = [\"DIR/lib/python3*/site-packages\"]\n\
    [[deny]]\nname = \"not-here\"\nsites = [\"/nowhere\"]\naccess = [\"write\"]\n\
    [[allow]]\nname = \"tool\"\nexe = [\"/usr/bin/tail\"]\nuid = [0]\naccess = [\"write\"]\ncontent = \"any\"\n\
    [[allow]]\nname = \"pip\"\nexe = [\"/usr/bin/python3*\"]\nscript = [\"/**/bin/pip\"]\nmodule = [\"pip\"]\n\
    access = [\"write\", \"rename\"]\ncontent = \"any\"\n";

struct Place {
    dir: TempDir,
    policy: PathBuf,
    file: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let site = root.join("lib/python3.11/site-packages");
        fs::create_dir_all(&site).unwrap();
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/pip"), "").unwrap();
        let policy = root.join("policy.toml");
        fs::write(&policy, POLICY.replace("DIR", root.to_str().unwrap())).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o600)).unwrap();
        Place { file: site.join("x.pth"), dir, policy }
    }

    fn explain(&self, path: &Path, who: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.arg("explain").arg("--config").arg(&self.policy).arg("--path").arg(path).args(who);
        command.output().unwrap()
    }

    /// The exit status, and the answer in JSON.
    fn ask(&self, path: &Path, who: &[&str]) -> (i32, Value) {
        let output = self.explain(path, &[who, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        (output.status.code().unwrap(), answer)
    }
}

/// The last rule that was asked, and what was wrong with it.
fn last(answer: &Value) -> (&str, &str) {
    let item = answer["items"].as_array().unwrap().last().unwrap();
    (item["rule"].as_str().unwrap(), item["mismatch"].as_str().unwrap_or("matches"))
}

#[test]
fn from_given_facts() {
    let place = Place::new();
    let pip = place.dir.path().join("bin/pip");
    let pip = pip.to_str().unwrap();
    for (who, status, rule) in [
        (vec!["--exe", "/usr/bin/tail"], 0, ("tool", "matches")),
        (vec!["--exe", "/usr/bin/tail", "--uid", "7"], 1, ("pip", "exe")),
        (vec!["--exe", "/usr/bin/python3", "--script", pip], 0, ("pip", "matches")),
        (vec!["--exe", "/usr/bin/python3", "--script", pip, "--access", "link"], 1, ("pip", "access")),
        (vec!["--exe", "/usr/bin/python3", "--module", "pip"], 1, ("pip", "scope")),
        (vec!["--exe", "/usr/bin/python3", "--command"], 1, ("pip", "script")),
        (vec!["--exe", "/usr/bin/python3"], 1, ("pip", "script")),
    ] {
        let (code, answer) = place.ask(&place.file, &who);
        assert_eq!((code, last(&answer)), (status, rule), "{who:?}: {answer:#}");
        assert_eq!(answer["verdict"], if status == 0 { "allow" } else { "deny" });
        assert_eq!(answer["guarded"], true);
        assert_eq!(answer["items"][0]["rule"], "not-here", "every rule that was asked");
    }
}

#[test]
fn what_is_not_guarded_is_said_and_is_no_finding() {
    let place = Place::new();
    for path in [place.file.with_file_name("x.txt"), place.dir.path().join("x.pth")] {
        let (code, answer) = place.ask(&path, &["--exe", "/usr/bin/cp"]);
        assert_eq!((code, &answer["guarded"]), (0, &Value::Bool(false)));
    }
    let said = place.explain(&place.dir.path().join("x.pth"), &["--exe", "/usr/bin/cp"]).stdout;
    assert!(String::from_utf8_lossy(&said).starts_with("not guarded:"));
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let place = Place::new();
    for (who, said) in [
        (vec![], "--pid"),
        (vec!["--pid", "1", "--exe", "/x"], "cannot be used with"),
        (vec!["--pid", "2147483600"], "process 2147483600"),
    ] {
        let output = place.explain(&place.file, &who);
        assert_eq!(output.status.code(), Some(2), "{who:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{who:?}: {stderr}");
    }
}

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn run(command: &mut Command) -> Running {
    Running(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
}

/// A process as it runs, and as it is when something about it is wrong.
#[test]
fn a_live_process() {
    let place = Place::new();
    let copy = place.dir.path().join("tail");
    // By a process of its own: a child that another test forks meanwhile would inherit the descriptor, and keep the copy
    // from being executed (ETXTBSY).
    assert!(Command::new("cp").arg("/usr/bin/tail").arg(&copy).status().unwrap().success());
    let follow = |program: &Path| {
        let mut command = Command::new(program);
        command.args(["-f", "/dev/null"]);
        command
    };
    let tail = Path::new("/usr/bin/tail");
    for (mut command, status, rule) in [(follow(tail), 0, ("tool", "matches")), (follow(&copy), 1, ("pip", "exe"))] {
        let process = run(&mut command);
        let (code, answer) = place.ask(&place.file, &["--pid", &process.0.id().to_string()]);
        assert_eq!((code, last(&answer)), (status, rule), "{command:?}: {answer:#}");
    }
    fs::write(
        &place.policy,
        fs::read_to_string(&place.policy).unwrap().replace("uid = [0]", "environment = \"clean\""),
    )
    .unwrap();
    let process = run(follow(tail).env("LD_LIBRARY_PATH", "/nowhere\u{1b}[2J"));
    let (code, answer) = place.ask(&place.file, &["--pid", &process.0.id().to_string()]);
    assert_eq!((code, answer["reason"].as_str()), (1, Some("loader-environment")), "{answer:#}");
    let tool = answer["items"].as_array().unwrap().iter().find(|item| item["rule"] == "tool").unwrap();
    assert!(tool["because"].as_str().unwrap().contains("LD_LIBRARY_PATH"), "{tool:#}");
}
