//! Where the tests happen: a root file system of the test's own, with virtual environments in it that the built-in policy
//! names.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::environment::{Env, copy, tool, unpack};
use crate::guarded::Guarded;
use crate::material;
use crate::root;
use crate::site::run;

/// A test whose guard lives longer is stuck.
const LIMIT: Duration = Duration::from_secs(120);
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
