//! A Docker engine of the test's own, beside whatever runs on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::SOON;
use crate::site::{Place, run, wait_for};
use crate::sys::{self, PidFd};

/// Bind a directory of the test's own over one of the engine's; within `with_private_mounts` only.
pub(crate) fn shelter(place: &Place, directory: &str) {
    let own = place.path().join("engine").join(directory.trim_start_matches('/').replace('/', "-"));
    fs::create_dir_all(&own).unwrap();
    fs::create_dir_all(directory).unwrap();
    sys::mount(Some(&own), Path::new(directory), None, libc::MS_BIND, "").unwrap();
}

/// The engine; it ends with the thread that started it, and its containers with it.
pub(crate) struct Docker {
    child: Child,
    handle: PidFd,
    home: PathBuf,
}

impl Docker {
    /// Start it; within `with_private_mounts` only. The overlay2 driver, which is what engines use by themselves.
    pub(crate) fn start(place: &Place) -> Docker {
        shelter(place, "/var/lib/docker");
        shelter(place, "/etc/docker");
        let home = place.path().join("engine");
        let log = fs::File::create(home.join("log")).unwrap();
        // Asked, not killed, when the test dies: it takes its containers along.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd", "--storage-driver=overlay2", "--bridge=none"]);
        // Whatever the machine has of systemd and AppArmor, the tests do not depend on it.
        command.arg("--exec-opt=native.cgroupdriver=cgroupfs");
        command.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        command.arg("--exec-root").arg(home.join("exec")).arg("--pidfile").arg(home.join("pid"));
        command.arg("--host").arg(format!("unix://{}", home.join("socket").display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().expect("blocked: no setpriv (util-linux)");
        let handle = PidFd::open(child.id()).unwrap();
        wait_for("blocked: dockerd (package docker.io) is ready", SOON, || {
            let said = || fs::read_to_string(home.join("log")).unwrap_or_default();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("blocked: dockerd (package docker.io): {status}\n{}", said());
            }
            said().contains("API listen on").then_some(())
        });
        Docker { child, handle, home }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its own containerd's socket.
    pub(crate) fn containerd(&self) -> PathBuf {
        self.home.join("exec/containerd/containerd.sock")
    }

    pub(crate) fn containerd_pid(&self) -> u32 {
        fs::read_to_string(self.home.join("exec/containerd/containerd.pid")).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.home.join("socket").display())).args(arguments);
        command.env("DOCKER_CONFIG", self.home.join("client"));
        command
    }

    /// Run a client's command that has to succeed, and what it says.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let done = run(&mut self.command(arguments));
        done.result().unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"));
        done.stdout.trim().to_owned()
    }

    /// A container that does nothing until it is removed, and whose site directory lies in its own layer.
    pub(crate) fn container(&self, image: &str, site: &str, options: &[&str]) -> Container {
        let mut arguments = vec!["run", "--detach", "--interactive", "--network=none", "--stop-timeout=0"];
        arguments.push("--security-opt=apparmor=unconfined");
        arguments.extend(options);
        arguments.extend([image, "/bin/sh", "-c", "read line"]);
        let id = self.ask(&arguments);
        self.ask(&["exec", &id, "/bin/sh", "-c", &format!("echo > /{site}/own.txt")]);
        let facts: Value = serde_json::from_str(&self.ask(&["inspect", &id])).unwrap();
        let layer = facts[0]["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap();
        let site = Path::new(layer).join(site);
        assert!(site.join("own.txt").exists(), "the container's layer is {layer}");
        Container { id, site }
    }
}

/// A running container.
pub(crate) struct Container {
    pub(crate) id: String,
    /// Its site directory as the host sees it.
    pub(crate) site: PathBuf,
}

impl Drop for Docker {
    fn drop(&mut self) {
        let ids = run(&mut self.command(&["ps", "--all", "--quiet"])).stdout;
        if !ids.trim().is_empty() {
            let mut remove = self.command(&["rm", "--force"]);
            run(remove.args(ids.split_whitespace()));
        }
        self.handle.signal(libc::SIGTERM);
        if !self.handle.ends_within(SOON) {
            self.handle.signal(libc::SIGKILL);
        }
        self.child.wait().expect("our own child");
    }
}
