//! Running containers are guarded from the host.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::engine::Docker;
use crate::harness::{Config, Guard, SOON, field};
use crate::image;
use crate::site::{Place, run, wait_for};
use crate::sys;

/// A directory that the machine itself has not: the policy's globs are matched on the host, too.
const SITE: &str = "pthguard-container/site-packages";
/// What the engine takes to remove a container, and some.
const PROMPT: Duration = Duration::from_secs(5);

/// Where the host sees the container's root.
fn merged(docker: &Docker, id: &str) -> PathBuf {
    let facts: Value = serde_json::from_str(&docker.ask(&["inspect", id])).unwrap();
    PathBuf::from(facts[0]["GraphDriver"]["Data"]["MergedDir"].as_str().unwrap())
}

fn wait_recorded(guard: &Guard, action: &str, path: &std::path::Path, times: usize) {
    let is_it = |record: &&Value| {
        field(record, "event.action") == action && field(record, "file.path") == path.to_str().unwrap()
    };
    wait_for(&format!("{action} {path:?}"), SOON, || {
        (guard.records().iter().filter(is_it).count() >= times).then_some(())
    });
}

#[test]
fn a_running_container_is_guarded_and_goes_without_trouble() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let docker = Docker::start(&place);
        let root = image::root(&place, "root");
        fs::create_dir_all(root.join(SITE))?;
        fs::write(root.join(SITE).join("evil.pth"), place.payload())?;
        fs::write(root.join(SITE).join("comment.pth"), "# nothing\n")?;
        docker.ask(&["import", image::archive(&root).to_str().unwrap(), "test-image:1"]);
        let rule = "exe = [\"/usr/bin/dpkg\"]\nuid = [0]\ncontainers = true\n\
                    sites = [\"/var/lib/docker/overlay2/*/merged/**\"]";
        let mut sites = place.sites();
        sites.push(PathBuf::from("/").join(SITE));
        let mut guard = Config::new(&place).sites(sites).containers().allow("inside", rule).start();
        for _ in 0..2 {
            let container = docker.container("test-image:1", SITE, &[]);
            let merged = merged(&docker, &container.id);
            let site = merged.join(SITE);
            wait_recorded(&guard, "site-guarded", &site, 1);
            let inside = |program: &str, command: String| {
                run(&mut docker.command(&["exec", &container.id, program, "-c", &command]))
            };
            assert!(inside("/bin/sh", format!("read line < /{SITE}/comment.pth")).status.success());
            for command in [
                format!("read line < /{SITE}/evil.pth"),
                format!("echo import os > /{SITE}/new.pth"),
                format!("echo import os >> /{SITE}/comment.pth"),
            ] {
                let done = inside("/bin/sh", command.clone());
                assert!(!done.status.success() && done.stderr.contains("not permitted"), "{command}: {}", done.stderr);
            }
            assert!(inside("/usr/bin/dpkg", format!("echo import os > /{SITE}/good.pth")).status.success());
            let good = site.join("good.pth");
            wait_for("it is approved", SOON, || fs::read(&good).ok());
            assert!(inside("/bin/sh", format!("read line < /{SITE}/good.pth")).status.success());
            let began = Instant::now();
            docker.ask(&["rm", "--force", &container.id]);
            assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
            assert!(!merged.exists() && !container.site.exists(), "nothing of it is left");
            wait_recorded(&guard, "site-lost", &site, 1);
        }
        guard.assert_alive();
        Ok(())
    })
    .unwrap();
}
