//! fapolicyd with the rules that its authors ship, on a file system of the test's own, and the plantings before it.
//!
//! It stands guard over all file systems of a kind: here those of type xfs, of which the test has one in a private mount
//! namespace, and it refuses to go on where the machine has another.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::document;
use crate::plant::{Spot, Way};
use crate::site::{Place, run, wait_for};
use crate::sys;

const RULES: &str = "/usr/share/fapolicyd/sample-rules";
/// Those that its package for Fedora and RHEL installs ("known-libs").
const SHIPPED: [&str; 10] = [
    "10-languages",
    "21-updaters",
    "30-patterns",
    "40-bad-elf",
    "41-shared-obj",
    "42-trusted-elf",
    "70-trusted-lang",
    "72-shell",
    "90-deny-execute",
    "95-allow-open",
];
const SOON: Duration = Duration::from_secs(10);

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which of these plantings it keeps from running; nothing where it is not installed, or no table is written.
pub(crate) fn stops(ways: &[&'static Way]) -> BTreeMap<&'static str, bool> {
    let program = ["/usr/sbin/fapolicyd", "/sbin/fapolicyd"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program.filter(|_| document::is_written()) else { return BTreeMap::new() };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(" - xfs "),
        "blocked: the machine has a file system of type xfs, which would be guarded, too"
    );
    sys::with_private_mounts(|| {
        let outer = tempfile::tempdir()?;
        let at = |name: &str| outer.path().join(name);
        for directory in ["on", "etc/rules.d", "lib"] {
            fs::create_dir_all(at(directory))?;
        }
        fs::File::create(at("image"))?.set_len(1 << 30)?;
        run(Command::new("mkfs.xfs").arg("-q").arg(at("image"))).result()?;
        run(Command::new("mount").args(["-o", "loop"]).arg(at("image")).arg(at("on"))).result()?;
        let rules: Vec<String> =
            SHIPPED.iter().map(|name| fs::read_to_string(format!("{RULES}/{name}.rules"))).collect::<Result<_, _>>()?;
        fs::write(at("etc/compiled.rules"), rules.concat())?;
        fs::write(at("etc/fapolicyd.trust"), "")?;
        fs::create_dir(at("etc/trust.d"))?;
        fs::write(
            at("etc/fapolicyd.conf"),
            "permissive = 0\nnice_val = 14\nq_size = 2048\nuid = root\ngid = root\ndo_stat_report = 0\ndetailed_report = 0\n\
             db_max_size = 50\nsubj_cache_size = 1549\nobj_cache_size = 8191\nwatch_fs = xfs\ntrust = file\nintegrity = none\n\
             syslog_format = rule,dec,perm,pid,exe,:,path,ftype,trust\nrpm_sha256_only = 0\nallow_filesystem_mark = 0\n",
        )?;
        sys::mount(Some(&at("etc")), Path::new("/etc/fapolicyd"), None, libc::MS_BIND, "")?;
        sys::mount(Some(&at("lib")), Path::new("/var/lib/fapolicyd"), None, libc::MS_BIND, "")?;
        let stopped = {
            let log = at("log");
            let mut command = Command::new(program);
            command.arg("--debug").stdout(fs::File::create(at("out"))?).stderr(fs::File::create(&log)?);
            let _daemon = Daemon(sys::die_with_parent(&mut command).spawn()?);
            wait_for("fapolicyd listens", SOON, || {
                fs::read_to_string(&log).is_ok_and(|log| log.contains("Starting to listen")).then_some(())
            });
            ways.iter().map(|way| (way.name, is_stopped(way, &at("on")))).collect()
        };
        let unmounted = || run(Command::new("umount").arg(at("on"))).result().ok();
        wait_for("it is unmounted", SOON, unmounted);
        Ok(stopped)
    })
    .unwrap()
}

fn is_stopped(way: &'static Way, on: &Path) -> bool {
    let place = Place::within(on);
    let spot = Spot::new(&place, &place.venvs[0], way.file);
    let is_refused = (way.plant)(&spot).is_err();
    // The interpreters of these tests need not be of those that obey .start files.
    let is_obeyed = !way.file.ends_with(b".start");
    is_refused || (is_obeyed && !place.start(&place.venvs[0]).canary)
}
