//! What the guard does on a host, it does in the sandbox of its unit.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::host::{Host, SOON};
use crate::packages::wheel;
use crate::site::wait_for;

/// Where site directories lie: what sandboxes like to hide or to make read-only.
pub(crate) const ENVIRONMENTS: [&str; 7] =
    ["srv/app", "home/user/env", "home/env", "opt/tool", "root/env", "tmp/env", "dev/shm/env"];
const SITE: &str = "lib/python3.11/site-packages";
/// Larger than `protect.max_size`.
const LARGE: u64 = 3 * 1024 * 1024;

pub(crate) fn is_denied(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

/// Somebody whom no rule names plants a file.
pub(crate) fn plant(host: &Host, site: &str) -> io::Result<()> {
    host.sh(&format!("echo 'import os' >{site}/evil.pth"))
}

/// A virtual environment for Debian's pip, made before anything is guarded.
pub(crate) const VENV: &str = "python3 -m venv --without-pip --system-site-packages";

pub(crate) fn nobody_plants_anywhere(host: &Host) {
    for environment in ENVIRONMENTS {
        assert!(is_denied(plant(host, &format!("/{environment}/{SITE}"))), "{environment}\n{}", host.journal());
        assert!(!host.path(&format!("/{environment}/{SITE}/evil.pth")).exists(), "{environment}: left behind");
        let good = host.ask(&format!("cat /{environment}/{SITE}/good.pth"));
        assert_eq!(good, "import sys; sys.good = 1", "{environment}");
    }
}

/// The rule names Debian's pip, by files that the guard has to find at the same place from its own mount namespace.
pub(crate) fn pip_installs(host: &Host) {
    let wheels = tempfile::tempdir().unwrap();
    let file = wheel(wheels.path(), Path::new("/usr/bin/python3"), "1.0", "# nothing");
    let name = file.file_name().unwrap().to_str().unwrap();
    fs::copy(&file, host.path("/srv").join(name)).unwrap();
    host.ask(&format!("/srv/venv/bin/python3 -m pip install -q --no-index --no-deps --no-compile /srv/{name}"));
    let installed =
        "ls /srv/venv/lib/python3*/site-packages/demo.pth && cat /srv/venv/lib/python3*/site-packages/demo.pth";
    assert!(host.ask(installed).ends_with("# nothing"), "{}", host.journal());
    host.ask("/srv/venv/bin/python3 -m pip uninstall -q -y demo");
}

/// What is renamed into place is taken out again, from every file system; large files, which are moved, where the state
/// lies on the same one.
pub(crate) fn newcomers_go_to_quarantine(host: &Host) {
    for environment in ENVIRONMENTS {
        let to = format!("/{environment}/{SITE}/moved.pth");
        host.ask(&format!("echo 'import os' >/{environment}/{SITE}/moved && mv /{environment}/{SITE}/moved {to}"));
        wait_for(&format!("{to} is taken out"), SOON, || (!host.path(&to).exists()).then_some(()));
    }
    let kept: usize = host.ask("pthguard quarantine list | grep -c moved.pth").parse().unwrap();
    assert_eq!(kept, ENVIRONMENTS.len(), "{}", host.journal());

    let (dir, large) = (format!("/usr/local/env/{SITE}"), "large.pth");
    host.ask(&format!("truncate -s {LARGE} {dir}/large && mv {dir}/large {dir}/{large}"));
    wait_for("a large file is taken out", SOON, || (!host.path(&format!("{dir}/{large}")).exists()).then_some(()));

    let id = host.ask("pthguard quarantine list | awk '/srv.app.*moved.pth/ {print $1}'");
    host.ask(&format!("pthguard quarantine restore {id} --yes --approve"));
    assert_eq!(host.ask(&format!("cat /srv/app/{SITE}/moved.pth")), "import os");
}

/// An approved file that is replaced comes back, with the owner and mode that it had.
pub(crate) fn what_is_replaced_comes_back(host: &Host) {
    let file = format!("/home/user/env/{SITE}/owned.pth");
    let was = fs::metadata(host.path(&file)).unwrap();
    assert_eq!((was.uid(), was.mode() & 0o7777), (1234, 0o640));
    host.ask(&format!("echo 'import os' >/home/user/x && mv /home/user/x {file}"));
    wait_for("the file is back", SOON, || {
        let is = fs::metadata(host.path(&file)).ok()?;
        let is_back = (is.uid(), is.gid(), is.mode(), is.len()) == (was.uid(), was.gid(), was.mode(), was.len());
        is_back.then_some(())
    });
    assert_eq!(host.ask(&format!("cat {file}")), "import sys; sys.owned = 1");
}

/// What is mounted on the host after the start comes to the daemon's mount namespace, and can be unmounted again.
pub(crate) fn later_mounts_are_guarded(host: &Host) {
    host.ask(&format!("mkdir -p /mnt/disk && mount -t tmpfs disk /mnt/disk && mkdir -p /mnt/disk/{SITE}"));
    wait_for("what was mounted is guarded", SOON, || {
        let denied = is_denied(plant(host, &format!("/mnt/disk/{SITE}")));
        if !denied {
            host.ask(&format!("rm -f /mnt/disk/{SITE}/evil.pth"));
        }
        denied.then_some(())
    });
    // Nor is it in the way of whoever wants to unmount it, once it has looked at what has just come there.
    wait_for("it can be unmounted", SOON, || host.sh("umount /mnt/disk").ok());
}

/// Every thread has what is needed after the start, and no way to more.
pub(crate) fn no_privilege_is_left_over(host: &Host, guard: u32) {
    let tasks = host.ask(&format!("cat /proc/{guard}/task/*/status"));
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in tasks.lines().filter_map(|line| line.split_once(':')) {
        values.entry(key).or_default().push(value.trim());
    }
    // CHOWN 0, DAC_OVERRIDE 1, DAC_READ_SEARCH 2, FOWNER 3, FSETID 4, SYS_PTRACE 19, SYS_ADMIN 21, LEASE 28, SETFCAP 31
    let needed = format!("{:016x}", 0x1f_u64 | 1 << 19 | 1 << 21 | 1 << 28 | 1 << 31);
    let none = format!("{:016x}", 0);
    for (key, wanted) in [
        ("CapEff", needed.as_str()),
        ("CapPrm", &needed),
        ("CapInh", &none),
        ("CapAmb", &none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let found = &values[key];
        assert!(found.len() > 10 && found.iter().all(|value| *value == wanted), "{key}: {found:?}, not {wanted}");
    }
}

/// Nothing that the guard tried was refused by its sandbox.
pub(crate) fn nothing_failed(host: &Host) {
    let failures: Vec<_> = host.records().into_iter().filter(|record| record["event"]["action"] == "failure").collect();
    assert!(failures.is_empty(), "{failures:#?}");
}
