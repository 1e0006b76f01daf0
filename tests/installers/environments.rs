//! What makes environments, and the old ways to install a project.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::matrix::{Case, End, Matrix};
use crate::tools::{Tools, bare, pinned, prepare, tool, version};

/// What setuptools brings along.
const PRECEDENCE: &str = "distutils-precedence.pth";

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    ensurepip(matrix, tools);
    virtualenv(matrix, tools);
    legacy(matrix);
}

/// The interpreters whose ensurepip installs setuptools: Debian's, and pyenv's CPython 3.8 to 3.11. They all do the same;
/// the oldest stands for them in an ordinary run.
fn with_setuptools(tools: &Tools) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    if tools.all {
        found.push(("Debian's".to_owned(), tools.python.clone()));
    }
    for minor in if tools.all { 8..=11 } else { 8..=8 } {
        if let Some(python) = pyenv(minor) {
            found.push((format!("pyenv's 3.{minor}"), python));
        }
    }
    found
}

/// pyenv's CPython 3.`minor`, by its real path.
pub(crate) fn pyenv(minor: u32) -> Option<PathBuf> {
    let versions = fs::read_dir("/root/.pyenv/versions").into_iter().flatten().flatten();
    let python = |version: PathBuf| version.join(format!("bin/python3.{minor}"));
    versions.map(|entry| python(entry.path())).find_map(|path| fs::canonicalize(path).ok())
}

/// Over an existing environment without pip: ensurepip runs pip in `python -c`.
fn ensurepip(matrix: &mut Matrix, tools: &Tools) {
    for (name, python) in with_setuptools(tools) {
        let file = python.file_name().and_then(OsStr::to_str).unwrap();
        let root = PathBuf::from(format!("/opt/ensurepip-{}-{file}", name.len()));
        let target = bare(&python, &root);
        let cpython = version(tool(&python).arg("--version"));
        let operation = format!("python -m venv over an existing environment, {name}");
        let case = Case { name: PRECEDENCE, end: End::Readable, ..Case::honest("venv", &cpython, &operation, &target) };
        matrix.run(&case, tool(&python).args(["-m", "venv"]).arg(&root));
    }
    if !tools.all {
        return;
    }
    let target = tools.bare("/opt/ensurepip-alone");
    let cpython = version(tool(&tools.python).arg("--version"));
    let case = Case {
        name: PRECEDENCE,
        end: End::Readable,
        ..Case::honest("ensurepip", &cpython, "python -m ensurepip in a venv", &target)
    };
    matrix.run(&case, tool(&target.python).args(["-m", "ensurepip"]));
}

fn virtualenv(matrix: &mut Matrix, tools: &Tools) {
    const AS_LINKS: &str = "with --symlink-app-data";
    let program = Path::new("/opt/virtualenv/bin/virtualenv");
    let virtualenv = version(tool(program).arg("--version"));
    let Some(old) = pyenv(9) else {
        panic!("blocked: no CPython 3.9 in /root/.pyenv/versions");
    };
    for (operation, python, options, name) in [
        ("over an existing environment, CPython 3.9", &old, &["--setuptools=bundle"][..], PRECEDENCE),
        ("its own startup file, CPython 3.9", &old, &["--no-seed"][..], "_virtualenv.pth"),
        ("over an existing environment", &tools.python, &["--setuptools=bundle"][..], PRECEDENCE),
        (AS_LINKS, &tools.python, &["--setuptools=bundle", "--symlink-app-data"][..], PRECEDENCE),
    ] {
        let root = format!("/opt/virtualenv-{}", operation.len());
        let target = bare(python, Path::new(&root));
        let case = if operation == AS_LINKS {
            // setuptools' dist-info is a link as well, and RECORD behind a link says nothing of who owns a file here.
            Case { name, ..Case::held("virtualenv", &virtualenv, operation, &target) }
        } else {
            Case { name, end: End::Readable, ..Case::honest("virtualenv", &virtualenv, operation, &target) }
        };
        let mut command = tool(program);
        matrix.run(&case, command.args(["-q", "--no-periodic-update"]).args(options).arg("-p").arg(python).arg(&root));
    }
}

/// `easy-install.pth` is one file for all projects, rewritten for each.
fn legacy(matrix: &mut Matrix) {
    let Some(python) = pyenv(8) else {
        panic!("blocked: no CPython 3.8 in /root/.pyenv/versions");
    };
    let root = Path::new("/opt/legacy");
    prepare(tool(&python).args(["-m", "venv"]).arg(root));
    let target = crate::tools::target(root);
    prepare(tool(&target.python).args(["-m", "pip", "install", "-q", "-r"]).arg(pinned("legacy")));
    let project = Path::new("/srv/legacy");
    fs::create_dir_all(project.join("legacy")).unwrap();
    fs::write(project.join("legacy/__init__.py"), "").unwrap();
    let setup = "from setuptools import setup\nsetup(name='legacy', version='1.0', packages=['legacy'])\n";
    fs::write(project.join("setup.py"), setup).unwrap();
    let pip = version(tool(root.join("bin/pip")).arg("--version"));
    let show = "import setuptools; print(setuptools.__version__)";
    let setuptools = version(tool(&target.python).args(["-c", show]));

    let case = Case {
        name: "easy-install.pth",
        end: End::Obeyed("/srv/legacy"),
        ..Case::honest("pip", &pip, "install -e, legacy (setup.py develop)", &target)
    };
    let mut install = tool(root.join("bin/pip"));
    matrix.run(&case, install.args(["install", "-q", "--no-build-isolation", "--no-index", "-e", "/srv/legacy"]));
    let case = Case {
        end: End::Readable,
        ..Case { name: "easy-install.pth", ..Case::honest("pip", &pip, "uninstall, legacy editable", &target) }
    };
    matrix.run(&case, tool(root.join("bin/pip")).args(["uninstall", "-q", "-y", "legacy"]));

    prepare(tool("rm").arg("-f").arg(target.site.join("easy-install.pth")));
    let case = Case {
        name: "easy-install.pth",
        end: End::Obeyed("/srv/legacy"),
        ..Case::honest("setuptools", &setuptools, "python setup.py develop", &target)
    };
    matrix.run(&case, tool(&target.python).args(["setup.py", "-q", "develop"]).current_dir(project));
}
