//! Where the tests happen: a root file system of the test's own, with virtual environments in it that the built-in policy
//! names, and a mark that tells whether planted code ran.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Config, Guard, SOON, field};
use crate::material;
use crate::root;
use crate::site::{Done, run, wait_for};

/// The file that planted code makes.
const MARK: &str = "/srv/mark";
/// Interpreter starts after an attack.
pub(crate) const STARTS: usize = 5;
/// A test whose guard lives longer is stuck.
const LIMIT: Duration = Duration::from_secs(120);

/// The code of an attacker, as a Python expression.
pub(crate) fn payload() -> String {
    format!("open({MARK:?}, 'a').close()")
}

/// A line of a `.pth` file that runs it.
pub(crate) fn line() -> String {
    format!("import os; {}\n", payload())
}

/// An extension module whose initialisation is the payload, without Python's headers.
pub(crate) fn extension(module: &str) -> Vec<u8> {
    let source = Path::new("/srv").join(format!("{module}.c"));
    let object = source.with_extension("built");
    let text = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n\
         void *PyInit_{module}(void) {{ close(open(\"/srv/mark\", O_CREAT | O_WRONLY, 0600)); return 0; }}\n"
    );
    fs::write(&source, text).unwrap();
    let done = run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&object).arg(&source));
    assert!(done.status.success(), "blocked: gcc (with libc6-dev) is needed: {}", done.stderr);
    fs::read(object).unwrap()
}

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

/// What is brought into the private root.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct With {
    /// CPython 3.15, as if it had been installed.
    pub(crate) python315: bool,
    /// `/usr/local/bin/uv`.
    pub(crate) uv: bool,
}

/// A private root file system. Everything in it is gone when the test ends.
pub(crate) struct Arena {
    problems: RefCell<Vec<String>>,
}

/// Run a test in a private root, and fail it with everything that went wrong in there.
pub(crate) fn arena(with: With, test: impl FnOnce(&Arena) + Send) {
    assert!(crate::sys::is_root(), "blocked: these tests need root (a mount namespace, fanotify permission events)");
    let wheels = material::wheels();
    let python315 = with.python315.then(|| (material::debian_python("3.15"), material::wheels_315()));
    let bring = |root: &Path| {
        copy(&wheels.join("."), &root.join("srv/wheels"))?;
        if let Some((python, more)) = &python315 {
            copy(more, &root.join("srv/wheels-3.15"))?;
            copy(&python.join("usr"), root)?;
            copy(&python.join("etc/python3.15"), &root.join("etc"))?;
        }
        Ok(())
    };
    let problems = root::in_private_root_with(bring, || {
        if with.uv {
            let wheel = material::find("/srv/wheels".as_ref(), "uv==0.13.9").expect("the wheel of uv");
            unpack(&wheel, "/srv/uv".as_ref());
            fs::rename("/srv/uv/uv-0.13.9.data/scripts/uv", "/usr/local/bin/uv").unwrap();
            run(tool("chmod").args(["755", "/usr/local/bin/uv"])).result().unwrap();
        }
        let arena = Arena { problems: RefCell::default() };
        test(&arena);
        arena.problems.into_inner()
    });
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).result()
}

/// Unpack a wheel.
pub(crate) fn unpack(wheel: &Path, to: &Path) {
    run(tool("/usr/bin/python3").args(["-I", "-S", "-m", "zipfile", "-e"]).arg(wheel).arg(to)).result().unwrap();
}

impl Arena {
    /// Put a problem down; the test goes on with what does not depend on it.
    pub(crate) fn problem(&self, problem: impl Into<String>) {
        let problem = problem.into();
        println!("PROBLEM: {problem}");
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn check(&self, what: &str, holds: bool) {
        if !holds {
            self.problem(what);
        }
    }

    /// The wheel of a requirement `NAME==VERSION`.
    pub(crate) fn wheel(&self, requirement: &str) -> PathBuf {
        material::find("/srv/wheels".as_ref(), requirement).expect("one of the wheels of an ordinary run")
    }

    /// The wheel of a requirement for this interpreter, where there are several.
    pub(crate) fn wheel_for(&self, requirement: &str, tag: &str) -> PathBuf {
        let of = |directory: &str| material::find(directory.as_ref(), requirement).expect("a wheel");
        if tag == "cp315" { of("/srv/wheels-3.15") } else { of("/srv/wheels") }
    }

    /// A virtual environment of Debian's interpreter, with Debian's pip.
    pub(crate) fn environment(&self, name: &str) -> Env {
        self.environment_of(name, &fs::canonicalize("/usr/bin/python3").unwrap())
    }

    /// The same for another interpreter, from 3.7 on.
    pub(crate) fn environment_of(&self, name: &str, python: &Path) -> Env {
        let wheels = fs::read_dir("/usr/share/python-wheels").into_iter().flatten().flatten().map(|entry| entry.path());
        let is_pip = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pip-"));
        let pip = wheels.into_iter().find(is_pip).expect("blocked: no wheel of pip (package python3-venv)");
        Env::make(name, python, &pip)
    }

    /// A virtual environment of CPython 3.15, with a pip that knows it.
    pub(crate) fn environment315(&self, name: &str) -> Env {
        Env::make(name, "/usr/bin/python3.15".as_ref(), &self.wheel("pip==26.3"))
    }

    /// Debian's interpreters find Debian's `sitecustomize` first, which hides any other. Other distributions have none.
    pub(crate) fn forget_debians_sitecustomize(&self) {
        for version in ["3.11", "3.15"] {
            let file = PathBuf::from(format!("/usr/lib/python{version}/sitecustomize.py"));
            if file.symlink_metadata().is_ok() {
                fs::remove_file(file).unwrap();
            }
        }
    }

    /// A guard that enforces the built-in policy on everything that is there now.
    pub(crate) fn guard(&self) -> Guarded {
        self.guard_for(LIMIT)
    }

    /// The same, for longer than a guard of a test usually lives.
    pub(crate) fn guard_for(&self, limit: Duration) -> Guarded {
        Guarded::start(tempfile::Builder::new().prefix("guard-").tempdir_in("/srv").unwrap(), limit)
    }

    /// Another guard with the state that one has left.
    pub(crate) fn guard_again(&self, home: TempDir) -> Guarded {
        Guarded::start(home, LIMIT)
    }
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
    fn make(name: &str, python: &Path, pip: &Path) -> Env {
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

fn forget_mark() {
    if let Err(error) = fs::remove_file(MARK) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}

/// A way to plant code.
pub(crate) struct Attack<'a> {
    pub(crate) name: &'a str,
    /// The file that somebody has to hold, deny or take away, below the site directory.
    pub(crate) file: &'a str,
    pub(crate) plant: Box<dyn Fn(&Spot) + 'a>,
}

impl<'a> Attack<'a> {
    pub(crate) fn new(name: &'a str, file: &'a str, plant: impl Fn(&Spot) + 'a) -> Attack<'a> {
        Attack { name, file, plant: Box::new(plant) }
    }
}

/// Where an attack happens.
pub(crate) struct Spot<'a> {
    pub(crate) env: &'a Env,
    guarded: Option<&'a Guarded>,
}

impl Spot<'_> {
    /// Wait until a file that the attack begins with is approved; without a guard there is nothing to wait for.
    pub(crate) fn approved(&self, file: &str) {
        if let Some(Err(problem)) = self.guarded.map(|guarded| guarded.approves(&self.env.site.join(file))) {
            println!("not what the attack begins with: {problem}");
        }
    }
}

impl Arena {
    /// Try each attack twice, in an environment of its own: without a guard, where the code has to run, and under one that
    /// enforces, where it must not: neither at once nor when everything has been judged.
    pub(crate) fn try_all(&self, make: impl Fn(&str) -> Env, attacks: &[Attack]) {
        let place = |attack: &Attack, kind: &str| make(&format!("{}-{kind}", attack.name.replace([' ', '/'], "-")));
        for attack in attacks {
            let env = place(attack, "open");
            (attack.plant)(&Spot { env: &env, guarded: None });
            let starts = env.start(1);
            self.check(&format!("{}: does not run without a guard: {}", attack.name, starts.said), starts.ran == 1);
        }
        let places: Vec<Env> = attacks.iter().map(|attack| place(attack, "guarded")).collect();
        let mut guarded = self.guard();
        for (attack, env) in attacks.iter().zip(&places) {
            let file = env.site.join(attack.file);
            (attack.plant)(&Spot { env, guarded: Some(&guarded) });
            let soon = env.start(STARTS);
            let settled = guarded.settled(&file);
            let later = env.start(STARTS);
            let about = guarded.about(&file);
            if soon.ran + later.ran > 0 {
                self.problem(format!("{}: RAN {} + {} times{about}", attack.name, soon.ran, later.ran));
            } else if !settled {
                self.problem(format!("{}: did not run, but no record tells why{about}", attack.name));
            }
            if soon.failed + later.failed > 0 {
                self.problem(format!("{}: no interpreter starts any more: {}{}", attack.name, soon.said, later.said));
            }
            if !later.said.is_empty() {
                println!("{}: the interpreter says: {}", attack.name, later.said.trim());
            }
        }
        guarded.guard.assert_alive();
    }
}

/// A guard, and the commands that talk to it.
pub(crate) struct Guarded {
    pub(crate) guard: Guard,
    home: TempDir,
}

impl Guarded {
    fn start(home: TempDir, limit: Duration) -> Guarded {
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
        let deadline = std::time::Instant::now() + SOON;
        loop {
            match fs::read(file) {
                Ok(_) => return Ok(()),
                Err(error) if std::time::Instant::now() > deadline => {
                    return Err(format!("not approved: {} ({error}){}", file.display(), self.about(file)));
                }
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    }

    /// Wait until the guard has said that it holds the file, and see that nobody reads it.
    pub(crate) fn holds(&self, file: &Path) -> Result<Value, String> {
        let path = file.to_str().expect("a plain name");
        let deadline = std::time::Instant::now() + SOON;
        let record = loop {
            let held = |record: &Value| field(record, "event.action") == "held" && field(record, "file.path") == path;
            match self.guard.records().into_iter().find(held) {
                Some(record) => break record,
                None if std::time::Instant::now() > deadline => {
                    return Err(format!("no record that it is held: {path}{}", self.about(file)));
                }
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
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
        let deadline = std::time::Instant::now() + SOON / 2;
        while std::time::Instant::now() < deadline {
            if self.guard.records().iter().any(about) || fs::read(file).is_ok() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
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

    pub(crate) fn wait_record(&self, verdict: &str, actions: &[&str], name: &str) -> Value {
        self.guard.wait_record(verdict, actions, Some(name))
    }

    /// Poll for something that the guard does by itself.
    pub(crate) fn wait<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        wait_for(what, SOON, condition)
    }
}
