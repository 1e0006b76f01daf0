//! Docker and containerd, with the built-in rules.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::engine::Docker;
use crate::harness::{Config, Guard, SOON, field, lookup};
use crate::image::{self, SITE};
use crate::rows::put_down;
use crate::site::{Place, run, sh, wait_for};
use crate::sys::{self, PidFd};

const LAYERS: &str = "/var/lib/docker/overlay2";
/// Every way in which a record may call a write.
const WRITES: &[&str] = &["creation", "modification"];

fn config(place: &Place, sites: Vec<PathBuf>) -> Config {
    Config::new(place).with_default().sites(sites)
}

/// The site directories of layers, below `parent/NAME/within`.
fn sites_below(parent: &str, within: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let site = |entry: fs::DirEntry| entry.path().join(within).join(SITE);
    entries.flatten().map(site).filter(|site| site.is_dir()).collect()
}

/// Written by the engine, allowed by its rule, approved, and readable.
fn assert_unpacked(guard: &Guard, file: &Path, exe: &str) -> Value {
    let record = guard.wait_record("allow", WRITES, file.to_str());
    assert_eq!(field(&record, "file.path"), file.to_str().unwrap());
    assert_eq!(field(&record, "process.executable"), exe, "{record}");
    assert_eq!(field(&record, "rule.name"), "docker", "{record}");
    assert_eq!(lookup(&record, "container"), None, "the engine runs in no container");
    wait_for(&format!("{file:?} is approved"), SOON, || fs::read(file).ok());
    record
}

/// Images are unpacked, and files copied into containers, by processes of the engine's own executable, though in a mount
/// namespace and a root of their own.
#[test]
fn the_engine_unpacks_and_copies() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let docker = Docker::start(&place);
        import_while_guarded(&place, &docker);
        copy_while_guarded(&place, &docker);
        containerd_while_guarded(&place, &docker);
        Ok(())
    })
    .unwrap();
}

/// `docker import` is fed piece by piece: the directory has to be there before it can be guarded.
fn import_while_guarded(place: &Place, docker: &Docker) {
    let mut client = docker.command(&["import", "-", "fed:1"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    for end in SITE.match_indices('/').map(|(at, _)| at).chain([SITE.len()]) {
        input.write_all(&image::header(&format!("{}/", &SITE[..end]), 0)).unwrap();
    }
    // Pushes the headers out of every buffer on the way.
    input.write_all(&image::entry("padding", &[0; 1 << 20])).unwrap();
    input.flush().unwrap();
    let site = wait_for("the layer's directory", SOON, || sites_below(LAYERS, "diff").pop());
    let guard = config(place, vec![site.clone()]).start();
    input.write_all(&image::entry(&format!("{SITE}/x.pth"), b"import os\n")).unwrap();
    input.write_all(&[0; 1024]).unwrap();
    drop(input);
    let handle = PidFd::open(client.id()).unwrap();
    assert!(handle.ends_within(SOON), "docker import did not end: {}", guard.said());
    assert!(client.wait().unwrap().success(), "docker import");
    let record = assert_unpacked(&guard, &site.join("x.pth"), "/usr/sbin/dockerd");
    assert_eq!(field(&record, "process.parent.executable"), "/usr/sbin/dockerd");
    assert!(record["process"]["args"][0].as_str().unwrap().starts_with("docker-"), "{record}");
    put_down("docker", "import", &record, "readable");
}

fn copy_while_guarded(place: &Place, docker: &Docker) {
    let archive = image::archive(&image::root(place, "copied"));
    docker.ask(&["import", archive.to_str().unwrap(), "copied:1"]);
    let container = docker.container("copied:1", SITE, &[]);
    let guard = config(place, vec![container.site.clone()]).home("copy").start();
    let file = place.outside.join("cp.pth");
    fs::write(&file, "import os\n").unwrap();
    docker.ask(&["cp", file.to_str().unwrap(), &format!("{}:/{SITE}/cp.pth", container.id)]);
    let record = assert_unpacked(&guard, &container.site.join("cp.pth"), "/usr/sbin/dockerd");
    put_down("docker", "cp", &record, "readable");
    // What a process of the container then does with it is another matter.
    docker.ask(&["exec", &container.id, "/bin/sh", "-c", &format!("read line < /{SITE}/cp.pth")]);
    let append = format!("echo import os >> /{SITE}/cp.pth");
    assert!(!run(&mut docker.command(&["exec", &container.id, "/bin/sh", "-c", &append])).status.success());
}

/// With its own image store it is containerd that unpacks; `ctr` only asks. It is stopped for as long as the guard needs
/// to start: the layer holds enough files to be seen half unpacked.
fn containerd_while_guarded(place: &Place, docker: &Docker) {
    const SNAPSHOTS: &str = "/var/lib/docker/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots";
    let root = place.outside.join("unpacked");
    fs::create_dir_all(root.join(SITE)).unwrap();
    let mut archive = Vec::new();
    for end in SITE.match_indices('/').map(|(at, _)| at).chain([SITE.len()]) {
        archive.extend(image::header(&format!("{}/", &SITE[..end]), 0));
    }
    for number in 0..3000 {
        archive.extend(image::header(&format!("padding{number}"), 0));
    }
    archive.extend(image::entry(&format!("{SITE}/x.pth"), b"import os\n"));
    archive.extend([0; 1024]);
    let (layer, saved) = (place.outside.join("layer.tar"), place.outside.join("saved.tar"));
    fs::write(&layer, archive).unwrap();
    docker.ask(&["import", layer.to_str().unwrap(), "docker.io/test/unpacked:1"]);
    docker.ask(&["save", "--output", saved.to_str().unwrap(), "docker.io/test/unpacked:1"]);

    let socket = docker.containerd();
    let mut client = Command::new("ctr");
    client.arg("--address").arg(&socket).args(["images", "import"]).arg(&saved);
    let mut client = client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("blocked: no ctr (containerd)");
    let containerd = PidFd::open(docker.containerd_pid()).unwrap();
    let site = wait_for("the snapshot's directory", SOON, || sites_below(SNAPSHOTS, "fs").pop());
    containerd.signal(libc::SIGSTOP);
    let resume = Resume(&containerd);
    let guard = config(place, vec![site.clone()]).home("containerd").start();
    assert!(!site.join("x.pth").exists(), "containerd was too quick for this test");
    drop(resume);
    let handle = PidFd::open(client.id()).unwrap();
    assert!(handle.ends_within(SOON), "ctr did not end: {}", guard.said());
    assert!(client.wait().unwrap().success(), "ctr images import");
    let record = assert_unpacked(&guard, &site.join("x.pth"), "/usr/bin/containerd");
    put_down("containerd", "ctr images import", &record, "readable");
}

/// Lets a stopped process go on when dropped, whatever fails.
struct Resume<'a>(&'a PidFd);

impl Drop for Resume<'_> {
    fn drop(&mut self) {
        self.0.signal(libc::SIGCONT);
    }
}

/// Inside of a container every name can be anybody's: its dpkg is not the host's, whatever path /proc shows.
#[test]
fn a_process_in_a_container_is_no_writer_of_the_host() {
    let place = Place::new();
    let venv = &place.venvs[0];
    sys::with_private_mounts(|| {
        let docker = Docker::start(&place);
        let archive = image::archive(&image::root(&place, "root"));
        let digest = docker.ask(&["import", archive.to_str().unwrap(), "test-image:1"]);
        // A directory of the host's inside of the container, under a name that is one of the host's, too.
        let bind = format!("{}:/usr/lib/python3.11/site-packages", venv.site.display());
        let container = docker.container("test-image:1", SITE, &["--volume", &bind]);
        let guard = config(&place, vec![container.site.clone(), venv.site.clone()]).start();

        let in_layer = format!("echo import os > /{SITE}/evil.pth");
        let in_host = "echo import os > /usr/lib/python3.11/site-packages/evil.pth";
        for (command, site, reason) in [
            (["/bin/sh", "-c", &in_layer], &container.site, "no-rule"),
            (["/usr/bin/dpkg", "-c", &in_layer], &container.site, "not-at-path"),
            (["/usr/bin/pip", "-c", &in_layer], &container.site, "no-rule"),
            // A python that runs pip, as far as the command line tells; it is a shell.
            (["/usr/bin/python3.11", "-m", "pip"], &container.site, "no-rule"),
            (["/bin/sh", "-c", in_host], &venv.site, "no-rule"),
            (["/usr/bin/dpkg", "-c", in_host], &venv.site, "not-at-path"),
        ] {
            let mut exec = vec!["exec", &container.id];
            exec.extend(command);
            let done = run(&mut docker.command(&exec));
            assert!(!done.status.success() && done.stderr.contains("not permitted"), "{command:?}: {}", done.stderr);
            let file = site.join("evil.pth");
            assert!(file.symlink_metadata().is_err(), "{command:?} left {file:?}");
            let record = wait_for(&format!("a record of {command:?}"), SOON, || {
                guard.records().into_iter().find(|record| {
                    field(record, "pthguard.verdict") == "deny"
                        && field(record, "file.path") == file.to_str().unwrap()
                        && field(record, "process.executable") == command[0]
                })
            });
            assert_eq!(field(&record, "pthguard.reason"), reason, "{record}");
            if command[0] == "/usr/bin/dpkg" && *site == container.site {
                put_down("docker", "impostor: a container's own /usr/bin/dpkg", &record, "absent");
            }
            assert_eq!(field(&record, "container.id"), container.id, "{record}");
            assert_eq!(field(&record, "container.runtime"), "docker", "{record}");
            assert_eq!(field(&record, "container.image.name"), "test-image:1", "{record}");
            assert_eq!(record["container"]["image"]["hash"]["all"][0], *digest, "{record}");
        }

        // The same from the host: nothing of a container is in the record.
        assert!(sh("echo import os > \"$1/evil.pth\"", &[container.site.as_os_str()]).is_err());
        let record = wait_for("a record of the host's shell", SOON, || {
            let is_ours =
                |record: &Value| field(record, "pthguard.verdict") == "deny" && lookup(record, "container").is_none();
            guard.records().into_iter().find(is_ours)
        });
        assert_eq!(field(&record, "file.path"), container.site.join("evil.pth").to_str().unwrap());
        Ok(())
    })
    .unwrap();
}

/// A rule with `containers = true` speaks about programs inside of containers, by the paths that they have there.
#[test]
fn a_rule_for_containers_goes_by_their_own_paths() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let docker = Docker::start(&place);
        let archive = image::archive(&image::root(&place, "root"));
        docker.ask(&["import", archive.to_str().unwrap(), "test-image:1"]);
        let container = docker.container("test-image:1", SITE, &[]);
        let rule = "exe = [\"/usr/bin/dpkg\"]\nuid = [0]\ncontainers = true";
        let guard = Config::new(&place).sites(vec![container.site.clone()]).allow("inside", rule).start();

        let write = |name: &str| format!("echo import os > /{SITE}/{name}");
        docker.ask(&["exec", &container.id, "/usr/bin/dpkg", "-c", &write("good.pth")]);
        let record = guard.wait_record("allow", WRITES, Some("good.pth"));
        assert_eq!(field(&record, "rule.name"), "inside");
        assert_eq!(field(&record, "container.id"), container.id);
        assert_eq!(field(&record, "file.path"), container.site.join("good.pth").to_str().unwrap());

        let evil = run(&mut docker.command(&["exec", &container.id, "/bin/sh", "-c", &write("evil.pth")]));
        assert!(!evil.status.success(), "the container's shell is no dpkg");
        guard.wait_record("deny", WRITES, Some("evil.pth"));
        Ok(())
    })
    .unwrap();
}
