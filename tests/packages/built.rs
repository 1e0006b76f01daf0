//! Both packages in a root file system of the test's own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Config, Guard, SOON};
use crate::site::{Done, run_for, wait_for};
use crate::{here, packages, root, sys};

const BUILD_LIMIT: Duration = Duration::from_secs(600);
/// The guard outlives what package managers take.
const GUARD_LIMIT: Duration = Duration::from_secs(900);
const POLICY: &str = "/etc/pthguard/pthguard.toml";
const PROGRAM: &str = "/usr/sbin/pthguard";
const SITE: &str = "/usr/lib/python3/dist-packages";
/// Where the guard's records are.
const LOGS: &str = "/var/log/pthguard";

/// What the administrator makes of the policy that was installed. Discovery would watch file systems that are not the
/// test's own.
const OWN_POLICY: &str =
    "mode = \"enforce\"\n[protect]\ndiscover = false\n[failure]\nbudget_ms = 500\n[log]\nsyslog = false\n";

/// A command with the environment of a root login.
fn tool(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn ask(command: &mut Command) -> Done {
    // rpm's scriptlet compiles a whole SELinux policy where there is one.
    let done = run_for(command, BUILD_LIMIT);
    done.result().unwrap_or_else(|error| panic!("{command:?}: {error}\n{}", done.stdout));
    done
}

/// Packages with the revisions 1 and 2, made of the program under test.
fn build(output: &Path) {
    for revision in ["1", "2"] {
        let mut build = Command::new(here("packaging/build.sh"));
        build.args(["--binary", env!("CARGO_BIN_EXE_pthguard"), "--revision", revision, "--output"]).arg(output);
        let done = run_for(&mut build, BUILD_LIMIT);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(done.status.success(), "blocked: packaging/build.sh (cargo-deb, cargo-generate-rpm, binutils)\n{said}");
    }
}

fn package(directory: &Path, suffix: &str) -> PathBuf {
    let found = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    found.into_iter().find(|path| path.to_str().unwrap().ends_with(suffix)).unwrap_or_else(|| panic!("no {suffix}"))
}

#[test]
fn the_packages_are_installed_upgraded_under_their_guard_and_removed() {
    if std::env::var_os("PTHGUARD_PACKAGES").is_none() {
        return; // needs tools that no distribution has; tests/README.md
    }
    assert!(sys::is_root(), "blocked: this test needs root (a mount namespace, fanotify permission events)");
    let built = tempfile::tempdir().unwrap();
    build(built.path());
    let deb = package(built.path(), "-1_amd64.deb");
    let lint = run_for(tool("lintian").args(["--allow-root", "--fail-on", "error"]).arg(&deb), BUILD_LIMIT);
    assert!(lint.status.success(), "lintian\n{}{}", lint.stdout, lint.stderr);
    let inside = |path: &Path| Path::new("/srv").join(path.file_name().unwrap());
    let bring = |root: &Path| {
        fs::create_dir_all(root.join("srv"))?;
        for entry in fs::read_dir(built.path())?.flatten() {
            fs::copy(entry.path(), root.join("srv").join(entry.file_name()))?;
        }
        Ok(())
    };
    let names = ["-1_amd64.deb", "-2_amd64.deb", "-1.x86_64.rpm", "-2.x86_64.rpm"];
    let [deb1, deb2, rpm1, rpm2] = names.map(|suffix| inside(&package(built.path(), suffix)));
    root::in_private_root_with(bring, || {
        debian(&deb1, &deb2);
        red_hat(&rpm1, &rpm2);
    });
}

fn debian(first: &Path, second: &Path) {
    let work = Path::new("/srv/demo");
    fs::create_dir(work).unwrap();
    let line = |version: &str| format!("import os; os.close(os.open('/srv/ran-{version}', 65, 384))");
    let [demo1, demo2] = ["1.0", "2.0"].map(|version| packages::deb(work, version, &line(version)));

    ask(tool("dpkg").arg("-i").args([first, &demo1]));
    let listed = ask(tool("dpkg").args(["-L", "pthguard"])).stdout;
    assert_owners_and_modes(listed.lines());
    assert_eq!(ask(tool("dpkg").args(["--verify", "pthguard"])).stdout, "");
    for page in [["8", "pthguard"], ["8", "pthguard-quarantine-purge"], ["5", "pthguard.toml"]] {
        ask(tool("man").arg("-w").args(page));
    }
    assert!(ask(tool(PROGRAM).arg("check")).stdout.contains("mode = \"audit\""));
    let conffiles = ask(tool("dpkg-query").args(["-f", "${Conffiles}", "-W", "pthguard"])).stdout;
    for file in [POLICY, "/etc/logrotate.d/pthguard"] {
        assert!(conffiles.contains(file), "{file} is no conffile: {conffiles}");
    }

    change_policy();
    let mut guard = start();
    obeys("1.0");
    assert_strangers_are_denied(&guard);
    // The package manager replaces the guard's own files and a guarded one in a single run.
    ask(tool("dpkg").arg("-i").args([second, &demo2]));
    assert!(ask(tool("dpkg-query").args(["-W", "pthguard"])).stdout.contains("-2"));
    assert_eq!(fs::read_to_string(POLICY).unwrap(), OWN_POLICY, "the administrator's policy");
    obeys("2.0");
    assert_strangers_are_denied(&guard);
    guard.assert_alive();
    let old = fs::read_link(format!("/proc/{}/exe", guard.pid())).unwrap();
    assert!(old.to_str().unwrap().ends_with("(deleted)"), "the old program still runs: {old:?}");
    // As the unit is restarted.
    assert!(guard.stop().0.success());
    let guard = start();
    assert!(guard.said().contains("0 are not approved"), "{}", guard.said());
    obeys("2.0");
    assert_strangers_are_denied(&guard);
    assert!(!guard.quarantine().is_empty());
    assert!(guard.stop().0.success());

    fs::write("/etc/pthguard/pthguard.d/10-own.toml", "").unwrap();
    ask(tool("dpkg").args(["-r", "demo", "pthguard"]));
    assert!(!Path::new(PROGRAM).exists());
    assert!(
        Path::new("/var/lib/pthguard/approvals.ndjson").exists() && Path::new(POLICY).exists(),
        "remove keeps these"
    );
    let purged = ask(tool("dpkg").args(["-P", "pthguard"]));
    assert!(purged.stderr.contains("removing the quarantine with "), "{}", purged.stderr);
    assert_eq!(left_over(), ["/etc/pthguard", "/etc/pthguard/pthguard.d", "/etc/pthguard/pthguard.d/10-own.toml"]);
    fs::remove_dir_all("/etc/pthguard").unwrap();
}

fn red_hat(first: &Path, second: &Path) {
    // There is no database of rpm's to ask for what it needs.
    let rpm = |action: &str| {
        let mut rpm = tool("rpm");
        rpm.args(["--force-debian", "--nodeps", action]);
        rpm
    };
    ask(rpm("-i").arg(first));
    let listed = ask(tool("rpm").args(["-ql", "pthguard"])).stdout;
    assert_owners_and_modes(listed.lines());
    let verified = ask(rpm("-V").arg("pthguard"));
    assert_eq!(verified.stdout, "");
    change_policy();
    let mut guard = start();
    assert_strangers_are_denied(&guard);
    ask(rpm("-U").arg(second));
    assert!(ask(tool("rpm").args(["-q", "pthguard"])).stdout.contains("-2."));
    assert_eq!(fs::read_to_string(POLICY).unwrap(), OWN_POLICY, "the administrator's policy");
    assert_strangers_are_denied(&guard);
    guard.assert_alive();
    assert!(guard.stop().0.success());
    ask(rpm("-e").arg("pthguard"));
    let kept = ["/etc/pthguard", "/etc/pthguard/pthguard.toml.rpmsave", "/var/lib/pthguard", LOGS];
    assert_eq!(left_over(), kept);
}

/// Root's, and writable by nobody else.
fn assert_owners_and_modes<'a>(listed: impl Iterator<Item = &'a str>) {
    let mut seen = 0;
    for path in listed.filter(|path| path.contains("pthguard")) {
        let file = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7022), (0, 0, 0), "{path}");
        assert_eq!(file.mode() & 0o111 != 0, file.is_dir() || path == PROGRAM, "{path}: {:o}", file.mode());
        seen += 1;
    }
    assert!(seen > 20, "{seen} files");
}

fn change_policy() {
    fs::write(POLICY, OWN_POLICY).unwrap();
    fs::set_permissions(POLICY, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir_all(LOGS).unwrap();
}

/// The installed guard with the installed policy, as the unit starts it.
fn start() -> Guard {
    let mut command = tool(PROGRAM);
    command.arg("run");
    let guard = Config::built_in(Path::new(LOGS), Vec::new())
        .state_in("/var/lib/pthguard")
        .limit(GUARD_LIMIT)
        .start_with(&mut command);
    root::assert_marks_are_private(guard.pid());
    guard
}

/// An interpreter runs what this version of the package brought.
fn obeys(version: &str) {
    let ran = PathBuf::from(format!("/srv/ran-{version}"));
    wait_for("the package's startup file runs", SOON, || {
        ask(tool("/usr/bin/python3").args(["-c", "pass"]));
        ran.exists().then_some(())
    });
    fs::remove_file(ran).unwrap();
}

fn assert_strangers_are_denied(guard: &Guard) {
    let written = fs::write(Path::new(SITE).join("stranger.pth"), "import os\n");
    assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EPERM));
    let newcomer = Path::new(SITE).join("newcomer.pth");
    let before = guard.quarantine().len();
    fs::write("/srv/newcomer", "import os\n").unwrap();
    fs::copy("/srv/newcomer", Path::new(SITE).join("newcomer")).unwrap();
    fs::rename(Path::new(SITE).join("newcomer"), &newcomer).unwrap();
    wait_for("the newcomer is taken away", SOON, || {
        (!newcomer.exists() && guard.quarantine().len() > before).then_some(())
    });
}

/// What of the package is still there, where packages put files; not what is in directories that are.
fn left_over() -> Vec<String> {
    let mut find = tool("find");
    find.args(["/etc", "/usr/sbin", "/usr/lib/systemd", "/usr/share", "/var/lib", "/var/log", "/run"]);
    find.args([
        "-xdev",
        "-path",
        "*pthguard*",
        "-not",
        "-path",
        "/var/lib/pthguard/*",
        "-not",
        "-path",
        "/var/log/pthguard/*",
    ]);
    // The package manager's own notes of what there was.
    find.args(["-not", "-path", "/var/lib/dpkg/*", "-not", "-path", "/usr/share/bug/*"]);
    let mut left: Vec<String> = ask(&mut find).stdout.lines().map(str::to_owned).collect();
    left.sort();
    left
}
