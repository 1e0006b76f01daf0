//! Virtual environments in the private root, and the interpreter starts that tell whether planted code ran.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::planted::{MARK, forget_mark};
use crate::site::{Done, run};

/// A command with the environment of a root login: nothing of the build's or of a virtual environment's.
pub(crate) fn tool(program: impl AsRef<OsStr>) -> Command {
    const FOREIGN: &[&str] = &["PYENV", "PYTHON", "CARGO", "RUST", "VIRTUAL_ENV", "UV_", "PTHGUARD", "XDG", "LD_"];
    const LEFT_OUT: &[&str] = &["PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"];
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN.iter().any(|start| text.starts_with(start)) || LEFT_OUT.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_ROOT_USER_ACTION", "ignore");
    command.env("DEBIAN_FRONTEND", "noninteractive").current_dir("/srv");
    command
}
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).result()
}

/// Unpack a wheel.
pub(crate) fn unpack(wheel: &Path, to: &Path) {
    run(tool("/usr/bin/python3").args(["-I", "-S", "-m", "zipfile", "-e"]).arg(wheel).arg(to)).result().unwrap();
}

/// A virtual environment below /opt, which the built-in policy names.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    pub(crate) root: PathBuf,
    pub(crate) site: PathBuf,
    pub(crate) python: PathBuf,
}

/// What interpreter starts showed.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// In how many of them the planted code ran.
    pub(crate) ran: usize,
    /// How many did not end well.
    pub(crate) failed: usize,
    /// What the interpreter complained about, and how it ended if not well.
    pub(crate) said: String,
}

impl Env {
    pub(crate) fn make(name: &str, python: &Path, pip: &Path) -> Env {
        let root = Path::new("/opt").join(name);
        let site = root.join("lib").join(python.file_name().unwrap()).join("site-packages");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(site.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(python, root.join("bin/python3")).unwrap();
        let home = python.parent().unwrap().display();
        fs::write(root.join("pyvenv.cfg"), format!("home = {home}\ninclude-system-site-packages = false\n")).unwrap();
        // Unpacked and compiled once for each version, then copied.
        let template = Path::new("/srv").join(pip.file_stem().unwrap()).join("site");
        if !template.exists() {
            unpack(pip, &template);
            run(tool(python).args(["-I", "-m", "compileall", "-q"]).arg(&template)).result().unwrap();
        }
        copy(&template, &site).unwrap();
        Env { python: root.join("bin/python3"), root, site }
    }

    /// The interpreter also sees the system's and the user's site directories, and obeys `usercustomize`.
    pub(crate) fn open_to_the_system(self) -> Env {
        fs::write(self.root.join("pyvenv.cfg"), "home = /usr/bin\ninclude-system-site-packages = true\n").unwrap();
        self
    }

    /// `python -m pip install`, without the index.
    pub(crate) fn pip(&self) -> Command {
        let mut command = tool(&self.python);
        command.args(["-m", "pip", "install", "-q", "--no-index", "--no-deps"]);
        command
    }

    /// Install a wheel with pip.
    pub(crate) fn install(&self, wheel: &Path) -> Done {
        run(self.pip().arg(wheel))
    }

    /// `uv pip install`, without the index.
    pub(crate) fn uv(&self, mode: &str, cache: &str) -> Command {
        let mut command = tool("/usr/local/bin/uv");
        command.env("UV_CACHE_DIR", cache).args(["pip", "install", "-q", "--no-index", "--no-deps", "--offline"]);
        command.args(["--link-mode", mode, "--python"]).arg(&self.python);
        command
    }

    /// Start the interpreter some times and see whether planted code runs.
    pub(crate) fn start(&self, times: usize) -> Starts {
        self.start_with(times, |_| {})
    }

    /// The same, with something changed about the command.
    pub(crate) fn start_with(&self, times: usize, change: impl Fn(&mut Command)) -> Starts {
        let mut starts = Starts::default();
        for _ in 0..times {
            forget_mark();
            let mut python = tool(&self.python);
            // From a directory that is no site directory: the first entry of sys.path is the current one.
            python.current_dir("/").args(["-c", "pass"]);
            change(&mut python);
            let done = run(&mut python);
            starts.ran += usize::from(Path::new(MARK).exists());
            starts.failed += usize::from(!done.status.success());
            if !done.status.success() || !done.stderr.is_empty() {
                starts.said = format!("{} {}", done.status, done.stderr);
            }
        }
        forget_mark();
        starts
    }

    pub(crate) fn runs(&self) -> bool {
        self.start(1).ran == 1
    }

    /// What `expression` is in the environment's interpreter.
    pub(crate) fn evaluate(&self, expression: &str) -> String {
        let done = run(tool(&self.python).current_dir("/").args(["-c", &format!("import sys; print({expression})")]));
        done.stdout.trim().to_owned()
    }
}
