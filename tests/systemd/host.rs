//! A host of the test's own: systemd as PID 1 of a container (systemd-nspawn), on an overlay of the machine's root whose
//! upper layer is in memory. The site directories lie on file systems in memory of their own; /home, /opt, /root, /srv
//! and /mnt are such, so that nothing of the machine's is below them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::site::{Done, run, wait_for};
use crate::sys::{self, PidFd};

/// For everything that ought to happen at once, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A boot that needs longer hangs.
const BOOT: Duration = Duration::from_secs(60);
/// A test that needs longer is stuck: the container is killed, which lets everybody go.
const LIMIT: Duration = Duration::from_secs(300);

/// Directories that are a file system in memory each.
const OWN: [&str; 5] = ["home", "mnt", "opt", "root", "srv"];
/// Where the machine's own services are enabled.
const WANTS: [&str; 4] =
    ["multi-user.target.wants", "graphical.target.wants", "timers.target.wants", "local-fs.target.wants"];
/// What a boot does not need here.
const MASKED: [&str; 4] = ["dbus.service", "dbus.socket", "systemd-pcrphase.service", "console-getty.service"];

const POLICY: &str = r#"
mode = "enforce"
[protect]
sites = [
    "/srv/*/lib/python3*/site-packages", "/home/*/lib/python3*/site-packages", "/home/*/*/lib/python3*/site-packages",
    "/opt/*/lib/python3*/site-packages", "/root/*/lib/python3*/site-packages", "/mnt/*/lib/python3*/site-packages",
    "/tmp/*/lib/python3*/site-packages", "/dev/shm/*/lib/python3*/site-packages",
]
discover_below = ["/srv", "/home", "/opt", "/root", "/mnt", "/tmp", "/dev/shm"]
[failure]
budget_ms = 500
"#;

/// What lies on the disk before the host is booted.
pub(crate) struct Image {
    root: PathBuf,
}

impl Image {
    /// The machine's root without its services, with the guard installed as a package would do it.
    fn make(stage: &Path) -> io::Result<Image> {
        sys::mount(Some(Path::new("tmpfs")), stage, Some("tmpfs"), 0, "size=4g,mode=755")?;
        let [upper, work, root] = ["upper", "work", "root"].map(|name| stage.join(name));
        for dir in [&upper, &work, &root] {
            fs::create_dir(dir)?;
        }
        let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        sys::mount(Some(Path::new("overlay")), &root, Some("overlay"), 0, &layers)?;
        let image = Image { root };
        image.forget_the_machine()?;
        image.install()?;
        Ok(image)
    }

    fn forget_the_machine(&self) -> io::Result<()> {
        for dir in OWN {
            fs::create_dir_all(self.path(dir))?;
            sys::mount(Some(Path::new("tmpfs")), &self.path(dir), Some("tmpfs"), 0, "mode=755")?;
        }
        let units = self.path("usr/lib/systemd/system");
        let enabled = WANTS.map(|name| units.join(name));
        for dir in enabled.iter().chain(&[self.path("etc/systemd/system"), self.path("etc/init.d")]) {
            if dir.exists() {
                fs::remove_dir_all(dir)?;
            }
        }
        fs::create_dir(self.path("etc/systemd/system"))?;
        for unit in MASKED {
            symlink("/dev/null", self.path("etc/systemd/system").join(unit))?;
        }
        self.write("etc/fstab", "");
        self.write("etc/systemd/journald.conf.d/test.conf", "[Journal]\nStorage=volatile\nRateLimitBurst=0\n");
        for of_guard in ["etc/pthguard", "var/lib/pthguard", "var/log/pthguard"] {
            if self.path(of_guard).exists() {
                fs::remove_dir_all(self.path(of_guard))?;
            }
        }
        Ok(())
    }

    fn install(&self) -> io::Result<()> {
        fs::copy(env!("CARGO_BIN_EXE_pthguard"), self.path("usr/sbin/pthguard"))?;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        for unit in fs::read_dir(shipped)?.flatten() {
            let name = unit.file_name();
            if name.as_bytes().ends_with(b".preset") {
                fs::copy(unit.path(), self.path("usr/lib/systemd/system-preset").join(name))?;
            } else {
                fs::copy(unit.path(), self.path("usr/lib/systemd/system").join(name))?;
            }
        }
        self.write("etc/pthguard/pthguard.toml", POLICY);
        let root = format!("--root={}", self.root.display());
        let enabled = run(Command::new("systemctl").args([&root, "preset", "pthguard.service"]));
        assert!(enabled.status.success(), "{}", enabled.stderr);
        Ok(())
    }

    /// A place in the image, by its path without the slash in front.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Settings of the guard's unit beside the shipped ones.
    pub(crate) fn drop_in(&self, text: &str) {
        self.write("etc/systemd/system/pthguard.service.d/test.conf", text);
    }

    /// Have a unit started with the host.
    pub(crate) fn enable(&self, unit: &str) {
        let wants = self.path("etc/systemd/system/multi-user.target.wants");
        symlink(format!("../{unit}"), wants.join(unit)).unwrap();
    }

    /// A virtual environment's site directory with an approved file.
    pub(crate) fn site(&self, environment: &str) {
        self.write(&format!("{environment}/lib/python3.11/site-packages/good.pth"), "import sys; sys.good = 1\n");
    }
}

/// A booted host. It is gone when this is dropped, with all that runs on it.
pub(crate) struct Host {
    nspawn: Child,
    leader: u32,
    reaper: Child,
    cgroups: Vec<PathBuf>,
    _over: Sender<()>,
}

/// Boot a host from an image that `prepare` has finished, and run `work` beside it.
pub(crate) fn booted<T: Send>(prepare: impl FnOnce(&Image) + Send, work: impl FnOnce(&Host) -> T + Send) -> T {
    booted_with(&[], prepare, work)
}

/// The same, with words on the kernel's command line.
pub(crate) fn booted_with<T: Send>(
    words: &[&str],
    prepare: impl FnOnce(&Image) + Send,
    work: impl FnOnce(&Host) -> T + Send,
) -> T {
    assert!(sys::is_root(), "blocked: this test needs root (systemd-nspawn, fanotify permission events)");
    let stage = tempfile::Builder::new().prefix("pthguard-host-").tempdir().unwrap();
    let done = sys::with_private_mounts(|| {
        let image = Image::make(stage.path())?;
        prepare(&image);
        let host = Host::boot(&image, stage.path(), words);
        Ok(work(&host))
    });
    done.unwrap_or_else(|error| panic!("blocked: no root for a host (overlay on /, tmpfs): {error}"))
}

impl Host {
    fn boot(image: &Image, stage: &Path, words: &[&str]) -> Host {
        // Its control groups are below one of its own, or two hosts would share them.
        const WITHIN: &str = "for dir in $PTHGUARD_CGROUPS; do echo $$ >$dir/cgroup.procs || exit 9; done; exec \"$@\"";
        let cgroups = own_cgroups(stage.file_name().unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", WITHIN, "sh", "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]);
        // The container may do what a host's systemd may; the machine's own devices and network stay the machine's.
        command.args(["--capability=CAP_SYS_ADMIN", "--system-call-filter=@known", "--private-network"]);
        command.args(["--link-journal=no", "--console=pipe"]).arg("--directory").arg(&image.root).args(words);
        let groups: Vec<_> = cgroups.iter().map(|dir| dir.display().to_string()).collect();
        command.env("PTHGUARD_CGROUPS", groups.join(" "));
        let (said, complaints) =
            (stage.join("nspawn"), || fs::read_to_string(stage.join("nspawn")).unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(said).unwrap());
        let nspawn = sys::die_with_parent(&mut command).spawn();
        let mut nspawn = nspawn.unwrap_or_else(|error| panic!("blocked: systemd-nspawn (systemd-container): {error}"));
        let id = nspawn.id();
        let leader = wait_for("the container's PID 1", BOOT, || {
            let is_up = nspawn.try_wait().unwrap().is_none();
            assert!(is_up, "blocked: systemd-nspawn cannot boot here: {}", complaints());
            first_process(id)
        });
        let over = kill_at_limit(PidFd::open(leader).unwrap());
        let host = Host { nspawn, leader, reaper: reaper(leader), cgroups, _over: over };
        wait_for("the boot", BOOT, || matches!(host.state().as_str(), "running" | "degraded").then_some(()));
        host
    }

    /// How the boot went, as `systemctl is-system-running` calls it.
    pub(crate) fn state(&self) -> String {
        self.run(&["systemctl", "is-system-running"]).stdout.trim().to_owned()
    }

    /// A command on the host.
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.leader))
            .args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]);
        command.arg("--").args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        sys::die_with_parent(&mut command);
        command
    }

    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Done {
        run(&mut self.command(arguments))
    }

    /// `sh -c SCRIPT`: whether it went well, or the errno that it complains about.
    pub(crate) fn sh(&self, script: &str) -> io::Result<()> {
        self.run(&["sh", "-c", script]).result()
    }

    /// What a script prints.
    pub(crate) fn ask(&self, script: &str) -> String {
        let done = self.run(&["sh", "-c", script]);
        assert!(done.status.success(), "{script}: {} {}", done.stdout, done.stderr);
        done.stdout.trim().to_owned()
    }

    pub(crate) fn systemctl(&self, arguments: &[&str]) -> Done {
        self.run(&[&["systemctl"], arguments].concat())
    }

    /// `systemctl`, and it went well.
    pub(crate) fn manage(&self, arguments: &[&str]) {
        let done = self.systemctl(arguments);
        assert!(done.status.success(), "systemctl {arguments:?}: {}\n{}", done.stderr, self.journal());
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.systemctl(&["show", unit, "--value", "-p", property]).stdout.trim().to_owned()
    }

    /// The guard's process, by its number on the host, once its unit is active.
    pub(crate) fn guard(&self) -> u32 {
        wait_for("the guard is active", SOON, || {
            let shown = self.systemctl(&["show", "pthguard", "-p", "ActiveState,SubState,MainPID"]).stdout;
            let shown: HashMap<&str, &str> = shown.lines().filter_map(|line| line.split_once('=')).collect();
            let is_running = (shown.get("ActiveState"), shown.get("SubState")) == (Some(&"active"), Some(&"running"));
            is_running.then(|| shown["MainPID"].parse().unwrap())
        })
    }

    /// Send a signal to the guard and to nobody else.
    pub(crate) fn signal_guard(&self, signal: &str) {
        self.manage(&["kill", &format!("--signal={signal}"), "--kill-who=main", "pthguard"]);
    }

    /// The shipped unit with these settings beside it, from its next start on.
    pub(crate) fn drop_in(&self, text: &str) {
        let dir = self.path("/run/systemd/system/pthguard.service.d");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("test.conf"), text).unwrap();
        self.manage(&["daemon-reload"]);
    }

    /// A file of the host's, as this process sees it. Its opens are those of a process that the guard cannot identify.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader)).join(path.trim_start_matches('/'))
    }

    /// The guard's audit trail.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("/var/log/pthguard/events.ndjson")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many records there are of an action.
    pub(crate) fn count(&self, action: &str) -> usize {
        self.records().iter().filter(|record| record["event"]["action"] == action).count()
    }

    /// What the alarm has said, to everybody.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let said = self.run(&["journalctl", "--no-pager", "-q", "-o", "cat", "-p", "emerg", "-t", "pthguard"]).stdout;
        said.lines().map(str::to_owned).collect()
    }

    /// What the service manager and the guard have said, for a test that fails.
    pub(crate) fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "-q", "-n", "60", "-o", "short-monotonic"]).stdout
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.journal());
        }
        drop(self.reaper.stdin.take());
        let _ = (self.reaper.wait(), self.nspawn.wait());
        let deadline = Instant::now() + SOON;
        while !self.cgroups.iter().all(|dir| remove_cgroups(dir)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The process that is 1 in a pid namespace below this process.
fn first_process(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let is_first = status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        is_first && comm.trim() == "systemd"
    })
}

/// A new control group in each hierarchy that systemd uses.
fn own_cgroups(name: &OsStr) -> Vec<PathBuf> {
    let hierarchies = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let found = hierarchies.iter().filter(|dir| dir.join("cgroup.procs").exists());
    let made: Vec<PathBuf> = found.map(|dir| dir.join(name)).collect();
    assert!(!made.is_empty(), "blocked: no control groups at /sys/fs/cgroup");
    for dir in &made {
        fs::create_dir(dir).unwrap_or_else(|error| panic!("blocked: {}: {error}", dir.display()));
    }
    made
}

/// Remove a control group and those below it; whether it is gone. It stays while a process is in it.
fn remove_cgroups(dir: &Path) -> bool {
    for below in fs::read_dir(dir).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&below.path());
        }
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

/// Kills the container's PID 1, and with it everybody there, when the test is over or has come to its end in any other way:
/// systemd outlives the systemd-nspawn that has started it.
fn reaper(leader: u32) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read over; kill -KILL $0"]).arg(leader.to_string()).stdin(Stdio::piped()).spawn().unwrap()
}

/// Kill the container if the test is still at it when its time is up.
fn kill_at_limit(leader: PidFd) -> Sender<()> {
    let (over, is_over) = mpsc::channel();
    thread::spawn(move || {
        if is_over.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the container has run for {LIMIT:?}: killed");
            leader.signal(libc::SIGKILL);
        }
    });
    over
}
