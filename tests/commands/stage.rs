//! A policy, a site directory and a state with a baseline, in a temporary directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use pthguard::approvals::{Approval, Approvals, Directory, DirectoryId, Held, Metadata, prepare_directory};
use pthguard::control::{Place, place};
use pthguard::model::{ContentClass, Origin, Sha256};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PAYLOAD: &str = "import os; os.kill(os.getpid(), 0)\n";

pub(crate) struct Stage {
    dir: TempDir,
    pub(crate) site: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) policy: PathBuf,
}

impl Stage {
    /// With `old.pth` as the baseline.
    pub(crate) fn new() -> Stage {
        assert!(nix::unistd::geteuid().is_root(), "blocked: these tests need root (the state is root's)");
        let stage = Stage::without_baseline();
        fs::write(stage.path("old.pth"), "/opt/old\n").unwrap();
        let store = stage.open_store();
        let (id, _) = stage.directory(&store);
        let metadata = Metadata::from(&fs::metadata(stage.path("old.pth")).unwrap());
        let approval = Approval::new(Sha256::of(b"/opt/old\n"), Origin::Baseline, metadata);
        store.approve(id, OsStr::new("old.pth"), b"/opt/old\n", approval).unwrap();
        store.baseline_complete().unwrap();
        stage
    }

    /// A daemon has never run.
    pub(crate) fn without_baseline() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let (site, state, policy) =
            (root.join("lib/python3.11/site-packages"), root.join("state"), root.join("policy.toml"));
        fs::create_dir_all(&site).unwrap();
        let text = format!(
            "include_default = false\n[protect]\nsites = [{:?}]\nmax_size = \"64KiB\"\n[log]\nsyslog = false\n\
             json = {:?}\n[state]\ndir = {state:?}\n",
            root.join("lib/python3*/site-packages"),
            root.join("events.ndjson"),
        );
        fs::write(&policy, text).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o600)).unwrap();
        Stage { dir, site, state, policy }
    }

    pub(crate) fn root(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap()
    }

    /// A file in the site directory.
    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.site.join(name.as_ref())
    }

    pub(crate) fn write(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn open_store(&self) -> Approvals {
        prepare_directory(&self.state).unwrap();
        Approvals::open(&self.state).unwrap()
    }

    pub(crate) fn directory(&self, store: &Approvals) -> (DirectoryId, Directory) {
        let Place { directory, .. } = place(&self.path("x.pth")).unwrap();
        (store.directory(&directory), directory)
    }

    pub(crate) fn is_approved(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) -> bool {
        let store = self.open_store();
        let (id, _) = self.directory(&store);
        store.is_approved(id, name.as_ref(), Sha256::of(bytes.as_ref()))
    }

    /// Lets the daemon have held a file.
    pub(crate) fn hold(&self, name: &str, bytes: &[u8], class: ContentClass) -> PathBuf {
        let path = self.write(name, bytes);
        let store = self.open_store();
        let (id, _) = self.directory(&store);
        let held = Held {
            sha256: Some(Sha256::of(bytes)),
            class,
            line: Some("import os".into()),
            package: None,
            author: "process 7, /usr/bin/python3".into(),
            reason: "content".into(),
            since: "2026-11-22T00:00:00Z".into(),
            size: bytes.len() as u64,
        };
        store.hold(id, OsStr::new(name), held).unwrap();
        path
    }

    /// A command with paths behind its words.
    pub(crate) fn command(&self, words: &[&str], paths: &[&Path]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.args(words).args(paths).arg("--config").arg(&self.policy).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str], paths: &[&Path]) -> Done {
        Done::of(self.command(words, paths).output().unwrap())
    }

    /// Runs a command on a terminal where somebody types this.
    pub(crate) fn run_on_terminal(&self, words: &[&str], path: &Path, typed: &str) -> Done {
        let (mut child, mut output) = self.spawn_on_terminal(words, path);
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let mut out = String::new();
        output.read_to_string(&mut out).unwrap();
        Done { status: child.wait().unwrap().code().unwrap_or(-1), out, said: String::new() }
    }

    /// A command on a terminal: what is written to its input is typed there, what it shows can be read.
    pub(crate) fn spawn_on_terminal(&self, words: &[&str], path: &Path) -> (Child, ChildStdout) {
        const SPAWN: &str = "import os, pty, sys; sys.exit(os.WEXITSTATUS(pty.spawn(sys.argv[1:])))";
        let command = self.command(words, &[path]);
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-I", "-S", "-c", SPAWN]).arg(command.get_program()).args(command.get_args());
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("blocked: /usr/bin/python3 is needed");
        let output = python.stdout.take().unwrap();
        (python, output)
    }

    pub(crate) fn records(&self, action: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.root().join("events.ndjson")).unwrap_or_default();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|record| record["event"]["action"] == action).collect()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) said: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Done {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done { status: output.status.code().unwrap_or(-1), out: text(output.stdout), said: text(output.stderr) }
    }

    /// The items of a JSON document.
    pub(crate) fn items(&self) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(document["version"], 1);
        document["items"].as_array().unwrap().clone()
    }

    pub(crate) fn expect(self, status: i32) -> Done {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}
