//! A directory with records and policies in it, and the command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{io::Write as _, thread};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) root: PathBuf,
    /// The built-in policy, whatever this machine has under /etc.
    pub(crate) policy: PathBuf,
}

/// One line of `--each`, as verdict, rule and reason.
pub(crate) type Said = (String, Option<String>, Option<String>);

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let mut place = Place { _dir: dir, policy: PathBuf::new(), root };
        place.policy = place.policy_file("built-in.toml", "");
        place
    }

    pub(crate) fn policy_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The command under the built-in policy.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.arg("replay").arg("--config").arg(&self.policy).current_dir(&self.root);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs it with `input` on standard input.
    pub(crate) fn fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // It can end before it has read everything.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        })
    }

    /// What it says of each record, and the exit status.
    pub(crate) fn each(&self, bytes: impl AsRef<[u8]>) -> (i32, Vec<Said>) {
        let file = self.file("records", bytes);
        let output = self.run(&["--each", file.to_str().unwrap()]);
        (status(&output), lines(&output).iter().map(said).collect())
    }

    /// The exit status, and the answer in JSON, which must add up.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["--json"], arguments].concat());
        (status(&output), document(&output))
    }
}

/// The exit status; a command that was ended by a signal has none, and has panicked.
pub(crate) fn status(output: &Output) -> i32 {
    let code = output.status.code();
    code.unwrap_or_else(|| panic!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

pub(crate) fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn error(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

pub(crate) fn lines(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn document(output: &Output) -> Value {
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let count = |value: &Value| value.as_u64().unwrap();
    let sum = |list: &str| -> u64 { answer[list].as_array().unwrap().iter().map(|row| count(&row["count"])).sum() };
    assert_eq!(answer["version"], 1);
    assert_eq!(
        count(&answer["records"]),
        sum("verdicts") + count(&answer["other"]) + sum("malformed"),
        "every record is counted once: {answer:#}"
    );
    let denied = answer["verdicts"].as_array().unwrap().iter().filter(|row| row["verdict"] != "allow");
    let denied: u64 = denied.map(|row| count(&row["count"])).sum();
    assert_eq!(denied, sum("items") + count(&answer["further"]), "and everything that was denied is somebody's");
    answer
}

fn said(line: &Value) -> Said {
    let word = |key: &str| line[key].as_str().map(str::to_owned);
    (word("verdict").unwrap(), word("rule"), word("reason"))
}

pub(crate) fn expected(verdict: &str, rule: Option<&str>, reason: &str) -> Said {
    (verdict.to_owned(), rule.map(str::to_owned), Some(reason.to_owned()))
}

/// A policy of the repository.
pub(crate) fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policy").join(name)).unwrap()
}
