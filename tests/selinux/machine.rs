//! The module in force: a Debian with systemd as process 1, SELinux enforcing, the guard as a service, attacked from an
//! administrator's shell (`guest.sh`). Then the same with a module that lacks `watch_with_perm`, where it must not guard:
//! what holds in the first machine is the module's doing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::module::{Linked, tool};

const VARIABLE: &str = "PTHGUARD_SELINUX_VM";
/// The program's own budget is for machines, not for emulated ones.
const POLICY: &str = "mode = \"enforce\"\n[failure]\nbudget_ms = 10000\n";
const SITE: &str = "usr/lib/python3/dist-packages";
/// setuptools' own line: `policy/known.toml` lists it for Debian's package python3-setuptools.
const PRECEDENCE: &str = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; \
                          enabled and __import__('_distutils_hack').add_shim(); \n";
/// Time limits that an emulated machine beside other work keeps.
const PATIENCE: &str = "[Service]\nWatchdogSec=120\nTimeoutStartSec=300\n";
/// Units that wait for what this machine has not.
const LEFT_OUT: [&str; 8] = [
    "getty.target",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-update-utmp.service",
];
const PROBE: &str = "[Unit]\nWants=pthguard.service\nAfter=pthguard.service multi-user.target\n[Service]\nType=oneshot\n\
                     SELinuxContext=unconfined_u:unconfined_r:unconfined_t:s0\nExecStart=/usr/sbin/pthguard-probe\n";
const TARGET: &str = "[Unit]\nRequires=multi-user.target probe.service\nAfter=multi-user.target\n";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What came out, by name.
struct Said(BTreeMap<String, String>, String);

impl Said {
    fn is(&self, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            let said = self.0.get(*name).map(String::as_str);
            assert_eq!(said, Some(*value), "{name}; all of it:\n{}", self.1);
        }
    }
}

/// A root directory, ready to be labelled: the base with the program, its policy and what the probe needs.
fn furnish(base: &Path, tree: &Path, policy: &Linked, probe: &str) {
    tool(Command::new("cp").args(["-a", "--reflink=auto"]).arg(base.join("root")).arg(tree), "coreutils");
    let at = |path: &str| tree.join(path);
    let write = |path: &str, text: &str| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), text).unwrap();
    };
    tool(Command::new("cp").arg("-a").arg(policy.at("/etc/selinux")).arg(at("etc")), "coreutils");
    write("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=default\n");
    let mut strip = Command::new("strip");
    tool(strip.arg("-o").arg(at("usr/sbin/pthguard")).arg(env!("CARGO_BIN_EXE_pthguard")), "binutils");
    write("etc/pthguard/pthguard.toml", POLICY);
    let shipped = fs::read_dir(project().join("systemd")).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_unit = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "service" || kind == "socket");
    let units: Vec<PathBuf> = shipped.filter(is_unit).collect();
    assert!(!units.is_empty(), "blocked: no unit in systemd/");
    for unit in units {
        fs::copy(&unit, at("usr/lib/systemd/system").join(unit.file_name().unwrap())).unwrap();
    }

    write("etc/systemd/system/pthguard.service.d/patience.conf", PATIENCE);
    write("etc/systemd/system/probe.service", PROBE);
    write("etc/systemd/system/probe.target", TARGET);
    write("usr/sbin/pthguard-probe", include_str!("guest.sh"));
    fs::set_permissions(at("usr/sbin/pthguard-probe"), fs::Permissions::from_mode(0o755)).unwrap();
    write("etc/pthguard-probe", probe);
    for unit in LEFT_OUT {
        symlink("/dev/null", at("etc/systemd/system").join(unit)).unwrap();
    }
    write("etc/fstab", "");
    write("etc/hostname", "guarded\n");
    write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    write("etc/sysctl.d/probe.conf", "kernel.printk_ratelimit = 0\n"); // each denial has to be seen

    write(&format!("{SITE}/good.pth"), "import sys; sys.stderr.write(\"GOOD\\n\")\n");
    let accounts = [("etc/passwd", "alice:x:1000:1000::/home/alice:/bin/bash\n"), ("etc/group", "alice:x:1000:\n")];
    for (file, line) in accounts {
        write(file, &(fs::read_to_string(at(file)).unwrap() + line));
    }
    fs::create_dir_all(at("home/alice/.local/lib/python3.11/site-packages")).unwrap();
    tool(Command::new("chown").args(["-R", "1000:1000"]).arg(at("home/alice")), "coreutils");
    package(&at("root"), "pthguard-probe", "packaged.pth", "import sys; sys.stderr.write(\"PACKAGED\\n\")\n");
    package(&at("root"), "python3-setuptools", "distutils-precedence.pth", PRECEDENCE);
}

/// A Debian package with one startup file, in `directory`.
fn package(directory: &Path, name: &str, file: &str, line: &str) {
    let built = tempfile::tempdir().unwrap();
    let write = |path: String, text: &str| {
        fs::create_dir_all(built.path().join(&path).parent().unwrap()).unwrap();
        fs::write(built.path().join(path), text).unwrap();
    };
    fs::set_permissions(built.path(), fs::Permissions::from_mode(0o755)).unwrap();
    write(format!("{SITE}/{file}"), line);
    let about = "Version: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.invalid>\nDescription: one file\n";
    write("DEBIAN/control".to_owned(), &format!("Package: {name}\n{about}"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).arg(built.path()).arg(directory.join(format!("{name}.deb")));
    tool(&mut build, "dpkg");
}

/// Boots the policy, and what the probe says.
fn boot(work: &Path, policy: &Linked, probe: &str) -> Said {
    let base = work.join("base");
    tool(Command::new(project().join("tests/selinux/image.sh")).arg(&base), "debootstrap");
    let own = tempfile::tempdir_in(work).unwrap();
    let (tree, disk) = (own.path().join("tree"), own.path().join("disk"));
    furnish(&base, &tree, policy, probe);
    let contexts = tree.join("etc/selinux/default/contexts/files/file_contexts");
    tool(Command::new("setfiles").arg("-r").arg(&tree).arg(contexts).arg(&tree), "policycoreutils");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&disk).arg("900M");
    tool(&mut make, "e2fsprogs");

    let begin = Instant::now();
    let (console, told) = (own.path().join("console"), own.path().join("told"));
    let mut emulator = Command::new("qemu-system-x86_64");
    emulator.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    emulator.args(["-nodefaults", "-display", "none", "-no-reboot", "-device", "nvme,drive=disk,serial=disk"]);
    emulator.arg("-drive").arg(format!("file={},if=none,id=disk,format=raw", disk.display()));
    emulator.arg("-kernel").arg(base.join("vmlinuz"));
    emulator.arg("-append").arg(
        "root=/dev/nvme0n1 rw console=ttyS0 quiet loglevel=4 log_buf_len=4M audit=1 security=selinux selinux=1 \
         enforcing=1 systemd.unit=probe.target",
    );
    emulator.arg("-serial").arg(format!("file:{}", console.display()));
    emulator.arg("-serial").arg(format!("file:{}", told.display()));
    tool(&mut emulator, "qemu-system-x86");
    println!("{probe}: {} s in the machine", begin.elapsed().as_secs());

    let told = fs::read_to_string(&told).unwrap();
    println!("{told}");
    let values = told.lines().filter_map(|line| line.trim_end().split_once('='));
    let said = Said(values.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), told.clone());
    let console = String::from_utf8_lossy(&fs::read(&console).unwrap()).into_owned();
    assert!(said.0.contains_key("finished"), "it did not come to its end:\n{told}\n{console}");
    said
}

#[test]
fn it_guards_under_an_enforcing_policy_and_not_without_watch_with_perm() {
    if std::env::var_os(VARIABLE).is_none() {
        println!("left out: the virtual machine takes minutes; {VARIABLE}=1 runs it");
        return;
    }
    let work = project().join("target/tmp/selinux");
    fs::create_dir_all(&work).unwrap();
    // Grants nothing: the kernel says when a program is asked, and in which domain.
    let telling = "\nauditallow pthguard_t pthguard_query_t:process transition;\n";

    let said = boot(&work, &Linked::with(|types| types.push_str(telling)), "all");
    said.is(&[
        ("enforce", "Enforcing"),
        ("own_domain", "unconfined_u:unconfined_r:unconfined_t:s0"),
        ("active", "active"),
        ("daemon_domain", "system_u:system_r:pthguard_t:s0"),
        ("state_label", "system_u:object_r:pthguard_var_lib_t:s0"),
        ("quarantine_label", "system_u:object_r:pthguard_quarantine_t:s0"),
        ("log_label", "system_u:object_r:pthguard_log_t:s0"),
        ("tool_domain", "unconfined_u:unconfined_r:unconfined_t:s0"),
        ("tool_reaches_daemon", "yes"),
        ("start_before", "GOOD"),
        ("planted_by_shell", "no"),
        ("start_after_planting", "GOOD"),
        ("start_after_rename", "GOOD"),
        ("renamed_is_gone", "yes"),
        ("renamed_is_kept", "yes"),
        ("link_is_gone", "yes"),
        ("fifo_is_gone", "yes"),
        ("good_is_back", "yes"),
        ("good_label", "system_u:object_r:lib_t:s0"),
        ("start_after_replacing", "GOOD"),
        ("home_is_gone", "yes"),
        ("start_as_alice", "GOOD"),
        ("dpkg_status", "0"),
        ("start_after_dpkg", "GOOD PACKAGED"),
        ("restarted", "active"),
        ("restarted_domain", "system_u:system_r:pthguard_t:s0"),
        ("start_after_restart", "GOOD PACKAGED"),
        ("start_after_kill", "GOOD PACKAGED"),
        ("planted_after_kill", "no"),
        ("domain_after_kill", "system_u:system_r:pthguard_t:s0"),
        ("mounted_is_guarded", "yes"),
        ("found_is_known", "yes"),
        ("asked_dpkg", "yes"),
        ("asked_python", "yes"),
        ("denials", "0"),
    ]);

    let lacking = Linked::with(|types| {
        let before = types.len();
        *types = types.replace(" watch_with_perm }", " }");
        assert!(types.len() < before, "watch_with_perm is granted in another form");
    });
    assert_eq!(lacking.allowed(&["-s", "pthguard_t", "-p", "watch_with_perm"]), []);
    let said = boot(&work, &lacking, "planting");
    said.is(&[("enforce", "Enforcing"), ("planted_by_shell", "yes"), ("lacks_watch_with_perm", "yes")]);
    assert!(said.0["start_after_planting"].contains("CANARY"), "{}", said.1);
}
