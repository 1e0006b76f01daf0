//! Others who decide about opens, where they are installed. Each stands guard over the benchmark's file system alone.
//!
//! - fapolicyd stands guard over every mount of a kind that it sees (`watch_fs`), and the machine's root is of the same kind
//!   as the benchmark's file system. So it is given a root in which it sees no other: an overlay. It marks the file
//!   system, not the mount, so that openers outside of this root are stopped, too (`allow_filesystem_mark`).
//! - ClamAV on access is told the directory (`OnAccessIncludePath`) and marks that, and what is below it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::enclosure::must;
use crate::place::{Place, Sites};
use crate::process::{die_with_parent, end};

/// How long a start may take: fapolicyd reads what is trusted, clamd its signatures.
const START: Duration = Duration::from_secs(60);

const FAPOLICYD: &str = "/usr/sbin/fapolicyd";
const CLAMD: &str = "/usr/sbin/clamd";
const CLAMONACC: &str = "/usr/sbin/clamonacc";

/// The rules of its package for Fedora and RHEL ("known-libs").
const RULES: [&str; 10] = [
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

/// Makes a root in which the file system at $1 is the only one of its kind, and executes fapolicyd there with the
/// configuration in $2. The directory $3 is where the root is put together.
const ENTER: &str = r#"
set -eu
disk=$1 etc=$2 at=$3
mount -t tmpfs none "$at"
mkdir "$at/upper" "$at/work" "$at/root"
mount -t overlay -o "lowerdir=/,upperdir=$at/upper,workdir=$at/work" none "$at/root"
for mount in /proc /sys /dev; do mount --rbind "$mount" "$at/root$mount"; done
cd "$at/root"
mkdir -p "./$disk" etc/fapolicyd var/lib/fapolicyd run/fapolicyd old
mount --bind "$disk" "./$disk"
cp -a "$etc/." etc/fapolicyd
pivot_root . old
umount -l /old
[ "$(grep -c ' - ext4 ' /proc/self/mountinfo)" = 1 ] || { echo "another ext4 is mounted here" >&2; exit 1; }
exec /usr/sbin/fapolicyd --debug-deny
"#;

/// Why fapolicyd takes no part.
pub(crate) fn lacks_fapolicyd() -> Option<String> {
    let lacks = |path: &str| (!Path::new(path).exists()).then(|| format!("fapolicyd is left out: no {path}"));
    lacks(FAPOLICYD).or_else(|| lacks("/usr/share/fapolicyd/sample-rules"))
}

/// Starts fapolicyd with the rules that its authors ship, on the whole file system.
pub(crate) fn start_fapolicyd(place: &Place) -> Result<(Vec<Child>, Duration)> {
    let (etc, at, said) = (place.at("fapolicyd"), place.at("root"), place.at("said"));
    fs::create_dir_all(etc.join("trust.d"))?;
    fs::create_dir_all(&at)?;
    let rule = |name: &&str| fs::read_to_string(format!("/usr/share/fapolicyd/sample-rules/{name}.rules"));
    let rules: Vec<String> = RULES.iter().map(rule).collect::<std::io::Result<_>>()?;
    fs::write(etc.join("compiled.rules"), rules.concat())?;
    fs::write(etc.join("fapolicyd.trust"), trusted(place)?)?;
    let settings = "permissive = 0\nnice_val = 14\nq_size = 2048\nuid = root\ngid = root\ndo_stat_report = 0\n\
                    detailed_report = 0\ndb_max_size = 50\nsubj_cache_size = 1549\nobj_cache_size = 8191\nwatch_fs = ext4\n\
                    trust = file\nintegrity = none\nsyslog_format = rule,dec,perm,pid,exe,:,path,ftype,trust\n\
                    rpm_sha256_only = 0\nallow_filesystem_mark = 1\n";
    fs::write(etc.join("fapolicyd.conf"), settings)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]).arg(&place.root).args([&etc, &at]);
    let begin = Instant::now();
    let child = spawn(&mut command, &said)?;
    wait_for(vec![child], begin, || says(&said, "Starting to listen"))
}

/// What lies there, the benchmark's own programs among it, which nobody could execute otherwise: path, size, digest.
fn trusted(place: &Place) -> Result<String> {
    let mut find = Command::new("find");
    find.args(["bin", "elsewhere", "venv", "work"].map(|name| place.at(name)));
    find.args(["-type", "f", "-exec", "sha256sum", "{}", "+"]);
    let mut lines = String::new();
    for line in String::from_utf8(find.output()?.stdout)?.lines() {
        let Some((digest, path)) = line.split_once("  ") else { bail!("sha256sum said {line:?}") };
        lines.push_str(&format!("{path} {} {digest}\n", fs::metadata(path)?.len()));
    }
    Ok(lines)
}

/// Why ClamAV takes no part.
pub(crate) fn lacks_clamonacc() -> Option<String> {
    let lacks = |path: &&str| !Path::new(path).exists();
    let missing = [CLAMD, CLAMONACC].into_iter().find(lacks)?;
    Some(format!("clamonacc is left out: no {missing}"))
}

/// Starts clamd with a single signature, and clamonacc on the site directory of a session.
pub(crate) fn start_clamonacc(place: &Place, sites: Sites) -> Result<(Vec<Child>, Duration)> {
    let (home, listens) = (place.at("clamav"), place.at("said"));
    let (socket, config) = (home.join("socket"), home.join("clamd.conf"));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(home.join("signatures"))?;
    fs::write(home.join("signatures/bench.hdb"), "44d88612fea8a8f36de82e1278abb02f:68:Eicar\n")?;
    let mut settings = format!(
        "LocalSocket {}\nDatabaseDirectory {}\nForeground yes\nUser clamav\nOnAccessPrevention yes\n\
         OnAccessExcludeUname clamav\n",
        socket.display(),
        home.join("signatures").display()
    );
    for directory in place.globs(sites) {
        settings.push_str(&format!("OnAccessIncludePath {}\n", directory.display()));
    }
    fs::write(&config, settings)?;
    must(Command::new("chown").args(["-R", "clamav"]).arg(&home))?;
    let begin = Instant::now();
    let clamd = spawn(Command::new(CLAMD).arg("--config-file").arg(&config), &home.join("said"))?;
    let (mut children, _) = wait_for(vec![clamd], begin, || socket.exists())?;
    let mut onaccess = Command::new(CLAMONACC);
    onaccess.args(["--foreground", "--fdpass", "--verbose", "--config-file"]).arg(&config);
    match spawn(&mut onaccess, &listens) {
        Ok(child) => children.push(child),
        Err(error) => {
            children.iter_mut().for_each(end);
            return Err(error);
        }
    }
    wait_for(children, begin, || says(&listens, "watching"))
}

fn spawn(command: &mut Command, said: &PathBuf) -> Result<Child> {
    let out = File::create(said)?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    Ok(die_with_parent(command).spawn()?)
}

fn says(said: &Path, words: &str) -> bool {
    let mut text = String::new();
    let read = File::open(said).and_then(|mut file| file.read_to_string(&mut text));
    read.is_ok() && text.contains(words)
}

/// Waits until they are ready; those that are not are ended.
fn wait_for(mut children: Vec<Child>, begin: Instant, is_ready: impl Fn() -> bool) -> Result<(Vec<Child>, Duration)> {
    while begin.elapsed() < START && children.iter_mut().all(|child| matches!(child.try_wait(), Ok(None))) {
        if is_ready() {
            return Ok((children, begin.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    children.iter_mut().for_each(end);
    bail!("it is not ready")
}
