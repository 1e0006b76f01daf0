//! Which container and which systemd unit a process belongs to, from `/proc/PID/cgroup`.
//!
//! The names are those of directories. The engine, or systemd, makes the outer ones as root; below a cgroup that was
//! delegated to it (a container, a user's session) a process makes further ones under any name. So the outermost match
//! counts: a process in a container cannot pass for one of another container or of a service. A process of an ordinary
//! user who has a delegated subtree can still pass for a container. It is good enough to find the place in a record,
//! and nothing is decided by it.

use std::fs::File;
use std::io::Read;

use crate::model::Container;

/// How much of the file is read: cgroup v1 has a dozen lines, a path is at most 4096 bytes long.
const MAX_BYTES: u64 = 64 * 1024;
/// What it takes nearly everywhere.
const USUAL: usize = 1024;
/// Longest name of a container that is believed; the digits of a digest.
const MAX_NAME: usize = 64;

/// What the cgroup of a process tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) container: Option<Container>,
    pub(super) unit: Option<String>,
}

impl Membership {
    /// Whatever can be read; a process is no less identified without it.
    pub(super) fn of(tid: u32) -> Self {
        let mut bytes = Vec::with_capacity(USUAL);
        let read = File::open(format!("/proc/{tid}/cgroup")).map(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        if matches!(read, Ok(Ok(_))) { Self::parse(&bytes) } else { Self::default() }
    }

    fn parse(bytes: &[u8]) -> Self {
        // `ID:CONTROLLERS:PATH`. A path may hold colons; the kernel refuses a line break in a name.
        let mut lines: Vec<(&[u8], &str)> = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
                Some((parts.next()?, std::str::from_utf8(parts.next()?).ok()?))
            })
            .collect();
        // The unified hierarchy, then systemd's own; in hybrid mode engines may use either of them, or the rest.
        lines.sort_by_key(|(controllers, _)| match *controllers {
            b"" => 0,
            b"name=systemd" => 1,
            _ => 2,
        });
        let systemd = lines.iter().filter(|(controllers, _)| matches!(*controllers, b"" | b"name=systemd"));
        Membership {
            unit: systemd.clone().find_map(|(_, path)| unit(path)),
            container: lines.iter().find_map(|(_, path)| container(path)),
        }
    }
}

/// The unit as systemd itself reads it: slices, then the first thing that is none.
fn unit(path: &str) -> Option<String> {
    let name = components(path).find(|name| !name.ends_with(".slice"))?;
    // systemd puts an underscore before a name that the kernel could take for a file of its own.
    let name = name.strip_prefix('_').unwrap_or(name);
    (name.ends_with(".service") || name.ends_with(".scope")).then(|| name.to_owned())
}

fn container(path: &str) -> Option<Container> {
    let names: Vec<&str> = components(path).collect();
    (0..names.len()).find_map(|at| {
        let parent = at.checked_sub(1).map(|parent| names[parent]);
        let (id, runtime) = engine(parent, names[at], names.get(at + 1).copied())?;
        Some(Container { id, runtime })
    })
}

/// Id and engine, if an engine calls a cgroup so.
fn engine(parent: Option<&str>, name: &str, child: Option<&str>) -> Option<(String, Option<&'static str>)> {
    // kubelet's systemd form, where a runtime did not understand it and made one directory of it: SLICE:PREFIX:ID.
    let name = match name.rsplit_once(':') {
        Some((before, id)) if is_digest(id) => &name[before.rfind(':').map_or(0, |colon| colon + 1)..],
        _ => name,
    };
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    let digest = |prefix: &str| {
        let id = bare.strip_prefix(prefix)?.strip_prefix(['-', ':'])?;
        is_digest(id).then(|| id.to_owned())
    };
    // What attends to a container from outside (libpod-conmon-ID, crio-conmon-ID) does not match: no digits follow.
    for (prefix, runtime) in [
        ("docker", "docker"),
        ("libpod", "podman"),
        ("cri-containerd", "containerd"),
        ("nerdctl", "containerd"),
        ("crio", "cri-o"),
    ] {
        if let Some(id) = digest(prefix) {
            return Some((id, Some(runtime)));
        }
    }
    // Without systemd: /docker/ID, /kubepods/burstable/podUID/ID, /default/ID; containerd's own `ctr` takes any name,
    // which cannot be told from other cgroups.
    if is_digest(name) {
        return Some((name.to_owned(), (parent == Some("docker")).then_some("docker")));
    }
    let named = |name: &str, runtime| is_name(name).then(|| (name.to_owned(), Some(runtime)));
    if name.starts_with("buildah-buildah") {
        return named(name, "buildah");
    }
    if let Some(machine) = machine(parent, name) {
        // The process that attends to the machine is not in it.
        return if child == Some("supervisor") { None } else { named(&machine, "systemd-nspawn") };
    }
    match (name.strip_prefix("lxc.payload."), parent) {
        (Some(name), _) => named(name, "lxc"),
        (None, Some("lxc" | "lxc.payload")) => named(name, "lxc"),
        (None, _) => None,
    }
}

/// The name of systemd-nspawn's machine, unescaped.
fn machine(parent: Option<&str>, name: &str) -> Option<String> {
    if parent != Some("machine.slice") {
        return None;
    }
    let escaped = name
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
        .or_else(|| name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service"))?;
    let name = escaped.replace("\\x2d", "-");
    // libvirt registers its virtual machines the same way.
    (!name.starts_with("qemu-")).then_some(name)
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    // `..`: the process lies outside of the reader's cgroup namespace.
    path.split('/').filter(|name| !name.is_empty() && *name != "..")
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.starts_with('.') && (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "4d2d2bdbf1b1c1dbc3a5bd5f8a1c7e5d8e7b6f0f4b8a7c6d5e4f3a2b1c0d9e8f";
    const B: &str = "00000000111111112222222233333333444444445555555566666666777777ff";

    /// Container id, runtime and unit; `-` for none. `A` and `B` in the text stand for two ids.
    fn shown(text: &str) -> String {
        let text = text.replace('A', A).replace('B', B);
        let found = Membership::parse(text.as_bytes());
        let (id, runtime) = found.container.map_or(("-".to_owned(), None), |found| (found.id, found.runtime));
        let unit = found.unit.unwrap_or_else(|| "-".into());
        format!("{id} {} {unit}", runtime.unwrap_or("-")).replace(A, "A").replace(B, "B")
    }

    #[test]
    fn the_unified_hierarchy() {
        for (path, expected) in [
            ("/", "- - -"),
            ("/init.scope", "- - init.scope"),
            ("/system.slice/ssh.service", "- - ssh.service"),
            ("/system.slice/_memory.service", "- - memory.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "- - getty@tty1.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "- - session-3.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", "- - user@1000.service"),
            ("/system.slice/docker-A.scope", "A docker docker-A.scope"),
            ("/docker/A", "A docker -"),
            ("/docker/A/init.scope", "A docker -"),
            ("/machine.slice/libpod-A.scope/container", "A podman libpod-A.scope"),
            ("/machine.slice/libpod-conmon-A.scope", "- - libpod-conmon-A.scope"),
            ("/libpod_parent/libpod-A", "A podman -"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-A.scope/container",
                "A podman user@1000.service",
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b.slice/cri-containerd-A.scope",
                "A containerd cri-containerd-A.scope",
            ),
            ("/kubepods.slice/kubepods-pod0a1b.slice/crio-A.scope", "A cri-o crio-A.scope"),
            ("/kubepods.slice/kubepods-pod0a1b.slice/crio-conmon-A.scope", "- - crio-conmon-A.scope"),
            ("/kubepods/besteffort/pod0a1b-22/A", "A - -"),
            (
                "/system.slice/containerd.service/kubepods-pod0.slice:cri-containerd:A",
                "A containerd containerd.service",
            ),
            ("/default/A", "A - -"),
            ("/default/redis", "- - -"),
            ("/system.slice/buildah-buildah123", "buildah-buildah123 buildah -"),
            ("/machine.slice/machine-web\\x2d1.scope/payload", "web-1 systemd-nspawn machine-web\\x2d1.scope"),
            ("/machine.slice/machine-web.scope/supervisor", "- - machine-web.scope"),
            ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "- - machine-qemu\\x2d1\\x2dvm.scope"),
            ("/machine.slice/systemd-nspawn@web.service/payload", "web systemd-nspawn systemd-nspawn@web.service"),
            ("/lxc.payload.web/system.slice/x.service", "web lxc -"),
            ("/lxc.monitor.web", "- - -"),
            ("/lxc/web", "web lxc -"),
            // Read from within a container whose cgroup namespace is its own.
            ("/../A", "A - -"),
        ] {
            assert_eq!(shown(&format!("0::{path}\n")), expected, "{path}");
        }
    }

    #[test]
    fn version_one_and_both_at_once() {
        let v1 = "12:pids:/docker/A\n11:memory:/docker/A\n1:name=systemd:/docker/A\n";
        assert_eq!(shown(v1), "A docker -");
        let hybrid = "9:name=systemd:/docker/A\n8:pids:/docker/A\n1:cpu:/docker/A\n0::/docker/A\n";
        assert_eq!(shown(hybrid), "A docker -");
        let not_unified = "3:cpu,cpuacct:/docker/A\n1:name=systemd:/system.slice/docker.service\n0::/\n";
        assert_eq!(shown(not_unified), "A docker docker.service");
        let other_controllers_name_no_unit = "2:memory:/system.slice/ssh.service\n0::/\n";
        assert_eq!(shown(other_controllers_name_no_unit), "- - -");
    }

    #[test]
    fn what_a_process_makes_below_its_own_cgroup_does_not_count() {
        assert_eq!(shown("0::/docker/A/docker/B\n"), "A docker -");
        assert_eq!(shown("0::/system.slice/docker-A.scope/docker-B.scope\n"), "A docker docker-A.scope");
        assert_eq!(shown("0::/system.slice/a.service/dpkg.service\n"), "- - a.service");
        assert_eq!(shown("0::/docker/A/system.slice/dpkg.service\n"), "A docker -");
    }

    #[test]
    fn no_name_leads_out_of_an_engines_directory() {
        for path in ["/docker/../../etc", "/lxc/..", "/lxc/.x", "/docker-A.scope.d", "/lxc.payload.", "/lxc/a b"] {
            assert_eq!(shown(&format!("0::{path}\n")), "- - -", "{path}");
        }
        assert_eq!(shown(&format!("0::/docker/{}\n", "F".repeat(64))), "- - -");
    }

    #[test]
    fn a_process_that_does_not_exist() {
        assert_eq!(Membership::of(0x7fff_fff0), Membership::default());
    }

    proptest! {
        #[test]
        fn total_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Membership::parse(&bytes);
        }

        #[test]
        fn an_id_is_a_plain_name(path in "(/|:|-|\\.|lxc|docker|machine|slice|scope|[0-9a-f]{64}|\\\\x2d|x){0,12}") {
            if let Some(found) = Membership::parse(format!("0::{path}\n").as_bytes()).container {
                prop_assert!(is_name(&found.id));
            }
        }
    }
}
