//! One rule that speaks of one program, the program itself, and those who pose as it.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Done, Place, run, wait_for};

/// An ordinary user whom nothing else runs as.
pub(crate) const USER: u32 = 61_234;
/// The rule that lets the honest program in. Denials have to name it where it nearly matched.
pub(crate) const RULE: &str = "the-honest-tool";

const FORGER: &str = include_str!("forger.c");
const PRELOAD: &str = include_str!("preload.c");

/// A place whose first site directory everybody may write to, as far as file modes go.
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) site: PathBuf,
    /// A directory of the ordinary user's own.
    pub(crate) home: PathBuf,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let place = Place::new();
        let site = place.venvs[0].site.clone();
        set_mode(&site, 0o777);
        let home = place.path().join("home");
        fs::create_dir(&home).unwrap();
        own(&home, USER);
        let stage = Stage { place, site, home };
        fs::write(stage.source("harmless"), "# nothing\n").unwrap();
        fs::write(stage.source("payload"), stage.place.payload()).unwrap();
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn source(&self, name: &str) -> PathBuf {
        self.place.outside.join(name)
    }

    /// Make a directory, with those above it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The forger, compiled to this path.
    pub(crate) fn forger(&self, to: &Path) -> PathBuf {
        compile(FORGER, to, &["-pthread".as_ref()])
    }

    /// The forger as a program that needs the library at this path, which is empty and honest.
    pub(crate) fn forger_with_library(&self, to: &Path, library: &Path) -> PathBuf {
        compile("", library, &["-shared".as_ref(), "-fPIC".as_ref()]);
        let search = format!("-Wl,--no-as-needed,--enable-new-dtags,-rpath,{}", library.parent().unwrap().display());
        compile(FORGER, to, &["-pthread".as_ref(), search.as_ref(), library.as_os_str()])
    }

    /// A library that writes when it is loaded.
    pub(crate) fn planter(&self, to: &Path) -> PathBuf {
        compile(PRELOAD, to, &["-shared".as_ref(), "-fPIC".as_ref()])
    }

    /// A file that anybody may read, and run.
    pub(crate) fn script(&self, path: &Path, text: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        set_mode(path, 0o755);
        path.to_owned()
    }

    /// An enforcing guard with [`RULE`] and perhaps others.
    pub(crate) fn guard(&self, subject: &str) -> Trial<'_> {
        self.guard_with(Config::new(&self.place).allow(RULE, subject))
    }

    pub(crate) fn guard_with(&self, config: Config) -> Trial<'_> {
        let guard = config.sites(vec![self.site.clone()]).start();
        Trial { stage: self, guard, count: Cell::new(0), problems: RefCell::default() }
    }
}

pub(crate) fn compile(source: &str, to: &Path, options: &[&OsStr]) -> PathBuf {
    let text = to.with_extension("source.c");
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(&text, source).unwrap();
    let done = run(Command::new("gcc").args(["-O1", "-Wall", "-o"]).arg(to).arg(&text).args(options));
    assert!(done.status.success(), "blocked: gcc (with libc6-dev) is needed: {}", done.stderr);
    fs::remove_file(text).unwrap();
    to.to_owned()
}

/// Copies a program that is executed at once. By a process of its own: a child that another test forks meanwhile would
/// inherit the descriptor, and keep the copy from being executed (ETXTBSY).
pub(crate) fn copy_program(from: impl AsRef<Path>, to: &Path) {
    run(Command::new("cp").arg(from.as_ref()).arg(to)).result().unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn own(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
}

/// The interpreter that ordinary users can run, too.
pub(crate) fn system_python() -> PathBuf {
    fs::canonicalize("/usr/bin/python3").expect("blocked: /usr/bin/python3 is needed, a CPython for every user")
}

/// A command of root's. What the tests themselves were started with (cargo sets `LD_LIBRARY_PATH`) is not passed on.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/nonexistent");
    command
}

/// A command of the ordinary user's.
pub(crate) fn as_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = as_root(program);
    command.uid(USER).gid(USER);
    command
}

/// Root, and an ordinary user.
pub(crate) const EVERYBODY: [fn(&Path) -> Command; 2] = [|program| as_root(program), |program| as_user(program)];

/// A guard, and what went wrong before it: all attempts are made before the test fails.
///
/// Every command is given two more arguments: the file with what to write, and the startup file to write it to.
pub(crate) struct Trial<'a> {
    stage: &'a Stage,
    pub(crate) guard: Guard,
    count: Cell<u32>,
    problems: RefCell<Vec<String>>,
}

impl Trial<'_> {
    fn target(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        self.stage.site.join(format!("attempt-{}.pth", self.count.get()))
    }

    fn check(&self, what: &str, result: Result<(), String>) {
        if let Err(problem) = result {
            self.problems.borrow_mut().push(format!("{what}: {problem}"));
        }
    }

    /// The program may write, and what it wrote is readable.
    pub(crate) fn honest(&self, what: &str, command: &mut Command) {
        let target = self.target();
        let done = run(command.arg(self.stage.source("harmless")).arg(&target));
        let result = match fs::symlink_metadata(&target) {
            Ok(_) if done.status.success() => {
                wait_for(&format!("{what}: {target:?} is readable"), SOON, || fs::read(&target).ok());
                Ok(())
            }
            Ok(_) | Err(_) => {
                Err(format!("HONEST and denied: {} {}{}", done.status, done.stderr, self.reason(&target)))
            }
        };
        self.check(what, result);
    }

    /// A limit: this one is let in although it is not what the rule means, because nothing in /proc tells.
    pub(crate) fn not_told_apart(&self, what: &str, command: &mut Command) {
        self.honest(what, command);
    }

    /// The payload is not written: EPERM, nothing is left, nothing runs, and the record says one of these words.
    pub(crate) fn refused(&self, what: &str, words: &[&str], command: &mut Command) {
        let target = self.target();
        let done = run(command.arg(self.stage.source("payload")).arg(&target));
        self.check(what, self.check_refused(&done, &target, words));
        self.no_canary(what, &target);
    }

    fn check_refused(&self, done: &Done, target: &Path, words: &[&str]) -> Result<(), String> {
        let name = target.file_name().unwrap().to_str().unwrap();
        if done.status.success() || target.symlink_metadata().is_ok() {
            return Err(format!("WRITTEN: {} {}", done.status, done.stderr));
        }
        // The name, too: an attack that fails for another reason proves nothing.
        if !done.stderr.lines().any(|line| line.contains(name) && line.contains("Operation not permitted")) {
            return Err(format!("the attack did not come to the write: {} {}", done.status, done.stderr));
        }
        self.check_record(&["creation", "modification"], name, words)
    }

    /// The payload is renamed to a startup file: the newcomer goes to quarantine, nothing runs.
    pub(crate) fn undone(&self, what: &str, words: &[&str], command: &mut Command) {
        let (source, target) = (self.stage.home.join("newcomer"), self.target());
        fs::write(&source, self.stage.place.payload()).unwrap();
        own(&source, USER);
        let before = self.guard.quarantine().len();
        let done = run(command.arg(&source).arg(&target));
        let gone = target.symlink_metadata().is_err();
        if gone {
            let moved = || (self.guard.quarantine().len() == before + 1).then_some(());
            wait_for(&format!("{what}: the newcomer is in quarantine"), SOON, moved);
        }
        let result = match done.result() {
            Err(error) => Err(format!("the attack did not come to the rename: {error}")),
            Ok(()) if !gone => Err("WRITTEN: the newcomer stayed".into()),
            Ok(()) => self.check_record(&["rename"], target.file_name().unwrap().to_str().unwrap(), words),
        };
        self.check(what, result);
        self.no_canary(what, &target);
    }

    fn check_record(&self, actions: &[&str], name: &str, words: &[&str]) -> Result<(), String> {
        let record = self.guard.wait_record("deny", actions, Some(name));
        let (reason, message) = (field(&record, "pthguard.reason"), field(&record, "pthguard.message"));
        if !words.contains(&reason) {
            return Err(format!("denied, with the reason {reason:?} instead of {words:?}: {message:?}"));
        }
        if !["no-rule", "unresolved-arrival"].contains(&reason) && !message.contains(RULE) {
            return Err(format!("denied as {reason:?}, the message does not name the rule: {message:?}"));
        }
        Ok(())
    }

    fn no_canary(&self, what: &str, target: &Path) {
        let start = self.stage.place.start(&self.stage.place.venvs[0]);
        self.check(what, if start.canary { Err("EXECUTED".into()) } else { Ok(()) });
        // What one attempt has left must not be taken for the next one's.
        if let Err(error) = fs::remove_file(target) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }

    fn reason(&self, target: &Path) -> String {
        let records = self.guard.records();
        let about = records.iter().filter(|record| field(record, "file.path") == target.to_str().unwrap_or_default());
        about.map(|r| format!(" [{} {}]", field(r, "pthguard.reason"), field(r, "pthguard.message"))).collect()
    }

    /// Fail with everything that went wrong.
    pub(crate) fn finish(mut self) {
        self.guard.assert_alive();
        let problems = self.problems.take();
        assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    }
}
