//! Who the policy names as a writer can do its work, and the result is readable; who only looks like one cannot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Config, Guard, SOON};
use crate::packages;
use crate::site::{Interpreter, Place, Venv, interpreters, run, wait_for};
use crate::stage::copy_program;

/// A package manager's own `.pth`: a path line only, so that its effect shows in `sys.path`.
fn path_line(place: &Place) -> String {
    let directory = place.path().join("from_wheel");
    fs::create_dir_all(&directory).unwrap();
    directory.display().to_string()
}

fn wheel(place: &Place, python: &Path) -> PathBuf {
    packages::wheel(place.path(), python, "1.0", &path_line(place))
}

/// A virtual environment with pip, in addition to those of the place.
fn venv_with_pip(place: &Place, interpreter: &Interpreter) -> Venv {
    let (major, minor) = interpreter.version;
    let root = place.path().join(format!("pip{minor}"));
    let made = run(Command::new(&interpreter.exe).args(["-m", "venv"]).arg(&root));
    made.result().unwrap_or_else(|error| panic!("blocked: python{major}.{minor} -m venv (python3-venv?): {error}"));
    Venv {
        interpreter: interpreter.clone(),
        python: root.join("bin/python3"),
        site: root.join(format!("lib/python{major}.{minor}/site-packages")),
        root,
    }
}

/// Readable, and an interpreter obeys it.
fn assert_active(place: &Place, venv: &Venv, file: &str) {
    let path = venv.site.join(file);
    wait_for(&format!("{path:?} is readable"), SOON, || fs::read(&path).ok());
    let wanted = place.path().join("from_wheel");
    let code = "import sys; sys.exit(sys.argv[1] not in sys.path)";
    run(Command::new(&venv.python).args(["-E", "-s", "-c", code]).arg(&wanted)).result().expect("the file is obeyed");
}

fn assert_refused(what: &str, path: &Path, command: &mut Command) {
    let done = run(command);
    assert!(!done.status.success() && done.stderr.contains("not permitted"), "{what}: {} {}", done.status, done.stderr);
    assert!(path.symlink_metadata().is_err(), "{what} left {path:?} behind");
}

/// pip from a wheel, as `python3 -m pip` and as the environment's `pip` script, with the oldest and newest interpreter;
/// and everybody else with the same executable, which is all that /proc/PID/exe tells.
#[test]
fn pip_installs_and_its_impostors_do_not() {
    for interpreter in interpreters() {
        let place = Place::new();
        let venv = venv_with_pip(&place, interpreter);
        let wheel = wheel(&place, &interpreter.exe);
        let subject = format!(
            "exe = [{:?}]\nmodule = [\"pip\"]\nscript = [{:?}]\nuid = \"any\"",
            interpreter.exe,
            format!("{}/bin/pip*", venv.root.display())
        );
        let mut guard = Config::new(&place).sites(vec![venv.site.clone()]).allow("pip", &subject).start();
        let install = ["install", "--no-index", "--no-deps", "--disable-pip-version-check", "--force-reinstall"];

        run(Command::new(&venv.python).args(["-m", "pip"]).args(install).arg(&wheel)).result().expect("python3 -m pip");
        assert_active(&place, &venv, "demo.pth");
        run(Command::new(venv.root.join("bin/pip")).args(install).arg(&wheel)).result().expect("bin/pip");
        assert_active(&place, &venv, "demo.pth");

        let evil = venv.site.join("evil.pth");
        let write = "import sys; open(sys.argv[1], 'w').write('import os')";
        assert_refused("python3 -c", &evil, Command::new(&venv.python).args(["-c", write]).arg(&evil));
        let fake = place.outside.join("pip");
        fs::write(&fake, write).unwrap();
        assert_refused("a script called pip, elsewhere", &evil, Command::new(&venv.python).arg(&fake).arg(&evil));
        let mut argument = Command::new(&venv.python);
        assert_refused(
            "-m pip behind -c",
            &evil,
            argument.args(["-c", write]).arg(&evil).args(["-m", "pip", "install"]),
        );

        run(Command::new(&venv.python).args(["-m", "pip", "uninstall", "--yes", "demo"])).result().expect("uninstall");
        assert!(venv.site.join("demo.pth").symlink_metadata().is_err(), "uninstalled");
        guard.assert_alive();
    }
}

/// dpkg never opens the final name: `demo.pth.dpkg-new` is written and renamed, and dpkg has often ended before the
/// rename's notification is read.
#[test]
fn dpkg_installs_upgrades_and_removes() {
    let place = Place::new();
    let root = place.path().join("root");
    let site = root.join("usr/lib/python3/dist-packages");
    fs::create_dir_all(&site).unwrap();
    let database = root.join("var/lib/dpkg");
    for directory in ["info", "updates"] {
        fs::create_dir_all(database.join(directory)).unwrap();
    }
    fs::write(database.join("status"), "").unwrap();
    fs::write(database.join("available"), "").unwrap();
    let guard =
        Config::new(&place).sites(vec![site.clone()]).allow("dpkg", "exe = [\"/usr/bin/dpkg\"]\nuid = [0]").start();
    let dpkg = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new("/usr/bin/dpkg");
        command.arg("--admindir").arg(&database).arg("--instdir").arg(&root).arg("--log").arg(place.path().join("log"));
        run(command.arg("--force-not-root").args(arguments)).result().expect("dpkg");
    };
    for version in ["1.0", "2.0"] {
        let package = packages::deb(place.path(), version, &format!("/opt/demo-{version}"));
        dpkg(&["-i".as_ref(), package.as_ref()]);
        let read = || fs::read_to_string(site.join("demo.pth")).ok().filter(|text| text.contains(version));
        wait_for(&format!("version {version} of demo.pth is readable\n{}", guard.said()), SOON, read);
    }
    assert_eq!(guard.quarantine(), Vec::<PathBuf>::new());
    dpkg(&["-r".as_ref(), "demo".as_ref()]);
    assert!(site.join("demo.pth").symlink_metadata().is_err());
}

/// uv opens, links or renames depending on `--link-mode`, and never the way that pip does.
#[test]
fn uv_installs_in_every_link_mode() {
    let place = Place::new();
    let Some(uv) = uv(&place) else { return };
    let elsewhere = place.elsewhere();
    let wheel = wheel(&place, &interpreters()[0].exe);
    let subject = format!("exe = [{uv:?}]\nuid = \"any\"");
    let mut guard = Config::new(&place).allow("uv", &subject).start();
    let venv = place.venvs.last().unwrap();
    let modes =
        [("copy", place.path()), ("clone", place.path()), ("hardlink", place.path()), ("hardlink", elsewhere.path())];
    for (mode, near) in modes {
        let mut command = Command::new(&uv);
        command.env("UV_CACHE_DIR", near.join("uv-cache")).args(["pip", "install", "--offline", "--no-index"]);
        command.args(["--reinstall", "--link-mode", mode, "--python"]).arg(&venv.python).arg(&wheel);
        run(&mut command).result().unwrap_or_else(|error| panic!("uv --link-mode {mode}: {error}"));
        println!("{mode}, cache in {near:?}");
        assert_active(&place, venv, "demo.pth");
    }
    guard.assert_alive();
}

/// uv on the search path, or a fresh one from the package index.
pub(crate) fn uv(place: &Place) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A shim (a shell script) is not what the kernel will see as the executable.
    let elf = |file: &PathBuf| fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
    if let Some(found) = std::env::split_paths(&path).map(|bin| bin.join("uv")).find(elf) {
        return Some(fs::canonicalize(found).unwrap());
    }
    if std::env::var_os("PTHGUARD_WITHOUT_UV").is_some() {
        println!("BLOCKED: uv is not installed and PTHGUARD_WITHOUT_UV is set; nothing was tested");
        return None;
    }
    let target = place.path().join("uv");
    let mut pip = Command::new(&interpreters().last().unwrap().exe);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&target).arg("uv");
    run(&mut pip).result().unwrap_or_else(|error| {
        panic!("blocked: uv is neither on PATH nor to be had (PTHGUARD_WITHOUT_UV=1 leaves this test out): {error}")
    });
    Some(fs::canonicalize(target.join("bin/uv")).unwrap())
}

/// A permitted writer's file is nobody's to read while it is being written, and everybody's once it is closed.
#[test]
fn a_permitted_writers_file_is_readable_once_it_is_closed() {
    let place = Place::new();
    let venv = &place.venvs[0];
    let guard = Config::new(&place).budget_ms(50).allow("tee", "exe = [\"/usr/bin/tee\"]\nuid = \"any\"").start();
    let file = venv.site.join("tool.pth");
    let mut tee = Command::new("/usr/bin/tee").arg(&file).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = tee.stdin.take().unwrap();
    input.write_all(&place.payload()).unwrap();
    wait_for("tee has written", SOON, || fs::metadata(&file).is_ok_and(|meta| meta.size() > 0).then_some(()));
    assert_eq!(fs::read(&file).expect_err("still being written").raw_os_error(), Some(libc::EPERM));
    assert!(!place.start(venv).canary, "half a file was executed");
    drop(input);
    assert!(tee.wait().unwrap().success());
    wait_for("the file is readable", SOON, || fs::read(&file).ok());
    assert!(place.start(venv).canary, "the approved file is obeyed");
    assert_eq!(guard.quarantine(), Vec::<PathBuf>::new());
}

/// The rule names an executable, not a name: a copy of it elsewhere, a link to it under the same base name, a program
/// that calls itself so are not it.
#[test]
fn impostors_of_a_permitted_executable() {
    let place = Place::new();
    let _guard: Guard = Config::new(&place).allow("tee", "exe = [\"/usr/bin/tee\"]\nuid = \"any\"").start();
    let evil = place.venvs[0].site.join("evil.pth");
    let copy = place.outside.join("tee");
    copy_program("/usr/bin/tee", &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    assert_refused("a copy called tee", &evil, Command::new(&copy).arg(&evil));
    let script = "exec -a /usr/bin/tee sh -c 'printf /usr/bin/tee > /proc/self/comm; : > \"$1\"' tee \"$1\"";
    assert_refused("argv[0] and comm", &evil, Command::new("bash").args(["-c", script, "bash"]).arg(&evil));
    // A shell's redirection opens the file before tee is executed: the opener is the shell.
    assert_refused("opened before exec", &evil, Command::new("sh").args(["-c", "exec tee > \"$1\"", "sh"]).arg(&evil));
}

/// Installers remove the old version of a file before they write the new one. If that is denied the old one comes back;
/// what somebody else removed on purpose does not.
#[test]
fn what_a_denied_writer_removed_first_comes_back() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let venv = &place.venvs[0];
    let victim = venv.site.join("victim.pth");
    let before = fs::metadata(&victim).unwrap();
    let upgrade = "import os, sys; os.unlink(sys.argv[1]); open(sys.argv[1], 'w').write('import os')";
    for _ in 0..3 {
        let done = run(Command::new(&venv.python).args(["-S", "-c", upgrade]).arg(&victim));
        assert!(done.stderr.contains("Operation not permitted"), "{}", done.stderr);
        assert_eq!(fs::read(&victim).expect("back, and readable"), place.victim());
        let after = fs::metadata(&victim).unwrap();
        assert_eq!((after.mode(), after.uid(), after.mtime()), (before.mode(), before.uid(), before.mtime()));
    }
    guard.wait_record("", &["restore"], Some("victim.pth"));

    run(Command::new("rm").arg(&victim)).result().unwrap();
    let write = "import sys; open(sys.argv[1], 'w').write('import os')";
    assert_refused("another process", &victim, Command::new(&venv.python).args(["-S", "-c", write]).arg(&victim));
    assert_eq!(guard.quarantine(), Vec::<PathBuf>::new());
}
