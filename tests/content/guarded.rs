//! A guard under the built-in policy, and what it says of files.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::environment::tool;
use crate::harness::{Config, Guard, SOON, field};
use crate::root;
use crate::site::{Done, run};

/// A guard, and the commands that talk to it.
pub(crate) struct Guarded {
    pub(crate) guard: Guard,
    home: TempDir,
}

impl Guarded {
    pub(crate) fn start(home: TempDir, limit: Duration) -> Guarded {
        let guard = Config::built_in(home.path(), Vec::new()).limit(limit).start();
        root::assert_marks_are_private(guard.pid());
        Guarded { guard, home }
    }

    /// Stop the guard; its state stays.
    pub(crate) fn stop(self) -> TempDir {
        let (status, _) = self.guard.stop();
        assert!(status.success(), "the guard ended with {status}");
        self.home
    }

    /// `pthguard COMMAND … --config FILE`, with this guard's policy file.
    pub(crate) fn command(&self, arguments: &[&OsStr]) -> Done {
        let mut command = tool(env!("CARGO_BIN_EXE_pthguard"));
        run(command.args(arguments).arg("--config").arg(self.home.path().join("pthguard.toml")))
    }

    /// Wait until the file is readable: approved.
    pub(crate) fn approves(&self, file: &Path) -> Result<(), String> {
        let deadline = Instant::now() + SOON;
        loop {
            match fs::read(file) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(format!("not approved: {} ({error}){}", file.display(), self.about(file)));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Wait until the guard has said that it holds the file, and see that nobody reads it.
    pub(crate) fn holds(&self, file: &Path) -> Result<Value, String> {
        let path = file.to_str().expect("a plain name");
        let deadline = Instant::now() + SOON;
        let record = loop {
            let held = |record: &Value| field(record, "event.action") == "held" && field(record, "file.path") == path;
            match self.guard.records().into_iter().find(held) {
                Some(record) => break record,
                None if Instant::now() > deadline => {
                    return Err(format!("no record that it is held: {path}{}", self.about(file)));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        match fs::read(file) {
            Ok(_) => Err(format!("held and yet readable: {path}{}", self.about(file))),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(record),
            Err(error) => Err(format!("{path}: {error}{}", self.about(file))),
        }
    }

    /// What `pthguard approvals --held --json` lists.
    pub(crate) fn held(&self) -> Result<Vec<Value>, String> {
        let done = self.command(&["approvals".as_ref(), "--held".as_ref(), "--json".as_ref()]);
        let text: Value = serde_json::from_str(&done.stdout)
            .map_err(|error| format!("approvals --held --json: {error}: {}{}", done.stdout, done.stderr))?;
        let items = text.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        match (items.is_empty(), done.status.code()) {
            (true, Some(0)) | (false, Some(1)) => Ok(items),
            (_, status) => Err(format!("approvals --held --json: {} items and status {status:?}", items.len())),
        }
    }

    /// `pthguard approve`.
    pub(crate) fn approve(&self, file: &Path) -> Result<(), String> {
        let done = self.command(&["approve".as_ref(), "--yes".as_ref(), file.as_ref()]);
        if done.status.success() { Ok(()) } else { Err(format!("approve: {}{}", done.stdout, done.stderr)) }
    }

    /// Wait until every decision about the file is made: what came has been approved, held or taken away.
    pub(crate) fn settled(&self, file: &Path) -> bool {
        let path = file.to_str().expect("a plain name");
        let words = ["held", "approval", "quarantine"];
        let about = |record: &Value| {
            words.contains(&field(record, "event.action")) && field(record, "file.path") == path
                || field(record, "pthguard.verdict") == "deny" && field(record, "file.path") == path
        };
        let deadline = Instant::now() + SOON / 2;
        while Instant::now() < deadline {
            if self.guard.records().iter().any(about) || fs::read(file).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// What the guard recorded about a file, for messages.
    pub(crate) fn about(&self, file: &Path) -> String {
        let path = file.to_str().expect("a plain name");
        let mut text = String::new();
        for record in self.guard.records() {
            if field(&record, "file.path") == path || field(&record, "event.action") == "failure" {
                let words = ["event.action", "pthguard.verdict", "rule.name", "pthguard.reason", "pthguard.message"];
                let words: Vec<&str> = words.iter().map(|word| field(&record, word)).collect();
                text.push_str(&format!("\n    [{}]", words.join(" | ")));
            }
        }
        text
    }
}
