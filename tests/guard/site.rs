//! Where the attacks happen: a temporary directory with one virtual environment for the oldest and one for the newest
//! interpreter at hand, and the canary that tells whether planted code ran.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::sys::{self, PidFd};

/// Far more than any child needs, far less than anybody waits.
const CHILD_LIMIT: Duration = Duration::from_secs(120);

/// An interpreter, by its real path: what the kernel will call it.
#[derive(Clone, Debug)]
pub(crate) struct Interpreter {
    pub(crate) exe: PathBuf,
    pub(crate) version: (u32, u32),
}

/// The oldest interpreter from 3.8 on and the newest one, or the only one.
pub(crate) fn interpreters() -> &'static [Interpreter] {
    static FOUND: OnceLock<Vec<Interpreter>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let mut directories = vec![PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
        if let Ok(versions) = fs::read_dir(home.join(".pyenv/versions")) {
            directories.extend(versions.flatten().map(|version| version.path().join("bin")));
        }
        let mut found: Vec<Interpreter> = directories.iter().flat_map(|bin| interpreters_in(bin)).collect();
        found.sort_by_key(|interpreter| interpreter.version);
        found.retain(|interpreter| interpreter.version >= (3, 8));
        match (found.first().cloned(), found.last().cloned()) {
            (Some(oldest), Some(newest)) if oldest.version != newest.version => vec![oldest, newest],
            (Some(only), _) => vec![only],
            _ => panic!("blocked: no CPython 3.8 or newer in {directories:?}; install python3"),
        }
    })
}

fn interpreters_in(bin: &Path) -> Vec<Interpreter> {
    let Ok(entries) = fs::read_dir(bin) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let minor = name.to_str()?.strip_prefix("python3.")?.parse().ok()?;
            Some(Interpreter { exe: fs::canonicalize(entry.path()).ok()?, version: (3, minor) })
        })
        .collect()
}

/// A virtual environment, made by hand: a symbolic link, `pyvenv.cfg` and directories are all that `venv` makes.
pub(crate) struct Venv {
    pub(crate) interpreter: Interpreter,
    pub(crate) python: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) site: PathBuf,
}

impl Venv {
    pub(crate) fn make(root: &Path, interpreter: &Interpreter) -> Venv {
        let (major, minor) = interpreter.version;
        let site = root.join(format!("lib/python{major}.{minor}/site-packages"));
        let python = root.join("bin/python3");
        fs::create_dir_all(&site).unwrap();
        fs::create_dir(root.join("bin")).unwrap();
        std::os::unix::fs::symlink(&interpreter.exe, &python).unwrap();
        let home = interpreter.exe.parent().unwrap().display();
        let settings = format!("home = {home}\ninclude-system-site-packages = false\n");
        fs::write(root.join("pyvenv.cfg"), settings).unwrap();
        Venv { interpreter: interpreter.clone(), python, root: root.to_owned(), site }
    }
}

/// What one interpreter start showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The planted line ran.
    pub(crate) canary: bool,
    /// `keep.pth`, which nobody attacks, was read and obeyed.
    pub(crate) keep: bool,
    /// `victim.pth`, which some attacks aim at, was read and obeyed.
    pub(crate) victim: bool,
    /// Exit status 0, without a word on standard error.
    pub(crate) clean: bool,
}

/// A temporary directory with everything that one test needs. Nothing outside of it is ever guarded.
pub(crate) struct Place {
    pub(crate) venvs: Vec<Venv>,
    /// On the same file system as the site directories, and not guarded.
    pub(crate) outside: PathBuf,
    /// The file that the planted line makes.
    pub(crate) canary: PathBuf,
    dir: TempDir,
}

impl Place {
    /// In the usual directory for temporary files.
    pub(crate) fn new() -> Place {
        Place::within(&std::env::temp_dir())
    }

    pub(crate) fn within(parent: &Path) -> Place {
        assert!(sys::is_root(), "blocked: these tests need root (fanotify permission events)");
        let dir = tempfile::Builder::new().prefix("pthguard-test-").tempdir_in(parent).unwrap();
        // Ordinary users take part in some tests.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::create_dir(dir.path().join("extra")).unwrap();
        let mut venvs = Vec::new();
        for interpreter in interpreters() {
            let root = dir.path().join(format!("venv{}", interpreter.version.1));
            venvs.push(Venv::make(&root, interpreter));
        }
        let place = Place { venvs, outside, canary: dir.path().join("canary"), dir };
        for venv in &place.venvs {
            fs::write(venv.site.join("keep.pth"), place.keep()).unwrap();
            fs::write(venv.site.join("victim.pth"), place.victim()).unwrap();
        }
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn sites(&self) -> Vec<PathBuf> {
        self.venvs.iter().map(|venv| venv.site.clone()).collect()
    }

    /// The line that an attacker wants to run at start-up.
    pub(crate) fn payload(&self) -> Vec<u8> {
        format!("import os; os.close(os.open({:?}, 65, 384))\n", self.canary.to_str().unwrap()).into_bytes()
    }

    /// A startup file with a path line and a code line; in no test does anybody touch it.
    pub(crate) fn keep(&self) -> Vec<u8> {
        format!("{}\nimport sys; sys.pthguard_keep = 1\n", self.dir.path().join("extra").display()).into_bytes()
    }

    /// A harmless startup file that turns into the payload when it is cut at [`Place::cut`].
    pub(crate) fn victim(&self) -> Vec<u8> {
        let mut text = self.payload();
        text.pop();
        text.extend_from_slice(b" if 0 else None\nimport sys; sys.pthguard_victim = 1\n");
        text
    }

    pub(crate) fn cut(&self) -> usize {
        self.payload().len() - 1
    }

    /// Start the environment's interpreter once and see what it executed.
    pub(crate) fn start(&self, venv: &Venv) -> Start {
        const REPORT: &str = "import sys; print(getattr(sys, 'pthguard_keep', 0) and sys.argv[1] in sys.path and 'keep', \
                              getattr(sys, 'pthguard_victim', 0) and 'victim')";
        let extra = self.dir.path().join("extra");
        let mut python = Command::new(&venv.python);
        // From the outside directory: the empty first entry of sys.path must not be a site directory.
        python.current_dir(&self.outside).args(["-E", "-s", "-c", REPORT]).arg(extra);
        self.forget_canary();
        let done = run(&mut python);
        Start {
            canary: self.canary.exists(),
            keep: done.stdout.contains("keep"),
            victim: done.stdout.contains("victim"),
            clean: done.status.success() && done.stderr.is_empty(),
        }
    }

    pub(crate) fn forget_canary(&self) {
        if let Err(error) = fs::remove_file(&self.canary) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        }
    }

    /// A directory on another file system than this place, for moves and copies across.
    pub(crate) fn elsewhere(&self) -> TempDir {
        let here = fs::metadata(self.path()).unwrap().dev();
        for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from("/run")] {
            if fs::metadata(&parent).is_ok_and(|metadata| metadata.dev() != here) {
                return tempfile::Builder::new().prefix("pthguard-test-").tempdir_in(parent).unwrap();
            }
        }
        panic!("blocked: no second file system at /dev/shm or /run")
    }
}

/// A child that has ended.
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Success, or the error that the command met, as the errno that its message stands for.
    pub(crate) fn result(&self) -> io::Result<()> {
        if self.status.success() {
            Ok(())
        } else if self.stderr.contains("Operation not permitted") {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        } else {
            Err(io::Error::other(format!("{}: {}", self.status, self.stderr)))
        }
    }
}

/// Run a command to its end, never for longer than [`CHILD_LIMIT`].
pub(crate) fn run(command: &mut Command) -> Done {
    run_for(command, CHILD_LIMIT)
}

/// Run a command to its end, or kill it at the limit and fail.
pub(crate) fn run_for(command: &mut Command, limit: Duration) -> Done {
    // Files, not pipes: a pipe that a forgotten grandchild holds open would keep us waiting.
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let handle = PidFd::open(child.id()).unwrap();
    let in_time = handle.ends_within(limit);
    if !in_time {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(in_time, "{command:?} did not end within {limit:?}");
    let text = |file: &mut fs::File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Done { status, stdout: text(&mut stdout), stderr: text(&mut stderr) }
}

/// `sh -c SCRIPT`, with its arguments as `$1`, `$2` …
pub(crate) fn sh(script: &str, arguments: &[&OsStr]) -> io::Result<()> {
    run(Command::new("sh").args(["-c", script, "sh"]).args(arguments)).result()
}

/// Raises the flag when dropped: whatever fails, threads that loop until then come to an end, or the scope that they
/// belong to would wait for them for ever.
pub(crate) struct Stopper<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Poll until `condition` gives something; nothing else tells us when another process has acted on a directory.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(std::time::Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
