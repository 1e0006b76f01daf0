//! Nobody waits for what holds up the rest: the log's disk, the startup files' disk, /proc, a long policy, another user.
//!
//! Every answer has to be right, and none may come later than a busy machine explains. How long the openers waited is
//! printed, as are the answers that the deadline gave.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, Guard, SOON};
use crate::site::{Place, Stopper, Venv, run, wait_for};
use crate::stage::compile;
use crate::status::{count, status};
use crate::sys;

/// As many openers as there are threads in a large server.
const CROWD: usize = 64;
/// For how long they open.
const WHILE: Duration = Duration::from_secs(1);
/// What users have.
const BUDGET_MS: u32 = 50;
/// Far above the budget, far below what anybody would wait for a disk that does not answer.
const UNDELAYED: Duration = Duration::from_secs(5);
/// The user who storms.
const USER: u32 = 61_235;

/// How long openers waited, in the order of length.
#[derive(Debug, Default)]
struct Waits(Vec<Duration>);

impl Waits {
    fn print(&mut self, what: &str) {
        self.0.sort_unstable();
        let at =
            |share: f64| self.0.get(((self.0.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or_default();
        println!(
            "{what:<34}{:>8} opens  p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}",
            self.0.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }

    fn assert_undelayed(&self) {
        assert!(self.0.iter().all(|wait| *wait < UNDELAYED), "somebody waited {:?}", self.0.iter().max());
    }
}

/// What a crowd met that opened an approved file for reading and another one for writing, again and again.
#[derive(Debug, Default)]
struct Met {
    reads: Waits,
    writes: Waits,
    /// Approved reads that were refused.
    refused: usize,
}

impl Met {
    fn assert_right(mut self, what: &str) {
        self.reads.print(&format!("{what}, approved read"));
        self.writes.print(&format!("{what}, denied write"));
        self.reads.assert_undelayed();
        self.writes.assert_undelayed();
        assert_eq!(self.refused, 0, "of {} approved reads", self.reads.0.len());
    }
}

/// Opens by [`CROWD`] threads. Nobody may write, so every open for writing has to be denied.
fn crowd(site: &Path) -> Met {
    let (keep, victim) = (site.join("keep.pth"), site.join("victim.pth"));
    let (all, begin) = (Mutex::new(Met::default()), Instant::now());
    thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                let mut met = Met::default();
                while begin.elapsed() < WHILE {
                    let before = Instant::now();
                    met.refused += usize::from(File::open(&keep).is_err());
                    met.reads.0.push(before.elapsed());
                    let before = Instant::now();
                    let written = File::options().write(true).open(&victim);
                    met.writes.0.push(before.elapsed());
                    assert_eq!(written.expect_err("nobody may").raw_os_error(), Some(libc::EPERM));
                }
                let mut all = all.lock().unwrap();
                all.reads.0.append(&mut met.reads.0);
                all.writes.0.append(&mut met.writes.0);
                all.refused += met.refused;
            });
        }
    });
    all.into_inner().unwrap()
}

/// How many answers the deadline gave.
fn by_deadline(place: &Place) -> u64 {
    count(&status(place), "failures", "failure", "timeout", "count")
}

/// A file system of the test's own on a loop device.
fn disk(image: &Path, on: &Path) {
    File::create(image).unwrap().set_len(32 << 20).unwrap();
    fs::create_dir(on).unwrap();
    for command in [
        Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image),
        Command::new("mount").args(["-o", "loop"]).arg(image).arg(on),
    ] {
        run(command).result().unwrap_or_else(|error| panic!("blocked: {command:?}: {error}"));
    }
}

/// A file system on which whoever writes waits until this is dropped.
struct Frozen<'a>(&'a Path);

impl Frozen<'_> {
    fn new(disk: &Path) -> Frozen<'_> {
        run(Command::new("fsfreeze").arg("-f").arg(disk)).result().expect("blocked: fsfreeze");
        Frozen(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("-u").arg(self.0)).result().expect("it was frozen");
    }
}

#[test]
fn while_the_log_cannot_be_written() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let home = place.path().join("home");
        disk(&place.outside.join("image"), &home);
        let mut guard = Config::new(&place).home_at(&home).start();
        let frozen = Frozen::new(&home);
        crowd(&place.venvs[0].site).assert_right("log frozen");
        drop(frozen);
        guard.wait_record("deny", &["modification"], Some("victim.pth"));
        guard.assert_alive();
        drop(guard);
        wait_for("the disk is let go", SOON, || run(Command::new("umount").arg(&home)).result().ok());
        Ok(())
    })
    .unwrap();
}

/// Reads of a block device by a process, slowed down by the kernel; as they were when this is dropped.
struct Throttled {
    group: PathBuf,
    pid: u32,
}

impl Throttled {
    /// So many reads a second.
    fn new(guard: &Guard, device: u64, reads: u32) -> Throttled {
        let root = Path::new("/sys/fs/cgroup");
        let (major, minor) = (libc::major(device), libc::minor(device));
        let (parent, file, limit) = if root.join("cgroup.controllers").exists() {
            let _ = fs::write(root.join("cgroup.subtree_control"), "+io"); // if not, the limit says so
            (root.to_owned(), "io.max", format!("{major}:{minor} riops={reads}"))
        } else {
            (root.join("blkio"), "blkio.throttle.read_iops_device", format!("{major}:{minor} {reads}"))
        };
        let group = parent.join(format!("pthguard-test-{}", guard.pid()));
        fs::create_dir(&group).expect("blocked: control groups");
        let throttled = Throttled { group, pid: guard.pid() };
        fs::write(throttled.group.join(file), limit).expect("blocked: CONFIG_BLK_DEV_THROTTLING");
        fs::write(throttled.group.join("cgroup.procs"), throttled.pid.to_string()).unwrap();
        throttled
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let _ = fs::write(self.group.parent().expect("it has one").join("cgroup.procs"), self.pid.to_string());
        wait_for("nobody is in the group", SOON, || fs::remove_dir(&self.group).ok());
    }
}

/// Approved files that are in no cache, on a disk that reads one block a second: whoever opens them is answered by the
/// deadline, and nobody else waits for the disk.
#[test]
fn while_the_disk_is_slow() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let slow = place.outside.join("slow");
        disk(&place.outside.join("image"), &slow);
        let site = slow.join("site-packages");
        fs::create_dir(&site)?;
        let cold: Vec<PathBuf> = (0..8).map(|number| site.join(format!("cold{number}.pth"))).collect();
        for file in &cold {
            fs::write(file, "# nothing\n")?;
        }
        let mut sites = place.sites();
        sites.push(site.clone());
        let mut guard = Config::new(&place).sites(sites).budget_ms(BUDGET_MS).start();
        for file in &cold {
            let file = File::open(file)?;
            file.sync_all()?;
            sys::forget_pages(&file)?;
        }
        let device = fs::metadata(&site)?.dev();
        let throttled = Throttled::new(&guard, device, 1);
        let mut waits = Waits::default();
        let met = thread::scope(|scope| {
            let openers: Vec<_> = cold
                .iter()
                .map(|file| {
                    scope.spawn(move || {
                        let before = Instant::now();
                        let opened = File::open(file).map_err(|error| error.raw_os_error());
                        assert!(matches!(opened, Ok(_) | Err(Some(libc::EPERM))), "{opened:?}");
                        before.elapsed()
                    })
                })
                .collect();
            let met = crowd(&place.venvs[0].site);
            waits.0.extend(openers.into_iter().map(|opener| opener.join().unwrap()));
            met
        });
        drop(throttled);
        waits.print("slow disk, approved read from it");
        waits.assert_undelayed();
        let late = by_deadline(&place);
        println!("{late} answers by the deadline");
        assert!(late > 0, "the disk was not slow");
        met.assert_right("slow disk");
        for file in &cold {
            wait_for("it is read", SOON, || File::open(file).ok());
        }
        guard.assert_alive();
        drop(guard);
        wait_for("the disk is let go", SOON, || run(Command::new("umount").arg(&slow)).result().ok());
        Ok(())
    })
    .unwrap();
}

/// Many processes; gone when this is dropped.
struct Processes(Child);

impl Processes {
    fn start(place: &Place, count: u32) -> Processes {
        let program = compile(include_str!("crowd.c"), &place.outside.join("crowd"), &[]);
        let mut command = Command::new(program);
        command.arg(count.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = sys::die_with_parent(&mut command).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "blocked: {count} processes cannot be made");
        Processes(child)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("our own child");
    }
}

#[test]
fn beside_ten_thousand_processes() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let processes = Processes::start(&place, 10_000);
    crowd(&place.venvs[0].site).assert_right("10,000 processes");
    drop(processes);
    guard.assert_alive();
}

#[test]
fn under_a_thousand_rules() {
    let place = Place::new();
    let rule = |number: u32| {
        format!(
            "[[allow]]\nname = \"rule{number}\"\nexe = [\"/opt/tool{number}/bin/writer\"]\nscope = \"any\"\n\
             access = [\"write\"]\ncontent = \"any\"\n"
        )
    };
    let rules: String = (0..1000).map(rule).collect();
    let mut guard = Config::new(&place).rules(&rules).start();
    crowd(&place.venvs[0].site).assert_right("1,000 rules");
    guard.assert_alive();
}

/// One user opens and renames in his own environment as fast as he can; another one's interpreter starts.
#[test]
fn beside_a_user_who_storms_his_own_environment() {
    let place = Place::new();
    let own = Venv::make(&place.path().join("own"), &place.venvs[0].interpreter);
    fs::write(own.site.join("keep.pth"), place.keep()).unwrap();
    let scratch = place.outside.join("storm");
    fs::create_dir(&scratch).unwrap();
    let entries = fs::read_dir(&own.site).unwrap().flatten().map(|entry| entry.path());
    let above = own.site.ancestors().take_while(|above| *above != place.path()).map(Path::to_owned);
    for path in entries.chain(above).chain([scratch.clone()]) {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let mut sites = place.sites();
    sites.push(own.site.clone());
    let mut guard = Config::new(&place).sites(sites).start();
    let mut quiet = starts(&place, &place.venvs[0]);
    let stop = AtomicBool::new(false);
    let mut stormy = thread::scope(|scope| {
        let _stopper = Stopper(&stop);
        for number in 0..4 {
            let (stop, scratch, own) = (&stop, &scratch, &own);
            scope.spawn(move || {
                sys::become_user(USER).unwrap();
                let (fresh, evil) = (scratch.join(format!("{number}")), own.site.join(format!("evil{number}.pth")));
                while !stop.load(Ordering::Relaxed) {
                    let _ = File::open(own.site.join("keep.pth")); // what they come to is not the question
                    let _ = fs::write(&fresh, "import os\n");
                    let _ = fs::rename(&fresh, &evil);
                    let _ = fs::remove_file(&evil);
                }
            });
        }
        starts(&place, &place.venvs[0])
    });
    quiet.print("interpreter starts, quiet");
    stormy.print("interpreter starts, storm");
    stormy.assert_undelayed();
    guard.assert_alive();
}

/// How long an interpreter takes to start, which has to see all that is approved.
fn starts(place: &Place, venv: &Venv) -> Waits {
    let start = |_| {
        let before = Instant::now();
        let start = place.start(venv);
        assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
        before.elapsed()
    };
    Waits((0..40).map(start).collect())
}
