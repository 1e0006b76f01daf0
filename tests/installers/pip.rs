//! pip, in every place that it installs into.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::matrix::{Case, End, Matrix, Target};
use crate::tools::{Tools, prepare, tool, version};

const INSTALL: [&str; 4] = ["install", "-q", "--no-index", "--no-deps"];

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    system(matrix, tools);
    environment(matrix, tools);
    user(matrix, tools);
    target_directory(matrix, tools);
    editable(matrix, tools);
    denied_upgrade(matrix, tools);
}

fn system(matrix: &mut Matrix, tools: &Tools) {
    let pip = version(tool("/usr/bin/pip").arg("--version"));
    let target = tools.system();
    let system = |wheel: &Path| {
        let mut command = tool("/usr/bin/pip");
        command.args(INSTALL).arg("--break-system-packages").arg(wheel);
        command
    };
    matrix.run(&Case::honest("pip", &pip, "install, Debian's, as root", &target), &mut system(&tools.wheel));
    let upgrade =
        Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("pip", &pip, "upgrade, Debian's, as root", &target) };
    matrix.run(&upgrade, &mut system(&tools.wheel2));
    let remove = Case { end: End::Absent, ..Case::honest("pip", &pip, "uninstall, Debian's, as root", &target) };
    matrix.run(&remove, tool("/usr/bin/pip").args(["uninstall", "-q", "-y", "--break-system-packages", "demo"]));
}

fn environment(matrix: &mut Matrix, tools: &Tools) {
    let root = Path::new("/opt/pip-venv");
    let target = tools.with_pip(root);
    let pip = version(tool(root.join("bin/pip")).arg("--version"));
    let case = |operation| Case::honest("pip", &pip, operation, &target);
    let force = [&INSTALL[..], &["--force-reinstall"]].concat();
    matrix.run(
        &case("install in a venv, python -m pip"),
        tool(&target.python).args(["-m", "pip"]).args(&force).arg(&tools.wheel),
    );
    matrix.run(&case("reinstall in a venv, bin/pip"), tool(root.join("bin/pip")).args(&force).arg(&tools.wheel));
    let activated = ". /opt/pip-venv/bin/activate && pip \"$@\"";
    matrix.run(
        &case("reinstall in a venv, activated"),
        tool("bash").args(["-c", activated, "bash"]).args(&force).arg(&tools.wheel),
    );
    let upgrade = Case { end: End::Obeyed("/srv/demo-2.0"), ..case("upgrade in a venv") };
    matrix.run(&upgrade, tool(root.join("bin/pip")).args(INSTALL).arg(&tools.wheel2));
    let remove = Case { end: End::Absent, ..case("uninstall in a venv") };
    matrix.run(&remove, tool(root.join("bin/pip")).args(["uninstall", "-q", "-y", "demo"]));
    let unknown = Case::held("pip", &pip, "install in a venv, an unknown line of code", &target);
    matrix.run(&unknown, tool(root.join("bin/pip")).args(INSTALL).arg(&tools.unknown));
}

fn user(matrix: &mut Matrix, tools: &Tools) {
    prepare(tool("useradd").args(["--create-home", "--uid", "1777", "--shell", "/bin/sh", "user"]));
    let minor = tools.python.file_name().unwrap().to_str().unwrap();
    let site = Path::new("/home/user/.local/lib").join(minor).join("site-packages");
    prepare(tool("runuser").args(["-u", "user", "--", "mkdir", "-p"]).arg(&site));
    // pip moves a directory away as a whole if nothing is in it but what it removes.
    prepare(tool("runuser").args(["-u", "user", "--", "touch"]).arg(site.join("another.py")));
    let target = Target { site, python: tools.python.clone(), uid: 1777 };
    let pip = version(tool("/usr/bin/pip").arg("--version"));
    let as_user = |command: &mut Command| {
        command.uid(1777).gid(1777).env("HOME", "/home/user").env("USER", "user").current_dir("/home/user");
    };
    let mut install = tool(&tools.python);
    as_user(install.args(["-m", "pip"]).args(INSTALL).args(["--user", "--break-system-packages"]).arg(&tools.wheel));
    matrix.run(&Case::honest("pip", &pip, "install --user, an ordinary user", &target), &mut install);
    let mut remove = tool(&tools.python);
    as_user(remove.args(["-m", "pip", "uninstall", "-q", "-y", "--break-system-packages", "demo"]));
    let case = Case { end: End::Absent, ..Case::honest("pip", &pip, "uninstall, an ordinary user", &target) };
    matrix.run(&case, &mut remove);
}

/// The directory belongs to no environment: the system's pip may fill it.
fn target_directory(matrix: &mut Matrix, tools: &Tools) {
    let site = Path::new("/srv/plugins").to_owned();
    fs::create_dir(&site).unwrap();
    let target = Target { site: site.clone(), python: tools.python.clone(), uid: 0 };
    let pip = version(tool("/usr/bin/pip").arg("--version"));
    let case = Case {
        end: End::Readable,
        extra_sites: vec![site.clone()],
        ..Case::honest("pip", &pip, "install --target DIR, DIR in extra_sites", &target)
    };
    matrix.run(&case, tool("/usr/bin/pip").args(INSTALL).arg("--target").arg(&site).arg(&tools.wheel));
}

fn editable(matrix: &mut Matrix, tools: &Tools) {
    let root = Path::new("/opt/pip-editable");
    let target = tools.with_pip(root);
    prepare(tool("uv").args(["pip", "install", "-q", "--python"]).arg(&target.python).args(["setuptools", "wheel"]));
    let pip = version(tool(root.join("bin/pip")).arg("--version"));
    let project = project("/srv/editable");
    let case = Case {
        name: "__editable__.project-1.0.pth",
        end: End::Obeyed("/srv/editable/src"),
        ..Case::honest("pip", &pip, "install -e (PEP 660), setuptools", &target)
    };
    let mut install = tool(root.join("bin/pip"));
    matrix.run(&case, install.args(["install", "-q", "--no-build-isolation", "--no-index", "-e"]).arg(project));
}

/// A project with its code in `src`, so that an editable install is a path line.
pub(crate) fn project(dir: &str) -> &Path {
    let dir = Path::new(dir);
    fs::create_dir_all(dir.join("src/project")).unwrap();
    fs::write(dir.join("src/project/__init__.py"), "").unwrap();
    let setup = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
                 [project]\nname = \"project\"\nversion = \"1.0\"\nrequires-python = \">=3.8\"\n";
    fs::write(dir.join("pyproject.toml"), setup).unwrap();
    dir
}

/// What pip takes away before it is denied, it puts back: from the same file system by a rename, from another one by
/// writing the file anew.
fn denied_upgrade(matrix: &mut Matrix, tools: &Tools) {
    for (name, directory, temporary) in
        [("same", "/opt/pip-denied", "/opt/pip-denied-tmp"), ("another", "/opt/pip-denied-far", "/run/pip-denied-tmp")]
    {
        let target = tools.with_pip(directory);
        let root = Path::new(directory);
        fs::create_dir(temporary).unwrap();
        let pip = version(tool(root.join("bin/pip")).arg("--version"));
        prepare(tool(root.join("bin/pip")).args(INSTALL).arg(&tools.wheel));
        let operation = format!("upgrade, denied; TMPDIR on {name} file system");
        // Rules of a file are asked before the built-in ones.
        let rules = format!(
            "[[deny]]\nname = \"no-upgrades\"\nexe = [{:?}]\nscript = [\"/**/bin/pip\"]\nuid = \"any\"\nscope = \"any\"\n\
             access = [\"write\"]\n",
            tools.python
        );
        let case =
            Case { end: End::Old("/srv/demo-1.0"), rules: &rules, ..Case::denied("pip", &pip, &operation, &target) };
        matrix.run(&case, tool(root.join("bin/pip")).env("TMPDIR", temporary).args(INSTALL).arg(&tools.wheel2));
    }
}
