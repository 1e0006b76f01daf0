//! The guard as a container: `packaging/Containerfile`, built and run, guards directories of the host.
//!
//! The host is a stand-in: the test's own mount namespace, in which the engine runs, too. The policy names directories of the
//! test alone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::engine::Docker;
use crate::harness::{SOON, field};
use crate::site::{Done, Place, run, wait_for};
use crate::sys;

/// What the Containerfile says, but for the names.
const RUN: &[&str] = &[
    "run",
    "--detach",
    "--name=guard",
    "--pid=host",
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=SYS_ADMIN",
    "--cap-add=SYS_CHROOT",
    "--cap-add=SYS_PTRACE",
    "--cap-add=DAC_READ_SEARCH",
    "--cap-add=DAC_OVERRIDE",
    "--cap-add=LEASE",
    "--cap-add=CHOWN",
    "--cap-add=FOWNER",
    "--cap-add=SYS_NICE",
    "--security-opt=apparmor=unconfined",
];

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// The image, from the Containerfile. The program need not be static: the stand-in has its libraries.
fn build(docker: &Docker, place: &Place) {
    let context = place.path().join("context");
    fs::create_dir(&context).unwrap();
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.exists(), "blocked: no static busybox (Debian: busybox-static)");
    let files = [
        (Path::new(env!("CARGO_BIN_EXE_pthguard")).to_owned(), "pthguard"),
        (busybox.to_owned(), "busybox"),
        (packaging("on-host"), "on-host"),
        (packaging("Containerfile"), "Containerfile"),
    ];
    for (from, name) in files {
        fs::copy(from, context.join(name)).unwrap();
    }
    let file = context.join("Containerfile");
    docker.ask(&["build", "--quiet", "--file", file.to_str().unwrap(), "--tag=pthguard", context.to_str().unwrap()]);
}

fn policy(place: &Place) -> String {
    let state = place.path().join("state");
    format!(
        "include_default = false\nmode = \"enforce\"\n[protect]\nsites = {:?}\n[failure]\nbudget_ms = 500\n[log]\n\
         syslog = false\njson = \"-\"\n[state]\ndir = {state:?}\n",
        place.sites()
    )
}

/// The records that the engine has taken from the guard's standard output.
fn records(docker: &Docker) -> Vec<Value> {
    let log = run(&mut docker.command(&["logs", "guard"]));
    log.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn wait_recorded(docker: &Docker, action: &str, name: &str) {
    wait_for(&format!("{action} {name} in the container's log"), SOON, || {
        let is_it =
            |record: &Value| field(record, "event.action") == action && field(record, "file.path").ends_with(name);
        records(docker).iter().any(is_it).then_some(())
    });
}

#[test]
fn the_guard_in_a_container_guards_the_host() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let docker = Docker::start(&place);
        build(&docker, &place);
        let (policy_file, runtime) = (place.path().join("policy.toml"), place.path().join("run"));
        fs::write(&policy_file, policy(&place))?;
        fs::create_dir(&runtime)?;
        // The host's /run/pthguard: the same directory for the guard, once it has left the container, and for the container.
        fs::create_dir_all("/run/pthguard")?;
        sys::mount(Some(&runtime), Path::new("/run/pthguard"), None, libc::MS_BIND, "")?;
        let namespace = format!("--env=PTHGUARD_NAMESPACE=/proc/{}/ns/mnt", sys::thread_id());
        let volumes = [
            format!("--volume={}:/policy/pthguard.toml:ro", policy_file.display()),
            format!("--volume={}:/run/pthguard", runtime.display()),
        ];
        let mut arguments = RUN.to_vec();
        arguments.extend([namespace.as_str(), &volumes[0], &volumes[1], "pthguard"]);
        docker.ask(&arguments);
        let state = || docker.ask(&["inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", "guard"]);
        let wait_ready = |starts: usize| {
            wait_for("the guard in the container is ready", SOON, || {
                let said = run(&mut docker.command(&["logs", "guard"])).stderr;
                assert!(state().starts_with("true"), "{said}");
                (said.matches("guarding ").count() >= starts).then_some(())
            });
        };
        wait_ready(1);

        let venv = &place.venvs[0];
        let planted = fs::write(venv.site.join("planted.pth"), place.payload());
        assert_eq!(planted.unwrap_err().raw_os_error(), Some(libc::EPERM));
        let newcomer = venv.site.join("newcomer.pth");
        let elsewhere = place.outside.join("newcomer");
        fs::write(&elsewhere, place.payload())?;
        fs::rename(&elsewhere, &newcomer)?;
        wait_for("what was moved there is taken away", SOON, || (!newcomer.exists()).then_some(()));
        let start = place.start(venv);
        assert!(start.clean && start.keep && !start.canary, "an interpreter of the host");
        wait_recorded(&docker, "creation", "planted.pth");

        // Subcommands see what the guard sees, and find its state.
        let on_host = |words: &[&str]| -> Done { run(docker.command(&["exec", "guard", "/on-host"]).args(words)) };
        let listed = on_host(&["quarantine", "list"]);
        assert!(listed.stdout.contains("newcomer.pth"), "{}{}", listed.stdout, listed.stderr);

        docker.ask(&["stop", "--time=5", "guard"]);
        assert_eq!(state(), "false 0", "it ends by itself when it is asked to");
        fs::write(venv.site.join("planted.pth"), "")?;
        fs::remove_file(venv.site.join("planted.pth"))?;

        // Killed, it leaves no process behind that would still guard, though only the container's first one is told.
        docker.ask(&["start", "guard"]);
        wait_ready(2);
        assert!(fs::write(venv.site.join("planted.pth"), "").is_err());
        docker.ask(&["kill", "guard"]);
        wait_for("nobody guards any more", SOON, || fs::write(venv.site.join("planted.pth"), "").ok());
        Ok(())
    })
    .unwrap();
}

/// Without the host's processes there is no namespace to enter, and what would be guarded is the empty image.
#[test]
fn a_container_that_cannot_see_the_host_says_so() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let docker = Docker::start(&place);
        build(&docker, &place);
        let done = run(&mut docker.command(&["run", "--rm", "--network=none", "--cap-add=SYS_ADMIN", "pthguard"]));
        assert_eq!(done.status.code(), Some(2));
        assert!(done.stderr.contains("--pid=host"), "{}", done.stderr);
        Ok(())
    })
    .unwrap();
}
