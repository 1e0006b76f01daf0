//! podman and buildah as root, with the built-in rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::engine::shelter;
use crate::harness::{Config, Guard, SOON, field, lookup};
use crate::image::{self, SITE};
use crate::rows::put_down;
use crate::site::{Place, run, wait_for};
use crate::sys;

const WRITES: &[&str] = &["creation", "modification"];

/// runc is what every machine with Docker has; limits that a machine without CAP_SYS_RESOURCE can set.
fn podman(arguments: &[&str]) -> String {
    ask(Command::new("podman").args(["--runtime=runc", "--cgroup-manager=cgroupfs"]).args(arguments))
}

fn buildah(arguments: &[&str]) -> String {
    ask(Command::new("buildah").args(arguments))
}

fn ask(command: &mut Command) -> String {
    let done = run(command);
    done.result().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    done.stdout.trim().to_owned()
}

/// Removes the containers, whatever fails: what runs in them would outlive the test.
struct Containers;

impl Drop for Containers {
    fn drop(&mut self) {
        run(Command::new("podman").args(["--cgroup-manager=cgroupfs", "rm", "--all", "--force", "--time=0"]));
        run(Command::new("buildah").args(["rm", "--all"]));
    }
}

fn guard(place: &Place, name: &str, site: PathBuf) -> Guard {
    Config::new(place).with_default().sites(vec![site]).home(name).start()
}

fn assert_copied(guard: &Guard, file: &Path, exe: &str) -> Value {
    let record = guard.wait_record("allow", WRITES, file.to_str());
    assert_eq!(field(&record, "file.path"), file.to_str().unwrap());
    assert_eq!(field(&record, "process.executable"), exe, "{record}");
    assert_eq!(field(&record, "rule.name"), "podman", "{record}");
    assert_eq!(lookup(&record, "container"), None, "the engine runs in no container");
    wait_for(&format!("{file:?} is approved"), SOON, || fs::read(file).ok());
    record
}

#[test]
fn podman_and_buildah_copy_and_what_they_run_does_not_write() {
    for program in ["podman", "buildah"] {
        assert!(Command::new(program).arg("--version").output().is_ok(), "blocked: no {program}; install it");
    }
    let place = Place::new();
    sys::with_private_mounts(|| {
        shelter(&place, "/var/lib/containers");
        shelter(&place, "/run/containers");
        shelter(&place, "/run/libpod");
        let archive = image::archive(&image::root(&place, "root"));
        podman(&["import", "--quiet", archive.to_str().unwrap(), "test-image:1"]);
        let file = place.outside.join("cp.pth");
        fs::write(&file, "import os\n").unwrap();
        let file = file.to_str().unwrap();
        let _containers = Containers;

        let mut arguments = vec!["run", "--detach", "--interactive", "--network=none", "--ulimit=nofile=1024:1024"];
        arguments.extend(["--ulimit=nproc=4096:4096", "test-image:1", "/bin/sh", "-c", "read line"]);
        let id = podman(&arguments);
        podman(&["exec", &id, "/bin/sh", "-c", &format!("echo > /{SITE}/own.txt")]);
        let facts: Value = serde_json::from_str(&podman(&["inspect", &id])).unwrap();
        let layer = Path::new(facts[0]["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap()).join(SITE);
        let one = guard(&place, "podman", layer.clone());
        podman(&["cp", file, &format!("{id}:/{SITE}/cp.pth")]);
        let record = assert_copied(&one, &layer.join("cp.pth"), "/usr/bin/podman");
        put_down("podman", "cp", &record, "readable");
        let write = format!("echo import os > /{SITE}/evil.pth");
        let evil = run(Command::new("podman")
            .args(["--runtime=runc", "--cgroup-manager=cgroupfs", "exec", &id])
            .args(["/usr/bin/dpkg", "-c", &write]));
        assert!(!evil.status.success(), "the container's dpkg is not the host's");
        let record = one.wait_record("deny", WRITES, Some("evil.pth"));
        assert_eq!(field(&record, "container.id"), id, "{record}");
        assert_eq!(field(&record, "container.runtime"), "podman", "{record}");
        assert_eq!(field(&record, "container.image.name"), "localhost/test-image:1", "{record}");
        drop(one);

        let working = buildah(&["from", "test-image:1"]);
        let merged = buildah(&["mount", &working]);
        fs::write(Path::new(&merged).join(SITE).join("own.txt"), "").unwrap();
        let layer = Path::new(&merged).with_file_name("diff").join(SITE);
        let two = guard(&place, "buildah", layer.clone());
        buildah(&["copy", &working, file, &format!("/{SITE}/cp.pth")]);
        let record = assert_copied(&two, &layer.join("cp.pth"), "/usr/bin/buildah");
        put_down("buildah", "copy", &record, "readable");
        Ok(())
    })
    .unwrap();
}
